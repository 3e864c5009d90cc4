"""Windows give what the whole image would; passes are averaged, and their disagreement is told."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, softmax

from voxelome.errors import DataError
from voxelome.segmentation.spec import GridSpec
from voxelome.segmentation.uncertainty import entropy
from voxelome.segmentation.windows import activate, probabilities_of

RNG = np.random.default_rng(8)


def stack_of(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def grid_of(patch: tuple[int, int, int], **settings: object) -> GridSpec:
    return GridSpec(patch=patch, **settings)


def three_classes(batch: np.ndarray) -> np.ndarray:
    """Outputs that depend on the voxel alone."""
    first, second = batch[0]
    return np.stack([first, second, first * second])[np.newaxis]


def blurred(batch: np.ndarray) -> np.ndarray:
    """Mean of each voxel and its neighbours along x, and its opposite."""
    padded = np.pad(batch[0, 0], ((1, 1), (0, 0), (0, 0)), mode="edge")
    mean = (padded[:-2] + padded[1:-1] + padded[2:]) / 3
    return np.stack([mean, -mean])[np.newaxis]


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.8])
@pytest.mark.parametrize("shape", [(21, 16, 30), (16, 16, 16), (9, 40, 12)])
def test_windows_of_a_pointwise_network_give_the_whole_image(shape: tuple, overlap: float) -> None:
    stack = stack_of(2, *shape)
    found = probabilities_of(
        stack, [three_classes], grid_of((16, 16, 16), overlap=overlap), 3, "softmax", None
    )
    expected = softmax(three_classes(stack[np.newaxis])[0], axis=0)
    assert found.probabilities == pytest.approx(expected, abs=1e-5)
    assert (found.passes, found.disagreement) == (1, None)


def test_neighbouring_windows_share_at_least_the_overlap() -> None:
    seen: list[tuple] = []
    stack = np.arange(50.0, dtype=np.float32).reshape(1, 50, 1, 1)

    def spy(batch: np.ndarray) -> np.ndarray:
        seen.append((batch.min(), batch.max()))
        return np.concatenate([batch, batch], axis=1)

    probabilities_of(stack, [spy], grid_of((16, 1, 1)), 2, "softmax")
    assert len(seen) == 6
    starts = [first for first, _ in seen]
    assert starts[0] == 0
    assert seen[-1][1] == 49
    assert np.diff(starts).max() <= 8


def test_the_middle_of_a_window_counts_more_than_its_edge() -> None:
    """A network that is wrong in the outermost voxels of its window: windows that overlap mend that."""

    def wrong_at_the_edge(batch: np.ndarray) -> np.ndarray:
        wrong = np.ones(batch.shape[2:], np.float32)
        wrong[2:-2] = 0
        return np.stack([1 - wrong, wrong])[np.newaxis]

    stack = stack_of(1, 40, 8, 8)
    found = probabilities_of(stack, [wrong_at_the_edge], grid_of((16, 8, 8)), 2, "none").probabilities[1]
    assert found[:2].min() == 1
    assert found[2:-2].max() < 0.1


def test_an_image_smaller_than_the_window_is_filled_up_with_zeros_on_both_sides() -> None:
    seen: list[np.ndarray] = []

    def spy(batch: np.ndarray) -> np.ndarray:
        seen.append(batch.copy())
        return np.concatenate([batch, -batch], axis=1)

    stack = np.ones((1, 5, 8, 8), np.float32)
    found = probabilities_of(stack, [spy], grid_of((8, 8, 8)), 2, "softmax")
    assert seen[0][0, 0, :, 0, 0].tolist() == [0, 1, 1, 1, 1, 1, 0, 0]
    assert found.probabilities.shape == (2, 5, 8, 8)
    assert found.probabilities[0] == pytest.approx(expit(2.0))


@pytest.mark.parametrize(("activation", "outside"), [("softmax", [1, 0]), ("sigmoid", [0, 0])])
def test_windows_without_brain_are_left_out_and_are_background(activation: str, outside: list) -> None:
    calls = []

    def spy(batch: np.ndarray) -> np.ndarray:
        calls.append(1)
        return np.concatenate([batch, -batch], axis=1)

    inside = np.zeros((64, 8, 8), bool)
    inside[50:60] = True
    stack = stack_of(1, 64, 8, 8)
    grid = grid_of((16, 8, 8), overlap=0.0)
    found = probabilities_of(stack, [spy], grid, 2, activation, inside)
    assert len(calls) == 1
    left_out = found.probabilities[:, :48].reshape(2, -1)
    assert (left_out == np.array(outside)[:, np.newaxis]).all()


def test_a_network_that_treats_left_and_right_alike_gives_the_same_mirrored() -> None:
    stack = stack_of(1, 20, 10, 11)
    plain = probabilities_of(stack, [blurred], grid_of((20, 10, 11)), 2, "softmax")
    mirrored = probabilities_of(stack, [blurred], grid_of((20, 10, 11), mirror=(0, 1, 2)), 2, "softmax")
    assert mirrored.passes == 8
    assert mirrored.probabilities == pytest.approx(plain.probabilities, abs=1e-6)
    assert mirrored.disagreement is not None
    assert mirrored.disagreement.max() < 1e-5


def test_mirrored_passes_see_the_image_turned_and_answer_turned_back() -> None:
    """A network that marks the first slice of what it sees, whichever that is."""

    def first_slice(batch: np.ndarray) -> np.ndarray:
        marked = np.zeros(batch.shape[2:], np.float32)
        marked[0] = 1
        return np.stack([1 - marked, marked])[np.newaxis]

    stack = stack_of(1, 6, 4, 4)
    found = probabilities_of(stack, [first_slice], grid_of((6, 4, 4), mirror=(0,)), 2, "none")
    assert found.probabilities[1, :, 0, 0].tolist() == [0.5, 0, 0, 0, 0, 0.5]
    # Each pass is certain of the opposite there: the entropy of the mean is all disagreement.
    assert found.disagreement is not None
    assert found.disagreement[:, 0, 0].tolist() == pytest.approx([1, 0, 0, 0, 0, 1], abs=1e-5)


def test_members_are_averaged_as_probabilities_and_disagreement_is_their_mutual_information() -> None:
    stack = stack_of(2, 30, 8, 8)

    def other(batch: np.ndarray) -> np.ndarray:
        return -2 * three_classes(batch)

    found = probabilities_of(stack, [three_classes, other], grid_of((16, 8, 8)), 3, "softmax")
    raw = three_classes(stack[np.newaxis])[0]
    one, two = softmax(raw, axis=0), softmax(-2 * raw, axis=0)
    mean = (one + two) / 2

    def nats(p: np.ndarray) -> np.ndarray:
        return -(p * np.log(p)).sum(axis=0)

    information = (nats(mean) - (nats(one) + nats(two)) / 2) / np.log(3)
    assert found.probabilities == pytest.approx(mean, abs=1e-5)
    assert found.disagreement == pytest.approx(information, abs=1e-5)


def test_one_half_of_everything_is_the_most_uncertain() -> None:
    assert entropy(np.full((4, 2), 0.25, np.float32)) == pytest.approx([1, 1])
    assert entropy(np.array([[1.0], [0], [0]], np.float32)) == pytest.approx([0], abs=1e-6)
    assert entropy(np.array([[0.5], [0.5]], np.float32), binary=True) == pytest.approx([1])
    assert entropy(np.array([[0.0], [1.0]], np.float32), binary=True) == pytest.approx([0], abs=1e-6)


def test_outputs_become_probabilities_without_overflow() -> None:
    outputs = np.array([[1e4, -1e4, 0.3], [-1e4, 1e4, -1.2]], np.float32)
    assert activate(outputs.copy(), "softmax") == pytest.approx(softmax(outputs, axis=0), abs=1e-6)
    assert activate(outputs.copy(), "sigmoid") == pytest.approx(expit(outputs), abs=1e-6)
    assert (activate(outputs.copy(), "none") == outputs).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_outputs_that_are_not_finite_are_refused(bad: float) -> None:
    def broken(batch: np.ndarray) -> np.ndarray:
        outputs = np.concatenate([batch, batch], axis=1)
        outputs[0, 1, 2, 2, 2] = bad
        return outputs

    with pytest.raises(DataError, match="not finite"):
        probabilities_of(stack_of(1, 8, 8, 8), [broken], grid_of((8, 8, 8)), 2, "softmax")


def test_outputs_of_another_shape_are_refused() -> None:
    def smaller(batch: np.ndarray) -> np.ndarray:
        return batch[:, :, 1:-1]

    with pytest.raises(DataError, match=r"\(1, 1, 6, 8, 8\), not \(1, 1, 8, 8, 8\)"):
        probabilities_of(stack_of(1, 8, 8, 8), [smaller], grid_of((8, 8, 8)), 1, "sigmoid")
