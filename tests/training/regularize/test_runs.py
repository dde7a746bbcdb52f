"""Regularisers in whole runs: neutral ones change no bit, others do; averages are evaluated, kept and resumed."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers import run_train
from terrablate.config import Config
from terrablate.data.module import ChipDataModule
from terrablate.errors import DataError
from terrablate.models.build import build
from terrablate.training.classifier import Classifier
from terrablate.training.inputs import Inputs
from terrablate.training.record import Record
from terrablate.training.regularize import Regularization
from terrablate.training.run import prepare, run

type Compose = Callable[..., Config]
type State = dict[str, torch.Tensor]

TINY = (
    "model=small_cnn", "model.width=4", "norm=batch", "dropout=head", "data.image_size=16", "data.train=44",
    "batch_size=16", "trainer=cpu", "trainer.threads=1", "trainer.checkpoint_seconds=0", "epochs=3",
    "data.train_per_class=3", "aug=flip",
)  # fmt: skip
pytestmark = pytest.mark.slow


def state(record: Record, which: str = "last") -> State:
    path = record.last_checkpoint if which == "last" else record.best_checkpoint
    return torch.load(path, weights_only=True)["state_dict"]


def same(one: State, other: State) -> bool:
    return set(one) == set(other) and all(torch.equal(value, other[name]) for name, value in one.items())


def curves(record: Record) -> list[dict[str, str]]:
    with (record.folder / "metrics.csv").open() as file:
        return [{name: value for name, value in row.items() if "second" not in name} for row in csv.DictReader(file)]


@pytest.fixture
def pretrained(compose: Compose) -> str:
    """Of a network to start from."""
    return f"weights.run={run(compose(*TINY, 'seed=5', 'epochs=1')).folder}"


# --- neutral values, and others

NEUTRAL = {
    "l1": ["regularize.l1.weight=0"],
    "l2_sp": ["regularize.l2_sp.weight=0", "regularize.l2_sp.head_weight=0"],
    "ema": ["regularize.ema.decay=0"],
    "adversarial": ["regularize.adversarial.epsilon=0", "regularize.adversarial.steps=2"],
    "smooth_input_gradient": ["regularize.smooth_input_gradient.weight=0"],
    "consistency": ["regularize.consistency.weight=0"],
}


def test_neutral_values_change_no_bit_and_others_do(compose: Compose, pretrained: str) -> None:
    given = [*TINY, "weights=run", pretrained]
    none = run(compose(*given))
    for name, neutral in NEUTRAL.items():
        record = run(compose(*given, f"regularize={name}", *neutral))
        assert same(state(record), state(none)), name
        assert curves(record) == curves(none), name
        changed = run(compose(*given, f"regularize={name}"))
        assert not same(state(changed), state(none)), name
        assert changed.result()["levels"]["regularize"] == name
    assert none.result()["levels"]["regularize"] == "none"


def test_many_at_once_run_and_are_named(compose: Compose) -> None:
    chosen = "regularize=[l1,ema,adversarial,smooth_input_gradient,consistency]"
    for more in ([], ["optim=sam"], ["optim.accumulate=2"], ["aug=all"], ["finetune=discriminative"]):
        record = run(compose(*TINY, chosen, *more))
        assert record.result()["levels"]["regularize"] == "l1+ema+adversarial+smooth_input_gradient+consistency"
        assert record.result()["status"] == "complete"


def test_half_precision_trains_with_attacks_and_views(compose: Compose) -> None:
    records = [
        run(compose(*TINY, "trainer.precision=bf16", *more)) for more in ([], ["regularize=[adversarial,consistency]"])
    ]
    assert not same(state(records[0]), state(records[1]))
    assert all(bool(value.isfinite().all()) for value in state(records[1]).values())


# --- averages


@pytest.fixture
def before_deployment(monkeypatch: pytest.MonkeyPatch) -> list[tuple[State, State, int]]:
    """Of each run from here on: the weights that trained, their average, and how often it was updated."""
    seen: list[tuple[State, State, int]] = []
    deploy = Classifier.deploy

    def deployed(module: Classifier) -> None:
        averaging = module.regularization.averaging
        if averaging is not None and averaging.network is not None:
            copies = [
                {f"network.{name}": value.clone() for name, value in network.state_dict().items()}
                for network in (module.network, averaging.network)
            ]
            seen.append((copies[0], copies[1], int(averaging.state_dict()["n_averaged"])))
        deploy(module)
        assert module.evaluated is module.network

    monkeypatch.setattr(Classifier, "deploy", deployed)
    return seen


def logits(config: Config, weights: State, data: ChipDataModule) -> torch.Tensor:
    pack = data.pack
    network = build(config, len(pack.bands), len(pack.classes), pack.image_size).network.eval()
    network.load_state_dict({name.removeprefix("network."): v for name, v in weights.items() if "network." in name})
    images = data.images("val")
    inputs = Inputs(config.data.scale, config.data.offset, pack.mean.tolist(), pack.std.tolist())
    with torch.inference_mode():
        return network(inputs(images.take(np.arange(len(images)))["image"]))


@pytest.mark.parametrize(
    ("given", "updates"),
    [
        (["regularize=ema", "regularize.ema.decay=0.8"], 6),
        (["regularize=ema", "regularize.ema.decay=0.8", "optim=sam"], 6),
        (["regularize=ema", "regularize.ema.decay=0.8", "optim.accumulate=2"], 3),
        (["regularize=swa", "regularize.swa.start=0.5"], 2),
    ],
)
def test_the_average_is_evaluated_and_is_what_the_record_holds(
    compose: Compose, before_deployment: list[tuple[State, State, int]], given: Sequence[str], updates: int
) -> None:
    config = compose(*TINY, *given)
    record = run(config)
    plain = run(compose(*TINY, *[word for word in given if not word.startswith("regularize")]))
    ((trained, average, count),) = before_deployment
    assert count == updates
    assert same(trained, {name: v for name, v in state(plain).items() if name in trained})  # training knows nothing
    assert set(state(record)) == set(state(plain))
    assert all(torch.equal(state(record)[name], value) for name, value in average.items())
    data, predictions = prepare(config).data, np.load(record.folder / "val_predictions.npz")
    for which in ("best", "last"):
        torch.testing.assert_close(
            logits(config, state(record, which), data), torch.from_numpy(predictions[f"logits_{which}"])
        )
    assert not np.allclose(logits(config, trained, data), predictions["logits_last"], atol=1e-3)
    assert "averaging" not in torch.load(record.last_checkpoint, weights_only=True)


def test_before_its_start_swa_evaluates_what_trains(compose: Compose) -> None:
    record, plain = (run(compose(*TINY, *more)) for more in (["regularize=swa", "regularize.swa.start=0.5"], []))
    assert curves(record)[0] == curves(plain)[0]
    assert [one["nll/val"] == two["nll/val"] for one, two in zip(curves(record), curves(plain), strict=True)] == [
        True, False, False,
    ]  # fmt: skip


# --- interrupted runs

CHOICES = {
    "ema": ["regularize=[l1,ema,adversarial]", "regularize.adversarial.steps=2"],
    "swa": ["regularize=[swa,consistency]", "regularize.swa.start=0.3"],
    "l2_sp": ["regularize=[l2_sp,smooth_input_gradient]"],
}


@pytest.mark.parametrize("name", CHOICES)
def test_a_run_that_was_interrupted_anywhere_gives_the_digits_of_an_undisturbed_one(
    compose: Compose, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pretrained: str, name: str
) -> None:
    weights = ["weights=run", pretrained] if name == "l2_sp" else []
    config = compose(*TINY, *CHOICES[name], *weights)
    whole = run(config)
    started = Classifier.on_train_batch_start
    written = Record.write_json

    def in_the_third_epoch(module: Classifier, batch: object, batch_idx: int) -> None:
        if module.current_epoch == 2 and batch_idx == 1:
            raise KeyboardInterrupt
        started(module, batch, batch_idx)

    def before_the_result(record: Record, file: str, content: object) -> Path:
        if file == "result.json":
            raise KeyboardInterrupt
        return written(record, file, content)

    for place, owner, method, interrupted in (
        ("epoch", Classifier, "on_train_batch_start", in_the_third_epoch),
        ("result", Record, "write_json", before_the_result),
    ):
        monkeypatch.setattr(config, "runs_dir", str(tmp_path / place))
        with monkeypatch.context() as patched:
            patched.setattr(owner, method, interrupted)
            with pytest.raises(KeyboardInterrupt):
                run(config)
        resumed = run(config)
        assert resumed.folder != whole.folder
        assert curves(resumed) == curves(whole)
        for which in ("best", "last"):
            assert same(state(resumed, which), state(whole, which)), (place, which)


# --- how batches and devices share what is added


def test_accumulated_batches_give_the_objective_and_the_weights_of_a_whole_one(compose: Compose) -> None:
    given = [*TINY, "norm=none", "dropout=none", "aug=none", "optim=sgd", "optim.lr=0.001", "epochs=2",
             "regularize=[l1,adversarial,smooth_input_gradient]", "regularize.l1.weight=0.01"]  # fmt: skip
    whole = run(compose(*given, "batch_size=32"))
    shared = run(compose(*given, "batch_size=8", "optim.accumulate=4"))
    for one, two in zip(curves(whole), curves(shared), strict=True):
        assert float(one["objective/train"]) == pytest.approx(float(two["objective/train"]), rel=1e-4)
    for name, value in state(whole).items():
        torch.testing.assert_close(state(shared)[name], value, rtol=1e-4, atol=1e-5)


def test_two_processes_train_like_one(tmp_path: Path) -> None:
    given = "data.train=41 data.val=21 data.test=10 data.size=16 batch_size=16 model=small_cnn model.width=4 epochs=2"
    chosen = "regularize=[l1,ema,adversarial,smooth_input_gradient]"
    for options in (["trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu"], ["trainer=cpu"]):
        done = run_train(tmp_path, *given.split(), "trainer.threads=1", chosen, "regularize.l1.weight=0.01", *options)
        assert done.returncode == 0, done.stderr
    one, two = (curves(Record(folder)) for folder in (tmp_path / "runs").iterdir())
    for first, second in zip(one, two, strict=True):
        for column in ("objective/train", "nll/val", "nll/probe"):
            assert float(first[column]) == pytest.approx(float(second[column]), rel=1e-4)


# --- consistency


def test_consistency_sees_exactly_the_images_that_the_label_budget_leaves_out(
    compose: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    views = Regularization.consistency

    def watched(
        self: Regularization, network: object, plain: torch.Tensor, augmented: torch.Tensor, step: int
    ) -> object:
        assert plain.shape == augmented.shape
        assert not torch.equal(plain, augmented)
        seen.append(plain)
        return views(self, network, plain, augmented, step)

    monkeypatch.setattr(Regularization, "consistency", watched)
    config = compose(*TINY, "regularize=consistency", "regularize.consistency.ratio=1", "epochs=1")
    run(config)
    data = prepare(config).data
    pack = data.pack
    inputs = Inputs(config.data.scale, config.data.offset, pack.mean.tolist(), pack.std.tolist())
    left_out = np.setdiff1d(np.arange(len(pack.labels("train"))), data.train_indices)
    expected = inputs(torch.from_numpy(np.array(pack.images("train"))[left_out]))
    found = torch.cat(seen)
    assert [len(part) for part in seen] == [16, 14]
    places = [[i for i, image in enumerate(expected) if torch.equal(image, view)] for view in found]
    assert all(len(place) == 1 for place in places)
    assert {place[0] for place in places[: len(left_out)]} == set(range(len(left_out)))


def test_consistency_without_images_to_spare_is_refused(compose: Compose) -> None:
    with pytest.raises(DataError, match=r"^data\.train_per_class=100: leaves out no label of the 44 training images"):
        run(compose(*TINY, "regularize=consistency", "data.train_per_class=100"))
