"""What is left out when torch, Lightning and torchmetrics are imported: most of a launch is imports.

`import lightning` brings in torchmetrics, and that scipy.signal, matplotlib and torchvision for metrics of sound and of
image quality and for plots; torchvision and Lightning bring in torch._dynamo. timm brings in wandb. Training needs none
of them, and together they take longer than torch itself. Our commands and workers install the hook below before they
import torch; a process that only imports `terrablate` is left as it is, and so is a package that was imported before.
"""

import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any

from terrablate.imports import dynamo
from terrablate.imports.metrics import without_extras
from terrablate.imports.tracking import without_wandb

_AROUND: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "torch": dynamo.deferred,
    "torchmetrics": without_extras,
    "timm.utils.summary": without_wandb,
}
"""What happens around the first import of a package."""


def install() -> None:
    """Put the hook in place; once a process."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder:
    """Finds what Python would find, and puts something around its execution."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname.startswith(f"{dynamo.NAME}."):
            return dynamo.spec_of_part(fullname)
        around = _AROUND.get(fullname)
        if around is None:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        loader: Any = spec.loader if spec is not None else None
        if loader is not None:
            execute = loader.exec_module

            def exec_module(module: ModuleType) -> None:
                with around():
                    execute(module)

            loader.exec_module = exec_module  # of this one loader, which belongs to this one spec
        return spec
