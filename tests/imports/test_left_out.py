"""What a launch does not import, and that nothing is missing once it is asked for."""

import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from chip_folders import write_tiff
from terrablate.config import Config
from terrablate.config.choices import PROJECT
from terrablate.data.pack import ensure_pack

FIRST_STEP = """
import json, os, runpy, sys
from terrablate import commands

def call(self, composed):
    from terrablate.study import job

    inner = job.train_and_tell

    def train_and_tell(config, **options):
        from terrablate.training.classifier import Classifier

        def training_step(self, batch, batch_idx):
            self.trainer.optimizers[0].step()  # an optimizer imports the compiler in its first step
            print("loaded " + json.dumps(list(sys.modules)), flush=True)
            os._exit(0)

        Classifier.training_step = training_step
        return inner(config, **options)

    job.train_and_tell = train_and_tell
    return calls(self, composed)

calls, commands._Job.__call__ = commands._Job.__call__, call
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Calls `src/train.py` with the rest of the command line, and tells which modules are there when training begins."""

HEAVY = {
    "torchgeo", "rasterio", "kornia", "matplotlib", "scipy", "sklearn", "pandas", "cleanlab", "wandb", "sympy",
    "torch._dynamo.eval_frame", "torch._inductor",
}  # fmt: skip


def python(code: str, *words: str) -> str:
    """The output of a process of its own."""
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded_at_first_step(folder: Path, *overrides: str) -> set[str]:
    places = [f"{name}_dir={folder / name}" for name in ("runs", "packs", "studies")]
    script = str(PROJECT / "src" / "train.py")
    output = python(FIRST_STEP, script, *places, "trainer=cpu", "trainer.threads=1", "debug=smoke", *overrides)
    line = next(line for line in output.splitlines() if line.startswith("loaded "))
    return set(json.loads(line.removeprefix("loaded ")))


@pytest.mark.parametrize("model", ["lenet", "resnet18"])
def test_once_packed_training_begins_without_what_it_does_not_need(
    compose: Callable[..., Config], tmp_path: Path, model: str
) -> None:
    """A pack made from GeoTIFFs is read without the libraries that read GeoTIFFs."""
    chips = tmp_path / "chips"
    for split, label, number in itertools.product(("train", "val"), ("land", "water"), range(4)):
        pixels = np.full((4, 16, 16), number + 100 * (label == "water"), np.uint16)
        write_tiff(chips / split / label / f"{label}_{number}.tif", pixels)
    overrides = ["data=folder", f"data.root={chips}", f"model={model}"]
    config = compose(*overrides)
    ensure_pack(config.data, Path(config.packs_dir))
    loaded = loaded_at_first_step(tmp_path, *overrides)
    assert {"torch", "lightning", "torchmetrics"} <= loaded
    assert loaded & HEAVY == set()
    assert ({"timm", "torchvision"} <= loaded) == (model == "resnet18")  # where its networks come from


ASKS = (
    "torch._dynamo.reset()",
    "import torch._dynamo.config",
    "from torch._dynamo.utils import is_compile_supported, counters",
    "from torch._dynamo.utils import is_compile_supported; is_compile_supported('cpu')",
    "torch.compile(torch.nn.Linear(2, 2), backend='eager')(torch.zeros(1, 2))",
    "torch.compiler.reset(); torch.compiler.set_stance('force_eager'); torch.compiler.set_stance('default')",
    "layer.compile(backend='eager', dynamic=False); layer._compiled_call_impl = None",
)
ASKED = """
import os, sys
from terrablate.imports import install
install()
import torch
layer = torch.nn.Linear(2, 2)
optimizer = torch.optim.AdamW(layer.parameters())
optimizer.step()
optimizer.zero_grad()
import lightning.fabric.wrappers, torchvision.ops
assert "torch._dynamo.eval_frame" not in sys.modules
assert not isinstance(layer, lightning.fabric.wrappers.OptimizedModule)

def check(ask):
    exec(ask)
    import torch._dynamo, torch._dynamo.config, torch._dynamo.utils, torch._dynamo.eval_frame
    for name in ("", ".config", ".utils"):
        assert sys.modules["torch._dynamo" + name].__spec__.origin
    assert torch._dynamo is sys.modules["torch._dynamo"]
    assert torch._dynamo.config is sys.modules["torch._dynamo.config"]
    assert torch._dynamo.OptimizedModule is torch._dynamo.eval_frame.OptimizedModule
    assert isinstance(torch.compile(layer, backend="eager"), lightning.fabric.wrappers.OptimizedModule)
    layer(torch.ones(1, 2)).sum().backward()
    before = layer.weight.clone()
    optimizer.step()
    assert not torch.equal(before, layer.weight)

for ask in sys.argv[1:]:
    if (pid := os.fork()) == 0:  # of a process without the compiler
        try:
            check(ask)
            print(ask, flush=True)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
"""


@pytest.mark.slow
def test_the_compiler_is_there_when_it_is_asked_for() -> None:
    assert python(ASKED, *ASKS).splitlines() == list(ASKS)


def test_torchmetrics_does_without_packages_that_others_find() -> None:
    code = """
import sys
from terrablate.imports import install
install()
import torch
from torchmetrics.functional.classification import multiclass_calibration_error, multiclass_f1_score
assert not {"scipy", "matplotlib", "torchvision"} & set(sys.modules)
logits, labels = torch.eye(3), torch.arange(3)
assert multiclass_f1_score(logits, labels, num_classes=3) == 1
import matplotlib.pyplot, scipy.signal, torchvision.ops
from lightning_utilities.core.imports import RequirementCache, package_available
assert RequirementCache("scipy>=1.8.0") and package_available("torchvision")
"""
    python(code)
