"""The simulated cohort: its physics against analysis, its files against its own truth."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from voxelome.bids.names import contrast_label
from voxelome.errors import DataError, InputError
from voxelome.imageio import load_json, load_volume
from voxelome.phantom.cohort import make_cohort
from voxelome.phantom.deform import centred_grid, random_motion, random_warp, rigid_matrix
from voxelome.phantom.gradient_echo import MagneticHead, coarsen, complex_signal, dipole_field, refine
from voxelome.phantom.lesion import make_tumour
from voxelome.phantom.person import make_person, survival

SPACING = 4.0
LONG_NAMES = {"sub": "subject", "ce": "ceagent", "echo": "echo", "part": "part"}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two participants on a coarse grid."""
    folder = tmp_path_factory.mktemp("cohort") / "bids"
    make_cohort(folder, participants=2, spacing=SPACING)
    return folder


def anat(cohort: Path, label: str, derivative: str = "") -> Path:
    """Folder of a participant's images."""
    root = cohort / "derivatives" / derivative if derivative else cohort
    return root / f"sub-{label}" / "anat"


def test_the_field_of_a_sphere_is_that_of_a_dipole_outside_and_zero_inside():
    """chi/3 (a/r)^3 (3 cos^2 - 1) outside, 0 inside (Lorentz-corrected), far from the copies."""
    count, radius = 128, 12.0
    axis = np.arange(count) - (count - 1) / 2
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    r = np.sqrt(x**2 + y**2 + z**2)
    chi = np.clip(0.5 - (r - radius), 0, 1).astype(np.float32)
    field = dipole_field(chi, (1.0, 1.0, 1.0))
    expected = np.where(r < radius, 0.0, (radius / np.maximum(r, 1)) ** 3 * (3 * (z / r) ** 2 - 1) / 3)
    apart = (np.abs(r - radius) > 2) & (r < 32)
    error = field[apart] - expected[apart]
    assert np.sqrt((error**2).mean()) < 0.01
    assert np.abs(error).max() < 0.05


def test_the_field_of_a_cylinder_along_the_field_is_a_third_of_its_susceptibility_inside():
    """An endless parallel cylinder: chi/3 inside and 0 outside, up to the mean that is taken out."""
    axis = np.arange(96) - 47.5
    inside = np.hypot(axis[:, None], axis) < 10
    chi = np.repeat(inside[..., None], 8, axis=2).astype(np.float32)
    field = dipole_field(chi, (1.0, 1.0, 1.0))
    difference = field[48, 48, 4] - field[2, 2, 4]
    assert difference == pytest.approx(1 / 3, abs=1e-3)


def test_refining_and_coarsening_keep_the_mean_and_a_linear_ramp():
    rng = np.random.default_rng(1)
    image = rng.random((6, 7, 8)).astype(np.float32)
    fine = refine(image)
    assert fine.shape == (12, 14, 16)
    assert fine.mean() == pytest.approx(image.mean(), rel=1e-5)
    ramp = np.broadcast_to(np.arange(8, dtype=np.float32), (6, 7, 8))
    np.testing.assert_allclose(np.diff(refine(ramp)[0, 0])[1:-1], 0.5, atol=1e-6)
    np.testing.assert_allclose(coarsen(refine(ramp))[..., 1:-1], ramp[..., 1:-1], atol=1e-6)


def test_the_phase_of_a_uniform_field_grows_with_the_echo_time():
    """0.1 ppm at 3 T and 10 ms: 2 pi 42.577 MHz/T 3 T 0.1e-6 0.01 s = 0.8026 rad."""
    shape = (4, 4, 4)
    full = np.ones(shape, dtype=np.float32)
    head = MagneticHead(full, 20 * full, 0 * full, np.float32(0.1) * full, np.zeros((2, 2, 2)))
    (signal,) = complex_signal(head, (0.010,))
    np.testing.assert_allclose(np.angle(signal), 0.80257, atol=1e-4)
    np.testing.assert_allclose(np.abs(signal), np.exp(-0.2), rtol=1e-5)


def test_a_random_warp_never_folds():
    for seed in range(3):
        rng = np.random.default_rng(seed)
        warp = random_warp(rng, (0.93, 0.93, 0.93), np.eye(4))
        points = centred_grid((26, 30, 26), (8.0, 8.0, 8.0), (0, -18, 0)).points()
        moved = warp.to_template(points).astype(np.float64)
        jacobian = np.stack([np.stack(np.gradient(axis, 8.0)) for axis in moved])
        determinant = np.linalg.det(np.moveaxis(jacobian, (0, 1), (-2, -1)))
        assert determinant.min() > 0.2
        displacement = moved - points / 0.93
        assert 1.0 < np.linalg.norm(displacement, axis=0).mean() < 8.0


