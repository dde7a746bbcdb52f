"""Packs: written once and whole, found again, noticed when stale, and refused where they cannot be written."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from terrablate.config import Config
from terrablate.data.pack import FORMAT, Pack, ensure_pack
from terrablate.data.source import Split
from terrablate.errors import DataError

Compose = Callable[..., Config]


def write_folder(root: Path, count: int = 12) -> Path:
    """Two classes of small PNG files; the same bytes each time."""
    for number in range(count):
        file = root / ("forest", "water")[number % 2] / f"{number:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((16, 16, 3), number, np.uint8)).save(file)
    return root


@pytest.fixture
def pack_folder(compose: Compose, tmp_path: Path) -> Callable[..., Pack]:
    def pack(root: Path, *overrides: str, splits: tuple[Split, ...] = ("train", "val")) -> Pack:
        data = compose("data=folder", f"data.root={root}", *overrides).data
        return ensure_pack(data, tmp_path / "packs", splits)

    return pack


def test_a_pack_is_written_once_and_found_again(pack_folder: Callable[..., Pack], tmp_path: Path) -> None:
    root = write_folder(tmp_path / "images")
    first = pack_folder(root)
    written = (first.folder / "meta.json").stat().st_mtime_ns
    again = pack_folder(root, "data.scale=10", "data.train_per_class=2", "data.storage=ram")  # how a run uses it
    assert again.folder == first.folder
    assert (again.folder / "meta.json").stat().st_mtime_ns == written
    assert not list((tmp_path / "packs").glob(".writing*"))


def test_the_test_split_stays_out_unless_it_is_asked_for(pack_folder: Callable[..., Pack], tmp_path: Path) -> None:
    root = write_folder(tmp_path / "images")
    pack = pack_folder(root)
    assert set(pack.meta["splits"]) == {"train", "val"}
    assert not list(pack.folder.glob("test*"))
    test = pack_folder(root, splits=("test",))
    assert test.folder != pack.folder
    assert set(test.meta["splits"]) == {"test"}
    assert not set(test.ids("test")) & {*pack.ids("train"), *pack.ids("val")}


@pytest.mark.parametrize("setting", ["data.bands=[red]", "data.image_size=8", "data.split_seed=1", "data.folds=2"])
def test_settings_that_change_the_arrays_make_another_pack(
    pack_folder: Callable[..., Pack], tmp_path: Path, setting: str
) -> None:
    root = write_folder(tmp_path / "images")
    more = ["data.fold=0"] if "folds" in setting else []
    other = pack_folder(root, setting, *more)
    assert other.folder != pack_folder(root).folder
    assert other.fingerprint != pack_folder(root).fingerprint


def touch(root: Path) -> None:
    os.utime(root / "forest" / "00.png", ns=(1, 1))


def change(root: Path) -> None:
    Image.fromarray(np.full((16, 16, 3), 99, np.uint8)).save(root / "forest" / "00.png")


def add(root: Path) -> None:
    (root / "forest" / "new.png").write_bytes((root / "forest" / "00.png").read_bytes())


def remove(root: Path) -> None:
    (root / "forest" / "00.png").unlink()


def rename(root: Path) -> None:
    (root / "forest" / "00.png").rename(root / "forest" / "zz.png")


@pytest.mark.parametrize("act", [touch, change, add, remove, rename])
def test_a_changed_source_is_packed_anew(
    pack_folder: Callable[..., Pack], tmp_path: Path, act: Callable[[Path], None]
) -> None:
    root = write_folder(tmp_path / "images")
    before = pack_folder(root)
    act(root)
    after = pack_folder(root)
    assert after.folder != before.folder
    assert (after.fingerprint == before.fingerprint) == (act is touch)


def test_equal_content_in_two_places_has_one_fingerprint(pack_folder: Callable[..., Pack], tmp_path: Path) -> None:
    here, there = write_folder(tmp_path / "a"), write_folder(tmp_path / "b" / "c")
    assert pack_folder(here).folder != pack_folder(there).folder
    assert pack_folder(here).fingerprint == pack_folder(there).fingerprint


def test_a_pack_serves_when_its_source_is_gone(
    pack_folder: Callable[..., Pack], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = write_folder(tmp_path / "images")
    pack = pack_folder(root)
    root.rename(tmp_path / "gone")
    assert pack_folder(root) == pack
    assert "folder is not at hand; reading its pack" in caplog.text
    with pytest.raises(DataError, match=r"there is neither a folder .*/images nor a pack of folder in .*/packs"):
        pack_folder(root, "data.image_size=8")
    with pytest.raises(DataError, match="there is neither a folder"):
        pack_folder(root, splits=("test",))


def test_packs_of_several_states_are_not_chosen_among_when_the_source_is_gone(
    pack_folder: Callable[..., Pack], tmp_path: Path
) -> None:
    root = write_folder(tmp_path / "images")
    pack_folder(root)
    change(root)
    pack_folder(root)
    root.rename(tmp_path / "gone")
    with pytest.raises(DataError, match=r"holds packs of several of its states \(folder-\w+, folder-\w+\); remove"):
        pack_folder(root)


def test_a_pack_of_another_format_is_written_anew(pack_folder: Callable[..., Pack], tmp_path: Path) -> None:
    root = write_folder(tmp_path / "images")
    pack = pack_folder(root)
    (pack.folder / "meta.json").write_text(json.dumps(pack.meta | {"format": FORMAT - 1}))
    assert pack_folder(root) == pack


def test_a_failed_packing_leaves_nothing(pack_folder: Callable[..., Pack], tmp_path: Path) -> None:
    root = write_folder(tmp_path / "images")
    (root / "forest" / "00.png").write_text("no image")
    with pytest.raises(DataError, match=r"1 images cannot be read.*\n.*00.png"):
        pack_folder(root)
    assert not [path for path in (tmp_path / "packs").iterdir() if path.is_dir()]


def test_an_unwritable_packs_folder_is_named(compose: Compose, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    data = compose().data
    with pytest.raises(DataError, match=rf"^packs_dir={blocked}: a pack cannot be written there: "):
        ensure_pack(data, blocked)
    with pytest.raises(DataError, match=rf"^packs_dir={blocked}/below: a pack cannot be written there: Not a dir"):
        ensure_pack(data, blocked / "below")


PACKER = """
import sys, time
from pathlib import Path
import yaml
from terrablate.config import parse
from terrablate.data import packing
from terrablate.data.pack import ensure_pack

