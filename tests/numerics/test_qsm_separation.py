"""Separation of sources against the dephasing that random spheres of both kinds cause, spin by spin."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from tests.numerics.test_qsm_susceptibility import GAMMA_PPM, TIMES, phantom
from voxelome.qsm.pipeline import QSMResult, reconstruct
from voxelome.qsm.separation import relaxometric_constant, separate_sources
from voxelome.qsm.susceptibility import QSMSettings

FIELD = 3.0
# Of spheres that do not move (Yablonskiy and Haacke 1994, eq. 24), 1/s a ppm.
STATIC = 2 * np.pi / (9 * np.sqrt(3)) * GAMMA_PPM * FIELD
STRENGTH = 10.0  # ppm of a sphere against what is around it
INHERENT = 137.0  # 1/s a ppm at 3 T: R2' (Shin et al. 2021)
# Of the phantom's tissue: iron and myelin that cancel; each nucleus has this much myelin more.
EVEN, MORE = 0.03, 0.02


def dephasing(plus: float, minus: float, seed: int) -> float:
    """R2' (1/s) of a ball with spheres of both kinds, as the decay of the sum of its spins."""
    rng = np.random.default_rng(seed)
    counts = [round(2000 * size / (plus + minus)) for size in (plus, minus)]
    radius = ((plus + minus) / STRENGTH / sum(counts)) ** (1 / 3)  # of a ball of radius 1
    directions = rng.normal(size=(sum(counts), 3))
    centres = directions / np.linalg.norm(directions, axis=1)[:, None]
    centres *= rng.random(sum(counts))[:, None] ** (1 / 3)
    signs = np.repeat([1.0, -1.0], counts)
    spins = rng.uniform(-0.4, 0.4, (6000, 3))
    frequency, free = np.zeros(len(spins)), np.ones(len(spins), bool)
    for centre, sign in zip(centres, signs, strict=True):
        offset = spins - centre
        squared = (offset**2).sum(axis=1)
        free &= squared > radius**2
        dipole = (3 * offset[:, 2] ** 2 / squared - 1) * (radius**2 / squared) ** 1.5
        frequency += GAMMA_PPM * FIELD * sign * STRENGTH / 3 * dipole
    times = np.linspace(0.002, 0.012, 11)
    signal = np.abs(np.exp(1j * frequency[free] * times[:, None]).mean(axis=1))
    return float(-np.polyfit(times, np.log(signal), 1)[0])


@pytest.mark.parametrize(("plus", "minus"), [(0.2, 0.05), (0.1, 0.1), (0.08, 0.2), (0.2, 0.0)])
def test_sources_are_told_apart_by_the_dephasing_of_spins_among_spheres(plus: float, minus: float) -> None:
    decay = np.mean([dephasing(plus, minus, seed) for seed in range(3)])
    one = np.ones(1)
    found = separate_sources((plus - minus) * one, decay * one, one > 0, FIELD, constant=STATIC)
    np.testing.assert_allclose([part[0] for part in found], [plus, -minus], atol=0.02)


def test_a_voxel_that_decays_too_slowly_has_one_kind_of_source() -> None:
    chi, r2star = np.array([0.1, -0.1, 0.3]), np.array([1.0, 1.0, 0.0])
    plus, minus = separate_sources(chi, r2star, np.array([True, True, False]), FIELD)
    np.testing.assert_allclose(plus, [0.1, 0.0, 0.0], rtol=1e-6)
    np.testing.assert_allclose(minus, [0.0, -0.1, 0.0], rtol=1e-6)


def test_decay_counts_in_proportion_to_the_field() -> None:
    assert relaxometric_constant(7.0) == pytest.approx(274 * 7 / 3)
    one = np.ones(1)
    plus, minus = separate_sources(0 * one, 64 * one, one > 0, 7.0)
    assert plus[0] == -minus[0] == pytest.approx(64 / (274 * 7 / 3) / 2)


@cache
def mixture(echoes: int, spread: float = 0.0) -> tuple[QSMResult, list[tuple[float, float, np.ndarray]]]:
    """Maps of the phantom whose nuclei hold both kinds of source, and what each of these holds."""
    data = phantom()
    rng = np.random.default_rng(2)
    regions, size = [], np.full(data.mask.shape, 2 * EVEN)
    r2 = INHERENT * size
    for share in data.shares:
        inside = share > 0.5
        true = float(data.true[inside].mean())
        plus, minus = EVEN + MORE + true, EVEN + MORE
        regions.append((plus, -minus, share > 0.9))
        size[inside] = plus + minus
        # The constant for R2* takes R2 to be as large as R2'; here it is off by the spread.
        r2[inside] = INHERENT * size[inside] * (1 + spread * rng.choice([-1, 1]))
    times = np.array(TIMES[:echoes])
    magnitude = np.exp(-(r2 + INHERENT * size)[..., None] * times) * data.mask[..., None]
    magnitude += 0.003 * rng.standard_normal(magnitude.shape)
    magnitude = np.abs(magnitude).astype(np.float32)
    settings = QSMSettings(separation=True)
    phase = data.phase[..., :echoes]
    return reconstruct(magnitude, phase, times, FIELD, data.affine, data.mask, settings), regions


@pytest.mark.parametrize(("spread", "error"), [(0.0, 0.025), (0.15, 0.035)])
def test_both_kinds_are_found_in_nuclei_that_hold_both(spread: float, error: float) -> None:
    result, regions = mixture(3, spread)
    plus, minus = result.sources
    for true_plus, true_minus, inside in regions:
        assert plus[inside].mean() == pytest.approx(true_plus, abs=error)
        assert minus[inside].mean() == pytest.approx(true_minus, abs=error)
    assert result.parameters["source separation"].startswith("R2*-QSM, 274 1/s a ppm")


def test_the_two_parts_add_up_to_the_map() -> None:
    result, _ = mixture(3)
    plus, minus = result.sources
    np.testing.assert_allclose(plus + minus, result.chi, atol=1e-6)
    assert (plus >= 0).all()
    assert (minus <= 0).all()


def test_two_echoes_are_not_separated() -> None:
    result, _ = mixture(2)
    assert result.sources is None
    assert "source separation" not in result.parameters
