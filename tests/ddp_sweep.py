"""A sweep over one and two CPU processes, and what it must leave."""

import csv
import json
from pathlib import Path

import pytest

DDP_GRID = (
    "data.train=41 data.val=21 data.test=10 data.size=16 batch_size=16 model=small_cnn model.width=4 epochs=2 "
    "trainer.threads=1 trainer=ddp trainer.accelerator=cpu trainer.devices=1,2 study.name=devices"
).split()
"""Without batch statistics the digits of both runs agree, unless a process trains on its share alone."""


def check_ddp_grid(folder: Path) -> None:
    """One record and one row a run, the world size asked for, and every batch once an epoch."""
    runs = sorted((folder / "runs").glob("[!.]*/"))
    results = {run: json.loads((run / "result.json").read_text()) for run in runs}
    assert [result["status"] for result in results.values()] == ["complete", "complete"]
    sizes = {run: result["provenance"]["hardware"]["world_size"] for run, result in results.items()}
    assert sorted(sizes.values()) == [1, 2]
    with (folder / "studies" / "devices" / "runs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["variant"]: (row["status"], sizes[Path(row["folder"])]) for row in rows} == {
        "trainer.devices=1": ("complete", 1),
        "trainer.devices=2": ("complete", 2),
    }
    tables = []
    for run in runs:
        with (run / "metrics.csv").open() as file:
            tables.append(list(csv.DictReader(file)))
    for one, two in zip(*tables, strict=True):
        # 41 images in batches of 16: two whole ones and one of 9
        assert one["step"] == two["step"] == str(3 * int(one["epoch"]))
        for name in ("objective/train", "nll/val", "nll/probe"):
            assert float(one[name]) == pytest.approx(float(two[name]), rel=1e-4)
