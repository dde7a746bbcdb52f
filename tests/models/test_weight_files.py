"""Weights files are read without running code from them; what is no weights file is told in one sentence."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from small_resnets import built, load, resnet
from terrablate.errors import WeightsError
from terrablate.models.weight_files import file_sha256, read_state


class Intruder:
    """A pickle of it creates a file when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("nested", [None, "state_dict", "model_state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "network.", "backbone.", "_orig_mod.module."])
def test_weights_are_found_under_usual_names(tmp_path: Path, nested: str | None, prefix: str) -> None:
    source = resnet(3)
    state: Any = {prefix + name: value for name, value in source.state_dict().items()}
    torch.save(state if nested is None else {nested: state, "epoch": 3}, tmp_path / "w.pth")
    target = built()
    report = load(target, read_state(tmp_path / "w.pth"))
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(target.network.eval()(images), source(images))
    assert (report.loaded, report.left_out, report.initialised) == (len(state), [], [])


def test_a_lightning_checkpoint_is_read_for_its_network(tmp_path: Path) -> None:
    source = resnet(3)
    state = {f"network.{name}": value for name, value in source.state_dict().items()}
    state["inputs.center"] = torch.zeros(3, 1, 1)
    torch.save({"state_dict": state, "epoch": 3, "optimizer_states": [{"step": 4}]}, tmp_path / "w.ckpt")
    target = built()
    load(target, read_state(tmp_path / "w.ckpt"))
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(target.network.eval()(images), source(images))


def test_safetensors_are_read(tmp_path: Path) -> None:
    source = resnet(3)
    safetensors.torch.save_file(source.state_dict(), tmp_path / "w.safetensors")
    target = built()
    load(target, read_state(tmp_path / "w.safetensors"))
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(target.network.eval()(images), source(images))


@pytest.mark.parametrize("characters", [8, 64])
def test_the_right_sha256_is_accepted_and_a_wrong_one_named(tmp_path: Path, characters: int) -> None:
    path = tmp_path / "w.pth"
    torch.save({"a": torch.zeros(2)}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert file_sha256(path) == digest
    assert list(read_state(path, digest[:characters])) == ["a"]
    assert list(read_state(path, digest[:characters].upper())) == ["a"]
    with pytest.raises(WeightsError, match=rf"^weights.sha256={'0' * characters}: .* has {digest[:8]}"):
        read_state(path, "0" * characters)


@pytest.mark.parametrize("nested", [False, True])
def test_a_pickle_that_carries_code_is_refused_and_its_code_not_run(tmp_path: Path, nested: bool) -> None:
    trap = tmp_path / "trap"
    content = {"state_dict": {"a": torch.zeros(2)}, "extra": Intruder(trap)} if nested else Intruder(trap)
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="carries Python objects besides tensors, which could run code") as caught:
        read_state(tmp_path / "w.pth")
    assert "\n" not in str(caught.value)
    assert not trap.exists()
    torch.load(tmp_path / "w.pth", weights_only=False)
    assert trap.exists()  # the trap was a real one


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (torch.zeros(3), "holds a Tensor, not a state dict of named tensors"),
        ([torch.zeros(3)], "holds a list, not a state dict of named tensors"),
        ({"epoch": 3}, "is no state dict: it holds no named tensors"),
        ({"state_dict": {}}, "is no state dict: it holds no named tensors"),
    ],
)
def test_what_is_no_state_dict_is_told(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=message):
        read_state(tmp_path / "w.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("kept", [0, 10, 0.5])
def test_a_truncated_file_is_told_in_one_sentence(tmp_path: Path, suffix: str, kept: float) -> None:
    path = tmp_path / f"w{suffix}"
    state = {"a": torch.rand(1000)}
    if suffix == ".pth":
        torch.save(state, path)
    else:
        safetensors.torch.save_file(state, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole)) if kept < 1 else int(kept)])
    with pytest.raises(WeightsError) as caught:
        read_state(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_text_file_is_told_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(WeightsError) as caught:
        read_state(tmp_path / "w.pth")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"there is no file .*w\.pth"):
        read_state(tmp_path / "w.pth")
