"""One run from its config to its record: find it done, resume it, or train it."""

import dataclasses
import logging
import shutil
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from terrablate.augment.pipeline import Augmentation
from terrablate.config.checks.augment import rgb_positions
from terrablate.config.identity import Hardware, code_identity, identity, run_id
from terrablate.config.parse import plain
from terrablate.config.schema import BatchNorm, Config, FrozenFeatures, NativeNorm
from terrablate.data.module import ChipDataModule
from terrablate.data.pack import Pack, ensure_pack
from terrablate.errors import Busy, UserError
from terrablate.models.build import build, first_line
from terrablate.models.norm import synchronise
from terrablate.training import hardware as devices
from terrablate.training import pictures
from terrablate.training.classifier import Classifier
from terrablate.training.compilation import compilation
from terrablate.training.epoch_end import EpochEnd
from terrablate.training.failure import failure
from terrablate.training.find_rate import find_rate
from terrablate.training.finish import finish
from terrablate.training.frozen_features import fit_frozen_features
from terrablate.training.history import History
from terrablate.training.inputs import Inputs
from terrablate.training.loggers import CurveLogger, make_loggers
from terrablate.training.losses import make_loss
from terrablate.training.normalization import choose_normalization
from terrablate.training.pretrained import PreparedWeights, check_frozen_statistics, prepare_weights
from terrablate.training.profile import OperationProfile
from terrablate.training.record import Record
from terrablate.training.regularize.averaging import deployed
from terrablate.training.regularize.prune import Pruning
from terrablate.training.robustness import add_robustness
from terrablate.training.terminal import ProgressDisplay, show_summary
from terrablate.training.trainer import make_trainer

logger = logging.getLogger(__name__)


