"""First-layer filters: what the first layer of a network looks for in each band."""

from typing import IO, Any

import numpy as np
import torch
from torch import nn

from terrablate.explain.findings import Figure, Findings
from terrablate.explain.sheet import DPI, Array, blank, fitted, mosaic, say, wrapped
from terrablate.explain.subject import Subject
from terrablate.models.band_names import RGB, canonical
from terrablate.models.networks import LocallyConnected2d

_MOST = 64
"""Filters shown; of more, those with the largest weights."""
_PANELS = 16
"""Bands shown, besides the composite."""
_ALONG = 3
"""Places along a side of which a locally connected layer shows its filters."""
_COLUMNS = 8


def filters(subject: Subject) -> Findings:
    """The filters of the first layer, in colour where red, green and blue are known, and band by band."""
    found = first_layer(subject.network, subject.inputs_of(subject.sample[:2]))
    if found is None:
        return Findings(reasons=["Filters: the first layer with weights is no convolution and no dense layer."])
    name, module = found
    weights, what = as_images(module, len(subject.bands), subject.size)
    if weights is None:
        return Findings(reasons=[f"Filters: {name} does not look at the image itself, but at {what}."])
    norms = np.sqrt((weights**2).sum((1, 2, 3)))
    shown = np.sort(np.argsort(-norms, kind="stable")[:_MOST]) if not isinstance(module, LocallyConnected2d) else None
    chosen = weights[shown] if shown is not None else weights
    has_bands = chosen.shape[1] == len(subject.bands)
    names = list(subject.bands) if has_bands else [f"input {number}" for number in range(chosen.shape[1])]
    known = canonical(names, subject.rgb) if has_bands else []
    composite = [known.index(color) for color in RGB] if set(RGB) <= set(known) else None
    how_many = f"{len(weights)}" if len(chosen) == len(weights) else f"{len(chosen)} largest of {len(weights)}"
    left_out = f" The first {_PANELS} of {len(names)} bands." if len(names) > _PANELS else ""
    caption = (
        f"The {how_many} filters of the first layer, {name}: {what}. By band: blue lowers, red raises, all panels on"
        f" one scale.{left_out}"
        + (
            " In colour: red, green and blue band together, each filter on its own scale, grey is zero."
            if composite is not None
            else ""
        )
    )
    title = "First-layer filters"

    def draw(file: IO[bytes]) -> None:
        _draw(file, f"{title}: {subject.name}", caption, chosen, names[:_PANELS], composite)

    return Findings([Figure("filters.png", title, caption, draw)])


def first_layer(network: nn.Module, images: torch.Tensor) -> tuple[str, nn.Module] | None:
    """The first layer with a matrix of weights that is called, and its name; None if it is of no kind with filters.

    Args:
        network: in eval mode.
        images: N,C,H,W as it takes them.
    """
    called: list[tuple[str, nn.Module]] = []

    def enter(name: str, module: nn.Module) -> None:
        if any(parameter.ndim > 1 for parameter in module.parameters(recurse=False)) and not any(module.children()):
            called.append((name, module))

    handles = [
        module.register_forward_pre_hook(lambda module, _, name=name: enter(name, module))
        for name, module in network.named_modules()
    ]
    try:
        with torch.inference_mode():
            network(images)
    finally:
        for handle in handles:
            handle.remove()
    first = next(iter(called), None)
    return first if first and isinstance(first[1], nn.Conv2d | nn.Linear | LocallyConnected2d) else None


