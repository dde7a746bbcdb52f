"""The groups and choices that stand in `conf/`, read off the folder: for `--help`, for messages and for the tests."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[3]
CONF = PROJECT / "conf"
EXPERIMENTS = PROJECT / "experiments"
"""Holds the group `study`, besides `conf/`."""
NONE_CHOSEN = "[]"
"""The default of a group of which any subset may be chosen, as a person writes it."""


@dataclass(frozen=True)
class Choice:
    """One file of a config group."""

    group: str
    name: str
    path: Path

    @property
    def card(self) -> str:
        """First line of the file's opening comment: what the choice does."""
        with self.path.open(encoding="utf-8") as file:
            return file.readline().lstrip("# ").strip()


def groups() -> list[str]:
    """Names of all config groups of ours; `conf/hydra/` belongs to Hydra's."""
    return sorted(folder.name for folder in CONF.iterdir() if folder.is_dir() and folder.name != "hydra")


def choices(group: str) -> list[Choice]:
    """All choices of a group; files whose names start with an underscore hold what the choices share."""
    files = sorted((CONF / group).glob("*.yaml")) + sorted((EXPERIMENTS / group).glob("*.yaml"))
    return [Choice(group, file.stem, file) for file in files if not file.stem.startswith("_")]


def all_choices() -> list[Choice]:
    """All choices of all groups."""
    return [choice for group in groups() for choice in choices(group)]


def keys(group: str, name: str) -> list[str]:
    """The keys that a choice offers, those of its shared file included.

    In a group that takes several choices they stand below the choice's own name.

    Raises:
        FileNotFoundError: if there is no such choice.
    """
    import yaml

    folder = CONF if (CONF / group / f"{name}.yaml").is_file() else EXPERIMENTS
    content = yaml.safe_load((folder / group / f"{name}.yaml").read_text(encoding="utf-8"))
    if takes_several(group):
        return sorted(content[name])
    shared = {key for parent in content.pop("defaults", []) if parent != "_self_" for key in keys(group, parent)}
    return sorted(shared | set(content))


_USAGE = (
    "[group=choice ...] [key=value ...]     one run",
    "-m group=choice,choice ... seed=0,1,2   every combination",
    "--cfg job [...]                         show the composed config, train nothing",
)


def help_text(command: str, purpose: str, primary: str = "train", usage: Sequence[str] = _USAGE) -> str:
    """What `--help` prints: usage, groups, choices with their cards, and where to read on.

    Args:
        command: how the command is called.
        purpose: what it does, in a sentence.
        primary: name of its primary config.
        usage: what may follow the command, each with what it does.
    """
    calls = [f"{'usage:' if number == 0 else '      '} {command} {words}" for number, words in enumerate(usage)]
    defaults = default_choices(primary)
    lines = [purpose, "", *calls, *(["", "groups and choices (* default):"] if defaults else [])]
    for group in offered(primary):
        several = f": any of them, such as {group}=[a,b]; default {NONE_CHOSEN}" if takes_several(group) else ""
        lines.append(f"\n  {group}{several}")
        for choice in choices(group):
            mark = "*" if defaults.get(group) == choice.name else " "
            lines.append(f"  {mark} {choice.name:<16} {choice.card}")
    for name in _layers(primary):
        lines += ["", f"other settings (conf/{name}.yaml):"]
        lines += [f"  {line}" for line in _settings_lines(name)]
    return "\n".join(lines)


def takes_several(group: str) -> bool:
    """Whether any subset of the choices may be given, as `group=[a,b]`."""
    return default_choices().get(group) == NONE_CHOSEN


def default_choices(primary: str = "train") -> dict[str, str]:
    """The default choice of every group that a primary config takes; `[]` where any subset may be chosen.

    `null` where nothing is chosen by default.

    Args:
        primary: name of the primary config.
    """
    entries = [entry for content in _layers(primary).values() for entry in content["defaults"]]
    pairs = [(group, name) for entry in entries if isinstance(entry, dict) for group, name in entry.items()]
    written = {group: NONE_CHOSEN if name == [] else name or "null" for group, name in pairs}
    return {group: name for group, name in written.items() if not group.startswith("override ")}


def offered(primary: str = "train") -> list[str]:
    """The groups of which a primary config takes a choice."""
    taken = default_choices(primary)
    return [group for group in groups() if group in taken]


def settings(primary: str = "train") -> dict[str, Any]:
    """The keys of a primary config outside of groups, with their defaults; a command's own ones come first."""
    found: dict[str, Any] = {}
    for content in _layers(primary).values():
        found |= {key: value for key, value in content.items() if key not in ("defaults", "hydra")}
    return found


def _layers(primary: str) -> dict[str, dict[str, Any]]:
    """A primary config and, where it is built on that of a run, this one; by name."""
    import yaml

    own = yaml.safe_load((CONF / f"{primary}.yaml").read_text(encoding="utf-8"))
    return {primary: own} | (_layers("train") if "train" in own["defaults"] else {})


def _settings_lines(primary: str) -> list[str]:
    text = (CONF / f"{primary}.yaml").read_text(encoding="utf-8")
    body = text.split("\n\n", 1)[1].split("\nhydra:")[0]
    return [line for line in body.splitlines() if line.strip()]
