"""What a study answers: effects with intervals, sentences, warnings; and its files beside `runs.csv`."""

from dataclasses import dataclass

from terrablate.study.effects import Effect, read_effects, write_effects
from terrablate.study.evidence import Evidence

__all__ = ["Answer", "Effect", "read_effects", "write_effects"]


@dataclass(frozen=True)
class Answer:
    """An answer to a study's question.

    Args:
        evidence: that it rests on.
        effects: every estimate; those of the primary metric first.
        sentences: generated; the first is the answer.
        warnings: what a reader has to know before believing it.
    """

    evidence: Evidence
    effects: tuple[Effect, ...]
    sentences: tuple[str, ...]
    warnings: tuple[str, ...]
