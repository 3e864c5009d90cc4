"""Entropy focus criterion: its extremes, and what it says of motion, noise and scale."""

import numpy as np
import pytest
from scipy import ndimage

from tests.shared import REAL, needs_real_data
from voxelome.anat.efc import entropy_focus
from voxelome.errors import DataError
from voxelome.imageio import load_volume
from voxelome.phantom.cohort import make_cohort

MOTIONS = [(0.1, 0.5, 0.5), (0.1, 5.0, 4.0), (0.3, 0.5, 0.5), (0.3, 2.0, 2.0), (0.5, 5.0, 4.0)]


def with_motion(image, share, degrees, shift, seed=0):
    """Image of which a share of the phase-encoding lines, in blocks of 8, was measured on a moved head."""
    turned = ndimage.rotate(image, degrees, axes=(0, 1), reshape=False, order=1)
    turned = ndimage.shift(turned, (shift / 2, shift, 0), order=1)
    lines, moved = np.fft.fft(image, axis=1), np.fft.fft(turned, axis=1)
    blocks = np.array_split(np.arange(image.shape[1]), image.shape[1] // 8)
    order = np.random.default_rng(seed).permutation(len(blocks))
    for block in order[: round(share * len(blocks))]:
        lines[:, blocks[block]] = moved[:, blocks[block]]
    return np.abs(np.fft.ifft(lines, axis=1))


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("efc") / "bids"
    make_cohort(folder, participants=1, sites=1, spacing=3.0)
    return {
        contrast: load_volume(folder / f"sub-01/anat/sub-01_{contrast}.nii.gz").data
        for contrast in ("T1w", "FLAIR")
    }


def test_it_is_1_where_all_voxels_are_alike_and_0_where_one_has_all_the_energy():
    assert entropy_focus(np.full((5, 6, 7), 3.0)) == pytest.approx(1, abs=1e-12)
    single = np.zeros((5, 6, 7))
    single[2, 3, 4] = 9
    assert entropy_focus(single) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("bright", [2, 16, 100])
def test_of_some_equal_voxels_among_dark_ones_it_is_the_formula_worked_out(bright):
    data = np.zeros(400)
    data[:bright] = 5
    expected = np.sqrt(bright) * np.log(bright) / (np.sqrt(400) * np.log(400))
    assert entropy_focus(data.reshape(20, 20)) == pytest.approx(expected, rel=1e-12)


def test_it_is_the_number_of_mriqc():
    data = np.random.default_rng(0).rayleigh(5, (12, 13, 14))
    count, most = data.size, np.sqrt((data**2).sum())
    theirs = (data / most * np.log((data + 1e-16) / most)).sum() / (
        count / np.sqrt(count) * np.log(1 / np.sqrt(count))
    )
    assert entropy_focus(data) == pytest.approx(theirs, rel=1e-9)


def test_the_scale_and_the_sign_of_the_intensities_do_not_matter(simulated):
    data = simulated["T1w"]
    assert entropy_focus(data * 1000) == pytest.approx(entropy_focus(data), rel=1e-9)
    assert entropy_focus(data * -1e-3) == pytest.approx(entropy_focus(data), rel=1e-6)


@pytest.mark.parametrize("contrast", ["T1w", "FLAIR"])
@pytest.mark.parametrize("motion", MOTIONS)
def test_motion_raises_it_in_a_simulated_head(simulated, contrast, motion):
    image = simulated[contrast]
    assert entropy_focus(with_motion(image, *motion)) > entropy_focus(image) + 0.001


@needs_real_data
def test_the_more_a_real_head_moves_the_higher_it_is():
    image = load_volume(REAL / "sub-chris/anat/sub-chris_T1w.nii.gz").data[::2, ::2, ::3]
    values = [entropy_focus(image)]
    values += [entropy_focus(with_motion(image, 0.3, size, size)) for size in (0.5, 1, 2, 4)]
    assert np.all(np.diff(values) > 0.005)


def test_noise_raises_it_too_so_that_runs_of_one_protocol_alone_can_be_compared(simulated):
    image, rng = simulated["T1w"], np.random.default_rng(0)
    white = np.percentile(image, 95)
    values = [
        entropy_focus(np.hypot(image + sd * rng.normal(size=image.shape), sd * rng.normal(size=image.shape)))
        for sd in (0, 0.03 * white, 0.1 * white)
    ]
    assert np.all(np.diff(values) > 0.02)


def test_an_image_without_signal_has_none():
    with pytest.raises(DataError, match="without signal"):
        entropy_focus(np.zeros((4, 4, 4)))
