"""TorchScript files as ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from voxelome.errors import InputError
from voxelome.segmentation.importers import torchscript

torch = pytest.importorskip("torch", reason="torch is not installed: networks cannot be imported")

PATCH = [6, 8, 10]
ENTRY: dict[str, Any] = {
    "name": "small",
    "task": "segmentation",
    "inputs": [{"contrast": "T1w"}, {"contrast": "FLAIR"}],
    "grid": {"patch": PATCH},
    "outputs": {"labels": {1: "lesion", 2: "core"}},
}


def network(seed: int, channels: int = 2, outputs: int = 3) -> Any:
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Conv3d(channels, 4, 3, padding=1),
        torch.nn.InstanceNorm3d(4, affine=True),
        torch.nn.PReLU(),
        torch.nn.Conv3d(4, outputs, 1),
    ).eval()


def save(made: Any, path: Path) -> Path:
    torch.jit.script(made).save(str(path))
    return path


def run(path: Path, image: Any) -> Any:
    return onnxruntime.InferenceSession(path.read_bytes()).run(None, {"image": image})[0]


def batch(size: int, channels: int = 2) -> Any:
    return np.random.default_rng(5).standard_normal((size, channels, *PATCH), dtype=np.float32)


def test_a_scripted_network_gives_what_torch_gives_for_batches_of_any_size(tmp_path: Path) -> None:
    made = network(1)
    found = torchscript.convert(save(made, tmp_path / "n.ts"), ENTRY, tmp_path)
    assert found == {"members": ["n.onnx"]}
    for size in (1, 3):
        image = batch(size)
        with torch.no_grad():
            expected = made(torch.from_numpy(image)).numpy()
        assert np.abs(run(tmp_path / "n.onnx", image) - expected).max() < 1e-5


def test_a_traced_classifier_gives_what_torch_gives(tmp_path: Path) -> None:
    torch.manual_seed(2)
    made = torch.nn.Sequential(
        torch.nn.Conv3d(1, 4, 3), torch.nn.AdaptiveAvgPool3d(1), torch.nn.Flatten(), torch.nn.Linear(4, 2)
    ).eval()
    torch.jit.trace(made, torch.zeros(1, 1, *PATCH)).save(str(tmp_path / "c.pt"))
    outputs = {"labels": {0: "no", 1: "blood"}}
    entry = {**ENTRY, "task": "classification", "inputs": [{"contrast": "ct"}], "outputs": outputs}
    torchscript.convert(tmp_path / "c.pt", entry, tmp_path)
    image = batch(2, 1)
    with torch.no_grad():
        expected = made(torch.from_numpy(image)).numpy()
    assert np.abs(run(tmp_path / "c.onnx", image) - expected).max() < 1e-5


def test_several_files_are_members_in_the_order_of_the_entry(tmp_path: Path) -> None:
    for seed, name in enumerate(("b.pt", "a.pt")):
        save(network(seed), tmp_path / name)
    found = torchscript.convert(tmp_path, {**ENTRY, "files": [{"path": "b.pt"}, {"path": "a.pt"}]}, tmp_path)
    assert found == {"members": ["b.onnx", "a.onnx"]}
    assert torchscript.convert(tmp_path, ENTRY, tmp_path) == {"members": ["a.onnx", "b.onnx"]}
    assert torchscript.convert(tmp_path, {**ENTRY, "members": ["b.pt"]}, tmp_path) == {"members": ["b.onnx"]}
    save(network(2), tmp_path / "a.ts")
    with pytest.raises(InputError, match=r"several files for the member a\.onnx"):
        torchscript.convert(tmp_path, ENTRY, tmp_path)


class Writer(torch.nn.Module):
    """A network that leaves a file behind when it runs."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.save(x, self.path)
        return x


class Loader(torch.nn.Module):
    """A network that leaves a file behind when it is loaded."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x

    @torch.jit.export
    def __getstate__(self) -> tuple[str, bool]:
        return self.path, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]) -> None:
        self.path = state[0]
        self.training = state[1]
        torch.save(torch.zeros(1), self.path)


@pytest.mark.parametrize("kind", [Writer, Loader])
def test_a_program_that_writes_a_file_is_refused_and_writes_none(tmp_path: Path, kind: Any) -> None:
    left = tmp_path / "left"
    path = save(kind(str(left)), tmp_path / "n.ts")
    with pytest.raises(InputError, match="uses save"):
        torchscript.convert(path, ENTRY, tmp_path)
    assert not left.exists()
    # That it would have done so without the check.
    torch.jit.load(path)(torch.zeros(1))
    assert left.exists()


@pytest.mark.parametrize(
    "line",
    [
        "t = torch\n  t.save(x, 'f')",
        "torch.from_file('f')",
        "torch.\\\n  save(x, 'f')",
        "ops.mine.run(x)",
        "o = ops",
        "ops.aten.save(x, 'f')",
    ],
)
def test_operators_that_touch_files_are_found_by_any_name(line: str) -> None:
    assert torchscript.FORBIDDEN.search(line)


@pytest.mark.parametrize(
    "line", ["self.ops.conv", "ops.prim.data(x)", "saved = 1", "self.from_filer", "drops"]
)
def test_names_that_look_like_these_are_left_alone(line: str) -> None:
    assert not torchscript.FORBIDDEN.search(line)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_file_cut_short_is_refused(tmp_path: Path, share: float) -> None:
    path = save(network(1), tmp_path / "n.ts")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=r"n\.ts"):
        torchscript.convert(path, ENTRY, tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"inputs": [{"contrast": "T1w"}]}, "fails on 1 channels of 6x8x10"),
        ({"outputs": {"labels": {1: "lesion"}}}, "gives 3x6x8x10.*says 2x6x8x10"),
        ({"grid": {}}, "give in its entry: grid: patch"),
        ({"task": "regression", "outputs": {"outcome": "age"}}, "gives 3x6x8x10.*says 1;"),
    ],
)
def test_an_entry_that_does_not_fit_the_network_is_refused(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    path = save(network(1), tmp_path / "n.ts")
    with pytest.raises(InputError, match=said):
        torchscript.convert(path, {**ENTRY, **changes}, tmp_path)
    assert not (tmp_path / "n.onnx").exists()


def test_weights_without_a_program_and_missing_files_are_refused(tmp_path: Path) -> None:
    torch.save(network(1).state_dict(), tmp_path / "w.pt")
    with pytest.raises(InputError, match="without a program"):
        torchscript.convert(tmp_path / "w.pt", ENTRY, tmp_path)
    with pytest.raises(InputError, match="no such file"):
        torchscript.convert(tmp_path, {**ENTRY, "files": [{"path": "x.pt"}]}, tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no file that ends in \.pt or"):
        torchscript.convert(tmp_path / "empty", ENTRY, tmp_path)
