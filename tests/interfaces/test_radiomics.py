"""Which regions are measured on which images."""

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from voxelome.errors import InputError
from voxelome.imageio import load_volume, save_volume, sidecar_path
from voxelome.interfaces import AssembleFeatures, ExtractRadiomics
from voxelome.step import StepRecord

AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])


@pytest.fixture
def visit(tmp_path):
    """A T1w with a brain, a map that is known in half of the brain, and a tiny label."""
    rng = np.random.default_rng(0)
    brain = np.zeros((20, 20, 20), dtype=bool)
    brain[4:16, 4:16, 4:16] = True
    registered = StepRecord("register", "sub-01")
    registered.add(save_volume(tmp_path / "mask.nii.gz", brain, AFFINE), "mask", space="T1w", name="brain")
    data = rng.normal(10, 2, brain.shape).clip(1)
    registered.add(save_volume(tmp_path / "t1.nii.gz", data, AFFINE), "image", image="T1w", space="T1w")
    half = data.copy()
    half[:10] = 0
    registered.add(
        save_volume(tmp_path / "map.nii.gz", half, AFFINE),
        "map",
        image="Chimap",
        space="T1w",
        suffix="Chimap",
    )
    labels = np.zeros(brain.shape, dtype=np.uint8)
    labels[8, 8, 8] = 2
    segmented = StepRecord("segment", "sub-01")
    segmented.add(
        save_volume(tmp_path / "dseg.nii.gz", labels, AFFINE),
        "labels",
        name="tumor",
        space="T1w",
        names={"2": "core"},
    )
    paths = [registered.save(tmp_path / "register.json"), segmented.save(tmp_path / "segment.json")]
    extract(tmp_path, paths)
    return tmp_path, data, brain, rows_of(tmp_path)


def extract(folder, paths, **settings):
    ExtractRadiomics(
        unit="sub-01",
        records=[str(path) for path in paths],
        out_dir=str(folder),
        record=str(folder / "radiomics.json"),
        **settings,
    ).run()


def rows_of(folder, desc="radiomics"):
    table = (folder / f"sub-01_desc-{desc}_features.tsv").read_text().splitlines()
    return list(csv.DictReader(table, delimiter="\t"))


def value(rows, image, roi, feature):
    (found,) = [r for r in rows if (r["image"], r["roi"], r["feature"]) == (image, roi, feature)]
    return found


def test_a_map_is_measured_only_where_it_is_known(visit):
    _, data, brain, rows = visit
    known = brain.copy()
    known[:10] = False
    assert float(value(rows, "Chimap", "brain", "Mean")["value"]) == pytest.approx(
        data[known].mean(), rel=1e-5
    )
    assert float(value(rows, "T1w", "brain", "Mean")["value"]) == pytest.approx(data[brain].mean(), rel=1e-5)


def test_a_region_that_is_too_small_has_no_value_and_a_reason(visit):
    _, _, _, rows = visit
    row = value(rows, "T1w", "tumor-core", "Mean")
    assert row["value"] == "n/a"
    assert "voxel" in row["reason"]


def test_the_shape_of_a_region_is_measured_once(visit):
    _, _, _, rows = visit
    shapes = [row for row in rows if row["class"] == "shape" and row["roi"] == "brain"]
    assert len(shapes) == 14
    assert {row["image"] for row in shapes} == {"T1w"}
    assert float(value(rows, "T1w", "brain", "VoxelVolume")["value"]) == 12**3 * 8


@pytest.fixture
def group(visit):
    """The group's folder of two visits with the same features, and a function that assembles it."""
    folder = visit[0]
    for unit in ("sub-01", "sub-02"):
        (folder / "steps" / unit).mkdir(parents=True)
        record = StepRecord.load(folder / "radiomics.json")
        for output in record.outputs:
            found = Path(output["path"])
            output["path"] = str(found.with_name(found.name.replace("sub-01", unit)))
            Path(output["path"]).write_text(found.read_text().replace("sub-01", unit))
            sidecar_path(output["path"]).write_bytes(sidecar_path(found).read_bytes())
        record.save(folder / "steps" / unit / "radiomics.json")
    (folder / "cohort.txt").write_text("sub-01\nsub-02\n")

    def assemble(**more):
        AssembleFeatures(
            unit="group",
            cohort=str(folder / "cohort.txt"),
            steps_dir=str(folder / "steps"),
            out_dir=str(folder / "group"),
            record=str(folder / "features.json"),
            **more,
        ).run()
        return folder / "group"

    return assemble


