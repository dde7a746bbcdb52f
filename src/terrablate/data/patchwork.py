"""Synthetic chips with several labels: a patchwork of the scenes that `terrablate.data.synthetic` draws."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from terrablate.data.scenes import MARGIN, Floats, Scene, jittered_materials, observe, smooth_noise, soft
from terrablate.data.source import SPLITS, Sample, Split
from terrablate.data.synthetic import CLASSES, LAYOUTS, MIN_SIZE, SyntheticDataset, SyntheticSource

_NUMBER_OF_CLASSES = (0.3, 0.4, 0.3)
"""Shares of the chips that show one, two and three classes."""
_COMMON = np.array([0.20, 0.13, 0.12, 0.05, 0.03, 0.17, 0.12, 0.08, 0.05, 0.05])
"""How often each class comes as a neighbour of another: farmland often, industry seldom."""
_QUARTERS = 4


def generate_patchwork(
    seed: int, split: Split, index: int, size: int
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]]:
    """Draw one chip with one to three classes in its four quarters, and the vector of those that it shows.

    Class `index % 10` is always there, so that any ten chips in a row show all; the others are drawn, farmland more
    often than industry. Each class has at least one quarter, with winding borders between them; all share season, light
    and air. A function of the four arguments alone, like `terrablate.data.synthetic.generate_chip`.

    Returns:
        Top-of-atmosphere reflectance x 10,000, 13,size,size; labels, 10 zeros and ones in the order of `CLASSES`.

    Raises:
        ValueError: for a size below 16 or a negative seed or index.
    """
    if size < MIN_SIZE:
        raise ValueError(f"A synthetic chip of size {size} was asked for; it must be at least {MIN_SIZE} pixels wide.")
    if index < 0:
        raise ValueError(f"A synthetic chip of index {index} was asked for; the first one is 0.")
    # the third number keeps the stream apart from that of the chip with one label
    stream = np.random.SeedSequence(seed, spawn_key=(SPLITS.index(split), index, 1))
    rng = np.random.Generator(np.random.Philox(stream))
    season, materials = float(rng.beta(0.9, 1.1)), jittered_materials(rng)
    shown = _classes(rng, index % len(CLASSES))
    scene = Scene(rng, size + 2 * MARGIN, season, materials)
    if len(shown) == 1:
        LAYOUTS[CLASSES[shown[0]]](scene)
    else:
        _draw_quarters(scene, _quarters(rng, shown))
    labels = np.zeros(len(CLASSES), np.uint8)
    labels[shown] = 1
    return observe(scene), labels


def _classes(rng: np.random.Generator, first: int) -> list[int]:
    """The classes of a chip: the first, and none to two others."""
    others = rng.choice(len(_NUMBER_OF_CLASSES), p=_NUMBER_OF_CLASSES)
    weights = np.where(np.arange(len(CLASSES)) == first, 0, _COMMON)
    return [first, *rng.choice(len(CLASSES), others, replace=False, p=weights / weights.sum()).tolist()]


def _quarters(rng: np.random.Generator, shown: list[int]) -> list[int]:
    """A class for each quarter, such that each class has one at least."""
    more = rng.choice(shown, _QUARTERS - len(shown)).tolist()
    return rng.permutation([*shown, *more]).tolist()


def _draw_quarters(scene: Scene, classes: Sequence[int]) -> None:
    """Fill the quarters of a canvas, each with a scene of its own that is drawn in the size of the quarter.

    A scene of the whole canvas would not do: the quarter might miss its road or river.
    """
    size = scene.size
    half = (size + 1) // 2
    wave = np.float32(0.03 * size)
    rows = np.arange(size, dtype=np.float32)
    border = [wave * smooth_noise(scene.rng, size, size / 12, slope=3)[0] + np.float32(size / 2) for _ in range(2)]
    above = soft(rows[:, None] - border[0][None, :])
    left = soft(rows[None, :] - border[1][:, None])
    for quarter, label in enumerate(classes):
        down, right = divmod(quarter, 2)
        patch = Scene(scene.rng, half, scene.season, scene.materials)
        LAYOUTS[CLASSES[label]](patch)
        cover = (1 - above if down else above) * (1 - left if right else left)
        scene.image += cover * _at_corner(patch.image, size, down=bool(down), right=bool(right))


def _at_corner(image: Floats, size: int, *, down: bool, right: bool) -> Floats:
    """A quarter C,h,h in its corner of a canvas C,size,size; beyond it, where a border may wind, it is mirrored."""
    missing = size - image.shape[-1]
    return np.pad(
        image,
        ((0, 0), (missing, 0) if down else (0, missing), (missing, 0) if right else (0, missing)),
        mode="symmetric",
    )


class PatchworkDataset(SyntheticDataset):
    """One split of a `PatchworkSource`. Chips are drawn when they are read; nothing is kept."""

    def __getitem__(self, index: int) -> Sample:
        """Draw a chip: the selected bands as uint16 (C, size, size), reflectance x 10,000, and its labels, 10."""
        if not 0 <= index < len(self):
            raise IndexError(f"Chip {index} was asked for of a split with {len(self)} chips.")
        chip, labels = generate_patchwork(self._seed, self._split, index, self._size)
        return {"image": np.ascontiguousarray(chip[self._channels]), "label": labels}


class PatchworkSource(SyntheticSource):
    """A `Source` of chips with one to three of the classes each; else as `SyntheticSource`."""

    def dataset(self, split: Split) -> PatchworkDataset:
        """Open a split. Raises `DataError` if `counts` does not have it."""
        whole = super().dataset(split)
        return PatchworkDataset(seed=self._seed, split=split, size=self._size, count=len(whole), bands=self.bands)
