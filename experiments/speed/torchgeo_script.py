"""What a person writes who trains with torchgeo and Hydra: the peer of a study, and of a launch.

python torchgeo_script.py root=DATA/eurosat lr=0.001 seed=0
python torchgeo_script.py -m root=DATA/eurosat lr=0.001,0.003 seed=0,1,2
"""

from pathlib import Path

import hydra
import lightning
import numpy as np
from lightning.pytorch.loggers import CSVLogger
from omegaconf import DictConfig
from torch.utils.data import Subset
from torchgeo.datamodules import EuroSATDataModule
from torchgeo.tasks import Classification

from terrablate.models.networks.lenet import LeNet


class FewLabels(EuroSATDataModule):
    """EuroSAT with at most so many training images a class, drawn by the seed."""

    def __init__(self, per_class: int | None, seed: int, **options: object) -> None:
        super().__init__(**options)
        self.per_class, self.seed = per_class, seed

    def setup(self, stage: str) -> None:
        """Open the splits and keep a part of the training images."""
        super().setup(stage)
        if stage == "fit" and self.per_class is not None:
            labels = np.asarray(self.train_dataset.targets)
            order = np.random.default_rng(self.seed).permutation(len(labels))
            kept = [order[labels[order] == label][: self.per_class] for label in np.unique(labels)]
            self.train_dataset = Subset(self.train_dataset, np.concatenate(kept).tolist())


class LeNetTask(Classification):
    """Torchgeo's task with the network of `model=lenet`."""

    def configure_models(self) -> None:
        """The network, in the place of one from timm."""
        self.model = LeNet(self.hparams["in_channels"], 10, 64, hidden=120)


@hydra.main(version_base="1.3", config_path=".", config_name="torchgeo_script")
def main(config: DictConfig) -> None:
    """Train one run, and evaluate val each epoch, as torchgeo does."""
    lightning.seed_everything(config.seed, workers=True)
    task = Classification if config.model == "resnet18" else LeNetTask
    trainer = lightning.Trainer(
        max_epochs=config.epochs,
        max_steps=config.steps,
        accelerator="cpu",
        logger=CSVLogger(Path(config.out), name=f"lr{config.lr}-seed{config.seed}"),
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data = FewLabels(
        config.per_class,
        config.seed,
        root=config.root,
        bands=tuple(config.bands),
        batch_size=config.batch_size,
        num_workers=config.workers,
    )
    trainer.fit(task(model="resnet18", in_channels=len(config.bands), num_classes=10, lr=config.lr), datamodule=data)


if __name__ == "__main__":
    main()
