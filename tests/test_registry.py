"""Every choice of every group in `conf/`: its card, its name, and a run that trains, is loaded, is done, is resumed.

Choices are found by listing the folder: a new file is tested without anybody remembering to.
"""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
import torchgeo.datasets
import yaml
from PIL import Image

from miniatures import write_bigearthnet, write_patternnet, write_sat6, write_so2sat
from quick_weights import quick_weights
from terrablate.config import Config
from terrablate.config.choices import NONE_CHOSEN, Choice, all_choices, default_choices, groups, takes_several
from terrablate.config.identity import code_identity
from terrablate.errors import ConfigError
from terrablate.models.networks import SmallCNN
from terrablate.models.sizes import takes
from terrablate.training import floor
from terrablate.training import run as run_module
from terrablate.training.classifier import Classifier
from terrablate.training.inputs import Inputs
from terrablate.training.record import Record
from terrablate.training.reload import rebuilt
from terrablate.training.run import prepare, run

type Compose = Callable[..., Config]

SMALL = (
    "model=small_cnn", "model.width=4", "trainer=cpu", "trainer.threads=1", "debug.max_train_batches=2",
    "trainer.checkpoint_seconds=0", "epochs=2", "batch_size=8", "data.image_size=16",
)  # fmt: skip
CHOICES = [pytest.param(c, id=f"{c.group}={c.name}") for c in all_choices() if c.group != "study"]
"""Studies are many runs each: `study/`."""

HUGE = ("alexnet", "alexnet_torchvision", "resnet101", "resnet152", "vgg11", "vgg16", "wide_resnet50")
"""Networks whose checkpoints of up to half a gigabyte keep the disk busy for minutes; others of their kind resume."""


# --- data that the choices need, written small


def write_images(folder: Path, suffix: str, bands: int) -> dict[str, list[str]]:
    """Chips of 16 pixels in two classes, told apart by their brightness; returns the names of the files by class."""
    rng = np.random.default_rng(0)
    names: dict[str, list[str]] = {}
    for label, kind in enumerate(("Forest", "River")):
        (folder / kind).mkdir(parents=True)
        names[kind] = [f"{kind}_{number}.{suffix}" for number in range(1, 15)]
        for name in names[kind]:
            pixels = rng.integers(20 + 100 * label, 120 + 100 * label, (bands, 16, 16))
            if bands == 3:
                Image.fromarray(pixels.astype(np.uint8).transpose(1, 2, 0)).save(folder / kind / name)
                continue
            profile = {"driver": "GTiff", "count": bands, "height": 16, "width": 16, "dtype": "uint16"}
            with rasterio.open(folder / kind / name, "w", **profile) as tiff:
                tiff.write((pixels * 20).astype(np.uint16))
    return names


def write_torchgeo(root: Path, dataset: str) -> None:
    """A dataset as its class in torchgeo expects it on disk: its own folders, its own names of split files."""
    kind = getattr(torchgeo.datasets, dataset)
    bands = len(getattr(kind, "all_band_names", "rgb"))
    by_class = write_images(root / (kind.base_dir if hasattr(kind, "base_dir") else kind.directory), "tif", bands)
    files = getattr(kind, "split_filenames", {split: f"{dataset.lower()}-{split}.txt" for split in kind.splits})
    for split, where in (("train", slice(0, 8)), ("val", slice(8, 12)), ("test", slice(12, 14))):
        chosen = [name for names in by_class.values() for name in names[where]]
        (root / files[split]).write_text("\n".join(chosen) + "\n")


WRITERS: dict[str, Callable[[Path], object]] = {
    "patternnet": write_patternnet,
    "so2sat": write_so2sat,
    "sat6": write_sat6,
    "bigearthnet": write_bigearthnet,
}
"""By `data.source`: what writes it in miniature."""


