"""A page as one file: the template, styles, scripts and data, and nothing that is fetched."""

import base64
import functools
import hashlib
import json
import math
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

_STYLES = ("style.css",)
_SCRIPTS = (
    "base.js",
    "plots.js",
    "effects.js",
    "curves.js",
    "map.js",
    "errors.js",
    "measures.js",
    "table.js",
    "start.js",
)


def render(template: str, data: Mapping[str, Any], **context: Any) -> str:
    """Fill a template.

    What comes from configs, class names and records is escaped by the template, or stands in the data, which scripts
    put on the page as text. A policy in the page lets no other script run and no request be made.

    Args:
        template: its file name.
        data: for the page's scripts.
        context: for the template.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("terrablate.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    scripts = [plotly(), _own_scripts()]
    return environment.get_template(template).render(
        **context,
        style="\n".join(_text(name) for name in _STYLES),
        scripts=scripts,
        policy=_policy(scripts),
        data=embedded(data),
    )


def embedded(data: Any) -> str:
    """JSON that may stand in an HTML page: no tag can begin or end in it, and no number is not a number."""
    text = json.dumps(_finite(data), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in ("<", ">", "&", "\u2028", "\u2029"):
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


@functools.cache
def plotly() -> str:
    """Plotly's script, as the package of that name carries it."""
    return (
        (files("plotly") / "package_data" / "plotly.min.js")
        .read_text(encoding="utf-8")
        .replace("</script", "<\\/script")
    )


def _own_scripts() -> str:
    return "'use strict';\n(() => {\n" + "\n".join(_text(name) for name in _SCRIPTS) + "\n})();"


def _text(name: str) -> str:
    return (files("terrablate.report") / "templates" / name).read_text(encoding="utf-8")


def _policy(scripts: list[str]) -> str:
    """Content Security Policy: our scripts by their hashes, pictures from within the page, no connections."""
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; font-src data:;"
        " base-uri 'none'; form-action 'none'"
    )


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
