"""Designs: which combinations of factor levels a study trains. Pure functions; each variant is a set of overrides."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from terrablate.errors import ConfigError


@dataclass(frozen=True)
class Factor:
    """What a study varies.

    Args:
        name: such as `aug`.
        levels: overrides by level name, in order; the first is the baseline's.
    """

    name: str
    levels: Mapping[str, tuple[str, ...]]

    @property
    def baseline(self) -> str:
        """The level that the baseline has."""
        return next(iter(self.levels))

    @property
    def others(self) -> list[str]:
        """All levels but the baseline's."""
        return [level for level in self.levels if level != self.baseline]


@dataclass(frozen=True)
class Variant:
    """One combination of levels."""

    name: str
    levels: Mapping[str, str]
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Design:
    """All variants of a study; the first is the baseline, to which the others are compared.

    Args:
        variants: each once.
        aliases: effects that cannot be told apart, as chains such as `["a:b", "c:d"]`; of fractional designs only.
        resolution: length of the shortest word of the defining relation; None where no effects are aliased.
    """

    variants: tuple[Variant, ...]
    aliases: tuple[tuple[str, ...], ...] = ()
    resolution: int | None = None
    generators: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def one_at_a_time(factors: Sequence[Factor]) -> Design:
    """The baseline, and for each level of each factor a variant that differs from it in that alone."""
    base = {factor.name: factor.baseline for factor in factors}
    changed = [base | {factor.name: level} for factor in factors for level in factor.others]
    return Design(tuple(_variant(factors, levels, base) for levels in [base, *changed]))


def leave_one_out(factors: Sequence[Factor]) -> Design:
    """All tricks together as the baseline, and for each factor a variant that leaves its trick out.

    Raises:
        ConfigError: if a factor has other than two levels: without the trick, and with it.
    """
    _two_levels(factors, "leave_one_out")
    full = {factor.name: factor.others[0] for factor in factors}
    left = [full | {factor.name: factor.baseline} for factor in factors]
    names = ["all", *(f"without {factor.name}" for factor in factors)]
    return Design(
        tuple(
            Variant(name, levels, _overrides(factors, levels))
            for name, levels in zip(names, [full, *left], strict=True)
        )
    )


def factorial(factors: Sequence[Factor]) -> Design:
    """Every combination of all levels."""
    base = {factor.name: factor.baseline for factor in factors}
    names = [factor.name for factor in factors]
    combinations = itertools.product(*(factor.levels for factor in factors))
    levels = [dict(zip(names, combination, strict=True)) for combination in combinations]
    return Design(tuple(_variant(factors, chosen, base) for chosen in levels))


def fractional(factors: Sequence[Factor]) -> Design:
    """A regular two-level fraction of resolution IV or better, with as few runs as that allows.

    Main effects are then clear of each other and of two-way interactions; two-way interactions are aliased with each
    other as `aliases` says. Generators are searched for, the resolution is computed from the defining relation (Box,
    Hunter and Hunter 2005, chapter 6), and the matrix comes from pyDOE3.

    Raises:
        ConfigError: if a factor has other than two levels.
    """
    _two_levels(factors, "fractional")
    basic, added = best_generators(len(factors))
    if not added:
        return factorial(factors)
    from pyDOE3 import fracfact

    letters = "abcdefghijklmnopqrstuvwxyz"
    words = [letters[index] for index in range(basic)]
    words += ["".join(letters[index] for index in sorted(word)) for word in added]
    matrix = fracfact(" ".join(words))
    base = {factor.name: factor.baseline for factor in factors}
    variants = []
    for row in matrix:
        levels = {
            factor.name: factor.others[0] if value > 0 else factor.baseline
            for factor, value in zip(factors, row, strict=True)
        }
        variants.append(_variant(factors, levels, base))
    variants.sort(key=lambda variant: sum(variant.levels[name] != level for name, level in base.items()))
    relation = defining_relation(basic, added)
    names = [factor.name for factor in factors]
    return Design(
        tuple(variants),
        aliases=_alias_chains(names, relation),
        resolution=min(map(len, relation)),
        generators={
            names[basic + number]: tuple(names[index] for index in sorted(word)) for number, word in enumerate(added)
        },
    )


def listed(variants: Mapping[str, tuple[str, ...]]) -> Design:
    """Variants as a person names them; the first is the baseline."""
    return Design(tuple(Variant(name, {"variant": name}, overrides) for name, overrides in variants.items()))


def best_generators(count: int) -> tuple[int, list[frozenset[int]]]:
    """The smallest two-level fraction of resolution IV or better for `count` factors.

    Returns:
        How many basic factors there are (2 to their number is the number of runs), and for each added factor the basic
        ones whose product it is. Products of an odd number of basic factors, three or more, have resolution IV; those
        of more factors come first, which gives a higher resolution where there is room.
    """
    basic = next(number for number in range(1, count + 1) if 2 ** (number - 1) >= count or number == count)
    odd = [frozenset(word) for size in range(3, basic + 1, 2) for word in itertools.combinations(range(basic), size)]
    wanted = count - basic
    if wanted <= 0:
        return count, []
    best: tuple[tuple[int, int], list[frozenset[int]]] | None = None
    candidates = itertools.islice(itertools.combinations(sorted(odd, key=len, reverse=True), wanted), 2000)
    for chosen in candidates:
        relation = defining_relation(basic, list(chosen))
        shortest = min(map(len, relation))
        score = (shortest, -sum(len(word) == shortest for word in relation))
        if best is None or score > best[0]:
            best = (score, list(chosen))
    assert best is not None
    return basic, best[1]


def defining_relation(basic: int, added: Sequence[frozenset[int]]) -> list[frozenset[int]]:
    """All words of the defining relation: products of the generators' words, as sets of factor positions."""
    words = [word | {basic + number} for number, word in enumerate(added)]
    relation = []
    for size in range(1, len(words) + 1):
        for chosen in itertools.combinations(words, size):
            product: frozenset[int] = frozenset()
            for word in chosen:
                product ^= word
            relation.append(product)
    return relation


def _alias_chains(names: Sequence[str], relation: Iterable[frozenset[int]]) -> tuple[tuple[str, ...], ...]:
    words = list(relation)
    seen: set[frozenset[int]] = set()
    chains = []
    for pair in itertools.combinations(range(len(names)), 2):
        effect = frozenset(pair)
        if effect in seen:
            continue
        chain = [effect, *(other for word in words if len(other := effect ^ word) == 2)]
        seen.update(chain)
        if len(chain) > 1:
            chains.append(tuple(":".join(names[index] for index in sorted(member)) for member in chain))
    return tuple(chains)


def _two_levels(factors: Sequence[Factor], design: str) -> None:
    for factor in factors:
        if len(factor.levels) != 2:
            raise ConfigError(
                f"study.design={design}: the factor {factor.name} has {len(factor.levels)} levels; two are needed"
            )


def _variant(factors: Sequence[Factor], levels: Mapping[str, str], base: Mapping[str, str]) -> Variant:
    changed = [f"{name}={level}" for name, level in levels.items() if level != base[name]]
    return Variant(", ".join(changed) or "baseline", levels, _overrides(factors, levels))


def _overrides(factors: Sequence[Factor], levels: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(override for factor in factors for override in factor.levels[levels[factor.name]])
