"""Options at evaluation: symmetries, dropout that stays on, ensembles; means of probabilities worked out by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own custom
from scipy.special import expit, softmax
from torch import nn

from evaluations import evaluate, read, records_of, register_of, rows, tiny
from terrablate.data.batches import Images
from terrablate.data.pack import ensure_pack
from terrablate.errors import ConfigError
from terrablate.evaluation.data import EvaluationSet
from terrablate.evaluation.options import RATES, SYMMETRIES, MeanProbability, dropout_left_on, has_dropout
from terrablate.evaluation.predictor import _check_square
from terrablate.models import dropout as surgery
from terrablate.training.record import Record
from terrablate.training.reload import deployed


def images(count: int = 3, height: int = 8, width: int = 8) -> EvaluationSet:
    stored = np.random.default_rng(0).integers(0, 9, (count, 2, height, width)).astype(np.uint8)
    labels = np.zeros(count, np.int64)
    return EvaluationSet((Images(stored, labels, np.arange(count)),), [], labels, nn.Identity(), None, "")  # type: ignore[arg-type]


# --- means


def test_mean_probabilities_of_one_label() -> None:
    logits = np.random.default_rng(0).normal(0, 3, (4, 5, 3)).astype(np.float32)
    mean = MeanProbability(several=False)
    for each in logits:
        mean.add(torch.from_numpy(each))
    expected = softmax(logits.astype(np.float64), axis=2).mean(0)
    np.testing.assert_allclose(mean.logits().softmax(1).numpy(), expected, rtol=1e-5)
    np.testing.assert_allclose(mean.logits().exp().numpy(), expected, rtol=1e-5)


def test_mean_probabilities_of_several_labels() -> None:
    logits = np.random.default_rng(0).normal(0, 3, (4, 5, 3)).astype(np.float32)
    mean = MeanProbability(several=True)
    for each in logits:
        mean.add(torch.from_numpy(each))
    expected = expit(logits.astype(np.float64)).mean(0)
    np.testing.assert_allclose(mean.logits().sigmoid().numpy(), expected, rtol=1e-5)


def test_means_of_certain_answers_stay_finite() -> None:
    for several in (False, True):
        mean = MeanProbability(several=several)
        mean.add(torch.tensor([[900.0, -900.0]]))
        mean.add(torch.tensor([[900.0, -900.0]]))
        assert torch.isfinite(mean.logits()).all()


# --- symmetries


def test_there_are_eight_different_symmetries_and_each_keeps_all_pixels() -> None:
    square = torch.arange(9.0).reshape(1, 1, 3, 3)
    seen = {tuple(view(square).flatten().tolist()) for view in SYMMETRIES}
    assert len(seen) == 8
    assert all(sorted(each) == list(range(9)) for each in seen)
    assert torch.equal(SYMMETRIES[0](square), square)


def test_the_mean_over_symmetries_does_not_depend_on_how_an_image_lies() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))
    batch = torch.randn(5, 1, 8, 8)

    def predict(shown: torch.Tensor) -> torch.Tensor:
        mean = MeanProbability(several=False)
        for view in SYMMETRIES:
            mean.add(network(view(shown)))
        return mean.logits()

    with torch.inference_mode():
        for view in SYMMETRIES:
            torch.testing.assert_close(predict(view(batch)), predict(batch), rtol=1e-4, atol=1e-5)
        assert not torch.allclose(network(SYMMETRIES[1](batch)), network(batch), atol=1e-2)


def test_images_that_are_not_square_have_no_such_symmetries() -> None:
    _check_square(images().parts)
    with pytest.raises(ConfigError, match=r"tta=true: the images have 8x6 pixels"):
        _check_square(images(width=6).parts)


def test_tta_is_the_mean_over_the_symmetries_of_the_stored_images(home: Path, study: Path) -> None:
    evaluate(home, "study=tiny", "tta=true")
    pack = ensure_pack(tiny(home).data, home / "packs", ("test",))
    trained = ensure_pack(tiny(home).data, home / "packs")
    folder = records_of(study)["plain", 0]
    network, inputs = deployed(Record(folder), tiny(home), trained)
    stored = np.array(pack.images("test"))
    by_hand = []
    for quarters in range(4):
        turned = np.rot90(stored, quarters, axes=(2, 3))
        for shown in (turned, turned[:, :, :, ::-1]):
            with torch.inference_mode():
                by_hand.append(softmax(network(inputs(torch.from_numpy(shown.astype(np.int32)))).numpy(), axis=1))
    found = np.load(folder / "test_predictions.npz")
    np.testing.assert_allclose(softmax(found["logits_tta"], axis=1), np.mean(by_hand, axis=0), atol=1e-4)
    content = read(folder / "test.json")
    expected = np.mean(by_hand, axis=0)[np.arange(23), found["labels"]]
    assert content["variants"]["tta"]["nll"] == pytest.approx(-np.log(expected).mean(), abs=1e-3)
    assert set(content["variants"]["tta"]) == set(content["val"]["variants"]["tta"]) >= {"ece", "nll", "accuracy"}


# --- dropout


class Functional(nn.Module):
    """Applies its rate as a function, as some networks of timm and torchvision do."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.drop_rate = rate
        self.norm = nn.BatchNorm2d(2)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return F.dropout(self.norm(values), self.drop_rate, self.training)


