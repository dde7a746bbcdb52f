"""Lightning's Trainer as all fits use it."""

import os
from pathlib import Path

import lightning
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.callbacks import Callback

from terrablate.config.identity import Hardware
from terrablate.config.schema import Config
from terrablate.training.precision import precision_of
from terrablate.training.signals import Signals
from terrablate.training.step_loop import StepLoop


def make_trainer(
    config: Config, hardware: Hardware, *, max_epochs: int, callbacks: list[Callback], folder: Path
) -> lightning.Trainer:
    """Lightning's Trainer with our steps, and without what we do ourselves.

    Args:
        config: of the run.
        hardware: of the run.
        max_epochs: -1 where a callback ends training.
        callbacks: in their order.
        folder: of the run.
    """
    trainer = lightning.Trainer(
        accelerator=hardware.accelerator,
        devices=hardware.world_size,
        strategy="ddp" if config.trainer.strategy == "ddp" else "auto",
        accumulate_grad_batches=config.optim.accumulate,
        gradient_clip_val=config.optim.clip_norm,
        max_epochs=max_epochs,
        callbacks=callbacks,
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        plugins=[
            precision_of(hardware.precision, hardware.accelerator),
            *([LightningEnvironment()] if _is_single_slurm_task() else []),
        ],
    )
    trainer.fit_loop.epoch_loop = StepLoop(trainer)
    trainer._signal_connector = Signals(trainer)
    return trainer


def _is_single_slurm_task() -> bool:
    """Whether SLURM started one process, as submitit has it do.

    Lightning would take it for one of as many as there are devices, wait for none, and train on its share alone.
    """
    return os.environ.get("SLURM_NTASKS") == "1" and not TorchElasticEnvironment.detect()
