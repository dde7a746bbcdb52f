"""The overfitting diagnosis: val and probe curves in; best epoch, onset, gaps, a verdict and its sentence out.

Pure Python without torch: the training callback, the record and the dashboard share these functions.

Notation: v_i and p_i are the val and probe NLL of evaluation i = 0..n-1, m the evaluation of the lowest v (first on
ties), w = window and w' = min(w, n // 2), at least 1.

Two guards keep a single odd evaluation at the end, or noise, from deciding:

- change(A -> B) = the smaller in size of mean(B) - mean(A) and median(B) - median(A); 0 where their signs differ.
- tol(x) = max(tolerance, 2.5 s), with s the noise of curve x estimated from third differences d (blind to level, slope
  and curvature): s = median |d| / (0.6745 sqrt(20)). Under 8 evaluations s says too little, and tol(x) = tolerance.
  The factor: a minimum is the luckiest of many evaluations, so that the end of a flat curve of noise s lies about 2 s
  above it. With 2.5 s, 23 % of simulated flat val curves of 30 evaluations are called an onset (76 % with the tolerance
  alone), and a rise of 4 s is found in 95 %.

Onset = m, if and only if
  (a) at least `patience` evaluations follow m;
  (b) change(v_m -> last w of v after m) > tol(v);
  (c) -change(p_m -> last w of p after m) > min(tol(p), p_m / 2): a probe NLL near 0 cannot fall by the tolerance any
      more, so halving counts.
Else none, which is a censored observation: with longer training an onset may still come.

Verdict, the first that holds (end = mean of the last w'; trend = change(the w' before -> the last w');
limit = underfit_fraction * chance NLL; "open" = end of v - end of p > tol(v)):
  1. diverged   any NLL is NaN or infinite
  2. overfits   there is an onset
  3. underfits  one evaluation only, or trend of v < -tol(v): stopped while still improving
  4. underfits  v and p both ended above v_m and p_m by more than tol: training lost ground (instability, not
                overfitting: a model that overfits does better on the probe)
  5. plateau    trend of p < -tol(p), or (a) and (c) without (b): val has not improved for a while, and p fell on; and
                end of p <= limit or the gap is open. An open gap is asked of a model that has learnt little, else a
                slow start (both curves near chance) would read as a plateau
  6. underfits  end of p > limit: has not learnt the training data
  7. plateau    v ended above v_m by more than tol(v), but no onset can be called
  8. plateau    the gap is open, and end of v > limit or the gap > limit / 2: the training data are learnt, and that
                does not carry over
  9. fits       the rest: v has settled, the probe is learnt
A classifier that is fitted at once, not by epochs, has no trend and no onset: of it rules 1, 6, 8 and 9 ask.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, median
from typing import Literal

from terrablate.errors import ConfigError

Verdict = Literal["underfits", "fits", "plateau", "overfits", "diverged"]

_EVALUATIONS_TO_ESTIMATE_NOISE = 8
_NOISE_FACTOR = 2.5


@dataclass(frozen=True)
class MonitorSettings:
    """What counts as a change, and how long a curve must be before it is called overfitting."""

    window: int = 3  # evaluations averaged at the end of a curve
    tolerance: float = 0.02  # nats; smaller changes are noise
    patience: int = 3  # evaluations that must follow the minimum before an onset can be called
    underfit_fraction: float = 0.5  # of the chance NLL; a final probe NLL above it is underfitting

    def __post_init__(self) -> None:
        for key in ("window", "patience"):
            if getattr(self, key) < 1:
                raise ConfigError(f"monitor.{key} is {getattr(self, key)}; it counts evaluations: give 1 or more.")
        if not 0 <= self.tolerance < math.inf:
            raise ConfigError(f"monitor.tolerance is {self.tolerance}; it is in nats: give 0 or more.")
        if not 0 < self.underfit_fraction <= 1:
            raise ConfigError(
                f"monitor.underfit_fraction is {self.underfit_fraction}; it is a share of the chance NLL: "
                "give a number above 0, at most 1."
            )


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of val and probe, in eval mode. `epoch` counts from 1 and may skip (every k epochs)."""

    epoch: int
    nll_val: float
    nll_probe: float
    accuracy_val: float
    accuracy_probe: float

    @property
    def gap_loss(self) -> float | None:
        """Val NLL - probe NLL in nats; None where not finite."""
        return _finite(self.nll_val - self.nll_probe)

    @property
    def gap_accuracy(self) -> float | None:
        """Probe accuracy - val accuracy; None where not finite."""
        return _finite(self.accuracy_probe - self.accuracy_val)


