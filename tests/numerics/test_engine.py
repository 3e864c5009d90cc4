"""Networks are opened only if whole and what their entry says; memory is counted before it is taken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from tests.numerics.small_networks import pointwise, save_convolution, save_graph
from voxelome.errors import DataError, InputError
from voxelome.segmentation import engine, memory
from voxelome.segmentation.engine import CPU, Network, open_members
from voxelome.segmentation.memory import activation_memory, check_memory, memory_needed
from voxelome.segmentation.spec import GridSpec, InputSpec, NetworkSpec

TWO_TO_THREE = pointwise([1, 0], [0, 2], [1, 1])


def spec_of(**changes: object) -> NetworkSpec:
    values = {
        "name": "small",
        "task": "segmentation",
        "inputs": (InputSpec("T1w"), InputSpec("FLAIR")),
        "grid": GridSpec(patch=(8, 8, 8)),
        "activation": "softmax",
        "labels": {1: "core", 2: "rim"},
        "members": ("a.onnx", "b.onnx"),
    }
    return NetworkSpec(**{**values, **changes})


def random_batch(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)


def test_a_network_gives_what_its_layers_say(tmp_path: Path) -> None:
    digest = save_convolution(tmp_path / "n.onnx", TWO_TO_THREE, [0, 0, 5])
    network = Network(tmp_path / "n.onnx", digest, outputs=3, channels=2)
    batch = random_batch(2, 4, 5, 6)
    first, second = batch[0]
    assert network(batch) == pytest.approx(np.stack([first, 2 * second, first + second + 5])[None], abs=1e-6)
    assert network.provider == CPU
    assert network.patch == (None, None, None)


def test_two_runs_give_the_same_bits_and_so_do_two_threads(tmp_path: Path) -> None:
    weight = np.random.default_rng(1).normal(size=(6, 2, 3, 3, 3))
    digest = save_convolution(tmp_path / "n.onnx", weight, [0] * 6, softmax=True)
    batch = random_batch(2, 20, 21, 22)
    runs = [
        Network(tmp_path / "n.onnx", digest, threads, outputs=6, channels=2)(batch) for threads in (1, 1, 2)
    ]
    assert runs[0].tobytes() == runs[1].tobytes() == runs[2].tobytes()


def test_numbers_may_come_out_instead_of_an_image(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["m"]),
        helper.make_node("Flatten", ["m"], ["y"], axis=1),
    ]
    digest = save_graph(tmp_path / "n.onnx", nodes, [], (1, 2, 4, 4, 4), (1, 2))
    network = Network(tmp_path / "n.onnx", digest, outputs=2, channels=2)
    batch = random_batch(2, 4, 4, 4)
    assert network(batch) == pytest.approx(batch.mean(axis=(2, 3, 4)), abs=1e-6)
    assert network.patch == (4, 4, 4)


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "n.onnx"
    digest = save_convolution(path, TWO_TO_THREE, [0, 0, 0])
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"is damaged.*models fetch"):
        Network(path, digest, outputs=3, channels=2)


@pytest.mark.parametrize("content", [b"", b"no network at all" * 100])
def test_a_file_that_is_no_network_is_refused_though_its_checksum_is_right(
    content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "n.onnx"
    path.write_bytes(content)
    digest = engine.hashlib.sha256(content).hexdigest()
    with pytest.raises(InputError, match="cannot be read as an ONNX network"):
        Network(path, digest, outputs=3, channels=2)


def test_a_missing_file_is_refused_with_the_command_that_fetches_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing; fetch it again with: voxelome-tools models fetch"):
        Network(tmp_path / "n.onnx", "", outputs=3, channels=2)


def test_channels_that_do_not_match_the_entry_are_refused_with_both_numbers(tmp_path: Path) -> None:
    digest = save_convolution(tmp_path / "n.onnx", TWO_TO_THREE, [0, 0, 0])
    with pytest.raises(InputError, match="takes 2 channels, and its entry says 4"):
        Network(tmp_path / "n.onnx", digest, outputs=3, channels=4)
    with pytest.raises(InputError, match="gives 3 channels, and its entry says 5"):
        Network(tmp_path / "n.onnx", digest, outputs=5, channels=2)


def test_channels_that_show_only_when_it_runs_are_refused_then(tmp_path: Path) -> None:
    nodes = [helper.make_node("Concat", ["image", "image"], ["y"], axis=1)]
    open_ended = (1, "C", "X", "Y", "Z")
    digest = save_graph(tmp_path / "n.onnx", nodes, [], open_ended, (1, "K", "X", "Y", "Z"))
    network = Network(tmp_path / "n.onnx", digest, outputs=3, channels=2)
    with pytest.raises(InputError, match="gives 4 channels, and its entry says 3"):
        network(random_batch(2, 3, 3, 3))


def test_an_image_of_another_size_than_the_network_takes_is_refused(tmp_path: Path) -> None:
    digest = save_convolution(tmp_path / "n.onnx", TWO_TO_THREE, [0, 0, 0], (8, 8, 8))
    network = Network(tmp_path / "n.onnx", digest, outputs=3, channels=2)
    with pytest.raises(InputError, match="fails on an image of 1x2x9x8x8"):
        network(random_batch(2, 9, 8, 8))


def test_whole_numbers_as_input_are_refused(tmp_path: Path) -> None:
    nodes = [helper.make_node("Identity", ["image"], ["y"])]
    shape = (1, 2, 4, 4, 4)
    digest = save_graph(tmp_path / "n.onnx", nodes, [], shape, shape, TensorProto.INT64)
    with pytest.raises(InputError, match="int64"):
        Network(tmp_path / "n.onnx", digest, outputs=2, channels=2)


def test_members_of_an_ensemble_are_all_checked(tmp_path: Path) -> None:
    digests = {
        file: save_convolution(tmp_path / file, TWO_TO_THREE, [0, 0, bias], (8, 8, 8))
        for file, bias in (("a.onnx", 0), ("b.onnx", 1))
    }
    assert len(open_members(tmp_path, spec_of(), digests)) == 2
    with pytest.raises(InputError, match=r"b.onnx: the card has no checksum"):
        open_members(tmp_path, spec_of(), {"a.onnx": digests["a.onnx"]})
    with pytest.raises(InputError, match="takes images of 8x8x8, and its entry says 16x16x16"):
        open_members(tmp_path, spec_of(grid=GridSpec(patch=(16, 16, 16))), digests)
    with pytest.raises(InputError, match="names no network"):
        open_members(tmp_path, spec_of(members=()), {})


@pytest.mark.skipif(engine.CUDA in onnxruntime.get_available_providers(), reason="ONNX Runtime has CUDA here")
def test_without_a_gpu_auto_takes_the_cpu_and_cuda_is_refused(tmp_path: Path) -> None:
    digest = save_convolution(tmp_path / "n.onnx", TWO_TO_THREE, [0, 0, 0])
    network = Network(tmp_path / "n.onnx", digest, device="auto", outputs=3, channels=2)
    assert network.provider == CPU
    with pytest.raises(InputError, match="no GPU"):
        Network(tmp_path / "n.onnx", digest, device="cuda", outputs=3, channels=2)


@pytest.mark.skipif(
    engine.CUDA not in onnxruntime.get_available_providers(), reason="no ONNX Runtime with CUDA"
)
def test_a_gpu_gives_what_the_cpu_gives_and_the_same_bits_every_time(tmp_path: Path) -> None:
    weight = np.random.default_rng(1).normal(size=(6, 2, 3, 3, 3))
    digest = save_convolution(tmp_path / "n.onnx", weight, [0] * 6, softmax=True)
    batch = random_batch(2, 20, 21, 22)
    networks = [
        Network(tmp_path / "n.onnx", digest, device=device, outputs=6, channels=2)
        for device in ("cpu", "cuda", "auto")
    ]
    assert [network.provider for network in networks] == [CPU, engine.CUDA, engine.CUDA]
    wanted, found, again = (network(batch) for network in networks)
    # 32-bit arithmetic all the way: TF32 would be off by a thousandth.
    assert found == pytest.approx(wanted, abs=1e-5)
    assert found.tobytes() == again.tobytes()


def test_layers_count_while_they_are_needed(tmp_path: Path) -> None:
    """image (2) -> a (8) -> b (8) -> c (8) with a added: a, b and c are there at once."""
    names = ["image", "a", "b", "c"]
    constants = [
        onnx_tensor(f"w{index}", (8, 2 if index == 0 else 8, 1, 1, 1)) for index in range(len(names) - 1)
    ]
    nodes = [
        helper.make_node("Conv", [names[i], f"w{i}"], [names[i + 1]], kernel_shape=[1, 1, 1])
        for i in range(3)
    ]
    nodes.append(helper.make_node("Add", ["a", "c"], ["y"]))
    save_graph(tmp_path / "n.onnx", nodes, constants, (1, 2, "X", "Y", "Z"), (1, 8, "X", "Y", "Z"))
    volume = 4 * 10 * 11 * 12
    assert activation_memory(tmp_path / "n.onnx", (1, 2, 10, 11, 12)) == volume * (8 + 8 + 8)


def onnx_tensor(name: str, shape: tuple[int, ...]) -> TensorProto:
    values = np.ones(shape, np.float32)
    return helper.make_tensor(name, TensorProto.FLOAT, shape, values.ravel())


def test_a_network_of_more_memory_than_there_is_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "memory_free", lambda: 2_000_000_000)
    check_memory(1_900_000_000)
    with pytest.raises(DataError, match=r"needs about 3\.1 GB of memory, and 2\.0 GB are free"):
        check_memory(3_100_000_000)


def test_the_memory_needed_grows_with_classes_and_counts_the_accumulators() -> None:
    cube, patch = (256, 256, 256), (96, 96, 96)
    few = memory_needed(spec_of(grid=GridSpec(patch=patch)), cube, cube)
    many = memory_needed(
        spec_of(grid=GridSpec(patch=patch), labels={n: str(n) for n in range(1, 18)}), cube, cube
    )
    accumulators = 15 * 4 * 256**3
    assert accumulators <= many - few < 1.3 * accumulators
