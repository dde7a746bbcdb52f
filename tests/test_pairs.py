"""Every pair of choices of two groups: trained together for two steps, or refused by one clear sentence.

A covering array makes the pairs few runs. Networks, recipes of augmentation and data stand for their families; all
others are trained one by one in `test_registry.py` and `models/test_zoo.py`.
"""

import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from allpairspy import AllPairs

from terrablate.config import Config
from terrablate.config.checks import check
from terrablate.config.choices import NONE_CHOSEN, choices, default_choices, groups, takes_several
from terrablate.config.identity import code_identity
from terrablate.config.schema import FileWeights
from terrablate.errors import UserError
from terrablate.models.build import build
from terrablate.training import floor, pictures
from terrablate.training import run as run_module

type Compose = Callable[..., Config]
type Level = tuple[str, str]
"""A group and the words that choose one of its levels, as a person types them."""
type Row = dict[str, str]
type Pair = frozenset[Level]

SETTINGS = ("trainer=cpu", "trainer.threads=1", "epochs=2", "batch_size=8", "data.image_size=32")
FAMILIES = {
    "data": ["data.train=43", "data.train=43 data.bands=rgb data.label_noise=0.2", "data.train_per_class=2",
             "data.train=57 data.sampler=balanced data.normalize=percentile", "data.train=60 data.imbalance=3",
             "data=synthetic_multilabel"],
    "model": ["model=small_cnn model.width=4", "model=mlp", "model=local_cnn", "model=squeezenet1_0", "model=resnet20",
              "model=timm model.timm_name=test_vit"],
    "aug": ["aug=none", "aug=all", "aug=randaug", "aug=mixup", "aug=cutmix"],
    "weights": ["weights=scratch", "weights=file weights.head=keep", "weights=file weights.partial=true"],
    "debug": ["debug.max_train_batches=2", "debug=smoke", "debug=one_batch", "debug=overfit_ten debug.epochs=2",
              "debug=profiler debug.max_train_batches=2"],
    "logger": ["logger=csv", "logger=wandb logger.mode=offline"],
}  # fmt: skip
"""Levels of groups that are too large to take every choice, that need data, or that need more than a name."""
ONE_LEVEL = {"trainer": "trainer=cpu trainer.threads=1", "study": "study=none"}
"""Groups of which this machine may have one choice only, or of which a run has one."""
SETTINGS_OF = {
    "schedule=step": "schedule.every=1",
    "regularize=[swa]": "regularize.swa.start=0.5",
    "regularize=[prune]": "regularize.prune.start=0 regularize.prune.end=0.5 regularize.prune.rounds=1",
}
"""What makes a choice act within two epochs."""
NEEDS = {
    "data=synthetic_multilabel": {"loss": "loss=bce"},
    "regularize=[l2_sp]": {"weights": "weights=file weights.head=keep"},
    "regularize=[consistency]": {"data": "data.train_per_class=2", "aug": "aug=all"},
    "dropout=path": {"model": "model=timm model.timm_name=test_vit"},
    "finetune=frozen_features": {"weights": "weights=file weights.head=keep"},
}
"""What a level takes to be of use at all: its pairs are tried together with it."""
REFUSED = {
    "finetune=frozen_features": """aug=all aug=randaug aug=mixup aug=cutmix dropout=head dropout=conv dropout=spatial
        dropout=path schedule=step schedule=multistep schedule=cosine schedule=onecycle schedule=plateau stop=early
        stop=fitted regularize=[l1] regularize=[l2_sp] regularize=[ema] regularize=[swa] regularize=[adversarial]
        regularize=[smooth_input_gradient] regularize=[consistency] regularize=[prune] debug=profiler
        data.sampler=balanced""",
    "data=synthetic_multilabel": """loss=cross_entropy loss=label_smoothing loss=weighted loss=focal loss=l2""",
    "finetune=head": "dropout=conv dropout=spatial dropout=path",
    "model=mlp": "norm=batch norm=group norm=layer norm=instance dropout=conv dropout=spatial dropout=path",
    "model.timm_name=test_vit": "dropout=conv dropout=spatial",
    "dropout=path": "model=small_cnn model=local_cnn model=squeezenet1_0",
    "norm=instance": "model=squeezenet1_0",
    "regularize=[consistency]": """aug=none aug=mixup aug=cutmix data.label_noise=0.2 data.sampler=balanced
        data.imbalance=3 data=synthetic_multilabel data.train=43 loss=weighted""",
    "regularize=[l2_sp]": "weights=scratch",
    "loss=weighted": "data.train_per_class=2 debug=overfit_ten",
    "debug=overfit_ten": "stop=early data.label_noise=0.2 data.sampler=balanced",
}  # fmt: skip
"""A word of one level and words of the levels that cannot be together with it; all else trains."""