def test_motion_is_rigid_and_within_its_limits():
    matrix = rigid_matrix((0, 0, 90), (1, 2, 3), (0, 0, 0))
    np.testing.assert_allclose(matrix @ [1, 0, 0, 1], [1, 3, 3, 1], atol=1e-12)
    for seed in range(20):
        motion = random_motion(np.random.default_rng(seed), (0, -18, 5))
        rotation = motion[:3, :3]
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(rotation) == pytest.approx(1)
        assert np.linalg.norm((motion @ [0, -18, 5, 1])[:3] - [0, -18, 5]) <= 5.0


def test_the_outcome_is_balanced_and_only_weakly_tied_to_the_site():
    people = [make_person(index, 2, 0) for index in range(16)]
    counts = {site: sum(p.mutation for p in people if p.site.name == site) for site in ("site1", "site2")}
    assert counts == {"site1": 5, "site2": 3}


def test_survival_shortens_with_the_tumour_and_lengthens_with_the_mutation():
    people = [make_person(index, 2, 0) for index in range(64)]
    small, large = (np.mean([survival(p, ml)[0] for p in people]) for ml in (3.0, 20.0))
    assert small > 1.3 * large
    days = {value: np.mean([survival(p, 8.0)[0] for p in people if p.mutation == value]) for value in (0, 1)}
    assert days[1] > 1.3 * days[0]
    assert 0.3 < np.mean([survival(p, 8.0)[1] for p in people]) < 0.95


def test_the_planted_signatures_of_the_mutation_do_not_overlap():
    tumours = {value: [] for value in (0, 1)}
    for index in range(16):
        person = make_person(index, 2, 0)
        tumours[person.mutation].append(make_tumour(person))
    assert max(t.enhancement for t in tumours[1]) < min(t.enhancement for t in tumours[0])
    assert max(t.chi for t in tumours[1]) < min(t.chi for t in tumours[0])


def test_every_image_has_the_name_the_sidecar_and_the_grid_that_bids_asks_for(cohort):
    expected = {"T1w", "ce-gadolinium_T1w", "T2w", "FLAIR", "MEGRE"}
    for label in ("01", "02"):
        found = set()
        for path in anat(cohort, label).glob("*.nii.gz"):
            *parts, suffix = path.name.split(".")[0].split("_")
            entities = {LONG_NAMES[key]: value for key, value in (part.split("-", 1) for part in parts)}
            found.add(contrast_label(entities, suffix))
            sidecar = load_json(path.with_name(path.name.replace(".nii.gz", ".json")))
            assert sidecar["MagneticFieldStrength"] == 3.0
            assert (sidecar.get("Units") == "rad") == (entities.get("part") == "phase")
        assert found == expected
        sidecars = sorted(anat(cohort, label).glob("*_part-mag_MEGRE.json"))
        assert [load_json(path)["EchoTime"] for path in sidecars] == [0.006, 0.013, 0.020]
    kinds = {"": "raw", "derivatives/masks": "derivative", "derivatives/truth": "derivative"}
    for folder, kind in kinds.items():
        description = load_json(cohort / folder / "dataset_description.json")
        assert (description["DatasetType"], description["BIDSVersion"]) == (kind, "1.10.0")


def test_the_participants_table_names_every_participant(cohort):
    header, *rows = (line.split("\t") for line in (cohort / "participants.tsv").read_text().splitlines())
    assert header == ["participant_id", "site", "age", "sex", "mutation", "survival_days", "event"]
    assert [row[0] for row in rows] == ["sub-01", "sub-02"]
    assert set(load_json(cohort / "participants.json")) == set(header[1:])


def test_the_lesion_lies_inside_the_brain_on_the_grid_of_the_t1w(cohort):
    for label in ("01", "02"):
        lesion = load_volume(anat(cohort, label, "masks") / f"sub-{label}_desc-lesion_dseg.nii.gz", None)
        brain = load_volume(anat(cohort, label, "truth") / f"sub-{label}_desc-brain_mask.nii.gz", None)
        image = load_volume(anat(cohort, label) / f"sub-{label}_T1w.nii.gz")
        for other in (lesion, brain):
            assert other.data.shape == image.data.shape
            np.testing.assert_allclose(other.affine, image.affine)
        assert set(np.unique(lesion.data)) == {0, 1, 2, 3}
        assert (brain.data[lesion.data > 0] == 1).all()
        assert 1100 < brain.data.sum() * SPACING**3 / 1000 < 1800


def test_the_phase_is_wrapped_and_fills_the_whole_circle(cohort):
    for echo in (1, 2, 3):
        phase = load_volume(anat(cohort, "01") / f"sub-01_echo-{echo}_part-phase_MEGRE.nii.gz").data
        assert phase.min() > -np.pi - 1e-6
        assert phase.max() < np.pi + 1e-6
        assert phase.min() < -3.1
        assert phase.max() > 3.1


