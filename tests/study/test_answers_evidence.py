"""What an answer takes from records beside the figures, what it warns of, and the files that it is written to."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from terrablate.errors import UserError
from terrablate.study.answers import answer, read_effects, write_answer
from terrablate.study.evidence import read_study
from written_studies import answered, figures_around, primary, write_predictions, write_study


def test_unequal_optimizer_steps_are_warned_of_with_their_numbers(tmp_path: Path) -> None:
    two = figures_around({"none": 0.7, "more": 0.8}, seeds=2)
    found = answered(tmp_path, two, records=True, steps={"none": 1000, "more": 1030})
    assert any("not trained for equally many optimizer steps: none 1,000 and more 1,030" in w for w in found.warnings)
    close = answered(tmp_path / "close", two, records=True, steps={"none": 1000, "more": 1015})
    assert not any("optimizer steps" in warning for warning in close.warnings)


def test_added_seeds_are_told_apart(tmp_path: Path) -> None:
    values = figures_around({"none": 0.7, "a": 0.72}, seeds=6)
    found = answered(tmp_path, values, added=(4, 5))
    effect = primary(found)["a"]
    assert effect.n == 4
    assert effect.estimate == pytest.approx(np.mean(values["a"][:4]) - np.mean(values["none"][:4]))
    (later,) = [e for e in found.effects if e.seeds == "all" and e.kind == "comparison" and e.metric == "accuracy"]
    assert (later.n, later.role) == (6, "exploratory")
    assert any("Adding seeds until an interval excludes zero misleads" in warning for warning in found.warnings)
    assert any(
        sentence.startswith("With 2 seeds added later, which is not the answer: a +") for sentence in found.sentences
    )


def test_onset_is_censored_where_there_is_none(tmp_path: Path) -> None:
    two = figures_around({"none": 0.7, "late": 0.7}, seeds=3)
    others: dict[str, Any] = {
        "overfitting.onset_epoch": {"none": [10, 12, 14], "late": [40, None, None]},
        "epochs": {"none": [60] * 3, "late": [60] * 3},
        "budget_epochs": {"none": [60] * 3, "late": [60] * 3},
    }
    found = answered(tmp_path, two, others=others)
    rows = {(each.name, each.metric, each.baseline): each for each in found.effects if each.kind == "onset"}
    assert rows["none", "onset_share", ""].estimate == 1
    assert rows["late", "onset_share", ""].estimate == pytest.approx(1 / 3)
    assert rows["late", "onset_restricted_mean", ""].estimate == pytest.approx(160 / 3)
    assert rows["late", "onset_restricted_mean", "none"].estimate == pytest.approx(160 / 3 - 12)
    assert "Runs with onset of overfitting: none 3/3 and late 1/3." in found.sentences
    helped = figures_around({"none": 0.7, "late": 0.75}, 0.002, seeds=3)
    early = {**others, "overfitting.onset_epoch": {"none": [10, 12, 14], "late": [40, 42, 47]}}
    assert (
        " and delays overfitting from epoch 12 to 43 on average (exploratory)."
        in (answered(tmp_path / "delayed", helped, others=early).sentences[0])
    )
    stopped = {**others, "epochs": {"none": [60] * 3, "late": [60, 20, 30]}}
    short = answered(tmp_path / "short", two, others=stopped)
    share = next(each for each in short.effects if (each.name, each.metric) == ("late", "onset_restricted_mean"))
    # after one censored at 20 and one at 30, an onset at 40 ends the curve of the run that is left
    assert share.estimate == pytest.approx(40)
    assert share.method == "kaplan-meier"


def test_what_the_intervals_cover_is_read_off_the_configs(tmp_path: Path) -> None:
    two = figures_around({"none": 0.7, "a": 0.72}, seeds=2)

    def covered(name: str, **data: Any) -> str:
        config = {"data": data} if data else None
        return answered(tmp_path / name, two, records=True, config=config).coverage[0]

    assert "the draw of the training subset: seed k draws it, the same for all variants" in covered("default")
    assert "training noise alone: all runs have data.subset_seed=7" in covered("f", train_per_class=9, subset_seed=7)
    assert "every run was trained on the whole train split" in covered("whole", train_per_class=None, subset_seed=7)


def test_val_images_are_drawn_by_group_where_groups_are_known(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    right = {"none": rng.random(200) < 0.7, "a": rng.random(200) < 0.75}
    right = {name: np.repeat(values, 4) for name, values in right.items()}  # four chips of each scene
    ids = [f"scene{number // 4:03}_{number % 4}.png" for number in range(800)]
    two = {name: [float(values.mean())] * 2 for name, values in right.items()}
    widths = {}
    for name, data in (("single", {}), ("group", {"split_by": "group", "group_pattern": r"scene(\d+)_"})):
        config = {"data": {"train_per_class": 50, "subset_seed": 0, **data}}
        study = write_study(tmp_path / name / "studies" / "s", two, records=True, config=config)
        for run in (tmp_path / name / "runs").iterdir():
            write_predictions(run, list(right[run.name.split("-")[0]]), ids)
        found = answer(read_study(study))
        effect = primary(found)["a"]
        assert effect.image_low is not None
        assert effect.image_high is not None
        assert effect.estimate is not None
        assert effect.image_low < effect.estimate < effect.image_high
        widths[name] = effect.image_high - effect.image_low
        words = "drawn by group (200 groups)" if name == "group" else "drawn one by one"
        assert words in found.coverage[-1]
    assert widths["group"] == pytest.approx(2 * widths["single"], rel=0.2)


def test_predictions_that_do_not_give_the_recorded_figure_are_named(tmp_path: Path) -> None:
    study = write_study(tmp_path / "studies" / "s", {"none": [0.5, 0.5], "a": [0.9, 0.75]}, records=True)
    for run in (tmp_path / "runs").iterdir():
        write_predictions(
            run, [True, True, False, False] if "none" in run.name else [True, True, True, False], list("abcd")
        )
    (tmp_path / "runs" / "none-s1" / "val_predictions.npz").write_bytes(b"PK\x03\x04 cut off")
    found = answer(read_study(study))
    assert any("a-s0/val_predictions.npz: gives accuracy 0.7500, the record 0.9000" in w for w in found.warnings)
    assert any("none-s1/val_predictions.npz: is damaged" in warning for warning in found.warnings)
    assert primary(found)["a"].image_low is None  # no seed has both


def test_the_test_split_stands_beside_val_where_it_was_opened(tmp_path: Path) -> None:
    values = figures_around({"none": 0.7, "a": 0.75}, seeds=3)
    study = write_study(tmp_path / "studies" / "s", values, records=True)
    for run in (tmp_path / "runs").iterdir():
        name, seed = run.name.split("-s")
        (run / "test.json").write_text(json.dumps({"split": "test", "accuracy": values[name][int(seed)] - 0.02}))
    (study / "test_openings.csv").write_text("time,study\n2026-01-01,s\n")
    found = answer(read_study(study))
    effect = primary(found)["a"]
    assert effect.test_estimate == pytest.approx(effect.estimate)
    assert effect.test_low == pytest.approx(effect.low)
    assert any(sentence.startswith("On the test split, opened once, the differences") for sentence in found.sentences)
    (study / "test_openings.csv").write_text("time,study,count\n2026-01-01,s,2\n2026-01-02,s,3\n")
    again = answer(read_study(study)).sentences
    assert any(sentence.startswith("On the test split, opened 3 times, the differences") for sentence in again)
    (study / "test_openings.csv").write_text("time,study,count\n2026-01-01,s,often\n")
    assert any("test_openings.csv: is damaged" in warning for warning in answer(read_study(study)).warnings)


def test_mixed_provenance_and_synthetic_data_are_warned_of(tmp_path: Path) -> None:
    two = figures_around({"none": 0.7, "a": 0.72}, seeds=2)
    others: dict[str, Any] = {
        "provenance.commit": {"none": ["1" * 40, "2" * 40], "a": ["1" * 40] * 2},
        "synthetic": {"none": ["true"] * 2, "a": ["true"] * 2},
    }
    warnings = answered(tmp_path, two, others=others).warnings
    assert "Runs are of 2 commits: 111111111111 (3 runs) and 222222222222 (1 run)." in warnings
    assert any("The data are synthetic" in warning for warning in warnings)


def test_files_are_written_and_read_back(tmp_path: Path) -> None:
    found = answered(tmp_path, figures_around({"none": 0.7, "a_b": 0.75, "c & d | e": 0.7}), smallest_effect=0.01)
    folder = tmp_path / "out"
    write_answer(found, folder)
    again = read_effects(folder / "effects.csv")
    assert [(e.kind, e.name, e.metric, e.verdict) for e in again] == [
        (e.kind, e.name, e.metric, e.verdict) for e in found.effects
    ]
    for one, other in zip(again, found.effects, strict=True):
        assert (one.n, one.role, one.higher_is_better) == (other.n, other.role, other.higher_is_better)
        assert one.low == (None if other.low is None else pytest.approx(other.low, rel=1e-8))
    summary = (folder / "summary.md").read_text()
    assert summary.startswith("# s\n\n**Question.** Does it help?\n\n**Answer.** Compared with none")
    assert r"| `c & d \| e` |" in summary
    assert "Smallest effect of interest: 1.0 point." in summary
    assert "\npython src/train.py -m study=s model=small_cnn\n" in summary  # places are a machine's own
    latex = (folder / "effects.tex").read_text()
    assert r"a\_b & 5 & 0.7" in latex
    assert r"c \& d | e" in latex
    assert latex.count(r"\toprule") == latex.count(r"\bottomrule") == 1


def test_a_table_of_effects_that_is_none_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_effects(tmp_path / "effects.csv")
    (tmp_path / "effects.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="is no table of effects"):
        read_effects(tmp_path / "effects.csv")
    (tmp_path / "effects.csv").write_text("kind,name,estimate\nvariant,a,much\n")
    with pytest.raises(UserError, match="line 2: the row is damaged"):
        read_effects(tmp_path / "effects.csv")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="the answer cannot be written"):
        write_answer(answered(tmp_path, {"a": [0.5], "b": [0.5]}), tmp_path / "file")
