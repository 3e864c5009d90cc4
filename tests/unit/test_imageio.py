"""Images and tables are read in one way, and written whole or not at all."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from voxelome.errors import InputError
from voxelome.imageio import load_json, load_volume, replacing, save_json, save_volume

AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])


def test_an_image_comes_back_with_its_affine_and_sidecar(tmp_path: Path):
    data = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    path = save_volume(tmp_path / "sub-1_T1w.nii.gz", data, AFFINE, {"Units": "a.u.", "N": np.int64(3)})
    volume = load_volume(path)
    assert np.array_equal(volume.data, data)
    assert np.allclose(volume.affine, AFFINE)
    assert volume.spacing == (2.0, 2.0, 3.0)
    assert json.loads((tmp_path / "sub-1_T1w.json").read_text()) == {"Units": "a.u.", "N": 3}


@pytest.mark.parametrize(
    "turn",
    [
        lambda data: data,
        np.asfortranarray,
        lambda data: data.transpose(2, 0, 1),
        lambda data: data[::-1, :, ::-1],
        lambda data: data[:, 3],
        lambda data: np.stack([data, -data], axis=-1),
    ],
)
def test_an_image_is_the_same_however_it_lies_in_memory(tmp_path: Path, turn: Callable):
    # Longer than the blocks that it is written in, and by no whole number of them.
    data = turn(np.arange(37 * 5 * 50, dtype=np.float32).reshape(37, 5, 50))
    path = save_volume(tmp_path / "a.nii.gz", data, AFFINE)
    assert np.array_equal(load_volume(path).data, data)
    twin = save_volume(tmp_path / "b.nii.gz", np.asfortranarray(data.copy()), AFFINE)
    assert path.read_bytes() == twin.read_bytes()


def test_the_scaling_of_the_header_is_applied_once(tmp_path: Path):
    image = nib.Nifti1Image(np.array([[[0, 100]]], dtype=np.int16), AFFINE)
    image.header.set_slope_inter(0.5, 1.0)
    nib.save(image, tmp_path / "a.nii.gz")
    volume = load_volume(tmp_path / "a.nii.gz")
    assert volume.data.ravel().tolist() == [0.5 * 0 + 1.0, 0.5 * 100 + 1.0]
    assert (volume.slope, volume.intercept) == (0.5, 1.0)


def test_labels_keep_their_type(tmp_path: Path):
    path = save_volume(tmp_path / "a.nii.gz", np.array([[[0, 4]]], dtype=np.int16), AFFINE)
    assert load_volume(path, dtype=None).data.dtype == np.int16


@pytest.mark.parametrize("keep", [10, 400, -20])
def test_a_truncated_image_is_an_input_error_that_names_it(tmp_path: Path, keep: int):
    whole = tmp_path / "whole.nii.gz"
    nib.save(nib.Nifti1Image(np.random.default_rng(0).normal(size=(20, 20, 20)), AFFINE), whole)
    short = tmp_path / "short.nii.gz"
    short.write_bytes(whole.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"short.nii.gz: cannot be read as an image"):
        load_volume(short)


def test_a_gzip_of_something_else_is_an_input_error(tmp_path: Path):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(b"not an image" * 100))
    with pytest.raises(InputError):
        load_volume(path)


def test_an_interrupted_write_leaves_neither_target_nor_rest(tmp_path: Path):
    def write_half():
        with replacing(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_write_keeps_the_old_file(tmp_path: Path):
    save_json(tmp_path / "a.json", {"a": 1})
    with pytest.raises(TypeError):
        save_json(tmp_path / "a.json", {"a": object()})
    assert load_json(tmp_path / "a.json") == {"a": 1}


def test_a_file_that_is_not_json_is_an_input_error_with_its_line(tmp_path: Path):
    (tmp_path / "a.json").write_text('{"a": 1,\n "b" 2}')
    with pytest.raises(InputError, match=r"a.json: is not JSON .*line 2"):
        load_json(tmp_path / "a.json")


def test_not_a_number_does_not_go_into_json(tmp_path: Path):
    with pytest.raises(ValueError, match="Out of range"):
        save_json(tmp_path / "a.json", {"a": float("nan")})


@pytest.mark.parametrize("size", [0, 16, 100, 348])
def test_a_file_that_holds_less_or_other_than_a_header_is_bad_input(tmp_path: Path, size: int):
    path = tmp_path / "image.nii.gz"
    path.write_bytes(gzip.compress(b"x" * size))
    with pytest.raises(InputError, match="cannot be read as an image"):
        load_volume(path)
