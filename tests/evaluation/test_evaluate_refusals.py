"""Where the test split stays locked: each refusal in a sentence, and nothing written down."""

from pathlib import Path

import numpy as np
import pytest
import torch

from evaluations import define, evaluate, mark, records_of, register_of
from terrablate.errors import ConfigError, UserError


def refused(home: Path, study: Path, match: str, *words: str) -> None:
    with pytest.raises(UserError, match=match):
        evaluate(home, *(words or ("study=tiny",)))
    assert register_of(study) == []
    assert not list(home.rglob("test.json"))
    assert not list((home / "packs").glob("*-test"))


def test_weights_that_do_not_give_the_val_predictions_of_the_record(home: Path, study: Path) -> None:
    path = records_of(study)["dropout", 1] / "checkpoints" / "last.ckpt"
    content = torch.load(path, weights_only=True)
    name = next(name for name in reversed(content["state_dict"]) if name.endswith("bias"))
    content["state_dict"][name][3] += 0.01
    torch.save(content, path)
    refused(home, study, r"its weights do not give its val predictions any more .a logit is off by .*stays locked")


@pytest.mark.parametrize("key", ["ids", "labels", "logits_last"])
def test_val_predictions_of_other_images(home: Path, study: Path, key: str) -> None:
    path = records_of(study)["plain", 0] / "val_predictions.npz"
    stored = dict(np.load(path))
    stored[key] = np.roll(stored[key], 1, axis=0)
    np.savez(path, **stored)
    refused(home, study, "val is not what the run was validated on" if key != "logits_last" else "do not give its val")


def test_val_predictions_that_are_damaged(home: Path, study: Path) -> None:
    (records_of(study)["plain", 0] / "val_predictions.npz").write_bytes(b"PK")
    refused(home, study, r"val_predictions.npz: is damaged")


def test_a_checkpoint_that_the_study_did_not_keep(home: Path, study: Path) -> None:
    (records_of(study)["plain", 1] / "checkpoints" / "best.ckpt").unlink()
    define(study, deployed="best")
    refused(home, study, r"best.ckpt: is not there, so that plain, seed 1 cannot be evaluated; study.keep removes")


def test_a_checkpoint_that_is_damaged_or_of_another_network(home: Path, study: Path) -> None:
    path = records_of(study)["plain", 1] / "checkpoints" / "last.ckpt"
    path.write_bytes(path.read_bytes()[:100])
    refused(home, study, r"last.ckpt: is damaged, or holds the weights of another network")
    torch.save({"state_dict": {"network.x": torch.zeros(1)}}, path)
    refused(home, study, r"last.ckpt: is damaged, or holds the weights of another network")


def test_a_folder_that_cannot_be_written(home: Path, study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locked = records_of(study)["dropout", 0]

    def temporary(dir: Path, **_: object) -> object:  # noqa: A002 - as tempfile has it
        if dir == locked:
            raise PermissionError(13, "Permission denied")
        return open("/dev/null")  # noqa: PTH123

    monkeypatch.setattr("terrablate.evaluation.checks.tempfile.NamedTemporaryFile", temporary)
    refused(home, study, rf"{locked.name}: cannot be written .Permission denied., and figures and openings are kept")


def test_a_register_that_is_damaged(home: Path, study: Path) -> None:
    (study / "test_openings.csv").write_text("no table\n")
    with pytest.raises(UserError, match=r"test_openings.csv: is damaged"):
        evaluate(home, "study=tiny")
    assert not list(home.rglob("test.json"))


def test_a_study_of_which_all_runs_failed(home: Path, study: Path) -> None:
    for variant, seed in records_of(study):
        mark(study, variant, seed, "failed", "no memory")
    refused(home, study, r"4 of 4 planned runs have no finished record")
    refused(
        home, study, r"no run has weights to evaluate: plain with seed 0 .failed", "study=tiny", "allow_missing=true"
    )
    refused(home, study, r"no run has weights to evaluate", "study=tiny", "split=val")


def test_an_ensemble_without_members(home: Path, study: Path) -> None:
    for variant in ("plain", "dropout"):
        mark(study, variant, 1, "failed", "no memory")
    words = ("study=tiny", "allow_missing=true", "ensemble=true")
    refused(home, study, r"ensemble=true: no variant has two finished seeds", *words)


def test_a_variant_with_one_seed_is_named_and_has_no_ensemble(
    home: Path, study: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mark(study, "plain", 1, "failed", "no memory")
    evaluate(home, "study=tiny", "allow_missing=true", "ensemble=true")
    assert "plain has one finished seed only" in caplog.text


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ([], r"study=<name> or run=<folder>: one of the two is needed, and neither"),
        (["study=tiny", "run=x"], r"one of the two is needed, and both were given"),
        (["study=tinny"], r"study=tinny: there is no study in .*; studies there: tiny"),
        (["run=nowhere"], r"run=nowhere: there is no run in"),
        (["study=tiny", "split=train"], r"split=train: is for other data"),
        (["study=tiny", "split=tset"], r"split=tset: expected"),
        (["study=tiny", "mc_dropout=1"], r"mc_dropout=1: expected null or a number of passes"),
        (["study=tiny", "mc_dropout=2.5"], r"mc_dropout=2.5: expected null or a number of passes"),
        (["study=tiny", "tta=maybe"], r"tta=maybe: expected true or false"),
        (["study=tiny", "batch_size=0"], r"batch_size=0: expected"),
        (["study=tiny", "data.bands=rgb"], r"data.bands: was fixed when the runs were trained"),
        (["study=tiny", "data.test_list=x.txt"], r"data.test_list: data=synthetic has split lists of its own"),
        (["study=tiny", "data.download=true"], r"data.download: there is no such key"),
        (["study=tiny", "trainer=ddp"], r"trainer.devices=auto: images are evaluated on one device"),
        (["study=tiny", "trainer.precision=bf16"], r"each run is evaluated in the precision"),
        (["study=tiny", "trainer.channels_last=true"], r"trainer\.channels_last=true: is an option of training"),
        (["study=tiny", "trainer.compile=default"], r"trainer\.compile=default: is an option of training"),
        (["study=tiny", "trainer.deterministic=false"], r"trainer\.deterministic=false: is an option of training"),
    ],
)
def test_mistakes_on_the_command_line(home: Path, study: Path, words: list[str], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        evaluate(home, *words)
    assert register_of(study) == []


def test_one_run_is_no_ensemble_and_a_run_that_has_not_ended_is_not_evaluated(home: Path, study: Path) -> None:
    folder = records_of(study)["plain", 0]
    with pytest.raises(ConfigError, match="ensemble=true: one run is no ensemble"):
        evaluate(home, f"run={folder}", "ensemble=true")
    (folder / "result.json").unlink()
    with pytest.raises(UserError, match=r"has not finished .it has no result.; train it first"):
        evaluate(home, f"run={folder}")


def test_a_damaged_definition_or_plan_is_named(home: Path, study: Path) -> None:
    (study / "study.yaml").write_text("a: [")
    refused(home, study, r"study.yaml: cannot be read")
    (study / "plan.json").write_text("[{")
    define_again = "name: tiny\n"
    (study / "study.yaml").write_text(define_again)
    refused(home, study, r"plan.json: is damaged")
