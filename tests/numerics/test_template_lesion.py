"""A lesion has no counterpart in the template: left out of the comparison, it pulls nothing over itself."""

from typing import Any

import numpy as np
import pytest

from voxelome.registration.template import TemplateResult, load_template, register_template

BRAIN, AFFINE, MASK = load_template(2)
RADIUS, AROUND = 22.0, 40.0  # mm


def distance(centre: tuple[int, int, int]) -> Any:
    return np.linalg.norm((np.indices(BRAIN.shape).T - np.array(centre)) * 2.0, axis=-1).T


@pytest.fixture(scope="module")
def results() -> dict[bool, TemplateResult]:
    """The template's own brain with a dark lesion, registered with and without its mask."""
    lesion = (distance((30, 70, 55)) < RADIUS) & MASK
    image = BRAIN.copy()
    image[lesion] = 0.05 * BRAIN.max()
    image += np.random.default_rng(0).normal(0, 0.02, image.shape).astype(np.float32) * MASK
    found = {}
    for masked in (False, True):
        options: Any = {"lesion": lesion} if masked else {}
        found[masked] = register_template(
            image, AFFINE, MASK, BRAIN, AFFINE, MASK, same_contrast=True, **options
        )
    return found


def errors(result: TemplateResult) -> Any:
    """Distance in mm of every voxel from where it should be: where it is."""
    voxels = np.stack(np.meshgrid(*map(np.arange, BRAIN.shape), indexing="ij"), axis=-1)
    points = voxels @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    moved = (points + result.displacement) @ result.affine[:3, :3].T + result.affine[:3, 3]
    return np.linalg.norm(moved - points, axis=-1)


def test_around_a_lesion_the_map_is_truer_with_its_mask(results):
    around = (distance((30, 70, 55)) < AROUND) & (distance((30, 70, 55)) >= RADIUS) & MASK
    without, masked = (errors(results[choice])[around] for choice in (False, True))
    assert masked.mean() < 0.85 * without.mean()
    assert masked.max() < 0.75 * without.max()


def test_the_map_and_its_inverse_undo_each_other(results):
    for result in results.values():
        assert result.inverse_consistency < 0.1
        assert 0 < result.jacobian_min < 1 < result.jacobian_max
