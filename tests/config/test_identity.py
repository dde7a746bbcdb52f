"""The identity of a run changes with what changes its digits, and with nothing else."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
from pydantic.dataclasses import dataclass as pydantic_dataclass

from terrablate.config import Config
from terrablate.config import identity as module
from terrablate.config.identity import Hardware, code_identity, identity, run_id
from terrablate.config.schema import BatchNorm

Compose = Callable[..., Config]
CPU = Hardware("cpu", 1, "32", 2)


def of(config: Config, data: str = "data", weights: str | None = None, hardware: Hardware = CPU) -> str:
    return identity(config, data, weights, hardware)


CHANGES = [
    "seed=1", "epochs=7", "batch_size=32", "eval_every=2", "steps=100",
    "data.train=41", "data.bands=rgb", "data.scale=5000", "data.offset=-1000", "data.image_size=32",
    "data.train_per_class=2", "data.val_per_class=1", "data.split_seed=1", "data.subset_seed=1", "data.normalize=none",
    "model=lenet", "model=small_cnn", "model=timm", "+model.kwargs.drop_path_rate=0.1",
    "norm=batch", "norm=none", "dropout=none", "dropout=head", "aug=flip", "aug=flip_color",
    "aug.operations=[{op:flip,horizontal:1.0}]",
    "optim=sgd", "optim.lr=0.002", "optim.weight_decay=0.1", "optim.betas=[0.8,0.999]",
    "schedule=cosine", "schedule=plateau", "stop=early", "stop=fitted", "weights=imagenet",
    "debug=smoke", "debug=one_batch", "debug=overfit_ten", "debug=profiler",
    "debug.epochs=3", "debug.max_train_batches=3",
    "debug.max_eval_images=3", "debug.train_images=9", "debug.by_heart=true",
    "debug.profile_steps=1",
    "regularize=l1", "regularize=ema", "regularize=[l1,ema]",
    "trainer.channels_last=true", "trainer.compile=default", "trainer.deterministic=false", "optim.fused=true",
]  # fmt: skip


@pytest.mark.parametrize("override", CHANGES)
def test_what_changes_digits_changes_the_identity(compose: Compose, override: str) -> None:
    assert of(compose(override)) != of(compose())


@pytest.mark.parametrize(
    ("choice", "override"),
    [
        ("norm=batch", "norm.momentum=0.2"),
        ("norm=batch", "norm.eps=0.001"),
        ("dropout=head", "dropout.p=0.4"),
        ("model=small_cnn", "model.width=16"),
        ("model=small_cnn", "model.norm_position=after"),
        ("model=lenet", "model.hidden=84"),
        ("model=timm", "model.timm_name=resnet18"),
        ("optim=sgd", "optim.momentum=0.9"),
        ("schedule=cosine", "schedule.warmup=0.1"),
        ("schedule=cosine", "schedule.final=0.1"),
        ("schedule=plateau", "schedule.factor=0.5"),
        ("stop=early", "stop.patience=3"),
        ("stop=early", "stop.metric=accuracy"),
        ("stop=fitted", "stop.accuracy=0.9"),
        ("weights=imagenet", "weights.partial=true"),
        ("weights=imagenet", "weights.tag=tv_in1k"),
        ("aug=flip", "aug.operations=[{op:flip,horizontal:0.4}]"),
        ("regularize=l1", "regularize.l1.weight=1"),
        ("regularize=[l1,ema]", "regularize.ema.decay=0.5"),
        ("regularize=[l1,ema]", "regularize.l1=null"),
    ],
)
def test_every_key_of_a_choice_changes_the_identity(compose: Compose, choice: str, override: str) -> None:
    assert of(compose(choice, override)) != of(compose(choice))


SAME = [
    "runs_dir=/elsewhere", "packs_dir=/elsewhere", "force=true", "code=any", "keep_optimizer=true", "lr_find=true",
    "suspects=false", "logger=wandb", "monitor.window=7", "monitor.tolerance=0.5",
    "trainer.threads=1", "trainer=cpu", "trainer.checkpoint_seconds=1", "data.storage=ram", "data.root=/elsewhere",
]  # fmt: skip


@pytest.mark.parametrize("override", SAME)
def test_where_and_how_fast_do_not_change_the_identity(compose: Compose, override: str) -> None:
    assert of(compose(override)) == of(compose())


@pytest.mark.parametrize(
    "neutral",
    [
        "trainer.channels_last=false",
        "trainer.compile=null",
        "trainer.deterministic=true",
        "optim.fused=auto",
        "data.offset=0",
        "data.image_size=null",
        "data.on_error=raise",
        "steps=null",
        "norm=native",
        "aug=none",
        "seed=0",
    ],
)
def test_a_key_at_its_neutral_default_leaves_the_identity(compose: Compose, neutral: str) -> None:
    assert of(compose(neutral)) == of(compose())


def test_a_new_key_at_its_neutral_default_leaves_the_identity_of_older_runs(compose: Compose) -> None:
    @pydantic_dataclass(kw_only=True)
    class Newer(BatchNorm):
        ghost: float = 0.0

    config = compose("norm=batch", "norm.momentum=0.2")
    old = asdict(config.norm)
    before = of(config)
    config.norm = Newer(**old)
    assert of(config) == before
    config.norm = Newer(**old, ghost=0.5)
    assert of(config) != before


def test_regularisers_have_one_order_and_none_of_them_leaves_the_identity(compose: Compose) -> None:
    assert of(compose("regularize=[l1,ema]")) == of(compose("regularize=[ema,l1]"))
    assert "regularize" not in module._essential(compose("regularize=[]"))
    assert module._essential(compose("regularize=l1"))["regularize"] == {"l1": {"weight": 1e-5}}


def test_a_budget_in_steps_replaces_epochs(compose: Compose) -> None:
    assert of(compose("steps=100", "epochs=3")) == of(compose("steps=100", "epochs=9"))


def test_paths_of_split_lists_do_not_change_the_identity_which_the_data_fingerprint_does(
    compose: Compose, tmp_path: Path
) -> None:
    here = ["data=folder", f"data.root={tmp_path}", "data.train_list=a", "data.val_list=b"]
    there = ["data=folder", f"data.root={tmp_path}", "data.train_list=/x/a", "data.val_list=/x/b"]
    assert of(compose(*here)) == of(compose(*there))


def test_what_a_published_set_is_read_as_changes_the_identity_and_how_it_is_verified_does_not(
    compose: Compose, tmp_path: Path
) -> None:
    for name, changes, leaves in (
        ("so2sat", "data.version=3_block data.val_fraction=0.1", "data.checksum=false"),
        ("patternnet", "data.fractions=[0.8,0.1,0.1]", "data.download=true"),
        ("sat6", "data.val_fraction=0.2", f"data.sha256={'a' * 64}"),
    ):
        (tmp_path / name).mkdir()
        given = [f"data={name}", f"data.root={tmp_path}"]
        assert of(compose(*given, *changes.split())) != of(compose(*given))
        assert of(compose(*given, leaves)) == of(compose(*given))


def test_paths_of_weights_do_not_change_the_identity_which_their_digest_does(compose: Compose, tmp_path: Path) -> None:
    for name in ("a.pt", "b.pt"):
        (tmp_path / name).touch()
    first = compose("weights=file", f"weights.path={tmp_path / 'a.pt'}")
    second = compose("weights=file", f"weights.path={tmp_path / 'b.pt'}")
    assert of(first, weights="x") == of(second, weights="x")
    assert of(first, weights="x") != of(second, weights="y")


@pytest.mark.parametrize(
    "hardware",
    [
        Hardware("cuda", 1, "32", 2),
        Hardware("cpu", 2, "32", 2),
        Hardware("cpu", 1, "bf16", 2),
        Hardware("cpu", 1, "32", 1),
    ],
)
def test_data_and_hardware_change_the_identity(compose: Compose, hardware: Hardware) -> None:
    config = compose()
    assert of(config, hardware=hardware) != of(config)
    assert of(config, data="other") != of(config)


def test_the_name_of_a_run_says_what_it_is(compose: Compose) -> None:
    config = compose("model=lenet", "aug=flip", "seed=4")
    assert run_id(config, "0123456789abcdef") == "synthetic-lenet-flip-s4-0123456789"


@dataclass
class Package:
    """A stand-in for the package's folder."""

    root: Path

    def write(self, path: str, text: str) -> str:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return code_identity()


