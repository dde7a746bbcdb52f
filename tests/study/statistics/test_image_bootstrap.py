"""Metrics computed again from logits, and their bootstrap over images."""

import numpy as np
import pytest

from terrablate.study.statistics.bootstrap import METRICS, difference_interval, image_draws, resampled


def some_logits(images: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, images)
    return rng.normal(size=(images, 4)) + 1.5 * np.eye(4)[labels], labels


def test_metrics_are_those_of_the_training() -> None:
    import torch

    from terrablate.training.label_metrics import all_metrics as of_several
    from terrablate.training.metrics import all_metrics

    logits, labels = some_logits(300)
    expected = all_metrics(torch.tensor(logits), torch.tensor(labels))
    once = np.ones((1, 300))
    for metric in METRICS:
        assert resampled(logits, labels, metric, once)[0] == pytest.approx(expected[metric], abs=1e-6), metric
    zeros_and_ones = (logits[:, ::-1] > 1).astype(np.int64)
    expected = of_several(torch.tensor(logits), torch.tensor(zeros_and_ones))
    for metric in ("accuracy", "nll"):
        assert resampled(logits, zeros_and_ones, metric, once)[0] == pytest.approx(expected[metric], abs=1e-6)


def test_a_weighted_metric_is_that_of_the_repeated_images() -> None:
    logits, labels = some_logits(80)
    weights = np.random.default_rng(1).multinomial(80, np.full(80, 1 / 80)).astype(float)
    chosen = np.repeat(np.arange(80), weights.astype(int))
    for metric in METRICS:
        again = resampled(logits[chosen], labels[chosen], metric, np.ones((1, 80)))
        assert resampled(logits, labels, metric, weights[None])[0] == pytest.approx(again[0], abs=1e-9), metric


def test_the_spread_is_the_binomials_and_groups_make_it_wider() -> None:
    right = np.random.default_rng(0).random(400) < 0.8
    labels = np.zeros(400, np.int64)
    logits = np.column_stack([np.where(right, 1.0, -1.0), np.zeros(400)])
    single = resampled(logits, labels, "accuracy", image_draws(np.arange(400)))
    assert single.std() == pytest.approx(np.sqrt(right.mean() * (1 - right.mean()) / 400), rel=0.1)
    # each image four times: a hundred groups of copies
    copies = np.repeat(np.arange(100), 4)
    grouped = resampled(logits[copies], labels, "accuracy", image_draws(copies))
    apart = resampled(logits[copies], labels, "accuracy", image_draws(np.arange(400)))
    assert grouped.std() == pytest.approx(2 * apart.std(), rel=0.15)


def test_differences_are_paired_by_image() -> None:
    logits, labels = some_logits(200)
    weights = image_draws(np.arange(200))
    base = resampled(logits, labels, "accuracy", weights)
    assert difference_interval([base, base], [base, base]) == (0, 0)
    better = logits + 0.3 * np.eye(4)[labels]
    low, high = difference_interval([resampled(better, labels, "accuracy", weights)], [base])
    assert 0 <= low < high
    assert high - low < np.sqrt(2) * 3.92 * base.std()  # which it were of two independent val sets
    assert np.array_equal(weights, image_draws(np.arange(200)))
