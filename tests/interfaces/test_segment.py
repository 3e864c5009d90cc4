"""Masks that come with the data: their names, and the way from one image's space to another's."""

import numpy as np
import pytest

from voxelome.errors import InputError
from voxelome.imageio import load_volume, save_volume
from voxelome.interfaces import CarryMasks
from voxelome.interfaces.label_table import read_label_table
from voxelome.interfaces.masks import matrix_between
from voxelome.interfaces.segment import label_names
from voxelome.step import StepRecord

AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])


def shift(x):
    matrix = np.eye(4)
    matrix[0, 3] = x
    return matrix


def test_one_label_takes_the_masks_name_and_several_are_numbered():
    assert label_names("a", "tumor", "n/a", np.array([0, 1])) == {1: "tumor"}
    assert label_names("a", "tumor", "n/a", np.array([0, 1, 4])) == {1: "tumor1", 4: "tumor4"}


def test_names_come_from_the_table_and_a_label_without_one_is_refused(tmp_path):
    table = tmp_path / "dseg.tsv"
    table.write_text("index\tname\n1\tcore\n2\tedema\n")
    assert label_names("a", "tumor", str(table), np.array([0, 2])) == {2: "edema"}
    with pytest.raises(InputError, match="label 4"):
        label_names("a", "tumor", str(table), np.array([0, 4]))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("index\tlabel\n1\tcore\n", "has no columns index and name"),
        ("", "has no columns index and name"),
        ("index\tname\n1\tcore\n2\n", "has no name for label 2"),
        ("index\tname\n1\t\n", "has no name for label 1"),
        ("index\tname\none\tcore\n", "has the index 'one', which is no whole number"),
        ("index\tname\n1\tcore\n1\tedema\n", "names label 1 both core and edema"),
    ],
)
def test_a_table_that_does_not_name_its_labels_is_refused_with_its_name(tmp_path, text, says):
    table = tmp_path / "dseg.tsv"
    table.write_text(text)
    with pytest.raises(InputError, match=says) as raised:
        read_label_table(table)
    assert raised.value.source == str(table)


def test_a_table_may_have_more_columns_a_background_and_names_that_look_like_none(tmp_path):
    table = tmp_path / "dseg.tsv"
    table.write_text("name\tcolor\tindex\n\t#000\t0\nNA\t#fff\t2\n\n", encoding="utf-8-sig")
    assert read_label_table(table) == {2: "NA"}


def test_the_way_between_two_images_goes_through_the_reference():
    record = StepRecord("register", "sub-01")
    record.outputs = [
        {"path": "a", "role": "matrix", "image": "FLAIR", "matrix": shift(5).tolist()},
        {"path": "b", "role": "matrix", "image": "MEGRE", "matrix": shift(-2).tolist()},
    ]
    # a point of the gradient echo is 2 mm further right in the reference, and 5 mm more in the FLAIR
    assert np.allclose(matrix_between(record, "T1w", "MEGRE", "FLAIR"), shift(7))
    assert np.allclose(matrix_between(record, "T1w", "T1w", "FLAIR"), shift(5))
    assert np.allclose(matrix_between(record, "T1w", "FLAIR", "FLAIR"), np.eye(4))


@pytest.fixture
def visit(tmp_path):
    """A visit of a T1w and a gradient echo that was moved by 4 mm, with a lesion on the T1w."""
    rng = np.random.default_rng(0)
    prepared, registered = StepRecord("preprocess", "sub-01"), StepRecord("register", "sub-01")
    for label in ("T1w", "MEGRE"):
        path = save_volume(tmp_path / f"{label}.nii.gz", rng.normal(size=(20, 20, 20)), AFFINE)
        prepared.add(path, "prepared", image=label, source=f"sub-01_{label}.nii.gz")
    registered.add(tmp_path / "x.mat", "matrix", image="MEGRE", matrix=shift(4).tolist())
    labels = np.zeros((20, 20, 20), dtype=np.uint8)
    labels[8:12, 8:12, 8:12] = 1
    mask = save_volume(tmp_path / "sub-01_desc-tumor_dseg.nii.gz", labels, AFFINE)
    prepared.parameters["reference"] = "T1w"
    prepared.save(tmp_path / "preprocess.json")
    registered.save(tmp_path / "register.json")
    return {
        "unit": "sub-01",
        "masks": [str(mask)],
        "names": ["tumor"],
        "label_tables": ["n/a"],
        "prepared": str(tmp_path / "preprocess.json"),
        "registered": str(tmp_path / "register.json"),
        "gradient_echoes": ["MEGRE"],
        "out_dir": str(tmp_path),
        "record": str(tmp_path / "segment.json"),
    }


