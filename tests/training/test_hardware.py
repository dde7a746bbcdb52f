"""What a run uses on a machine: precision, compilers, how kernels are chosen."""

import dataclasses
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import torch

from terrablate.config import Config
from terrablate.config.identity import Hardware
from terrablate.config.schema import Trainer
from terrablate.errors import ConfigError
from terrablate.training import hardware as devices
from terrablate.training.run import prepare

PLAIN = Trainer(name="auto", accelerator="auto", devices=1, strategy="auto", precision="auto", checkpoint_seconds=1.0)


def resolve(**keys: Any) -> Hardware:
    return devices.resolve(dataclasses.replace(PLAIN, **keys))


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """A GPU of a compute capability, as far as resolving asks."""

    def pretend(major: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or major >= 8
        )

    return pretend


def test_auto_is_bf16_where_the_gpu_computes_in_it(gpu: Callable[[int], None]) -> None:
    gpu(9)
    assert resolve().precision == "bf16"
    assert resolve(precision="32").precision == "32"
    assert resolve(accelerator="cpu").precision == "32"


def test_auto_is_32_on_gpus_that_would_emulate_bf16_and_on_the_cpu(gpu: Callable[[int], None]) -> None:
    assert resolve(accelerator="cpu").precision == "32"
    gpu(7)
    assert resolve().precision == "32"


def test_a_run_is_the_same_whether_its_precision_was_given_or_found(compose: Callable[..., Config]) -> None:
    given, found = (prepare(compose("trainer=cpu", f"trainer.precision={name}")) for name in ("32", "auto"))
    assert found.identity == given.identity
    assert found.config.trainer.precision == "32"  # as its record will say


@pytest.mark.parametrize(
    ("accelerator", "environment", "present", "missing"),
    [
        ("cpu", {}, {"g++"}, None),
        ("cpu", {"CXX": "mine"}, {"mine"}, None),
        ("cpu", {}, {"gcc"}, "needs a C++ compiler, and there is no g++; install one, let CXX name one"),
        ("cpu", {"CXX": "mine"}, {"g++"}, "needs a C++ compiler, and there is no mine; install one"),
        ("auto", {}, {"clang"}, None),
        ("auto", {"CC": "mine"}, {"mine"}, None),
        ("auto", {}, {"g++"}, "needs a C compiler, and there is no gcc or clang; install one, let CC name one"),
    ],
)
def test_a_compiler_must_be_there(
    gpu: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
    accelerator: str,
    environment: dict[str, str],
    present: set[str],
    missing: str | None,
) -> None:
    gpu(9)
    for name in ("CC", "CXX"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(shutil, "which", lambda name: name if name in present else None)
    assert resolve(accelerator=accelerator).world_size == 1
    with nullcontext() if missing is None else pytest.raises(ConfigError) as refused:
        resolve(accelerator=accelerator, compile="default")
    assert missing is None or f"trainer.compile=default: {missing}" in str(refused.value)


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"compile": "reduce-overhead"}, "trainer.compile=reduce-overhead: needs a GPU for its CUDA graphs"),
        ({"deterministic": False}, "trainer.deterministic=false: changes nothing on the CPU, and there is no GPU"),
    ],
)
def test_what_needs_a_gpu_is_refused_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch, keys: dict[str, Any], sentence: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError) as refused:
        resolve(**keys)
    assert sentence in str(refused.value)


@pytest.fixture
def settings_as_found(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: None)
    threads, benchmark = torch.get_num_threads(), torch.backends.cudnn.benchmark
    yield
    torch.use_deterministic_algorithms(False)
    torch.utils.deterministic.fill_uninitialized_memory = True  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = benchmark
    torch.set_num_threads(threads)
    os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


@pytest.mark.usefixtures("settings_as_found")
def test_how_a_gpu_chooses_its_kernels_follows_the_key() -> None:
    gpu = Hardware("cuda", 1, "32", 1)
    for deterministic in (True, False, True):  # nothing is left of the run before
        devices.prepare(gpu, deterministic=deterministic)
        assert torch.are_deterministic_algorithms_enabled() is deterministic
        assert torch.backends.cudnn.benchmark is not deterministic
    assert torch.is_deterministic_algorithms_warn_only_enabled()
    assert not torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


@pytest.mark.usefixtures("settings_as_found")
def test_the_cpu_is_left_alone() -> None:
    devices.prepare(Hardware("cpu", 1, "32", 1))
    assert not torch.are_deterministic_algorithms_enabled()
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
