"""The typed schema of a composed config: one dataclass a group, or one a kind of choice where the keys differ.

Values live in `conf/`. A field has a default here only where it is neutral: a key that stands at its neutral default
is left out of the identity of a run, so that adding such a key later leaves older runs valid.
"""

from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, Strict
from pydantic.dataclasses import dataclass

from terrablate.config.scalars import Bool, Count, DropRate, Finite, Fraction, Name, NonNegative, Positive, Seed

_FORBID_UNKNOWN = ConfigDict(extra="forbid")


@dataclass(config=_FORBID_UNKNOWN, kw_only=True)
class Data:
    """Keys that every data source shares."""

    name: Name
    root: str
    subfolder: str = ""
    bands: Annotated[str | list[str], Field(description="all, rgb or a list of band names")]
    band_names: list[str] | None = None
    rgb: list[str] | None = None
    scale: Positive
    offset: Finite = 0.0
    image_size: Annotated[int, Strict(), Field(ge=8)] | None = None
    native_size: Count | None = None
    train_per_class: Count | None = None
    val_per_class: Count | None = None
    split_seed: Seed = 0
    subset_seed: Seed
    normalize: Literal["dataset", "none"]
    on_error: Literal["raise", "skip"] = "raise"
    storage: Literal["auto", "mmap", "ram", "device"] = "auto"


@dataclass(config=_FORBID_UNKNOWN, kw_only=True)
class SyntheticData(Data):
    """Procedurally generated scenes."""

    source: Literal["synthetic"]
    train: Count
    val: Count
    test: Count
    size: Annotated[int, Strict(), Field(ge=16)]


@dataclass(config=_FORBID_UNKNOWN, kw_only=True)
class TorchgeoData(Data):
    """A dataset class of torchgeo."""

    source: Literal["torchgeo"]
    dataset: str
    download: Bool = False
    checksum: Bool = True


@dataclass(config=_FORBID_UNKNOWN, kw_only=True)
class FolderData(Data):
    """A person's own images."""

    source: Literal["folder"]
    train_list: str | None = None
    val_list: str | None = None
    test_list: str | None = None
    fractions: Annotated[list[Fraction], Field(min_length=3, max_length=3)]
    split_by: Literal["sample", "group", "block"]
    group_pattern: str | None = None
    group_csv: str | None = None
    block_size: Positive | None = None
    fold: Annotated[int, Strict(), Field(ge=0)] | None = None
    folds: Annotated[int, Strict(), Field(ge=2)] | None = None


@dataclass(config=_FORBID_UNKNOWN, kw_only=True)
class TimmModel:
    """Any network of timm; `kwargs` go to `timm.create_model`."""

    name: Name
    builder: Literal["timm"]
    timm_name: str
    kwargs: dict[str, Any] = field(default_factory=dict)


@dataclass(config=_FORBID_UNKNOWN, kw_only=True)
class LeNetModel:
    """The lecture's LeNet."""

    name: Name
    builder: Literal["lenet"]
    hidden: Count


@dataclass(config=_FORBID_UNKNOWN, kw_only=True)
class SmallCNNModel:
    """Four blocks of convolution, activation and pooling."""

    name: Name
    builder: Literal["small_cnn"]
    width: Count
    norm_position: Literal["before", "after"]


@dataclass(config=_FORBID_UNKNOWN, kw_only=True)
class Norm:
    """Normalisation layers of the network."""

    name: Literal["native", "none", "batch"]
    momentum: Fraction = 0.1
    eps: Positive = 1e-5


@dataclass(config=_FORBID_UNKNOWN, kw_only=True)
class Dropout:
    """Dropout layers of the network."""

    name: Literal["native", "none", "head"]
    p: Annotated[float, Strict(), Field(gt=0, lt=1)] | None = None


@dataclass(config=_FORBID_UNKNOWN, kw_only=True)
class Flip:
    """Mirror each image left-right and top-bottom, each with its own probability."""

    op: Literal["flip"]
    horizontal: Fraction = 0.5
    vertical: Fraction = 0.5


@dataclass(config=_FORBID_UNKNOWN, kw_only=True)
class Color:
    """Illumination and atmosphere: brightness, contrast, band gains and an additive haze, of any number of bands."""

    op: Literal["color"]
    brightness: DropRate = 0.2
    contrast: DropRate = 0.2
    band_gain: DropRate = 0.05
    haze: NonNegative = 0.1


Operation = Annotated[Flip | Color, Field(discriminator="op")]


@dataclass(config=_FORBID_UNKNOWN, kw_only=True)
class Aug:
    """Augmentation of the training images: operations in the order in which they are applied."""

    name: Name
    operations: list[Operation]


@dataclass(config=_FORBID_UNKNOWN, kw_only=True)
class ScratchWeights:
    """The network's own random initialisation."""

    name: Name
    source: Literal["scratch"]


@dataclass(config=_FORBID_UNKNOWN, kw_only=True)
class ImagenetWeights:
    """Weights that timm publishes for the network, trained on natural images (bands red, green, blue)."""

    name: Name
    source: Literal["imagenet"]
    tag: str | None = None
    file: str | None = None
    partial: Bool = False


