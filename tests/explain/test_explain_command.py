"""`explain.py` on real records: pictures and index, options that turn, several labels, and every refusal."""

import json
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import compose_in
from terrablate.config.choices import PROJECT
from terrablate.training import floor
from terrablate.training.run import run as train

TINY = (
    "model=small_cnn", "model.width=4", "epochs=2", "batch_size=16", "trainer=cpu", "trainer.threads=1",
    "data.train=60", "data.val=40", "data.test=20", "data.size=32",
)  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Records that no test changes: one label, several, frozen features, an average, a list of units."""
    folder = tmp_path_factory.mktemp("explained")
    few, floor.TREES = floor.TREES, 10
    runs = {
        "one": (),
        "several": ("data=synthetic_multilabel", "loss=bce", *TINY[-4:]),
        "frozen": ("finetune=frozen_features", "regularize=[]"),
        "mlp": ("model=mlp", "model.hidden=[8]"),
        "averaged": ("regularize=[ema]",),
    }
    found = {}
    for name, words in runs.items():
        given = TINY if name != "mlp" else TINY[2:]
        found[name] = train(compose_in(folder, *given, *words)).folder
    floor.TREES = few
    return found


@pytest.fixture
def explain(
    trained: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Call the command in this process: exit status, and what it said."""
    from terrablate.commands import hydra_command

    task = runpy.run_path(str(PROJECT / "src" / "explain.py"))["explain"]
    packs = next(iter(trained.values())).parents[1] / "packs"

    def called(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["explain.py", f"packs_dir={packs}", "accelerator=cpu", *words])
        capsys.readouterr()
        status = hydra_command(task, "explain", sweeps=False)
        said = capsys.readouterr()
        return status, said.out + said.err

    return called


def index(folder: Path, name: str = "index.json") -> list[dict[str, Any]]:
    return json.loads((folder / name).read_text(encoding="utf-8"))


def copied(folder: Path, target: Path) -> Path:
    return Path(shutil.copytree(folder, target / folder.name))


def test_all_pictures_of_a_run_stand_in_its_folder_with_an_index(
    explain: Callable[..., tuple[int, str]], trained: dict[str, Path], tmp_path: Path
) -> None:
    folder = copied(trained["one"], tmp_path)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    status, said = explain(f"run={folder}", "channels=2", "images=2")
    assert status == 0
    entries = index(folder / "explain")
    assert [entry["file"] for entry in entries] == [
        "filters.png", "activations_right.png", "activations_wrong.png",
        *(f"channels_{number}.png" for number in range(1, 5)),
        "gradcam_right.png", "gradcam_wrong.png", "embedding.png",
    ]  # fmt: skip
    for entry in entries:
        assert (folder / "explain" / entry["file"]).read_bytes().startswith(b"\x89PNG")
        assert entry["title"]
        assert entry["caption"].endswith(".")
        assert str(folder / "explain" / entry["file"]) in said
    assert index(folder / "explain", "reasons.json") == []
    assert {path: path.read_bytes() for path in before} == before


