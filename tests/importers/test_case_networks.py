"""Small networks of whole cases: what they give, what they learn, and that ONNX Runtime gives the same."""

import numpy as np
import onnxruntime
import pytest

from voxelome.training.case_networks import (
    attention_loss,
    slice_attention_net,
    small_volume_net,
    train_case_network,
)
from voxelome.training.cases import Bank, classified, regressed
from voxelome.training.export import export_onnx

torch = pytest.importorskip("torch", reason="training needs torch, which is in an environment of its own")
functional = torch.nn.functional
SHAPE = (1, 8, 16, 16)


@pytest.fixture(autouse=True)
def fixed():
    torch.manual_seed(0)
    torch.set_num_threads(1)


def bright_slices(step, count=8):
    """Images of noise; every second one has a square in one slice. Image, class, which slice."""
    rng = np.random.default_rng(step)
    images = rng.normal(0, 0.3, (count, *SHAPE)).astype(np.float32)
    marks = np.zeros((count, SHAPE[1]), dtype=np.float32)
    for index in range(1, count, 2):
        z, y, x = rng.integers(0, 8), *rng.integers(0, 10, 2)
        images[index, 0, z, y : y + 6, x : x + 6] += 1.5
        marks[index, z] = 1
    return images, marks.any(axis=1).astype(np.int64), marks


def trained(steps):
    torch.manual_seed(0)
    network = slice_attention_net(1, 2, width=8)
    return train_case_network(network, bright_slices, attention_loss, lambda *_: None, steps)


def test_attention_comes_to_lie_on_the_slice_that_decides():
    network = trained(80)
    images, classes, marks = bright_slices(10**6, 64)
    with torch.no_grad():
        logits, attention = network(torch.from_numpy(images))
    assert (logits.argmax(1).numpy() == classes).mean() > 0.9
    assert attention.sum(1).numpy() == pytest.approx(np.ones(64), abs=1e-5)
    there = classes == 1
    assert (attention.numpy()[there].argmax(1) == marks[there].argmax(1)).mean() > 0.8


def test_the_same_seed_trains_the_same_network():
    first, second = (trained(4).state_dict() for _ in range(2))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize("make", [slice_attention_net, small_volume_net])
def test_the_exported_network_gives_what_torch_gives_for_any_number_of_cases(make, tmp_path):
    network = make(2, 3, width=4).eval()
    names = ("numbers", "attention") if make is slice_attention_net else ("numbers",)
    export_onnx(network, (2, 8, 16, 16), tmp_path / "model.onnx", names)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    for count in (1, 5):
        images = np.random.default_rng(count).normal(size=(count, 2, 8, 16, 16)).astype(np.float32)
        given = session.run(list(names), {"image": images})
        with torch.no_grad():
            wanted = network(torch.from_numpy(images))
        wanted = wanted if isinstance(wanted, tuple) else (wanted,)
        for ours, theirs in zip(given, wanted, strict=True):
            assert ours == pytest.approx(theirs.numpy(), abs=1e-5)
        assert given[0].shape == (count, 3)


def test_a_volume_network_learns_the_mean_of_its_images_in_the_outcomes_units():
    def batch(step):
        rng = np.random.default_rng(step)
        levels = rng.uniform(-1, 1, 8).astype(np.float32)
        images = rng.normal(levels[:, None, None, None, None], 0.3, (8, 1, 16, 16, 16)).astype(np.float32)
        return images, 55 + 20 * levels

    def error(network, images, wanted):
        return functional.smooth_l1_loss(network(images)[:, 0] / 20, wanted / 20)

    network = small_volume_net(1, 1, width=4, scale=20.0, offset=55.0)
    network = train_case_network(network, batch, error, lambda *_: None, 120)
    images, wanted = batch(10**6)
    with torch.no_grad():
        given = network(torch.from_numpy(images))[:, 0].numpy()
    assert np.abs(given - wanted).mean() < 3


def test_figures_of_known_answers():
    cases = Bank(np.zeros(4), np.array([0, 0, 1, 1.0]), np.zeros((4, 0)), [])
    found = classified(np.array([-2.0, 1.0, 0.5, 3.0]), cases)
    assert found == {"auc": 0.75, "sensitivity": 1.0, "specificity": 0.5, "n": 4}
    ages = Bank(np.zeros(3), np.array([20.0, 50.0, 80.0]), np.zeros((3, 0)), [])
    found = regressed(np.array([22.0, 51.0, 79.0]), ages)
    assert (found["mae"], found["bias"], found["mae_of_the_mean"]) == pytest.approx((1.333, 0.667, 20))
