"""Networks of our own, as lectures and papers describe them. All others come from timm and torchvision."""

from terrablate.models.networks.alexnet import AlexNet
from terrablate.models.networks.cifar_resnet import CifarResNet
from terrablate.models.networks.layers import NormPlace
from terrablate.models.networks.lenet import LeNet
from terrablate.models.networks.local_cnn import LocalCNN, LocallyConnected2d
from terrablate.models.networks.mlp import MLP
from terrablate.models.networks.sat6_cnn import Sat6CNN
from terrablate.models.networks.small_cnn import SmallCNN

__all__ = [
    "MLP",
    "AlexNet",
    "CifarResNet",
    "LeNet",
    "LocalCNN",
    "LocallyConnected2d",
    "NormPlace",
    "Sat6CNN",
    "SmallCNN",
]
