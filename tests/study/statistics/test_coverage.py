"""The simulation of experiments/results/coverage, for a few seconds."""

import runpy

import pytest

from terrablate.config.choices import PROJECT

SIMULATION = PROJECT / "experiments" / "results" / "coverage" / "simulate.py"


@pytest.mark.parametrize(("kind", "variants", "seeds"), [("normal", 6, 5), ("bounded", 6, 3), ("diverged", 4, 5)])
def test_simultaneous_intervals_hold_together(kind: str, variants: int, seeds: int) -> None:
    simulate = runpy.run_path(str(SIMULATION))["simulate"]
    found = simulate(kind, variants, seeds, 300)
    # 95 % within three standard errors; pointwise intervals would hold together in 80 to 85 %
    assert 0.91 < found["coverage"] < 0.99
    assert found["family_wise_error"] < 0.08


def test_intervals_are_no_wider_than_they_have_to_be() -> None:
    simulate = runpy.run_path(str(SIMULATION))["simulate"]
    found = simulate("normal", 6, 10, 100)
    # 2 * 2.57 (Dunnett, 5 comparisons, 45 df) * sqrt(2 / 10), a little more where spreads looked unequal
    assert 2.2 < found["width"] < 2.6
