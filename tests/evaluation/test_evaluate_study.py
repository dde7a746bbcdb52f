"""The test split of a study: figures that are worked out otherwise, files, tables, openings."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss

from evaluations import define, evaluate, mark, read, records_of, register_of, rows, tiny
from terrablate.data.open_source import open_source
from terrablate.data.pack import ensure_pack
from terrablate.errors import UserError
from terrablate.evaluation import evaluate as command
from terrablate.training.record import Record
from terrablate.training.reload import deployed


def test_the_figures_are_those_of_the_deployed_network_on_the_test_images(home: Path, study: Path) -> None:
    evaluate(home, "study=tiny")
    config = tiny(home)
    pack = ensure_pack(config.data, home / "packs")
    source = open_source(config.data).dataset("test")
    samples = [source[number] for number in range(len(source))]
    stored = np.stack([sample["image"] for sample in samples]).astype(np.float64)
    mean, std = pack.mean[:, None, None], pack.std[:, None, None]  # of train, by hand
    images = torch.from_numpy((stored - mean) / std).float()
    labels = np.array([sample["label"] for sample in samples])
    for (variant, seed), folder in records_of(study).items():
        words = ["dropout=head", "dropout.p=0.5"] if variant == "dropout" else []
        network, _ = deployed(Record(folder), tiny(home, *words, f"seed={seed}"), pack)
        with torch.inference_mode():
            expected = network(images).numpy()
        found = np.load(folder / "test_predictions.npz")
        np.testing.assert_allclose(found["logits"], expected, rtol=1e-3, atol=1e-4)
        assert found["ids"].tolist() == list(source.ids)
        assert found["labels"].tolist() == labels.tolist()
        content = read(folder / "test.json")
        probabilities = torch.from_numpy(expected).double().softmax(1).numpy()
        assert content["images"] == 23
        assert content["accuracy"] == pytest.approx(accuracy_score(labels, expected.argmax(1)), abs=1e-6)
        assert content["nll"] == pytest.approx(log_loss(labels, probabilities, labels=range(10)), abs=1e-4)
        assert content["accuracy"] == pytest.approx(np.trace(content["confusion"]) / 23, abs=1e-6)


def test_the_file_says_what_was_evaluated_and_val_beside_it(home: Path, study: Path) -> None:
    evaluate(home, "study=tiny")
    for (variant, seed), folder in records_of(study).items():
        content, result = read(folder / "test.json"), read(folder / "result.json")
        about = [content[key] for key in ("variant", "seed", "split", "data", "which", "opening", "run_id")]
        assert about == [variant, seed, "test", "synthetic", "last", 1, folder.name]
        assert content["opened"] == register_of(study)[0]["time"]
        assert content["val"]["images"] == 20
        for name in ("accuracy", "nll", "ece", "kappa"):
            assert content["val"][name] == pytest.approx(result["deployed"][f"{name}/val"], abs=1e-6)
        assert content["val_check"] < 1e-4


def test_the_table_has_a_row_a_run_and_runs_csv_stays_as_it_was(home: Path, study: Path) -> None:
    before = (study / "runs.csv").read_bytes()
    evaluate(home, "study=tiny")
    assert (study / "runs.csv").read_bytes() == before
    found = {(row["variant"], int(row["seed"])): row for row in rows(study / "test.csv")}
    assert set(found) == set(records_of(study))
    for key, folder in records_of(study).items():
        content = read(folder / "test.json")
        assert float(found[key]["test.accuracy"]) == content["accuracy"]
        assert float(found[key]["val.nll"]) == content["val"]["nll"]


def test_both_sides_and_their_difference_are_shown(home: Path, study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate(home, "study=tiny")
    contents = [read(folder / "test.json") for key, folder in records_of(study).items() if key[0] == "plain"]
    val, test = (float(np.mean([each[name] for each in sides])) for sides, name in (
        ([content["val"] for content in contents], "accuracy"), (contents, "accuracy"),
    ))  # fmt: skip
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("plain"))
    assert f"{val:.3f} ±" in line
    assert f"{test:.3f} ±" in line
    assert f"{100 * (test - val):+.1f} pt" in line


def test_val_only_opens_nothing(home: Path, study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        evaluate(home, "study=tiny", "split=val")
    assert register_of(study) == []
    assert not list(home.rglob("test*.json"))
    assert not list((home / "packs").glob("*-test"))
    folder = records_of(study)["plain", 0]
    content, result = read(folder / "val_options.json"), read(folder / "result.json")
    assert (content["split"], content["accuracy"]) == ("val", result["deployed"]["accuracy/val"])
    assert "opening" not in content
    assert {row["val.accuracy"] for row in rows(study / "val_options.csv")}
    assert "test" not in capsys.readouterr().out


def test_train_packs_hold_no_test_images(home: Path, study: Path) -> None:
    evaluate(home, "study=tiny")
    packs = {folder.name: sorted(read(folder / "meta.json")["splits"]) for folder in (home / "packs").glob("*-*")}
    assert sorted(packs.values()) == [["test"], ["train", "val"]]
    assert all(name.endswith("-test") == (splits == ["test"]) for name, splits in packs.items())


def test_the_answer_of_the_study_has_the_effects_on_test_beside_those_on_val(home: Path, study: Path) -> None:
    evaluate(home, "study=tiny", "split=val")
    assert not (study / "effects.csv").exists()
    evaluate(home, "study=tiny")
    accuracy = {key: read(folder / "test.json")["accuracy"] for key, folder in records_of(study).items()}
    found = {row["kind"]: row for row in rows(study / "effects.csv") if row["test_estimate"]}
    by_hand = np.mean([accuracy["dropout", seed] - accuracy["plain", seed] for seed in (0, 1)])
    assert float(found["comparison"]["test_estimate"]) == pytest.approx(by_hand, abs=1e-6)
    assert (study / "summary.md").exists()


def test_figures_stand_when_the_answer_cannot_be_written(
    home: Path, study: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (study / "effects.csv").mkdir()
    evaluate(home, "study=tiny")
    assert "the answer of the study is not written anew" in caplog.text
    assert len(rows(study / "test.csv")) == 4


# --- openings


def test_the_opening_is_on_disk_before_the_first_image_is_read(
    home: Path, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    read_test = command.own_test

    def watched(*arguments: object) -> object:
        seen.append(len(register_of(study)))
        return read_test(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(command, "own_test", watched)
    evaluate(home, "study=tiny", "tta=true")
    assert seen == [1, 1, 1, 1]
    (line,) = register_of(study)
    assert [line[key] for key in ("study", "data", "split", "options", "count")] == [
        "tiny", "synthetic", "test", "tta=true", "1",
    ]  # fmt: skip
    assert line["runs"].split(";") == [folder.name for folder in records_of(study).values()]


def test_a_second_opening_is_allowed_counted_and_said(
    home: Path, study: Path, caplog: pytest.LogCaptureFixture
) -> None:
    evaluate(home, "study=tiny")
    assert "before" not in caplog.text
    evaluate(home, "study=tiny")
    assert [line["count"] for line in register_of(study)] == ["1", "2"]
    assert "was opened once before" in caplog.text
    assert {read(folder / "test.json")["opening"] for folder in records_of(study).values()} == {2}


def test_an_interrupted_opening_keeps_what_is_done_and_counts(
    home: Path, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = command.own_test
    calls: list[int] = []

    def cut_off(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return whole(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(command, "own_test", cut_off)
    with pytest.raises(KeyboardInterrupt):
        evaluate(home, "study=tiny")
    assert sum((folder / "test.json").exists() for folder in records_of(study).values()) == 2
    assert len(rows(study / "test.csv")) == 2
    assert len(register_of(study)) == 1
    evaluate(home, "study=tiny")
    assert all((folder / "test.json").exists() for folder in records_of(study).values())
    assert [line["count"] for line in register_of(study)] == ["1", "2"]


def test_a_lost_register_does_not_make_the_count_begin_anew(home: Path, study: Path) -> None:
    evaluate(home, "study=tiny")
    (study / "test_openings.csv").unlink()
    evaluate(home, "study=tiny")
    assert [line["count"] for line in register_of(study)] == ["2"]


def test_a_single_run_has_a_register_beside_it_that_knows_of_the_study(home: Path, study: Path) -> None:
    evaluate(home, "study=tiny")
    folder = records_of(study)["plain", 1]
    evaluate(home, f"run={folder}")
    (line,) = register_of(folder)
    assert (line["study"], line["runs"], line["count"]) == ("", folder.name, "2")
    evaluate(home, f"run={folder.name}")  # below runs_dir
    assert read(folder / "test.json")["opening"] == 3
    assert len(register_of(study)) == 1


def test_openings_of_other_studies_are_told(home: Path, study: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.copytree(study, study.parent / "older")
    evaluate(home, "study=older")
    evaluate(home, f"study={study}")
    assert "opened by other studies here, too: older (1)" in caplog.text


# --- which weights, which runs


def test_a_study_that_declares_the_best_weights_is_evaluated_with_them(home: Path, study: Path) -> None:
    define(study, deployed="best")
    shift = torch.linspace(0, 3, 10)
    for folder in records_of(study).values():  # a best epoch whose logits are known: those of the last, shifted
        last = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
        bias = next(name for name in reversed(last["state_dict"]) if name.endswith("bias"))
        last["state_dict"][bias] += shift
        torch.save({"state_dict": last["state_dict"]}, folder / "checkpoints" / "best.ckpt")
        stored = dict(np.load(folder / "val_predictions.npz"))
        np.savez(folder / "val_predictions.npz", **stored | {"logits_best": stored["logits_last"] + shift.numpy()})
    evaluate(home, "study=tiny")
    found = {key: np.load(folder / "test_predictions.npz")["logits"] for key, folder in records_of(study).items()}
    define(study, deployed="last")
    evaluate(home, "study=tiny")
    for key, folder in records_of(study).items():
        last = np.load(folder / "test_predictions.npz")["logits"]
        np.testing.assert_allclose(found[key] - last, np.tile(shift, (23, 1)), atol=1e-4)


def test_missing_runs_are_refused_unless_told_so(home: Path, study: Path) -> None:
    mark(study, "dropout", 1, "failed", "the machine was on fire")
    with pytest.raises(
        UserError, match=r"1 of 4 planned runs have no finished record: dropout with seed 1 .failed: the"
    ):
        evaluate(home, "study=tiny")
    assert register_of(study) == []
    evaluate(home, "study=tiny", "allow_missing=true")
    found = {(row["variant"], row["seed"]): row for row in rows(study / "test.csv")}
    assert found["dropout", "1"]["status"] == "failed"
    assert found["dropout", "1"]["test.accuracy"] == ""
    assert found["dropout", "1"]["reason"] == "the machine was on fire"
    assert register_of(study)[0]["options"] == "allow_missing=true"


def test_a_diverged_run_is_finished_and_named(home: Path, study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = records_of(study)["plain", 0] / "result.json"
    result = read(path)
    scores = dict.fromkeys(result["last"])
    result |= {"status": "diverged", "last": scores, "deployed": {"which": "last", **scores}}
    result["overfitting"]["sentence"] = "the loss is not a number"
    Record(path.parent).write_json("result.json", result)
    evaluate(home, "study=tiny")
    assert "without figures: plain, seed 0 (diverged): the loss is not a number" in capsys.readouterr().out
    assert [row["status"] for row in rows(study / "test.csv")].count("diverged") == 1


def test_a_study_that_was_moved_with_its_runs_is_found(home: Path, study: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(home, elsewhere)
    shutil.rmtree(home / "runs")
    evaluate(elsewhere, "study=tiny", f"runs_dir={tmp_path}")
    assert len(list((elsewhere / "runs").glob("*/test.json"))) == 4


def test_a_damaged_record_among_good_ones_is_named(home: Path, study: Path) -> None:
    folder = records_of(study)["plain", 1]
    (folder / "config.yaml").write_text("data: [")
    with pytest.raises(UserError, match=r"plain with seed 1 .damaged: .*config.yaml: is damaged"):
        evaluate(home, "study=tiny")
    evaluate(home, "study=tiny", "allow_missing=true")
    assert not (folder / "test.json").exists()