def levels_of(group: str) -> list[str]:
    """The default first."""
    if group in FAMILIES:
        return FAMILIES[group]
    if group in ONE_LEVEL:
        return [ONE_LEVEL[group]]
    names = [choice.name for choice in choices(group)]
    if takes_several(group):
        return [f"{group}={NONE_CHOSEN}", *(f"{group}=[{name}]" for name in names)]
    return sorted(
        (f"{group}={name}" for name in names), key=lambda level: level != f"{group}={default_choices()[group]}"
    )


class Pairs:
    """Makes configs of rows, and remembers which pairs are refused."""

    def __init__(self, compose: Compose, folder: Path) -> None:
        self.folder = folder
        self.levels = {group: levels_of(group) for group in groups()}
        self.default = {group: found[0] for group, found in self.levels.items()}
        self.neutral = compose(*SETTINGS)
        self.refusals: dict[Pair, str] = {}
        self._compose = compose
        self._sections: dict[str, object] = {}
        for first, second in self.all():
            if (reason := self.refusal(self.context(first, second))) is not None:
                self.refusals[frozenset([first, second])] = reason

    def all(self) -> list[tuple[Level, Level]]:
        return [
            ((a, first), (b, second))
            for a, b in itertools.combinations(self.levels, 2)
            for first, second in itertools.product(self.levels[a], self.levels[b])
        ]

    def config(self, row: Row) -> Config:
        """Not checked."""
        config = replace(self.neutral, **{group: self._section(group, level) for group, level in row.items()})
        if isinstance(config.weights, FileWeights):
            config.weights = replace(config.weights, path=str(self._weights_of(config)))
        return config

    def context(self, first: Level, second: Level) -> Row:
        """The default row with two levels, and with what these need to be of use."""
        needs = NEEDS.get(first[1], {}) | NEEDS.get(second[1], {})
        return self.default | needs | dict([first, second])

    def refusal(self, row: Row) -> str | None:
        """Why a row cannot be trained; None if it can. Tried as far as it may be refused."""
        changed = {group for group, level in row.items() if level != self.default[group]}
        try:
            config = self.config(row)
            check(config)
            if changed & {"model", "norm", "dropout", "weights", "finetune"}:
                build(config, 3, 10, 32)
            if changed & {"data", "debug"} and changed & {"data", "loss", "regularize"}:
                run_module._module(run_module.prepare(config))
        except UserError as error:
            return str(error)
        return None

    def _section(self, group: str, level: str) -> object:
        """A level's section, composed as a person would: with what it needs."""
        if level not in self._sections:
            row = {"model": self.default["model"]} | NEEDS.get(level, {}) | {group: level}
            words = [word for chosen in row.values() for word in chosen.split()]
            words += [f"weights.path={__file__}"] if "weights=file" in words else []
            self._sections[level] = getattr(
                self._compose(*SETTINGS, *words, *SETTINGS_OF.get(level, "").split()), group
            )
        return self._sections[level]

    def _weights_of(self, config: Config) -> Path:
        """A state dict that fits the network of a row, head included."""
        bands = 3 if config.data.bands == "rgb" else 13
        path = self.folder / f"{config.model.name}-{bands}-{config.norm.name}.pth"
        if not path.is_file():
            torch.save(build(config, bands, 10, 32).network.state_dict(), path)
        return path


