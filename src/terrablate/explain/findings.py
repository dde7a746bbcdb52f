"""What a method of explaining gives: pictures with their words, or a sentence that says why there are none."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO


@dataclass(frozen=True)
class Figure:
    """A picture that is still to be written."""

    file: str
    title: str
    caption: str
    draw: Callable[[IO[bytes]], None]


@dataclass(frozen=True)
class Findings:
    """Of one method."""

    figures: list[Figure] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    """A sentence for each thing that this network, or this run, has not."""
