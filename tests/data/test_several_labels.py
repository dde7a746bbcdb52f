"""Several labels an image from the source to the batch: packs, subsets, counts; and packs of one label as they were."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from terrablate.config import Config
from terrablate.data.module import ChipDataModule
from terrablate.data.open_source import open_source, pack_spec
from terrablate.data.pack import Pack, ensure_pack
from terrablate.data.packing import write_pack
from terrablate.data.source import Sample, Split
from terrablate.errors import DataError

type Compose = Callable[..., Config]
SEVERAL = ("data=synthetic_multilabel", "loss=bce")


@pytest.fixture
def several(module: Callable[..., ChipDataModule]) -> Callable[..., ChipDataModule]:
    return lambda *overrides: module(*SEVERAL, "data.train=120", *overrides)


def test_a_pack_holds_the_vectors_that_the_source_gives(several: Callable[..., ChipDataModule]) -> None:
    data = several()
    dataset = open_source(data.config.data).dataset("train")
    labels = data.pack.labels("train")
    assert data.pack.has_several_labels
    assert (labels.dtype, labels.shape) == (np.uint8, (120, 10))
    assert np.array_equal(labels, np.stack([dataset[index]["label"] for index in range(120)]))
    assert data.pack.meta["labels"] == "several"


def test_one_label_is_packed_as_before(module: Callable[..., ChipDataModule]) -> None:
    data = module()
    labels = data.pack.labels("train")
    assert not data.pack.has_several_labels
    assert (labels.dtype, labels.shape) == (np.int64, (40,))
    assert not Pack(data.pack.folder, {}).has_several_labels  # as written before packs told
    assert "labels" not in pack_spec(data.config.data)  # packs of before stay valid


def test_batches_carry_vectors_in_their_order(several: Callable[..., ChipDataModule]) -> None:
    data = several()
    batch = data.images("val").take(np.array([3, 0, 7]))
    assert batch["label"].shape == (3, 10)
    assert np.array_equal(batch["label"].numpy(), data.pack.labels("val")[[3, 0, 7]])


def test_the_probe_has_the_class_frequencies_of_what_is_trained_on(several: Callable[..., ChipDataModule]) -> None:
    data = several()
    assert len(data.probe_indices) == 20
    assert set(data.probe_indices) < set(data.train_indices)
    share = data.pack.labels("train").sum(0) / 6
    assert np.abs(data.pack.labels("train")[data.probe_indices].sum(0) - share).max() <= 1


def test_a_budget_is_the_least_of_each_class_and_the_rest_is_without_labels(
    several: Callable[..., ChipDataModule],
) -> None:
    data = several("data.train_per_class=3")
    assert min(data.class_counts) >= 3
    assert len(data.train_indices) < 30
    assert data.class_counts == data.pack.labels("train")[data.train_indices].sum(0).tolist()
    rest = data.unlabelled_images()
    assert len(rest) == 120 - len(data.train_indices)
    assert set(several("data.train_per_class=2").train_indices) < set(data.train_indices)


def test_val_and_debug_limits_act(several: Callable[..., ChipDataModule]) -> None:
    assert len(several("debug.max_eval_images=12").val_indices) == 12
    assert len(several("debug.train_images=15").train_indices) == 15
    some = several("data.val_per_class=1")
    assert len(some.val_indices) < 10
    assert some.pack.labels("val")[some.val_indices].any(0).all()


def test_no_label_is_changed(several: Callable[..., ChipDataModule]) -> None:
    data = several()
    assert data.changed_labels == 0
    assert data.fingerprint == data.pack.fingerprint


# --- sources that do not give what they promise


class Vectors:
    """A source whose images have these labels."""

    bands = ("a",)
    classes = ("x", "y", "z")
    ids = ("0", "1")

    def __init__(self, label: object) -> None:
        self.label = label

    def dataset(self, split: Split) -> "Vectors":
        return self

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Sample:
        return {"image": np.full((1, 4, 4), index), "label": self.label}  # type: ignore[typeddict-item]


@pytest.mark.parametrize(
    ("labels", "label", "sentence"),
    [
        ("several", 1, "data.labels=several: data=synthetic gives one label an image; use data.labels=one"),
        ("one", np.array([0, 1, 0]), "data.labels=one: data=synthetic gives several labels an image; use data.labels="),
        ("several", np.array([0, 2, 0]), "data=synthetic: the labels of 0 are [0, 2, 0]; expected 3 zeros and ones"),
        ("several", np.array([0, 1]), "data=synthetic: the labels of 0 are [0, 1]; expected 3 zeros and ones"),
    ],
)
def test_other_labels_than_promised_are_refused(
    compose: Compose, tmp_path: Path, labels: str, label: object, sentence: str
) -> None:
    data = compose(f"data.labels={labels}", "loss=bce").data
    with pytest.raises(DataError) as refused:
        write_pack(Vectors(label), data, tmp_path, ("train",))  # type: ignore[arg-type]
    assert str(refused.value).startswith(sentence)


def test_both_kinds_of_synthetic_data_have_packs_of_their_own(compose: Compose, tmp_path: Path) -> None:
    kinds = [("data.labels=one",), ("data.labels=several", "loss=bce")]
    packs = [ensure_pack(compose(*words).data, tmp_path) for words in kinds]
    assert packs[0].folder != packs[1].folder
    assert packs[0].fingerprint != packs[1].fingerprint
