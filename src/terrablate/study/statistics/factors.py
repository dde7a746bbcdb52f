"""Contrasts of a factorial or fractional design: main effects, two-way interactions, chains of aliases."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

type Floats = npt.NDArray[np.float64]
type Levels = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Contrast:
    """What is estimated.

    Args:
        name: such as `aug=flip`, `aug=flip:norm=batch`, or a chain `a:b = c:d`.
        factor: of the effect; of several joined by a colon.
        level: against the baseline's; of several joined by a colon.
        baseline: level that it is compared to.
        weights: V, by which the variants count.
    """

    name: str
    factor: str
    level: str
    baseline: str
    weights: Floats


def levels_of(variants: Levels) -> dict[str, list[str]]:
    """The levels of each factor, those of the first variant first."""
    return {name: list(dict.fromkeys(each[name] for each in variants)) for name in variants[0]}


def is_complete(variants: Levels) -> bool:
    """Whether every combination of levels is there."""
    found = {tuple(each.values()) for each in variants}
    return len(found) == np.prod([len(levels) for levels in levels_of(variants).values()])


def main_effects(variants: Levels) -> list[Contrast]:
    """Of each level but the baseline's: its mean over all levels of the other factors minus that of the baseline's.

    The variants of a level have to be balanced over the other factors, as they are in a complete factorial and in a
    regular fraction.
    """
    found = []
    for factor, (first, *others) in levels_of(variants).items():
        for level in others:
            weights = _mean(variants, {factor: level}) - _mean(variants, {factor: first})
            found.append(Contrast(f"{factor}={level}", factor, level, first, weights))
    return found


def interactions(variants: Levels) -> list[Contrast]:
    """Of each two levels of two factors of a complete factorial: half of what the one changes about the other's effect.

    (effect of a with b - effect of a without b) / 2, which is the interaction of Box, Hunter and Hunter (2005,
    Statistics for Experimenters, chapter 5) for two levels.
    """
    found = []
    for (one, levels), (other, others) in itertools.combinations(levels_of(variants).items(), 2):
        for level, partner in itertools.product(levels[1:], others[1:]):
            with_it = _mean(variants, {one: level, other: partner}) - _mean(variants, {one: levels[0], other: partner})
            without = _mean(variants, {one: level, other: others[0]}) - _mean(
                variants, {one: levels[0], other: others[0]}
            )
            found.append(
                Contrast(
                    f"{one}={level}:{other}={partner}",
                    f"{one}:{other}",
                    f"{level}:{partner}",
                    f"{levels[0]}:{others[0]}",
                    (with_it - without) / 2,
                )
            )
    return found


def alias_chains(variants: Levels, aliases: Sequence[Sequence[str]]) -> list[Contrast]:
    """Of a regular fraction of two levels: each chain is one contrast, the sum of the interactions in it.

    Two-way interactions that no chain names are clear, and are contrasts of their own.

    Args:
        variants: levels of each.
        aliases: chains of `a:b` that cannot be told apart.
    """
    levels = levels_of(variants)
    chained = {frozenset(member.split(":")) for chain in aliases for member in chain}
    chains = [list(chain) for chain in aliases]
    chains += [[":".join(pair)] for pair in itertools.combinations(levels, 2) if frozenset(pair) not in chained]
    found = []
    for chain in chains:
        one, other = _pair(chain[0], levels)
        signs = np.array([_sign(each, levels, one) * _sign(each, levels, other) for each in variants], float)
        name = " = ".join(chain)
        weights = signs / (len(variants) / 2)
        found.append(Contrast(name, name, "", "", weights))
    return found


def _pair(member: str, levels: Mapping[str, Sequence[str]]) -> tuple[str, str]:
    one, _, other = member.partition(":")
    if one not in levels or other not in levels:
        raise ValueError(f"{member}: is no interaction of two of the factors {', '.join(levels)}")
    return one, other


def _sign(variant: Mapping[str, str], levels: Mapping[str, Sequence[str]], factor: str) -> int:
    return -1 if variant[factor] == levels[factor][0] else 1


def _mean(variants: Levels, wanted: Mapping[str, str]) -> Floats:
    """Weights of the mean of the variants that have all of some levels."""
    chosen = np.array([all(each[name] == level for name, level in wanted.items()) for each in variants], float)
    return chosen / chosen.sum()