def test_a_mask_goes_to_every_space_and_its_volume_is_kept(visit, tmp_path):
    CarryMasks(**visit).run()
    record = StepRecord.load(visit["record"])
    spaces = {item["space"]: load_volume(item["path"], dtype=None).data for item in record.find("labels")}
    assert set(spaces) == {"T1w", "MEGRE"}
    assert spaces["T1w"].sum() == spaces["MEGRE"].sum() == 64
    # a point of the reference lies 4 mm (2 voxels) further to the right in the gradient echo
    assert np.argwhere(spaces["MEGRE"]).mean(axis=0) == pytest.approx([11.5, 9.5, 9.5])
    assert record.quality == {"tumor tumor (ml)": 0.512}


def test_a_mask_on_a_grid_of_no_image_is_refused_by_name(visit, tmp_path):
    save_volume(visit["masks"][0], np.ones((5, 5, 5), dtype=np.uint8), AFFINE)
    with pytest.raises(InputError, match=r"tumor_dseg.nii.gz: its grid .* no image of this visit"):
        CarryMasks(**visit).run()


def test_a_mask_on_another_grid_is_resampled_by_its_header_where_that_is_asked_for(visit):
    fine = np.zeros((40, 40, 40), dtype=np.uint8)
    fine[16:24, 16:24, 16:24] = 1
    # The same cube in voxels of 1 mm: their centers lie half a millimeter off those of 2 mm.
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = -0.5
    save_volume(visit["masks"][0], fine, affine)
    CarryMasks(**visit, other_grids="resample").run()
    record = StepRecord.load(visit["record"])
    spaces = {item["space"]: load_volume(item["path"], dtype=None).data for item in record.find("labels")}
    expected = np.zeros((20, 20, 20), dtype=bool)
    expected[8:12, 8:12, 8:12] = True
    assert np.array_equal(spaces["T1w"] > 0, expected)
    assert np.argwhere(spaces["MEGRE"]).mean(axis=0) == pytest.approx([11.5, 9.5, 9.5])
    assert record.warnings == ["tumor: on no image's grid; resampled by its header to that of T1w."]


def test_a_map_comes_to_the_reference_with_its_numbers(visit, tmp_path):
    rng = np.random.default_rng(1)
    numbers = rng.uniform(500, 1500, (20, 20, 20)).astype(np.float32)
    numbers[:3] = 0
    numbers[4, 4, 4] = np.nan
    on_reference = save_volume(tmp_path / "sub-01_ADC.nii.gz", numbers, AFFINE)
    ramp = np.broadcast_to(100 + np.arange(20)[:, None, None], (20, 20, 20)).astype(np.float32)
    shifted = AFFINE.copy()
    shifted[0, 3] = 6.0
    on_another = save_volume(tmp_path / "sub-01_desc-x_CBV.nii.gz", ramp, shifted)
    maps = {"maps": [str(on_reference), str(on_another)], "map_labels": ["ADC", "desc-x_CBV"]}
    CarryMasks(**visit, **maps, other_grids="resample").run()
    record = StepRecord.load(visit["record"])
    found = {item["image"]: (item, load_volume(item["path"]).data) for item in record.find("map")}
    item, adc = found["ADC"]
    assert (item["space"], item["suffix"]) == ("T1w", "ADC")
    known = np.isfinite(numbers)
    assert np.array_equal(adc[known], numbers[known])
    assert adc[4, 4, 4] == 0
    # Three voxels further to the right in the world: the ramp begins there, and nothing is known before.
    cbv = found["desc-x_CBV"][1]
    assert np.allclose(cbv[3:, 5, 5], 100 + np.arange(17))
    assert not cbv[:2].any()


def test_a_map_on_a_grid_of_no_image_does_not_stop_the_others(visit, tmp_path):
    stray = save_volume(tmp_path / "sub-01_ADC.nii.gz", np.ones((4, 4, 4), dtype=np.float32), AFFINE)
    CarryMasks(**visit, maps=[str(stray)], map_labels=["ADC"]).run()
    record = StepRecord.load(visit["record"])
    (problem,) = record.problems
    assert "sub-01_ADC.nii.gz" in problem["path"]
    assert "no image of this visit" in problem["problem"]
    assert record.find("labels")
