"""Imports torchmetrics as if packages were not installed that only its other metrics and its plots use."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

HIDDEN = ("scipy", "matplotlib", "torchvision")
"""None of them is used by a metric of classification."""


@contextmanager
def without_extras() -> Iterator[None]:
    """Let torchmetrics not find some packages while it is imported.

    It asks `lightning_utilities` what is installed. Afterwards its plots, its metrics of detection, and those that need
    scipy say that these packages are missing; whoever imports the packages finds them.
    """
    from lightning_utilities.core import imports

    found, is_available = imports.RequirementCache, imports.package_available

    def package_available(package_name: str) -> bool:
        return package_name not in HIDDEN and is_available(package_name)

    def requirement(requirement: str | None = None, module: str | None = None) -> Any:
        cache = found(requirement, module)
        if requirement is not None and requirement.partition(">")[0] in HIDDEN:
            cache.available, cache.message = False, f"{requirement} is left out, so that training starts sooner"
        return cache

    replaced: Any = imports
    replaced.RequirementCache, replaced.package_available = requirement, package_available
    try:
        yield
    finally:
        replaced.RequirementCache, replaced.package_available = found, is_available
