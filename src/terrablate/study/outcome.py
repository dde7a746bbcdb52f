"""How a job of a sweep ended."""

from collections.abc import Mapping
from typing import Any, Literal, Self

type Kind = Literal[
    "complete", "diverged", "failed", "refused", "busy", "interrupted", "out_of_memory", "timed_out", "died"
]


class Outcome(float):
    """What a job of a sweep gives: a number for Hydra's sweepers, and how the job ended.

    Args:
        value: val accuracy of the deployed epoch; NaN where there is none.
        status: exit status of the job as a command: 0, 1, 2 or 130.
        kind: of its end.
        folder: of the record.
        reason: one sentence, where it is not complete.
        seconds: that the job took.
    """

    status: int
    kind: Kind
    folder: str | None
    reason: str | None
    seconds: float

    def __new__(
        cls,
        value: float = float("nan"),
        *,
        status: int = 0,
        kind: Kind = "complete",
        folder: str | None = None,
        reason: str | None = None,
        seconds: float = 0.0,
    ) -> Self:
        """A float with the rest beside it."""
        made = super().__new__(cls, value)
        made.status, made.kind, made.folder, made.reason, made.seconds = status, kind, folder, reason, seconds
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.to_dict(),)

    def to_dict(self) -> dict[str, Any]:
        """For JSON; a number that is not finite becomes None."""
        return {"value": float(self) if self == self else None, **vars(self)}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """The way back."""
        value = content["value"]
        return cls(float("nan") if value is None else value, **{k: v for k, v in content.items() if k != "value"})


def outcome_of(folder: str, result: Mapping[str, Any] | None, seconds: float) -> Outcome:
    """The outcome of a run whose record is there.

    Args:
        folder: of the record.
        result: its `result.json`.
        seconds: that the job took.
    """
    if result is None:
        return Outcome(status=1, kind="failed", folder=folder, reason="it left no result", seconds=seconds)
    value = (result["deployed"] or {}).get("accuracy/val")
    kind: Kind = "diverged" if result["status"] == "diverged" else "complete"
    return Outcome(
        float("nan") if value is None else value,
        kind=kind,
        folder=folder,
        reason=result["overfitting"]["sentence"] if kind == "diverged" else None,
        seconds=seconds,
    )


def _restored(content: dict[str, Any]) -> Outcome:
    return Outcome.from_dict(content)
