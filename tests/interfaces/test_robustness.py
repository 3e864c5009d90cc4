"""Features of a visit measured again, and how reliable they are over the group."""

import csv
import gzip
import json

import numpy as np
import pandas as pd
import pytest

from voxelome.imageio import save_volume
from voxelome.interfaces import AssessReliability, MeasureRobustness
from voxelome.interfaces.reliability import read_perturbed
from voxelome.step import StepRecord

AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
PARAMETERS = """
setting: {binWidth: 5}
featureClass: {shape: [VoxelVolume], firstorder: [Mean, Range], glcm: [Contrast]}
"""


def visit(folder, unit, level, *, perturbations=4, threads=1, empty=False):
    """A brain with a ball, brighter or less from subject to subject, and a map of half of it."""
    rng = np.random.default_rng(int(level))
    grid = np.indices((26, 26, 24)) - np.array([13, 13, 12])[:, None, None, None]
    distance = np.sqrt((grid**2).sum(axis=0))
    data = 100 + rng.normal(0, 2, distance.shape) + level * (distance < 6)
    folder = folder / unit
    registered = StepRecord("register", unit)
    registered.add(
        save_volume(folder / "mask.nii.gz", distance < 11, AFFINE), "mask", space="T1w", name="brain"
    )
    registered.add(save_volume(folder / "t1.nii.gz", data, AFFINE), "image", image="T1w", space="T1w")
    half = np.where(grid[0] > 0, data, 0)
    path = save_volume(folder / "map.nii.gz", half, AFFINE)
    registered.add(path, "map", image="Chimap", space="T1w", suffix="Chimap")
    segmented = StepRecord("segment", unit)
    ball = (distance < (0 if empty else 6 + level / 40)).astype(np.uint8)
    ball[1, 1, 1] = 1
    path = save_volume(folder / "dseg.nii.gz", ball, AFFINE)
    segmented.add(path, "labels", name="tumor", space="T1w", names={"1": "tumor"})
    (folder / "features.yaml").write_text(PARAMETERS)
    MeasureRobustness(
        unit=unit,
        records=[str(registered.save(folder / "r.json")), str(segmented.save(folder / "s.json"))],
        perturbations=perturbations,
        parameters=str(folder / "features.yaml"),
        rois=["tumor"],
        num_threads=threads,
        out_dir=str(folder),
        record=str(folder.parent / "steps" / unit / "robustness.json"),
    ).run()
    return StepRecord.load(folder.parent / "steps" / unit / "robustness.json")


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    folder = tmp_path_factory.mktemp("group")
    levels = {"sub-01": 10, "sub-02": 20, "sub-03": 30, "sub-04": 40, "sub-05": 50}
    return folder, {unit: visit(folder, unit, level) for unit, level in levels.items()}


def assess(folder, units, **settings):
    (folder / "cohort.txt").write_text("\n".join(units))
    AssessReliability(
        unit="group",
        cohort=str(folder / "cohort.txt"),
        steps_dir=str(folder / "steps"),
        out_dir=str(folder / "out"),
        record=str(folder / "reliability.json"),
        **settings,
    ).run()
    table = (folder / "out" / "reliability.tsv").read_text().splitlines()
    return list(csv.DictReader(table, delimiter="\t")), StepRecord.load(folder / "reliability.json")


def test_each_feature_has_a_value_after_every_chain_and_the_file_says_what_the_chains_do(group):
    _, records = group
    path = records["sub-01"].path("perturbed")
    names, values = read_perturbed(path)
    assert names == [
        "Chimap__tumor__original__firstorder__Mean",
        "Chimap__tumor__original__firstorder__Range",
        "Chimap__tumor__original__glcm__Contrast",
        "T1w__tumor__original__firstorder__Mean",
        "T1w__tumor__original__firstorder__Range",
        "T1w__tumor__original__glcm__Contrast",
        "T1w__tumor__original__shape__VoxelVolume",
    ]
    assert values.shape == (7, 4)
    assert np.isfinite(values).all()
    assert len(np.unique(values[6])) == 4
    chains = json.loads((path.parent / "sub-01_desc-perturbed_features.json").read_text())["Chains"]
    assert len(chains) == 4
    assert all(abs(chain["VolumeChange"]) <= 0.2 for chain in chains.values())


