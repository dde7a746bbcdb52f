"""Moving pixels without changing them: each image in one of several views."""

from collections.abc import Callable, Sequence

import torch

type Views = Callable[[torch.Tensor], Sequence[torch.Tensor]]
"""From N,C,H,W to several tensors of the same shape that hold the same values at other places."""


def in_view(images: torch.Tensor, views: Views, which: torch.Tensor) -> torch.Tensor:
    """Each image in the view of its number: N,C,H,W and N to N,C,H,W.

    The views are made of pixel numbers once, and the images gathered by them: one pass over the images instead of one
    a view, and one new tensor, whose pages cost the CPU more than its values.
    """
    height, width = images.shape[-2:]
    numbers = torch.arange(height * width, device=images.device).view(1, 1, height, width)
    index = torch.stack(list(views(numbers))).view(-1, 1, height * width)[which]
    return images.flatten(2).gather(2, index.expand(-1, images.shape[1], -1)).view(images.shape)
