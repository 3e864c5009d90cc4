"""Lesions of two visits are matched and judged as they were made."""

import numpy as np
import pytest
from scipy import ndimage

from voxelome.errors import DataError
from voxelome.segmentation.change import CHANGES, ChangeRules, compare_visits

SHAPE = (60, 40, 30)


def ball(centre, radius, spacing=(1.0, 1.0, 1.0), shape=SHAPE):
    offset = (np.indices(shape) - np.reshape(centre, (3, 1, 1, 1))) * np.reshape(spacing, (3, 1, 1, 1))
    return np.linalg.norm(offset, axis=0) <= radius


def compare(first, second, spacing=(1.0, 1.0, 1.0), **rules):
    return compare_visits(first, second, np.diag([*spacing, 1.0]), ChangeRules(**rules))


def nothing():
    return np.zeros(SHAPE, dtype=bool)


def test_each_kind_of_change_is_told_counted_and_drawn():
    stable, new, gone = ball((8, 8, 8), 4), ball((20, 8, 8), 3), ball((32, 8, 8), 3)
    small, large = ball((10, 28, 15), 4), ball((10, 28, 15), 7)
    small_other, large_other = ball((40, 28, 15), 4), ball((40, 28, 15), 7)
    first = stable | gone | small | large_other
    second = stable | new | large | small_other
    result = compare(first, second)
    assert result.counts == dict(zip(CHANGES, (1, 1, 1, 1, 1, 0), strict=True))
    expected = np.zeros(SHAPE, dtype=np.uint8)
    expected[stable | small | small_other] = 5
    expected[new], expected[gone] = 1, 4
    expected[large & ~small], expected[large_other & ~small_other] = 2, 3
    assert np.array_equal(result.map, expected)
    assert (result.first_ml, result.second_ml) == pytest.approx((first.sum() / 1000, second.sum() / 1000))
    by_change = {group.change: group for group in result.groups}
    assert by_change["new"].centroid == (20.0, 8.0, 8.0)
    assert by_change["grown"].first_ml == pytest.approx(small.sum() / 1000)
    assert by_change["shrunk"].beyond_ml < 0 < by_change["grown"].beyond_ml
    assert result.numbers[20, 8, 8] == by_change["new"].number


def test_groups_are_numbered_by_volume():
    result = compare(ball((10, 10, 10), 3), ball((40, 20, 15), 5) | ball((10, 10, 10), 4))
    volumes = [max(group.first_ml, group.second_ml) for group in result.groups]
    assert volumes == sorted(volumes, reverse=True)
    assert [group.number for group in result.groups] == [1, 2]


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 0.7, 3.0)])
def test_a_lesion_moved_or_drawn_wider_by_one_voxel_is_stable(spacing):
    first = ball((20, 20, 15), 6, spacing)
    for shifted in (np.roll(first, 1, axis=0), np.roll(first, -1, axis=2)):
        assert [group.change for group in compare(first, shifted, spacing).groups] == ["stable"]
    wider = ndimage.binary_dilation(first)
    assert wider.sum() > 1.25 * first.sum()
    for pair in ((first, wider), (wider, first)):
        (group,) = compare(*pair, spacing).groups
        assert (group.change, group.beyond_ml) == ("stable", 0)


def test_growth_needs_the_share_of_the_volume_unless_one_piece_is_a_lesion_by_itself():
    first = ball((25, 20, 15), 11)
    tongue = first | ball((38, 20, 15), 3.5)
    assert tongue.sum() < 1.1 * first.sum()
    assert compare(first, tongue).groups[0].change == "grown"
    assert compare(first, tongue, focal_ml=1.0).groups[0].change == "stable"
    assert compare(first, tongue, focal_ml=1.0, relative=0.01).groups[0].change == "grown"
    assert compare(first, tongue, relative=0.01, beyond_ml=1.0).groups[0].change == "stable"


