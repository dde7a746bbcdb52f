"""What our own networks share: places for normalisation, activations, poolings, and initial weights that fit them."""

from typing import Literal

from torch import nn

type Activation = Literal["relu", "tanh", "sigmoid"]
type Pooling = Literal["max", "average", "stride"]

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}


class NormPlace(nn.Identity):
    """A place where `norm=...` puts a normalisation layer; changes nothing by itself.

    Args:
        channels: of the tensor that passes, N,C,H,W.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels


def activation_layer(activation: Activation) -> nn.Module:
    """The layer of an activation."""
    return _ACTIVATIONS[activation]()


def pooling_layers(pooling: Pooling, name: str) -> dict[str, nn.Module]:
    """A 2x2 pooling by its name; none where the convolution before it takes steps of two pixels in its place."""
    match pooling:
        case "max":
            return {name: nn.MaxPool2d(2)}
        case "average":
            return {name: nn.AvgPool2d(2)}
        case "stride":
            return {}


def draw_uniform(network: nn.Module, activation: Activation) -> None:
    """Draw the weights of all dense and convolutional layers uniformly, at the scale that fits the activation.

    Glorot and Bengio 2010 for tanh and sigmoid, which hardly learn without; He et al. 2015 for ReLU.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            if activation == "relu":
                nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
            else:
                nn.init.xavier_uniform_(layer.weight)


def draw_normal(network: nn.Module, activation: Activation) -> None:
    """Draw the weights of all dense and convolutional layers normally, at that scale; biases start at zero."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            if activation == "relu":
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            else:
                nn.init.xavier_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
