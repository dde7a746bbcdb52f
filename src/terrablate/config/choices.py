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
    lines = [purpose, "", *calls]
    defaults = default_choices()
    if composes_runs(primary):
        lines += ["", "groups and choices (* default):"]
    for group in groups() if composes_runs(primary) else ():
        several = f": any of them, such as {group}=[a,b]; default {NONE_CHOSEN}" if takes_several(group) else ""
        lines.append(f"\n  {group}{several}")
        for choice in choices(group):
            mark = "*" if defaults.get(group) == choice.name else " "
            lines.append(f"  {mark} {choice.name:<16} {choice.card}")
    for name in _with_parent(primary):
        lines += ["", f"{'other ' * composes_runs(primary)}settings (conf/{name}.yaml):"]
        lines += [f"  {line}" for line in _settings_lines(name)]
    return "\n".join(lines)


def takes_several(group: str) -> bool:
    """Whether any subset of the choices may be given, as `group=[a,b]`."""
    return default_choices().get(group) == NONE_CHOSEN


def default_choices() -> dict[str, str]:
    """The default choice of every group, from the primary config; `[]` where any subset may be chosen."""
    import yaml

    content = yaml.safe_load((CONF / "train.yaml").read_text(encoding="utf-8"))
    entries = [entry for entry in content["defaults"] if isinstance(entry, dict)]
    pairs = [(group, name) for entry in entries for group, name in entry.items()]
    return {group: NONE_CHOSEN if name == [] else name for group, name in pairs if not group.startswith("override ")}


def settings(primary: str = "train") -> dict[str, Any]:
    """The keys of a primary config outside of groups, with their defaults; a command's own ones come first."""
    import yaml

    found: dict[str, Any] = {}
    for name in _with_parent(primary):
        content = yaml.safe_load((CONF / f"{name}.yaml").read_text(encoding="utf-8"))
        found |= {key: value for key, value in content.items() if key not in ("defaults", "hydra")}
    return found


def composes_runs(primary: str) -> bool:
    """Whether a primary config holds the config of a run, with its groups, and not a command's own keys alone."""
    import yaml

    return primary == "train" or "train" in yaml.safe_load((CONF / f"{primary}.yaml").read_text("utf-8"))["defaults"]


def _with_parent(primary: str) -> list[str]:
    """Names of the primary configs whose keys a command takes; its own come first."""
    return list(dict.fromkeys((primary, "train"))) if composes_runs(primary) else [primary]


def _settings_lines(primary: str) -> list[str]:
    text = (CONF / f"{primary}.yaml").read_text(encoding="utf-8")
    body = text.split("\n\n", 1)[1].split("\nhydra:")[0]
    return [line for line in body.splitlines() if line.strip()]