@dataclass(config=_FORBID_UNKNOWN, kw_only=True)
class FileWeights:
    """A state dict or Lightning checkpoint on disk."""

    name: Name
    source: Literal["file"]
    path: str
    bands: list[str] | None = None
    sha256: str | None = None
    partial: Bool = False


@dataclass(config=_FORBID_UNKNOWN, kw_only=True)
class RunWeights:
    """The weights of a finished run."""

    name: Name
    source: Literal["run"]
    run: str
    which: Literal["best", "last", "deployed"]
    partial: Bool = False


@dataclass(config=_FORBID_UNKNOWN, kw_only=True)
class AdamW:
    """Adam with decoupled weight decay."""

    name: Name
    optimizer: Literal["adamw"]
    lr: Positive
    weight_decay: NonNegative
    betas: Annotated[list[DropRate], Field(min_length=2, max_length=2)]


@dataclass(config=_FORBID_UNKNOWN, kw_only=True)
class SGD:
    """Stochastic gradient descent."""

    name: Name
    optimizer: Literal["sgd"]
    lr: Positive
    weight_decay: NonNegative
    momentum: DropRate = 0.0
    nesterov: Bool = False


@dataclass(config=_FORBID_UNKNOWN, kw_only=True)
class ConstantSchedule:
    """A constant learning rate."""

    name: Name
    schedule: Literal["constant"]


@dataclass(config=_FORBID_UNKNOWN, kw_only=True)
class CosineSchedule:
    """Linear warm-up, then half a cosine down."""

    name: Name
    schedule: Literal["cosine"]
    warmup: Fraction
    final: Fraction


@dataclass(config=_FORBID_UNKNOWN, kw_only=True)
class PlateauSchedule:
    """The learning rate falls when val NLL stops falling."""

    name: Name
    schedule: Literal["plateau"]
    factor: Annotated[float, Strict(), Field(gt=0, lt=1)]
    patience: Annotated[int, Strict(), Field(ge=0)]
    threshold: NonNegative


@dataclass(config=_FORBID_UNKNOWN, kw_only=True)
class NoStop:
    """Train the whole budget."""

    name: Name
    rule: Literal["none"]


@dataclass(config=_FORBID_UNKNOWN, kw_only=True)
class EarlyStop:
    """Stop when a val metric has not improved for some evaluations."""

    name: Name
    rule: Literal["early"]
    metric: Literal["nll", "accuracy"]
    patience: Count
    min_delta: NonNegative


@dataclass(config=_FORBID_UNKNOWN, kw_only=True)
class FittedStop:
    """Stop once the training data are learnt: probe accuracy has reached a threshold."""

    name: Name
    rule: Literal["fitted"]
    accuracy: Fraction


@dataclass(config=_FORBID_UNKNOWN, kw_only=True)
class Trainer:
    """Devices, precision and limits."""

    name: Name
    accelerator: Literal["auto", "cpu", "gpu"]
    devices: Annotated[int, Strict(), Field(ge=1)] | Literal["auto"]
    strategy: Literal["auto", "ddp"]
    precision: Annotated[Literal["32", "bf16", "16"], BeforeValidator(lambda given: str(given))]
    threads: Count | None = None
    checkpoint_seconds: NonNegative
    max_epochs: Count | None = None
    max_train_batches: Count | None = None
    max_eval_images: Count | None = None


@dataclass(config=_FORBID_UNKNOWN, kw_only=True)
class Logger:
    """Where curves go besides the record."""

    name: Literal["csv", "wandb"]
    project: str | None = None
    entity: str | None = None
    group: str | None = None
    job_type: str | None = None
    tags: list[str] = field(default_factory=list)
    mode: Literal["auto", "online", "offline"] = "auto"


@dataclass(config=_FORBID_UNKNOWN, kw_only=True)
class Monitor:
    """Settings of the overfitting monitor; see `terrablate.training.overfitting` for the formulas."""

    window: Count
    tolerance: NonNegative
    patience: Count
    underfit_fraction: Positive


@dataclass(config=_FORBID_UNKNOWN, kw_only=True)
class Config:
    """One run."""

    data: Annotated[SyntheticData | TorchgeoData | FolderData, Field(discriminator="source")]
    model: Annotated[TimmModel | LeNetModel | SmallCNNModel, Field(discriminator="builder")]
    norm: Norm
    dropout: Dropout
    aug: Aug
    weights: Annotated[ScratchWeights | ImagenetWeights | FileWeights | RunWeights, Field(discriminator="source")]
    optim: Annotated[AdamW | SGD, Field(discriminator="optimizer")]
    schedule: Annotated[ConstantSchedule | CosineSchedule | PlateauSchedule, Field(discriminator="schedule")]
    stop: Annotated[NoStop | EarlyStop | FittedStop, Field(discriminator="rule")]
    trainer: Trainer
    logger: Logger
    monitor: Monitor
    seed: Seed
    epochs: Count
    steps: Count | None = None
    batch_size: Count
    eval_every: Count
    runs_dir: str
    packs_dir: str
    force: Bool = False
    code: Literal["same", "any"] = "same"
    keep_optimizer: Bool = False