def covering_rows(pairs: Pairs) -> list[Row]:
    """Few rows that together hold every pair which is not refused."""
    dear = {"logger": "logger=wandb logger.mode=offline"}  # W&B takes as long as the training: as few as will do
    levels = {group: [level for level in found if level not in dear.values()] for group, found in pairs.levels.items()}

    def possible(prefix: list[str]) -> bool:
        *before, last = zip(levels, prefix, strict=False)
        return all(frozenset([level, last]) not in pairs.refusals for level in before)

    rows = [dict(zip(levels, row, strict=True)) for row in AllPairs(list(levels.values()), filter_func=possible)]
    left = {frozenset(pair) for pair in pairs.all()} - pairs.refusals.keys()
    for row in rows:
        left -= _pairs_of(row)
    while left:  # the array ends early where much is refused
        rows.append(_filled(pairs, min(left, key=sorted), left))
        left -= _pairs_of(rows[-1])
    return rows


def _filled(pairs: Pairs, pair: Pair, wanted: set[Pair]) -> Row:
    """A row with a pair, with what it needs, and with as many wanted pairs as a greedy choice finds."""
    first, second = sorted(pair)
    row = NEEDS.get(first[1], {}) | NEEDS.get(second[1], {}) | dict([first, second])
    for group, levels in pairs.levels.items():
        if group not in row:
            rated = {level: _new(pairs, row, (group, level), wanted) for level in levels}
            row[group] = max(rated, key=lambda level: rated[level])
    return {group: row[group] for group in pairs.levels}


def _new(pairs: Pairs, row: Row, level: Level, wanted: set[Pair]) -> int:
    added = {frozenset([level, other]) for other in row.items()}
    return -1 if added & pairs.refusals.keys() else len(added & wanted)


def _pairs_of(row: Row) -> set[Pair]:
    return {frozenset(pair) for pair in itertools.combinations(row.items(), 2)}


def _expected(pair: Pair) -> bool:
    (_, first), (_, second) = pair
    return any(
        word in one.split() and set(others.split()) & set(other.split())
        for word, others in REFUSED.items()
        for one, other in ((first, second), (second, first))
    )


@pytest.mark.slow
def test_every_pair_of_choices_trains_or_is_refused(
    compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(floor, "TREES", 5)
    code = code_identity()
    monkeypatch.setattr(run_module, "code_identity", lambda: code)  # somebody may edit a source meanwhile
    monkeypatch.setattr(pictures, "draw", lambda record: None)

    pairs = Pairs(compose, tmp_path)
    assert not [reason for reason in pairs.refusals.values() if not re.fullmatch(r"[a-z_.]+[=:][^\n]+", reason)]
    refused = set(pairs.refusals)
    assert refused == {frozenset(pair) for pair in pairs.all() if _expected(frozenset(pair))}

    rows = covering_rows(pairs)
    trained: set[Pair] = set()
    failures = []
    for row in rows:
        try:
            result = run_module.run(pairs.config(row)).result()
        except UserError as error:
            failures.append((row, str(error)))
            continue
        assert result is not None
        assert result["status"] in ("complete", "diverged"), row
        trained |= _pairs_of(row)
    # what three choices together forbid is tried again without the third
    for pair in {frozenset(pair) for pair in pairs.all()} - refused - trained:
        row = pairs.context(*sorted(pair))
        assert run_module.run(pairs.config(row)).finished(), row
        trained |= _pairs_of(row)
    assert len(failures) < len(rows) / 10, failures
    assert trained | refused == {frozenset(pair) for pair in pairs.all()}
