"""Training: it learns, its export gives what torch gives, and a stopped one comes to the same network."""

from dataclasses import dataclass

import numpy as np
import onnxruntime
import pytest

from voxelome.errors import InputError
from voxelome.training.export import export_onnx
from voxelome.training.fit import TrainingSettings, _loss, train
from voxelome.training.network import unet
from voxelome.training.supply import Pool

torch = pytest.importorskip("torch", reason="training needs torch, which is in an environment of its own")
pytest.importorskip("monai", reason="training needs MONAI, which is in an environment of its own")
FEATURES = (8, 8, 8, 8, 8, 8)


@dataclass(frozen=True)
class Cubes:
    """Bright cubes in noise: what is bright is to be found."""

    edge: int = 32
    fails: bool = False

    def open(self, device):
        def make(seed):
            if self.fails:
                raise ValueError("no example")
            rng = np.random.default_rng(seed)
            image = rng.normal(0, 0.3, (1, *[self.edge] * 3))
            low = rng.integers(0, self.edge // 2, 3)
            box = tuple(slice(a, a + self.edge // 3) for a in low)
            image[(0, *box)] += 2
            regions = np.zeros(image.shape, bool)
            regions[(0, *box)] = True
            return image.astype(np.float16), regions

        return make


def settings(steps, **more):
    return TrainingSettings(steps=steps, patch=(32, 32, 32), batch=2, pool=4, **more)


def test_training_lowers_the_loss_and_finds_what_it_was_shown():
    told = []
    network, facts = train(Cubes(), 1, 1, settings(60), "cpu", told.append, FEATURES)
    assert told[-1]["loss"] < 0.8 * told[0]["loss"]
    assert facts["steps"] == 60
    image, regions = Cubes().open("cpu")(10**6)
    with torch.no_grad():
        found = network(torch.from_numpy(image[None]).float())[0].numpy() > 0
    assert 2 * (found & regions).sum() / (found.sum() + regions.sum()) > 0.75


def test_the_exported_network_gives_what_torch_gives_at_any_size(tmp_path):
    torch.manual_seed(0)
    network = unet(2, 3, FEATURES)
    network(torch.randn(2, 2, 32, 32, 32))  # so that its normalisation has figures of its own
    network = network.eval()
    export_onnx(network, (2, 32, 32, 32), tmp_path / "model.onnx", any_size=True, half=True)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    for shape in ((64, 64, 64), (32, 48, 64)):
        image = np.random.default_rng(1).normal(size=(1, 2, *shape)).astype(np.float32)
        with torch.no_grad():
            wanted = network(torch.from_numpy(image)).numpy()
        (given,) = session.run(None, {"image": image})
        assert given.shape == wanted.shape
        assert np.abs(given - wanted).max() < 1e-2
        assert wanted.std() > 0.05


def test_regions_that_lie_in_one_another_cost_nothing_once_both_are_found():
    logits = torch.full((1, 2, 4, 4, 4), -12.0)
    regions = torch.zeros_like(logits)
    regions[:, :, :2] = 1
    logits[:, :, :2] = 12.0
    assert float(_loss(softmax=False)(logits, regions)) < 1e-3
    wrong = logits.clone()
    wrong[:, 1] = -12.0
    # Half the Dice, and a cross-entropy of 12 in a half of one of two channels.
    assert float(_loss(softmax=False)(wrong, regions)) == pytest.approx(0.5 + 3, abs=0.01)
    classes = torch.cat([1 - regions[:, :1], regions[:, :1]], dim=1)
    assert float(_loss(softmax=True)(24 * classes, classes)) < 1e-3


class StopError(Exception):
    """Somebody pulls the plug."""


def test_a_training_that_was_stopped_comes_to_the_same_network(tmp_path, monkeypatch):
    whole, _ = train(Cubes(), 1, 1, settings(10), "cpu", lambda now: None, FEATURES)
    monkeypatch.setattr("voxelome.training.fit._SAVE_AFTER", 0.0)

    def stop(now):
        if now["step"] == 6:
            raise StopError

    state = tmp_path / "state.pt"
    with pytest.raises(StopError):
        train(Cubes(), 1, 1, settings(10), "cpu", stop, FEATURES, state)
    told = []
    went_on, facts = train(Cubes(), 1, 1, settings(10), "cpu", told.append, FEATURES, state)
    assert told[0]["step"] == 6
    assert facts["steps"] == 10
    for name, value in whole.state_dict().items():
        assert torch.equal(value, went_on.state_dict()[name]), name
    told.clear()
    finished, _ = train(Cubes(), 1, 1, settings(10), "cpu", told.append, FEATURES, state)
    assert not told
    assert torch.equal(finished.final_conv.bias, whole.final_conv.bias)


def test_a_damaged_state_or_that_of_another_network_is_refused(tmp_path):
    state = tmp_path / "state.pt"
    state.write_bytes(b"PK nothing")
    with pytest.raises(InputError, match="no state of this training"):
        train(Cubes(), 1, 1, settings(2), "cpu", lambda now: None, FEATURES, state)
    state.unlink()
    train(Cubes(), 1, 1, settings(1), "cpu", lambda now: None, FEATURES, state)
    with pytest.raises(InputError, match="remove it to begin anew"):
        train(Cubes(), 1, 2, settings(2), "cpu", lambda now: None, FEATURES, state)


def test_labels_with_sides_are_never_mirrored_from_left_to_right():
    @dataclass(frozen=True)
    class Ramp:
        def open(self, device):
            ramp = np.broadcast_to(np.arange(8)[:, None, None], (1, 8, 8, 8)).astype(np.float16)
            return lambda seed: (ramp.copy(), ramp > 4)

    pool = Pool(Ramp(), 2, 0, "cpu", 0, mirror=(0.0, 1.0, 1.0))
    pool.start(2)
    image, _ = pool.draw(8, (8, 8, 8), np.random.default_rng(0))
    assert (image[:, 0, 0] == 0).all()
    assert (image[:, 0, -1] == 7).all()


def test_a_process_that_fails_ends_the_training_and_does_not_hang_it(capfd):
    pool = Pool(Cubes(fails=True), 2, 1, "cpu", 0)
    try:
        with pytest.raises(RuntimeError, match="ended with code 1"):
            pool.start(1)
    finally:
        pool.close()
    assert "no example" in capfd.readouterr().err


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_example_that_cannot_be_kept_ends_the_training_and_does_not_hang_it(monkeypatch):
    def full(pool, image, regions):
        raise MemoryError("no room")

    monkeypatch.setattr(Pool, "_keep", full)
    pool = Pool(Cubes(), 2, 1, "cpu", 0)
    try:
        with pytest.raises(RuntimeError, match="could not be received"):
            pool.start(1)
        with pytest.raises(RuntimeError, match="could not be received"):
            pool.draw(1, (8, 8, 8), np.random.default_rng(0))
    finally:
        pool.close()


def test_a_training_that_begins_with_another_ones_network_begins_with_its_loss(tmp_path):
    state, told = tmp_path / "state.pt", []
    train(Cubes(), 1, 1, settings(60), "cpu", told.append, FEATURES, checkpoint=state)
    first, last = told[0]["loss"], told[-1]["loss"]
    train(Cubes(), 1, 1, settings(1), "cpu", told.append, FEATURES, initial=state)
    assert told[-1]["step"] == 1
    assert abs(told[-1]["loss"] - last) < 0.3 * (first - last)


def test_a_state_of_another_network_is_refused_by_name(tmp_path):
    state = tmp_path / "state.pt"
    train(Cubes(), 1, 1, settings(1), "cpu", lambda _: None, FEATURES, checkpoint=state)
    with pytest.raises(InputError, match=r"state\.pt.*is no state of this training"):
        train(Cubes(), 1, 2, settings(1), "cpu", lambda _: None, FEATURES, initial=state)
