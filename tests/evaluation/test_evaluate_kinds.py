"""Runs of other kinds: several labels, frozen features, pruned networks, real data; and the command itself."""

from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import average_precision_score

from evaluations import evaluate, read, register_of, rows, train
from helpers import run_command
from terrablate.evaluation.words import rewritten


def test_several_labels(tmp_path: Path) -> None:
    record = train(tmp_path, "data=synthetic_multilabel", "loss=bce", "dropout=head", "dropout.p=0.5")
    evaluate(tmp_path, f"run={record.folder}", "tta=true", "mc_dropout=3")
    content = read(record.folder / "test.json")
    found = np.load(record.folder / "test_predictions.npz")
    assert found["labels"].shape == found["logits"].shape == (23, 10)
    shown = found["labels"].any(0)
    expected = average_precision_score(found["labels"][:, shown], expit(found["logits"][:, shown]), average="macro")
    assert content["average_precision_macro"] == pytest.approx(expected, abs=1e-5)
    exact = ((found["logits_tta"] > 0) == found["labels"]).all(1).mean()
    assert content["variants"]["tta"]["accuracy"] == pytest.approx(exact, abs=1e-6)
    assert content["confusion"] is None
    assert len(content["by_class"]) == 10
    assert set(content["variants"]) == {"tta", "mc_dropout"}


def test_a_classifier_on_frozen_features_is_fitted_anew(tmp_path: Path) -> None:
    record = train(tmp_path, "finetune=frozen_features")
    evaluate(tmp_path, f"run={record.folder}", "tta=true")
    content = read(record.folder / "test.json")
    assert content["val"]["accuracy"] == read(record.folder / "result.json")["deployed"]["accuracy/val"]
    assert content["images"] == 23
    probabilities = np.exp(np.load(record.folder / "test_predictions.npz")["logits"])
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)


def test_a_pruned_network_is_rebuilt_with_the_channels_that_it_has(tmp_path: Path) -> None:
    words = ("model.width=8", "regularize=[prune]", "regularize.prune.amount=0.5", "regularize.prune.rounds=1")
    record = train(tmp_path, *words, "epochs=3")
    evaluate(tmp_path, f"run={record.folder}")
    assert read(record.folder / "test.json")["val_check"] < 1e-4


def test_the_size_of_a_batch_changes_no_figure(tmp_path: Path) -> None:
    record = train(tmp_path)
    logits = []
    for size in (256, 5):
        evaluate(tmp_path, f"run={record.folder}", f"batch_size={size}")
        logits.append(np.load(record.folder / "test_predictions.npz")["logits"])
    np.testing.assert_allclose(logits[0], logits[1], rtol=1e-4, atol=1e-5)
    assert len(logits[0]) == 23


@pytest.mark.real_data
def test_real_test_images_of_eurosat(tmp_path: Path, data_dir: Path) -> None:
    record = train(
        tmp_path, "data=eurosat", f"data.root={data_dir}", "data.train_per_class=5", "data.val_per_class=3",
        "data.image_size=16", "epochs=1",
    )  # fmt: skip
    evaluate(tmp_path, f"run={record.folder}", "tta=true")
    listed = (data_dir / "eurosat" / "eurosat-test.txt").read_text().split()
    found = np.load(record.folder / "test_predictions.npz")
    names = {Path(each).stem for each in found["ids"]}
    assert len(found["ids"]) == len(names) == read(record.folder / "test.json")["images"] > 100
    assert names <= {Path(each).stem for each in listed}
    assert not names & {Path(each).stem for each in (data_dir / "eurosat" / "eurosat-train.txt").read_text().split()}
    classes = read(record.folder / "test.json")["classes"]
    assert [classes[label] for label in found["labels"]] == [Path(each).parent.name for each in found["ids"]]


# --- the command


def test_help_lists_its_own_keys_and_groups_only(tmp_path: Path) -> None:
    done = run_command("evaluate", tmp_path, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "usage: python src/evaluate.py study=<name> " in done.stdout
    for key in ("split", "allow_missing", "tta", "mc_dropout", "ensemble", "packs_dir"):
        assert f"\n  {key}: " in done.stdout
    for foreign in ("\n  optim", "epochs:", "resnet18"):
        assert foreign not in done.stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["study=nowhere"], "error: study=nowhere: there is no study in "),
        (["run=nowhere", "ttta=true"], "error: ttta: there is no such key (did you mean tta?); allowed: data, trainer"),
        (["run=nowhere", "data=euroset"], "error: data=euroset: there is no such choice (did you mean eurosat?)"),
        (["-m", "run=a,b"], "error: -m: this command takes one config at a time"),
        (["study=a", "optim=sgd"], "error: optim: there is no such key"),
    ],
)
def test_a_mistake_is_a_sentence_and_no_torch(tmp_path: Path, words: list[str], expected: str) -> None:
    done = run_command("evaluate", tmp_path, *words, f"studies_dir={tmp_path}", f"runs_dir={tmp_path}")
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(expected)
    assert done.stdout == ""


def test_words_of_the_command_line_are_hydras() -> None:
    assert rewritten(["study=a", "tta=true", "data.root=/x"]) == ["study.name=a", "tta=true", "++data.root=/x"]
    assert rewritten(["run=a", "data=eurosat", "data.root=/x"]) == ["run=a", "data=eurosat", "data.root=/x"]


def test_a_study_is_evaluated_from_another_folder_in_a_process_of_its_own(
    home: Path, study: Path, tmp_path: Path
) -> None:
    odd = home.rename(tmp_path / "it's a place")
    words = (f"study='{odd}/studies/tiny'".replace("it's", "it\\'s"), f"packs_dir='{tmp_path}/packs'", "trainer=cpu")
    done = run_command("evaluate", tmp_path, *words, "runs_dir=.", without=())
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("variant  weights  seeds")
    assert len(rows(odd / "studies" / "tiny" / "test.csv")) == 4
    assert len(register_of(odd / "studies" / "tiny")) == 1
