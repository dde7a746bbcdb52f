"""Fine-tuning in whole runs: what trains at which epoch, at which rate, after resuming, on several devices."""

import csv
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from helpers import compose_in, run_train
from terrablate.config import Config
from terrablate.models.build import build
from terrablate.training import run as run_module
from terrablate.training.classifier import Classifier
from terrablate.training.record import Record
from terrablate.training.run import run
from terrablate.training.schedules import cosine_factor

type Compose = Callable[..., Config]

TINY = (
    "model=small_cnn", "model.width=4", "norm=batch", "data.image_size=16", "batch_size=16", "trainer=cpu",
    "trainer.threads=1", "trainer.checkpoint_seconds=0",
)  # fmt: skip
GRADUAL = ("finetune=gradual", "finetune.epochs_per_stage=1")
STAGES = ["features.block1", "features.block2", "features.block3", "features.block4", "head"]

_started = Classifier.on_train_batch_start


def watch(monkeypatch: pytest.MonkeyPatch, see: Callable[[Classifier], None]) -> None:
    """Look at the module as each training step begins."""

    def started(module: Classifier, batch: object, batch_idx: int) -> None:
        see(module)
        _started(module, batch, batch_idx)

    monkeypatch.setattr(Classifier, "on_train_batch_start", started)


def curves(record: Record) -> list[dict[str, str]]:
    with (record.folder / "metrics.csv").open() as file:
        return [{name: value for name, value in row.items() if "second" not in name} for row in csv.DictReader(file)]


def state(record: Record) -> dict[str, torch.Tensor]:
    whole = torch.load(record.last_checkpoint, weights_only=True)["state_dict"]
    return {name.removeprefix("network."): value for name, value in whole.items() if name.startswith("network.")}


def initial(config: Config) -> nn.Module:
    return build(config, 13, 10, 16).network


def test_a_gradual_run_thaws_a_stage_an_epoch_and_holds_the_rest_in_eval_mode(
    compose: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[int, list[tuple[set[str], set[str]]]] = defaultdict(list)

    def see(module: Classifier) -> None:
        network, epoch = module.network, module.current_epoch
        trains = {name.rpartition(".")[0] for name, p in network.named_parameters() if p.requires_grad}
        layers = {name for name, layer in network.named_modules() if layer.training and list(layer.parameters(False))}
        seen[epoch].append((trains, layers))

    watch(monkeypatch, see)
    record = run(compose(*TINY, *GRADUAL, "epochs=6"))
    for epoch in range(6):
        assert len(seen[epoch]) == 3
        thawed = tuple(STAGES[max(0, 4 - epoch) :])
        for trains, layers in seen[epoch]:
            assert trains == layers
            assert {name for name in trains if not name.startswith(thawed)} == set()
            assert all(any(name.startswith(stage) for name in trains) for stage in thawed)
    result = record.result()
    assert result is not None
    assert [stage["name"] for stage in result["finetune"]["stages"]] == STAGES
    assert [stage["trained_from_epoch"] for stage in result["finetune"]["stages"]] == [5, 4, 3, 2, 1]
    assert result["cost"]["trainable_parameters"] == result["cost"]["parameters"]


@pytest.mark.parametrize(("finetune", "still"), [(("finetune=head",), STAGES[:4]), (GRADUAL, STAGES[:2])])
def test_what_a_run_never_trained_is_as_it_began_to_the_bit(
    compose: Compose, finetune: tuple[str, ...], still: list[str]
) -> None:
    config = compose(*TINY, *finetune, "epochs=3", "optim.lr=0.1", "optim.weight_decay=0.1")
    record = run(config)
    began, ended = initial(config).state_dict(), state(record)
    moved = {name for name, value in ended.items() if not torch.equal(value, began[name])}
    assert {stage for stage in STAGES if any(name.startswith(f"{stage}.") for name in moved)} == set(STAGES) - set(
        still
    )
    result = record.result()
    assert result is not None
    trained = [stage["parameters"] for stage in result["finetune"]["stages"] if stage["name"] not in still]
    assert result["cost"]["trainable_parameters"] == sum(trained)


def test_each_stage_has_its_rate_at_each_step_and_that_of_the_head_is_logged(
    compose: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, float]] = []
    watch(
        monkeypatch,
        lambda module: seen.append({group["name"]: group["lr"] for group in module.optimizers().param_groups}),
    )
    finetune = ("finetune=discriminative", "finetune.factor=0.25")
    config = compose(*TINY, *finetune, "epochs=2", "schedule=cosine", "schedule.warmup=0.5", "optim.lr=0.01")
    record = run(config)
    factor = cosine_factor(config.schedule, 6)  # type: ignore[arg-type]
    assert len(seen) == 6
    for step, rates in enumerate(seen):
        wanted = {stage: 0.01 * factor(step) * 0.25**depth for depth, stage in enumerate(reversed(STAGES))}
        kinds = ("weights", "biases and norms")
        assert rates == pytest.approx({f"{stage}: {kind}": lr for stage, lr in wanted.items() for kind in kinds})
    assert [float(row["lr"]) for row in curves(record)] == pytest.approx([0.01 * factor(3), 0.01 * factor(6)])


