"""The command line of `evaluate.py`, in the words of Hydra."""

from collections.abc import Sequence


def rewritten(words: Sequence[str]) -> list[str]:
    """What a person writes, as Hydra takes it.

    `study=<name>` is `study.name=<name>`, since any study can be opened and not only those that are choices of the
    group `study`. Without `data=<choice>`, `data.<key>=<value>` says something else about the data of the runs
    themselves, which are not known yet, so that Hydra has to be told to add the key.

    Args:
        words: of the command line, without the command.
    """
    transfers = any(word.startswith("data=") for word in words)
    found = []
    for word in words:
        if word.startswith("study="):
            word = f"study.name={word.removeprefix('study=')}"
        elif word.startswith("data.") and not transfers:
            word = f"++{word}"
        found.append(word)
    return found
