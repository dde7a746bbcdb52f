"""What `evaluate.py` does: check each run on val, write the opening down, then evaluate, run after run."""

import dataclasses
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from terrablate.config.identity import Hardware, code_identity
from terrablate.data.module import ChipDataModule
from terrablate.data.source import Source
from terrablate.errors import ConfigError, UserError
from terrablate.evaluation.checks import check_folders, check_splits
from terrablate.evaluation.data import (
    Packs,
    other_data,
    own_test,
    own_test_data,
    own_val,
    shared_names,
    transferred,
)
from terrablate.evaluation.ensembles import ensembles, write_ensembles
from terrablate.evaluation.openings import Opening
from terrablate.evaluation.outcome import Evaluated, Finding, evaluated, write_finding
from terrablate.evaluation.predictor import Predictor, check_val, predictor_of
from terrablate.evaluation.settings import Settings
from terrablate.evaluation.subjects import Subject, Subjects
from terrablate.evaluation.tables import show_ensembles, show_runs, write_runs
from terrablate.evaluation.unlock import open_for, opening_sentence, runs_in_words
from terrablate.training import hardware as devices
from terrablate.training.provenance import provenance
from terrablate.training.task import task_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Session:
    """What all runs of one call share."""

    settings: Settings
    subjects: Subjects
    hardware: Hardware
    packs: Packs
    about: dict[str, Any]
    """What every file says: the code and the device that evaluated."""

    def load(self, subject: Subject) -> tuple[Predictor, ChipDataModule]:
        """The network of a run, and its data."""
        config = subject.config
        module = ChipDataModule(config, self.packs.of(config.data))
        precision = config.trainer.precision
        assert precision != "auto"  # records say what it was
        if precision == "16" and self.hardware.accelerator == "cpu":
            precision = "32"  # the CPU has no autocast of this kind
        return predictor_of(subject, module, dataclasses.replace(self.hardware, precision=precision)), module


def evaluate_all(settings: Settings, subjects: Subjects) -> None:
    """Evaluate runs as the settings say; tables on stdout, files beside the records and in the study's folder.

    Args:
        settings: of the command line.
        subjects: runs that have finished.

    Raises:
        UserError: before anything is opened, if a run does not give its own val predictions, a folder cannot be
            written, or an option has no place in the networks.
        DataError: if the data are not there, or do not fit the runs.
    """
    _set_up_logging()
    hardware = devices.resolve(settings.trainer)
    devices.prepare(hardware)
    about = {
        "code": code_identity(),
        "commit": provenance()["commit"],
        "device": devices.device_name(hardware.accelerator),
    }
    subjects = dataclasses.replace(subjects, metric=_metric(subjects))
    session = Session(settings, subjects, hardware, Packs(Path(settings.packs_dir)), about)
    source = check_splits(settings, subjects)
    check_folders(settings, subjects)
    logger.info("evaluating val of %s", runs_in_words(len(subjects.runs)))
    val: list[Finding] = []
    for subject in subjects.runs:
        val.append(_on_val(session, subject, source))
        figures = ", ".join(f"{name} {each[subjects.metric]:.3f}" for name, each in val[-1].val.figures.items())
        logger.info("[%d/%d] %s: val %s %s", len(val), len(subjects.runs), subject.name, subjects.metric, figures)
    _tell_of_val(session, val)
    if settings.options or not settings.opens:
        _finish(session, val, None)
    if settings.opens:
        _open(session, val)
    else:
        logger.info("val only: nothing was opened")


def _open(session: Session, val: Sequence[Finding]) -> None:
    """Write the opening down, and look."""
    settings, subjects = session.settings, session.subjects
    opening = open_for(settings, subjects, str(session.about["commit"] or ""))
    logger.info("%s", opening_sentence(settings, subjects, opening))
    done: list[Finding] = []
    try:
        for number, before in enumerate(val, start=1):
            found = _on_locked(session, before)
            finding = dataclasses.replace(before, opened=found[0], about={**before.about, **found[1]})
            write_finding(settings, finding, opening)
            done.append(finding)
            logger.info("[%d/%d] %s", number, len(val), _sentence(finding, subjects.metric, settings))
    except KeyboardInterrupt:
        logger.warning(
            "interrupted: %d of %d runs are evaluated, which stays; the same command evaluates all of them, and counts"
            " as another opening",
            len(done),
            len(val),
        )
        raise
    finally:
        if done and len(done) < len(val) and subjects.is_study:
            write_runs(subjects.folder, settings.stem, done, subjects.left_out, opening)
    _finish(session, done, opening)