def test_the_same_visit_gives_the_same_file_with_one_thread_and_with_two(group, tmp_path):
    _, records = group
    again = visit(tmp_path, "sub-01", 10, threads=2)
    assert again.path("perturbed").read_bytes() == records["sub-01"].path("perturbed").read_bytes()


def test_a_feature_that_tells_subjects_apart_is_reliable_and_noise_is_not(group):
    folder, records = group
    rows, record = assess(folder, records)
    of = {(row["image"], row["feature"]): row for row in rows}
    assert float(of["T1w", "Mean"]["icc1_low"]) > 0.75
    assert float(of["T1w", "Range"]["icc1"]) < float(of["T1w", "Mean"]["icc1"])
    assert {(row["source"], row["subjects"], row["measurements"]) for row in rows} == {
        ("perturbation", "5", "4")
    }
    assert record.quality.keys() == {"reliable over perturbation (% of 7)"}


def test_only_the_subjects_that_are_named_count(group):
    folder, records = group
    everybody, _ = assess(folder, records)
    some, _ = assess(folder, records, participants=["01", "03", "05"])
    few, _ = assess(folder, ["sub-01", "sub-03", "sub-05"])
    assert some == few
    assert {row["subjects"] for row in some} == {"3"}
    assert some != everybody


def test_two_subjects_do_not_tell_how_reliable_a_feature_is(group):
    folder, _ = group
    rows, record = assess(folder, ["sub-01", "sub-02"])
    assert {row["icc1"] for row in rows} == {"n/a"}
    assert record.skipped == [
        {"what": "reliability over perturbation", "why": "it takes three subjects that differ"}
    ]


def test_a_region_that_is_too_small_has_no_value_and_a_reason(tmp_path):
    record = visit(tmp_path, "sub-01", 10, empty=True)
    _, values = read_perturbed(record.path("perturbed"))
    assert np.isnan(values).all()
    assert record.skipped
    assert all(item["why"] for item in record.skipped)
    text = gzip.decompress(record.path("perturbed").read_bytes()).decode()
    assert "n/a" in text
    assert "\t0\t" not in text


@pytest.fixture
def repeated(tmp_path):
    """The group's features of six subjects: two raters, a test and a retest."""
    rng = np.random.default_rng(0)
    rows = []
    for subject in range(6):
        for session in ("ses-test", "ses-retest"):
            true = 10.0 * subject
            rows.append(
                {
                    "participant_id": f"sub-{subject:02d}",
                    "session_id": session,
                    "T1w__tumorA__original__firstorder__Mean": true + rng.normal(0, 0.1),
                    "T1w__tumorB__original__firstorder__Mean": true + 5 + rng.normal(0, 0.1),
                    "T1w__tumorA__original__firstorder__Range": rng.normal(),
                    "T1w__brain__original__firstorder__Mean": rng.normal(),
                }
            )
    pd.DataFrame(rows).to_csv(tmp_path / "features.tsv", sep="\t", index=False)
    record = StepRecord("features", "group")
    record.add(tmp_path / "features.tsv", "features")
    units = [f"{row['participant_id']}_{row['session_id']}" for row in rows]
    return tmp_path, units, str(record.save(tmp_path / "features.json"))


def test_raters_who_differ_by_a_constant_are_consistent_and_do_not_agree(repeated):
    folder, units, features = repeated
    rows, _ = assess(folder, units, features=features, raters='[["tumorA", "tumorB"]]')
    (row,) = rows
    assert (row["source"], row["roi"], row["measurements"]) == ("raters tumorA, tumorB", "tumorA", "2")
    assert float(row["icc3"]) > 0.999
    assert float(row["icc2"]) < 0.98


def test_a_repeated_visit_tells_which_features_come_back(repeated):
    folder, units, features = repeated
    rows, _ = assess(folder, units, features=features, repeats=["test", "retest"])
    of = {(row["roi"], row["feature"]): row for row in rows}
    assert {row["subjects"] for row in rows} == {"6"}
    assert float(of["tumorA", "Mean"]["icc2_low"]) > 0.99
    assert float(of["brain", "Mean"]["icc2_low"]) < 0.5


def test_nothing_measured_twice_is_said(tmp_path):
    rows, record = assess(tmp_path, ["sub-01"])
    assert not rows
    assert record.skipped == [{"what": "reliability", "why": "no feature was measured more than once"}]