def test_the_group_has_one_row_a_visit_and_one_column_a_feature(visit, group):
    folder, data, brain, rows = visit
    row, other = csv.DictReader((group() / "features.tsv").read_text().splitlines(), delimiter="\t")
    assert (row.pop("participant_id"), other.pop("participant_id")) == ("sub-01", "sub-02")
    assert row == other
    assert row["session_id"] == "n/a"
    rows += rows_of(folder, "histogram")
    assert len(row) == 1 + len({(r["image"], r["roi"], r["class"], r["feature"]) for r in rows})
    mean = float(row["T1w__brain__original__firstorder__Mean"])
    assert mean == pytest.approx(data[brain].mean(), rel=1e-5)
    median = float(row["T1w__brain__original__histogram__Percentile50"])
    assert median == pytest.approx(np.median(data[brain]), rel=1e-5)


def test_the_table_says_how_its_images_were_made_and_who_taught_their_scale(group):
    made_with = {"Registered images": {"normalisation": "nyul"}}
    about = json.loads(
        (group(made_with=json.dumps(made_with), taught_by=["sub-02"]) / "features.json").read_text()
    )
    assert about["Settings"]["Registered images"] == {"normalisation": "nyul"}
    assert about["Settings"]["Networks"] == {}
    assert len(about["Settings"]) == 4
    assert about["ScaleTaughtBy"] == ["sub-02"]


def test_the_table_says_which_networks_drew_its_regions_and_that_they_were_one_for_all(visit, group):
    steps = visit[0] / "steps"
    about = None
    for unit, checksum in (("sub-01", "a1"), ("sub-02", "a1"), ("sub-02", "b2")):
        record = StepRecord("network", unit)
        record.parameters = {"model": "meshnet", "Sha256": [checksum]}
        record.save(steps / unit / "network-meshnet.json")
        if checksum == "a1":
            about = json.loads((group(networks=["meshnet"]) / "features.json").read_text())
    assert about["Settings"]["Networks"] == {"meshnet": ["a1"]}
    with pytest.raises(InputError, match="sub-02: was segmented by another network meshnet than other"):
        group(networks=["meshnet"])


def test_the_group_has_the_same_values_long_and_wide_as_text_and_as_parquet(visit, group):
    folder = group()
    wide, long = (pd.read_parquet(folder / f"features{kind}.parquet") for kind in ("", "-long"))
    options = {"sep": "\t", "na_values": "n/a", "keep_default_na": False}
    for name, table in (("features", wide), ("features-long", long)):
        text = pd.read_csv(folder / f"{name}.tsv", **options)
        pd.testing.assert_frame_equal(text.fillna(-1), table.fillna(-1), check_dtype=False)
    assert len(long) == 2 * len(rows_of(visit[0]) + rows_of(visit[0], "histogram"))
    first = long.iloc[0]
    name = "__".join(first[["image", "roi", "filter", "class", "feature"]])
    assert wide.loc[0, name] == first["value"]


def test_the_dictionary_of_the_group_explains_every_feature(visit, group):
    folder = group()
    about = json.loads((folder / "features.json").read_text())
    for name in about["Names"]:
        _, _, filtered, feature_class, feature = name.split("__")
        assert about["Filters"][filtered]["Description"]
        assert about["Features"][feature_class][feature]["Description"]
    assert about["Features"]["firstorder"]["Mean"]["IBSI"] == "Q4LE"
    assert about["Settings"]["Radiomic features, one value a row"]["bin_count"] == 32


def test_visits_that_were_measured_with_other_settings_do_not_share_a_table(visit, group):
    path = visit[0] / "sub-02_desc-radiomics_features.json"
    path.write_text(path.read_text().replace('"bin_count": 32', '"bin_count": 64'))
    with pytest.raises(InputError, match=r"sub-02.*was made with other settings than .*sub-01"):
        group()
    assert not (visit[0] / "group" / "features.json").exists()


def again(folder, **settings):
    """The visit measured once more, with other settings."""
    extract(folder, [folder / "register.json", folder / "segment.json"], **settings)
    return rows_of(folder), StepRecord.load(folder / "radiomics.json")