def test_options_turn_and_pictures_of_other_methods_stay(
    explain: Callable[..., tuple[int, str]], trained: dict[str, Path], tmp_path: Path
) -> None:
    pictures = tmp_path / "pictures"

    def called(*words: str) -> dict[str, bytes]:
        status, said = explain(f"run={trained['one']}", f"output={pictures}", *words)
        assert status == 0, said
        return {path.name: path.read_bytes() for path in pictures.glob("*.png")}

    first = called("methods=[gradcam,filters]", "images=2")
    assert set(first) == {"filters.png", "gradcam_right.png", "gradcam_wrong.png"}
    assert called("methods=[gradcam]", "images=3")["gradcam_wrong.png"] != first["gradcam_wrong.png"]
    assert called("methods=[gradcam]", "images=2")["gradcam_wrong.png"] == first["gradcam_wrong.png"]
    seeded = called("methods=[gradcam]", "images=2", "seed=5")
    assert seeded["gradcam_right.png"] != first["gradcam_right.png"]
    assert seeded["filters.png"] == first["filters.png"]
    chosen = called("methods=[gradcam]", "images=2", "layer=features.block2")
    assert chosen["gradcam_wrong.png"] != first["gradcam_wrong.png"]
    assert "features.block2 (8x8 places)" in index(pictures)[-1]["caption"]
    few, more = (called("methods=[activations]", f"channels={count}") for count in (1, 3))
    assert few["activations_right.png"] != more["activations_right.png"]
    sampled = called("methods=[embedding]", "sample=12")
    assert set(sampled) == set(more) | {"embedding.png"}
    assert "12 of the 40 val images" in index(pictures)[-1]["caption"]
    assert [entry["method"] for entry in index(pictures)] == [
        "filters", "activations", "activations", "gradcam", "gradcam", "embedding"
    ]  # fmt: skip
    others = called("methods=[filters]", "which=best")
    assert set(others) == {"filters.png"}, "pictures of other weights do not stay"
    assert others["filters.png"] != first["filters.png"]
    assert not (trained["one"] / "explain").exists()


def test_several_labels_are_explained(
    explain: Callable[..., tuple[int, str]], trained: dict[str, Path], tmp_path: Path
) -> None:
    status, said = explain(f"run={trained['several']}", f"output={tmp_path}", "channels=2", "images=3")
    assert status == 0, said
    files = [entry["file"] for entry in index(tmp_path)]
    assert {"gradcam_wrong.png", "activations_wrong.png", "embedding.png", "filters.png"} <= set(files)


def test_what_a_network_has_not_is_said_and_the_rest_is_drawn(
    explain: Callable[..., tuple[int, str]], trained: dict[str, Path], tmp_path: Path
) -> None:
    status, said = explain(f"run={trained['mlp']}", f"output={tmp_path / 'mlp'}", "methods=[gradcam,filters,channels]")
    assert status == 0
    assert "Grad-CAM: no layer has maps" in said
    (entry,) = index(tmp_path / "mlp", "reasons.json")
    assert entry["method"] == "gradcam"
    assert [each["file"] for each in index(tmp_path / "mlp")] == ["filters.png", "channels_1.png"]
    status, said = explain(f"run={trained['frozen']}", f"output={tmp_path / 'frozen'}", "channels=1")
    assert status == 0
    assert "Grad-CAM: the classifier on frozen features is no part of the network" in said
    assert "embedding.png" in [each["file"] for each in index(tmp_path / "frozen")]


def test_the_average_is_explained_where_training_had_one(
    explain: Callable[..., tuple[int, str]], trained: dict[str, Path], tmp_path: Path
) -> None:
    status, said = explain(f"run={trained['averaged']}", f"output={tmp_path}", "methods=[filters]", "which=last")
    assert status == 0, said


