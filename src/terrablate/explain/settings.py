"""What `explain.py` is told, and whether the record can be explained; imports no torch."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from terrablate.config.checks import run_folder
from terrablate.config.parse import typed, values_of
from terrablate.config.scalars import FORBID_UNKNOWN, Count, Seed
from terrablate.errors import ConfigError, UserError
from terrablate.training.record import Record

if TYPE_CHECKING:
    from omegaconf import DictConfig

type Which = Literal["best", "last"]


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class Settings:
    """The command's keys; `conf/explain.yaml` says what they mean."""

    run: str
    which: Literal["deployed", "best", "last"]
    methods: Annotated[
        list[Literal["filters", "activations", "channels", "gradcam", "embedding"]],
        Field(min_length=1, description="a list of some of filters, activations, channels, gradcam, embedding"),
    ]
    images: Count
    channels: Count
    sample: Annotated[int, Field(strict=True, ge=2)]
    layer: str | None
    seed: Seed
    accelerator: Literal["auto", "cpu", "gpu"]
    output: str | None
    data_root: str | None
    runs_dir: str
    packs_dir: str

    @property
    def folder(self) -> Path:
        """Of the run."""
        return run_folder(self.runs_dir, self.run)

    @property
    def pictures(self) -> Path:
        """Folder of what is drawn."""
        return Path(self.output) if self.output else self.folder / "explain"


def settings_of(composed: "DictConfig") -> Settings:
    """Type the command's keys and look at the record.

    Raises:
        ConfigError: names each wrong key, what was given and what is allowed.
        UserError: if the run cannot be explained.
    """
    settings = typed(Settings, values_of(composed))
    if settings.layer is not None and "gradcam" not in settings.methods:
        methods = ",".join(settings.methods)
        raise ConfigError(f"layer={settings.layer}: is the layer of Grad-CAM, and methods=[{methods}] leaves it out")
    chosen_weights(settings)
    return settings


def chosen_weights(settings: Settings) -> tuple[Which, Path]:
    """Which weights are explained, and their checkpoint.

    Raises:
        UserError: if there is no such run, it has not finished or gave no finite numbers, or the checkpoint is gone.
    """
    folder = settings.folder
    if not (folder / "config.yaml").is_file():
        raise UserError(
            f"run={settings.run}: there is no record of a run in {folder}; give its folder, or its id below"
            f" runs_dir={settings.runs_dir}"
        )
    record = Record(folder)
    result = record.result()
    if result is None or not record.finished():
        status = f"its status is {result['status']}" if result and "status" in result else "it has no result.json"
        raise UserError(f"run={settings.run}: the run in {folder} has not finished: {status}")
    which = (result.get("deployed") or {}).get("which") if settings.which == "deployed" else settings.which
    scores = result.get(which) if which else None
    if which is None or scores is None or scores.get("nll/val") is None:
        raise UserError(
            f"which={settings.which}: the run in {folder} has no such weights that give finite numbers"
            f" (status {result['status']})"
        )
    checkpoint = record.best_checkpoint if which == "best" else record.last_checkpoint
    if not checkpoint.is_file():
        kept = {"best": record.best_checkpoint, "last": record.last_checkpoint}
        there = [name for name, path in kept.items() if path.is_file()]
        way = f"which={there[0]} is there" if there else "train.py with force=true trains the run anew"
        raise UserError(f"which={settings.which}: {checkpoint} is not there, its study did not keep it; {way}")
    return which, checkpoint
