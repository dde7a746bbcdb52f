"""Weights on disk: read without running code that stands in them, and told apart by their digest."""

import hashlib
import pickle
from pathlib import Path
from typing import Any

import torch

from terrablate.errors import WeightsError
from terrablate.models.build import first_line

type State = dict[str, torch.Tensor]

_NESTED = ("state_dict", "model_state_dict", "model")


def read_state(path: Path, sha256: str | None = None) -> State:
    """Read a state dict or checkpoint, never running code from it.

    Args:
        path: a file of `torch.save`, or one of safetensors by its suffix.
        sha256: the first characters of the expected digest.

    Raises:
        WeightsError: if there is no such file, its digest differs, it carries code, or it holds no tensors by name.
    """
    if not path.is_file():
        raise WeightsError(f"weights: there is no file {path}")
    if sha256 is not None and not (found := file_sha256(path)).startswith(sha256.lower()):
        raise WeightsError(f"weights.sha256={sha256}: {path} has {found[: max(8, len(sha256))]}...")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"weights: {path} carries Python objects besides tensors, which could run code, and is not opened;"
            " save its state_dict() alone"
        ) from error
    except Exception as error:  # a broken file fails in torch's reader in many ways
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise WeightsError(
            f"weights: {path} cannot be read as weights; is it a whole file of torch.save or safetensors? ({reason})"
        ) from error
    return named_tensors(content, str(path))


def named_tensors(content: Any, origin: str) -> State:
    """The tensors by name in what a weights file holds, below the names under which checkpoints usually keep them.

    Raises:
        WeightsError: if there are none.
    """
    for name in _NESTED:
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    if not isinstance(content, dict):
        raise WeightsError(f"weights: {origin} holds a {type(content).__name__}, not a state dict of named tensors")
    state = {str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)}
    if not state:
        raise WeightsError(f"weights: {origin} is no state dict: it holds no named tensors")
    return state


def file_sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
