"""Steps after a segmentation remove, fill and relabel what they say, and nothing else."""

import numpy as np
import pytest

from voxelome.errors import DataError
from voxelome.segmentation.postprocess import postprocess
from voxelome.segmentation.postprocess_settings import check_steps

NAMES = {1: "whole", 2: "core", 3: "enhancing"}
MM = (1.0, 1.0, 1.0)


def scene():
    """A tumour of three nested boxes, a lone core of 8 voxels and a lone voxel of the outermost label."""
    labels = np.zeros((30, 20, 20), dtype=np.uint8)
    labels[2:14, 2:14, 2:14] = 1
    labels[4:10, 4:10, 4:10] = 2
    labels[6:8, 6:8, 6:8] = 3
    labels[20:22, 5:7, 5:7] = 2
    labels[27, 15, 15] = 1
    return labels


def run(labels, *steps, spacing=MM, **options):
    return postprocess(labels, spacing, steps, NAMES, **options)


def test_the_largest_component_is_taken_of_all_labels_together():
    after, said = run(scene(), {"name": "largest_component"})
    expected = scene()
    expected[15:] = 0
    assert np.array_equal(after, expected)
    assert said == [
        "largest_component: removed 2 of 3 parts of whole, core, enhancing beside the largest one, 0.009 ml"
    ]


def test_the_largest_component_of_each_label_leaves_the_other_labels_alone():
    labels = scene()
    labels[25:28, 2:4, 2:4] = 3
    after, _ = run(labels, {"name": "largest_component", "labels": ["core", "enhancing"], "each": True})
    assert not (after[20:22] == 2).any()
    assert (after[25:28] == 3).sum() == 12
    assert not (after[6:8, 6:8, 6:8] == 3).any()
    assert after[27, 15, 15] == 1


def test_parts_that_touch_at_a_corner_are_one_part():
    labels = np.zeros((6, 6, 6), dtype=np.int16)
    labels[0, 0, 0] = labels[1, 1, 1] = labels[2, 2, 2] = labels[5, 5, 5] = 1
    after, _ = run(labels, {"name": "largest_component"})
    assert after.sum() == 3


def test_a_part_of_exactly_the_least_volume_stays_whatever_the_voxels():
    for spacing in (MM, (0.5, 0.7, 3.0), (0.1, 0.1, 0.1)):
        eight = 8 * np.prod(spacing) / 1000
        after, _ = run(scene(), {"name": "minimum_volume", "ml": float(eight)}, spacing=spacing)
        assert (after[20:22] == 2).sum() == 8
        assert after[27, 15, 15] == 0
        after, _ = run(scene(), {"name": "minimum_volume", "ml": float(eight) * 1.01}, spacing=spacing)
        assert not after[15:].any()


def test_a_small_inner_label_inside_a_large_one_is_no_small_part_unless_each_label_counts():
    together, _ = run(scene(), {"name": "minimum_volume", "ml": 0.02})
    each, said = run(scene(), {"name": "minimum_volume", "ml": 0.02, "each": True})
    assert (together == 3).sum() == 8
    assert (each == 3).sum() == 0
    assert [sentence.split(" of ")[-2].split(" ")[0] for sentence in said] == ["whole", "core", "enhancing"]


def test_holes_get_the_label_around_them_and_other_labels_are_no_holes():
    labels = scene()
    labels[3, 3, 3] = 0
    labels[5, 5, 5] = 0
    labels[6:8, 6:8, 6:8] = 0
    after, said = run(labels, {"name": "fill_holes"})
    assert after[3, 3, 3] == 1
    assert (after[4:10, 4:10, 4:10] == 2).all()
    assert said == ["fill_holes: filled 0.01 ml inside whole, core, enhancing"]
    only_whole, said = run(scene(), {"name": "fill_holes", "labels": ["whole"]})
    assert np.array_equal(only_whole, scene())
    assert said == ["fill_holes: nothing changed"]


def test_a_hole_open_to_the_outside_is_not_filled():
    labels = np.zeros((7, 7, 7), dtype=np.uint8)
    labels[1:6, 1:6, 1:6] = 1
    labels[3, 3, 3:6] = 0
    assert np.array_equal(run(labels, {"name": "fill_holes"})[0], labels)


def test_the_nearest_label_is_nearest_in_mm():
    labels = np.ones((5, 5, 5), dtype=np.uint8)
    labels[:, :, 0] = labels[:, :, 4] = 2
    labels[2, 2, 1:4] = 0
    labels[1, 2, 2] = labels[3, 2, 2] = labels[2, 1, 2] = labels[2, 3, 2] = 3
    assert run(labels, {"name": "fill_holes"}, spacing=(5, 5, 1))[0][2, 2, 1] == 2
    assert run(labels, {"name": "fill_holes"}, spacing=(1, 1, 5))[0][2, 2, 2] == 3


def test_an_inner_label_without_its_outer_one_is_removed_or_gets_the_outer_one():
    order = {"name": "hierarchy", "order": ["whole", "core", "enhancing"]}
    removed, said = run(scene(), order)
    assert not removed[20:22].any()
    assert np.array_equal(removed[:15], scene()[:15])
    assert said == ["hierarchy: removed 0.008 ml of core, enhancing without whole"]
    relabelled, _ = run(scene(), {**order, "orphans": "relabel"})
    assert (relabelled[20:22] == 1).sum() == 8