config = parse(yaml.safe_load(Path(sys.argv[1]).read_text()))
append = packing._Writer.append

def slow(self, images):
    append(self, images)
    self._file.flush()
    print("wrote", flush=True)
    time.sleep(60)

packing._Writer.append = slow
ensure_pack(config.data, Path(config.packs_dir))
"""


def test_a_killed_packing_is_not_taken_for_whole_and_the_next_one_succeeds(compose: Compose, tmp_path: Path) -> None:
    import yaml

    from terrablate.config import plain

    config = compose()
    settings = tmp_path / "config.yaml"
    settings.write_text(yaml.safe_dump(plain(config)))
    packs = tmp_path / "packs"
    packer = subprocess.Popen([sys.executable, "-c", PACKER, settings], stdout=subprocess.PIPE)
    assert packer.stdout is not None
    assert packer.stdout.readline() == b"wrote\n"
    packer.send_signal(signal.SIGKILL)
    packer.wait()
    packer.stdout.close()
    assert (packs / ".writing-synthetic" / "train_images.npy").is_file()  # it was in the middle
    assert not list(packs.glob("synthetic-*"))
    pack = ensure_pack(config.data, packs)
    assert len(pack.images("train")) == 40
    assert [path for path in packs.iterdir() if path.is_dir()] == [pack.folder]
    assert np.array_equal(pack.images("train"), ensure_pack(config.data, tmp_path / "other").images("train"))


def test_two_at_once_write_one_pack(compose: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    from terrablate.data import pack, packing

    config = compose()
    written: list[Path] = []
    arrivals: list[None] = []
    both_are_here = threading.Event()
    lock, write = pack._lock, packing.write_pack

    def announced(*arguments: Any) -> Any:
        arrivals.append(None)
        if len(arrivals) == 2:
            both_are_here.set()
        return lock(*arguments)  # a lock of its own, as each process has

    def slow(source: Any, data: Any, folder: Path, splits: Any) -> None:
        written.append(folder)
        assert both_are_here.wait(60)
        write(source, data, folder, splits)

    monkeypatch.setattr(pack, "_lock", announced)
    monkeypatch.setattr(packing, "write_pack", slow)
    with ThreadPoolExecutor(2) as pool:
        packs = list(pool.map(lambda _: ensure_pack(config.data, Path(config.packs_dir)), range(2)))
    assert len(written) == 1
    assert packs[0] == packs[1]


def test_the_synthetic_pack_holds_the_generators_scenes(compose: Compose) -> None:
    from terrablate.data.open_source import open_source

    config = compose("data.bands=[B08,B04]")
    pack = ensure_pack(config.data, Path(config.packs_dir))
    dataset = open_source(config.data).dataset("val")
    assert pack.bands == ["B08", "B04"]
    assert pack.images("val").dtype == np.uint16
    for index in range(len(dataset)):
        assert np.array_equal(pack.images("val")[index], dataset[index]["image"])
        assert pack.labels("val")[index] == dataset[index]["label"]
