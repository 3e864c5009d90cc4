"""Background removal, dipole inversion and the whole reconstruction, against analytic fields.

The phantom's field is the sum of analytic fields of spheres, sampled on a grid finer than the voxels,
with the complex signal averaged over each voxel: nothing of it comes from the kernel of the inversion.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from tests.shared import REAL, needs_real_data
from voxelome.errors import DataError
from voxelome.imageio import load_volume
from voxelome.qsm.background import sphere_radii, vsharp
from voxelome.qsm.dipole import dipole_kernel, field_direction, forward_field
from voxelome.qsm.direct import tkd
from voxelome.qsm.inversion import total_variation
from voxelome.qsm.masking import magnitude_mask
from voxelome.qsm.pipeline import reconstruct
from voxelome.qsm.susceptibility import QSMSettings

GAMMA_PPM = 2 * np.pi * 42.577478518  # rad/s per T and ppm
TIMES = [0.005, 0.012, 0.02]
TILTED = (0.0, np.sin(np.deg2rad(30)), np.cos(np.deg2rad(30)))
# Centre (mm), radius (mm), susceptibility (ppm): the sizes and values of deep nuclei.
NUCLEI = (
    ((-20.4, 5.3, 0.2), 7.5, 0.10),
    ((20.1, 5.6, 0.7), 7.5, 0.05),
    ((-10.2, -15.4, 6.1), 5.0, 0.15),
    ((12.3, -14.1, 6.6), 5.0, 0.20),
    ((-6.5, 20.2, -12.3), 4.0, 0.18),
    ((8.2, 22.4, -10.1), 4.0, 0.10),
    ((0.3, -30.2, -15.4), 3.0, 0.15),
    ((-30.1, -10.3, 15.2), 2.5, 0.20),
    ((0.6, 5.2, 25.3), 6.0, 0.12),
)
CAVITY = ((0.0, 63.0, -20.0), 10.0, 9.4)


def sphere_field(points: list[np.ndarray], sphere: tuple, direction: tuple[float, ...]) -> np.ndarray:
    """Relative field shift (ppm) of a sphere of susceptibility in ppm, with the Lorentz correction."""
    centre, radius, chi = sphere
    offsets = [axis - c for axis, c in zip(points, centre, strict=True)]
    squared = np.maximum(sum(offset**2 for offset in offsets), 1e-9)
    along = sum(offset * b for offset, b in zip(offsets, direction, strict=True))
    outside = chi / 3 * (radius**2 / squared) ** 1.5 * (3 * along**2 / squared - 1)
    return np.where(squared > radius**2, outside, 0)


def grid(size: int, spacing: float, fine: int = 1) -> list[np.ndarray]:
    """Coordinates in mm of a cube of voxels, or of points within them, centred on 0."""
    axis = ((np.arange(size * fine) + 0.5) / fine - size / 2).astype(np.float32) * spacing
    return list(np.meshgrid(axis, axis, axis, indexing="ij", sparse=True))


def average(values: np.ndarray, fine: int) -> np.ndarray:
    """Mean of the points in each voxel."""
    size = values.shape[0] // fine
    return values.reshape(size, fine, size, fine, size, fine).mean(axis=(1, 3, 5))


@dataclass
class Phantom:
    """A ball of tissue with nuclei, imaged at 2 mm and 3 T, with air outside it."""

    magnitude: np.ndarray
    phase: np.ndarray
    mask: np.ndarray
    affine: np.ndarray
    shares: list[np.ndarray]
    local: np.ndarray

    def slope(self, chi: np.ndarray) -> float:
        """Slope of the measured on the true mean susceptibility of the nuclei, against the tissue."""
        truth = self.true
        tissue = self.mask & (truth == 0) & (chi != 0)
        regions = [share > 0.5 for share in self.shares]
        found = [chi[region].mean() - chi[tissue].mean() for region in regions]
        return float(np.polyfit([truth[region].mean() for region in regions], found, 1)[0])

    @property
    def true(self) -> np.ndarray:
        """True susceptibility in ppm, averaged over each voxel."""
        return sum(share * nucleus[2] for share, nucleus in zip(self.shares, NUCLEI, strict=True))


@cache
def phantom(direction: tuple[float, ...] = (0.0, 0.0, 1.0), noise: float = 0.02) -> Phantom:
    """Simulate the acquisition."""
    size, spacing, fine = 60, 2.0, 3
    rng = np.random.default_rng(0)
    points = grid(size, spacing, fine)
    local = np.zeros((size * fine,) * 3, np.float32)
    chi, shares = np.zeros_like(local), []
    for centre, radius, value in NUCLEI:
        inside = sum((axis - c) ** 2 for axis, c in zip(points, centre, strict=True)) <= radius**2
        local += sphere_field(points, (centre, radius, value), direction)
        chi += np.float32(value) * inside
        shares.append(average(inside, fine))
    tissue = sum(axis**2 for axis in points) <= 50**2
    field = local + sphere_field(points, CAVITY, direction).astype(np.float32)
    offset = 0.7 + 0.02 * points[0] + 0.0002 * points[1] ** 2
    echoes = []
    for time in TIMES:
        turn = np.exp(1j * (GAMMA_PPM * 3 * time * field + offset).astype(np.float32))
        signal = average(tissue * np.exp(-(20 + 150 * chi) * np.float32(time)) * turn, fine)
        echoes.append(signal + noise * (rng.normal(size=signal.shape) + 1j * rng.normal(size=signal.shape)))
    series = np.stack(echoes, axis=-1)
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, :3] = rotation_to(direction) * spacing
    mask = average(tissue, fine) > 0.5
    return Phantom(
        np.abs(series).astype(np.float32),
        np.angle(series).astype(np.float32),
        mask,
        affine,
        shares,
        average(local, fine),
    )


def rotation_to(direction: tuple[float, ...]) -> np.ndarray:
    """Rotation about x whose third row is the direction, so that voxels see the main field along it."""
    _, sine, cosine = direction
    return np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])


@pytest.mark.parametrize("direction", [(0.0, 0.0, 1.0), TILTED])
def test_the_dipole_kernel_gives_the_field_of_a_sphere(direction: tuple[float, ...]) -> None:
    size, fine, sphere = 64, 4, ((0.3, -0.2, 0.1), 8.0, 1.0)
    points = grid(size, 1.0, fine)
    inside = sum((axis - c) ** 2 for axis, c in zip(points, sphere[0], strict=True)) <= sphere[1] ** 2
    chi = np.pad(average(inside, fine), 32)
    spectrum = np.fft.rfftn(chi) * dipole_kernel(chi.shape, (1.0, 1.0, 1.0), direction)
    found = np.fft.irfftn(spectrum, s=chi.shape)[32:-32, 32:-32, 32:-32]
    true = average(sphere_field(points, sphere, direction), fine)
    # The grid cannot hold the jump at the surface and rings at its highest frequencies, most when the field
    # is oblique: what a voxel's width of smoothing leaves must agree everywhere.
    found, true = (ndimage.gaussian_filter(values, 1.0) for values in (found, true))
    assert np.abs(found - true).max() < 0.03 * np.abs(true).max()
    assert (found - true).std() < 0.01 * true.std()


@pytest.mark.parametrize("direction", [(0.0, 0.0, 1.0), TILTED, (1.0, 0.0, 0.0)])
def test_the_field_beyond_a_round_source_is_the_spatial_form_of_the_dipole_kernel(direction) -> None:
    points = grid(96, 1.0)
    distance = np.sqrt(sum(axis**2 for axis in points))
    chi = np.exp(-(distance**2) / (2 * 1.5**2)).astype(np.float32)
    found = forward_field(chi, (1.0, 1.0, 1.0), direction)
    along = sum(axis * part for axis, part in zip(points, direction, strict=True))
    shell = (distance > 7) & (distance < 14)
    far, cosine = distance[shell], (along / np.maximum(distance, 1))[shell]
    true = chi.sum() * (3 * cosine**2 - 1) / (4 * np.pi * far**3)
    assert np.abs(found[shell] - true).max() < 0.03 * np.abs(true).max()


@pytest.mark.parametrize("angle", [0.0, 30.0, 90.0])
def test_an_endless_cylinder_has_its_analytic_field(angle: float) -> None:
    # Along z, at an angle with the main field (Haacke, Magnetic Resonance Imaging, 25.3.2).
    sine, cosine = np.sin(np.radians(angle)), np.cos(np.radians(angle))
    size, fine, radius = 128, 4, 6.0
    places = (np.arange(size * fine) + 0.5) / fine - size / 2
    x, y = places[:, None], places[None]
    square = x**2 + y**2
    outside = sine**2 / 2 * radius**2 * (y**2 - x**2) / np.maximum(square, 1e-9) ** 2
    true = np.where(square > radius**2, outside, (3 * cosine**2 - 1) / 6)

    def thick(plane: np.ndarray) -> np.ndarray:
        means = plane.reshape(size, fine, size, fine).mean(axis=(1, 3))
        return np.repeat(means[:, :, None], 8, axis=2).astype(np.float32)

    chi = thick(square <= radius**2)
    kernel = dipole_kernel(chi.shape, (1.0, 1.0, 1.0), (0.0, sine, cosine))
    found = np.fft.irfftn(np.fft.rfftn(chi) * kernel, s=chi.shape, axes=(0, 1, 2))
    # The kernel knows no mean; and the grid cannot hold the jump at the surface.
    true = thick(true) - true.mean()
    found, true = (ndimage.gaussian_filter(values, (1, 1, 0)) for values in (found, true))
    near = np.s_[32:96, 32:96]
    assert np.abs(found - true)[near].max() < 0.03 * np.abs(true).max()


def test_the_main_field_of_a_rotated_acquisition_is_oblique_to_the_voxels() -> None:
    affine = np.eye(4)
    affine[:3, :3] = rotation_to(TILTED) @ np.diag([0.5, 0.7, 3.0])
    np.testing.assert_allclose(field_direction(affine), TILTED, atol=1e-12)
    np.testing.assert_allclose(field_direction(np.diag([-2.0, 2.0, -2.0, 1.0])), (0, 0, -1), atol=1e-12)


@pytest.mark.parametrize("spacing", [(2.0, 2.0, 2.0), (1.0, 1.0, 3.0)])
def test_vsharp_removes_the_field_of_a_source_outside(spacing: tuple[float, float, float]) -> None:
    axes = [np.arange(-44, 44.1, step) for step in spacing]
    points = list(np.meshgrid(*axes, indexing="ij", sparse=True))
    mask = sum(axis**2 for axis in points) <= 40**2
    background = sphere_field(points, ((5.0, 55.0, 20.0), 12.0, 9.4), (0.0, 0.0, 1.0))
    local, kept = vsharp(background, mask, spacing, sphere_radii(spacing, 12.0))
    assert kept.sum() > 0.75 * mask.sum()
    spread = np.std(background[kept])
    assert np.sqrt(np.mean(local[kept] ** 2)) < 0.05 * spread
    assert not local[~kept].any()


def test_vsharp_keeps_the_field_of_sources_inside() -> None:
    data = phantom()
    spacing = (2.0, 2.0, 2.0)
    local, kept = vsharp(data.local, data.mask, spacing, sphere_radii(spacing, 12.0))
    slope = np.polyfit(data.local[kept], local[kept], 1)[0]
    assert slope == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("direction", [(0.0, 0.0, 1.0), TILTED])
@pytest.mark.parametrize("method", ["tv", "tkd"])
def test_a_sphere_in_its_analytic_field_gets_its_susceptibility(
    method: str, direction: tuple[float, ...]
) -> None:
    points = grid(48, 2.0)
    sphere = ((0.5, -0.4, 0.3), 9.0, 0.15)
    mask = sum(axis**2 for axis in points) <= 44**2
    fine = sphere_field(grid(48, 2.0, 3), sphere, direction)
    field, spacing = average(fine, 3), (2.0, 2.0, 2.0)
    if method == "tv":
        chi = total_variation(
            field, mask.astype(float), mask, spacing, direction, regularisation=5e-4, iterations=60
        )
    else:
        chi = tkd(field, mask, spacing, direction, threshold=0.2)
    distance = np.sqrt(sum((axis - c) ** 2 for axis, c in zip(points, sphere[0], strict=True)))
    found = chi[distance < 7].mean() - chi[mask & (distance > 12)].mean()
    assert found == pytest.approx(0.15, rel=0.06)
    assert not chi[~mask].any()


@pytest.mark.parametrize("method", ["tv", "tkd"])
@pytest.mark.parametrize("direction", [(0.0, 0.0, 1.0), TILTED])
def test_nuclei_beside_an_air_cavity_are_measured_with_a_slope_near_one(
    method: str, direction: tuple[float, ...]
) -> None:
    data = phantom(direction)
    settings = QSMSettings(inversion=method)
    result = reconstruct(data.magnitude, data.phase, TIMES, 3.0, data.affine, data.mask, settings)
    assert 0.9 < data.slope(result.chi) < 1.1
    assert result.quality["residual_wraps"] < 1e-3
    assert result.quality["mask_kept_fraction"] > 0.8
    assert result.notes == []
    assert result.chi[result.mask].mean() == pytest.approx(0, abs=1e-6)
    assert not result.chi[~result.mask].any()


@pytest.mark.parametrize("angle", [30.0, 45.0, 90.0])
def test_a_rotated_head_has_the_susceptibility_of_the_upright_one_within_three_percent(angle: float) -> None:
    slopes = []
    for degrees in (0.0, angle):
        tilt = np.radians(degrees)
        data = phantom((0.0, float(np.sin(tilt)), float(np.cos(tilt))))
        found = reconstruct(data.magnitude, data.phase, TIMES, 3.0, data.affine, data.mask, QSMSettings())
        slopes.append(data.slope(found.chi))
    assert slopes[1] == pytest.approx(slopes[0], rel=0.03)


def test_ignoring_the_obliquity_spoils_the_map() -> None:
    data = phantom(TILTED)
    right, wrong = (
        reconstruct(data.magnitude, data.phase, TIMES, 3.0, affine, data.mask, QSMSettings())
        for affine in (data.affine, np.diag([2.0, 2.0, 2.0, 1.0]))
    )
    errors = [np.std((result.chi - data.true)[result.mask]) for result in (right, wrong)]
    assert errors[0] < 0.7 * errors[1]


def test_one_echo_gives_susceptibility_and_swi_but_no_r2star() -> None:
    data = phantom()
    late = slice(2, 3)
    result = reconstruct(
        data.magnitude[..., late],
        data.phase[..., late],
        TIMES[late],
        3.0,
        data.affine,
        data.mask,
        QSMSettings(),
    )
    assert result.r2star is None
    assert result.t2star is None
    assert result.s0 is None
    assert 0.8 < data.slope(result.chi) < 1.15
    assert result.swi.shape == result.minip.shape == data.mask.shape


def test_phase_of_the_opposite_sign_is_noted_and_not_flipped() -> None:
    data = phantom()
    result = reconstruct(data.magnitude, -data.phase, TIMES, 3.0, data.affine, data.mask, QSMSettings())
    assert any("other sign than was taken" in note for note in result.notes)
    assert data.slope(result.chi) < -0.8


def test_two_runs_give_the_same_map() -> None:
    data = phantom()
    first, second = (
        reconstruct(data.magnitude, data.phase, TIMES, 3.0, data.affine, data.mask, QSMSettings(iterations=5))
        for _ in range(2)
    )
    np.testing.assert_array_equal(first.chi, second.chi)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"field_strength": 0.0}, "MagneticFieldStrength"),
        ({"echo_times": [0.005, 0.02, 0.012]}, "do not increase"),
        ({"echo_times": [5.0, 12.0, 20.0]}, "in seconds"),
        ({"echo_times": [0.005]}, "echo times"),
        ({"mask": np.zeros((12, 12, 12), bool)}, "mask is empty"),
        ({"mask": np.ones((11, 12, 12), bool)}, "mask"),
        ({"magnitude": np.zeros((12, 12, 12, 3))}, "no signal"),
        ({"phase": np.zeros((12, 12, 12, 2))}, "phase"),
    ],
)
def test_input_that_cannot_be_used_is_refused(change: dict, match: str) -> None:
    good = {
        "magnitude": np.ones((12, 12, 12, 3)),
        "phase": np.zeros((12, 12, 12, 3)),
        "echo_times": TIMES,
        "field_strength": 3.0,
        "affine": np.diag([2.0, 2.0, 2.0, 1.0]),
        "mask": np.ones((12, 12, 12), bool),
        "settings": QSMSettings(),
    }
    with pytest.raises(DataError, match=match):
        reconstruct(**(good | change))


@needs_real_data
def test_veins_of_a_real_7_tesla_crop_are_paramagnetic_and_dark_in_the_swi() -> None:
    folder = REAL / "sub-gre7t" / "anat"
    stacks = {}
    for part in ("mag", "phase"):
        volumes = [load_volume(folder / f"sub-gre7t_echo-{n}_part-{part}_MEGRE.nii.gz") for n in (1, 2, 3)]
        stacks[part] = np.stack([volume.data for volume in volumes], axis=-1)
    mask = magnitude_mask(stacks["mag"][..., 0], volumes[0].spacing)
    result = reconstruct(
        stacks["mag"], stacks["phase"], [0.004, 0.008, 0.012], 7.0, volumes[0].affine, mask, QSMSettings()
    )
    assert mask.all()
    assert result.quality["residual_wraps"] == 0
    assert result.quality["phase_residual_rad"] < 0.1
    veins = result.mask & (result.chi > np.percentile(result.chi[result.mask], 99.5))
    assert result.r2star[veins].mean() > 1.3 * np.median(result.r2star[result.mask])
    assert result.swi[veins].mean() < 0.8 * np.median(result.swi[result.mask])
    assert result.notes == []
