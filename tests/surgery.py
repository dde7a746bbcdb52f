"""Networks on which tests of normalisation, dropout and initial weights operate, and steps that these must survive."""

import torch
import torchvision
from torch import nn

from terrablate.config.schema import (
    BatchNorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    NativeNorm,
    NoNorm,
    Norm,
    TimmModel,
)
from terrablate.models.build import timm_network
from terrablate.models.networks import CifarResNet, LeNet, SmallCNN

BANDS, CLASSES, SIZE = 4, 5, 64

REPRESENTATIVES = [
    "small_cnn",  # places for a norm
    "lenet",  # no norm, several dense layers
    "squeezenet",  # torchvision's; no norm, a convolution as its classifier
    "cifar_resnet",  # our own; batch
    "resnet10t",  # batch
    "test_efficientnet",  # batch, fused with activations; gates
    "convnext_atto",  # layer, over the last dimension and over channels
    "test_vit",  # layer, over tokens
]


def network_of(name: str, **kwargs: object) -> nn.Module:
    """A network by name, with weights that are always the same."""
    torch.manual_seed(0)
    match name:
        case "small_cnn":
            return SmallCNN(BANDS, CLASSES, 16, "before")
        case "lenet":
            return LeNet(BANDS, CLASSES, SIZE, 10)
        case "cifar_resnet":
            return CifarResNet(BANDS, CLASSES, 8)
        case "squeezenet":
            network = torchvision.models.squeezenet1_1(num_classes=CLASSES)
            network.features[0] = nn.Conv2d(BANDS, 64, 3, stride=2)
            return network
    model = TimmModel(name="timm", builder="timm", timm_name=name, kwargs=kwargs)
    return timm_network(model, in_chans=BANDS, num_classes=CLASSES, image_size=SIZE)


def norm_of(name: str, **changes: object) -> Norm:
    """A norm with the values of its file in `conf/`, but for what is changed."""
    values: dict[str, object] = {"name": name, "eps": 1e-5, **changes}
    match name:
        case "native":
            return NativeNorm(**{"name": name, **changes})
        case "none":
            return NoNorm(name=name)
        case "batch":
            return BatchNorm(**{"momentum": 0.1, **values})
        case "group":
            return GroupNorm(**{"groups": 32, **values})
        case "layer":
            return LayerNorm(**values)
    return InstanceNorm(**values)


def images(count: int = 4) -> torch.Tensor:
    """The same images each time: count,4,64,64."""
    return torch.rand(count, BANDS, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def train_step(network: nn.Module) -> torch.Tensor:
    """Logits in train mode, always from the same random stream; leaves gradients."""
    torch.manual_seed(0)
    network.train()
    logits = network(images())
    nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 3])).backward()
    return logits.detach()


def same_outputs(first: nn.Module, second: nn.Module) -> bool:
    """Whether two networks give the same digits in train and in eval mode."""
    trained = torch.equal(train_step(first), train_step(second))
    with torch.no_grad():
        return trained and torch.equal(first.eval()(images()), second.eval()(images()))


def assert_trains_two_steps(network: nn.Module) -> None:
    """Every parameter gets a finite gradient in two steps of gradient descent, after which the logits differ."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    logits = []
    for _ in range(2):
        optimizer.zero_grad()
        logits.append(train_step(network))
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
        optimizer.step()
    assert torch.isfinite(logits[1]).all()
    assert not torch.equal(*logits)