@pytest.mark.slow
@pytest.mark.parametrize("finetune", [GRADUAL, ("finetune=discriminative",), ("finetune=head",)])
def test_a_run_that_was_cut_off_goes_on_to_the_same_digits(
    compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finetune: tuple[str, ...]
) -> None:
    code = run_module.code_identity()
    monkeypatch.setattr(run_module, "code_identity", lambda: code)
    options = (*TINY, *finetune, "epochs=4", "schedule=cosine", "aug=flip", "optim.weight_decay=0.1")
    undisturbed = run(compose(*options))
    config = compose(*options, f"runs_dir={tmp_path / 'cut-off'}")

    def interrupt(module: Classifier) -> None:
        if (module.current_epoch, module.global_step % 3) == (2, 1):
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        watch(patched, interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(config)
    resumed_at: list[int] = []
    watch(monkeypatch, lambda module: resumed_at.append(module.current_epoch))
    resumed = run(config)
    assert set(resumed_at) == {2, 3}
    assert curves(resumed) == curves(undisturbed)
    expected = state(undisturbed)
    assert all(torch.equal(value, expected[name]) for name, value in state(resumed).items())


@pytest.mark.slow
def test_the_rules_give_different_runs(compose: Compose) -> None:
    rules = ("full", "head", "gradual", "discriminative")
    records = [run(compose(*TINY, f"finetune={rule}", "epochs=2")) for rule in rules]
    assert len({record.folder for record in records}) == 4
    assert len({curves(record)[-1]["nll/val"] for record in records}) == 4


def test_head_dropout_acts_on_a_frozen_backbone(compose: Compose) -> None:
    plain = run(compose(*TINY, "finetune=head", "epochs=1"))
    dropped = run(compose(*TINY, "finetune=head", "epochs=1", "dropout=head", "dropout.p=0.5"))
    assert curves(plain)[0]["objective/train"] != curves(dropped)[0]["objective/train"]


# --- several devices

_DDP = ("trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu")
_PLAIN = (
    "data.train=41 data.val=21 data.test=10 data.size=16 batch_size=16 model=small_cnn model.width=4 epochs=3 "
    "optim.weight_decay=0.1 trainer.threads=1"
).split()


@pytest.mark.slow
def test_two_processes_thaw_like_one(tmp_path: Path) -> None:
    tables: list[list[dict[str, str]]] = []
    for folder, options in ((tmp_path / "two", _DDP), (tmp_path / "one", ("trainer=cpu",))):
        folder.mkdir()
        done = run_train(folder, *_PLAIN, *GRADUAL, *options)
        assert done.returncode == 0, done.stderr
        (found,) = (folder / "runs").iterdir()
        tables.append(curves(Record(found)))
        began = initial(compose_in(folder, *_PLAIN)).state_dict()
        moved = {name for name, value in state(Record(found)).items() if not torch.equal(value, began[name])}
        assert {stage for stage in STAGES if any(name.startswith(stage) for name in moved)} == set(STAGES[2:])
    for two, one in zip(*tables, strict=True):
        for name in ("objective/train", "nll/val", "nll/probe"):
            assert float(two[name]) == pytest.approx(float(one[name]), rel=1e-4)


@pytest.mark.slow
def test_two_processes_train_a_head_alone(tmp_path: Path) -> None:
    done = run_train(tmp_path, *_PLAIN, *_DDP, "finetune=head")
    assert done.returncode == 0, done.stderr
    (found,) = (tmp_path / "runs").iterdir()
    began = initial(compose_in(tmp_path, *_PLAIN)).state_dict()
    moved = {name for name, value in state(Record(found)).items() if not torch.equal(value, began[name])}
    assert moved == {"head.dense.weight", "head.dense.bias"}
