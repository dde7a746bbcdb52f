"""Checks of the aug section."""

from collections.abc import Sequence

from pydantic import ValidationError

from terrablate.config import expectations
from terrablate.config.checks.data import selected_bands
from terrablate.config.schema import Config
from terrablate.config.schema.augment import Aug, BandDrop, Color, Crop, CutMix, Erase, Mixup, Operation
from terrablate.errors import ConfigError


def check_augment(config: Config) -> None:
    """Ranges, order, strength, and what the bands allow."""
    aug, data = config.aug, config.data
    _check_ranges(aug.operations)
    _check_strength(aug)
    _check_mixing(config)
    if data.band_names is not None:
        bands = selected_bands(data, data.band_names, data.rgb)
        check_bands(aug.operations, len(bands), has_rgb=rgb_positions(bands, data.rgb) is not None)


def check_bands(operations: Sequence[Operation], bands: int, *, has_rgb: bool) -> None:
    """Refuse operations that cannot act on these bands.

    Args:
        operations: of a recipe.
        bands: how many there are.
        has_rgb: whether they are red, green and blue, and nothing else.

    Raises:
        ConfigError: names the operation.
    """
    for number, operation in enumerate(operations):
        key = f"aug.operations.{number}"
        if isinstance(operation, BandDrop) and bands == 1:
            raise ConfigError(f"{key}: band_drop never drops the only band; take more bands, or leave it out")
        if isinstance(operation, Color) and not has_rgb:
            for name in ("saturation", "hue"):
                if getattr(operation, name):
                    raise ConfigError(
                        f"{key}.{name}={getattr(operation, name)}: it is defined for red, green and blue only;"
                        " take data.bands=rgb, or leave it at 0"
                    )


def rgb_positions(bands: Sequence[str], rgb: Sequence[str] | None) -> tuple[int, int, int] | None:
    """Positions of red, green and blue among the bands, if the bands are these three in any order; else none.

    Args:
        bands: names, in order.
        rgb: names of red, green and blue; none: these words themselves.
    """
    red, green, blue = rgb or ("red", "green", "blue")
    if sorted(bands) != sorted((red, green, blue)):
        return None
    order = list(bands)
    return order.index(red), order.index(green), order.index(blue)


def _check_ranges(operations: Sequence[Operation]) -> None:
    for number, operation in enumerate(operations):
        if isinstance(operation, Crop | Erase):
            for name, (low, high) in {"area": operation.area, "ratio": operation.ratio}.items():
                if low > high:
                    raise ConfigError(
                        f"aug.operations.{number}.{name}=[{low}, {high}]: the first must not be above the second"
                    )


def _check_strength(aug: Aug) -> None:
    if not aug.operations and aug.strength != 1:
        raise ConfigError(
            f"aug.strength={aug.strength:g}: aug={aug.name} has no operations to scale;"
            " choose a recipe, or leave it at 1"
        )
    for number, operation in enumerate(aug.operations):
        try:
            operation.scaled(aug.strength)
        except ValidationError as error:
            found = error.errors(include_url=False)[0]
            where = expectations.place(("aug", "operations", number, operation.op, *found["loc"]))
            raise ConfigError(
                f"aug.strength={aug.strength:g}: it takes {where.dotted} to {found['input']:g}; expected"
                f" {where.expected}; take a lower strength, or start from a weaker recipe"
            ) from error


def _check_mixing(config: Config) -> None:
    operations = config.aug.operations
    mixing = [isinstance(operation, Mixup | CutMix) for operation in operations]
    if mixing != sorted(mixing):
        number = mixing.index(True)
        raise ConfigError(
            f"aug.operations.{number}.op={operations[number].op}: pairs are mixed after all changes of single images;"
            " put it at the end of the list"
        )
    if any(mixing) and config.batch_size == 1:
        raise ConfigError(f"batch_size=1: aug={config.aug.name} mixes pairs of images; use at least 2")
