"""Robustness: curves of what is invariant are flat and of what is not fall, and a finished run is never touched."""

import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from terrablate.augment.shifts import SHIFTS
from terrablate.config import Config
from terrablate.errors import ConfigError, UserError
from terrablate.training import metrics
from terrablate.training import robustness as module
from terrablate.training import run as run_module
from terrablate.training.record import Record
from terrablate.training.reload import deployed
from terrablate.training.robustness import FILE, PICTURE, SEVERITIES, shift_curves
from terrablate.training.robustness_figure import draw_robustness, wilson
from terrablate.training.run import prepare, run

Compose = Callable[..., Config]

TINY = ("model=small_cnn", "model.width=4", "epochs=2", "batch_size=16", "trainer=cpu", "trainer.threads=1")
NAMES = [shift.name for shift in SHIFTS]


@pytest.fixture
def done(compose: Compose) -> Record:
    return run(compose(*TINY, "robustness=true"))


def content(record: Record) -> dict[str, Any]:
    return json.loads((record.folder / FILE).read_text())


def files(record: Record) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in record.folder.rglob("*") if path.is_file()}


# --- curves of classifiers whose behaviour is known

BANDS = 3


def two_classes() -> tuple[list[torch.Tensor], torch.Tensor]:
    """Two batches of noise whose second class has a brighter second band: N,3,12,12 around 1."""
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 2
    images = 1 + 0.1 * torch.randn(60, BANDS, 12, 12, generator=rng)
    images[:, 1] += 0.3 * labels[:, None, None]
    return [images[:40], images[40:]], labels


def curves_of(predict: Callable[[torch.Tensor], torch.Tensor], seed: int = 0) -> dict[str, Any]:
    batches, labels = two_classes()
    logits = torch.cat([predict(images) for images in batches])
    spread = torch.full((BANDS,), 0.2)
    unshifted = metrics.curves(logits, labels)
    return shift_curves(predict, lambda: batches, labels, spread, seed=seed, unshifted=unshifted)


def by_level(images: torch.Tensor) -> torch.Tensor:
    """Looks at the brightness of the second band."""
    score = 20 * (images[:, 1].mean((1, 2)) - 1.15)
    return torch.stack([-score, score], 1)


def by_ratio(images: torch.Tensor) -> torch.Tensor:
    """Looks at the second band relative to all, which no common factor changes."""
    means = images.mean((2, 3))
    score = 20 * (means[:, 1] / means.mean(1) - 1.1)
    return torch.stack([-score, score], 1)


def test_a_curve_starts_without_a_shift_and_is_summed_up_by_its_area_and_its_end() -> None:
    found = curves_of(by_level)
    assert list(found["shifts"]) == NAMES
    for shift in SHIFTS:
        curve = found["shifts"][shift.name]
        assert curve["severity"] == list(SEVERITIES)
        assert curve["amount"] == [shift.amount(each) for each in SEVERITIES]
        accuracy, nll = curve["accuracy"], curve["nll"]
        assert (accuracy[0], nll[0]) == (found["unshifted"]["accuracy"], found["unshifted"]["nll"])
        assert len(accuracy) == len(nll) == len(SEVERITIES) == 6
        steps = [0.1, 0.2, 0.2, 0.2, 0.2, 0.1]
        assert curve["mean_accuracy"] == pytest.approx(np.dot(steps, accuracy))
        assert curve["mean_nll"] == pytest.approx(np.dot(steps, nll))
        assert curve["accuracy_lost"] == pytest.approx(accuracy[0] - accuracy[-1])
        assert curve["nll_gained"] == pytest.approx(nll[-1] - nll[0])
    mean = np.mean([curve["accuracy_lost"] for curve in found["shifts"].values()])
    assert found["summary"]["accuracy_lost"] == pytest.approx(mean)


def test_a_classifier_by_brightness_falls_under_brightness_and_haze_and_not_under_blur_and_noise() -> None:
    shifts = curves_of(by_level)["shifts"]
    for name in ("brightness", "haze"):
        assert shifts[name]["accuracy_lost"] > 0.3
        assert shifts[name]["nll"][-1] > shifts[name]["nll"][1] + 0.5
    assert shifts["blur"]["accuracy"] == [1.0] * 6  # it keeps the mean
    np.testing.assert_allclose(shifts["blur"]["nll"], shifts["blur"]["nll"][0], atol=1e-5)
    assert shifts["noise"]["accuracy"] == [1.0] * 6


