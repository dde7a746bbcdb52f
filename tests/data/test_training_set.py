"""What the data module trains on: wrong labels, long tails, balanced epochs; and that val and the probe stay clean."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from attached import counts, in_epoch, order
from terrablate.config import Config
from terrablate.data.batches import epoch_order
from terrablate.data.module import ChipDataModule
from terrablate.errors import ConfigError, DataError

Compose = Callable[..., Config]


def test_neutral_settings_change_no_label_no_order_and_no_fingerprint(module: Callable[..., ChipDataModule]) -> None:
    plain = module("batch_size=16")
    said = module("batch_size=16", "data.label_noise=null", "data.imbalance=null", "data.sampler=shuffle")
    zero = module("batch_size=16", "data.label_noise=0", "data.imbalance=1")
    assert plain.train_indices.tolist() == list(range(40))
    assert plain.fingerprint == said.fingerprint == zero.fingerprint == plain.pack.fingerprint
    for other in (said, zero):
        for first, second in zip(*(in_epoch(each, 2).train_dataloader() for each in (plain, other)), strict=True):
            assert first["position"].tolist() == second["position"].tolist()
            assert first["label"].tolist() == second["label"].tolist()
            assert torch.equal(first["image"].int(), second["image"].int())
    assert order(in_epoch(plain, 2)) == [part.tolist() for part in np.split(epoch_order(40, 0, 2), [16, 32])]


def test_only_what_is_trained_on_has_wrong_labels(module: Callable[..., ChipDataModule]) -> None:
    data = module("data.label_noise=0.4")
    true = data.pack.labels("train")
    given = data.images("train").labels
    assert data.true_labels.tolist() == true.tolist()
    assert 8 <= (given != true).sum() == data.changed_labels <= 24
    batches = list(in_epoch(data, 0).train_dataloader())
    for batch in batches:
        assert batch["label"].tolist() == given[batch["position"]].tolist()
        assert np.array_equal(batch["image"].numpy(), data.pack.images("train")[batch["position"]])
    assert data.images("probe").labels.tolist() == true[data.probe_indices].tolist()
    assert data.images("val").labels.tolist() == data.pack.labels("val").tolist()
    assert data.probe_indices.tolist() == module().probe_indices.tolist()
    assert data.class_counts == np.bincount(given, minlength=10).tolist() != [4] * 10


def test_every_subset_has_the_same_mistakes_and_they_follow_the_subset_seed(
    module: Callable[..., ChipDataModule],
) -> None:
    whole, part = module("data.label_noise=0.4"), module("data.label_noise=0.4", "data.train_per_class=2")
    assert part.images("train").labels.tolist() == whole.given_labels[part.train_indices].tolist()
    pinned = module("data.label_noise=0.4", "seed=1", "data.subset_seed=0")
    assert pinned.given_labels.tolist() == whole.given_labels.tolist()
    assert module("data.label_noise=0.4", "seed=1").given_labels.tolist() != whole.given_labels.tolist()


def confusion_csv(path: Path, classes: list[str], rows: "np.ndarray[Any, Any]") -> str:
    lines = [",".join(["true", *classes])]
    lines += [",".join([name, *map(str, row)]) for name, row in zip(classes, rows.tolist(), strict=True)]
    path.write_text("\n".join(lines))
    return f"data.label_noise={path}"


def test_a_confusion_file_is_followed_and_counts_by_its_content(
    module: Callable[..., ChipDataModule], tmp_path: Path
) -> None:
    classes = module().pack.classes
    turned = np.roll(np.eye(10), 1, axis=1)  # each class is taken for the next one
    data = module(confusion_csv(tmp_path / "a.csv", classes, turned))
    assert data.images("train").labels.tolist() == ((data.true_labels + 1) % 10).tolist()
    assert data.changed_labels == 40
    same = module(confusion_csv(tmp_path / "b.csv", classes, 7 * turned))
    other = module(confusion_csv(tmp_path / "a.csv", classes, turned + turned.T))
    clean = module(confusion_csv(tmp_path / "c.csv", classes, np.eye(10)))
    assert same.fingerprint == data.fingerprint
    assert clean.fingerprint == data.pack.fingerprint
    assert len({data.fingerprint, other.fingerprint, clean.fingerprint}) == 3
    rates = [module(f"data.label_noise={rate}").fingerprint for rate in (0.2, 0.3)]
    assert len({*rates, data.fingerprint, clean.fingerprint}) == 4


def test_an_unknown_class_in_a_confusion_file_is_refused(module: Callable[..., ChipDataModule], tmp_path: Path) -> None:
    classes = [*module().pack.classes[:9], "Lava"]
    with pytest.raises(DataError, match=r"a\.csv: there is an unknown class Lava in its header; it must name each of"):
        module(confusion_csv(tmp_path / "a.csv", classes, np.eye(10)))


def test_a_noise_too_rare_to_change_a_label_is_told(
    module: Callable[..., ChipDataModule], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        data = module("data.label_noise=0.0001")
    assert data.changed_labels == 0
    assert "data.label_noise=0.0001 changes none of the 40 labels; all of them stay true" in caplog.text


def test_a_long_tail_is_in_train_only_and_cuts_what_the_budget_leaves(module: Callable[..., ChipDataModule]) -> None:
    data = module("data.train=200", "data.imbalance=10")
    assert counts(data, "train") == [20, 15, 12, 9, 7, 6, 4, 3, 3, 2]
    assert counts(data, "val") == [2] * 10
    assert set(data.probe_indices) <= set(data.train_indices)
    both = module("data.train=200", "data.imbalance=10", "data.train_per_class=10")
    assert counts(both, "train") == [10, 8, 6, 5, 4, 3, 2, 2, 1, 1]
    budget = module("data.train=200", "data.train_per_class=10")
    assert set(both.train_indices) < set(data.train_indices)
    assert set(both.train_indices) < set(budget.train_indices)
    assert set(module("data.train=200", "data.imbalance=50").train_indices) < set(data.train_indices)
    assert module("data.train=200", "data.imbalance=10", "seed=1").train_indices.tolist() != data.train_indices.tolist()


def test_a_tail_is_no_missed_budget(module: Callable[..., ChipDataModule], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        module("data.train_per_class=4", "data.imbalance=4")
    assert "fewer than" not in caplog.text


def test_balanced_sampling_shows_all_classes_alike_in_as_many_steps(module: Callable[..., ChipDataModule]) -> None:
    tail = ("data.train=200", "data.imbalance=10", "batch_size=27")
    data, shuffled = module(*tail, "data.sampler=balanced"), module(*tail)
    labels = data.images("train").labels
    for epoch in range(2):
        steps = order(in_epoch(data, epoch))
        assert [len(step) for step in steps] == [len(step) for step in order(in_epoch(shuffled, epoch))] == [27, 27, 27]
        shown = np.bincount(labels[np.concatenate(steps)], minlength=10)
        assert set(shown.tolist()) == {8, 9}
        parts = [
            order(in_epoch(module(*tail, "data.sampler=balanced", world_size=2), epoch, rank)) for rank in range(2)
        ]
        assert [(step[0::2], step[1::2]) for step in steps] == list(zip(*parts, strict=True))
    assert data.class_counts == shuffled.class_counts == [20, 15, 12, 9, 7, 6, 4, 3, 3, 2]


def test_balanced_sampling_counts_the_labels_that_are_given(module: Callable[..., ChipDataModule]) -> None:
    data = in_epoch(module("data.label_noise=0.4", "data.sampler=balanced"), 0)
    shown = torch.cat([batch["label"] for batch in data.train_dataloader()])
    present = np.count_nonzero(data.class_counts)
    assert set(torch.bincount(shown)[np.flatnonzero(data.class_counts)].tolist()) <= {40 // present, 40 // present + 1}


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ("data.sampler=balanced", "data.sampler=balanced: all classes have equally many training images, so that it"),
        ("data.imbalance=1.01", "data.imbalance=1.01: leaves out none of the 40 training images; raise it, or take"),
        ("data.imbalance=9 data.train_per_class=1", "data.imbalance=9: leaves out none of the 10 training images;"),
    ],
)
def test_what_would_change_nothing_is_refused(module: Callable[..., ChipDataModule], overrides: str, told: str) -> None:
    with pytest.raises(DataError) as refused:
        module(*overrides.split())
    assert str(refused.value).startswith(told)


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        *(
            (f"data.label_noise={wrong}", f"data.label_noise={wrong}: expected null, a rate from 0 to less than 1, or")
            for wrong in ("1.0", "-0.1", "true", "nan")
        ),
        ("data.label_noise=absent.csv", "data.label_noise=absent.csv: there is no such file; give a rate such as 0.2"),
        ("data.imbalance=0.5", "data.imbalance=0.5: expected a number of at least 1 or null"),
        ("data.imbalance=inf", "data.imbalance=inf: expected a finite number of at least 1 or null"),
        ("data.sampler=even", "data.sampler=even: expected one of shuffle, balanced"),
        (
            "data.sampler=balanced finetune=frozen_features",
            "data.sampler=balanced: finetune=frozen_features fits to all images at once; use data.sampler=shuffle",
        ),
    ],
)
def test_wrong_settings_are_told_before_data_are_read(compose: Compose, overrides: str, told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        compose(*overrides.split())
    assert str(refused.value).startswith(told)
    assert "\n" not in str(refused.value)


def test_packs_are_shared_whatever_the_labels_and_the_order(module: Callable[..., ChipDataModule]) -> None:
    others = module("data.label_noise=0.4"), module("data.imbalance=4"), module("data.label_noise=0.3")
    assert {other.pack.folder for other in others} == {module().pack.folder}
