"""Sections of model, norm, dropout, weights and finetune."""

from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import Field, Strict
from pydantic.dataclasses import dataclass

from terrablate.config.scalars import FORBID_UNKNOWN, Bool, Count, Fraction, Name, Positive

# --- model


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class TimmModel:
    """Any network of timm; `kwargs` go to `timm.create_model`."""

    name: Name
    builder: Literal["timm"]
    timm_name: str
    kwargs: dict[str, Any] = field(default_factory=dict)
    stem: Literal["native", "small"] = "native"


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class TorchvisionModel:
    """A classification network of torchvision; `kwargs` go to its builder."""

    name: Name
    builder: Literal["torchvision"]
    torchvision_name: str
    kwargs: dict[str, Any] = field(default_factory=dict)
    stem: Literal["native", "small"] = "native"


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class MLPModel:
    """Flatten, hidden dense layers with activation, one dense layer to the classes."""

    name: Name
    builder: Literal["mlp"]
    hidden: Annotated[list[Count], Field(min_length=1)]
    activation: Literal["relu", "tanh", "sigmoid"]


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class LocalCNNModel:
    """Locally connected layers: local windows without weight sharing."""

    name: Name
    builder: Literal["local_cnn"]
    channels: Annotated[list[Count], Field(min_length=1)]
    kernel: Count
    stride: Count
    hidden: Count


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class Sat6CNNModel:
    """The CNN of the SAT-6 lecture."""

    name: Name
    builder: Literal["sat6_cnn"]


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class LeNetModel:
    """The lecture's LeNet."""

    name: Name
    builder: Literal["lenet"]
    hidden: Count
    pooling: Literal["max", "average", "stride"] = "average"
    activation: Literal["relu", "tanh", "sigmoid"] = "sigmoid"


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class SmallCNNModel:
    """Four blocks of convolution, activation and pooling."""

    name: Name
    builder: Literal["small_cnn"]
    width: Count
    norm_position: Literal["before", "after"]
    pooling: Literal["max", "average", "stride"] = "max"
    activation: Literal["relu", "tanh", "sigmoid"] = "relu"


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class AlexNetModel:
    """AlexNet as Krizhevsky et al. 2012 describe it."""

    name: Name
    builder: Literal["alexnet"]


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class CifarResNetModel:
    """The ResNets for small images of He et al. 2016, section 4.2."""

    name: Name
    builder: Literal["cifar_resnet"]
    depth: Annotated[int, Strict(), Field(ge=8)]


Model = Annotated[
    TimmModel
    | TorchvisionModel
    | MLPModel
    | LocalCNNModel
    | Sat6CNNModel
    | LeNetModel
    | SmallCNNModel
    | AlexNetModel
    | CifarResNetModel,
    Field(discriminator="builder"),
]

# --- norm


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class NativeNorm:
    """The network's own normalisation; a momentum or eps changes it in place."""

    name: Literal["native"]
    momentum: Fraction | None = None
    eps: Positive | None = None
    sync: Bool = False
    frozen: Bool = False


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class NoNorm:
    """No normalisation."""

    name: Literal["none"]


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class BatchNorm:
    """Batch normalisation (Ioffe and Szegedy 2015)."""

    name: Literal["batch"]
    momentum: Fraction
    eps: Positive
    sync: Bool = False
    frozen: Bool = False


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class GroupNorm:
    """Group normalisation (Wu and He 2018)."""

    name: Literal["group"]
    groups: Count
    eps: Positive


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class LayerNorm:
    """Layer normalisation (Ba et al. 2016)."""

    name: Literal["layer"]
    eps: Positive


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class InstanceNorm:
    """Instance normalisation (Ulyanov et al. 2016)."""

    name: Literal["instance"]
    eps: Positive


Norm = Annotated[NativeNorm | NoNorm | BatchNorm | GroupNorm | LayerNorm | InstanceNorm, Field(discriminator="name")]

# --- dropout


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class Dropout:
    """Dropout layers of the network; `native` and `none` have no rate."""

    name: Literal["native", "none", "head", "conv", "spatial", "path"]
    p: Annotated[float, Strict(), Field(gt=0, lt=1)] | None = None


# --- weights

Stem = Literal["map", "mean", "repeat", "random"]
"""How the first convolution of weights for other bands is fitted."""


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class ScratchWeights:
    """Random initial weights."""

    name: Name
    source: Literal["scratch"]
    init: Literal["native", "kaiming", "xavier", "normal"] = "native"
    std: Positive | None = None


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class ImagenetWeights:
    """Weights that timm or torchvision publish for the network, trained on natural images (red, green, blue)."""

    name: Name
    source: Literal["imagenet"]
    tag: str | None = None
    file: str | None = None
    stem: Stem = "map"
    partial: Bool = False


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class TorchgeoWeights:
    """Weights that torchgeo publishes, trained on satellite images."""

    name: Name
    source: Literal["torchgeo"]
    weight: str
    file: str | None = None
    stem: Stem = "map"
    partial: Bool = False


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class FileWeights:
    """A state dict or Lightning checkpoint on disk."""

    name: Name
    source: Literal["file"]
    path: str
    bands: list[str] | None = None
    mean: list[float] | None = None
    std: list[Positive] | None = None
    sha256: str | None = None
    head: Literal["new", "keep"] = "new"
    stem: Stem = "map"
    partial: Bool = False


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class RunWeights:
    """The weights of a finished run."""

    name: Name
    source: Literal["run"]
    run: str
    which: Literal["best", "last", "deployed"]
    head: Literal["auto", "new"] = "auto"
    stem: Stem = "map"
    partial: Bool = False


Weights = Annotated[
    ScratchWeights | ImagenetWeights | TorchgeoWeights | FileWeights | RunWeights, Field(discriminator="source")
]

# --- finetune


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class FullFinetune:
    """All parameters train, with one learning rate."""

    name: Literal["full"] = "full"
    rule: Literal["full"] = "full"


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class HeadFinetune:
    """Only the head trains."""

    name: Name
    rule: Literal["head"]


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class GradualFinetune:
    """The head first, then one stage more every few epochs, from the deepest to the first."""

    name: Name
    rule: Literal["gradual"]
    epochs_per_stage: Count


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class DiscriminativeFinetune:
    """The learning rate falls from the head to the first stage."""

    name: Name
    rule: Literal["discriminative"]
    factor: Annotated[float, Strict(), Field(gt=0, lt=1)]


@dataclass(config=FORBID_UNKNOWN, kw_only=True)
class FrozenFeatures:
    """A classical classifier on the features of the frozen network; nothing is trained by gradients."""

    name: Name
    rule: Literal["frozen_features"]
    classifier: Literal["logistic", "svm", "forest"]


Finetune = Annotated[
    FullFinetune | HeadFinetune | GradualFinetune | DiscriminativeFinetune | FrozenFeatures,
    Field(discriminator="rule"),
]