def test_a_classifier_by_ratios_of_bands_is_flat_under_brightness_and_falls_under_gains_of_single_bands() -> None:
    shifts = curves_of(by_ratio)["shifts"]
    assert shifts["brightness"]["accuracy"] == [1.0] * 6
    np.testing.assert_allclose(shifts["brightness"]["nll"], shifts["brightness"]["nll"][0], atol=1e-5)
    assert shifts["band_gain"]["accuracy_lost"] > 0.2


def test_a_classifier_that_ignores_the_image_is_flat_under_every_shift() -> None:
    found = curves_of(lambda images: torch.tensor([[0.2, -0.1]]).expand(len(images), 2))
    for curve in found["shifts"].values():
        assert set(curve["accuracy"]) == {0.5}
        assert len(set(curve["nll"])) == 1


def test_the_seed_of_the_split_alone_decides_which_images_are_seen() -> None:
    assert curves_of(by_level) == curves_of(by_level)
    assert curves_of(by_level)["shifts"]["haze"]["nll"] != curves_of(by_level, seed=1)["shifts"]["haze"]["nll"]


# --- of a run


def test_a_run_leaves_curves_and_a_picture(done: Record) -> None:
    found, result = content(done), done.result()
    assert result is not None
    assert found["images"] == 20
    assert found["deployed"] == {"which": "last", "epoch": 2}
    assert found["synthetic"] is True
    assert list(found["shifts"]) == NAMES
    assert all(len(curve["accuracy"]) == 6 for curve in found["shifts"].values())
    assert any(curve["nll"][-1] != curve["nll"][0] for curve in found["shifts"].values())
    assert found["cost"]["seconds"] > 0
    assert found["code"] == result["provenance"]["code"]
    with Image.open(done.folder / PICTURE) as image:
        assert image.width > 500
        assert len(image.getcolors(1 << 24) or []) > 50
    assert not list(done.folder.rglob("*.part"))


@pytest.mark.parametrize("extra", [(), ("stop=early",), ("norm=batch", "data.normalize=percentile", "data.bands=rgb")])
def test_without_a_shift_the_network_of_the_record_gives_the_val_logits_that_stand_in_it(
    compose: Compose, extra: tuple[str, ...]
) -> None:
    config = compose(*TINY, "robustness=true", *extra)
    record = run(config)
    result = record.result()
    assert result is not None
    which = result["deployed"]["which"]
    assert which == ("best" if "stop=early" in extra else "last")
    data = prepare(config).data
    network, inputs = deployed(record, config, data.pack)
    stored = data.images("val").take(np.arange(20))["image"]
    with torch.inference_mode():
        logits = network(inputs(stored))
    expected = np.load(record.folder / "val_predictions.npz")[f"logits_{which}"]
    np.testing.assert_allclose(logits.numpy(), expected, atol=1e-5, rtol=1e-4)
    for name in ("accuracy", "nll"):
        assert content(record)["unshifted"][name] == pytest.approx(result["deployed"][f"{name}/val"], abs=1e-5)


def test_a_run_with_early_stopping_answers_for_its_best_weights_alone(compose: Compose) -> None:
    record = run(compose(*TINY, "stop=early"))
    record.last_checkpoint.unlink()
    assert content(run(compose(*TINY, "stop=early", "robustness=true")))["deployed"]["which"] == "best"