@dataclass
class Job:
    """A run that is about to be trained: what is known before the network is built."""

    config: Config
    hardware: Hardware
    data: ChipDataModule
    weights: PreparedWeights | None
    identity: str
    code: str
    record: Record

    @property
    def total_epochs(self) -> int:
        """Epochs of the budget; one of steps is rounded up, its last epoch cut short. Frozen features take one pass."""
        if isinstance(self.config.finetune, FrozenFeatures):
            return 1
        if self.config.debug.epochs is not None:
            return self.config.debug.epochs
        if self.config.steps is not None:
            return -(-self.config.steps // self.data.optimizer_steps_per_epoch)
        return self.config.epochs

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the budget."""
        if self.config.steps is not None and self.config.debug.epochs is None:
            return self.config.steps
        return self.total_epochs * self.data.optimizer_steps_per_epoch


def run(config: Config, *, draws: bool = True) -> Record:
    """Train a run, resume it where it was cut off, or show what it gave when it is done.

    Args:
        config: of the run.
        draws: the pictures, too; else they are kept for `pictures.draw_of`, unless a logger wants to show them.

    Raises:
        Busy: if another process trains the run, or has taken it over.
        UserError: for a mistake in config, data or weights, or a disk that fails; the message says what to do.
        KeyboardInterrupt: after Ctrl-C; the same command goes on later.
    """
    rank = devices.process_rank()
    _set_up_logging(rank)
    job = prepare(config)
    config = job.config
    if rank > 0:  # launched by rank 0, which has decided already; it takes no claim and never skips
        _fit(job, [])
        return job.record
    with job.record.claim():
        if config.lr_find:
            find_rate(_module(job)[0], job.data.pack, job.record, config, job.hardware)
            return job.record
        trained = config.force or not _done(job)
        if not trained:
            result = job.record.result()
            assert result is not None
            show_summary(result, str(job.record.folder), already_done=True)
        else:
            _train_or_say_why(job)
        if config.robustness:
            add_robustness(job.record, config, job.data, job.hardware, job.code)
        if draws:
            pictures.draw(job.record)
        if trained and job.record.finished():  # what another study has kept is not this one's to remove
            job.record.drop_checkpoints(config.study.keep)
    return job.record


def prepare(config: Config) -> Job:
    """Everything that identifies a run: device, data, weights."""
    hardware = devices.resolve(config.trainer)
    devices.check_sync(config.norm, hardware)
    devices.prepare(hardware, deterministic=config.trainer.deterministic)
    # what `auto` was: a run is identified by, and evaluated in, the precision that it was trained in
    config = dataclasses.replace(config, trainer=dataclasses.replace(config.trainer, precision=hardware.precision))
    data = ChipDataModule(config, ensure_pack(config.data, Path(config.packs_dir)), hardware.world_size)
    size = data.pack.image_size
    weights = prepare_weights(config, data.pack.bands, data.pack.classes, size)
    digest = identity(config, data.fingerprint, weights.digest if weights else None, hardware)
    folder = Path(config.runs_dir) / run_id(config, digest)
    return Job(config, hardware, data, weights, digest, code_identity(), Record(folder))


def _train_or_say_why(job: Job) -> None:
    """A record that is complete, can be resumed, or says why it failed."""
    _make_room(job)
    _begin(job)
    try:
        _train(job)
    except (KeyboardInterrupt, SystemExit):
        logger.warning("interrupted; the same command goes on from the last checkpoint")
        raise KeyboardInterrupt from None
    except Busy:  # the record is another's now
        raise
    except Exception as error:
        failure(job.record, job.config, job.identity, job.code, error)
        if isinstance(error, OSError):
            raise UserError(
                f"{job.record.folder}: {error.strerror or error}; nothing was lost but the last epochs"
            ) from error
        raise


def _done(job: Job) -> bool:
    if not job.record.finished():
        return False
    result = job.record.result()
    assert result is not None
    if result["provenance"]["code"] == job.code:
        return True
    if job.config.code == "any":
        logger.warning("%s was made by another version of the training code (code=any)", job.record.folder)
        return True
    logger.info("%s was made by another version of the training code; training anew", job.record.folder)
    return False


def _make_room(job: Job) -> None:
    """Keep what can be resumed; archive what belongs to another version of the code, or to a forced retraining."""
    record, origin = job.record, job.record.origin()
    if (
        record.finished()
        or (origin is not None and origin.get("code") != job.code)
        or not record.last_checkpoint.is_file()
    ):
        if record.finished() or record.last_checkpoint.is_file():
            record.archive()
        else:
            shutil.rmtree(record.folder / "checkpoints", ignore_errors=True)
            (record.folder / "metrics.csv").unlink(missing_ok=True)


def _begin(job: Job) -> None:
    (job.record.folder / "result.json").unlink(missing_ok=True)  # of a failed attempt
    job.record.last_checkpoint.parent.mkdir(parents=True, exist_ok=True)
    job.record.write_text("config.yaml", yaml.safe_dump(plain(job.config), sort_keys=False, allow_unicode=True))
    job.record.write_json("run.json", {"run_id": job.record.folder.name, "identity": job.identity, "code": job.code})


def _train(job: Job) -> None:
    history = _resumed_history(job)
    loggers = make_loggers(job.config, job.record.folder.name, job.record.folder, history.rows)
    result: dict[str, Any] | None = None
    try:
        module, report = _fit(job, loggers, history)
        result = finish(job.record, job.config, job.data, module, history, job.total_epochs, _provenance(job), report)
        if loggers:
            pictures.draw(job.record)
    finally:
        for each in loggers:
            each.finish(result, job.record.folder)
    show_summary(result, str(job.record.folder))


def _resumed_history(job: Job) -> History:
    """The history of the checkpoint, to which `metrics.csv` is cut; an empty one where there is none that is whole."""
    path = job.record.last_checkpoint
    history = History()
    if path.is_file():
        try:
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
            history = History.of_state(checkpoint["callbacks"][EpochEnd.__qualname__])
        except Exception as error:  # a damaged file fails in torch's reader in many ways
            logger.warning("%s is damaged (%s); training starts anew", path, first_line(error))
            path.unlink()
        else:
            logger.info("resuming after epoch %d of %d", history.epochs, job.total_epochs)
    job.record.write_metrics(history.rows)
    return history


def _module(job: Job) -> tuple[Classifier, dict[str, Any]]:
    """What is trained, as it starts, and for the record what it starts from."""
    config, data = job.config, job.data
    pack = data.pack
    built = build(config, len(pack.bands), len(pack.classes), pack.image_size)
    loaded = job.weights.load(built) if job.weights else None
    if loaded is not None:
        check_frozen_statistics(config.norm, loaded)
    expected = loaded.statistics if loaded else None
    normalization = choose_normalization(config.data, pack.bands, pack.statistics, expected)
    report = {"weights": loaded.report if loaded else None, "normalization": normalization.plain()}
    if isinstance(config.norm, NativeNorm | BatchNorm) and config.norm.sync:
        synchronise(built.network)
    prune, shape = config.regularize.prune, (len(pack.bands), pack.image_size, pack.image_size)
    pruning = Pruning(prune, built.network, shape, job.total_epochs, config.seed) if prune and prune.amount else None
    if pruning:
        pruning.rehearse(built.network, config.model.name)
    inputs = Inputs(config.data.scale, config.data.offset, normalization.center, normalization.spread)
    module = Classifier(
        built.network,
        inputs,
        _augmentation(config, pack),
        make_loss(config.loss, data.class_counts),
        config,
        total_steps=job.total_steps,
        steps_per_epoch=data.optimizer_steps_per_epoch,
        pretrained=_pretrained(built.network, report["weights"]),
        cuts=loaded.cuts if loaded else (),
        pruning=pruning,
    )
    return module, report


def _fit(job: Job, loggers: list[CurveLogger], history: History | None = None) -> tuple[Classifier, dict[str, Any]]:
    """Build and train; skips the training of a run that had ended before it was cut off."""
    history = history if history is not None else History()
    config, data = job.config, job.data
    module, report = _module(job)
    if history.ended(config, job.total_epochs):
        checkpoint = torch.load(job.record.last_checkpoint, map_location="cpu", weights_only=True)
        module.take_cuts_of(checkpoint)
        module.load_state_dict(deployed(checkpoint)["state_dict"])
        return module, report
    if isinstance(config.finetune, FrozenFeatures):
        fit_frozen_features(module, data, job.record, history, loggers, job.hardware)
        return module, report
    module.finetuning.warn_of_budget(job.total_epochs)
    images = min(len(data.train_indices), config.batch_size * data.steps_per_epoch)
    profiled = config.debug.profile_steps
    trainer = make_trainer(
        config,
        job.hardware,
        max_epochs=job.total_epochs,
        callbacks=[
            *compilation(config, len(data.train_indices)),
            *([OperationProfile(job.record, profiled)] if profiled and devices.process_rank() == 0 else []),
            EpochEnd(config, data, job.record, history, job.total_epochs, loggers),
            *([ProgressDisplay(history, job.total_epochs, images)] if devices.process_rank() == 0 else []),
        ],
        folder=job.record.folder,
    )
    resume = job.record.last_checkpoint
    with devices.imports_uncollected():
        trainer.fit(module, datamodule=data, ckpt_path=resume if resume.is_file() else None)
    if trainer.interrupted:
        raise KeyboardInterrupt
    module.deploy()
    return module, report


def _pretrained(network: nn.Module, loading: dict[str, Any] | None) -> set[str]:
    """Names of the parameters that were loaded."""
    names = {name for name, _ in network.named_parameters()}
    return names.difference(loading["initialised"]) if loading else set()


def _augmentation(config: Config, pack: Pack) -> Augmentation:
    """The recipe, told the bands of the data and what they hold, on the sensor's scale."""
    return Augmentation(
        config.aug.operations,
        spread=torch.tensor(pack.std / config.data.scale, dtype=torch.float32),
        center=torch.tensor((pack.mean + config.data.offset) / config.data.scale, dtype=torch.float32),
        rgb=rgb_positions(pack.bands, config.data.rgb),
        strength=config.aug.strength,
    )


def _provenance(job: Job) -> dict[str, Any]:
    from terrablate.training.provenance import provenance

    return {
        "identity": job.identity,
        "code": job.code,
        "data_fingerprint": job.data.fingerprint,
        "weights": job.weights.digest if job.weights else None,
        "hardware": vars(job.hardware),
        "device": devices.device_name(job.hardware.accelerator),
        **provenance(),
    }


def _set_up_logging(rank: int) -> None:
    """Our messages on stderr, from rank 0; Lightning's tips stay away."""
    root = logging.getLogger("terrablate")
    root.setLevel(logging.INFO if rank == 0 else logging.ERROR)
    if not root.handlers and not logging.getLogger().handlers:  # a program that uses us may have its own
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(message)s"))
        root.addHandler(handler)
    for name in ("lightning", "lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module=r"lightning\..*")
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
