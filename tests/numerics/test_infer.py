"""A case is segmented on its own grid: the right place, volume and doubts, in little memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from scipy.special import softmax

from tests.numerics.small_networks import pointwise, save_convolution
from voxelome.errors import DataError
from voxelome.segmentation import infer
from voxelome.segmentation.engine import open_members
from voxelome.segmentation.infer import segment
from voxelome.segmentation.prepare import prepare
from voxelome.segmentation.spec import GridSpec, InputSpec, NetworkSpec

SHAPE = (48, 40, 20)
RAW = InputSpec("T1w", rule="none", region="image")


def spec_of(**changes: object) -> NetworkSpec:
    values = {
        "name": "small",
        "task": "segmentation",
        "inputs": (RAW,),
        "grid": GridSpec("spacing", (1.0, 1.0, 1.0), "RAS", (32, 32, 32), brain_only=False),
        "activation": "softmax",
        "labels": {1: "dark", 4: "bright"},
        "members": ("m.onnx",),
    }
    return NetworkSpec(**{**values, **changes})


def turned(spacing: tuple[float, ...] = (1.1, 1.0, 2.8)) -> np.ndarray:
    """Affine of thick slices at an angle, with the first axis to the left."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", (14, -9, 22), degrees=True).as_matrix() * spacing
    affine[:3, :3] *= [-1, 1, 1]
    affine[:3, 3] = (40, -30, 12)
    return affine


