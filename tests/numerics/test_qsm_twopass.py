"""A map of strong sources by itself, on a head with a calcification and a haemorrhage."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from tests.numerics.test_qsm_susceptibility import TIMES, phantom
from voxelome.phantom.anatomy import NUCLEI
from voxelome.phantom.magnetic import SusceptibilityHead, make_susceptibility_head
from voxelome.qsm.pipeline import QSMResult, reconstruct
from voxelome.qsm.susceptibility import QSMSettings
from voxelome.qsm.twopass import reliable_mask

SOURCES = tuple(len(NUCLEI) + number for number in (1, 2))


@cache
def head() -> SusceptibilityHead:
    return make_susceptibility_head(0, seed=5, spacing=2.0)


def maps_of(truth: SusceptibilityHead, settings: QSMSettings) -> QSMResult:
    """What is reconstructed of a head whose SNR is 100."""
    known = (truth.echo_times, truth.field_strength, truth.affine, truth.brain)
    return reconstruct(*truth.acquire(100), *known, settings)


@cache
def maps(two_pass: bool) -> QSMResult:
    return maps_of(head(), QSMSettings(two_pass=two_pass))


def error_around(result: QSMResult, source: int) -> float:
    """Error (ppm) of the tissue within a centimetre of a strong source, where its streaks are."""
    truth = head()
    away = ndimage.distance_transform_edt(truth.labels != source) * 2
    around = (away > 3) & (away < 12) & result.mask & ~np.isin(truth.labels, SOURCES)
    return float(np.std((result.chi - truth.chi)[around]))


def test_tissue_beside_strong_sources_has_no_more_streaks_than_in_one_pass() -> None:
    twice, once = ([error_around(maps(both), source) for source in SOURCES] for both in (True, False))
    assert sum(twice) < sum(once)
    assert all(more < 1.05 * before for more, before in zip(twice, once, strict=True))


@pytest.mark.parametrize("source", SOURCES)
def test_the_strong_sources_are_kept(source: int) -> None:
    truth, result = head(), maps(True)
    inside = truth.labels == source
    assert result.mask[inside].all()
    true = truth.chi[inside].mean() - truth.chi[result.mask].mean()
    assert result.chi[inside].mean() == pytest.approx(true, rel=0.2)


def test_no_part_of_the_brain_is_lost_and_what_was_left_to_the_second_pass_is_said() -> None:
    np.testing.assert_array_equal(maps(True).mask, maps(False).mask)
    said = maps(True).parameters["second pass"]
    assert 0 < float(said.split(", ")[1].split("%")[0]) < 15
    assert "second pass" not in maps(False).parameters


def test_holes_of_the_signal_stay_holes_and_take_their_neighbours_with_them() -> None:
    mask = np.ones((9, 9, 9), bool)
    magnitude, linear = np.ones(mask.shape), np.ones(mask.shape, bool)
    magnitude[4, 4, 4], linear[0, 0, 0] = 0.1, False
    reliable = reliable_mask(mask, magnitude, linear)
    assert mask.sum() - reliable.sum() == 7 + 4
    assert not reliable[4, 4, 3:6].any()


def test_without_strong_sources_one_map_is_made() -> None:
    data = phantom(noise=0.005)
    result, plain = (
        reconstruct(data.magnitude, data.phase, TIMES, 3.0, data.affine, data.mask, QSMSettings(**more))
        for more in ({"two_pass": True}, {})
    )
    assert result.parameters["second pass"].startswith("none")
    np.testing.assert_array_equal(result.chi, plain.chi)
