"""TF.js models as ONNX: the same numbers as a literal computation of their layers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from scipy.special import erf

from tests.shared import DATA
from voxelome.errors import InputError
from voxelome.segmentation.importers import convert

MESHNET = DATA / "models" / "meshnet_weights"
needs_meshnet = pytest.mark.skipif(not MESHNET.is_dir(), reason=f"there are no MeshNet weights at {MESHNET}")
ENTRY = {"name": "net", "framework": "tfjs"}
RANDOM = np.random.default_rng(5)


def write_model(folder: Path, layers: list[tuple], weights: dict[str, np.ndarray], **quantised: dict) -> Path:
    """A TF.js model of layers (class, config) in a chain; `quantised` says how a weight is stored."""
    chain, before = [], None
    for kind, config in layers:
        feeds = [[[before, 0, 0, {}]]] if before else []
        chain.append({"class_name": kind, "config": config, "inbound_nodes": feeds})
        before = config["name"]
    items, content = [], b""
    for name, values in weights.items():
        item = {"name": name, "shape": list(values.shape), "dtype": "float32"}
        how = quantised.get(name.replace("/", "_"))
        if how:
            item["quantization"] = how
        steps = np.rint((values - how["min"]) / how["scale"]) if how and "scale" in how else values
        content += steps.astype(how["dtype"] if how else "float32").tobytes()
        items.append(item)
    folder.mkdir(parents=True, exist_ok=True)
    # The first shard ends in the middle of a number.
    (folder / "one.bin").write_bytes(content[:5])
    (folder / "two.bin").write_bytes(content[5:])
    model = {
        "format": "layers-model",
        "modelTopology": {"model_config": {"class_name": "Functional", "config": {"layers": chain}}},
        "weightsManifest": [{"paths": ["one.bin", "two.bin"], "weights": items}],
    }
    (folder / "model.json").write_text(json.dumps(model))
    return folder


def first(channels: int = 1) -> tuple:
    return ("InputLayer", {"name": "input", "batch_input_shape": [None, None, None, None, channels]})


def conv(name: str, size: int = 3, dilation: int = 1, **more) -> tuple:
    config = {"name": name, "kernel_size": [size] * 3, "dilation_rate": [dilation] * 3, "strides": [1] * 3}
    return ("Conv3D", config | {"padding": "same", "use_bias": False, "activation": "linear"} | more)


def run(folder: Path, out: Path, image: np.ndarray) -> np.ndarray:
    """Outputs (x, y, z, k) of the converted network for an image (x, y, z, c)."""
    convert(folder, {**ENTRY, "outputs": {"activation": "none"}}, out)
    session = onnxruntime.InferenceSession(out / "model.onnx", providers=["CPUExecutionProvider"])
    batch = np.moveaxis(image, -1, 0)[np.newaxis].astype(np.float32)
    return np.moveaxis(session.run(None, {"image": batch})[0][0], 0, -1)


def convolve(image: np.ndarray, kernel: np.ndarray, dilation: int = 1) -> np.ndarray:
    """Each output voxel: the sum over the kernel of the voxels it covers, zeros outside (x, y, z, c)."""
    reach = [(size - 1) * dilation for size in kernel.shape[:3]]
    padded = np.pad(image, [(total // 2, total - total // 2) for total in reach] + [(0, 0)])
    result = np.zeros((*image.shape[:3], kernel.shape[4]))
    for tap in np.ndindex(kernel.shape[:3]):
        start = [index * dilation for index in tap]
        window = tuple(slice(low, low + size) for low, size in zip(start, image.shape[:3], strict=True))
        result += padded[window] @ kernel[tap]
    return result


FORMULA = {
    "linear": lambda x: x,
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "gelu": lambda x: x * 0.5 * (1 + erf(x / np.sqrt(2))),
    "gelu_new": lambda x: x * 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "softmax": lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True),
    "softplus": lambda x: np.log1p(np.exp(x)),
    "softsign": lambda x: x / (1 + abs(x)),
    "tanh": np.tanh,
}


def literal(folder: Path, image: np.ndarray) -> np.ndarray:
    """The layers of a MeshNet one by one, in double precision."""
    model = json.loads((folder / "model.json").read_text())
    numbers = np.frombuffer((folder / "model.bin").read_bytes(), "<f4").astype(float)
    weights, at = {}, 0
    for item in model["weightsManifest"][0]["weights"]:
        count = int(np.prod(item["shape"]))
        weights[item["name"]] = numbers[at : at + count].reshape(item["shape"])
        at += count
    x = image
    for layer in model["modelTopology"]["model_config"]["config"]["layers"][1:]:
        config = layer["config"]
        name = config["name"]
        if layer["class_name"] == "Conv3D":
            x = convolve(x, weights[f"{name}/kernel"], config["dilation_rate"][0])
            x = x + weights.get(f"{name}/bias", 0)
            if name.endswith("_gn"):
                x = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5)
        x = FORMULA[config["activation"]](x)
    return x


@needs_meshnet
@pytest.mark.parametrize("name", ["model18cls", "model20chan3cls", "mindgrab"])
def test_meshnet_gives_what_its_layers_give_one_by_one(name: str, tmp_path: Path) -> None:
    # Larger than the dilation of 16, and no two axes alike.
    image = np.random.default_rng(1).random((18, 22, 20, 1))
    expected = literal(MESHNET / name, image)
    found = run(MESHNET / name, tmp_path, image)
    assert np.abs(found - expected).max() < 1e-4 * max(1, np.abs(expected).max())


@needs_meshnet
def test_the_same_file_gives_the_same_bytes_twice_and_the_card_its_shape(tmp_path: Path) -> None:
    found = [convert(MESHNET / "model18cls", ENTRY, tmp_path / part) for part in "ab"]
    assert (tmp_path / "a/model.onnx").read_bytes() == (tmp_path / "b/model.onnx").read_bytes()
    assert found[0]["members"] == ["model.onnx"]
    assert found[0]["grid"] == {"patch": [256, 256, 256]}
    assert found[0]["outputs"] == {"activation": "softmax"}


@pytest.mark.parametrize("activation", FORMULA)
@pytest.mark.parametrize("form", ["inside", "layer"])
def test_an_activation_follows_its_formula(activation: str, form: str, tmp_path: Path) -> None:
    kernel = RANDOM.normal(size=(1, 1, 1, 2, 3))
    image = RANDOM.normal(size=(4, 3, 2, 2))
    own = ("Activation", {"name": "act", "activation": activation})
    layers = [first(2), conv("c", 1, activation=activation)]
    if form == "layer":
        layers = [first(2), conv("c", 1), own]
    found = run(write_model(tmp_path / "in", layers, {"c/kernel": kernel}), tmp_path / "out", image)
    np.testing.assert_allclose(found, FORMULA[activation](image @ kernel[0, 0, 0]), atol=2e-6)


@pytest.mark.parametrize("form", ["inside", "layer"])
def test_a_sigmoid_at_the_end_is_the_activation_of_the_card_and_is_not_applied_twice(
    form: str, tmp_path: Path
) -> None:
    last = [conv("c", 1, activation="sigmoid")]
    if form == "layer":
        last = [conv("c", 1), ("Activation", {"name": "act", "activation": "sigmoid"})]
    kernel = RANDOM.normal(size=(1, 1, 1, 2, 3))
    folder = write_model(tmp_path / "in", [first(2), *last], {"c/kernel": kernel})
    found = convert(folder, ENTRY, tmp_path / "out")
    assert found["outputs"] == {"activation": "sigmoid"}
    session = onnxruntime.InferenceSession(
        tmp_path / "out" / "model.onnx", providers=["CPUExecutionProvider"]
    )
    image = RANDOM.normal(size=(1, 2, 4, 3, 2)).astype(np.float32)
    logits = np.einsum("ncxyz,ck->nkxyz", image, kernel[0, 0, 0])
    np.testing.assert_allclose(session.run(None, {"image": image})[0], logits, atol=2e-6)


@pytest.mark.parametrize(("size", "dilation"), [(1, 1), (2, 1), (2, 3), (3, 2), (4, 1), (5, 1)])
def test_same_padding_keeps_the_size_and_the_place(size: int, dilation: int, tmp_path: Path) -> None:
    kernel = RANDOM.normal(size=(size, size, size, 1, 2))
    image = RANDOM.normal(size=(7, 8, 9, 1))
    folder = write_model(tmp_path / "in", [first(), conv("c", size, dilation)], {"c/kernel": kernel})
    np.testing.assert_allclose(
        run(folder, tmp_path / "out", image), convolve(image, kernel, dilation), atol=1e-4
    )


def test_batch_normalisation_bias_and_leaky_units_follow_their_formulas(tmp_path: Path) -> None:
    weights = {
        "net/c/kernel:0": RANDOM.normal(size=(1, 1, 1, 1, 2)),
        "net/c/bias:0": RANDOM.normal(size=2),
        "bn/gamma": RANDOM.normal(size=2),
        "bn/beta": RANDOM.normal(size=2),
        "bn/moving_mean": RANDOM.normal(size=2),
        "bn/moving_variance": RANDOM.random(2) + 0.5,
    }
    layers = [
        first(),
        conv("c", 1, use_bias=True),
        ("BatchNormalization", {"name": "bn", "epsilon": 0.01}),
        ("Dropout", {"name": "off", "rate": 0.5}),
        ("LeakyReLU", {"name": "leak", "alpha": 0.2}),
    ]
    image = RANDOM.normal(size=(3, 4, 5, 1))
    kernel, bias, gamma, beta, mean, variance = weights.values()
    x = (image @ kernel[0, 0, 0] + bias - mean) / np.sqrt(variance + 0.01) * gamma + beta
    found = run(write_model(tmp_path / "in", layers, weights), tmp_path / "out", image)
    np.testing.assert_allclose(found, np.where(x > 0, x, 0.2 * x), atol=1e-5)


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ({"dtype": "uint8", "scale": 0.02, "min": -2.0}, 0.01),
        ({"dtype": "uint16", "scale": 0.0001, "min": -2.0}, 0.00005),
        ({"dtype": "float16"}, 0.001),
    ],
)
def test_quantised_weights_are_within_half_a_step(how: dict, error: float, tmp_path: Path) -> None:
    kernel = RANDOM.uniform(-1.9, 1.9, size=(1, 1, 1, 3, 4))
    layers = [first(3), conv("c", 1)]
    folder = write_model(tmp_path / "in", layers, {"c/kernel": kernel}, c_kernel=how)
    # An image of unit vectors shows the weights themselves.
    image = np.eye(3).reshape(3, 1, 1, 3)
    found = run(folder, tmp_path / "out", image).reshape(3, 4)
    assert 0 < np.abs(found - kernel[0, 0, 0]).max() <= error * 1.001


def simple(folder: Path, *layers: tuple, **weights: np.ndarray) -> Path:
    return write_model(folder, [first(), conv("c", 1), *layers], {"c/kernel": np.ones((1, 1, 1, 1, 2))})


@pytest.mark.parametrize(
    ("layers", "says"),
    [
        ([("MaxPooling3D", {"name": "pool"})], "layer 'pool' is a MaxPooling3D"),
        ([("Activation", {"name": "act", "activation": "magic"})], "'act' has the activation 'magic'"),
        ([conv("d", 3)], "layer 'd' has no weights named 'kernel'"),
        ([conv("d", 3, strides=[2, 2, 2])], r"layer 'd' has strides \[2, 2, 2\]"),
        ([conv("d", 3, padding="valid")], "layer 'd' has .* 'valid' padding"),
    ],
)
def test_what_is_not_known_is_refused_by_name(layers: list, says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says):
        convert(simple(tmp_path / "in", *layers), ENTRY, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_layer_that_two_others_feed_is_refused(tmp_path: Path) -> None:
    path = simple(tmp_path / "in", ("ReLU", {"name": "r"})) / "model.json"
    model = json.loads(path.read_text())
    layers = model["modelTopology"]["model_config"]["config"]["layers"]
    layers[2]["inbound_nodes"] = [[["c", 0, 0, {}], ["input", 0, 0, {}]]]
    path.write_text(json.dumps(model))
    with pytest.raises(InputError, match=r"layer 'r' is fed by \['c', 'input'\]"):
        convert(path, ENTRY, tmp_path / "out")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda folder: (folder / "two.bin").write_bytes(b""), "end at byte 8, but there are only 5"),
        (lambda folder: (folder / "two.bin").write_bytes(b"1" * 9), "14 bytes, but the weights are 8"),
        (lambda folder: (folder / "one.bin").unlink(), "one.bin: the weights of the model are missing"),
        (lambda folder: (folder / "model.json").write_text("{"), "is not JSON"),
        (lambda folder: (folder / "model.json").write_text('{"format": "graph-model"}'), "no layers model"),
    ],
)
def test_damaged_files_are_refused(damage, says: str, tmp_path: Path) -> None:
    folder = simple(tmp_path / "in")
    damage(folder)
    with pytest.raises(InputError, match=says):
        convert(folder, ENTRY, tmp_path / "out")


def test_a_shard_outside_the_folder_is_not_read(tmp_path: Path) -> None:
    folder = simple(tmp_path / "in")
    (folder / "one.bin").rename(tmp_path / "one.bin")
    text = (folder / "model.json").read_text().replace("one.bin", "../one.bin")
    (folder / "model.json").write_text(text)
    with pytest.raises(InputError, match="missing"):
        convert(folder, ENTRY, tmp_path / "out")