def needs(choice: Choice, compose: Compose, folder: Path) -> Sequence[str]:
    """What a choice must be given besides its name, written or trained here."""
    match choice.group, choice.name:
        case "data", "folder":
            write_images(folder / "data", "png", bands=3)
            return [f"data.root={folder / 'data'}"]
        case "data", _:
            content = yaml.safe_load(choice.path.read_text())
            if content["source"] in WRITERS:
                WRITERS[content["source"]](folder / "data" / content["subfolder"])
                unverified = ["data.checksum=false"] if content["source"] == "so2sat" else []
                objective = ["loss=bce"] if content.get("labels") == "several" else []
                return [f"data.root={folder / 'data'}", *unverified, *objective]
            if content["source"] == "torchgeo":
                write_torchgeo(folder / "data" / content["subfolder"], content["dataset"])
                return [f"data.root={folder / 'data'}"]
            if content.get("labels") == "several":
                return ["loss=bce"]
        case "model", name:
            model = compose(f"model={name}", "data.image_size=128").model
            size = next(size for size in (16, 32, 64, 80) if takes(model, 13, 10, size))
            width = ["model.width=4"] if name == "small_cnn" else []
            return [f"data.image_size={size}", "optim=sgd", *width]  # without momenta in the checkpoints of large ones
        case "weights", "file":
            torch.save(SmallCNN(13, 10, 4, "before").state_dict(), folder / "weights.pth")
            return [f"weights.path={folder / 'weights.pth'}"]
        case "weights", "run":
            return [f"weights.run={run(compose(*SMALL, 'seed=5', 'epochs=1')).folder}"]
        case "weights", "imagenet":
            import timm

            torch.save(timm.create_model("test_resnet").state_dict(), folder / "weights.pth")
            network = ["model=timm", "model.timm_name=test_resnet", "~model.width", "data.image_size=32"]
            return [f"weights.file={folder / 'weights.pth'}", *network]
        case "weights", "torchgeo":
            import timm

            torch.save(timm.create_model("resnet18", in_chans=13, num_classes=0).state_dict(), folder / "weights.pth")
            weights = ["weights.weight=ResNet18_Weights.SENTINEL2_ALL_MOCO", f"weights.file={folder / 'weights.pth'}"]
            return [*weights, "model=resnet18", "~model.width", "data.image_size=32"]
        case "dropout", "path":  # the small network has no residual blocks
            return ["model=timm", "model.timm_name=resnet10t", "~model.width", "data.image_size=32"]
        case "logger", "wandb":
            return ["logger.mode=offline"]
        case "loss", "weighted":
            return ["data.train=43"]  # uneven classes
        case "regularize", "l2_sp":
            return ["weights=run", f"weights.run={run(compose(*SMALL, 'seed=5', 'epochs=1')).folder}"]
        case "regularize", "swa":
            return ["regularize.swa.start=0.5"]  # both epochs
        case "regularize", "prune":
            return ["regularize.prune.rounds=1"]  # between the two epochs
        case "regularize", "consistency":
            return ["data.train_per_class=2", "aug=flip"]
        case "debug", "one_batch" | "profiler" | "overfit_ten":
            return ["debug.epochs=2"]
        case "schedule", "step":
            return ["schedule.every=1"]
    return []


def overrides(choice: Choice, compose: Compose, folder: Path) -> list[str]:
    """The command line of a small run with this choice."""
    given = [f"{choice.group}={choice.name}", *needs(choice, compose, folder)]
    replaced = {word.split("=")[0] for word in given} | {"model.width" if choice.group == "model" else ""}
    replaced |= {word.removeprefix("~") for word in given if word.startswith("~")}
    return [*(word for word in SMALL if word.split("=")[0] not in replaced), *(w for w in given if w[0] != "~")]


# --- what every file must have


def test_every_group_of_the_primary_config_has_a_folder_and_a_default() -> None:
    assert set(default_choices()) == set(groups())
    found = {(choice.group, choice.name) for choice in all_choices()}
    found |= {(group, NONE_CHOSEN) for group in groups() if takes_several(group)}
    assert set(default_choices().items()) <= found


def test_neutral_choices_are_the_defaults() -> None:
    neutral = {
        "norm": "native", "dropout": "native", "aug": "none", "weights": "scratch", "finetune": "full", "stop": "none",
        "regularize": "[]", "debug": "none",
    }  # fmt: skip
    assert neutral.items() <= default_choices().items()


@pytest.mark.parametrize("choice", CHOICES)
def test_a_choice_opens_with_its_card_and_bears_the_name_of_its_file(choice: Choice) -> None:
    text = choice.path.read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert len(choice.card) >= 8
    content = yaml.safe_load(text)
    assert (list(content) == [choice.name]) if takes_several(choice.group) else (content["name"] == choice.name)


