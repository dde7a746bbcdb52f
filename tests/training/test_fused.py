"""torch's fused steps: the optimizer has them, takes the same way, and goes on after a cut and with a resumed run."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from terrablate.config import Config
from terrablate.errors import ConfigError
from terrablate.training.classifier import Classifier
from terrablate.training.optimizers import create_optimizer
from terrablate.training.run import _fit, _resumed_history, prepare

type Compose = Callable[..., Config]
TINY = (
    "trainer=cpu", "trainer.threads=1", "epochs=3", "batch_size=16", "data.train=44", "model=small_cnn",
    "model.width=4", "norm=batch", "trainer.checkpoint_seconds=0",
)  # fmt: skip


def train(config: Config) -> tuple[Classifier, list[float]]:
    job = prepare(config)
    job.record.last_checkpoint.parent.mkdir(parents=True, exist_ok=True)
    module, _ = _fit(job, [])
    with (job.record.folder / "metrics.csv").open() as file:
        return module, [float(row["nll/val"]) for row in csv.DictReader(file)]


def kinds_of_groups(module: Classifier) -> set[object]:
    return {group["fused"] for group in module.optimizers().param_groups}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "words",
    ["optim=sgd", "optim=momentum", "optim=adam", "optim=adamw optim.clip_norm=0.5", "optim=sam", "optim=sam_adamw",
     "optim=adamw optim.clip_norm=0.5 trainer.precision=bf16", "optim=momentum regularize=[prune,ema]"
     " regularize.prune.start=0 regularize.prune.rounds=1 trainer.channels_last=true"],
)  # fmt: skip
def test_a_fused_step_takes_the_same_way_within_rounding(compose: Compose, words: str) -> None:
    plain, losses = train(compose(*TINY, *words.split(), "optim.fused=false"))
    fused, others = train(compose(*TINY, *words.split(), "optim.fused=true"))
    assert kinds_of_groups(plain) == {None}
    assert kinds_of_groups(fused) == {True}
    assert others == pytest.approx(losses, rel=1e-2 if "bf16" in words else 1e-3)
    assert len(set(losses)) == 3


@pytest.mark.parametrize(
    ("words", "device", "expected"),
    [
        ("optim=adamw", "cpu", True),
        ("optim=adamw optim.fused=false", "cpu", None),
        ("optim=sam_adamw", "cpu", True),
        ("optim=momentum", "cpu", None),  # whose step takes little anyway
        ("optim=rmsprop", "cpu", None),
        ("optim=timm optim.timm_name=adamw", "cpu", None),
        ("optim=adamw", "meta", None),  # as on a GPU, where torch loops over lists of parameters
    ],
)
def test_a_step_is_fused_by_itself_where_that_pays(compose: Compose, words: str, device: str, expected: Any) -> None:
    network = torch.nn.Linear(3, 2, device=device)
    optimizer = create_optimizer([{"params": list(network.parameters())}], compose(*words.split()).optim)
    assert {group.get("fused") for group in optimizer.param_groups} == {expected}


def test_a_parameter_with_holes_in_its_memory_is_not_stepped_fused_by_itself(compose: Compose) -> None:
    """Torch's fused step would go through the holes, and miss as many of its numbers."""
    optim = compose("optim=adamw").optim
    for parameter, expected in ((torch.zeros(4, 6)[:, :3], None), (torch.zeros(4, 6).t(), True)):
        optimizer = create_optimizer([{"params": [torch.nn.Parameter(parameter)]}], optim)
        assert optimizer.param_groups[0]["fused"] is expected
    asked = compose("optim=momentum", "optim.fused=true").optim
    with pytest.raises(ConfigError, match=r"^optim\.fused=true: the network has a parameter with holes"):
        create_optimizer([{"params": [torch.nn.Parameter(torch.zeros(4, 6)[:, :3])]}], asked)


@pytest.mark.parametrize("words", ["optim=adamw", "optim=momentum", "optim=nesterov", "optim=sam", "optim=sgd"])
def test_a_parameter_may_have_its_first_gradient_later_than_others(compose: Compose, words: str) -> None:
    """As stages have that thaw."""
    found = []
    for fused in ("true", "false"):
        early, late = (torch.nn.Parameter(torch.linspace(1, 2, 3)) for _ in range(2))
        optim = compose(*words.split(), f"optim.fused={fused}").optim
        optimizer = create_optimizer([{"params": [early, late]}], optim)
        for step in range(4):

            def closure(step: int = step, early: Any = early, late: Any = late, optimizer: Any = optimizer) -> Any:
                optimizer.zero_grad()
                loss = (early**2).sum() + (late**2).sum() * (step > 1)
                loss.backward()
                late.grad = late.grad if step > 1 else None
                return loss

            optimizer.step(closure)
        found.append(torch.cat([early, late]).detach())
    torch.testing.assert_close(*found)


def test_what_is_left_of_the_momenta_after_a_cut_lies_in_memory_as_the_parameters(compose: Compose) -> None:
    """A fused step goes through the memory of both at once, whatever their strides say."""
    words = "optim=adamw optim.fused=true trainer.channels_last=true regularize=prune regularize.prune.start=0"
    module, _ = train(compose(*TINY, *words.split(), "regularize.prune.rounds=1"))
    state = module.optimizers().state  # type: ignore[union-attr]
    assert module.cuts
    assert any(parameter.ndim == 4 for parameter in state)
    for parameter, own in state.items():
        assert own["exp_avg"].stride() == own["exp_avg_sq"].stride() == parameter.stride()


def test_a_resumed_run_gives_the_digits_of_an_undisturbed_one(
    compose: Compose, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    words = ("optim=adamw", "optim.fused=true", "trainer.channels_last=true")
    whole, _ = train(compose(*TINY, *words, f"runs_dir={tmp_path / 'whole'}"))
    monkeypatch.setattr(Classifier, "average_epoch", stop_after(2))
    with pytest.raises(RuntimeError, match="cut off"):
        train(compose(*TINY, *words))
    monkeypatch.undo()
    job = prepare(compose(*TINY, *words))
    history = _resumed_history(job)
    assert history.epochs == 1
    resumed, _ = _fit(job, [], history)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def stop_after(epochs: int) -> Callable[..., None]:
    calls: list[int] = []

    def average_epoch(module: Classifier, total: int) -> None:
        calls.append(total)
        if len(calls) == epochs:
            raise RuntimeError("cut off")

    return average_epoch
