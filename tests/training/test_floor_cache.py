"""What the classical floor keeps beside a pack: found again, never stale, and not needed."""

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from planted_chips import alternating, floor_of, packed
from terrablate.training import floor, floor_cache


def test_a_result_is_found_again(planted: SimpleNamespace, fits: list[int]) -> None:
    first = floor_of(planted)
    assert floor_of(planted) == first
    assert fits == [40]


@pytest.mark.parametrize(
    "change",
    [
        lambda data: setattr(data, "train_indices", np.arange(2, 40)),  # other images with the same labels
        lambda data: setattr(data, "val_indices", np.arange(2, 20)),
        lambda data: setattr(data, "given_labels", alternating(40)[::-1]),
        lambda data: np.save(data.pack.folder / "val_labels.npy", alternating(20)[::-1]),
        lambda data: data.pack.meta.update(fingerprint="g"),
    ],
)
def test_other_images_or_labels_have_a_result_of_their_own(
    planted: SimpleNamespace, fits: list[int], change: Callable[[SimpleNamespace], None]
) -> None:
    planted.train_indices, planted.val_indices = np.arange(38), np.arange(18)
    floor_of(planted)
    change(planted)
    floor_of(planted)
    assert len(fits) == 2
    assert len(json.loads((planted.pack.folder / "floor.json").read_text())) == 2


@pytest.mark.parametrize("what", ["scikit-learn", "method"])
def test_another_method_has_a_result_of_its_own(
    planted: SimpleNamespace, fits: list[int], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    floor_of(planted)
    if what == "method":
        monkeypatch.setitem(floor._METHOD, "version", 0)
    else:
        monkeypatch.setattr("importlib.metadata.version", lambda name: {"scikit-learn": "0.1"}[name])
    floor_of(planted)
    assert len(fits) == 2


def test_statistics_of_an_image_are_computed_once(planted: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[list[int]] = []
    compute = floor.image_statistics

    def seen(images: Any, rows: Any, threads: int) -> Any:
        computed.append(rows.tolist())
        return compute(images, rows, threads)

    monkeypatch.setattr(floor, "image_statistics", seen)
    planted.train_indices, planted.val_indices = np.array([3, 4, 8, 9]), np.array([2, 3])
    floor_of(planted)
    planted.train_indices = np.array([0, 3, 5, 8])
    kept = floor_of(planted)
    assert computed == [[3, 4, 8, 9], [2, 3], [0, 5]]
    for file in planted.pack.folder.glob("*floor*"):
        file.unlink()
    for file in planted.pack.folder.glob("*band_statistics*"):
        file.unlink()
    assert floor_of(planted) == kept


@pytest.mark.parametrize("damage", [b"", b'{"half', b"\x93NUMPY\x01\x00 cut"])
def test_damaged_files_are_written_anew(planted: SimpleNamespace, damage: bytes) -> None:
    first = floor_of(planted)
    kept = {file: file.read_bytes() for file in planted.pack.folder.iterdir() if file.name != ".floor.lock"}
    for name in ("floor.json", "train_band_statistics_v1.npy", "val_band_statistics_v1.npy"):
        (planted.pack.folder / name).write_bytes(damage)
    assert floor_of(planted) == first
    assert {file: file.read_bytes() for file in kept} == kept


def test_a_pack_that_cannot_be_written_has_a_floor_all_the_same(
    planted: SimpleNamespace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (planted.pack.folder / ".floor.lock").mkdir()  # permissions do not stop root, who may run this test
    before = sorted(planted.pack.folder.iterdir())
    with caplog.at_level("INFO"):
        found = floor_of(planted)
    assert "the classical floor is computed without being kept beside the pack" in caplog.text
    assert sorted(planted.pack.folder.iterdir()) == before
    assert found == floor_of(packed(tmp_path / "writable", alternating(40), alternating(20)))


def test_what_was_kept_is_found_where_nothing_can_be_written(planted: SimpleNamespace, fits: list[int]) -> None:
    first = floor_of(planted)
    (planted.pack.folder / ".floor.lock").unlink()
    (planted.pack.folder / ".floor.lock").mkdir()
    assert floor_of(planted) == first
    assert fits == [40]


def test_a_full_disk_costs_the_files_only(
    planted: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(floor_cache, "write_whole", full)
        found = floor_of(planted)
    assert "floor.json cannot be kept beside the pack: No space left on device" in caplog.text
    assert not (planted.pack.folder / "floor.json").exists()
    assert floor_of(planted) == found


def test_two_at_once_fit_once(planted: SimpleNamespace, fits: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    arrivals: list[None] = []
    both_are_here = threading.Event()
    lock, compute = floor_cache.FloorCache.lock, floor._compute

    def announced(cache: floor_cache.FloorCache) -> Any:
        arrivals.append(None)
        if len(arrivals) == 2:
            both_are_here.set()
        return lock(cache)  # a lock of its own, as each process has

    def slow(*arguments: Any) -> Any:
        assert both_are_here.wait(60)
        return compute(*arguments)

    monkeypatch.setattr(floor_cache.FloorCache, "lock", announced)
    monkeypatch.setattr(floor, "_compute", slow)
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda _: floor_of(planted), range(2)))
    assert results[0] == results[1]
    assert fits == [40]