def test_magnitudes_decay_at_the_true_rate_in_the_deep_nuclei_and_the_brain(cohort):
    folder, truth = anat(cohort, "01"), anat(cohort, "01", "truth")
    first, last = (load_volume(folder / f"sub-01_echo-{e}_part-mag_MEGRE.nii.gz").data for e in (1, 3))
    rate = load_volume(truth / "sub-01_space-MEGRE_R2starmap.nii.gz").data
    inner = ndimage.binary_erosion(rate > 0, iterations=4)
    measured = np.log(first[inner] / last[inner]) / 0.014
    # Dephasing inside these large voxels adds to R2*, nowhere subtracts; the median voxel has little.
    assert np.median(measured - rate[inner]) == pytest.approx(0, abs=3.0)


def test_the_true_transforms_bring_every_image_to_the_t1w(cohort):
    """Brain outside the tumour: the true transform must explain each image better than none does."""
    folder, truth = anat(cohort, "01"), anat(cohort, "01", "truth")
    reference = load_volume(folder / "sub-01_T1w.nii.gz")
    brain = load_volume(truth / "sub-01_desc-brain_mask.nii.gz", None).data > 0
    motions = load_json(truth / "sub-01_from-T1w_to-images_mode-image_xfm.json")["Transforms"]
    assert set(motions) == {"ce-gadolinium_T1w", "T2w", "FLAIR", "MEGRE"}
    for label, matrix in motions.items():
        name = "echo-1_part-mag_MEGRE" if label == "MEGRE" else label
        image = load_volume(folder / f"sub-01_{name}.nii.gz")
        moved, still = (agreement(reference, image, brain, np.array(m)) for m in (matrix, np.eye(4)))
        assert moved > still + 0.03, label


def agreement(reference, image, brain, matrix) -> float:
    """Correlation ratio in the brain: the share of the image's variance that the T1w's levels explain."""
    voxels = np.linalg.inv(image.affine) @ matrix @ reference.affine
    data = ndimage.affine_transform(
        image.data, voxels[:3, :3], voxels[:3, 3], reference.data.shape, order=1, mode="nearest"
    )
    values = data[brain]
    levels = reference.data[brain]
    bins = np.digitize(levels, np.quantile(levels, np.linspace(0, 1, 17)[1:-1]))
    within = sum(values[bins == b].var() * (bins == b).sum() for b in range(16))
    return 1 - within / (values.var() * len(values))


def test_the_true_maps_hold_the_planted_values_of_the_nuclei(cohort):
    truth = anat(cohort, "01", "truth")
    chi = load_volume(truth / "sub-01_space-MEGRE_Chimap.nii.gz").data
    labels = load_volume(truth / "sub-01_space-MEGRE_desc-nuclei_dseg.nii.gz", None).data
    table, rows = (
        [line.split("\t") for line in (cohort / "derivatives/truth" / name).read_text().splitlines()[1:]]
        for name in ("desc-nuclei_dseg.tsv", "truth.tsv")
    )
    planted = {what: float(value) for who, _, what, value, _ in rows if who == "sub-01"}
    for index, name in table:
        inside = chi[labels == int(index)]
        if len(inside) and "putamen" in name:
            assert inside.max() == pytest.approx(planted[f"{name} chi"], abs=0.005)
    assert sum((labels == int(index)).any() for index, _ in table) >= 8


def test_another_participant_changes_no_file_of_the_others(cohort, tmp_path):
    make_cohort(tmp_path / "three", participants=3, spacing=SPACING, jobs=2)
    old = sorted(path for path in cohort.rglob("sub-*") if path.is_file())
    assert len(old) > 40
    for path in old:
        assert path.read_bytes() == (tmp_path / "three" / path.relative_to(cohort)).read_bytes(), path.name
    lines = (cohort / "participants.tsv").read_text().splitlines()
    assert (tmp_path / "three" / "participants.tsv").read_text().splitlines()[:3] == lines


def test_numbers_out_of_range_and_folders_with_other_data_are_refused(tmp_path):
    with pytest.raises(DataError, match="participants=0"):
        make_cohort(tmp_path / "new", participants=0)
    with pytest.raises(DataError, match=r"spacing=0\.5"):
        make_cohort(tmp_path / "new", spacing=0.5)
    (tmp_path / "dataset_description.json").write_text(json.dumps({"Name": "a real study"}))
    with pytest.raises(InputError, match="something else"):
        make_cohort(tmp_path, participants=1)


def test_a_coarse_participant_takes_little_time(tmp_path, cohort):
    start = time.perf_counter()
    make_cohort(tmp_path / "one", participants=1, spacing=SPACING)
    assert time.perf_counter() - start < 4.0
