"""The typed schema of a composed config: one dataclass a group, or one a kind of choice where the keys differ.

Values live in `conf/`. A field has a default here only where it is neutral: a key that stands at its neutral default
is left out of the identity of a run, so that adding such a key later leaves older runs valid.
"""

from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from terrablate.config.scalars import FORBID_UNKNOWN, Bool, Count, Seed
from terrablate.config.schema.augment import Aug, Color, Flip, Operation
from terrablate.config.schema.data import (
    BigEarthNetData,
    Data,
    FolderData,
    PatternNetData,
    PublishedData,
    Sat6Data,
    So2SatData,
    SyntheticData,
    TorchgeoData,
)
from terrablate.config.schema.loss import Loss
from terrablate.config.schema.network import (
    AlexNetModel,
    BatchNorm,
    CifarResNetModel,
    DiscriminativeFinetune,
    Dropout,
    FileWeights,
    Finetune,
    FrozenFeatures,
    FullFinetune,
    GradualFinetune,
    GroupNorm,
    HeadFinetune,
    ImagenetWeights,
    InstanceNorm,
    LayerNorm,
    LeNetModel,
    LocalCNNModel,
    MLPModel,
    Model,
    NativeNorm,
    NoNorm,
    Norm,
    RunWeights,
    Sat6CNNModel,
    ScratchWeights,
    SmallCNNModel,
    Stem,
    TimmModel,
    TorchgeoWeights,
    TorchvisionModel,
    Weights,
)
from terrablate.config.schema.regularize import Regularize
from terrablate.config.schema.study import Membership, Study
from terrablate.config.schema.training import (
    SGD,
    AdamW,
    AnyOptim,
    ConstantSchedule,
    CosineSchedule,
    Debug,
    EarlyStop,
    FittedStop,
    Logger,
    Monitor,
    NoStop,
    PlateauSchedule,
    Schedule,
    Trainer,
)

__all__ = [
    "SGD", "AdamW", "AlexNetModel", "Aug", "BatchNorm", "BigEarthNetData", "CifarResNetModel", "Color",
    "Config", "ConstantSchedule", "CosineSchedule", "Data", "Debug", "DiscriminativeFinetune", "Dropout",
    "EarlyStop", "FileWeights", "Finetune", "FittedStop", "Flip", "FolderData", "FrozenFeatures",
    "FullFinetune", "GradualFinetune", "GroupNorm", "HeadFinetune", "ImagenetWeights", "InstanceNorm",
    "LayerNorm", "LeNetModel", "LocalCNNModel", "Logger", "MLPModel", "Membership", "Model", "Monitor",
    "NativeNorm", "NoNorm", "NoStop", "Norm", "Operation", "PatternNetData", "PlateauSchedule", "PublishedData",
    "Regularize", "RunWeights", "Sat6CNNModel", "Sat6Data", "ScratchWeights", "SmallCNNModel", "So2SatData",
    "Stem", "Study", "SyntheticData", "TimmModel", "TorchgeoData", "TorchgeoWeights", "TorchvisionModel",
    "Trainer", "Weights",
]  # fmt: skip


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class Config:
    """One run."""

    data: Annotated[
        SyntheticData | TorchgeoData | FolderData | PatternNetData | So2SatData | Sat6Data | BigEarthNetData,
        Field(discriminator="source"),
    ]
    model: Model
    norm: Norm
    dropout: Dropout
    aug: Aug
    weights: Weights
    finetune: Finetune
    optim: AnyOptim
    schedule: Schedule
    loss: Loss
    regularize: Regularize = field(default_factory=Regularize)
    stop: Annotated[NoStop | EarlyStop | FittedStop, Field(discriminator="rule")]
    trainer: Trainer
    debug: Debug = field(default_factory=Debug)
    logger: Logger
    study: Study = field(default_factory=Study)
    monitor: Monitor
    seed: Seed
    epochs: Count
    steps: Count | None = None
    batch_size: Count
    eval_every: Count
    runs_dir: str
    packs_dir: str
    studies_dir: str = "studies"
    force: Bool = False
    code: Literal["same", "any"] = "same"
    keep_optimizer: Bool = False
    lr_find: Bool = False
    suspects: Bool = True
    robustness: Bool = False
