"""deepbet without torch finds what deepbet with torch finds."""

import hashlib
import zipfile
from pathlib import Path

import numpy as np
import pytest

from voxelome.anat.checks import to_canonical
from voxelome.errors import DataError, InputError
from voxelome.imageio import load_json, load_volume
from voxelome.segmentation.deepbet import SOURCES, BrainExtractor, export_deepbet, resize_nearest
from voxelome.segmentation.torchscript import read_weights

REAL = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "bids-real"

# Brain volumes (ml) that deepbet 1.0.2 with torch 2.13.0 gives for these images.
PUBLISHED = {
    "sub-chris/anat/sub-chris_T1w.nii.gz": 1545.6,
    "sub-ms01/ses-01/anat/sub-ms01_ses-01_FLAIR.nii.gz": 1344.9,
    "sub-brain1/anat/sub-brain1_ce-gadolinium_T1w.nii.gz": 1705.2,
}


@pytest.fixture(scope="module")
def networks(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("deepbet")
    export_deepbet(folder)
    return folder


@pytest.mark.skipif(not REAL.is_dir(), reason="the shared real data are not here")
@pytest.mark.parametrize("name", PUBLISHED)
def test_the_brain_has_the_volume_that_the_original_program_finds(networks, name):
    volume = load_volume(REAL / name)
    data, affine = to_canonical(volume.data, volume.affine)
    mask = BrainExtractor(networks, threads=2)(data)
    found = mask.sum() * abs(np.linalg.det(affine[:3, :3])) / 1000
    assert found == pytest.approx(PUBLISHED[name], rel=0.001)


def test_the_export_gives_the_same_bytes_again(networks, tmp_path):
    export_deepbet(tmp_path)
    for name in SOURCES:
        assert (tmp_path / f"{name}.onnx").read_bytes() == (networks / f"{name}.onnx").read_bytes()


def test_the_card_holds_the_checksums_of_what_was_written(networks):
    for name, digest in load_json(networks / "card.json")["sha256"].items():
        assert hashlib.sha256((networks / name).read_bytes()).hexdigest() == digest


def test_an_image_that_is_nearly_constant_is_refused(networks):
    image = np.zeros((40, 40, 40))
    image[20, 20, 20] = 1
    with pytest.raises(DataError, match="constant"):
        BrainExtractor(networks)(image)


def test_missing_networks_are_an_input_error(tmp_path):
    with pytest.raises(InputError, match="models fetch deepbet"):
        BrainExtractor(tmp_path)


def test_a_weights_file_that_was_changed_is_refused(tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(b"something else")
    with pytest.raises(InputError, match="checksum"):
        read_weights(path, "0" * 64)


def test_a_weights_file_that_would_run_code_is_refused(tmp_path):
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/data.pkl", b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(Exception, match="not allowed"):
        read_weights(path, hashlib.sha256(path.read_bytes()).hexdigest())


def test_resizing_takes_the_nearest_voxel_by_the_centres():
    assert resize_nearest(np.arange(4.0).reshape(4, 1, 1), (8, 1, 1)).ravel().tolist() == [
        0,
        0,
        1,
        1,
        2,
        2,
        3,
        3,
    ]
    assert resize_nearest(np.arange(5.0).reshape(5, 1, 1), (2, 1, 1)).ravel().tolist() == [1, 3]