def _on_val(session: Session, subject: Subject, source: Source | None) -> Finding:
    """Val as the record has it, and with the options."""
    settings = session.settings
    predictor, module = session.load(subject)
    share, plain = check_val(predictor, subject, module, settings.batch_size)
    if settings.data is not None:
        other_data(subject.config, settings.data, module.pack, source)  # refuses before anything is opened
    images = own_val(subject, module)
    logits = predictor.with_options(images, settings, plain)
    if "mc_dropout" in logits and torch.equal(logits["mc_dropout"].argmax(1), logits["plain"].argmax(1)):
        spread = (logits["mc_dropout"].softmax(1) - logits["plain"].softmax(1)).abs().max()
        if float(spread) < 1e-6:
            raise UserError(f"mc_dropout={settings.mc_dropout}: the dropout of {subject.name} changes no prediction")
    about = {"val_check": share, **session.about}
    return Finding(subject, evaluated(images, logits, task_of(subject.config.data)), None, about)


def _on_locked(session: Session, before: Finding) -> tuple[Evaluated, dict[str, Any]]:
    """The images that were locked."""
    settings, subject = session.settings, before.subject
    predictor, module = session.load(subject)
    about: dict[str, Any] = {}
    if settings.data is None:
        images = own_test(subject, own_test_data(subject.config, settings), session.packs, module)
    else:
        other = other_data(subject.config, settings.data, module.pack)
        images = transferred(subject, other, settings.split, session.packs, module)
        shared = shared_names(images, module)
        about = {"trained_on": subject.config.data.name, "root": other.root, "shared_names": shared}
        about |= {"absent_classes": images.absent}
        if shared:
            logger.warning(
                "%s: %d of %d images are called like one of its training images; if they show the same places, they are"
                " nothing new",
                subject.name,
                shared,
                len(images),
            )
    logits = predictor.with_options(images, settings)
    return evaluated(images, logits, task_of(subject.config.data)), about


def _finish(session: Session, findings: Sequence[Finding], opening: Opening | None) -> None:
    """Tables on stdout, and those of a study in its folder; of val the files beside the records, too."""
    settings, subjects = session.settings, session.subjects
    stem = settings.stem if opening else "val_options"
    if not opening:
        for finding in findings:
            write_finding(settings, finding, None)
    if subjects.is_study:
        write_runs(subjects.folder, stem, findings, subjects.left_out, opening)
    opened = settings.data.name if settings.data else settings.split
    show_runs(findings, subjects.left_out, subjects.metric, opened)
    if subjects.is_study and stem == "test":
        _answer_anew(subjects.folder)
    if settings.ensemble:
        found = ensembles(findings)
        about = {"study": subjects.name, "opening": opening.count if opening else None, **session.about}
        write_ensembles(subjects.folder, stem, found, about)
        show_ensembles(found, subjects.metric, opened)


def _answer_anew(folder: Path) -> None:
    """The study's answer, with what the test split gives beside val; figures stand without it."""
    from terrablate.study.answers import answer, write_answer
    from terrablate.study.evidence import read_study

    try:
        found = answer(read_study(folder))
        write_answer(found, folder)
    except UserError as error:
        logger.warning("the answer of the study is not written anew: %s", error)
        return
    logger.info("answer: %s (%s)", found.sentences[0], folder / "summary.md")


def _tell_of_val(session: Session, val: Sequence[Finding]) -> None:
    """That the runs are what they were, and which of them an option does not concern.

    Raises:
        ConfigError: if dropout is to stay on, and no network has any.
    """
    logger.info(
        "val of %s: the predictions are those of the records (a logit is off by %.1g of the largest at most)",
        runs_in_words(len(val)),
        max(finding.about["val_check"] for finding in val),
    )
    if session.settings.mc_dropout is None:
        return
    without = list(dict.fromkeys(f.subject.variant for f in val if "mc_dropout" not in f.val.figures))
    if len({finding.subject.variant for finding in val}) == len(without):
        raise ConfigError(
            f"mc_dropout={session.settings.mc_dropout}: no network here has dropout that could be left on"
            f" ({', '.join(without)}); train with dropout=head or another choice of dropout"
        )
    if without:
        logger.warning("mc_dropout: has no place in %s, which have no dropout", ", ".join(without))


def _sentence(finding: Finding, metric: str, settings: Settings) -> str:
    """What one run gave."""
    assert finding.opened is not None
    name = settings.data.name if settings.data else settings.split
    val, new = finding.val.figures["plain"], finding.opened.figures["plain"]
    nll = f", NLL {val['nll']:.3f} and {new['nll']:.3f}" if metric != "nll" else ""
    return f"{finding.subject.name}: {metric} {val[metric]:.3f} on val and {new[metric]:.3f} on {name}{nll}"


def _metric(subjects: Subjects) -> str:
    """The metric of the study, as far as the labels of its images have it."""
    first = subjects.runs[0]
    names = task_of(first.config.data).metric_names(len(first.result["classes"]))
    if subjects.metric in names:
        return subjects.metric
    logger.warning("metric %s: is not defined for these labels; accuracy is shown", subjects.metric)
    return "accuracy"


def _set_up_logging() -> None:
    """Our messages on stderr."""
    root = logging.getLogger("terrablate")
    root.setLevel(logging.INFO)
    logging.getLogger("terrablate.data.module").setLevel(logging.ERROR)  # its warnings are of training
    if not root.handlers and not logging.getLogger().handlers:  # a program that uses us may have its own
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(message)s"))
        root.addHandler(handler)
