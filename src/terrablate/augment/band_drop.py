"""Missing bands, per sample."""

import torch

from terrablate.augment.draws import uniform


def band_drop(images: torch.Tensor, generator: torch.Generator, center: torch.Tensor, p: float = 0.1) -> torch.Tensor:
    """Replace each band with probability p by its mean over the training data, so that no band is relied on alone.

    After standardisation such a band is zero, as in dropout of inputs (Srivastava et al. 2014), without its rescaling
    of the others: they are measurements. The mean of the training data, not of the batch, since that would make an
    image depend on its neighbours in the batch and, in small batches, let the band through.

    Args:
        images: N,C,H,W on the sensor's scale, before standardisation.
        generator: the augmentation stream, on the images' device.
        center: C, mean of each band in the training data, on the scale of the images.
        p: probability for each band. Where all would go, one stays: a band alone is never dropped.

    Returns:
        N,C,H,W; values are the image's own or those of `center`.
    """
    draws = uniform(images, generator, *images.shape[:2])
    kept = (draws >= p) | (draws == draws.amax(1, keepdim=True))
    return torch.where(kept[:, :, None, None], images, center.view(-1, 1, 1).to(images.dtype))