def as_images(module: nn.Module, bands: int, size: int) -> tuple[Array | None, str]:
    """The weights of a first layer as O,C,h,w, and in words what each of the O is.

    None, and what it looks at instead, where a dense layer does not take the values of the image.

    Args:
        module: a convolution, a dense or a locally connected layer.
        bands: of the image.
        size: its side in pixels.
    """
    weight = next(iter(module.parameters(recurse=False))).detach().float().cpu()
    match module:
        case LocallyConnected2d():
            kernel, side = module.kernel_size, module.side
            along = np.unique(np.linspace(0, side - 1, _ALONG).round().astype(int))
            places = [row * side + column for row in along for column in along]
            channels = min(module.out_channels, _COLUMNS)
            chosen = weight[places, :channels].reshape(-1, module.in_channels, kernel, kernel)
            words = f"{kernel}x{kernel} pixels; a row a place, {len(places)} of them from upper left to lower right,"
            return (
                chosen.numpy(),
                f"{words} with its first {channels} channels, since no place shares another's weights",
            )
        case nn.Linear():
            if module.in_features != bands * size * size:
                return None, f"{module.in_features} values that were made of it"
            return weight.reshape(
                -1, bands, size, size
            ).numpy(), f"weights of a unit over the whole image, {size}x{size}"
        case nn.Conv2d():
            height, width = module.kernel_size
            step = module.stride[0]
            patches = " (patches side by side)" if step == width > 1 else ""
            return weight.numpy(), f"{height}x{width} pixels, in steps of {step}{patches}"
    raise TypeError(f"no filters in a {type(module).__name__}")


def in_color(weights: Array) -> Array:
    """Filters O,3,h,w to O,h,w,3 in [0, 1]: each on its own scale, grey is zero."""
    largest = np.abs(weights).max(axis=(1, 2, 3), keepdims=True)
    return (0.5 + 0.5 * weights / np.where(largest > 0, largest, 1)).transpose(0, 2, 3, 1)


def _draw(
    file: IO[bytes], title: str, caption: str, weights: Array, names: list[str], composite: list[int] | None
) -> None:
    """Panels side by side, each with all filters; then the scale."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    panels: list[tuple[str, Array, dict[str, Any]]] = []
    columns = _COLUMNS if len(weights) >= _COLUMNS else len(weights)
    limit = float(np.abs(weights).max()) or 1.0
    scale: dict[str, Any] = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}
    if composite is not None:
        panels.append(("red, green, blue", mosaic(list(in_color(weights[:, composite])), columns), {}))
    for band, name in enumerate(names):
        panels.append((name, mosaic(list(weights[:, band]), columns, fill=np.nan), scale))
    rows, across = panels[0][1].shape[:2]
    side = 2.3
    high = side * rows / across
    abreast = min(4, len(panels))
    width = max(0.3 + abreast * (side + 0.15), 6.5)
    heading, note = wrapped(title, width - 0.3, 9.5, 3), wrapped(caption, width - 0.3, 7.5, 6)
    top = 0.35 + 0.165 * len(heading) + 0.13 * len(note)
    lines = -(-len(panels) // abreast)
    figure, axes = blank(width, top + lines * (high + 0.3) + 0.55)
    say(axes, 0.15, 0.15, "\n".join(heading), 9.5, weight="bold")
    say(axes, 0.15, 0.21 + 0.165 * len(heading), "\n".join(note), 7.5, color="0.3")
    for number, (name, picture, options) in enumerate(panels):
        left, above = 0.15 + (number % abreast) * (side + 0.15), top + (number // abreast) * (high + 0.3) + 0.1
        say(axes, left, above - 0.03, fitted(name, side, 8), 8, va="bottom")
        extent = (left, left + side, above + high, above)
        axes.imshow(picture, extent=extent, interpolation="nearest", aspect="auto", **options)
    bottom = figure.get_figheight()
    bar = figure.add_axes((0.15 / width, 0.28 / bottom, 2.3 / width, 0.1 / bottom))
    figure.colorbar(ScalarMappable(Normalize(-limit, limit), "RdBu_r"), cax=bar, orientation="horizontal")
    bar.tick_params(labelsize=7)
    say(axes, 2.65, bottom - 0.33, "weight", 7.5, va="center")
    figure.savefig(file, format="png", dpi=DPI)