def test_an_enhancing_spot_without_a_core_becomes_what_is_around_it_or_core():
    labels = scene()
    labels[11:13, 11:13, 11:13] = 3
    after, said = run(labels, {"name": "hierarchy", "order": ["whole", "core", "enhancing"]})
    assert (after[11:13, 11:13, 11:13] == 1).all()
    relabelled, _ = run(
        labels, {"name": "hierarchy", "order": ["whole", "core", "enhancing"], "orphans": "relabel"}
    )
    assert (relabelled[11:13, 11:13, 11:13] == 2).all()
    assert "0.008 ml of enhancing without core" in said[0]


def test_by_probabilities_an_inner_voxel_needs_all_regions_around_it():
    labels = scene()
    whole, core = np.zeros((2, *labels.shape), dtype=np.float32)
    whole[2:14, 2:14, 2:14] = 0.9
    core[4:10, 4:10, 4:10] = 0.8
    labels[12, 12, 12] = 3
    labels[20:22, 5:7, 5:7] = 3
    whole[5, 5, 5] = 0.2
    settings = {"name": "hierarchy", "order": ["whole", "core", "enhancing"], "by": "probabilities"}
    after, said = run(labels, settings, probabilities={1: whole, 2: core})
    assert after[12, 12, 12] == 1
    assert not after[20:22].any()
    assert after[5, 5, 5] == 0
    assert after[27, 15, 15] == 1
    assert (after[6:8, 6:8, 6:8] == 3).all()
    assert said == [
        "hierarchy: took the label from 0.001 ml of core outside of whole",
        "hierarchy: took the label from 0.009 ml of enhancing outside of whole, core",
    ]


def test_little_enhancing_tumour_becomes_core_and_enough_of_it_does_not():
    small = {"name": "relabel_small", "label": "enhancing", "into": "core"}
    after, said = run(scene(), {**small, "ml": 0.0081})
    assert (after == 3).sum() == 0
    assert (after == 2).sum() == (scene() >= 2).sum()
    assert said == ["relabel_small: made core of 0.008 ml of enhancing (less than 0.0081 ml in all)"]
    assert np.array_equal(run(scene(), {**small, "ml": 0.008})[0], scene())
    labels = scene()
    labels[12, 12, 12] = 3
    by_part, _ = run(labels, {**small, "ml": 0.008, "each": True})
    assert by_part[12, 12, 12] == 2
    assert (by_part == 3).sum() == 8


def test_steps_run_in_the_order_given_and_the_input_stays_as_it_was():
    labels = scene()
    labels[20:22, 5:7, 5:7] = 3
    steps = [
        {"name": "largest_component"},
        {"name": "relabel_small", "label": "enhancing", "into": "core", "ml": 0.01},
    ]
    before = labels.copy()
    first, _ = run(labels, *steps)
    second, _ = run(labels, *steps[::-1])
    assert (first == 3).sum() == 0
    assert (second == 3).sum() == 8
    assert np.array_equal(labels, before)


@pytest.mark.parametrize(
    "step",
    [
        {"name": "largest_component", "each": True},
        {"name": "minimum_volume", "ml": 1},
        {"name": "fill_holes"},
        {"name": "hierarchy", "order": ["whole", "core"]},
        {"name": "relabel_small", "label": "core", "into": "whole", "ml": 1},
    ],
)
def test_an_empty_segmentation_stays_empty(step):
    after, said = run(np.zeros((4, 5, 6), dtype=np.int16), step)
    assert after.dtype == np.int16
    assert not after.any()
    assert said == [f"{step['name']}: nothing changed"]


@pytest.mark.parametrize(
    ("step", "says"),
    [
        ({"name": "largest_componet"}, "did you mean largest_component"),
        ({}, "no step None"),
        ({"name": "minimum_volume"}, "lacks ml"),
        ({"name": "minimum_volume", "ml": 0}, "no volume in ml"),
        ({"name": "minimum_volume", "ml": True}, "no volume in ml"),
        ({"name": "minimum_volume", "ml": "1 ml"}, "no volume in ml"),
        ({"name": "minimum_volume", "m1": 1}, "no setting m1"),
        ({"name": "fill_holes", "labels": "core"}, "no list"),
        ({"name": "fill_holes", "labels": []}, "no list"),
        ({"name": "fill_holes", "labels": ["cor"]}, "did you mean core"),
        ({"name": "fill_holes", "each": "yes"}, "neither true nor false"),
        ({"name": "hierarchy", "order": ["whole"]}, "2 or more"),
        ({"name": "hierarchy", "order": ["whole", "whole"]}, "twice"),
        ({"name": "hierarchy", "order": ["whole", "core"], "orphans": "drop"}, "none of remove, relabel"),
        ({"name": "relabel_small", "label": "enhancing", "ml": 1}, "lacks into"),
    ],
)
def test_a_step_that_does_not_fit_is_refused_before_any_step_runs(step, says):
    with pytest.raises(DataError, match=says):
        check_steps([{"name": "fill_holes"}, step], NAMES)
    with pytest.raises(DataError, match=says):
        run(scene(), step)


def test_bad_arrays_are_refused():
    with pytest.raises(DataError, match="2D"):
        run(np.zeros((4, 4), dtype=np.uint8), {"name": "fill_holes"})
    with pytest.raises(DataError, match="float64"):
        run(np.zeros((4, 4, 4)), {"name": "fill_holes"})
    with pytest.raises(DataError, match="voxel sizes"):
        run(scene(), {"name": "fill_holes"}, spacing=(1, 1, 0))
    with pytest.raises(DataError, match="probability of label 1"):
        run(scene(), {"name": "fill_holes"}, probabilities={1: np.zeros((3, 3, 3))})
    nested = {"name": "hierarchy", "order": ["whole", "core"], "by": "probabilities"}
    with pytest.raises(DataError, match="lacks the probability of whole"):
        run(scene(), nested)
