"""How scanners store phase: what the manufacturer's name says, and what the images show."""

import numpy as np
import pytest

from voxelome.qsm.vendors import alternating_axis, sign_of_phase, turn_every_other_slice

RNG = np.random.default_rng(3)
SHAPE = (24, 20, 16)


def head(steepness: float, direction: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Wrapped phase (rad) of a ramp, steep in one direction, in a sphere, with noise around it; magnitude."""
    x, y, z = (np.arange(n) - (n - 1) / 2 for n in SHAPE)
    places = np.meshgrid(x, y, z, indexing="ij")
    inside = sum((place / (len(axis) / 2)) ** 2 for place, axis in zip(places, (x, y, z), strict=True)) < 1
    signal = inside * np.exp(1j * (steepness * places[direction] + 0.05 * places[0]))
    signal = signal + 0.05 * (RNG.normal(size=SHAPE) + 1j * RNG.normal(size=SHAPE))
    return np.angle(signal), np.abs(signal)


@pytest.mark.parametrize(
    ("maker", "sign"),
    [
        ("Siemens", 1),
        ("SIEMENS", 1),
        ("Siemens Healthineers", 1),
        ("Philips Medical Systems", 1),
        ("GE", -1),
        ("GE MEDICAL SYSTEMS", -1),
        ("General Electric", -1),
        ("UIH", -1),
        ("United_Imaging", -1),
        ("Canon Medical Systems", 0),
        ("Gestalt", 0),
        ("", 0),
    ],
)
def test_the_sign_is_that_of_the_manufacturer_and_unknown_for_others(maker, sign):
    assert sign_of_phase(maker) == sign


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_that_alternate_are_found_and_turned_back(axis):
    phase, magnitude = head(0.3)
    alternating = np.exp(1j * phase)
    np.moveaxis(alternating, axis, 0)[::2] *= -1
    stored = np.angle(alternating)
    assert alternating_axis(stored, magnitude) == axis
    back = turn_every_other_slice(stored, axis)
    assert np.abs(back).max() <= np.float32(np.pi)
    # Which slices were turned is not known: a constant, which is no field.
    np.testing.assert_allclose(np.exp(1j * back), -np.exp(1j * phase), atol=1e-5)
    assert alternating_axis(back, magnitude) is None


@pytest.mark.parametrize("steepness", [0, 0.5, 1, 2, -2])
@pytest.mark.parametrize("direction", [0, 1, 2])
def test_no_field_that_an_image_survives_is_taken_for_alternating_slices(steepness, direction):
    assert alternating_axis(*head(steepness, direction)) is None


def test_noise_or_nothing_does_not_alternate():
    noise = RNG.normal(size=SHAPE) + 1j * RNG.normal(size=SHAPE)
    assert alternating_axis(np.angle(noise), np.abs(noise)) is None
    assert alternating_axis(np.zeros(SHAPE), np.zeros(SHAPE)) is None
