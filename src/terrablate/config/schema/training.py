"""Sections of optim, schedule, stop, trainer, debug, logger and monitor."""

from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, Strict
from pydantic.dataclasses import dataclass

from terrablate.config.scalars import FORBID_UNKNOWN, Bool, Count, DropRate, Fraction, Name, NonNegative, Positive

# --- optim

Share = Annotated[float, Strict(), Field(gt=0, lt=1)]
Betas = Annotated[list[DropRate], Field(min_length=2, max_length=2)]


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class Optim:
    """Keys that every optimizer shares."""

    name: Name
    lr: Positive
    weight_decay: NonNegative
    weight_decay_all: Bool = False
    clip_norm: Positive | None = None
    accumulate: Count = 1
    fused: Bool | Literal["auto"] = "auto"


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class MomentumKeys(Optim):
    """What gradient descent takes, with and without momentum."""

    momentum: DropRate = 0.0
    nesterov: Bool = False


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class AdamKeys(Optim):
    """What Adam takes, with either kind of weight decay."""

    betas: Betas
    eps: Positive = 1e-8


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class SharpnessKeys(Optim):
    """What sharpness-aware minimisation takes besides the keys of its base."""

    rho: Positive
    adaptive: Bool = False


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class SGD(MomentumKeys):
    """Stochastic gradient descent: plain, with momentum, or with Nesterov's."""

    optimizer: Literal["sgd"]


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class Adam(AdamKeys):
    """Adam, whose weight decay is a part of the gradient (L2)."""

    optimizer: Literal["adam"]


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class AdamW(AdamKeys):
    """Adam with decoupled weight decay."""

    optimizer: Literal["adamw"]


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class RMSprop(Optim):
    """RMSprop; its weight decay is a part of the gradient (L2)."""

    optimizer: Literal["rmsprop"]
    alpha: DropRate
    eps: Positive = 1e-8
    momentum: DropRate = 0.0


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class SAM(MomentumKeys, SharpnessKeys):
    """Sharpness-aware minimisation around gradient descent."""

    optimizer: Literal["sam"]


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class SAMAdamW(AdamKeys, SharpnessKeys):
    """Sharpness-aware minimisation around AdamW."""

    optimizer: Literal["sam_adamw"]


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class TimmOptim(Optim):
    """Any optimizer of timm; `kwargs` go to its class."""

    optimizer: Literal["timm"]
    timm_name: str
    kwargs: dict[str, Any] = field(default_factory=dict)


AnyOptim = Annotated[SGD | Adam | AdamW | RMSprop | SAM | SAMAdamW | TimmOptim, Field(discriminator="optimizer")]

# --- schedule


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class ConstantSchedule:
    """A constant learning rate."""

    name: Name
    schedule: Literal["constant"]
    warmup: Fraction = 0.0


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class StepSchedule:
    """The learning rate falls by a factor every few epochs."""

    name: Name
    schedule: Literal["step"]
    every: Count
    gamma: Share
    warmup: Fraction = 0.0


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class MultiStepSchedule:
    """The learning rate falls by a factor at each milestone."""

    name: Name
    schedule: Literal["multistep"]
    milestones: Annotated[list[Positive], Field(min_length=1, description="a list such as [0.5, 0.75]")]
    unit: Literal["budget", "epochs"]
    gamma: Share
    warmup: Fraction = 0.0


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class CosineSchedule:
    """Linear warm-up, then half a cosine down."""

    name: Name
    schedule: Literal["cosine"]
    warmup: Fraction
    final: Fraction


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class OneCycleSchedule:
    """Half a cosine up to the highest rate, half a cosine down."""

    name: Name
    schedule: Literal["onecycle"]
    rise: Share
    start: Share
    final: Fraction


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class PlateauSchedule:
    """The learning rate falls when val NLL stops falling."""

    name: Name
    schedule: Literal["plateau"]
    factor: Share
    patience: Annotated[int, Strict(), Field(ge=0)]
    threshold: NonNegative


Schedule = Annotated[
    ConstantSchedule | StepSchedule | MultiStepSchedule | CosineSchedule | OneCycleSchedule | PlateauSchedule,
    Field(discriminator="schedule"),
]

# --- stop, trainer, debug, logger, monitor


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class NoStop:
    """Train the whole budget."""

    name: Name
    rule: Literal["none"]


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class EarlyStop:
    """Stop when a val metric has not improved for some evaluations."""

    name: Name
    rule: Literal["early"]
    metric: Literal["nll", "accuracy"]
    patience: Count
    min_delta: NonNegative


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class FittedStop:
    """Stop once the training data are learnt: probe accuracy has reached a threshold."""

    name: Name
    rule: Literal["fitted"]
    accuracy: Fraction


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class Trainer:
    """Devices, precision, and how the same mathematics is computed."""

    name: Name
    accelerator: Literal["auto", "cpu", "gpu"]
    devices: Annotated[int, Strict(), Field(ge=1)] | Literal["auto"]
    strategy: Literal["auto", "ddp"]
    precision: Annotated[Literal["32", "bf16", "16", "auto"], BeforeValidator(lambda given: str(given))]
    channels_last: Bool = False
    compile: Literal["default", "reduce-overhead", "max-autotune"] | None = None
    deterministic: Bool = True
    threads: Count | None = None
    checkpoint_seconds: NonNegative


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class Debug:
    """What is no result: small runs that show whether anything breaks, learns, or takes time; neutral throughout."""

    name: Name = "none"
    epochs: Count | None = None
    max_train_batches: Count | None = None
    max_eval_images: Count | None = None
    train_images: Annotated[int, Strict(), Field(ge=2)] | None = None
    by_heart: Bool = False
    profile_steps: Count | None = None


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class Logger:
    """Where curves go besides the record."""

    name: Literal["csv", "wandb", "tensorboard"]
    project: str | None = None
    entity: str | None = None
    group: str | None = None
    job_type: str | None = None
    tags: list[str] = field(default_factory=list)
    mode: Literal["auto", "online", "offline"] = "auto"


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class Monitor:
    """Settings of the overfitting monitor; see `terrablate.training.overfitting` for the formulas."""

    window: Count
    tolerance: NonNegative
    patience: Count
    underfit_fraction: Positive
