"""Pruning in whole runs: what is removed, recorded, loaded again, resumed; and an amount of zero, which is none."""

import csv
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from terrablate.config import Config
from terrablate.errors import ConfigError, WeightsError
from terrablate.training import epoch_end
from terrablate.training.classifier import Classifier
from terrablate.training.record import Record
from terrablate.training.regularize.prune import Pruning
from terrablate.training.reload import deployed
from terrablate.training.run import prepare, run

type Compose = Callable[..., Config]
type State = dict[str, torch.Tensor]

TINY = (
    "model=small_cnn", "model.width=4", "norm=batch", "dropout=head", "data.image_size=16", "data.train=44",
    "batch_size=16", "trainer=cpu", "trainer.threads=1", "trainer.checkpoint_seconds=0", "epochs=4", "aug=flip",
)  # fmt: skip
PRUNE = ("regularize=prune", "regularize.prune.rounds=2", "regularize.prune.amount=0.5")
"""After epochs 1 and 3."""
pytestmark = pytest.mark.slow


def checkpoint(record: Record, which: str = "last") -> dict[str, object]:
    path = record.last_checkpoint if which == "last" else record.best_checkpoint
    return torch.load(path, weights_only=True)


def is_parameter(name: str) -> bool:
    return name.startswith("network.") and "running_" not in name and "num_batches" not in name


def same(one: State, other: State) -> bool:
    return set(one) == set(other) and all(torch.equal(value, other[name]) for name, value in one.items())


def curves(record: Record) -> list[dict[str, str]]:
    with (record.folder / "metrics.csv").open() as file:
        return [{name: value for name, value in row.items() if "second" not in name} for row in csv.DictReader(file)]


def reloaded_logits(record: Record, config: Config) -> torch.Tensor:
    data = prepare(config).data
    network, inputs = deployed(record, config, data.pack)
    images = data.images("val")
    with torch.inference_mode():
        return network(inputs(images.take(np.arange(len(images)))["image"]))


def test_a_run_removes_the_channels_and_says_so(compose: Compose, capsys: pytest.CaptureFixture[str]) -> None:
    config = compose(*TINY, *PRUNE)
    record = run(config)
    result, weights = record.result(), checkpoint(record)["state_dict"]
    assert result["status"] == "complete"
    prune = result["prune"]
    assert prune["events"] == [1, 3]
    widths = [weights[f"network.features.block{number}.conv.weight"].shape[0] for number in range(1, 5)]
    assert widths == [2, 4, 8, 16]
    assert [entry["after"] for entry in prune["channels"].values()] == [*widths, 10]
    trained = sum(value.numel() for name, value in weights.items() if is_parameter(name))
    assert prune["parameters"]["after"] == result["cost"]["parameters"] == trained
    counts = [int(row["parameters"]) for row in curves(record)]
    assert counts[0] == prune["parameters"]["before"] > counts[1] == counts[2] > counts[3] == trained
    assert result["deployed"]["parameters"] == trained
    assert prune["macs"]["after"] < 0.5 * prune["macs"]["before"]
    assert f"pruned        parameters {counts[0]:,} to {trained:,} (" in capsys.readouterr().out
    torch.testing.assert_close(
        reloaded_logits(record, config),
        torch.from_numpy(np.load(record.folder / "val_predictions.npz")["logits_last"]),
        atol=1e-5,
        rtol=1e-4,
    )


def test_nothing_happens_before_the_first_event_and_at_an_amount_of_zero(compose: Compose) -> None:
    none, zero, pruned = (run(compose(*TINY, *more)) for more in ([], [*PRUNE, "regularize.prune.amount=0"], [*PRUNE]))
    assert same(checkpoint(zero)["state_dict"], checkpoint(none)["state_dict"])
    assert curves(zero) == curves(none)
    assert set(checkpoint(zero)) == set(checkpoint(none))
    assert zero.result()["prune"] is none.result()["prune"] is None
    first = [
        {name: value for name, value in curves(each)[0].items() if name != "parameters"} for each in (none, pruned)
    ]
    assert first[0] == first[1]
    assert curves(pruned)[1]["nll/val"] != curves(none)[1]["nll/val"]


def test_each_knob_turns(compose: Compose) -> None:
    knobs = ("importance=random", "scope=global", "end=0.3")
    given = [[], *([f"regularize.prune.{knob}"] for knob in knobs)]
    records = [run(compose(*TINY, *PRUNE, *more)) for more in given]
    found = [(str(checkpoint(each)["pruning"]), *(row["parameters"] for row in curves(each))) for each in records]
    assert len(set(found)) == len(found)


def test_pruning_goes_with_everything_else(compose: Compose) -> None:
    pretrained = run(compose(*TINY, "seed=5", "epochs=1")).folder
    for more in (
        ["regularize=[prune,l1,ema,adversarial,smooth_input_gradient]"],
        ["regularize=[prune,swa]", "regularize.swa.start=0.3", "optim=sam"],
        ["regularize=[prune,l2_sp]", "weights=run", f"weights.run={pretrained}", "finetune=gradual"],
        ["regularize=[prune,consistency]", "data.train_per_class=3", "optim.accumulate=2", "schedule=plateau"],
        ["regularize=prune", "trainer.precision=bf16", "finetune=head", "weights=run", f"weights.run={pretrained}"],
    ):
        chosen = [word for word in PRUNE if not word.startswith("regularize=")]
        record = run(compose(*TINY, *chosen, *more))
        assert record.result()["status"] == "complete"
        assert record.result()["prune"]["events"] == [1, 3]
        assert "prune" in record.result()["levels"]["regularize"]


