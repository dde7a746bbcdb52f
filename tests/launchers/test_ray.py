"""Hydra's Ray launcher, on a real local Ray."""

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from foreign_launchers import check_grid

pytest.importorskip("hydra_plugins.hydra_ray_launcher", reason="needs the extra launchers")
pytestmark = pytest.mark.slow


@pytest.fixture
def scratch() -> Iterator[Path]:
    """Ray's own folder; its sockets allow no long path."""
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    yield folder
    shutil.rmtree(folder)


def left_over(folder: Path) -> list[str]:
    """Command lines of processes that mention a folder."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = file.read_bytes().decode(errors="replace").replace("\0", " ")
        except OSError:  # it has ended
            continue
        found += [words] if str(folder) in words else []
    return found


def test_runs_share_a_cpu_and_ray_is_ended(tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # Ray keeps a token there
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    init = {"num_cpus": 1, "include_dashboard": "false", "_temp_dir": scratch}
    done = check_grid(
        tmp_path,
        "hydra/launcher=ray",
        *(f"+hydra.launcher.ray.init.{key}={value}" for key, value in init.items()),
        "+hydra.launcher.ray.remote.num_cpus=0.5",
    )
    assert len(set(re.findall(r"_run_job pid=(\d+)", done.stderr + done.stdout))) == 2  # at a time, on one CPU
    assert (scratch / "session_latest").is_symlink()
    assert left_over(scratch) == []
