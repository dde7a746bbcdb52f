"""Names and arguments of timm's optimizers, read off its sources and torch's, because importing them takes seconds.

A test compares them with timm's own registry.
"""

import ast
import functools
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LOOKAHEAD = "lookahead_"
"""Before a name: timm wraps the optimizer in Lookahead (Zhang et al. 2019)."""

_FIELDS = ("name", "opt_class", "description", "has_eps", "has_momentum", "has_betas", "num_betas", "second_order")
"""Of timm's `OptimInfo`, in their order."""

_DROPPED_WITHOUT = {"eps": ("has_eps", True), "momentum": ("has_momentum", False), "betas": ("has_betas", False)}
"""Arguments that timm's factory keeps from the class without a flag, and the flag's default."""

_SET_ELSEWHERE = {"self", "params", "lr", "weight_decay"}


@dataclass(frozen=True)
class _Entry:
    """What timm's registry says of an optimizer."""

    class_name: str
    dropped: frozenset[str]
    obstacle: str | None


def optimizer_names() -> frozenset[str]:
    """All names that can be used here; each may have `lookahead_` before it."""
    return frozenset(name for name, entry in _registry().items() if entry.obstacle is None)


def obstacle(name: str) -> str | None:
    """Why an optimizer that timm has cannot be used here; None for one that can, or that timm does not have."""
    entry = _registry().get(name.removeprefix(LOOKAHEAD))
    return entry.obstacle if entry else None


def optimizer_arguments(name: str) -> frozenset[str]:
    """Names of the arguments that an optimizer takes besides parameters, learning rate and weight decay.

    Raises:
        KeyError: if there is no such optimizer.
    """
    entry = _registry()[name.removeprefix(LOOKAHEAD)]
    return _constructor_arguments(entry.class_name) - entry.dropped - _SET_ELSEWHERE


@functools.cache
def _registry() -> dict[str, _Entry]:
    calls = list(_calls(_sources("timm")["_optim_factory.py"]))
    found: dict[str, _Entry] = {}
    for function, call in calls:
        if function == "OptimInfo":
            positional = dict(zip(_FIELDS, call.args, strict=False))
            given = positional | {word.arg: word.value for word in call.keywords if word.arg}
            found[ast.literal_eval(given["name"])] = _entry(given)
    for function, call in calls:
        if function == "default_registry.register_alias":
            alias, target = map(ast.literal_eval, call.args)
            found[alias] = found[target]
    return found


def _entry(given: dict[str, ast.expr]) -> _Entry:
    flags = {key: node.value for key, node in given.items() if isinstance(node, ast.Constant)}
    dropped = frozenset(key for key, (flag, usual) in _DROPPED_WITHOUT.items() if not flags.get(flag, usual))
    package, _, class_name = ast.unparse(given["opt_class"]).strip("'").rpartition(".")
    reason = None
    if package not in ("", "torch.optim"):
        reason = f"it needs the package {package.split('.')[0]}"
    elif flags.get("second_order"):
        reason = "it needs second derivatives, which training does not compute"
    return _Entry(class_name, dropped, reason)


@functools.cache
def _constructor_arguments(class_name: str) -> frozenset[str]:
    for text in (*_sources("timm").values(), *_sources("torch").values()):
        if f"class {class_name}(" not in text:
            continue
        for definition in ast.parse(text).body:
            if isinstance(definition, ast.ClassDef) and definition.name == class_name:
                methods = [item for item in definition.body if isinstance(item, ast.FunctionDef)]
                arguments = next(method.args for method in methods if method.name == "__init__")
                return frozenset(each.arg for each in (*arguments.args, *arguments.kwonlyargs))
    raise KeyError(class_name)


def _calls(text: str) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


@functools.cache
def _sources(package: str) -> dict[str, str]:
    specification = importlib.util.find_spec(package)
    if specification is None or specification.origin is None:
        raise ModuleNotFoundError(package)
    folder = Path(specification.origin).parent / "optim"
    return {file.name: file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.py"))}
