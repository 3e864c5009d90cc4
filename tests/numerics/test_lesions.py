"""Lesions are measured and placed as they were made."""

import numpy as np
import pytest
from scipy import ndimage

from voxelome.errors import DataError
from voxelome.radiomics.shape import measure_mesh
from voxelome.segmentation.lesions import largest_diameter, lesion_columns, lesion_table
from voxelome.segmentation.template_points import inverse_points

NAMES = {1: "oedema", 2: "core"}
# 0.5 x 0.8 x 3 mm, axes flipped and rotated as in a real scan.
TURN = np.array([[-0.96, -0.28, 0], [0.28, -0.96, 0], [0, 0, 1.0]])
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3], OBLIQUE[:3, 3] = TURN @ np.diag([0.5, 0.8, 3.0]), (90, 120, -70)


def ball(shape, centre, radius, spacing=(1, 1, 1)):
    distance = (np.indices(shape) - np.reshape(centre, (3, 1, 1, 1))) * np.reshape(spacing, (3, 1, 1, 1))
    return np.linalg.norm(distance, axis=0) <= radius


def scene():
    labels = np.zeros((60, 50, 16), dtype=np.uint8)
    labels[ball(labels.shape, (40, 25, 8), 9, (0.5, 0.8, 3))] = 1
    labels[ball(labels.shape, (40, 25, 8), 5, (0.5, 0.8, 3))] = 2
    labels[10:14, 10:14, 4] = 2
    labels[2, 2, 2] = 1
    return labels


def world(voxel, affine=OBLIQUE):
    return affine[:3, :3] @ np.asarray(voxel, dtype=float) + affine[:3, 3]


def test_rows_are_sorted_by_volume_and_hold_what_was_made():
    labels = scene()
    rows = lesion_table(labels, OBLIQUE, NAMES)
    big = (labels > 0) & ball(labels.shape, (40, 25, 8), 10, (0.5, 0.8, 3))
    assert [row["voxels"] for row in rows] == [int(big.sum()), 16, 1]
    assert [row["lesion"] for row in rows] == [1, 2, 3]
    assert [row["label"] for row in rows] == ["oedema, core", "core", "oedema"]
    assert rows[0]["volume_ml"] == pytest.approx(4 / 3 * np.pi * 9**3 / 1000, rel=0.03)
    assert rows[0]["volume_ml"] == pytest.approx(rows[0]["oedema_ml"] + rows[0]["core_ml"])
    assert rows[0]["core_ml"] == pytest.approx((labels[big] == 2).sum() * 1.2 / 1000)
    for row, centre in zip(rows, [(40, 25, 8), (11.5, 11.5, 4), (2, 2, 2)], strict=True):
        assert [row[f"{axis}_mm"] for axis in "xyz"] == pytest.approx(world(centre))


def test_every_column_is_there_and_what_is_not_told_is_none():
    (row,) = lesion_table((scene() > 0)[:5, :5].astype(np.uint8), OBLIQUE, {1: "lesion"})
    assert set(row) == set(lesion_columns({1: "lesion"}))
    told = {"lesion", "label", "voxels", "volume_ml", "diameter_mm", "x_mm", "y_mm", "z_mm"}
    assert {name for name, value in row.items() if value is not None} == told


def test_no_lesion_gives_no_row():
    nothing = np.zeros((5, 5, 5), dtype=np.uint8)
    options = {"probability": nothing.astype(float), "to_template": lambda p: p}
    assert lesion_table(nothing, np.eye(4), NAMES, **options) == []


def test_the_diameter_is_that_of_pyradiomics_mesh():
    rng = np.random.default_rng(0)
    for spacing in ((1.0, 1.0, 1.0), (0.5, 0.8, 3.0)):
        mask = ball((14, 12, 10), (7, 6, 5), 4) | (rng.random((14, 12, 10)) > 0.97)
        affine = np.diag([*spacing, 1.0])
        expected = measure_mesh(mask, spacing).diameters[3]
        assert largest_diameter(np.argwhere(mask), affine) == pytest.approx(expected)


def test_a_single_voxel_is_as_wide_as_its_longest_side():
    assert largest_diameter(np.array([[3, 4, 5]]), OBLIQUE) == pytest.approx(3.0)
    ball_voxels = np.argwhere(ball((44, 44, 44), (22, 22, 22), 20))
    assert largest_diameter(ball_voxels, np.eye(4)) == pytest.approx(41, abs=0.5)


