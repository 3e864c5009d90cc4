"""The gradient echo keeps its own grid, and with it the direction of the main field."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from voxelome.errors import InputError
from voxelome.imageio import load_json
from voxelome.interfaces import ReconstructQSM
from voxelome.interfaces.pictures import figures_of
from voxelome.qsm.fieldmap import ECHO_FIT, UNWRAPPING
from voxelome.qsm.susceptibility import BACKGROUND, INVERSION
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
    return {
        **images,
        "hertz": hertz,
        "inside": distance < radius - 1.5,
        "around": body & (distance > radius + 2),
    }


def reconstruct(folder: Path, images: dict[str, Any], **more: Any) -> StepRecord:
    registered = StepRecord("register", "sub-01").save(folder / "register.json")
    inputs = {
        "magnitude": images["magnitude"],
        "phase": images["phase"],
        "echo_times": list(TIMES),
        "field_strength": 3.0,
        "phase_units": "rad",
        "registered": str(registered),
    }
    ReconstructQSM(
        unit="sub-01",
        record=str(folder / "qsm.json"),
        label="MEGRE",
        out_dir=str(folder / "out"),
        **(inputs | more),
    ).run()
    return StepRecord.load(folder / "qsm.json")


def change(path: str, edit: Callable[[np.ndarray], np.ndarray], shift: float = 0.0) -> None:
    """Rewrite an image with other values, moved along x."""
    image = nib.load(path)
    affine = image.affine.copy()
    affine[0, 3] += shift
    nib.save(nib.Nifti1Image(edit(image.get_fdata(dtype=np.float32)), affine), path)


def complex_parts(images: dict[str, Any]) -> dict[str, list[str]]:
    """Write real and imaginary images of the same echoes."""
    parts: dict[str, list[str]] = {"real": [], "imaginary": []}
    for magnitude, phase in zip(images["magnitude"], images["phase"], strict=True):
        image = nib.load(magnitude)
        signal = image.get_fdata() * np.exp(1j * nib.load(phase).get_fdata())
        for name, key, data in (("real", "real", signal.real), ("imaginary", "imag", signal.imag)):
            path = magnitude.replace("part-magnitude", f"part-{key}")
            nib.save(nib.Nifti1Image(data.astype(np.float32), image.affine), path)
            parts[name].append(path)
    return parts


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


def test_the_sidecar_says_how_the_map_was_made_and_the_error_is_no_map_to_take_features_of(tmp_path):
    images = acquisition(tmp_path)
    record = reconstruct(tmp_path, images, background="vsharp", inversion="tkd", reference="none")
    said = load_json(tmp_path / "out" / "sub-01_Chimap.json")
    assert said["background removal"] == "V-SHARP"
    assert said["dipole inversion"] == "thresholded k-space division (TKD)"
    assert said["reference"] == "none"
    assert said["MagneticFieldStrength"] == 3
    assert said["EchoTime"] == list(TIMES)
    assert {"phase", "phase unwrapping", "echo combination", "mask"} <= said.keys()
    path = record.path("error", suffix="Chimap")
    assert path is not None
    assert path.name == "sub-01_desc-standarderror_Chimap.nii.gz"
    assert all("error" not in item["path"] for item in record.find("map"))
    sidecar = load_json(str(path).replace(".nii.gz", ".json"))
    assert sidecar["Units"] == "ppm"
    assert "Standard error" in sidecar["Description"]
    inside = nib.load(record.path("mask", name="qsm")).get_fdata() > 0
    assert (nib.load(path).get_fdata()[inside] > 0).all()


def test_the_fields_their_error_and_what_they_leave_unexplained_are_kept_and_are_no_maps_either(tmp_path):
    images = acquisition(tmp_path)
    record = reconstruct(tmp_path, images, background="vsharp", inversion="tkd")
    found, units = {}, {}
    for item in record.find("field", suffix="fieldmap"):
        found[item["desc"]] = nib.load(item["path"]).get_fdata()
        units[item["desc"]] = load_json(item["path"].replace(".nii.gz", ".json"))["Units"]
    assert units == {
        "frequency": "Hz",
        "ppm": "ppm",
        "local": "ppm",
        "standarderror": "Hz",
        "residual": "rad",
    }
    assert "fieldmap" not in {item["suffix"] for item in record.find("map")}
    error = (found["frequency"] - images["hertz"])[images["around"]]
    # The phase offset takes a constant and a trace of the field with it.
    error -= np.median(error)
    assert np.median(np.abs(error)) < 0.2
    # 42.577 MHz a tesla.
    assert found["ppm"] * 42.577 * 3 == pytest.approx(found["frequency"], rel=1e-4, abs=1e-4)
    # No source is outside the mask: removal of the background has little to take.
    kept = images["around"] & (found["local"] != 0)
    assert np.corrcoef(found["local"][kept], images["hertz"][kept])[0, 1] > 0.9
    # The shim, a constant, is gone; it is in the total field.
    assert not np.allclose(found["local"][kept], found["ppm"][kept], atol=1e-4)
    scatter = 0.01 / 2 / np.pi / np.sqrt(sum((np.exp(-20 * time) * time) ** 2 for time in TIMES))
    assert np.median(found["standarderror"][images["around"]]) == pytest.approx(scatter, rel=0.1)
    assert 0.002 < np.median(found["residual"][images["around"]]) < 0.02


def test_arlo_is_named_in_the_sidecar_and_refuses_uneven_echoes_by_the_file(tmp_path):
    images = acquisition(tmp_path)
    record = reconstruct(tmp_path, images, phase=[], relaxometry="arlo")
    path = record.path("map", suffix="R2starmap")
    assert "(ARLO)" in load_json(str(path).replace(".nii.gz", ".json"))["R2* fit"]
    assert np.median(nib.load(path).get_fdata()[images["around"]]) == pytest.approx(20, rel=0.02)
    for phase in ([], images["phase"]):
        with pytest.raises(InputError, match=r"echo-1_part-mag.*evenly spaced echoes.*relaxometry: linear"):
            reconstruct(tmp_path, images, phase=phase, echo_times=[0.006, 0.012, 0.02], relaxometry="arlo")


@pytest.mark.parametrize("units", ["rad", ""])
def test_phase_of_the_opposite_sign_gives_the_same_maps_once_the_setting_says_so(tmp_path, units):
    images, maps = acquisition(tmp_path), []
    for sign in ("positive", "negative"):
        record = reconstruct(tmp_path, images, phase_sign=sign, phase_units=units)
        maps.append({item["suffix"]: nib.load(item["path"]).get_fdata() for item in record.find("map")})
        assert (
            f"sign was {'turned' if sign == 'negative' else 'kept'}, as the settings say"
            in (record.parameters["phase"])
        )
        for path in images["phase"]:
            change(path, np.negative)
    assert {"Chimap", "swi", "R2starmap"} <= set(maps[0])
    for suffix, values in maps[0].items():
        np.testing.assert_allclose(maps[1][suffix], values, atol=1e-3 * np.abs(values).max(), err_msg=suffix)


@pytest.mark.parametrize(
    ("maker", "stored", "says"),
    [
        ("SIEMENS", 1, "sign was kept, as scanners of SIEMENS store it"),
        ("GE MEDICAL SYSTEMS", -1, "sign was turned, as scanners of GE MEDICAL SYSTEMS store it"),
        ("", 1, "taken as positive: the sidecars name no manufacturer, whose habit"),
        ("Esaote", 1, "taken as positive: the sidecars name manufacturer Esaote, whose habit"),
    ],
)
def test_phase_is_read_as_the_manufacturer_stores_it(tmp_path, maker, stored, says):
    images = acquisition(tmp_path)
    for path in images["phase"]:
        change(path, lambda phase: stored * phase)
    record = reconstruct(tmp_path, images, manufacturer=maker)
    assert says in record.parameters["phase"]
    chi = nib.load(record.path("map", suffix="Chimap")).get_fdata()
    assert chi[images["inside"]].mean() - chi[images["around"]].mean() > 0.15


# Between echoes it cancels; one echo has nothing to cancel it with.
@pytest.mark.parametrize("echoes", [1, 3])
def test_every_other_slice_half_a_turn_off_changes_no_map(tmp_path, echoes):
    images, maps = acquisition(tmp_path), []
    used = {part: images[part][:echoes] for part in ("magnitude", "phase")}
    for times in range(2):
        record = reconstruct(tmp_path, images, **used, echo_times=list(TIMES[:echoes]))
        maps.append({item["suffix"]: nib.load(item["path"]).get_fdata() for item in record.find("map")})
        assert ("Every other slice along k" in record.parameters["phase"]) == (times == 1)
        for path in images["phase"]:
            change(path, alternate)
    for suffix, values in maps[0].items():
        np.testing.assert_allclose(maps[1][suffix], values, atol=2e-3 * np.abs(values).max(), err_msg=suffix)


def alternate(phase: np.ndarray) -> np.ndarray:
    """Phase with its odd slices half a turn off."""
    return np.angle(np.exp(1j * phase) * (-1) ** np.arange(phase.shape[-1]))


def test_each_setting_that_is_offered_gives_a_map(tmp_path):
    images = acquisition(tmp_path)
    for setting in (
        *({"background": name} for name in BACKGROUND),
        *({"inversion": name} for name in INVERSION),
        *({"unwrapping": name} for name in UNWRAPPING),
        *({"field_fit": name} for name in ECHO_FIT),
    ):
        chi = nib.load(reconstruct(tmp_path, images, **setting).path("map", suffix="Chimap")).get_fdata()
        contrast = chi[images["inside"]].mean() - chi[images["around"]].mean()
        assert 0.15 < contrast < 0.5, setting


def test_the_regularisation_that_was_chosen_is_in_the_record(tmp_path):
    record = reconstruct(tmp_path, acquisition(tmp_path))
    assert "chosen from" in record.parameters["regularisation"]
    assert record.parameters["reference"] == "mean over the mask"


@pytest.mark.parametrize(
    ("inversion", "given", "says"), [("tkd", 0.7, "above all values"), ("ndi", 1e-6, "500000 steps of ndi")]
)
def test_a_regularisation_that_could_not_work_is_refused(tmp_path, inversion, given, says):
    with pytest.raises(InputError, match=says):
        reconstruct(tmp_path, acquisition(tmp_path), inversion=inversion, regularisation=given)


def test_separated_sources_are_maps_of_their_own_and_add_up(tmp_path):
    record = reconstruct(tmp_path, acquisition(tmp_path), separation=True)
    paths = {item["image"]: item["path"] for item in record.find("map") if "Chimap" in item["image"]}
    parts = [f"desc-{kind}_Chimap" for kind in ("paramagnetic", "diamagnetic")]
    assert set(paths) == {"Chimap", *parts}
    assert paths[parts[0]].endswith("sub-01_desc-paramagnetic_Chimap.nii.gz")
    total, plus, minus = (nib.load(paths[name]).get_fdata() for name in ("Chimap", *parts))
    np.testing.assert_allclose(plus + minus, total, atol=1e-5)
    assert plus.min() == minus.max() == 0
    said = load_json(tmp_path / "out" / "sub-01_desc-diamagnetic_Chimap.json")
    assert said["Units"] == "ppm"
    assert "diamagnetic" in said["Description"]
    assert said["source separation"].startswith("R2*-QSM")
    titles = [figure.title for figure in figures_of({"qsm": [record]})]
    assert {f"{kind} susceptibility (MEGRE)" for kind in ("Paramagnetic", "Diamagnetic")} <= set(titles)
    assert titles.count("Uncertainty of the susceptibility (MEGRE)") == 1


def test_two_echoes_are_not_separated_and_that_is_said(tmp_path):
    images = {
        name: paths[:2] for name, paths in acquisition(tmp_path).items() if name in ("magnitude", "phase")
    }
    record = reconstruct(tmp_path, images, echo_times=list(TIMES[:2]), separation=True)
    # The phantom has no fluid, either.
    assert record.skipped == [
        {"what": "correction of the map's shading", "why": "no fluid was found"},
        {"what": "separation of sources", "why": "it needs 3 echoes or more and there are 2"},
    ]


def test_the_second_pass_is_in_the_record(tmp_path):
    record = reconstruct(tmp_path, acquisition(tmp_path), two_pass=True)
    assert "of the mask without reliable phase" in record.parameters["second pass"]


def test_real_and_imaginary_images_give_the_maps_of_their_magnitude_and_phase(tmp_path):
    images = acquisition(tmp_path)
    maps = []
    for inputs in ({}, {"magnitude": [], "phase": [], **complex_parts(images)}):
        record = reconstruct(tmp_path, images, **inputs)
        maps.append([nib.load(item["path"]).get_fdata() for item in record.find("map")])
    for expected, found in zip(*maps, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-3)
    assert "part-imag" in str(load_json(tmp_path / "out" / "sub-01_Chimap.json")["Sources"])


def test_the_phase_of_real_and_imaginary_images_completes_a_magnitude(tmp_path):
    images = acquisition(tmp_path)
    record = reconstruct(tmp_path, images, phase=[], **complex_parts(images))
    assert record.path("map", suffix="Chimap") is not None


@pytest.mark.parametrize(("kept", "missing"), [("real", "imag"), ("imaginary", "real")])
def test_real_without_imaginary_images_is_refused_and_so_is_the_reverse(tmp_path, kept, missing):
    images = acquisition(tmp_path)
    parts = {kept: complex_parts(images)[kept]}
    with pytest.raises(InputError, match=f"without a part-{missing} image; add part-{missing} images"):
        reconstruct(tmp_path, images, magnitude=[], phase=[], **parts)


def test_real_images_of_unsigned_numbers_are_refused(tmp_path):
    images = acquisition(tmp_path)
    parts = complex_parts(images)
    for path in parts["real"]:
        change(path, lambda data: data + 10)
    with pytest.raises(InputError, match=r"part-real.*real part holds no negative value"):
        reconstruct(tmp_path, images, magnitude=[], phase=[], **parts)


def test_without_phase_r2star_is_done_and_the_rest_is_said_to_be_skipped(tmp_path):
    record = reconstruct(tmp_path, acquisition(tmp_path), phase=[], field_strength=0.0)
    assert {item["suffix"] for item in record.find("map")} == {"R2starmap", "T2starmap", "S0map"}
    assert record.skipped == [{"what": "SWI and susceptibility", "why": "there is no phase image"}]


def test_one_echo_works_and_what_it_cannot_give_is_said(tmp_path):
    images = {
        name: paths[-1:] for name, paths in acquisition(tmp_path).items() if name in ("magnitude", "phase")
    }
    record = reconstruct(tmp_path, images, echo_times=[TIMES[-1]])
    assert {item["suffix"] for item in record.find("map")} == {"Chimap", "swi", "minIP"}
    assert [item["what"] for item in record.skipped] == [
        "R2*",
        "correction of the phase offset",
        "correction of the map's shading",
    ]
    assert record.parameters["echo combination"] == "none: there is one echo"


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ({"magnitude": []}, "echo-1_part-phase.*phase has no magnitude image; add part-mag"),
        ({"magnitude": [], "phase": []}, "has no image"),
        ({"echo_times": [0.006, 0.0, 0.018]}, "echo-2_part-magnitude.*no EchoTime; add EchoTime"),
        ({"phase_times": [0.006, 0.012, 0.0]}, "echo-3_part-phase.*no EchoTime; add EchoTime"),
        (
            {"phase_times": [0.006, 0.012, 0.019]},
            "echo-3_part-phase.* 0.019 s, and .*echo-3_part-mag.* 0.018 s",
        ),
        (
            {"echo_times": [0.006, 0.012, 0.012]},
            "echo-3_part-mag.*same EchoTime, 0.012 s, as .*echo-2_part-mag",
        ),
        ({"field_strength": 0.0}, "part-mag.*no MagneticFieldStrength; add MagneticFieldStrength"),
        (
            {"phase_difference": True},
            "echo-1_part-phase.*EchoTime1 and EchoTime2.*phase of each echo is needed",
        ),
    ],
)
def test_an_acquisition_that_lacks_something_is_refused_with_the_file_and_what_to_do(tmp_path, inputs, says):
    with pytest.raises(InputError, match=says):
        reconstruct(tmp_path, acquisition(tmp_path), **inputs)


def test_one_phase_image_for_several_magnitudes_is_taken_for_a_difference_and_refused(tmp_path):
    images = acquisition(tmp_path)
    with pytest.raises(InputError, match=r"part-phase.*one phase image for 3 magnitude.*phase of each echo"):
        reconstruct(tmp_path, images, phase=images["phase"][:1])


def test_a_phase_image_that_is_missing_is_said(tmp_path):
    images = acquisition(tmp_path)
    with pytest.raises(InputError, match=r"part-phase.*one of 2 images for 3 images of the magnitude"):
        reconstruct(tmp_path, images, phase=images["phase"][:2])


@pytest.mark.parametrize("name", ["magnitude", "phase"])
def test_an_echo_on_another_grid_is_refused_by_name(tmp_path, name):
    images = acquisition(tmp_path)
    change(images[name][1], lambda data: data[:, :, 1:])
    with pytest.raises(InputError, match=rf"echo-2_part-{name}.*\(40, 40, 23\).*\(40, 40, 24\)"):
        reconstruct(tmp_path, images)
    images = acquisition(tmp_path)
    change(images[name][1], lambda data: data, shift=3.0)
    with pytest.raises(InputError, match=rf"echo-2_part-{name}.*up to 3.0 mm"):
        reconstruct(tmp_path, images)


def test_phase_that_was_unwrapped_is_refused(tmp_path):
    images = acquisition(tmp_path)
    for path in images["phase"]:
        change(path, lambda data: data * 3.7)
    with pytest.raises(InputError, match=r"part-phase.*already unwrapped"):
        reconstruct(tmp_path, images)
    with pytest.raises(
        InputError, match=r"part-phase.*range .* is none that is known.*the wrapped phase again"
    ):
        reconstruct(tmp_path, images, phase_units="")


@pytest.mark.parametrize(
    ("size", "thickness", "says"),
    [
        (4, 4, "its mask has 64 voxels, and the maps need"),
        (30, 2, "its mask is nowhere 3 voxels thick"),
    ],
)
def test_a_mask_too_small_or_too_thin_is_refused(tmp_path, size, thickness, says):
    images = acquisition(tmp_path)
    mask = np.zeros(SHAPE, np.uint8)
    mask[5 : 5 + size, 5 : 5 + size, 10 : 10 + thickness] = 1
    nib.save(nib.Nifti1Image(mask, AFFINE), tmp_path / "mask.nii.gz")
    registered = StepRecord("register", "sub-01")
    registered.add(tmp_path / "mask.nii.gz", "mask", space="MEGRE", name="brain")
    path = str(registered.save(tmp_path / "given.json"))
    with pytest.raises(InputError, match=says):
        reconstruct(tmp_path, images, registered=path)


def test_a_mask_smaller_than_the_largest_sphere_is_mapped_by_smaller_ones_and_without_any_refused(tmp_path):
    images = acquisition(tmp_path)

    def inside(slices: int) -> str:
        """Record of a visit whose brain mask is 24 x 24 mm, and slices of 2.5 mm high."""
        mask = np.zeros(SHAPE, np.uint8)
        mask[10:30, 10:30, 10 : 10 + slices] = 1
        nib.save(nib.Nifti1Image(mask, AFFINE), tmp_path / "mask.nii.gz")
        registered = StepRecord("register", "sub-01")
        registered.add(tmp_path / "mask.nii.gz", "mask", space="MEGRE", name="brain")
        return str(registered.save(tmp_path / "given.json"))

    record = reconstruct(tmp_path, images, registered=inside(6), background="vsharp")
    kept = nib.load(record.path("mask", name="qsm")).get_fdata() > 0
    assert 0 < kept.sum() < 0.5 * 20 * 20 * 6
    assert any("Background removal kept only" in text for text in record.warnings)
    for name in ("vsharp", "resharp"):
        with pytest.raises(InputError, match=rf"part-mag.*no inside that {name} could use.*choose pdf"):
            reconstruct(tmp_path, images, registered=inside(4), background=name)


@pytest.mark.parametrize("name", ["magnitude", "phase"])
def test_a_slice_that_was_lost_is_refused_by_its_file_and_number(tmp_path, name):
    def lose(data: np.ndarray) -> np.ndarray:
        data[:, :, 11] = 0
        return data

    images = acquisition(tmp_path)
    change(images[name][1], lose)
    with pytest.raises(InputError, match=f"echo-2_part-{name}.*no {name} in slice 11 .* of the third axis"):
        reconstruct(tmp_path, images)


def test_phase_that_was_masked_before_is_warned_of(tmp_path):
    def cut(data: np.ndarray) -> np.ndarray:
        data[15:20, 15:20] = 0
        return data

    images = acquisition(tmp_path)
    for path in images["phase"]:
        change(path, cut)
    record = reconstruct(tmp_path, images)
    assert any("echo 1, 2, 3 is exactly 0 or pi in" in text for text in record.warnings)