def test_a_lesion_that_falls_apart_is_one_group_with_the_volumes_together():
    first = nothing()
    first[10:30, 10:16, 10:16] = True
    second = first.copy()
    second[19:21] = False
    (group,) = compare(first, second).groups
    assert group.change == "stable"
    assert group.second_ml == pytest.approx(0.9 * group.first_ml)
    assert len(compare(second, first).groups) == 1


def test_a_chain_of_overlaps_is_one_group_and_what_it_does_not_touch_another():
    first, second = nothing(), nothing()
    first[5:15, 5:9, 5:9], first[20:30, 5:9, 5:9] = True, True
    second[12:23, 5:9, 5:9], second[28:36, 5:9, 5:9] = True, True
    second[45:50, 30:35, 20:25] = True
    groups = compare(first, second).groups
    assert [group.first_ml for group in groups] == [pytest.approx(first.sum() / 1000), 0]
    assert groups[1].second_ml == pytest.approx(second[45:50].sum() / 1000)


def test_a_new_lesion_beside_an_old_one_is_growth_and_two_voxels_off_is_new():
    first = ball((15, 20, 15), 5)
    touching, apart = ball((24, 20, 15), 3), ball((26, 20, 15), 3)
    assert compare(first, first | touching).counts["grown"] == 1
    result = compare(first, first | apart)
    assert (result.counts["new"], result.counts["stable"]) == (1, 1)
    assert compare(first, first | apart, shell=3).counts["new"] == 0


def test_what_is_new_but_too_small_is_counted_apart_and_not_drawn():
    second = nothing()
    second[5, 5, 5] = second[20:25, 20, 15] = True
    second[40:45, 30:32, 15] = True
    result = compare(nothing(), second)
    assert result.counts["new"] == 1
    assert result.counts["too small"] == 2
    assert (result.map == 1).sum() == 10
    assert not result.map[5, 5, 5]
    assert compare(nothing(), second, smallest_ml=0).counts["new"] == 3
    assert compare(second, nothing()).counts["vanished"] == 1


def test_a_single_voxel_that_stays_is_stable():
    one = nothing()
    one[0, 0, 0] = one[59, 39, 29] = True
    assert compare(one, one).counts["stable"] == 2


def test_volumes_are_those_of_the_voxels():
    first, second = ball((20, 20, 15), 6, (0.5, 0.8, 3)), ball((20, 20, 15), 9, (0.5, 0.8, 3))
    (group,) = compare(first, second, (0.5, 0.8, 3)).groups
    assert (group.first_ml, group.second_ml) == pytest.approx((first.sum() * 0.0012, second.sum() * 0.0012))


def test_the_reverse_order_of_visits_gives_the_reverse_changes():
    rng = np.random.default_rng(0)
    first = ndimage.gaussian_filter(rng.normal(size=SHAPE), 2) > 0.1
    second = ndimage.gaussian_filter(rng.normal(size=SHAPE), 2) + 0.5 * first > 0.14
    there, back = compare(first, second, relative=0), compare(second, first, relative=0)
    pairs = [("new", "vanished"), ("vanished", "new"), ("grown", "shrunk"), ("too small", "too small")]
    assert sum(there.counts.values()) > 10
    assert [there.counts[one] for one, _ in pairs] == [back.counts[other] for _, other in pairs]


def test_no_lesions_at_one_visit_or_at_both_are_results():
    result = compare(nothing(), nothing())
    assert result.groups == []
    assert sum(result.counts.values()) == 0
    assert compare(nothing(), ball((20, 20, 15), 5)).counts["new"] == 1
    assert compare(ball((20, 20, 15), 5), nothing()).counts["vanished"] == 1


def test_bad_input_is_refused():
    with pytest.raises(DataError, match="second visit has the shape"):
        compare(nothing(), np.zeros((3, 3, 3), dtype=bool))
    with pytest.raises(DataError, match="2 dimensions"):
        compare(np.zeros((3, 3), dtype=bool), np.zeros((3, 3), dtype=bool))
    with pytest.raises(DataError, match="rules of change"):
        compare(nothing(), nothing(), relative=-1)
