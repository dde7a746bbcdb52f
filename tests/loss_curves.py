"""Loss curves made by hand, one that overfits and one that fits, and the diagnosis of such curves."""

import math
from collections.abc import Sequence
from typing import Any

from terrablate.training.overfitting import Diagnosis, Evaluation, MonitorSettings, diagnose

NAN, INF = math.nan, math.inf
CHANCE = 2.3  # ten even classes: log(10)

# Val is lowest at epoch 5 and rises; probe falls all the way.
OVERFIT_VAL = [1.8, 1.2, 0.9, 0.75, 0.70, 0.72, 0.80, 0.90, 1.00, 1.10]
OVERFIT_PROBE = [1.8, 1.1, 0.8, 0.60, 0.50, 0.40, 0.30, 0.22, 0.15, 0.11]
# Both settle, the probe well below half of chance.
FIT_VAL = [1.8, 1.2, 0.9, 0.75, 0.68, 0.66, 0.655, 0.65, 0.652, 0.651]
FIT_PROBE = [1.8, 1.1, 0.8, 0.65, 0.58, 0.56, 0.555, 0.55, 0.551, 0.550]


def evaluations(val: Sequence[float], probe: Sequence[float], every: int = 1) -> list[Evaluation]:
    return [Evaluation((i + 1) * every, v, p, 0.70, 0.75) for i, (v, p) in enumerate(zip(val, probe, strict=True))]


def verdict_of(val: Sequence[float], probe: Sequence[float], every: int = 1, **settings: Any) -> Diagnosis:
    return diagnose(evaluations(val, probe, every), CHANCE, MonitorSettings(**settings))
