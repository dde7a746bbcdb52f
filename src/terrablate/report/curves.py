"""Curves of runs for a page: rounded, and without what a page can work out again."""

from collections.abc import Mapping, Sequence
from typing import Any

_DERIVED = ("gap/",)
_DIGITS = 4


class Curves:
    """Collects the curves of runs; lists of epochs that are alike are stored once."""

    def __init__(self) -> None:
        self.epochs: list[list[int]] = []
        self.names: list[str] = []

    def add(self, columns: Mapping[str, Sequence[float | None]]) -> dict[str, Any] | None:
        """A run's curves as the page has them: `e` is a place in `epochs`, `m` numbers by place in `names`.

        Args:
            columns: of `metrics.csv`, `epoch` among them; None where a number is not finite.

        Returns:
            None where nothing was evaluated.
        """
        epochs = [int(epoch or 0) for epoch in columns.get("epoch", ())]
        if not epochs:
            return None
        if epochs not in self.epochs:
            self.epochs.append(epochs)
        found = {}
        for name, values in columns.items():
            if name == "epoch" or name.startswith(_DERIVED):
                continue
            if name not in self.names:
                self.names.append(name)
            found[self.names.index(name)] = [None if value is None else round(value, _DIGITS) for value in values]
        return {"e": self.epochs.index(epochs), "m": found}
