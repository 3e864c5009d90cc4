"""Which records networks, fusions and comparisons leave, and of which visits."""

import pytest

from voxelome.app.config import default_config, merge
from voxelome.bids.plan import Contrast, Unit
from voxelome.bids.targets import (
    group_targets,
    participant_targets,
    segmentation_record,
    segmentations,
    subject_records,
    unit_records,
    wanted_stages,
)

SEGMENT = {
    "models": ["lesion", "meshnet18"],
    "fusions": [{"name": "fused", "of": ["lesion", "rater"]}],
    "compare": ["fused", "rater"],
}


def settings(**changes):
    return merge(
        default_config(), {"segment": SEGMENT, "stages": ["preprocess", "register", "segment"]}, changes
    )


def visit(session=None, *, mri=True, ct=False):
    image, scan = Contrast("T1w", "t1w.nii.gz", "0"), Contrast("ct", "ct.nii.gz", "0")
    return Unit("01", session, contrasts=(image,) if mri else (), cts=(scan,) if ct else ())


def names_of(records):
    return [path.removeprefix("steps/").removesuffix(".json") for path in records]


def test_every_network_fusion_and_comparison_is_a_stage_of_its_own():
    assert wanted_stages(settings())[3:] == [
        *("network-lesion", "network-meshnet18", "fusion-fused"),
        *("change-fused", "change-rater"),
    ]


@pytest.mark.parametrize(
    ("stages", "kinds"),
    [(["preprocess", "register"], set()), (["preprocess", "segment"], {"network", "fusion"})],
)
def test_without_segment_there_is_none_and_without_register_nothing_is_compared(stages, kinds):
    wanted = [stage for stage in wanted_stages(settings(stages=stages)) if "-" in stage]
    assert {stage.split("-")[0] for stage in wanted} == kinds


def test_a_study_without_networks_has_the_stages_that_it_asks_for():
    assert segmentations(default_config()) == []
    assert wanted_stages(default_config()) == default_config()["stages"]


def test_a_visit_has_a_record_of_each_network_and_fusion_before_it_is_measured():
    stages = [*wanted_stages(settings()), "radiomics"]
    assert names_of(unit_records(visit(), stages)) == [
        f"sub-01/{name}"
        for name in (
            *("preprocess", "register", "segment"),
            *("network-lesion", "network-meshnet18", "fusion-fused", "radiomics"),
        )
    ]


def test_a_visit_with_only_ct_has_the_records_of_networks_alone():
    stages = [*wanted_stages(settings()), "radiomics"]
    records = unit_records(visit(mri=False, ct=True), stages)
    assert names_of(records) == ["sub-01/network-lesion", "sub-01/network-meshnet18"]


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("lesion", "network-lesion"),
        ("fused", "fusion-fused"),
        ("rater", "segment"),
        # A name that begins as another one does.
        ("mesh", "segment"),
    ],
)
def test_labels_are_in_the_record_of_what_made_them_and_masks_in_that_of_segment(name, record):
    assert (
        segmentation_record(visit("1"), name, wanted_stages(settings()))
        == f"steps/sub-01_ses-1/{record}.json"
    )


def test_two_visits_with_a_reference_are_compared_once_for_each_name():
    stages = wanted_stages(settings())
    together = [
        name for name in names_of(subject_records([visit("1"), visit("2")], stages)) if "ses-" not in name
    ]
    assert together == ["sub-01/midway", "sub-01/change-fused", "sub-01/change-rater"]


@pytest.mark.parametrize("visits", [[visit("1")], [visit("1"), visit("2", mri=False, ct=True)]])
def test_one_visit_with_mri_is_compared_with_nothing(visits):
    records = subject_records(visits, wanted_stages(settings()))
    assert not [path for path in records if "change-" in path]


def test_targets_of_the_participant_level_hold_all_of_them_and_the_report(tmp_path):
    plan = {unit.name: unit for unit in (visit("1"), visit("2"))}
    config = settings(stages=["preprocess", "register", "segment", "report"])
    targets = participant_targets(plan, wanted_stages(config), tmp_path)
    assert {"steps/sub-01_ses-2/network-lesion.json", "steps/sub-01/change-fused.json"} < set(targets)
    assert targets[-1] == str(tmp_path / "sub-01.html")
    assert group_targets({}, wanted_stages(config), tmp_path) == [str(tmp_path / "group.html")]
