"""Puts off the import of torch._dynamo, the compiler, until something compiles.

Every optimizer imports it in its first step, only to tell the compiler, if there is one, not to follow it; Lightning
does to ask whether a module was compiled, and torchvision for its detectors. It takes almost as long to import as
torch. Until it is there, nothing can have been compiled: so it is known what the few names do that are used all the
same. Any other name imports it.
"""

import functools
import importlib
import importlib.machinery
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

NAME = "torch._dynamo"
_UTILS = f"{NAME}.utils"


@contextmanager
def deferred() -> Iterator[None]:
    """After torch was imported, without its compiler, leave a stand-in in the compiler's place."""
    yield
    if NAME not in sys.modules:
        sys.modules[NAME] = sys.modules["torch"]._dynamo = _Compiler(NAME)  # type: ignore[attr-defined]


def spec_of_part(fullname: str) -> importlib.machinery.ModuleSpec | None:
    """For `import torch._dynamo.x` while the stand-in is there: x as the import of the whole package leaves it.

    Args:
        fullname: of x.

    Returns:
        None where Python is to look by itself, since the package is there and x is not.
    """
    if isinstance(sys.modules.get(NAME), _StandIn):
        if fullname == _UTILS:
            return _spec_of(_Utils(fullname))
        _compiler()
    module = sys.modules.get(fullname)
    return None if module is None else _spec_of(module)


def _spec_of(module: ModuleType) -> importlib.machinery.ModuleSpec:
    given: Any = _Given(module)
    return importlib.machinery.ModuleSpec(module.__name__, given)


def _compiler() -> ModuleType:
    """The compiler, imported in the place of its stand-ins if it is not there yet."""
    torch = sys.modules["torch"]
    for name in (NAME, _UTILS):
        if isinstance(sys.modules.get(name), _StandIn):
            del sys.modules[name]
    if isinstance(torch.__dict__.get("_dynamo"), _StandIn):
        del torch._dynamo
    return importlib.import_module(NAME)


def _compiler_if_loaded() -> ModuleType | None:
    module = sys.modules.get(NAME)
    return None if isinstance(module, _StandIn) else module


class _StandIn(ModuleType):
    """A module that is imported when a name is asked for that the stand-in does not have."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked for by Python's import, and by those who look through all modules
            raise AttributeError(name)
        _compiler()
        return getattr(importlib.import_module(self.__name__), name)


class _IfCompiled(type):
    """Of a class to which objects belong if they belong to the compiler's, once that is there."""

    def __instancecheck__(cls, instance: object) -> bool:
        module = _compiler_if_loaded()
        return module is not None and isinstance(instance, module.OptimizedModule)


class _OptimizedModule(metaclass=_IfCompiled):
    """What `torch.compile` makes of a module."""


class _Compiler(_StandIn):
    """The package, as long as nothing is compiled."""

    __path__ = []  # noqa: RUF012 - mypy knows its type; its parts come from `spec_of_part`
    OptimizedModule = _OptimizedModule

    @staticmethod
    def graph_break(*_: Any, **__: Any) -> None:
        """Nothing is being traced."""

    @staticmethod
    def disable(fn: Callable[..., Any], *rest: Any, **options: Any) -> Callable[..., Any]:
        """A function that the compiler does not follow, once it is there; until then the function itself."""
        told: Callable[..., Any] | None = None

        @functools.wraps(fn)
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal told
            module = _compiler_if_loaded()
            if module is not None and told is None:
                told = module.disable(fn, *rest, **options)
            return (told or fn)(*args, **kwargs)

        return call


class _Utils(_StandIn):
    """What torchvision takes from there."""

    @staticmethod
    def is_compile_supported(*args: Any) -> Any:
        """Asked by a detector when it runs."""
        return _compiler().utils.is_compile_supported(*args)


class _Given:
    """A loader that gives a module as it is.

    Args:
        module: that was imported, or stands in.
    """

    def __init__(self, module: ModuleType) -> None:
        self._module, self._spec = module, module.__spec__

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec
