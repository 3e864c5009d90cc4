"""Brain extraction: the conversion of the networks, and the masks against those of the original program."""

from __future__ import annotations

import hashlib
import json
import pickle
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from tests.shared import REAL, needs_real_data
from voxelome.errors import DataError, InputError
from voxelome.imageio import load_volume
from voxelome.segmentation.deepbet import BrainExtractor, export_deepbet
from voxelome.segmentation.torchscript import read_weights

# Brain volumes in ml by deepbet 1.0.2 itself, run with torch.
ORIGINAL = {
    "sub-chris/anat/sub-chris_T1w": 1545.6,
    "sub-ms01/ses-01/anat/sub-ms01_ses-01_T1w": 1345.9,
    "sub-ms01/ses-01/anat/sub-ms01_ses-01_FLAIR": 1344.9,
    "sub-brain1/anat/sub-brain1_ce-gadolinium_T1w": 1705.2,
}


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "deepbet"
    export_deepbet(folder)
    return folder


@pytest.fixture(scope="module")
def extractor(networks: Path) -> BrainExtractor:
    return BrainExtractor(networks)


def to_ras(data: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The image with its axes in RAS+ order, by nibabel."""
    import nibabel as nib

    image = nib.as_closest_canonical(nib.Nifti1Image(data, affine))
    return np.asarray(image.dataobj), image.affine


@needs_real_data
@pytest.mark.parametrize("name", ORIGINAL)
def test_brain_volumes_are_those_of_the_original_program(name: str, extractor: BrainExtractor) -> None:
    path = REAL / f"{name}.nii.gz"
    volume = load_volume(path)
    data, affine = to_ras(volume.data, volume.affine)
    mask = extractor(data, affine)
    assert mask.shape == data.shape
    volume_ml = mask.sum() * abs(np.linalg.det(affine[:3, :3])) / 1000
    assert volume_ml == pytest.approx(ORIGINAL[name], rel=0.001)


def test_the_conversion_gives_the_same_bytes_twice(networks: Path, tmp_path: Path) -> None:
    export_deepbet(tmp_path)
    files = sorted(path.name for path in networks.iterdir())
    assert files == ["bbox.onnx", "card.json", "model.onnx"]
    assert all((tmp_path / file).read_bytes() == (networks / file).read_bytes() for file in files)


def test_the_card_names_the_source_and_the_checksums(networks: Path) -> None:
    card = json.loads((networks / "card.json").read_text())
    assert card["source"] | {"url": ""} == {"package": "deepbet", "version": "1.0.2", "url": ""}
    assert card["licence"] == "MIT"
    contents = {file: (networks / file).read_bytes() for file in ("bbox.onnx", "model.onnx")}
    assert card["sha256"] == {file: hashlib.sha256(content).hexdigest() for file, content in contents.items()}


def test_weights_that_are_not_those_of_the_release_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    spec = importlib.util.find_spec("deepbet")
    assert spec is not None
    assert spec.origin is not None
    installed = Path(spec.origin).parents[1] / "data" / "models"
    copy = tmp_path / "data" / "models"
    copy.mkdir(parents=True)
    (tmp_path / "deepbet").mkdir()
    (tmp_path / "deepbet" / "__init__.py").touch()
    for name in ("model.pt", "bbox_model.pt"):
        content = bytearray((installed / name).read_bytes())
        content[len(content) // 2] ^= 1
        (copy / name).write_bytes(content)
    monkeypatch.delitem(sys.modules, "deepbet", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match="is not the file of deepbet"):
        export_deepbet(tmp_path / "out")
    assert not (tmp_path / "out" / "card.json").exists()


def test_a_damaged_network_is_refused(networks: Path, tmp_path: Path) -> None:
    for file in networks.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    with (tmp_path / "model.onnx").open("r+b") as stream:
        stream.seek(1_000_000)
        stream.write(b"\0\1\2\3")
    with pytest.raises(InputError, match="damaged"):
        BrainExtractor(tmp_path)


class Call:
    """Pickles as a call of print."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("this must not be run",)


def test_weights_that_call_a_function_are_refused_without_running_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "evil.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("evil/data.pkl", pickle.dumps(Call(), protocol=2))
    with pytest.raises(InputError, match="print"):
        read_weights(path)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("content", [b"", b"PK", pickle.dumps({"weight": 1}, protocol=2)])
def test_a_file_that_holds_no_network_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    if content.startswith(b"\x80"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("weights/data.pkl", content)
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as TorchScript"):
        read_weights(path)


@pytest.mark.parametrize("value", [0.0, 7.0, np.nan])
def test_an_image_without_contrast_is_refused(value: float, extractor: BrainExtractor) -> None:
    with pytest.raises(DataError, match="no contrast"):
        extractor(np.full((60, 70, 50), value, np.float32), np.eye(4))


def test_an_image_that_is_not_in_ras_order_is_refused(extractor: BrainExtractor) -> None:
    with pytest.raises(DataError, match="LPS"):
        extractor(np.ones((60, 70, 50), np.float32), np.diag([-1.0, -1.0, 1.0, 1.0]))


def test_the_probabilities_are_those_of_torch_in_double_precision(networks: Path) -> None:
    """Voxels at the edge of a head of waves, where rounding in the normalisation layers shows most."""
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, 128)] * 3, indexing="ij")
    radius = np.sqrt((x / 0.75) ** 2 + (y / 0.9) ** 2 + (z / 0.8) ** 2)
    brain = np.where(radius < 0.85, 0.5 + 0.25 * np.cos(9 * x) * np.cos(7 * y) * np.cos(8 * z), 0)
    image = brain + ((radius < 1) & (radius > 0.92))
    image = 0.226 * (image - image.mean()) / image.std(ddof=1) + 0.449
    session = onnxruntime.InferenceSession(networks / "bbox.onnx", providers=["CPUExecutionProvider"])
    found = session.run(None, {"image": image[np.newaxis, np.newaxis].astype(np.float32)})[0][0, 0]
    # bbox_model.pt of deepbet 1.0.2 on this image, in double precision, by torch 2.13.0.
    truth = {(34, 87, 42): 0.62601, (31, 41, 80): 0.50885, (23, 71, 66): 0.42943, (76, 73, 104): 0.54361}
    assert [found[voxel] for voxel in truth] == pytest.approx(list(truth.values()), abs=5e-5)
    assert found.mean(dtype=np.float64) == pytest.approx(0.1730592, abs=2e-7)