def two_balls(affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Image of 0 with a ball of 1 to the left and one of 2 to the right, and its truth."""
    points = np.einsum("ij,jxyz->ixyz", affine[:3, :3], np.indices(SHAPE)) + affine[:3, 3].reshape(3, 1, 1, 1)
    middle = (affine @ [*(size / 2 for size in SHAPE), 1])[:3]
    truth = np.zeros(SHAPE, np.int16)
    for label, side in ((1, -13.0), (4, 13.0)):
        centre = middle + np.array([side, 0, 0])
        truth[np.linalg.norm(points - centre.reshape(3, 1, 1, 1), axis=0) < 10] = label
    return np.select([truth == 1, truth == 4], [1.0, 2.0], 0.0).astype(np.float32), truth


def save_thresholds(folder: Path, spec: NetworkSpec, sharpness: float = 60.0) -> dict[str, str]:
    """Network whose best class is background below 0.5, the first label up to 1.5, the second above."""
    weight = pointwise([0], [sharpness], [2 * sharpness])
    bias = [0, -0.5 * sharpness, -2.0 * sharpness]
    return {file: save_convolution(folder / file, weight, bias) for file in spec.members}


def dice(one: np.ndarray, two: np.ndarray) -> float:
    return float(2 * (one & two).sum() / (one.sum() + two.sum()))


@pytest.mark.parametrize("kind", ["spacing", "conform", "cube"])
def test_labels_come_back_on_the_images_own_grid(kind: str, tmp_path: Path) -> None:
    affine = turned()
    image, truth = two_balls(affine)
    grid = GridSpec(kind, (1.0, 1.0, 1.0), "LIA", (64, 64, 64), brain_only=False)
    # Conforming makes bytes of the intensities: 0 to 255 for 0 to 2.
    rule = InputSpec("T1w", rule="percentile", region="image", low=0, high=100)
    spec = spec_of(grid=grid, inputs=(rule,))
    weight = pointwise([0], [120.0], [240.0])
    digests = {"m.onnx": save_convolution(tmp_path / "m.onnx", weight, [0, -30, -120])}
    found = segment([image], affine, None, spec, open_members(tmp_path, spec, digests))
    assert found.labels.dtype == np.int16
    assert found.labels.shape == SHAPE
    assert set(np.unique(found.labels)) == {0, 1, 4}
    # Between background and the bright ball lies a rim that looks like the dark one.
    assert dice(found.labels > 0, truth > 0) > 0.93
    assert dice(found.labels == 4, truth == 4) > 0.9
    assert (found.labels == 4).sum() == pytest.approx((truth == 4).sum(), rel=0.1)


def test_left_and_right_are_not_swapped(tmp_path: Path) -> None:
    """A network that looks at the neighbour on the left in RAS order: the label shifts to the right."""
    affine = np.diag([-1.0, 1.0, 1.0, 1.0])
    image = np.zeros((20, 12, 12), np.float32)
    image[10, 6, 6] = 1
    weight = np.zeros((2, 1, 3, 1, 1))
    weight[1, 0, 0] = 100
    spec = spec_of(labels={1: "moved"}, grid=GridSpec(patch=(16, 12, 12), brain_only=False))
    digests = {"m.onnx": save_convolution(tmp_path / "m.onnx", weight, [0, -50])}
    found = segment([image], affine, None, spec, open_members(tmp_path, spec, digests))
    # One voxel to the right is one voxel less along an axis that runs to the left.
    assert np.argwhere(found.labels).tolist() == [[9, 6, 6]]


def test_probabilities_are_interpolated_before_the_largest_is_taken(tmp_path: Path) -> None:
    """On a grid twice as coarse the border between two labels is where their probabilities cross."""
    image = np.repeat(np.arange(24.0), 8 * 8).reshape(24, 8, 8).astype(np.float32)
    grid = GridSpec("spacing", (2.0, 1.0, 1.0), patch=(12, 8, 8), brain_only=False)
    spec = spec_of(grid=grid, labels={1: "far"})
    digests = {"m.onnx": save_convolution(tmp_path / "m.onnx", pointwise([0], [0.4]), [0, -4.6])}
    members = open_members(tmp_path, spec, digests)
    found = segment([image], np.eye(4), None, spec, members, wanted_probabilities=[1])
    stack = prepare([image], np.eye(4), None, spec).stack
    coarse = softmax(members[0](stack[np.newaxis])[0], axis=0)[1, :, 4, 4]
    expected = np.interp(np.arange(24), 0.5 + 2 * np.arange(12), coarse)
    assert found.probabilities[1][:, 4, 4] == pytest.approx(expected, abs=1e-5)
    assert (found.labels[:, 4, 4] == (expected > 0.5)).all()


def test_a_label_value_belongs_to_its_channel_and_not_to_its_number(tmp_path: Path) -> None:
    image, truth = two_balls(np.eye(4))
    spec = spec_of(labels={4: "dark", 1: "bright"})
    members = open_members(tmp_path, spec, save_thresholds(tmp_path, spec))
    found = segment([image], np.eye(4), None, spec, members)
    assert (found.labels == 4).sum() >= (truth == 1).sum()
    assert (found.labels[truth == 4] == 1).all()


def test_with_sigmoid_a_later_label_is_painted_over_an_earlier_one(tmp_path: Path) -> None:
    image = np.repeat([0.0, 1.0, 2.0], 100).reshape(3, 10, 10).astype(np.float32)
    spec = spec_of(activation="sigmoid", labels={1: "whole", 2: "core"})
    weight = pointwise([10], [10])
    digests = {"m.onnx": save_convolution(tmp_path / "m.onnx", weight, [-5, -15])}
    members = open_members(tmp_path, spec, digests)
    found = segment([image], np.eye(4), None, spec, members, wanted_probabilities=[1, 2])
    assert found.labels[:, 5, 5].tolist() == [0, 1, 2]
    assert found.probabilities[1][2, 5, 5] == pytest.approx(1 / (1 + np.exp(-15)), abs=1e-6)
    assert found.probabilities[2][1, 5, 5] == pytest.approx(1 / (1 + np.exp(5)), abs=1e-6)


def test_nothing_found_is_a_result(tmp_path: Path) -> None:
    spec = spec_of()
    members = open_members(tmp_path, spec, save_thresholds(tmp_path, spec))
    found = segment([np.zeros(SHAPE, np.float32)], turned(), None, spec, members)
    assert not found.labels.any()
    assert found.entropy.max() < 1e-3
    assert not found.disagreement.any()


def test_entropy_is_one_where_all_classes_are_alike_and_disagreement_needs_two_passes(tmp_path: Path) -> None:
    spec = spec_of(members=("a.onnx", "b.onnx"))
    sure = {
        "a.onnx": save_convolution(tmp_path / "a.onnx", pointwise([0], [90], [0]), [0, 0, 0]),
        "b.onnx": save_convolution(tmp_path / "b.onnx", pointwise([0], [0], [90]), [0, 0, 0]),
    }
    image = np.zeros((8, 8, 8), np.float32)
    image[4:] = 1
    members = open_members(tmp_path, spec, sure)
    both = segment([image], np.eye(4), None, spec, members)
    assert both.passes == 2
    assert both.entropy[2, 4, 4] == pytest.approx(1, abs=1e-5)
    assert both.entropy[6, 4, 4] == pytest.approx(np.log(2) / np.log(3), abs=1e-5)
    # Where both are as unsure they agree; where each is sure of another label they do not.
    assert both.disagreement[2, 4, 4] == pytest.approx(0, abs=1e-5)
    assert both.disagreement[6, 4, 4] == pytest.approx(np.log(2) / np.log(3), abs=1e-5)
    one = segment([image], np.eye(4), None, spec, members[:1])
    assert one.passes == 1
    assert not one.disagreement.any()


def test_outside_of_the_crop_is_background_and_nothing_is_unsure(tmp_path: Path) -> None:
    image = np.ones(SHAPE, np.float32)
    brain = np.zeros(SHAPE, bool)
    brain[16:32, 12:28, 5:15] = True
    spec = spec_of(grid=GridSpec(patch=(16, 16, 16), margin=3.0), labels={1: "all"})
    digests = {"m.onnx": save_convolution(tmp_path / "m.onnx", pointwise([0], [4]), [0, -3])}
    found = segment([image], np.eye(4), brain, spec, open_members(tmp_path, spec, digests), [1])
    assert (found.labels == brain).all()
    beyond = np.ones(SHAPE, bool)
    beyond[13:35, 9:31, 2:18] = False
    assert not found.entropy[beyond].any()
    assert not found.probabilities[1][beyond].any()
    assert found.entropy[20, 20, 10] > 0.5


def test_an_absent_optional_image_is_zeros() -> None:
    spec = spec_of(
        inputs=(RAW, InputSpec("T2w", need="optional"), InputSpec("T1w", enhanced=True, need="one"))
    )
    image = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    ready = prepare([image, None, image], np.eye(4), np.ones(SHAPE, bool), spec)
    assert not ready.stack[1].any()
    assert (ready.stack[0] == image).all()
    assert ready.notes == []


@pytest.mark.parametrize(
    ("needs", "given", "says"),
    [
        (("required", "optional"), (False, True), "needs T1w;"),
        (("one", "one"), (False, False), "needs T1w or FLAIR with contrast agent;"),
        (("optional", "optional"), (False, False), "needs T1w or FLAIR with contrast agent;"),
    ],
)
def test_a_missing_image_that_is_needed_is_named(needs: tuple, given: tuple, says: str) -> None:
    spec = spec_of(inputs=(InputSpec("T1w", need=needs[0]), InputSpec("FLAIR", enhanced=True, need=needs[1])))
    volumes = [np.ones(SHAPE) if there else None for there in given]
    with pytest.raises(DataError, match=says):
        segment(volumes, np.eye(4), None, spec, [])


def test_images_that_do_not_fit_together_are_refused() -> None:
    spec = spec_of(inputs=(RAW, RAW))
    with pytest.raises(DataError, match=r"shapes \(4, 4, 4\), \(4, 4, 5\)"):
        prepare([np.ones((4, 4, 4)), np.ones((4, 4, 5))], np.eye(4), None, spec)
    with pytest.raises(DataError, match="takes 2 images, and 1 were given"):
        prepare([np.ones((4, 4, 4))], np.eye(4), None, spec)
    with pytest.raises(DataError, match="3D"):
        prepare([np.ones((4, 4, 4, 2))] * 2, np.eye(4), None, spec)


def test_a_label_that_the_network_does_not_have_is_refused(tmp_path: Path) -> None:
    spec = spec_of()
    members = open_members(tmp_path, spec, save_thresholds(tmp_path, spec))
    with pytest.raises(DataError, match=r"no label 2; its labels are 1 \(dark\), 4 \(bright\)"):
        segment([np.ones(SHAPE)], np.eye(4), None, spec, members, [2, 4])


def test_too_little_memory_is_said_before_the_network_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of()
    members = open_members(tmp_path, spec, save_thresholds(tmp_path, spec))
    monkeypatch.setattr("voxelome.segmentation.memory.memory_free", lambda: 50_000_000)
    monkeypatch.setattr(infer, "prepare", lambda *_: pytest.fail("memory was taken"))
    with pytest.raises(DataError, match="GB are free"):
        segment([np.ones(SHAPE, np.float32)], np.eye(4), None, spec, members)


def test_the_crop_of_a_conformed_image_is_that_part_of_the_whole() -> None:
    affine = turned((2.0, 2.5, 4.0))
    image, truth = two_balls(affine)
    rule = InputSpec("T1w", rule="percentile", region="image", low=0, high=100)
    whole = spec_of(inputs=(rule,), grid=GridSpec("conform", brain_only=False))
    cut = spec_of(inputs=(rule,), grid=GridSpec("conform", brain_only=False, crop=True, margin=7.0))
    all_of_it = prepare([image], affine, truth > 0, whole)
    part = prepare([image], affine, truth > 0, cut)
    start = np.rint((np.linalg.inv(all_of_it.grid.affine) @ part.grid.affine)[:3, 3]).astype(int)
    box = tuple(slice(low, low + size) for low, size in zip(start, part.grid.shape, strict=True))
    assert all_of_it.grid.shape == (256, 256, 256)
    assert max(part.grid.shape) < 200
    assert (all_of_it.stack[0][box] == part.stack[0]).all()
    assert all_of_it.stack.sum() == pytest.approx(part.stack.sum(), rel=1e-4)


def test_two_runs_and_two_threads_give_the_same_bits(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    spec = spec_of(
        inputs=(InputSpec("T1w", region="image"),),
        grid=GridSpec(patch=(24, 24, 24), brain_only=False, mirror=(0,)),
    )
    weight = rng.normal(size=(3, 1, 5, 5, 5))
    digests = {"m.onnx": save_convolution(tmp_path / "m.onnx", weight, [0, 0, 0])}
    image = rng.normal(size=SHAPE).astype(np.float32)
    runs = [
        segment([image], turned(), None, spec, open_members(tmp_path, spec, digests, threads))
        for threads in (1, 1, 2)
    ]
    for name in ("labels", "entropy", "disagreement"):
        first, second, third = (getattr(run, name).tobytes() for run in runs)
        assert first == second == third
    assert 0 < runs[0].network_seconds < runs[0].seconds


MEASURE = """
import json, sys
import numpy as np
from pathlib import Path
from tests.numerics.small_networks import save_convolution
from voxelome.segmentation.engine import open_members
from voxelome.segmentation.infer import segment
from voxelome.segmentation.memory import activation_memory, memory_needed
from voxelome.segmentation.spec import GridSpec, InputSpec, NetworkSpec
from voxelome.step import peak_memory_mb
folder, edge = Path(sys.argv[1]), int(sys.argv[2])
labels = {n: str(n) for n in range(1, 18)}
grid = GridSpec(patch=(128, 128, 128), overlap=0.0, brain_only=False)
inputs = (InputSpec("T1w", region="image"),)
spec = NetworkSpec("big", "segmentation", inputs, grid, "softmax", labels, members=("m.onnx",))
weight = np.random.default_rng(0).normal(size=(18, 1, 1, 1, 1))
digests = {"m.onnx": save_convolution(folder / "m.onnx", weight, [0.0] * 18)}
image = np.random.default_rng(1).normal(size=(edge, edge, edge)).astype(np.float32)
found = segment([image], np.eye(4), None, spec, open_members(folder, spec, digests), labels)
shape = (edge, edge, edge)
activations = activation_memory(folder / "m.onnx", (1, 1, 128, 128, 128))
estimate = memory_needed(spec, shape, shape, activations, len(labels))
peak = peak_memory_mb() * 2**20
print(json.dumps({"peak": peak, "estimate": estimate}))
"""


def test_the_memory_taken_is_what_was_estimated(tmp_path: Path) -> None:
    """160^3 with 18 classes whose probabilities are kept, windows of 128^3."""
    command = [sys.executable, "-c", MEASURE, str(tmp_path), "160"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(run.stdout)
    assert found["peak"] < found["estimate"] < 1.5 * found["peak"]
