"""Two masks of one brain: the surer one decides near an edge, and gross disagreement shows."""

import numpy as np
import pytest
from scipy.special import expit

from voxelome.errors import DataError
from voxelome.segmentation.ensemble import fuse

SHAPE = (48, 48, 48)


def depth(radius, centre=(24, 24, 24)):
    """Distance in mm to the surface of a ball, positive inside, of voxels of 1 mm."""
    return radius - np.linalg.norm(np.indices(SHAPE).T - np.array(centre), axis=-1).T


def network(radius, **more):
    return (depth(radius, **more) > 0).astype(np.float32)


def atlas(radius, **more):
    return expit(depth(radius, **more) / 1.2).astype(np.float32)


def test_near_the_edge_the_network_decides():
    for radius in (15, 16, 17):
        np.testing.assert_array_equal(fuse(network(radius), atlas(16)).mask, depth(radius) > 0)


def test_where_the_network_leaves_the_atlas_edge_by_far_the_atlas_decides():
    spilled = np.maximum(network(16), network(6, centre=(24, 24, 42)))
    fused = fuse(spilled, atlas(16))
    excess = fused.mask & (depth(16) <= 0)
    assert excess.sum() < 0.5 * (spilled[depth(16) <= 0] > 0).sum()
    assert depth(16)[excess].min() > -2


def test_the_agreement_is_the_overlap_of_the_two_masks():
    assert fuse(network(16), atlas(16)).agreement == 1
    one, other = network(16) > 0, atlas(12) > 0.5
    expected = 2 * (one & other).sum() / (one.sum() + other.sum())
    assert fuse(network(16), atlas(12)).agreement == pytest.approx(expected)
    assert fuse(network(16), atlas(12)).agreement < 0.9


def test_what_cannot_be_fused_is_refused():
    with pytest.raises(DataError, match="cannot be fused"):
        fuse(network(16), atlas(16)[1:])
    with pytest.raises(DataError, match="stands out"):
        fuse(network(16) * 0, atlas(16) * 0)
