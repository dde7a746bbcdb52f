"""What stands in an image on purpose is found: Grad-CAM lies on it, and the channel that detects it ranks by it."""

import io
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from terrablate.data.batches import Images
from terrablate.errors import ConfigError
from terrablate.explain.activations import activations, strongest
from terrablate.explain.channels import Peaks, channels, peaks_of
from terrablate.explain.embedding import embedding, laid_out
from terrablate.explain.filters import filters, first_layer, in_color
from terrablate.explain.gradcam import NoMapsError, class_maps, grad_cam, target_layer
from terrablate.explain.layers import form_of, trace
from terrablate.explain.subject import Subject
from terrablate.models.networks import LocalCNN
from terrablate.training.inputs import Inputs
from terrablate.training.task import ONE_LABEL, SEVERAL_LABELS

SIZE, SIDE = 32, 6
CORNERS = [(2, 20), (22, 4), (13, 13), (24, 24)]
"""Upper left corners of the planted squares."""


class Detector(nn.Module):
    """Finds a bright square: channel 1 of the second convolution answers to one, channel 0 to darkness; one logit each.

    Args:
        last: `maps` gives N,C,H,W, `maps_last` N,H,W,C, `tokens` a class token and N,places,C.
    """

    def __init__(self, last: str = "maps") -> None:
        super().__init__()
        self.last = last
        self.smooth = nn.Conv2d(3, 1, 5, stride=2, padding=2)
        self.detect = nn.Conv2d(1, 2, 1)
        self.act = nn.ReLU()
        self.end = nn.ReLU()
        self.head = nn.Linear(2, 2)
        with torch.no_grad():
            self.smooth.weight.fill_(1 / 75)
            self.smooth.bias.zero_()
            self.detect.weight.copy_(torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1))
            self.detect.bias.copy_(torch.tensor([0.2, -0.3]))
            self.head.weight.copy_(torch.eye(2))
            self.head.bias.copy_(torch.tensor([0.0, 0.0]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = self.act(self.detect(self.smooth(images)))
        match self.last:
            case "maps_last":
                ended = self.end(maps.permute(0, 2, 3, 1))
                return self.head(ended.mean(dim=(1, 2)))
            case "tokens":
                tokens = maps.flatten(2).transpose(1, 2)
                ended = self.end(torch.cat([torch.zeros_like(tokens[:, :1]), tokens], dim=1))
                return self.head(ended[:, 1:].mean(dim=1))
        return self.head(self.end(maps).mean(dim=(2, 3)))


def planted(count: int = 4) -> torch.Tensor:
    """Dark images with a bright square each, the brighter the later."""
    images = 0.1 * torch.rand(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    for number in range(count):
        row, column = CORNERS[number % len(CORNERS)]
        images[number, :, row : row + SIDE, column : column + SIDE] = 0.5 + 0.5 * (number + 1) / count
    return images


def subject_of(network: nn.Module, images: torch.Tensor, labels: Any, **options: Any) -> Subject:
    several = np.asarray(labels).ndim == 2
    with torch.inference_mode():
        logits = network(images)
    given = {
        "task": SEVERAL_LABELS if several else ONE_LABEL, "classes": ["dark <b>", "bright $square$, ü"],
        "bands": ["red", "green", "blue"], "rgb": ["red", "green", "blue"],
    }  # fmt: skip
    return Subject(
        network=network,
        inputs=Inputs(1.0, 0.0),
        images=Images(images, np.asarray(labels), np.arange(len(images))),
        logits=logits,
        name="a run",
        device=torch.device("cpu"),
        sample=np.arange(len(images)),
        **(given | options),
    )


def drawn(findings: Any) -> list[bytes]:
    files = [io.BytesIO() for _ in findings.figures]
    for figure, file in zip(findings.figures, files, strict=True):
        figure.draw(file)
    return [file.getvalue() for file in files]


@pytest.mark.parametrize("last", ["maps", "maps_last", "tokens"])
def test_grad_cam_lies_on_the_planted_square(last: str) -> None:
    network, images = Detector(last).eval(), planted()
    target = target_layer(network, images)
    assert (target.name, target.form.kind, target.form.side) == ("end", last, 16)
    for number, found in enumerate(class_maps(network, target, images, [1] * len(images))):
        row, column = CORNERS[number]
        place = np.unravel_index(found.argmax(), found.shape)
        assert row - 1 <= place[0] <= row + SIDE
        assert column - 1 <= place[1] <= column + SIDE
        inside = found[row : row + SIDE, column : column + SIDE].mean()
        assert inside > 10 * np.delete(found.ravel(), np.flatnonzero(found > 0.5)).mean()


def test_grad_cam_of_the_other_class_lies_elsewhere() -> None:
    network, images = Detector().eval(), planted()
    found = class_maps(network, target_layer(network, images), images, [0] * len(images))
    for number, (row, column) in enumerate(CORNERS):
        assert found[number, row + 2 : row + SIDE - 2, column + 2 : column + SIDE - 2].max() < 0.1
    assert found.mean() > 0.5


def test_a_layer_can_be_chosen_and_one_that_is_not_there_is_refused() -> None:
    network, images = Detector().eval(), planted()
    assert target_layer(network, images, "smooth").name == "smooth"
    with pytest.raises(ConfigError, match=r"layer=nowhere: there is none; allowed are, for example, .*end"):
        target_layer(network, images, "nowhere")
    with pytest.raises(ConfigError, match="layer=head: has no maps"):
        target_layer(network, images, "head")


def test_nothing_speaks_for_a_class_where_the_detector_is_silent() -> None:
    network = Detector().eval()
    found = class_maps(network, target_layer(network, planted()), torch.zeros(1, 3, SIZE, SIZE), [1])
    assert found.max() == 0


def test_the_channel_that_detects_the_square_ranks_the_images_with_it_first_and_marks_the_place() -> None:
    images = torch.cat([torch.zeros(5, 3, SIZE, SIZE), planted()])
    subject = subject_of(Detector().eval(), images, [0] * 5 + [1] * 4)
    outputs = trace(subject.network, images[:2]).stage_outputs()
    peaks = peaks_of(subject, outputs, subject.sample)[-1]
    assert peaks.side == 16
    assert peaks.channels(2) == [1, 0]
    assert peaks.images(1)[:4] == [8, 7, 6, 5]
    for number, (row, column) in enumerate(CORNERS):
        place = divmod(int(peaks.places[5 + number, 1]), 16)
        assert row <= 2 * place[0] <= row + SIDE
        assert column <= 2 * place[1] <= column + SIDE


def test_channels_are_chosen_by_the_variance_of_their_maximum() -> None:
    values = np.array([[5, 0, 1], [5, 9, 2], [5, 0, 3]], dtype=np.float32)
    peaks = Peaks(values, np.zeros((3, 3), dtype=np.int32), 1)
    assert peaks.channels(2) == [1, 2]
    assert peaks.images(2) == [2, 1, 0]


def test_the_strongest_channels_are_those_that_vary_most_over_the_image() -> None:
    maps = torch.zeros(3, 4, 4)
    maps[0] = 100.0
    maps[1, 0, 0], maps[2, 1, 1] = 1.0, 5.0
    assert strongest(maps, 2) == [2, 1]


@pytest.mark.parametrize("labels", [[0, 1, 1, 0], [[0, 1], [1, 1], [1, 0], [0, 0]]], ids=["one", "several"])
def test_all_sheets_are_drawn_of_odd_names_and_few_images(labels: Any) -> None:
    subject = subject_of(Detector().eval(), planted(), labels)
    draws = np.random.default_rng(0)
    for findings in (
        filters(subject), activations(subject, 3, draws), channels(subject, 3), grad_cam(subject, 4, None, draws),
    ):  # fmt: skip
        assert findings.figures
        for figure, content in zip(findings.figures, drawn(findings), strict=True):
            assert figure.file.endswith(".png")
            assert figure.caption.endswith(".")
            assert content.startswith(b"\x89PNG")
    (reason,) = embedding(subject, 0).reasons
    assert "4 val images are too few" in reason


def test_right_and_wrong_are_told_apart_and_a_missing_kind_is_said() -> None:
    subject = subject_of(Detector().eval(), planted(), [1, 1, 1, 1])
    predicted = subject.logits.argmax(1).tolist()
    assert subject.is_right.tolist() == [label == 1 for label in predicted]
    everything_right = subject_of(Detector().eval(), planted(), predicted)
    found = grad_cam(everything_right, 2, None, np.random.default_rng(0))
    assert [figure.file for figure in found.figures] == ["gradcam_right.png"]
    assert found.reasons == ["Grad-CAM: there is no wrong val image."]


def test_right_images_are_of_each_class_in_turn_and_wrong_ones_the_worst_first() -> None:
    labels = [0, 0, 0, 0, 0, 0, 1, 1]
    subject = subject_of(Detector().eval(), planted(8), labels)
    subject.logits = torch.tensor([[2.0, 0.0]] * 5 + [[-3.0, 0.0], [0.0, 2.0], [1.0, 0.0]])
    right = subject.right_ones(2, np.random.default_rng(0))
    assert sorted(labels[position] for position in right) == [0, 1]
    assert subject.wrong_ones(5) == [5, 7]
    assert len(subject.right_ones(50, np.random.default_rng(0))) == 6


def test_of_several_labels_it_is_asked_for_what_is_wrong() -> None:
    subject = subject_of(Detector().eval(), planted(3), [[1, 0], [0, 1], [1, 1]])
    subject.logits = torch.tensor([[-4.0, 4.0], [-4.0, 4.0], [4.0, -1.0]])
    assert [index for index, _ in subject.questions(0)] == [1, 0]
    assert subject.questions(0)[0][1].startswith("not there: bright")
    assert subject.questions(0)[1][1].startswith("missed: dark")
    assert [index for index, _ in subject.questions(1)] == [1]
    assert [words for _, words in subject.questions(2)] == ["missed: bright $square$, ü 27 %"]
    assert subject.answer(0) == "bright $square$, ü"
    assert subject.label(2) == "dark <b>, bright $square$, ü"


def test_locally_connected_layers_and_heads_on_frozen_features_are_said_to_have_no_grad_cam() -> None:
    network = LocalCNN(3, 2, 16, [4], 3, 2, 8).eval()
    with pytest.raises(NoMapsError, match="another filter at each place"):
        target_layer(network, torch.rand(2, 3, 16, 16))
    subject = subject_of(Detector().eval(), planted(), [0, 1, 1, 0], head_answers=False)
    (reason,) = grad_cam(subject, 2, None, np.random.default_rng(0)).reasons
    assert "frozen features" in reason


def test_filters_of_any_number_of_bands_have_a_panel_each_and_colour_only_where_it_is_known() -> None:
    network = nn.Sequential(nn.Conv2d(13, 70, 3, groups=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(70, 2))
    bands = [f"B{number:02}" for number in range(1, 14)]
    images = torch.rand(3, 13, 8, 8)
    known = subject_of(network.eval(), images, [0, 1, 0], bands=bands, rgb=["B04", "B03", "B02"])
    unknown = subject_of(network.eval(), images, [0, 1, 0], bands=bands, rgb=None)
    assert "In colour" in filters(known).figures[0].caption
    assert "64 largest of 70" in filters(known).figures[0].caption
    assert "In colour" not in filters(unknown).figures[0].caption
    assert len(drawn(filters(known))[0]) > len(drawn(filters(unknown))[0]) > 1000


def test_a_filter_in_colour_is_grey_at_zero() -> None:
    weights = np.zeros((2, 3, 2, 2))
    weights[0, 0, 0, 0], weights[0, 2, 1, 1] = 4.0, -2.0
    found = in_color(weights)
    assert found.shape == (2, 2, 2, 3)
    assert found[0, 0, 0].tolist() == [1.0, 0.5, 0.5]
    assert found[0, 1, 1].tolist() == [0.5, 0.5, 0.25]
    assert (found[1] == 0.5).all()


def test_a_network_that_begins_with_no_filters_is_said_to_have_none() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(12, 2))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.flatten(1) @ self.weight

    class Summed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(3, 2)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.head(images.mean(dim=(2, 3)))

    assert first_layer(Odd(), torch.rand(2, 3, 2, 2)) is None
    subject = subject_of(Summed().eval(), torch.rand(3, 3, 4, 4), [0, 1, 0])
    assert filters(subject).reasons == [
        "Filters: head does not look at the image itself, but at 3 values that were made of it."
    ]


def test_forms_are_read_off_shapes() -> None:
    def told(*shape: int, prefixes: tuple[int, ...] = (0, 1)) -> tuple[str, int, int] | None:
        form = form_of(shape, 2, prefixes)
        return (form.kind, form.side, form.extra) if form else None

    assert told(2, 64, 8, 8) == ("maps", 8, 0)
    assert told(2, 8, 8, 64) == ("maps_last", 8, 0)
    assert told(2, 17, 32) == ("tokens", 4, 1)
    assert told(2, 18, 32, prefixes=(2,)) == ("tokens", 4, 2)
    assert told(2, 16, 32) == ("tokens", 4, 0)
    assert told(2, 15, 32) is None
    assert told(2, 3, 7, 5) is None
    assert told(8, 64, 4, 4) is None
    assert told(2, 10) == ("units", 1, 0)


def test_the_map_of_the_embedding_keeps_apart_what_the_network_tells_apart() -> None:
    features = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    features[30:] += 20
    points = laid_out(features, seed=0)
    assert points.shape == (60, 2)
    middles = [points[:30].mean(0), points[30:].mean(0)]
    spread = max(points[:30].std(0).max(), points[30:].std(0).max())
    assert np.linalg.norm(middles[0] - middles[1]) > 3 * spread
    assert (laid_out(features, seed=0) == points).all()
    assert not (laid_out(np.ones((9, 4), dtype=np.float32), seed=0)).any()


def test_an_embedding_of_a_hundred_classes_or_of_several_labels_is_drawn() -> None:
    images = torch.rand(120, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 100)).eval()
    names = [f"class {number} with a name that is far too long to stand anywhere" for number in range(100)]
    many = subject_of(network, images, [number % 100 for number in range(120)], classes=names)
    several = subject_of(Detector().eval(), images, np.arange(240).reshape(120, 2) % 3 % 2)
    for subject in (many, several):
        (content,) = drawn(embedding(subject, 0))
        assert content.startswith(b"\x89PNG")
    assert "of its class" not in embedding(several, 0).figures[0].caption
