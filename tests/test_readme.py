"""What README.md says is so: its table of groups, and the messages it shows."""

import re
from collections.abc import Callable

import pytest
from omegaconf import DictConfig

from terrablate.config import choices, parse
from terrablate.config.messages import of_hydra
from terrablate.errors import ConfigError

README = (choices.PROJECT / "README.md").read_text(encoding="utf-8")


def test_the_table_names_every_choice_of_every_group() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ((?:`\w+`(?:, )?)+) \|", README, re.MULTILINE)
    table = {group: re.findall(r"`(\w+)`", names) for group, names in rows}
    present = {group: [choice.name for choice in choices.choices(group)] for group in choices.groups()}
    assert {group: sorted(names) for group, names in table.items()} == present


def test_the_table_names_the_default_first() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)`", README, re.MULTILINE)
    defaults = choices.default_choices()
    assert {group: name for group, name in rows if group in defaults} == defaults


@pytest.mark.parametrize(
    ("override", "shown"), re.findall(r"^\$ python src/train\.py (\S+)\nerror: (.*)$", README, re.MULTILINE)
)
def test_the_messages_that_are_shown_are_those_that_appear(
    compose_raw: Callable[..., DictConfig], monkeypatch: pytest.MonkeyPatch, override: str, shown: str
) -> None:
    monkeypatch.setattr("sys.argv", ["train.py", override])
    with pytest.raises(Exception) as refused:  # noqa: PT011 - Hydra's exceptions are of several kinds
        parse(compose_raw(override))
    error = refused.value
    assert shown == (str(error) if isinstance(error, ConfigError) else of_hydra(error))


def test_messages_are_shown() -> None:
    assert len(re.findall(r"^error: ", README, re.MULTILINE)) >= 2
