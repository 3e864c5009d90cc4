"""The gradient echo keeps its own grid, and with it the direction of the main field."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from voxelome.errors import InputError
from voxelome.imageio import load_json
from voxelome.interfaces import ReconstructQSM
from voxelome.step import StepRecord

SHAPE, SPACING, TIMES = (40, 40, 24), np.array([1.2, 1.2, 2.5]), (0.006, 0.012, 0.018)
TILT = Rotation.from_euler("xy", [25, -12], degrees=True).as_matrix()
AFFINE = np.eye(4)
AFFINE[:3, :3] = TILT @ np.diag(SPACING)
AFFINE[:3, 3] = [-20, 10, -30]


def acquisition(folder: Path, **header: Any) -> dict[str, Any]:
    """Write a sphere of 0.4 ppm in water, tilted and of anisotropic voxels, with its analytic field."""
    middle = AFFINE @ [*(np.array(SHAPE) - 1) / 2, 1]
    points = (
        np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1) @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    )
    away = points - middle[:3]
    distance = np.linalg.norm(away, axis=-1)
    radius, chi = 6.0, 0.4
    cosine = np.divide(away[..., 2], distance, out=np.zeros(SHAPE), where=distance > 0)
    outside = chi / 3 * (radius / np.maximum(distance, radius)) ** 3 * (3 * cosine**2 - 1)
    hertz = np.where(distance > radius, outside, 0) * 42.577 * 3
    body = distance < 21
    rng = np.random.default_rng(0)
    images: dict[str, list[str]] = {"magnitude": [], "phase": []}
    for number, time in enumerate(TIMES, 1):
        signal = body * np.exp(-20 * time) * np.exp(2j * np.pi * hertz * time)
        signal = signal + 0.01 * (rng.normal(size=SHAPE) + 1j * rng.normal(size=SHAPE))
        for kind, data in (("magnitude", np.abs(signal)), ("phase", np.angle(signal))):
            image = nib.Nifti1Image(data.astype(np.float32), AFFINE)
            image.set_sform(header.get("sform", AFFINE), code=1)
            image.set_qform(header.get("qform", AFFINE), code=1)
            path = folder / f"sub-01_echo-{number}_part-{kind}_MEGRE.nii.gz"
            nib.save(image, path)
            images[kind].append(str(path))
    return {**images, "inside": distance < radius - 1.5, "around": body & (distance > radius + 2)}


def reconstruct(folder: Path, images: dict[str, Any], **more: Any) -> StepRecord:
    registered = StepRecord("register", "sub-01").save(folder / "register.json")
    ReconstructQSM(
        unit="sub-01",
        record=str(folder / "qsm.json"),
        label="MEGRE",
        magnitude=images["magnitude"],
        phase=images["phase"],
        echo_times=list(TIMES),
        field_strength=3.0,
        phase_units="rad",
        registered=str(registered),
        out_dir=str(folder / "out"),
        **more,
    ).run()
    return StepRecord.load(folder / "qsm.json")


def test_an_oblique_acquisition_of_long_voxels_keeps_its_grid_and_the_direction_of_its_field(tmp_path):
    images = acquisition(tmp_path)
    record = reconstruct(tmp_path, images)
    path = record.path("map", suffix="Chimap")
    chi = nib.load(path)
    np.testing.assert_allclose(chi.affine, AFFINE, atol=1e-4)
    said = load_json(str(path).replace(".nii.gz", ".json"))["main field along the voxel axes"]
    np.testing.assert_allclose([float(part) for part in said.split(",")], TILT[2], atol=1e-3)
    # The map is right only if the dipole was turned as the head lay: along the third voxel axis it is not.
    values = chi.get_fdata()
    contrast = values[images["inside"]].mean() - values[images["around"]].mean()
    assert contrast == pytest.approx(0.4, rel=0.25)


def test_a_header_whose_affines_disagree_is_refused_and_the_setting_settles_it(tmp_path):
    images = acquisition(tmp_path, qform=np.diag([*SPACING, 1.0]))
    with pytest.raises(InputError, match="qform and sform put the same voxel"):
        reconstruct(tmp_path, images)
    record = reconstruct(tmp_path, images, affine="qform")
    assert record.parameters["main field along the voxel axes"] == "0.000, 0.000, 1.000"