def test_an_average_that_was_pruned_is_evaluated_and_deployed(compose: Compose) -> None:
    config = compose(*TINY, *PRUNE, "regularize=[prune,ema]", "regularize.ema.decay=0.8", "robustness=true")
    record = run(config)
    assert (record.folder / "robustness.json").is_file()  # which refuses a network that gives other logits
    assert checkpoint(record)["state_dict"]["network.features.block1.conv.weight"].shape[0] == 2


def test_the_best_epoch_may_lie_before_an_event(compose: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    scores, rising = epoch_end.scores, itertools.count(2)
    monkeypatch.setattr(epoch_end, "scores", lambda *given: scores(*given) | {"nll/val": float(next(rising))})
    record = run(compose(*TINY, *PRUNE, "stop=early", "stop.patience=3", "robustness=true"))
    result, best = record.result(), checkpoint(record, "best")
    assert result["best"]["epoch"] == best["epoch"] == 1
    assert result["epochs"] == 4
    assert result["deployed"]["which"] == "best"
    assert best["state_dict"]["network.features.block1.conv.weight"].shape[0] == 4
    assert checkpoint(record)["state_dict"]["network.features.block1.conv.weight"].shape[0] == 2
    assert result["cost"]["parameters"] == result["prune"]["parameters"]["after"] == result["best"]["parameters"]
    assert (
        result["prune"]["parameters"]["after"] == result["prune"]["parameters"]["before"] > result["last"]["parameters"]
    )
    assert result["suspects"]["epoch"] == 1
    assert (record.folder / "robustness.json").is_file()  # which refuses a network that gives other logits


def test_a_run_that_stops_at_an_event_goes_without_it(compose: Compose) -> None:
    record = run(compose(*TINY, *PRUNE, "stop=fitted", "stop.accuracy=0"))
    assert record.result()["epochs"] == 1
    assert record.result()["prune"]["events"] == []
    assert "pruning" not in checkpoint(record)


def test_weights_of_a_pruned_run_bring_its_shapes_along(compose: Compose) -> None:
    source = run(compose(*TINY, *PRUNE))
    given = [*TINY, "seed=5", "weights=run", f"weights.run={source.folder}"]
    plain = compose(*given, "epochs=1")
    record = run(plain)
    assert record.result()["prune"] is None
    assert record.result()["cost"]["parameters"] == source.result()["cost"]["parameters"]
    assert checkpoint(record)["pruning"] == checkpoint(source)["pruning"]
    assert reloaded_logits(record, plain).shape == (20, 10)
    further = run(compose(*given, *PRUNE))
    assert further.result()["prune"]["parameters"]["before"] == source.result()["cost"]["parameters"]
    assert checkpoint(further)["state_dict"]["network.features.block4.conv.weight"].shape[0] == 8
    assert checkpoint(further)["pruning"][: len(checkpoint(source)["pruning"])] == checkpoint(source)["pruning"]
    with pytest.raises(WeightsError, match=r"was pruned, and its cuts do not fit the network"):
        run(compose(*(word for word in given if not word.startswith("model")), "model=sat6_cnn"))


def test_weights_of_a_pruned_run_are_resumed(compose: Compose, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = run(compose(*TINY, *PRUNE))
    config = compose(*TINY, *PRUNE, "seed=5", "weights=run", f"weights.run={source.folder}")
    whole = run(config)
    started = Classifier.on_train_batch_start

    def in_the_fourth_epoch(module: Classifier, batch: object, batch_idx: int) -> None:
        if module.current_epoch == 3:
            raise KeyboardInterrupt
        started(module, batch, batch_idx)

    monkeypatch.setattr(config, "runs_dir", str(tmp_path / "elsewhere"))
    with monkeypatch.context() as patched:
        patched.setattr(Classifier, "on_train_batch_start", in_the_fourth_epoch)
        with pytest.raises(KeyboardInterrupt):
            run(config)
    resumed = run(config)
    assert resumed.folder != whole.folder
    assert curves(resumed) == curves(whole)
    assert same(checkpoint(resumed)["state_dict"], checkpoint(whole)["state_dict"])


def test_a_quick_look_prunes_in_the_epochs_that_it_has(compose: Compose) -> None:
    assert run(compose(*TINY, "regularize=prune", "epochs=15", "debug=smoke")).result()["prune"]["events"] == [1]


def test_a_network_that_cannot_be_pruned_is_refused_before_it_trains(
    compose: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pruning, "cuts", lambda *_: [])
    with pytest.raises(ConfigError, match=r"^regularize=prune: no channels of model=small_cnn can go"):
        run(compose(*TINY, *PRUNE))
