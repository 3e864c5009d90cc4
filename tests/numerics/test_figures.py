"""Mosaics show the right side, the right shape and the right outline."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from voxelome.errors import DataError
from voxelome.reports.canvas import LEVELS, contour_colour, font
from voxelome.reports.figures import mosaic


def picture(png: bytes) -> np.ndarray:
    """Red, green and blue of every pixel."""
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def entries(png: bytes) -> np.ndarray:
    """Palette entry of every pixel."""
    return np.asarray(Image.open(io.BytesIO(png)))


def affine(*spacing: float) -> np.ndarray:
    return np.diag([*spacing, 1.0])


def head(shape: tuple[int, int, int] = (40, 40, 40)) -> np.ndarray:
    """A dim block with room around it."""
    data = np.zeros(shape, np.float32)
    data[4:-4, 4:-4, 4:-4] = 100
    return data


def full(data: np.ndarray) -> np.ndarray:
    return np.ones(data.shape, bool)


def centroid(hits: np.ndarray) -> tuple[float, float]:
    rows, columns = np.nonzero(hits)
    return float(rows.mean()), float(columns.mean())


@pytest.mark.parametrize(
    ("plane", "spot", "right", "low"),
    [
        ("axial", (8, 20, 20), True, None),  # the patient's left is on the right
        ("axial", (31, 20, 20), False, None),
        ("axial", (20, 31, 20), None, False),  # anterior is on top
        ("coronal", (8, 20, 20), True, None),
        ("coronal", (20, 20, 31), None, False),  # superior is on top
        ("sagittal", (20, 31, 20), False, None),  # anterior is on the left
        ("sagittal", (20, 20, 8), None, True),
    ],
)
def test_a_bright_spot_appears_on_the_radiological_side(plane, spot, right, low):
    data = head()
    data[tuple(slice(i - 2, i + 3) for i in spot)] = 1000
    png = mosaic(
        data, affine(1, 1, 1), window=(0, 1000), planes=(plane,), slices=1, crop=full(data), width=410
    )
    bright = entries(png) == LEVELS - 1
    row, column = centroid(bright)
    middle = (bright.shape[0] / 2, bright.shape[1] / 2)
    if right is not None:
        assert (column > middle[1]) is right
        assert abs(row - middle[0]) < 6
    if low is not None:
        assert (row > middle[0]) is low
        assert abs(column - middle[1]) < 6


@pytest.mark.parametrize(("plane", "letters"), [("axial", "RL"), ("coronal", "RL"), ("sagittal", "AP")])
def test_the_letters_stand_on_their_sides(plane, letters):
    data = head()
    png = mosaic(
        np.zeros_like(data),
        affine(1, 1, 1),
        window=(0, 1),
        planes=(plane,),
        slices=1,
        crop=full(data),
        width=200,
    )
    shown = picture(png)[..., 0]
    middle = shown.shape[0] // 2
    for letter, side in zip(letters, (slice(0, 40), slice(160, 200)), strict=True):
        scores = {other: best_match(shown[middle - 14 : middle + 14, side], other) for other in "RLAPSI"}
        assert max(scores, key=scores.get) == letter, scores


def best_match(part: np.ndarray, letter: str) -> float:
    """Highest correlation of a letter's drawing with any place of a picture."""
    glyph = Image.new("L", (16, 18))
    ImageDraw.Draw(glyph).text((8, 9), letter, fill=255, font=font(14), anchor="mm")
    pattern = np.asarray(glyph, float)
    windows = np.lib.stride_tricks.sliding_window_view(part.astype(float), pattern.shape)
    best = 0.0
    for window in windows.reshape(-1, *pattern.shape):
        if window.std() > 0:
            best = max(best, float(np.corrcoef(window.ravel(), pattern.ravel())[0, 1]))
    return best