def test_regions_that_the_study_makes_are_measured_like_those_that_were_drawn(visit):
    folder, data, brain, _ = visit
    recipes = [
        {"name": "rest", "difference": ["brain", "tumor-core"]},
        {"name": "around", "shell": "tumor-core", "mm": 4},
        {"name": "cyst-ring", "shell": "cyst", "mm": 2},
        {"name": "left", "left": "brain"},
    ]
    rows, record = again(folder, regions=json.dumps(recipes), rois=["rest", "around"])
    assert {row["roi"] for row in rows} == {"rest", "around"}
    rest = brain.copy()
    rest[8, 8, 8] = False
    assert float(value(rows, "T1w", "rest", "Mean")["value"]) == pytest.approx(data[rest].mean(), rel=1e-5)
    # Two voxels of 2 mm reach 4 mm: a ball of 33 voxels without its centre.
    assert float(value(rows, "T1w", "around", "VoxelVolume")["value"]) == 32 * 8
    made = {item["name"]: load_volume(item["path"], dtype=None).data > 0 for item in record.find("made")}
    assert made.keys() == {"rest", "around"}
    assert np.array_equal(made["rest"], rest)
    skipped = {item["what"]: item["why"] for item in record.skipped}
    assert skipped["region cyst-ring in the space of T1w"] == "there is no region cyst"
    assert "template" in skipped["region left in the space of T1w"]


def test_the_registration_to_the_template_tells_left_from_right(visit):
    folder, _, _, _ = visit
    registered = StepRecord.load(folder / "register.json")
    centre = np.eye(4)
    # The template's plane between the hemispheres lies at 20 mm of this image.
    centre[0, 3] = 20.0
    registered.add(folder / "warp.nii.gz", "warp", space="MNI152NLin2009aSym", matrix=centre.tolist())
    registered.save(folder / "register.json")
    recipes = [{"name": "l", "left": "brain"}, {"name": "r", "right": "brain"}]
    rows, _ = again(folder, regions=json.dumps(recipes), rois=["l", "r"])
    volumes = [float(value(rows, "T1w", side, "VoxelVolume")["value"]) for side in "lr"]
    assert volumes == [6 * 12 * 12 * 8, 6 * 12 * 12 * 8]
    known = [r for r in rows if (r["image"], r["feature"]) == ("Chimap", "Mean")]
    assert {row["roi"]: row["value"] == "n/a" for row in known} == {"l": True, "r": False}


def test_histograms_relative_to_a_region_are_divided_by_its_median(visit):
    folder, data, brain, _ = visit
    recipes = [{"name": "half", "left": "brain"}]
    registered = StepRecord.load(folder / "register.json")
    centre = np.eye(4)
    centre[0, 3] = 19.0
    registered.add(folder / "warp.nii.gz", "warp", space="MNI152NLin2009aSym", matrix=centre.tolist())
    registered.save(folder / "register.json")
    left = brain.copy()
    left[10:] = False
    for reference, normal in (("half", left), ("contralateral", brain & ~left)):
        histogram = {"reference": reference, "thresholds": {"T1*": [10.5], "ADC": [3]}}
        again(folder, regions=json.dumps(recipes), histogram=json.dumps(histogram), rois=["half"])
        rows = [row for row in rows_of(folder, "histogram") if row["image"] == "T1w"]
        of = {(row["class"], row["feature"]): row for row in rows}
        assert ("histogram", "FractionBelow3") not in of
        assert float(of["histogram", "FractionBelow10.5"]["value"]) == np.mean(data[left] < 10.5)
        median = np.median(data[left]) / np.median(data[normal])
        found = of["relativehistogram", "Percentile50"]
        assert float(found["value"]) == pytest.approx(median, rel=1e-5)
        assert found["unit"] == "1"


def test_without_a_reference_relative_histograms_have_a_reason(visit):
    again(visit[0], histogram='{"reference": "white-matter"}')
    rows = [row for row in rows_of(visit[0], "histogram") if row["class"] == "relativehistogram"]
    assert {(row["value"], row["reason"]) for row in rows if row["roi"] == "brain"} == {
        ("n/a", "There is no region white-matter.")
    }


def test_histograms_are_left_out_where_they_are_not_wanted(visit):
    again(visit[0], histogram='{"wanted": false}')
    assert not (visit[0] / "sub-01_desc-histogram_features.tsv").exists()


def test_two_threads_give_the_same_tables_as_one(visit):
    folder = visit[0]
    names = ["sub-01_desc-radiomics_features.tsv", "sub-01_desc-histogram_features.tsv"]
    before = [(folder / name).read_bytes() for name in names]
    again(folder, num_threads=2)
    assert [(folder / name).read_bytes() for name in names] == before


