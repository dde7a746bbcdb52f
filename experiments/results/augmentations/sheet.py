"""Draw every recipe of `conf/aug` on the same training images: `python sheet.py out.jpg data=ucmerced`.

A row a recipe, a column an image; the first row shows the images as they are.
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own custom
from hydra import compose, initialize_config_dir

from terrablate.augment.pipeline import Augmentation
from terrablate.config import Config, parse
from terrablate.config.checks.augment import rgb_positions
from terrablate.config.choices import CONF, choices
from terrablate.config.resolvers import register
from terrablate.data.pack import Pack, ensure_pack
from terrablate.errors import ConfigError
from terrablate.training.figures import TrueColor
from terrablate.training.inputs import Inputs

VIEWS = 8


def views(config: Config, pack: Pack, images: torch.Tensor) -> torch.Tensor:
    """One view of each image under the recipe of a config; N,C,H,W on the sensor's scale."""
    augment = Augmentation(
        config.aug.operations,
        spread=torch.tensor(pack.std / config.data.scale, dtype=torch.float32),
        center=torch.tensor((pack.mean + config.data.offset) / config.data.scale, dtype=torch.float32),
        rgb=rgb_positions(pack.bands, config.data.rgb),
        strength=config.aug.strength,
    )
    generator = torch.Generator().manual_seed(1)
    targets = F.one_hot(torch.arange(len(images))).float()
    return augment.mix(augment(images, generator), targets, generator)[0]


def main(out: Path, overrides: list[str]) -> None:
    """Compose each recipe, apply it and draw."""
    register()
    names = [choice.name for choice in choices("aug")]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        plain = parse(compose("train", overrides=overrides))
        pack = ensure_pack(plain.data, Path(plain.packs_dir))
        stored = pack.images("train")
        chosen = np.linspace(0, len(stored) - 1, VIEWS).astype(int)
        images = Inputs(plain.data.scale, plain.data.offset).scale(torch.from_numpy(np.array(stored[chosen])))
        shown = TrueColor(pack.bands, plain.data.rgb, images.numpy())
        rows: list[tuple[str, torch.Tensor]] = []
        for name in ["none", *(name for name in names if name != "none")]:
            try:
                config = parse(compose("train", overrides=[*overrides, f"aug={name}"]))
                rows.append((name, views(config, pack, images)))
            except ConfigError as error:
                sys.stderr.write(f"left out: {error}\n")
    figure, axes = plt.subplots(len(rows), VIEWS, figsize=(VIEWS * 1.1, len(rows) * 1.1), squeeze=False)
    for (name, row), line in zip(rows, axes, strict=True):
        for view, cell in zip(row, line, strict=True):
            cell.imshow(shown(view.numpy()), interpolation="nearest")
            cell.set(xticks=[], yticks=[])
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    figure.subplots_adjust(left=0.13, right=0.995, top=0.995, bottom=0.005, wspace=0.04, hspace=0.04)
    figure.savefig(out, dpi=110, pil_kwargs={"quality": 82} if out.suffix == ".jpg" else None)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