# --- what every choice must do


def curves(record: Record) -> list[dict[str, str]]:
    with (record.folder / "metrics.csv").open() as file:
        return [{name: value for name, value in row.items() if "second" not in name} for row in csv.DictReader(file)]


def reloaded_logits(record: Record, config: Config) -> torch.Tensor:
    """Logits of val of a network that is built anew and filled from the record."""
    job = prepare(config)
    pack, result = job.data.pack, record.result()
    assert result is not None
    standardisation = (result["normalization"]["center"], result["normalization"]["spread"])
    network = rebuilt(torch.load(record.last_checkpoint, weights_only=True), config, pack).eval()
    images = job.data.images("val")
    stored = images.take(np.arange(len(images)))["image"]
    with torch.inference_mode():
        return network(Inputs(config.data.scale, config.data.offset, *standardisation)(stored))


@pytest.fixture(scope="module")
def packs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For the synthetic data of all choices but those of data."""
    return tmp_path_factory.mktemp("packs")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
@pytest.mark.parametrize("choice", CHOICES)
def test_a_choice_trains_is_loaded_is_done_and_is_resumed(
    choice: Choice,
    compose: Compose,
    tmp_path: Path,
    packs: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    if (choice.group, choice.name) == ("trainer", "ddp"):
        pytest.skip("several processes: tests/training/test_ddp.py")
    given = overrides(choice, compose, tmp_path)
    if (choice.group, choice.name) == ("trainer", "gpu") and not torch.cuda.is_available():
        with pytest.raises(ConfigError, match=r"^trainer=gpu: there is no GPU"):
            run(compose(*given))
        return
    monkeypatch.setattr(floor, "TREES", 20)
    code = code_identity()
    monkeypatch.setattr(run_module, "code_identity", lambda: code)  # somebody may edit a source meanwhile
    if choice.group == "model":
        quick_weights(monkeypatch)
    if choice.group != "data":
        given.append(f"packs_dir={packs}")
    config = compose(*given)
    assert getattr(config, choice.group).name == choice.name

    record = run(config)
    result = record.result()
    assert result is not None
    assert result["status"] == "complete"
    assert result["levels"][choice.group] == choice.name
    is_fitted_at_once = config.finetune.rule == "frozen_features"
    assert result["epochs"] == len(curves(record)) == (1 if is_fitted_at_once else 2)
    assert all(float(row["nll/val"]) > 0 for row in curves(record))

    predictions = np.load(record.folder / "val_predictions.npz")
    if not is_fitted_at_once:  # else they are not the network's
        torch.testing.assert_close(
            reloaded_logits(record, config), torch.from_numpy(predictions["logits_last"]), atol=1e-5, rtol=1e-4
        )

    with monkeypatch.context() as patched:
        patched.setattr(run_module, "_fit", None)  # training would fail
        capfd.readouterr()
        assert run(config).folder == record.folder
    assert result["overfitting"]["sentence"][:20] in " ".join("".join(capfd.readouterr()).split())

    if is_fitted_at_once:
        return  # cut off: tests/training/test_frozen_features.py
    if choice.group == "model" and choice.name in HUGE:
        return
    monkeypatch.setattr(config, "runs_dir", str(tmp_path / "cut-off"))
    with monkeypatch.context() as patched:
        patched.setattr(Classifier, "on_train_batch_start", _interrupted_in_the_second_epoch)
        with pytest.raises(KeyboardInterrupt):
            run(config)
    epochs: set[int] = set()
    with monkeypatch.context() as patched:
        patched.setattr(Classifier, "on_train_batch_start", _counting(epochs))
        resumed = run(config)
    assert epochs == {1}  # it went on, and did not start anew
    assert resumed.folder != record.folder
    assert resumed.finished()
    assert curves(resumed) == curves(record)


_started = Classifier.on_train_batch_start


def _interrupted_in_the_second_epoch(module: Classifier, batch: object, batch_idx: int) -> None:
    if module.current_epoch == 1:
        raise KeyboardInterrupt
    _started(module, batch, batch_idx)


def _counting(epochs: set[int]) -> Callable[[Classifier, object, int], None]:
    def started(module: Classifier, batch: object, batch_idx: int) -> None:
        epochs.add(module.current_epoch)
        _started(module, batch, batch_idx)

    return started