def test_a_broken_image_is_told_by_name_also_with_threads(visit):
    folder, data, _, _ = visit
    save_volume(folder / "map.nii.gz", data[1:], AFFINE)
    with pytest.raises(InputError, match=r"map.nii.gz: lies on another grid"):
        again(folder, num_threads=2)


def test_a_feature_map_is_an_image_of_its_own_with_what_it_shows_beside_it(visit):
    folder, data, brain, _ = visit
    _, record = again(
        folder, feature_maps=["firstorder_Mean", "glcm_Contrast"], rois=["brain"], images=["T1w"]
    )
    names = {item["feature"]: item["path"] for item in record.find("feature-map")}
    assert names.keys() == {"original_firstorder_Mean", "original_glcm_Contrast"}
    path = Path(names["original_firstorder_Mean"])
    assert path.name == "desc-brainFirstorderMean_t1.nii.gz"
    volume = load_volume(path)
    assert volume.data[8, 8, 8] == pytest.approx(data[7:10, 7:10, 7:10].mean(), rel=1e-5)
    assert np.array_equal(np.isfinite(volume.data), brain)
    assert json.loads(sidecar_path(path).read_text())["KernelRadiusVoxels"] == 1


def test_a_map_that_does_not_exist_is_an_error_that_names_the_nearest(visit):
    with pytest.raises(InputError, match="there is no glcm feature 'Kontrast'; did you mean Contrast"):
        again(visit[0], feature_maps=["glcm_Kontrast"])


def test_a_label_that_has_no_voxel_is_noted_and_the_others_are_measured(visit):
    folder, _, _, _ = visit
    segmented = StepRecord.load(folder / "segment.json")
    segmented.outputs[0]["names"]["7"] = "edema"
    segmented.save(folder / "segment.json")
    rows, record = again(folder)
    assert {row["roi"] for row in rows} == {"brain", "tumor-core"}
    (skipped,) = record.skipped
    assert skipped["what"] == "features of tumor-edema in the space of T1w"
    assert skipped["why"] == "the region has no voxel there"


def test_only_the_images_and_regions_that_are_named_are_measured(visit):
    rows, _ = again(visit[0], images=["Chi*"], rois=["br*"])
    assert {(row["image"], row["roi"]) for row in rows if row["class"] != "shape"} == {("Chimap", "brain")}


def test_a_name_that_no_region_has_is_told_with_those_that_there_are(visit):
    rows, record = again(visit[0], rois=["tumour"])
    assert not rows
    assert any("there are: brain, tumor-core" in item["why"] for item in record.skipped)


def with_parameters(folder, text):
    (folder / "features.yaml").write_text(text)
    return again(folder, parameters=str(folder / "features.yaml"))


def test_a_parameter_file_of_pyradiomics_says_which_features_there_are(visit):
    folder, data, brain, _ = visit
    text = """
setting: {binWidth: 1, label: 1}
imageType: {Original: {}, LoG: {sigma: [2.0]}}
featureClass: {firstorder: [Mean, Maximum], shape: [VoxelVolume]}
"""
    rows, record = with_parameters(folder, text)
    brain_rows = [row for row in rows if row["roi"] == "brain"]
    assert len(brain_rows) == 1 + 2 * 2 * 2
    assert {row["filter"] for row in brain_rows} == {"original", "log-sigma-2-0-mm-3D"}
    mean = value([r for r in rows if r["filter"] == "original"], "T1w", "brain", "Mean")
    assert float(mean["value"]) == pytest.approx(data[brain].mean(), rel=1e-5)
    assert any("label is decided by voxelome" in warning for warning in record.warnings)


def test_a_bin_width_that_leaves_few_gray_levels_is_a_warning_with_their_number(visit):
    text = "setting: {binWidth: 8}\nfeatureClass: {firstorder: [Mean]}"
    _, record = with_parameters(visit[0], text)
    assert any(warning.startswith("T1w, brain:") and "original 3" in warning for warning in record.warnings)


def test_a_misspelt_parameter_file_is_an_error_that_names_the_file_and_the_key(visit):
    with pytest.raises(InputError, match=r"features.yaml: there is no setting 'binWidht'.*binWidth"):
        with_parameters(visit[0], "setting: {binWidht: 8}")


def test_a_map_on_another_grid_than_its_space_is_refused(visit):
    folder, data, _, _ = visit
    save_volume(folder / "t1.nii.gz", data[1:], AFFINE)
    with pytest.raises(InputError, match=r"t1.nii.gz: lies on another grid than the region brain"):
        extract(folder, [folder / "register.json", folder / "segment.json"])