@dataclass(frozen=True)
class Diagnosis:
    """What the curves say. Gaps are positive when the model does worse on new data; a number is None if not finite."""

    best_epoch: int | None  # of the lowest finite val NLL
    onset_epoch: int | None  # None: censored
    excess_loss: float | None  # mean of the last `window` val NLLs - the lowest; cost of deploying the last weights
    gap_loss: float | None  # at the last evaluation
    gap_accuracy: float | None
    gap_loss_at_best: float | None
    gap_accuracy_at_best: float | None
    verdict: Verdict
    sentence: str


def best_evaluation(evaluations: Sequence[Evaluation]) -> int | None:
    """Index of the lowest finite val NLL, the first on ties; None where none is finite."""
    finite = [index for index, evaluation in enumerate(evaluations) if math.isfinite(evaluation.nll_val)]
    return min(finite, key=lambda index: evaluations[index].nll_val, default=None)


def diagnose(
    evaluations: Sequence[Evaluation],
    chance_nll: float,
    settings: MonitorSettings = MonitorSettings(),
    *,
    at_once: bool = False,
) -> Diagnosis:
    """Diagnose one run by the rules in the module docstring.

    `chance_nll` is the entropy of the class frequencies in nats: the NLL of a model that ignores the image.
    `at_once` says that the one evaluation is of a classifier that was fitted as a whole, so that its end is the end.
    Raises ValueError for no evaluations, epochs that do not rise, or a chance NLL that is not positive and finite.
    """
    if not evaluations:
        raise ValueError("diagnose got no evaluations; evaluate val and probe at least once.")
    epochs = [evaluation.epoch for evaluation in evaluations]
    if any(later <= earlier for earlier, later in pairwise(epochs)):
        raise ValueError(f"diagnose got epochs {epochs}; expected them to rise, one entry an evaluation.")
    if not 0 < chance_nll < math.inf:
        raise ValueError(f"chance_nll is {chance_nll}; expected a positive number: the train split needs two classes.")

    best = best_evaluation(evaluations)
    onset: Evaluation | None = None
    if best is None or not all(math.isfinite(e.nll_val) and math.isfinite(e.nll_probe) for e in evaluations):
        verdict, sentence = _diverged(evaluations, best)
    else:
        curves = _Curves(evaluations, best, chance_nll, settings)
        onset = evaluations[best] if curves.overfits() else None
        verdict, sentence = curves.verdict_at_once() if at_once else curves.verdict()
    at_best = evaluations[best] if best is not None else None
    last, tail = evaluations[-1], [evaluation.nll_val for evaluation in evaluations[-settings.window :]]
    return Diagnosis(
        best_epoch=at_best.epoch if at_best else None,
        onset_epoch=onset.epoch if onset else None,
        excess_loss=_finite(sum(tail) / len(tail) - at_best.nll_val) if at_best else None,
        gap_loss=last.gap_loss,
        gap_accuracy=last.gap_accuracy,
        gap_loss_at_best=at_best.gap_loss if at_best else None,
        gap_accuracy_at_best=at_best.gap_accuracy if at_best else None,
        verdict=verdict,
        sentence=sentence,
    )


