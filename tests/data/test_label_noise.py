"""Wrong labels on purpose."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from terrablate.data.label_noise import confusion_matrix, noisy, read_confusion, symmetric_noise
from terrablate.errors import DataError

CLASSES = ["Forest", "River", "Road"]
LABELS = np.random.default_rng(0).integers(0, 10, 20_000)


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.6])
def test_so_many_labels_are_wrong_as_the_rate_says_and_go_to_all_other_classes_alike(rate: float) -> None:
    given = noisy(LABELS, symmetric_noise(rate, 10), seed=0)
    wrong = given != LABELS
    assert wrong.mean() == pytest.approx(rate, abs=4 * np.sqrt(rate * (1 - rate) / len(LABELS)))
    steps = np.bincount((given - LABELS)[wrong] % 10, minlength=10) / wrong.sum()
    assert steps[0] == 0
    assert steps[1:] == pytest.approx(np.full(9, 1 / 9), abs=0.03)
    by_class = [wrong[label == LABELS].mean() for label in range(10)]
    assert by_class == pytest.approx([rate] * 10, abs=0.05)


def test_no_rate_no_mistake() -> None:
    assert (noisy(LABELS, symmetric_noise(0, 10), seed=0) == LABELS).all()


def test_the_true_labels_stay_as_they_are() -> None:
    before = LABELS.copy()
    noisy(LABELS, symmetric_noise(0.5, 10), seed=0)
    assert (before == LABELS).all()


def test_a_higher_rate_makes_the_mistakes_of_a_lower_one_and_more() -> None:
    low, high = (noisy(LABELS, symmetric_noise(rate, 10), seed=3) for rate in (0.2, 0.4))
    wrong = low != LABELS
    assert (high[wrong] == low[wrong]).all()
    assert (high != LABELS).sum() > 1.8 * wrong.sum()


def test_what_an_image_gets_depends_on_its_own_class_and_place_alone() -> None:
    confusion = symmetric_noise(0.3, 10)
    others = LABELS.copy()
    others[::2] = 0
    assert (noisy(LABELS, confusion, 0)[1::2] == noisy(others, confusion, 0)[1::2]).all()
    assert (noisy(LABELS, confusion, 0) != noisy(LABELS, confusion, 1)).any()


def test_labels_follow_the_rows_of_a_confusion() -> None:
    confusion = np.array([[0.7, 0.3, 0.0], [0.0, 1.0, 0.0], [0.5, 0.1, 0.4]])
    labels = np.repeat([0, 1, 2], 5000)
    given = noisy(labels, confusion, seed=0)
    counts = np.stack([np.bincount(given[labels == label], minlength=3) for label in range(3)]) / 5000
    assert counts == pytest.approx(confusion, abs=0.02)
    assert (counts[confusion == 0] == 0).all()


def test_a_class_may_always_be_mistaken() -> None:
    assert noisy(np.array([0, 1, 0]), np.array([[0.0, 1.0], [0.0, 1.0]]), seed=0).tolist() == [1, 1, 1]


# --- the confusion file


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "confusion.csv"
        path.write_text(text)
        return path

    return write


def test_a_file_of_counts_in_any_order_gives_shares_in_the_order_of_the_classes(written: Callable[[str], Path]) -> None:
    path = written("true, Road, Forest, River\nRiver, 0, 5, 15\nForest, 1, 9, 0\n\nRoad, 4, 0, 0\n")
    expected = [[0.9, 0, 0.1], [0.25, 0.75, 0], [0, 0, 1]]
    assert read_confusion(path, CLASSES) == pytest.approx(np.array(expected))
    assert confusion_matrix(str(path), CLASSES) == pytest.approx(np.array(expected))


def test_a_rate_gives_rows_that_add_up_to_one() -> None:
    confusion = confusion_matrix(0.3, CLASSES)
    assert confusion == pytest.approx(np.array([[0.7, 0.15, 0.15], [0.15, 0.7, 0.15], [0.15, 0.15, 0.7]]))


HEADER = "true,Forest,River,Road\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "the class Forest, River, Road is missing in its header; it must name each of the classes Forest, River"),
        ("true,Forest,River,Lake\n", "there is an unknown class Lake in its header"),
        (f"{HEADER}Forest,1,0,0\nRiver,0,1,0\n", "the class Road is missing in its first column"),
        (f"{HEADER}Forest,1,0,0\nRiver,0,1,0\nRoad,0,0,1\nRoad,1,0,1\n", "a class stands twice in its first column"),
        (f"{HEADER}Forest,1,0\nRiver,0,1,0\nRoad,0,0,1\n", "the row of Forest has 2 numbers; expected 3"),
        (f"{HEADER}Forest,1,0,0,0\nRiver,0,1,0\nRoad,0,0,1\n", "the row of Forest has 4 numbers; expected 3"),
        (
            f"{HEADER}Forest,1,0,0\nRiver,0,x,0\nRoad,0,0,1\n",
            "row River, column River: 'x' is not a number of at least 0",
        ),
        (
            f"{HEADER}Forest,1,0,0\nRiver,0,1,-1\nRoad,0,0,1\n",
            "row River, column Road: '-1' is not a number of at least",
        ),
        (f"{HEADER}Forest,1,nan,0\nRiver,0,1,0\nRoad,0,0,1\n", "row Forest, column River: 'nan' is not a number"),
        (f"{HEADER}Forest,1,0,0\nRiver,0,0,0\nRoad,0,0,1\n", "the row of River has zeros only"),
    ],
)
def test_a_wrong_file_is_refused_in_one_sentence(written: Callable[[str], Path], text: str, told: str) -> None:
    path = written(text)
    with pytest.raises(DataError) as refused:
        read_confusion(path, CLASSES)
    assert str(refused.value).startswith(f"data.label_noise={path}: {told}")
    assert "\n" not in str(refused.value)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "image.png").write_bytes(bytes(range(128, 256)))
    for path in (tmp_path / "image.png", tmp_path / "absent.csv", tmp_path):
        with pytest.raises(DataError, match=r"cannot be read as a CSV file"):
            read_confusion(path, CLASSES)
