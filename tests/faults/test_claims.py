"""A file that claims an absurd size is refused before memory is taken for it."""

import gzip
import json
import tracemalloc
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from voxelome import claims
from voxelome.errors import InputError
from voxelome.imageio import load_json, load_volume
from voxelome.modelling.artifact import load_model

SMALL = 8 * 2**20


def header(shape: tuple[int, ...], kind: type[nib.Nifti1Header] = nib.Nifti1Header) -> bytes:
    made = kind()
    made.set_data_dtype(np.int16)
    made["dim"] = [len(shape), *shape, *[1] * (7 - len(shape))]
    made["vox_offset"] = 352 if kind is nib.Nifti1Header else 544
    made["magic"] = b"n+1" if kind is nib.Nifti1Header else made["magic"]
    return made.binaryblock + b"\0" * 4


def refuse(path: Path, says: str) -> None:
    """Reading is refused, in these words, and takes next to no memory."""
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=says):
            load_volume(path)
        assert tracemalloc.get_traced_memory()[1] < SMALL
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("kind", [nib.Nifti1Header, nib.Nifti2Header])
@pytest.mark.parametrize("shape", [(30000, 30000, 30000), (32767,) * 7, (100, 100, 100)])
def test_a_header_that_claims_more_voxels_than_the_file_can_hold_is_refused(tmp_path, name, kind, shape):
    path = tmp_path / name
    content = header(shape, kind) + b"\0" * 100
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    refuse(path, "cannot be read as an image .its header claims .* x .* voxels of 2 bytes, and the file has")


def test_a_bomb_that_does_hold_what_it_claims_is_refused_where_memory_does_not_suffice(tmp_path, monkeypatch):
    path = tmp_path / "a.nii.gz"
    with gzip.open(path, "wb") as stream:
        stream.write(header((400, 400, 200)))
        for _ in range(64):
            stream.write(bytes(10**6))
    assert path.stat().st_size < 10**5
    monkeypatch.setattr(claims, "memory_free", lambda: 300 * 10**6)
    refuse(path, r"400 x 400 x 200 voxels, which needs about 0\.3 GB, and 0\.3 GB are free")


def test_an_extension_that_claims_more_than_the_file_can_hold_is_refused(tmp_path):
    made = nib.Nifti1Header()
    made["dim"] = [3, 2, 2, 2, 1, 1, 1, 1]
    made["vox_offset"], made["magic"] = 2**31, b"n+1"
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(made.binaryblock + b"\1\0\0\0" + (2**31 - 352).to_bytes(4, "little") * 2))
    refuse(path, "header claims")


@pytest.mark.parametrize("offset", [float("nan"), float("inf"), -1e30])
def test_an_offset_that_is_no_number_is_an_input_error(tmp_path, offset):
    made = nib.Nifti1Header()
    made["dim"] = [3, 2, 2, 2, 1, 1, 1, 1]
    made["vox_offset"], made["magic"] = offset, b"n+1"
    (tmp_path / "a.nii").write_bytes(made.binaryblock + b"\0" * 4)
    with pytest.raises(InputError, match="cannot be read as an image"):
        load_volume(tmp_path / "a.nii")


def test_images_of_either_order_of_bytes_and_either_version_are_read(tmp_path):
    data = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    for number, header_ in enumerate((nib.Nifti1Header(endianness=">"), nib.Nifti2Header())):
        image = type(nib.Nifti1Image(data, np.eye(4)))
        kind = nib.Nifti2Image if isinstance(header_, nib.Nifti2Header) else image
        nib.save(kind(data, np.eye(4), header_), tmp_path / f"{number}.nii.gz")
        assert np.array_equal(load_volume(tmp_path / f"{number}.nii.gz").data, data)


def test_zeros_that_compress_as_well_as_anything_are_read(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((200, 200, 100), np.int16), np.eye(4)), tmp_path / "a.nii.gz")
    assert not load_volume(tmp_path / "a.nii.gz").data.any()


def test_a_header_with_any_wrong_byte_gives_an_image_or_an_input_error(tmp_path):
    drawn = np.random.default_rng(0)
    nib.save(nib.Nifti1Image(np.ones((4, 5, 6), np.int16), np.eye(4)), tmp_path / "whole.nii")
    whole = np.frombuffer((tmp_path / "whole.nii").read_bytes(), np.uint8)
    refused = 0
    for number in range(400):
        broken = whole.copy()
        # Half of the bytes among the first 120: sizes, types and offsets lie there.
        place = drawn.integers(120 if number % 2 else 352, size=2)
        broken[place] = drawn.integers(256, size=2)
        (tmp_path / "broken.nii").write_bytes(broken.tobytes())
        try:
            load_volume(tmp_path / "broken.nii")
        except InputError:
            refused += 1
    assert 20 < refused < 380


def bomb(path: Path) -> Path:
    """A zip whose one part, of zeros, would be 64 MB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("schema.json", bytes(64 * 10**6))
    return path


def test_an_archive_that_claims_more_than_fits_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "memory_free", lambda: 10**7)
    with pytest.raises(InputError, match=r"is an archive that needs about 0\.1 GB"):
        load_model(bomb(tmp_path / "model.skops"))


def test_an_archive_that_claims_more_than_it_can_hold_is_refused(tmp_path):
    path = bomb(tmp_path / "model.skops")
    content = path.read_bytes()
    # Both places that say the size of the part.
    path.write_bytes(content.replace((64 * 10**6).to_bytes(4, "little"), (2**31).to_bytes(4, "little")))
    with pytest.raises(InputError, match=r"claims to hold 2\.1 GB, which"):
        load_model(path)


def test_a_json_file_that_is_too_large_or_too_deep_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    path.write_text("[" * 200_000)
    with pytest.raises(InputError, match="nested too deeply"):
        load_json(path)
    monkeypatch.setattr(claims, "MOST_JSON", 1000)
    path.write_text(json.dumps({"a": "b" * 2000}))
    with pytest.raises(InputError, match="no file of metadata"):
        load_json(path)
