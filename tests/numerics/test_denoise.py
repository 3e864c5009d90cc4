"""Noise: how strong it is said to be, and what non-local means leave of it and of the image."""

import os
import subprocess
import sys

import numpy as np
import pytest
from scipy import ndimage

from voxelome.anat.denoise import denoise, noise_sd
from voxelome.errors import DataError

AFFINE = np.diag([1.0, 1.2, 1.5, 1.0])

# Both in one process, because ANTs reads the number of its threads once in a process: with more than one, no
# two of its runs are the same where the parts of two threads meet.
COMPARISON = """
import sys
import ants
import numpy as np
from voxelome.anat.denoise import denoise

saved = np.load(sys.argv[1])
affine, mask = saved["affine"], saved["mask"]
lps = np.diag([-1.0, -1.0, 1.0]) @ affine[:3]
spacing = np.linalg.norm(lps[:, :3], axis=0)
geometry = {"origin": lps[:, 3].tolist(), "spacing": spacing.tolist(), "direction": lps[:, :3] / spacing}
mine, theirs = [], []
for data in saved["images"]:
    mine.append(denoise(data, affine, mask)[0])
    theirs.append(ants.denoise_image(ants.from_numpy(data, **geometry), noise_model="Rician").numpy())
np.savez(sys.argv[2], mine=mine, theirs=theirs)
"""


def distance(shape, centre):
    return np.linalg.norm(np.indices(shape) - np.array(centre).reshape(3, 1, 1, 1), axis=0)


def rician(truth, sd, seed=0):
    rng = np.random.default_rng(seed)
    noisy = np.hypot(truth + sd * rng.normal(size=truth.shape), sd * rng.normal(size=truth.shape))
    return noisy.astype(np.float32)


def ball():
    """A ball of 1000 with a core of 1500, in air."""
    radius = distance((40, 40, 40), (19.5, 19.5, 19.5))
    return np.select([radius < 7, radius < 14], [1500.0, 1000.0]), radius


def test_in_the_mask_it_is_what_ants_makes_of_the_whole_image(tmp_path):
    shape = (22, 23, 50)
    mask = distance(shape, (11, 11, 11)) < 8
    images = []
    # The brightest voxel of the second lies far outside of the mask.
    for elsewhere in (500.0, 2000.0):
        truth = np.select([distance(shape, (11, 11, 11)) < 4, mask], [900.0, 600.0])
        truth[distance(shape, (11, 11, 44)) < 5] = elsewhere
        images.append(rician(truth, 40))
    affine = AFFINE.copy()
    affine[:3, 3] = (-11, 7, 30)
    np.savez(tmp_path / "images.npz", images=images, mask=mask, affine=affine)
    arguments = [sys.executable, "-c", COMPARISON, tmp_path / "images.npz", tmp_path / "results.npz"]
    subprocess.run(arguments, check=True, env={**os.environ, "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1"})
    results = np.load(tmp_path / "results.npz")
    for data, mine, theirs in zip(images, results["mine"], results["theirs"], strict=True):
        assert np.array_equal(mine[mask], theirs[mask])
        assert np.array_equal(mine[~mask], data[~mask])
        assert np.abs(mine - data)[mask].mean() > 10


def test_noise_falls_to_less_than_half_and_edges_stay_where_smoothing_blurs_them():
    truth, radius = ball()
    noisy = rician(truth, 80)
    result, noise = denoise(noisy, np.eye(4), radius < 14)
    # As much noise is left by it in flat parts.
    smooth = ndimage.gaussian_filter(noisy, 0.6)

    def error(image, where):
        return np.sqrt(np.mean((image - truth)[where] ** 2))

    def step(image):
        return image[edge & (radius < 7)].mean() - image[edge & (radius > 7)].mean()

    inside, flat, edge = radius < 13, (radius > 9) & (radius < 12), np.abs(radius - 7) < 1
    assert noise == pytest.approx(80, rel=0.1)
    assert error(result, inside) < error(noisy, inside) / 2
    assert error(result, flat) == pytest.approx(error(smooth, flat), abs=5)
    assert error(result, edge) < 0.6 * error(smooth, edge)
    assert step(result) > 0.85 * step(truth) > 0.65 * step(truth) > step(smooth)


def test_the_scale_of_the_intensities_does_not_matter():
    radius = distance((20, 20, 20), (10, 10, 10))
    noisy, mask = rician(np.where(radius < 8, 1000.0, 0), 60), radius < 7
    result, noise = denoise(noisy, np.eye(4), mask)
    small, small_noise = denoise(noisy * np.float32(2.0**-20), np.eye(4), mask)
    # With more than one thread ANTs makes small differences of its own.
    assert np.mean(np.abs(small * 2**20 - result)[mask]) < 1 < 20 < np.mean(np.abs(noisy - result)[mask])
    assert small_noise * 2**20 == pytest.approx(noise, rel=1e-6)


def test_without_a_mask_the_head_is_found_and_far_air_stays():
    shape = (24, 24, 64)
    truth = np.where(distance(shape, (12, 12, 12)) < 8, 1000.0, 0)
    noisy = rician(truth, 50)
    result, _ = denoise(noisy, AFFINE)
    inside = distance(shape, (12, 12, 12)) < 7
    assert np.std((result - truth)[inside]) < 0.85 * np.std((noisy - truth)[inside])
    assert np.array_equal(result[..., 50:], noisy[..., 50:])


@pytest.mark.parametrize("sd", [2.0, 20.0, 150.0])
@pytest.mark.parametrize("integers", [False, True])
def test_known_gaussian_noise_is_estimated_within_a_tenth(sd, integers):
    truth, radius = ball()
    noisy = truth + np.random.default_rng(1).normal(0, sd, truth.shape)
    noisy = np.rint(noisy) if integers else noisy
    assert noise_sd(noisy, radius < 14) == pytest.approx(sd, rel=0.1)


@pytest.mark.parametrize("sd", [40.0, 120.0])
def test_smooth_anatomy_and_air_of_zeros_do_not_count_as_noise(sd):
    truth, radius = ball()
    x, y, z = np.indices(truth.shape)
    uneven = truth * (1 + 0.3 * np.sin(x / 9) * np.cos(y / 7) + 0.01 * z)
    noisy = rician(uneven, sd)
    noisy[radius > 16] = 0
    assert noise_sd(noisy, radius < 16) == pytest.approx(sd, rel=0.1)
    assert noise_sd(noisy, np.ones(truth.shape, dtype=bool)) == pytest.approx(sd, rel=0.1)


def test_an_image_that_holds_no_magnitudes_is_refused():
    truth, radius = ball()
    with pytest.raises(DataError, match="24% of its voxels are negative"):
        denoise(np.where(np.indices(truth.shape)[0] < 15, -truth, truth), np.eye(4), radius < 14)
    with pytest.raises(DataError, match="only 0 places"):
        denoise(truth, np.eye(4), np.zeros(truth.shape, dtype=bool))
