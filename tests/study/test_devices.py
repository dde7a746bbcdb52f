"""Which devices are found, and what a worker on one of them sees."""

from pathlib import Path

import pytest

from terrablate.study import devices
from terrablate.study.devices import Device, cores, find_devices, visible_gpus


@pytest.fixture
def gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with three GPUs, as far as `nvidia-smi` tells."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\nprintf '0\\n1\\n2\\n'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.fixture
def no_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize(
    ("allowed", "seen"),
    [
        (None, ["0", "1", "2"]),
        ("2,0", ["2", "0"]),
        ("1,7,0", ["1"]),
        ("", []),
        ("-1", []),
        ("GPU-5a", ["GPU-5a"]),
    ],
)
def test_only_the_visible_gpus_are_found(monkeypatch: pytest.MonkeyPatch, allowed: str | None, seen: list[str]) -> None:
    if allowed is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", allowed)
    assert visible_gpus() == seen


@pytest.mark.usefixtures("gpus")
def test_each_gpu_has_a_slot_and_its_worker_sees_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,0")
    assert find_devices() == [Device("gpu0", "2", 1), Device("gpu1", "0", 1)]
    assert find_devices([1], 3) == [Device("gpu1", "0", 3)]
    assert find_devices([1], 3)[0].environment() == {"CUDA_VISIBLE_DEVICES": "0"}
    assert find_devices("cpu")[0].visible == ""


@pytest.mark.usefixtures("no_gpus")
def test_without_a_gpu_each_core_has_a_slot_of_one_thread() -> None:
    (device,) = find_devices()
    assert (device.name, device.slots) == ("cpu", cores())
    assert device.environment()["CUDA_VISIBLE_DEVICES"] == ""
    assert device.environment()["OMP_NUM_THREADS"] == "1"
    assert find_devices(slots=5)[0].slots == 5


@pytest.mark.parametrize(
    ("quotas", "expected"),
    [
        ({"": "max 100000"}, float("inf")),
        ({"a/b": "250000 100000"}, 2.5),
        ({"a/b": "max 100000", "a": "150000 100000"}, 1.5),
        ({}, float("inf")),
    ],
)
def test_the_quota_of_a_container_is_found(tmp_path: Path, quotas: dict[str, str], expected: float) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    for place, quota in quotas.items():
        (tmp_path / place / "cpu.max").write_text(quota)
    membership = tmp_path / "membership"
    membership.write_text("0::/a/b\n")
    assert devices._quota(tmp_path, membership) == expected


def test_the_quota_of_an_older_kernel_is_found(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("300000\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert devices._quota(tmp_path, tmp_path / "no_such_file") == 3


def test_there_is_always_a_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_quota", lambda: 0.3)
    assert cores() == 1