def test_every_column_of_several_labels_is_explained_with_its_unit():
    rows = lesion_table(scene(), OBLIQUE, NAMES)
    columns = lesion_columns(NAMES)
    assert all(set(row) == set(columns) for row in rows)
    assert columns["core_ml"] == ("Volume of its part that is core", "ml")


def test_a_lesions_side_and_centroid_are_those_in_the_template():
    labels = np.zeros((61, 21, 21), dtype=np.uint8)
    affine = np.eye(4)
    affine[:3, 3] = (-30, -10, -10)
    labels[10:14, 5, 5] = labels[50:53, 5, 5] = labels[28:33, 15, 15] = 1
    shift = np.eye(4)
    shift[:3, 3] = (0, 20, -5)
    rows = lesion_table(labels, affine, NAMES, to_template=inverse_points(shift))
    assert [row["side"] for row in rows] == ["midline", "left", "right"]
    assert [rows[1][f"template_{axis}_mm"] for axis in "xyz"] == pytest.approx([-18.5, -25, 0])


def test_a_lesion_across_the_midplane_is_on_neither_side():
    labels = np.zeros((61, 5, 5), dtype=np.uint8)
    labels[20:46, 2, 2] = 1
    affine = np.eye(4)
    affine[0, 3] = -30
    assert lesion_table(labels, affine, NAMES, to_template=lambda points: points)[0]["side"] == "midline"


def test_points_outside_the_template_leave_the_place_unknown():
    labels = np.zeros((5, 5, 5), dtype=np.uint8)
    labels[2, 2, 2] = 1
    (row,) = lesion_table(labels, np.eye(4), NAMES, to_template=lambda points: np.full_like(points, np.nan))
    assert row["side"] is None
    assert row["template_x_mm"] is None


def test_a_deformation_is_undone():
    shape, affine = (40, 44, 36), np.diag([3.0, 3.0, 3.0, 1.0])
    affine[:3, 3] = (-60, -66, -54)
    grid = np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    displacement = (6 * np.sin(grid[..., ::-1] / 15)).astype(np.float32)
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = 1.1 * TURN, (5, -3, 8)
    rng = np.random.default_rng(1)
    template = rng.uniform(-40, 40, (500, 3))
    inside = np.linalg.inv(affine) @ np.c_[template, np.ones(500)].T
    moved = np.stack(
        [ndimage.map_coordinates(displacement[..., axis], inside[:3], order=1) for axis in range(3)], axis=1
    )
    points = (template + moved) @ matrix[:3, :3].T + matrix[:3, 3]
    assert np.abs(inverse_points(matrix, displacement, affine)(points) - template).max() < 0.01
    far = inverse_points(matrix, displacement, affine)(np.array([[500.0, 0, 0]]))
    assert np.isnan(far).all()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((np.zeros((4, 4)),), "no inverse"),
        ((np.eye(4), np.zeros((3, 3, 3, 3))), "no affine"),
        ((np.eye(4), np.zeros((3, 3, 3)), np.eye(4)), "an affine"),
    ],
)
def test_a_transform_that_cannot_be_inverted_is_refused(arguments, says):
    with pytest.raises(DataError, match=says):
        inverse_points(*arguments)


def test_confidence_of_each_lesion_stands_in_its_row():
    labels = np.zeros((10, 10, 10), dtype=np.uint8)
    labels[0:2, 0, 0], labels[5:8, 5, 5] = 1, 1
    probability = np.where(labels > 0, 0.5, 0.0)
    probability[5:8, 5, 5] = (0.9, 1.0, 0.8)
    rows = lesion_table(labels, np.eye(4), NAMES, probability=probability)
    assert [row["probability_mean"] for row in rows] == pytest.approx([0.9, 0.5])
    assert rows[1]["certainty"] == pytest.approx(0)


def test_bad_input_is_refused():
    with pytest.raises(DataError, match="labels 2 have no name"):
        lesion_table(scene(), OBLIQUE, {1: "oedema"})
    with pytest.raises(DataError, match="the probability has the shape"):
        lesion_table(scene(), OBLIQUE, NAMES, probability=np.zeros((1, 1, 1)))
    with pytest.raises(DataError, match="whole numbers"):
        lesion_table(scene().astype(float), OBLIQUE, NAMES)
