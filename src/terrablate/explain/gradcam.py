"""Grad-CAM (Selvaraju et al. 2017): where in an image the network finds what speaks for a class.

The maps of a late layer are weighted by the mean gradient of the class's logit and added up; what is positive is shown.
The library grad-cam does it; here the layer is found.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from terrablate.errors import ConfigError
from terrablate.explain.findings import Figure, Findings
from terrablate.explain.layers import Output, Trace, trace
from terrablate.explain.sheet import WRONG, Array, Cell, Row, Sheet
from terrablate.explain.subject import Subject
from terrablate.models.networks import LocallyConnected2d

_LEAST_SIDE = 4
"""Places along a side below which a map says too little of where."""
_COLUMNS = 6


class NoMapsError(Exception):
    """Grad-CAM cannot explain this network; the message is a sentence that says why."""


def grad_cam(subject: Subject, count: int, layer: str | None, generator: np.random.Generator) -> Findings:
    """Sheets of right and of wrong val images with what speaks for the predicted, and for the true, class.

    Args:
        subject: what is explained.
        count: images of each sheet.
        layer: name of the layer whose maps are taken; None to find it.
        generator: draws the right images.

    Raises:
        ConfigError: if there is no such layer with maps.
    """
    if not subject.head_answers:
        return Findings(
            reasons=["Grad-CAM: the classifier on frozen features is no part of the network and passes no gradients."]
        )
    try:
        target = target_layer(subject.network, subject.inputs_of(subject.sample[:2]), layer)
    except NoMapsError as error:
        return Findings(reasons=[f"Grad-CAM: {error}"])
    sheets = (
        ("right", subject.right_ones(count, generator), "drawn at random, one of each class in turn"),
        ("wrong", subject.wrong_ones(count), "those whose true class it finds least likely"),
    )
    found = Findings()
    for kind, positions, which in sheets:
        if not positions:
            found.reasons.append(f"Grad-CAM: there is no {kind} val image.")
            continue
        place = f"layer {target.name} ({target.form.side}x{target.form.side} places)"
        caption = (
            f"Where the network finds what speaks for a class, from {place}; bright is much. {len(positions)} {kind}ly"
            f" answered val images, {which}."
            + (" For each, the predicted class and the true one." if kind == "wrong" else "")
        )
        title = f"Grad-CAM, {kind}ly answered images"
        sheet = _sheet(subject, target, positions, f"{title}: {subject.name}", caption, kind == "wrong")
        found.figures.append(Figure(f"gradcam_{kind}.png", title, caption, sheet.draw))
    return found


def class_maps(
    network: nn.Module, target: Output, images: torch.Tensor, classes: Sequence[int]
) -> npt.NDArray[np.float32]:
    """Where each image has what speaks for one class.

    Args:
        network: in eval mode; gradients of its parameters are left alone.
        target: the layer, from `target_layer`.
        images: N,C,H,W as the network takes them.
        classes: N.

    Returns:
        N,H,W from 0 to 1, the largest of an image; 0 throughout where nothing speaks for the class.
    """
    from pytorch_grad_cam.grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    trains = {parameter: parameter.requires_grad for parameter in network.parameters()}
    try:
        network.requires_grad_(False)
        with GradCAM(network, [target.module], reshape_transform=target.form.maps) as library:
            library.compute_input_gradient = True  # and none of the parameters
            found = library(images.detach(), [ClassifierOutputTarget(index) for index in classes])
    finally:
        for parameter, trained in trains.items():
            parameter.requires_grad_(trained)
    return np.asarray(found, dtype=np.float32)


def target_layer(network: nn.Module, images: torch.Tensor, layer: str | None = None) -> Output:
    """The layer whose maps Grad-CAM takes: the last one with 4x4 places or more, or where there is none, with the most.

    Poolings are passed over, layers inside of a block that goes on to fewer places, and layers whose places no longer
    reach the logits, as those after the last attention of a transformer that answers from its class token.

    Args:
        network: in eval mode.
        images: a few, N,C,H,W, as it takes them.
        layer: name of a layer; None to find it.

    Raises:
        NoMapsError: if no layer has maps that mean the same everywhere.
        ConfigError: if there is no such layer, or it has no maps.
    """
    if any(isinstance(module, LocallyConnected2d) for module in network.modules()):
        raise NoMapsError(
            "the layers are locally connected: a channel is another filter at each place, so there is no one weight of"
            " a channel to add its places up with."
        )
    with torch.enable_grad():
        seen = trace(network, images.detach().requires_grad_())
        candidates = [output for output in seen.outputs if output.is_map and seen.calls[output.name] == 1]
        widths = {output.channels for _, output in seen.stage_outputs() if output.form.kind == "tokens"}
        candidates = [each for each in candidates if each.form.kind != "tokens" or each.channels in widths]
        reaching = _reaching(seen, candidates)
    if layer is not None:
        return _named(layer, reaching, network, seen)
    unpooled = [output for output in reaching if not output.is_pooled]
    ends = [output for output in unpooled if _is_end(output.name, output.form.side, network, seen)]
    if not ends:
        raise NoMapsError(
            "no layer has maps from which gradients lead to the logits: the network sees an image as a list of values,"
            " without places."
            if not candidates
            else "no gradient leads from the logits to a layer with maps, as in a network that was never trained."
        )
    wanted = min(_LEAST_SIDE, max(output.form.side for output in ends))
    return next(output for output in reversed(ends) if output.form.side >= wanted)


def _reaching(seen: Trace, candidates: list[Output]) -> list[Output]:
    """Those of whose places, of one at least, the logits depend on."""
    if not candidates:
        return []
    gradients = torch.autograd.grad(
        seen.logits.max(1).values.sum(), [each.values for each in candidates], allow_unused=True
    )
    pairs = zip(candidates, gradients, strict=True)
    return [each for each, gradient in pairs if gradient is not None and bool(each.form.maps(gradient).any())]


def _is_end(name: str, side: int, network: nn.Module, seen: Trace) -> bool:
    """Whether a layer is a step of the network, and none inside of a block that goes on to fewer places."""
    parent = name.rpartition(".")[0]
    if not parent or isinstance(network.get_submodule(parent), nn.Sequential | nn.ModuleList):
        return True
    sides = [output.form.side for output in seen.outputs if output.name == parent]
    return sides == [side] and _is_end(parent, side, network, seen)


def _named(layer: str, reaching: list[Output], network: nn.Module, seen: Trace) -> Output:
    found = next((output for output in reaching if output.name == layer), None)
    if found is None:
        what = "has no maps that reach the logits" if layer in dict(network.named_modules()) else "there is none"
        ends = {output.name for _, output in seen.stage_outputs()}
        names = [each.name for each in reaching if each.name in ends] or [each.name for each in reaching]
        raise ConfigError(f"layer={layer}: {what}; allowed are, for example, {', '.join(names[-8:])}")
    return found


def _sheet(subject: Subject, target: Output, positions: list[int], title: str, caption: str, is_wrong: bool) -> Sheet:
    blocks = [_block(subject, target, position, is_wrong) for position in positions]
    wide = max(map(len, blocks))
    blocks = [block + [None] * (wide - len(block)) for block in blocks]
    abreast = max(1, _COLUMNS // wide)
    rows = [
        Row([cell for block in blocks[start : start + abreast] for cell in block])
        for start in range(0, len(blocks), abreast)
    ]
    return Sheet(title, rows, caption, side=1.45, lines_below=2, group=wide)


def _block(subject: Subject, target: Output, position: int, is_wrong: bool) -> list[Cell | None]:
    """An image and its maps, side by side."""
    asked = subject.questions(position)
    images = subject.inputs_of(np.full(len(asked), position))
    maps = class_maps(subject.network, target, images, [index for index, _ in asked])
    picture = subject.picture(position)
    frame = WRONG if is_wrong else None
    below = f"true: {subject.label(position)}\nsays: {subject.answer(position)}"
    cells: list[Cell | None] = [Cell(picture, below, frame=frame)]
    for found, (_, words) in zip(maps, asked, strict=True):
        nothing = "" if found.any() else "\n(nothing speaks for it)"
        cells.append(Cell(overlaid(picture, found), words + nothing))
    return cells


def overlaid(picture: Array, found: Array) -> Array:
    """A picture in grey under a map in colours: H,W,3 and H,W in [0, 1] to H,W,3."""
    from matplotlib import colormaps

    grey = (picture @ np.array([0.299, 0.587, 0.114]))[..., None]
    colors: Any = colormaps["inferno"](np.clip(found, 0, 1))[..., :3]
    return np.clip(0.4 * grey + 0.6 * colors, 0, 1)
