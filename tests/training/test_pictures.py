"""Pictures are kept as numbers, drawn once, and never at the cost of the record."""

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from terrablate.study.artist import Artist
from terrablate.training import figures, pictures
from terrablate.training.overfitting import Evaluation, diagnose
from terrablate.training.pictures import FILE, Pictures, draw, draw_of
from terrablate.training.record import Record
from terrablate.training.wandb_curves import worst_images

DRAWN = {"curves.png", "augmentations.png", "worst/00.png", "worst/01.png"}


def kept(folder: Path, nll: float = 1.0) -> Record:
    """A record whose pictures wait."""
    folder.mkdir()
    record = Record(folder)
    evaluations = [Evaluation(epoch, nll, 0.9, 0.5, 0.6) for epoch in (1, 2, 3)]
    numbers = np.random.default_rng(0)
    Pictures(
        title="a run", evaluations=evaluations, diagnosis=diagnose(evaluations, 2.3), note="", floor=0.4,
        accuracy_name="accuracy", sheet_title="a sheet",
        originals=numbers.integers(0, 256, (2, 16, 16, 3), np.uint8),
        views=numbers.integers(0, 256, (2, 3, 16, 16, 3), np.uint8),
        worst=numbers.integers(0, 256, (2, 16, 16, 3), np.uint8),
    ).keep(record)  # fmt: skip
    return record


def drawn(record: Record) -> set[str]:
    return {str(path.relative_to(record.folder)) for path in record.folder.rglob("*.png")}


@pytest.mark.parametrize("nll", [1.0, float("nan"), float("inf")])
def test_what_was_kept_is_drawn_once(tmp_path: Path, nll: float) -> None:
    record = kept(tmp_path / "run", nll)
    assert drawn(record) == set()
    draw(record)
    assert drawn(record) == DRAWN
    assert not (record.folder / FILE).exists()
    (record.folder / "curves.png").unlink()
    draw(record)
    assert drawn(record) == DRAWN - {"curves.png"}


def test_a_sheet_shows_each_image_and_its_views(tmp_path: Path) -> None:
    originals, views = np.zeros((2, 16, 16, 3), np.uint8), np.zeros((2, 3, 16, 16, 3), np.uint8)
    originals[1], views[1, 2] = (250, 0, 0), (0, 0, 250)
    with (tmp_path / "sheet.png").open("wb") as file:
        figures.draw_augmentations(file, "a sheet", originals, views)
    with Image.open(tmp_path / "sheet.png") as image:
        red, blue = (np.argwhere((np.asarray(image) == color).all(-1)) for color in ((250, 0, 0), (0, 0, 250)))
    assert len(red) == len(blue) == 128 * 128  # eight times their size, unsmoothed
    assert red.min(0)[0] == blue.min(0)[0] > 128  # the second row
    assert blue.min(0)[1] - red.min(0)[1] == 3 * 8 * 17  # three columns on, one pixel of each free


def test_damaged_numbers_cost_the_pictures_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    record = kept(tmp_path / "run")
    whole = (record.folder / FILE).read_bytes()
    (record.folder / FILE).write_bytes(whole[:500])
    draw(record)
    assert "is damaged" in caplog.text
    assert drawn(record) == set()
    assert not (record.folder / FILE).exists()


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "disk full"), ValueError("no such font")])
def test_what_cannot_be_drawn_is_left_for_later_and_stops_no_artist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    record = kept(tmp_path / "run")
    with monkeypatch.context() as patch, Artist() as artist:
        patch.setattr(figures, "thumbnail", lambda *_, **__: (_ for _ in ()).throw(error))
        for _ in range(2):
            artist.draw(record.folder)
        artist._folders.put(None)
        artist._thread.join()
        assert artist.left == 0
    assert "the same command draws them" in caplog.text
    assert (record.folder / FILE).exists()
    draw(record)
    assert drawn(record) == DRAWN


def test_loggers_show_what_was_drawn(tmp_path: Path) -> None:
    record = kept(tmp_path / "run")
    draw(record)
    items = [{"file": f"worst/0{rank}.png", "label": "sea", "predicted": "river", "nll": 1.0} for rank in range(3)]
    record.write_json("worst/index.json", items)  # of three, two were drawn
    assert [path.name for path, _ in worst_images(record.folder)] == ["00.png", "01.png"]


def test_a_record_that_another_process_holds_is_its_to_draw(tmp_path: Path) -> None:
    record = kept(tmp_path / "run")
    with Record(record.folder).claim():
        draw_of(record.folder)
        assert drawn(record) == set()
    draw_of(record.folder)
    assert drawn(record) == DRAWN
    draw_of(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_an_artist_has_drawn_all_when_it_ends_and_stops_when_it_is_told_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [kept(tmp_path / str(number)) for number in range(3)]
    with Artist() as artist:
        for record in records[:2]:
            artist.draw(record.folder)
    assert [drawn(record) for record in records] == [DRAWN, DRAWN, set()]

    stopping = Artist()
    begun: list[Any] = []
    monkeypatch.setattr(pictures, "draw", lambda record: (begun.append(record.folder), stopping.stop()))
    for name in ("a", "b"):
        stopping.draw(kept(tmp_path / name).folder)
    with stopping:
        pass
    assert begun == [tmp_path / "a"]
    assert (tmp_path / "b" / FILE).exists()