def test_a_run_is_found_by_its_id(
    explain: Callable[..., tuple[int, str]], trained: dict[str, Path], tmp_path: Path
) -> None:
    folder = trained["one"]
    words = (f"run={folder.name}", f"runs_dir={folder.parent}", f"output={tmp_path}", "methods=[filters]")
    assert explain(*words)[0] == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("run=nowhere",), "run=nowhere: there is no record of a run in "),
        ((), "run: a value is needed; give it as run=..."),
        (("run=RUN", "methods=[lime]"), "methods.0=lime: expected"),
        (("run=RUN", "methods=[]"), "methods=[]: expected a list of some of filters, activations"),
        (("run=RUN", "images=0"), "images=0: expected"),
        (("run=RUN", "sample=1"), "sample=1: expected"),
        (("run=RUN", "which=first"), "which=first: expected one of deployed, best, last"),
        (("run=RUN", "layer=nowhere", "methods=[gradcam]"), "layer=nowhere: there is none; allowed are"),
        (
            ("run=RUN", "layer=conv1", "methods=[filters]"),
            "layer=conv1: is the layer of Grad-CAM, and methods=[filters]",
        ),
        (("run=RUN", "image=3"), "image: there is no such key (did you mean images?)"),
        (("run=RUN", "accelerator=gpu"), "accelerator=gpu: there is no GPU"),
        (("run=RUN", "output=/proc/nowhere"), "output=/proc/nowhere: cannot be written"),
    ],
)
def test_mistakes_are_told_in_one_sentence(
    explain: Callable[..., tuple[int, str]], trained: dict[str, Path], words: tuple[str, ...], sentence: str
) -> None:
    if "accelerator=gpu" in words and __import__("torch").cuda.is_available():
        pytest.skip("there is a GPU")
    status, said = explain(*(word.replace("RUN", str(trained["one"])) for word in words))
    assert status == 2, said
    assert sentence in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda folder: (folder / "result.json").unlink(), "has not finished: it has no result.json"),
        (lambda folder: change(folder, status="failed"), "has not finished: its status is failed"),
        (
            lambda folder: change(folder, status="diverged", deployed=None),
            "has no such weights that give finite numbers",
        ),
        (lambda folder: (folder / "checkpoints" / "last.ckpt").unlink(), "did not keep it; which=best is there"),
        (lambda folder: shutil.rmtree(folder / "checkpoints"), "did not keep it; train.py with force=true"),
        (lambda folder: (folder / "checkpoints" / "last.ckpt").write_bytes(b"x"), "last.ckpt: is damaged"),
        (lambda folder: (folder / "val_predictions.npz").write_bytes(b"x"), "val_predictions.npz: is damaged"),
        (lambda folder: (folder / "val_predictions.npz").unlink(), "val_predictions.npz: is not there"),
        (lambda folder: (folder / "config.yaml").write_text("{"), "config.yaml: cannot be read"),
        (lambda folder: (folder / "config.yaml").write_text("seed: 1"), "was written by another version"),
        (lambda folder: predictions(folder, logits_last=1), "do not give its val predictions any more"),
        (lambda folder: predictions(folder, ids="x"), "are not those of the run; data_root=... says where"),
    ],
)
def test_records_that_cannot_be_explained_are_refused_in_one_sentence(
    explain: Callable[..., tuple[int, str]],
    trained: dict[str, Path],
    tmp_path: Path,
    spoil: Callable[[Path], object],
    sentence: str,
) -> None:
    folder = copied(trained["one"], tmp_path)
    spoil(folder)
    status, said = explain(f"run={folder}", "methods=[filters]")
    assert status == 2, said
    assert sentence in said
    assert "Traceback" not in said
    assert not (folder / "explain").exists()


def change(folder: Path, **values: Any) -> None:
    path = folder / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def predictions(folder: Path, **added: Any) -> None:
    path = folder / "val_predictions.npz"
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    if "ids" in added:
        arrays["ids"] = np.array([f"x{name}" for name in arrays["ids"]])
    else:
        arrays["logits_last"] = arrays["logits_last"][:, ::-1]
    np.savez(path, **arrays)


def test_a_damaged_index_is_written_anew(
    explain: Callable[..., tuple[int, str]], trained: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "index.json").write_text("{")
    (tmp_path / "reasons.json").write_text('["of somebody else"]')
    assert explain(f"run={trained['one']}", f"output={tmp_path}", "methods=[filters]")[0] == 0
    assert [entry["file"] for entry in index(tmp_path)] == ["filters.png"]


def test_settings_are_checked_before_torch_is_imported(trained: dict[str, Path]) -> None:
    script = (
        "import sys, runpy\n"
        f"sys.argv = ['explain.py', 'run=nowhere', 'runs_dir={trained['one'].parent}']\n"
        "try:\n"
        f"    runpy.run_path({str(PROJECT / 'src' / 'explain.py')!r}, run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    print(end.code, 'torch' in sys.modules)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.stdout.strip() == "2 False", ended.stderr


def test_the_help_lists_the_keys_of_this_command_and_no_groups() -> None:
    from terrablate.config.choices import help_text

    text = help_text("python src/explain.py", "Purpose.", primary="explain")
    assert "\n  methods: [filters, activations, channels, gradcam, embedding]" in text
    assert "groups and choices" not in text
    assert "batch_size" not in text
