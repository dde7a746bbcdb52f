"""The layer table of a run's network, for its page; built once without weights, then kept beside the page."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from terrablate.errors import UserError
from terrablate.study.run_table import write_text

logger = logging.getLogger(__name__)

FILE = "network.json"


def layers(folder: Path, config: Mapping[str, Any], result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each layer as `describe.py` tells it: name, kind, output, parameters, ...; none where they are not known.

    Takes seconds the first time, because a network has to be built.

    Args:
        folder: of the page; keeps them.
        config: of the run, as `config.yaml` has it.
        result: `result.json`.
    """
    kept = folder / FILE
    identity = (result.get("provenance") or {}).get("identity")
    try:
        content = json.loads(kept.read_text(encoding="utf-8"))
        if content["identity"] == identity:
            return list(content["layers"])
    except (OSError, ValueError, KeyError, TypeError):
        logger.debug("%s is made anew", kept)
    found = _built(config, result)
    if found:
        try:
            write_text(kept, json.dumps({"identity": identity, "layers": found}))
        except OSError:
            logger.debug("%s cannot be kept", kept)
    return found


def _built(config: Mapping[str, Any], result: Mapping[str, Any]) -> list[dict[str, Any]]:
    data = config.get("data") or {}
    size = data.get("image_size") or data.get("native_size") or data.get("size")
    bands, classes = result.get("bands"), result.get("classes")
    if not (size and bands and classes):
        return []
    from terrablate.config import parse
    from terrablate.describe.command import describe_network

    try:
        parsed = parse(dict(config), reads_data=False)
        text = describe_network(parsed, (len(bands), int(size), int(size)), len(classes), "json")
    except (UserError, RuntimeError, TypeError, ValueError) as error:  # a config of other versions of the packages
        logger.warning("the layers of the network are not shown: %s", " ".join(str(error).split()))
        return []
    return [layer for layer in json.loads(text)["layers"] if layer.get("output")]
