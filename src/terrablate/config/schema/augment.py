"""Sections of the aug group: the operations that a recipe may list, and how `aug.strength` acts on each.

The function behind an operation stands in `terrablate.augment`, with its formula and the bound of its values.
"""

import dataclasses
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import Field, Strict
from pydantic.dataclasses import dataclass

from terrablate.config.scalars import FORBID_UNKNOWN, Bool, Count, DropRate, Fraction, Name, NonNegative, Positive

Degrees = Annotated[float, Strict(), Field(ge=0, le=180)]
Turn = Annotated[float, Strict(), Field(ge=0, le=0.5)]
Magnitude = Annotated[float, Strict(), Field(ge=0, lt=2)]
Share = Annotated[float, Strict(), Field(gt=0, le=1)]
Shares = Annotated[list[Share], Field(min_length=2, max_length=2)]
Ratios = Annotated[list[Positive], Field(min_length=2, max_length=2)]

Change = Literal[
    "identity", "rotate", "shear_x", "shear_y", "translate_x", "translate_y",
    "brightness", "contrast", "gamma", "haze", "band_gain", "noise", "blur",
]  # fmt: skip
CHANGES: tuple[Change, ...] = get_args(Change)
"""What RandAugment and TrivialAugment choose from; all are right for any number of bands."""
Changes = Annotated[list[Change], Field(min_length=1, description=f"a list of some of {', '.join(CHANGES)}")]


class Scalable:
    """What all operations share: `aug.strength` multiplies some of their parameters."""

    grows_with_strength: ClassVar[tuple[str, ...]]
    """Parameters that strength multiplies; one that leaves its range makes the strength illegal."""

    def scaled(self, strength: float) -> Self:
        """This operation at a strength: at 0 the identity, at 1 as written.

        Raises:
            pydantic.ValidationError: if a parameter leaves its range.
        """
        return self._with(**{name: getattr(self, name) * strength for name in self.grows_with_strength})

    @property
    def acts(self) -> bool:
        """Whether it changes anything; what strength 0 leaves as it is does not."""
        return self != self.scaled(0)

    def _with(self, **changes: Any) -> Self:
        assert dataclasses.is_dataclass(self)
        return dataclasses.replace(self, **changes)


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class Flip(Scalable):
    """Mirror each image left-right and top-bottom, each with its own probability. Strength scales both."""

    op: Literal["flip"]
    horizontal: Fraction = 0.5
    vertical: Fraction = 0.5

    grows_with_strength = ("horizontal", "vertical")


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class Rotate90(Scalable):
    """One of the square's eight symmetries, with probability p. Strength scales p."""

    op: Literal["rotate90"]
    p: Fraction = 1.0

    grows_with_strength = ("p",)


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class Rotate(Scalable):
    """Turn by up to so many degrees. Strength scales the degrees."""

    op: Literal["rotate"]
    degrees: Degrees = 15.0

    grows_with_strength = ("degrees",)


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class Crop(Scalable):
    """A random part of the image, resized to the whole. Strength scales the area that is lost, and the log of ratio."""

    op: Literal["crop"]
    area: Shares = dataclasses.field(default_factory=lambda: [0.5, 1.0])
    ratio: Ratios = dataclasses.field(default_factory=lambda: [0.75, 4 / 3])

    def scaled(self, strength: float) -> Self:
        """This operation at a strength."""
        return self._with(
            area=[area + (1 - area) * (1 - strength) for area in self.area],  # exact at 0 and 1
            ratio=[ratio**strength for ratio in self.ratio],
        )


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class Translate(Scalable):
    """Shift by up to this fraction of the side, along both axes. Strength scales the fraction."""

    op: Literal["translate"]
    fraction: Fraction = 0.1

    grows_with_strength = ("fraction",)


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class Color(Scalable):
    """Illumination and atmosphere of any number of bands; saturation and hue of RGB only. Strength scales all."""

    op: Literal["color"]
    brightness: DropRate = 0.2
    contrast: DropRate = 0.2
    band_gain: DropRate = 0.05
    haze: NonNegative = 0.1
    gamma: DropRate = 0.0
    band_offset: NonNegative = 0.0
    saturation: DropRate = 0.0
    hue: Turn = 0.0

    grows_with_strength = (
        "brightness", "contrast", "band_gain", "haze", "gamma", "band_offset", "saturation", "hue",
    )  # fmt: skip


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class Noise(Scalable):
    """Gaussian noise of every pixel and band. Strength scales sigma."""

    op: Literal["noise"]
    sigma: NonNegative = 0.1
    random_sigma: Bool = True

    grows_with_strength = ("sigma",)


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class Blur(Scalable):
    """Gaussian blur. Strength scales sigma."""

    op: Literal["blur"]
    sigma: NonNegative = 1.0

    grows_with_strength = ("sigma",)


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class Erase(Scalable):
    """A rectangle filled up, with probability p. Strength scales p."""

    op: Literal["erase"]
    p: Fraction = 0.5
    area: Shares = dataclasses.field(default_factory=lambda: [0.02, 0.33])
    ratio: Ratios = dataclasses.field(default_factory=lambda: [0.3, 3.3])
    fill: Literal["mean", "noise"] = "mean"

    grows_with_strength = ("p",)


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class BandDrop(Scalable):
    """Each band replaced by its mean with probability p. Strength scales p."""

    op: Literal["band_drop"]
    p: Fraction = 0.1

    grows_with_strength = ("p",)


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class RandAugment(Scalable):
    """So many changes of one magnitude. Strength scales the magnitude."""

    op: Literal["randaug"]
    n: Count = 2
    magnitude: Magnitude = 0.3
    operations: Changes = dataclasses.field(default_factory=lambda: list(CHANGES))

    grows_with_strength = ("magnitude",)


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class TrivialAugment(Scalable):
    """One change of a random magnitude. Strength scales the largest magnitude."""

    op: Literal["trivial"]
    magnitude: Magnitude = 1.0
    operations: Changes = dataclasses.field(default_factory=lambda: list(CHANGES))

    grows_with_strength = ("magnitude",)


class Mixing(Scalable):
    """Mixes pairs of images and their labels. Strength scales alpha, and p as long as it is below 1."""

    alpha: float
    p: float

    @property
    def acts(self) -> bool:
        """Without pairs or without weights nothing is mixed."""
        return self.alpha > 0 and self.p > 0

    def scaled(self, strength: float) -> Self:
        """This operation at a strength; alpha grows on where p cannot."""
        return self._with(p=min(1.0, self.p * strength), alpha=self.alpha * strength)


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class Mixup(Mixing):
    """Weighted means of pairs of images and of their labels."""

    op: Literal["mixup"]
    alpha: NonNegative = 0.2
    p: Fraction = 1.0


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class CutMix(Mixing):
    """A rectangle of one image pasted into another, labels by area."""

    op: Literal["cutmix"]
    alpha: NonNegative = 1.0
    p: Fraction = 0.5


Operation = Annotated[
    Flip | Color | Rotate90 | Rotate | Crop | Translate | Noise | Blur | Erase | BandDrop
    | RandAugment | TrivialAugment | Mixup | CutMix,
    Field(discriminator="op"),
]  # fmt: skip


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class Aug:
    """Augmentation of the training images: operations in the order in which they are applied."""

    name: Name
    operations: list[Operation]
    strength: NonNegative = 1.0