def test_the_code_identity_follows_the_sources_that_decide_what_a_run_gives(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "_PACKAGE", tmp_path)
    package = Package(tmp_path)
    first = package.write("models/a.py", "1")
    assert package.write("models/a.py", "2") != first  # changed
    assert package.write("models/a.py", "1") == first
    assert package.write("data/b.py", "") != first  # added
    (tmp_path / "data/b.py").unlink()
    assert package.write("config/c.py", "3") == first  # decides nothing
    assert package.write("models/notes.txt", "3") == first
    (tmp_path / "models/a.py").rename(tmp_path / "models/b.py")
    assert code_identity() != first


@pytest.mark.parametrize("folder", ["data", "augment", "models", "training"])
def test_the_code_identity_covers_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: str) -> None:
    monkeypatch.setattr(module, "_PACKAGE", tmp_path)
    package = Package(tmp_path)
    assert package.write(f"{folder}/deep/a.py", "1") != package.write(f"{folder}/deep/a.py", "2")


def test_the_parameters_of_an_operation_are_never_neutral(compose: Callable[..., Config]) -> None:
    """Were they left out at their defaults, a run would keep its identity when a default changes."""
    recipe = module._essential(compose("aug=flip"))["aug"]["operations"]
    assert recipe == [{"op": "flip", "horizontal": 0.5, "vertical": 0.5}]
