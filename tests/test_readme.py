"""What README.md says is so: its table of groups, and the messages it shows."""

import re
from collections.abc import Callable

import pytest
from omegaconf import DictConfig

from terrablate.config import choices, parse
from terrablate.config.messages import of_hydra
from terrablate.describe.choices_table import choices_table
from terrablate.errors import ConfigError

README = (choices.PROJECT / "README.md").read_text(encoding="utf-8")


def test_the_table_of_choices_is_current() -> None:
    found = re.search(r"<!-- choices -->\n(.*)\n<!-- /choices -->", README, re.DOTALL)
    assert found is not None
    assert found[1].strip() == choices_table()


def test_the_table_names_every_group_and_its_default() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(\w+|\[\])` \|", README.split("<details>")[0], re.MULTILINE)
    assert {group: name for group, name in rows if group in choices.groups()} == choices.default_choices()


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