@pytest.mark.parametrize(
    ("network", "drops"),
    [
        (nn.Sequential(nn.Dropout(0.5)), True),
        (nn.Sequential(nn.Dropout(0.0)), False),
        (nn.Sequential(nn.Dropout2d(0.2)), True),
        (Functional(0.5), True),
        (Functional(0.0), False),
        (nn.Sequential(nn.BatchNorm2d(2), nn.ReLU()), False),
    ],
)
def test_dropout_is_found_and_left_on_and_all_else_stays_in_eval_mode(network: nn.Module, drops: bool) -> None:
    assert has_dropout(network) == drops
    network.eval()
    values = torch.randn(4, 2, 32, 32)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with dropout_left_on(network):
        torch.manual_seed(0)
        first, second = network(values), network(values)
        assert not any(layer.training for layer in network.modules() if isinstance(layer, nn.BatchNorm2d))
    assert torch.equal(first, second) != drops
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(layer.training for layer in network.modules())
    assert torch.equal(network(values), network(values))


def test_stochastic_depth_of_timm_and_torchvision_counts_as_dropout() -> None:
    import timm
    import torchvision

    assert has_dropout(timm.create_model("vit_tiny_patch16_224", drop_path_rate=0.2, num_classes=3))
    assert has_dropout(torchvision.ops.StochasticDepth(0.2, "row"))
    assert not has_dropout(timm.create_model("resnet18", num_classes=3))


def test_rates_are_looked_for_where_dropout_surgery_removes_them() -> None:
    assert set(RATES) == set(surgery._RATES)


def test_mc_dropout_averages_passes_that_differ_and_a_seed_repeats_them(home: Path, study: Path) -> None:
    folder = records_of(study)["dropout", 0]

    def logits(*words: str) -> np.ndarray:
        evaluate(home, f"run={folder}", *words)
        found = np.load(folder / "test_predictions.npz")
        assert found["logits"].shape == found["logits_mc_dropout"].shape
        return found["logits_mc_dropout"]

    one = logits("mc_dropout=3")
    plain = softmax(np.load(folder / "test_predictions.npz")["logits"], axis=1)
    assert np.array_equal(logits("mc_dropout=3"), one)
    assert not np.array_equal(logits("mc_dropout=3", "seed=1"), one)
    few, many = (np.abs(softmax(each, axis=1) - plain).mean() for each in (one, logits("mc_dropout=200")))
    assert 0 < many < few  # the mean of many masks is near what dropout scales itself to
    assert read(folder / "test.json")["options"]["mc_dropout"] == 200


def test_variants_without_dropout_are_named_and_others_have_figures(
    home: Path, study: Path, caplog: pytest.LogCaptureFixture
) -> None:
    evaluate(home, "study=tiny", "mc_dropout=4")
    assert "mc_dropout: has no place in plain" in caplog.text
    contents = {key: read(folder / "test.json")["variants"] for key, folder in records_of(study).items()}
    assert {key[0] for key, variants in contents.items() if "mc_dropout" in variants} == {"dropout"}
    assert {row["variant"] for row in rows(study / "test.csv") if row["test.mc_dropout.nll"]} == {"dropout"}


def test_a_network_without_dropout_is_refused_before_anything_is_opened(home: Path, study: Path) -> None:
    folder = records_of(study)["plain", 0]
    with pytest.raises(ConfigError, match=r"mc_dropout=4: no network here has dropout that could be left on"):
        evaluate(home, f"run={folder}", "mc_dropout=4")
    assert register_of(folder) == []


# --- ensembles


def test_an_ensemble_is_the_mean_probability_of_the_seeds_of_a_variant(home: Path, study: Path) -> None:
    evaluate(home, "study=tiny", "ensemble=true", "tta=true")
    content = read(study / "test_ensembles.json")
    assert [(each["variant"], each["kind"], each["members"]) for each in content["ensembles"]] == [
        ("plain", "plain", [0, 1]), ("plain", "tta", [0, 1]), ("dropout", "plain", [0, 1]), ("dropout", "tta", [0, 1]),
    ]  # fmt: skip
    members = [np.load(records_of(study)["plain", seed] / "test_predictions.npz") for seed in (0, 1)]
    mean = np.mean([softmax(each["logits"].astype(np.float64), axis=1) for each in members], axis=0)
    labels = members[0]["labels"]
    found = content["ensembles"][0]["test"]
    assert found["figures"]["accuracy"] == pytest.approx((mean.argmax(1) == labels).mean(), abs=1e-6)
    assert found["figures"]["nll"] == pytest.approx(-np.log(mean[np.arange(23), labels]).mean(), abs=1e-5)
    alone = [read(records_of(study)["plain", seed] / "test.json")["nll"] for seed in (0, 1)]
    assert found["members"]["nll"] == pytest.approx(np.mean(alone), abs=1e-6)
    assert found["figures"]["nll"] < found["members"]["nll"]  # by Jensen's inequality
    table = rows(study / "test_ensembles.csv")
    assert float(table[0]["test.nll"]) == found["figures"]["nll"]
    assert float(table[1]["val.mean_of_members.ece"]) == content["ensembles"][1]["val"]["members"]["ece"]


def test_ensembles_of_val_open_nothing(home: Path, study: Path) -> None:
    evaluate(home, "study=tiny", "split=val", "ensemble=true")
    assert [set(each) for each in read(study / "val_options_ensembles.json")["ensembles"]] == 2 * [
        {"variant", "kind", "members", "val"}
    ]
    assert register_of(study) == []
