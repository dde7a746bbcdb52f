"""What `describe.py` is told besides a run's config, and what it takes from the config; imports no torch."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from terrablate.config.checks import selected_bands
from terrablate.config.parse import typed, values_of
from terrablate.config.scalars import FORBID_UNKNOWN, Bool, Count
from terrablate.config.schema import Config
from terrablate.errors import ConfigError, DataError

if TYPE_CHECKING:
    from omegaconf import DictConfig


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class Settings:
    """The command's own keys."""

    input: Annotated[
        Annotated[list[Count], Field(min_length=3, max_length=3)] | None,
        Field(description="null or [bands, height, width], whole numbers of at least 1"),
    ]
    classes: Count | None
    format: Literal["table", "json", "csv"]
    networks: Bool
    choices: Bool


OWN_KEYS = tuple(Settings.__dataclass_fields__)


def split(composed: "DictConfig") -> tuple[Settings, dict[str, Any]]:
    """Part the command's own keys from the config of a run.

    A size that is given here takes the place of the data's, so that a run's checks look at it.

    Raises:
        ConfigError: names each wrong key, what was given and what is allowed.
    """
    run = values_of(composed)
    own = {key: run.pop(key) for key in OWN_KEYS}
    settings = typed(Settings, own)
    if settings.input is not None:
        _, height, width = settings.input
        if height != width:
            raise ConfigError(
                f"input={settings.input}: networks are built for square images; give height and width alike"
            )
        run["data"]["image_size"] = height
    if settings.networks and (settings.input or settings.classes):
        raise ConfigError("networks=true: shows all networks at the same sizes; leave input and classes out")
    if settings.choices and (settings.networks or settings.input or settings.classes or settings.format != "table"):
        raise ConfigError("choices=true: is a Markdown table of its own; leave the other keys of this command out")
    return settings, run


def input_of(config: Config, settings: Settings) -> tuple[tuple[int, int, int], int]:
    """Shape C,H,W of the images, and the number of classes: as the command line says, else the config, else the data.

    Raises:
        DataError: if only the data could tell, and they are not at hand.
    """
    data = config.data
    bands = None if data.band_names is None else len(selected_bands(data, data.band_names, data.rgb))
    size = data.image_size or data.native_size  # a size of the command line stands there by now
    classes = settings.classes
    if settings.input is not None:
        bands = settings.input[0]
    if classes is None and (Path(data.root) / data.subfolder).is_dir():
        from terrablate.data.open_source import open_source

        classes = len(open_source(data).classes)
    if bands is None or size is None or classes is None:
        from terrablate.data.pack import ensure_pack

        try:
            pack = ensure_pack(data, Path(config.packs_dir))
        except DataError as error:
            wanted = "classes=10" if bands and size else "input=[3,64,64] classes=10"
            raise DataError(f"{error}; without the data, say what they would, such as {wanted}") from error
        bands, size, classes = bands or len(pack.bands), size or pack.image_size, classes or len(pack.classes)
    return (bands, size, size), classes