class _Curves:
    """Finite val and probe curves with the quantities that the module docstring names."""

    def __init__(
        self, evaluations: Sequence[Evaluation], best: int, chance_nll: float, settings: MonitorSettings
    ) -> None:
        self.val = [evaluation.nll_val for evaluation in evaluations]
        self.probe = [evaluation.nll_probe for evaluation in evaluations]
        self.best, self.best_epoch, self.last_epoch = best, evaluations[best].epoch, evaluations[-1].epoch
        self.settings, self.chance, self.limit = settings, chance_nll, settings.underfit_fraction * chance_nll
        self.tolerance_val = max(settings.tolerance, _NOISE_FACTOR * _noise(self.val))
        self.tolerance_probe = max(settings.tolerance, _NOISE_FACTOR * _noise(self.probe))
        self.width = max(1, min(settings.window, len(self.val) // 2))
        self.end_val, self.end_probe = fmean(self.val[-self.width :]), fmean(self.probe[-self.width :])

    def overfits(self) -> bool:
        """Whether the evaluation of the lowest val NLL is an onset."""
        return self.probe_fell_on() and self._since_best(self.val) > self.tolerance_val

    def probe_fell_on(self) -> bool:
        """Whether probe NLL has gone on falling since the evaluation of the lowest val NLL, which is a while ago."""
        enough = min(self.tolerance_probe, self.probe[self.best] / 2)
        return len(self.val) - 1 - self.best >= self.settings.patience and -self._since_best(self.probe) > enough

    def verdict(self) -> tuple[Verdict, str]:
        """The verdict of finite curves and its sentence; the order of the rules matters."""
        width, val, probe, at_best = self.width, self.val, self.probe, f"best checkpoint is epoch {self.best_epoch}"
        if self.overfits():
            rise, fall = fmean(self._after_best(val)) - val[self.best], -self._since_best(probe)
            return "overfits", (
                f"overfits from epoch {self.best_epoch}: val NLL rose by {rise:.2f} while probe NLL fell by "
                f"{fall:.2g}; {at_best}"
            )
        if len(val) == 1:
            return "underfits", (
                f"underfits: only epoch {self.last_epoch} was evaluated (val NLL {val[0]:.2f}), too little to see a "
                "trend; train longer"
            )
        val_trend, probe_trend = _trend(val, width), _trend(probe, width)
        over = f"over the last {width} evaluations" if width > 1 else "in the last evaluation"
        if val_trend < -self.tolerance_val:
            return "underfits", (
                f"underfits: val NLL was still falling at epoch {self.last_epoch} (by {-val_trend:.2f} {over}); "
                "train longer or with a higher learning rate"
            )
        rose, probe_rise = self._since_best(val) > self.tolerance_val, self._since_best(probe)
        val_rise, probe_rise_shown = self.end_val - val[self.best], max(probe_rise, self.end_probe - probe[self.best])
        if rose and probe_rise > self.tolerance_probe:
            return "underfits", (
                f"underfits: training lost ground after epoch {self.best_epoch}: val NLL rose by {val_rise:.2f} and "
                f"probe NLL by {probe_rise_shown:.2f}, which is instability, not overfitting; lower the learning rate; "
                f"{at_best}"
            )
        gap = self.end_val - self.end_probe
        learnt, gap_is_open = self.end_probe <= self.limit, gap > self.tolerance_val
        if probe_trend < -self.tolerance_probe and (learnt or gap_is_open):
            return "plateau", (
                f"plateau: val NLL stopped improving near {self.end_val:.2f} while probe NLL was still falling (by "
                f"{-probe_trend:.2f} {over}); more epochs will not help, more data or regularisation may; {at_best}"
            )
        if self.probe_fell_on() and (learnt or gap_is_open):
            return "plateau", (
                f"plateau: val NLL has not improved since epoch {self.best_epoch} while probe NLL fell from "
                f"{probe[self.best]:.2f} to {self.end_probe:.2f}; more epochs will not help, more data or "
                f"regularisation may; {at_best}"
            )
        if not learnt:
            return "underfits", (
                f"underfits: probe NLL is {self.end_probe:.2f} at the end, above {self.limit:.2f} "
                f"({self.settings.underfit_fraction:.0%} of the chance NLL {self.chance:.2f}): the training data are "
                "not learnt; try another learning rate, a larger model or less regularisation, and check the labels"
            )
        if rose:
            return "plateau", (
                f"plateau: val NLL has risen by {val_rise:.2f} since epoch {self.best_epoch}; to call it overfitting "
                f"takes {self.settings.patience} evaluations after it (here {len(val) - 1 - self.best}) and a probe "
                f"NLL that keeps falling; {at_best}"
            )
        if gap_is_open and (self.end_val > self.limit or gap > self.limit / 2):
            return "plateau", (
                f"plateau: val NLL settled at {self.end_val:.2f} (chance NLL {self.chance:.2f}) while probe "
                f"NLL is {self.end_probe:.2f}: what is learnt does not carry over to val (gap {gap:.2f}); {at_best}"
            )
        return "fits", (
            f"fits: val NLL settled at {self.end_val:.2f} and probe NLL at {self.end_probe:.2f} (gap {gap:.2f}, "
            f"chance NLL {self.chance:.2f}); {at_best}"
        )

    def verdict_at_once(self) -> tuple[Verdict, str]:
        """The verdict of the last evaluation by itself, and its sentence."""
        val, probe, chance = self.val[-1], self.probe[-1], f"chance NLL {self.chance:.2f}"
        gap = val - probe
        if probe > self.limit:
            return "underfits", (
                f"underfits: probe NLL is {probe:.2f}, above {self.limit:.2f} "
                f"({self.settings.underfit_fraction:.0%} of the {chance}): the training data are not learnt; "
                "try other features or another classifier"
            )
        if gap > self.tolerance_val and (val > self.limit or gap > self.limit / 2):
            return "plateau", (
                f"plateau: val NLL is {val:.2f} ({chance}) while probe NLL is {probe:.2f}: what is learnt does not "
                f"carry over to val (gap {gap:.2f})"
            )
        return "fits", f"fits: val NLL is {val:.2f} and probe NLL {probe:.2f} (gap {gap:.2f}, {chance})"

    def _since_best(self, values: Sequence[float]) -> float:
        after = self._after_best(values)
        return _change([values[self.best]], after) if after else 0.0

    def _after_best(self, values: Sequence[float]) -> Sequence[float]:
        return values[self.best + 1 :][-self.settings.window :]


def _change(before: Sequence[float], after: Sequence[float]) -> float:
    by_mean, by_median = fmean(after) - fmean(before), median(after) - median(before)
    return min(by_mean, by_median, key=abs) if by_mean * by_median > 0 else 0.0


def _trend(values: Sequence[float], width: int) -> float:
    return _change(values[-2 * width : -width], values[-width:])


def _noise(values: Sequence[float]) -> float:
    if len(values) < _EVALUATIONS_TO_ESTIMATE_NOISE:
        return 0.0
    seconds = [c - 2 * b + a for a, b, c in zip(values[:-2], values[1:-1], values[2:], strict=True)]
    thirds = [later - earlier for earlier, later in pairwise(seconds)]
    # 0.6745: median |x| of a standard normal; 20 = 1 + 9 + 9 + 1: variance of a third difference of unit noise.
    return median(abs(third) for third in thirds) / (0.6745 * math.sqrt(20))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _diverged(evaluations: Sequence[Evaluation], best: int | None) -> tuple[Verdict, str]:
    bad = next(e for e in evaluations if not (math.isfinite(e.nll_val) and math.isfinite(e.nll_probe)))
    curve, value = ("probe", bad.nll_probe) if math.isfinite(bad.nll_val) else ("val", bad.nll_val)
    kept = f"best checkpoint is epoch {evaluations[best].epoch}" if best is not None else "no checkpoint is usable"
    return "diverged", (
        f"diverged: {curve} NLL was {value} at epoch {bad.epoch}; lower the learning rate or clip gradients; {kept}"
    )