def test_a_finished_run_gets_its_curves_later_and_is_not_trained_again(
    compose: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = run(compose(*TINY))
    before = files(record)
    assert str(record.folder / FILE) not in before
    monkeypatch.setattr(run_module, "_fit", lambda *_: pytest.fail("trained again"))
    again = run(compose(*TINY, "robustness=true"))
    assert again.folder == record.folder
    after = files(record)
    assert set(after) - set(before) == {str(record.folder / FILE), str(record.folder / PICTURE)}
    assert {path: after[path] for path in before} == before


def test_curves_that_stand_are_not_computed_again_unless_the_code_has_changed(
    compose: Compose, done: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (done.folder / FILE).read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(module, "evaluate_robustness", lambda *_: pytest.fail("computed again"))
        run(compose(*TINY, "robustness=true"))
        run(compose(*TINY))
        (done.folder / FILE).write_text(json.dumps(content(done) | {"code": "another"}))
        run(compose(*TINY, "robustness=true", "code=any"))
    run(compose(*TINY, "robustness=true"))
    seconds = {"cost": None}
    assert content(done) | seconds == json.loads(before) | seconds


def test_damaged_curves_do_not_count(compose: Compose, done: Record) -> None:
    (done.folder / FILE).write_text('{"code": "')
    run(compose(*TINY, "robustness=true"))
    assert list(content(done)["shifts"]) == NAMES


def test_a_run_that_is_trained_anew_takes_its_curves_to_the_archive(compose: Compose, done: Record) -> None:
    run(compose(*TINY, "force=true"))
    assert not (done.folder / FILE).exists()
    assert (done.folder / "archive" / "1" / FILE).is_file()


def test_an_evaluation_that_is_cut_off_leaves_the_run_finished_and_nothing_half_done(
    compose: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    config = compose(*TINY, "robustness=true")
    with monkeypatch.context() as patched:
        patched.setattr(module, "shifted", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(config)
    (folder,) = Path(config.runs_dir).iterdir()
    assert Record(folder).finished()
    assert not (folder / FILE).exists()
    assert not (folder / PICTURE).exists()
    monkeypatch.setattr(run_module, "_fit", lambda *_: pytest.fail("trained again"))
    assert list(content(run(config))["shifts"]) == NAMES


def test_a_full_disk_is_one_sentence_and_leaves_the_run_finished(
    compose: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    record = run(compose(*TINY))
    monkeypatch.setattr(module, "draw_robustness", full)
    with pytest.raises(UserError, match="No space left on device; the run itself stands"):
        run(compose(*TINY, "robustness=true"))
    assert record.finished()
    assert not (record.folder / FILE).exists()


def test_a_record_whose_weights_do_not_give_its_predictions_is_refused(compose: Compose) -> None:
    record = run(compose(*TINY))
    checkpoint = torch.load(record.last_checkpoint, weights_only=True)
    name = next(name for name in checkpoint["state_dict"] if name.endswith("conv.weight"))
    checkpoint["state_dict"][name] *= 1.5
    torch.save(checkpoint, record.last_checkpoint)
    with pytest.raises(UserError, match="its weights do not give its val predictions any more"):
        run(compose(*TINY, "robustness=true"))
    assert record.finished()
    assert not (record.folder / FILE).exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "is not there"),
        (lambda path: torch.save({"state_dict": {"network.x": torch.ones(1)}}, path), "of another network"),
    ],
)
def test_a_record_without_its_weights_is_refused_in_one_sentence(
    compose: Compose, damage: Callable[[Path], None], message: str
) -> None:
    record = run(compose(*TINY))
    damage(record.last_checkpoint)
    with pytest.raises(UserError, match=message):
        run(compose(*TINY, "robustness=true"))


def test_a_diverged_run_has_no_curves_and_says_so(compose: Compose, caplog: pytest.LogCaptureFixture) -> None:
    record = run(compose(*TINY, "robustness=true", "optim=sgd", "optim.lr=1000000.0"))
    result = record.result()
    assert result is not None
    assert result["status"] == "diverged"
    assert not (record.folder / FILE).exists()
    assert "nothing to evaluate" in caplog.text


def test_it_makes_no_other_run(compose: Compose) -> None:
    assert prepare(compose(*TINY, "robustness=true")).identity == prepare(compose(*TINY)).identity


def test_the_shifted_images_are_the_same_for_runs_of_other_seeds(
    compose: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, seen = module.shifted, []

    def kept(*arguments: Any) -> torch.Tensor:
        seen.append(whole(*arguments))
        return seen[-1]

    monkeypatch.setattr(module, "shifted", kept)
    for seed in (1, 2):
        run(compose(*TINY, "epochs=1", "robustness=true", f"seed={seed}"))
    half = len(seen) // 2
    assert half == 5 * len(SHIFTS)
    assert all(torch.equal(first, second) for first, second in zip(seen[:half], seen[half:], strict=True))


def test_a_classifier_outside_the_network_is_refused(compose: Compose) -> None:
    with pytest.raises(ConfigError, match=r"^robustness=true: finetune=frozen_features answers by a classifier"):
        compose("model=small_cnn", "finetune=frozen_features", "robustness=true")


# --- the picture


def test_an_interval_is_wilsons() -> None:
    low, high = wilson(0.5, 100)
    assert (low, high) == (pytest.approx(0.4038, abs=1e-4), pytest.approx(0.5962, abs=1e-4))
    assert wilson(0.0, 20)[0] == pytest.approx(0.0, abs=1e-12)
    assert wilson(1.0, 20)[1] == pytest.approx(1.0, abs=1e-12)
    assert all(math.isnan(bound) for bound in wilson(float("nan"), 20))


def test_curves_that_are_not_finite_are_drawn_as_gaps() -> None:
    found = curves_of(by_level)
    found["shifts"]["haze"]["accuracy"][3:] = [float("nan")] * 3
    file = io.BytesIO()
    draw_robustness(file, "a run", {"images": 60, "synthetic": False, **found})
    with Image.open(file) as image:
        assert image.format == "PNG"