def test_thick_slices_keep_the_true_shape_of_a_sphere():
    spacing = np.array([0.8, 0.8, 6.0])
    shape = (150, 150, 20)
    axes = np.meshgrid(
        *[(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing, strict=True)], indexing="ij"
    )
    data = (sum(axis**2 for axis in axes) < 48**2).astype(np.float32)
    for plane in ("axial", "coronal", "sagittal"):
        png = mosaic(
            data, affine(*spacing), window=(0, 1), planes=(plane,), slices=1, crop=full(data), width=610
        )
        bright = (entries(png) > LEVELS // 2) & (entries(png) < LEVELS)
        rows, columns = (np.flatnonzero(bright.any(axis=axis)) for axis in (1, 0))
        ratio = np.ptp(rows) / np.ptp(columns)
        assert ratio == pytest.approx(1, abs=0.07), plane
        # 120 mm fill 600 pixels.
        assert np.ptp(columns) == pytest.approx(96 * 5, rel=0.04), plane


def test_the_outline_lies_on_the_border_of_the_mask():
    data = head()
    mask = np.zeros(data.shape, bool)
    mask[10:30, 12:28, 5:35] = True
    # Ten pixels a voxel: the tile is 400 wide and starts at 5.
    png = mosaic(
        data,
        affine(1, 1, 1),
        window=(0, 1000),
        overlay=mask,
        planes=("axial",),
        slices=1,
        crop=full(data),
        width=410,
    )
    rows, columns = np.nonzero(entries(png) == contour_colour(1))
    edges = {"left": (40 - 30) * 10, "right": (40 - 10) * 10, "top": (40 - 28) * 10, "bottom": (40 - 12) * 10}
    assert columns.min() - 5 == pytest.approx(edges["left"], abs=1)
    assert columns.max() - 5 == pytest.approx(edges["right"] - 1, abs=1)
    assert rows.min() - 5 == pytest.approx(edges["top"], abs=1)
    assert rows.max() - 5 == pytest.approx(edges["bottom"] - 1, abs=1)
    inner = (columns - 5 > edges["left"] + 4) & (columns - 5 < edges["right"] - 5)
    inner &= (rows - 5 > edges["top"] + 4) & (rows - 5 < edges["bottom"] - 5)
    assert not inner.any()


def test_a_lesion_of_one_voxel_is_outlined_even_where_pixels_are_larger():
    data = head((120, 120, 120))
    lesion = np.zeros(data.shape, np.uint8)
    lesion[61, 47, 60] = 3
    png = mosaic(
        data,
        affine(1, 1, 1),
        overlay=lesion,
        box=lesion > 0,
        crop=full(data),
        planes=("axial",),
        slices=3,
        width=240,
    )
    assert (entries(png) == contour_colour(1)).sum() == 1


def test_every_label_that_occurs_has_its_own_colour_in_the_order_of_values():
    data = head()
    labels = np.zeros(data.shape, np.int16)
    labels[8:14, 8:30, 8:30], labels[16:22, 8:30, 8:30], labels[24:30, 8:30, 8:30] = 4, 1, 2
    png = mosaic(
        data, affine(1, 1, 1), overlay=labels, planes=("axial",), slices=1, crop=full(data), width=410
    )
    columns = [centroid(entries(png) == contour_colour(rank))[1] for rank in (1, 2, 3)]
    assert columns[2] > columns[0] > columns[1]  # 4 is on the patient's left, 2 on the right


def test_the_legend_and_the_colour_bar_make_the_picture_taller_and_nothing_else():
    data = head()
    labels = (data > 0).astype(np.uint8)
    options = {"overlay": labels, "window": (0, 200), "crop": full(data), "width": 400}
    bare = entries(mosaic(data, affine(1, 1, 1), **options))
    dressed = entries(mosaic(data, affine(1, 1, 1), names={1: "brain"}, unit="a.u.", **options))
    assert dressed.shape[0] > bare.shape[0]
    assert np.array_equal(dressed[: bare.shape[0]], bare)


def test_two_images_with_one_box_and_crop_lie_on_the_same_pixels():
    first, second = head(), head() * 3
    second[20:, 20:, 20:] += 55
    crop = first > 0
    shapes = {
        picture(mosaic(image, affine(1, 1, 2), crop=crop, overlay=crop)).shape for image in (first, second)
    }
    assert len(shapes) == 1


def test_a_z_scored_image_has_a_black_background():
    rng = np.random.default_rng(0)
    data = head()
    data[data > 0] = rng.normal(size=int((data > 0).sum()))
    shown = picture(mosaic(data, affine(1, 1, 1), planes=("axial",), slices=1, crop=full(data), width=410))
    assert shown[12:30, 12:30].max() == 0
    assert shown[150:250, 150:250].mean() > 60


def test_slices_through_a_thin_box_are_neighbours_and_stay_inside_the_volume():
    data = np.zeros((60, 60, 12), np.float32)
    data[4:-4, 4:-4] = np.arange(12)[None, None] + 1
    box = np.zeros(data.shape, bool)
    box[20:30, 20:30, 10:12] = True
    png = mosaic(
        data,
        affine(1, 1, 6),
        window=(0, 12),
        planes=("axial",),
        slices=4,
        box=box,
        crop=full(data),
        width=425,
    )
    middles = entries(png)[55, [50, 155, 260, 365]]
    expected = np.rint(np.array([9, 10, 11, 12]) / 12 * (LEVELS - 1))
    assert middles.tolist() == expected.tolist()


def test_the_same_input_gives_the_same_bytes():
    data = head()
    first, second = (
        mosaic(data.copy(), affine(1, 1, 1), overlay=data > 0, names={1: "a"}, unit="s") for _ in "ab"
    )
    assert first == second


def test_a_whole_brain_stays_below_250_kb():
    rng = np.random.default_rng(1)
    data = head((180, 220, 180)) + rng.normal(scale=8, size=(180, 220, 180)).astype(np.float32)
    png = mosaic(data, affine(1, 1, 1), overlay=data > 50)
    assert len(png) < 250_000
    assert picture(png).shape[1] == 960


@pytest.mark.parametrize("value", [0.0, 5.0, np.nan])
def test_an_image_of_one_value_is_drawn(value):
    assert picture(mosaic(np.full((8, 9, 10), value), affine(1, 1, 1))).any()


def test_a_grid_that_is_not_ras_is_refused_since_left_and_right_would_be_swapped():
    with pytest.raises(DataError, match="RAS"):
        mosaic(head(), affine(-1, 1, 1))


def test_an_overlay_on_another_grid_is_refused():
    with pytest.raises(DataError, match="shape"):
        mosaic(head(), affine(1, 1, 1), overlay=np.zeros((3, 3, 3), bool))


def test_a_series_of_volumes_is_refused():
    with pytest.raises(DataError, match="3D"):
        mosaic(np.zeros((3, 3, 3, 2)), affine(1, 1, 1))
