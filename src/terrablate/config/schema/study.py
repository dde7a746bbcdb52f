"""Section of study: what a sweep compares, and to which of its variants a run belongs."""

import dataclasses
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from terrablate.config.scalars import FORBID_UNKNOWN, Bool, Count, Positive, Seed

Label = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.+ -]*$",
        description="a name of letters, digits, spaces and _ . + -, which becomes a folder",
    ),
]
"""Names of studies, which become folders."""

Factors = Annotated[
    dict[str, list[Any] | dict[str, Any]],
    Field(description="a list of levels for each factor, such as {aug: [none, flip]}, or names with overrides"),
]
Tune = Annotated[
    dict[str, Annotated[list[Any], Field(min_length=2)]],
    Field(description="a list of two values or more for each key, such as {optim.lr: [0.001, 0.01]}"),
]


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class Membership:
    """To which variant of a study a run belongs; set by the study, never part of a run's identity."""

    variant: str | None = None
    levels: dict[str, Any] | None = None


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class Study:
    """A question, what is varied to answer it, and how its runs are handled."""

    name: Label | None = None
    question: str = ""
    base: list[str] = dataclasses.field(default_factory=list)
    design: Literal["one_at_a_time", "leave_one_out", "factorial", "fractional", "list"] = "one_at_a_time"
    factors: Factors | None = None
    variants: dict[str, list[str]] | None = None
    baseline: dict[str, Any] | str | None = None
    seeds: Count | Annotated[list[Seed], Field(min_length=1)] = 3
    metric: Literal["accuracy", "accuracy_macro", "f1_macro", "kappa", "ece", "nll"] = "accuracy"
    deployed: Literal["auto", "last", "best"] = "auto"
    smallest_effect: Positive | None = None
    tune: Tune | None = None
    tune_seeds: Count = 1
    plan_only: Bool = False
    retry: Bool = True
    keep: Literal["both", "best", "last", "none"] = "both"
    run_timeout: Positive | None = None
    member: Membership = dataclasses.field(default_factory=Membership)

    @property
    def is_defined(self) -> bool:
        """Whether there is something to compare."""
        return bool(self.factors or self.variants)
