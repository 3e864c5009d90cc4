"""What each visit gets follows from what the dataset holds of it."""

from pathlib import Path

import pytest

from voxelome.bids.inventory import BidsFile, SubjectInventory
from voxelome.bids.names import bids_name, contrast_label, split_label, unit_entities, unit_name
from voxelome.bids.plan import load_plan
from voxelome.bids.targets import fold_records, group_targets, participant_targets, unit_records

ROOT, MASKS = Path("/raw"), Path("/masks")


def image(suffix, digest="0" * 16, metadata=None, **entities):
    """An image of sub-01 as the inventory lists it."""
    named = {"subject": "01", **entities}
    folder = "sub-01" + (f"/ses-{entities['session']}" if "session" in entities else "")
    path = f"{folder}/anat/{bids_name(named, suffix, '.nii.gz')}"
    found = {**named, "suffix": suffix, "datatype": "anat", "extension": ".nii.gz"}
    return BidsFile(path, 100, digest, found, metadata or {})


def echoes(times=(0.01, 0.02), parts=("mag", "phase"), **entities):
    return [
        image(
            "MEGRE",
            echo=str(number),
            part=part,
            metadata={"EchoTime": time, "MagneticFieldStrength": 3},
            **entities,
        )
        for number, time in enumerate(times, 1)
        for part in parts
    ]


def plan(*files, derivatives=None, problems=(), **choice):
    inventory = SubjectInventory("01", list(files), derivatives or {}, list(problems))
    return load_plan({"01": inventory}, ROOT, {"masks": MASKS}, **choice)


@pytest.mark.parametrize(
    ("files", "reference"),
    [
        ([image("FLAIR"), image("T1w", ceagent="gadolinium"), image("T1w")], "T1w"),
        ([image("FLAIR"), image("T2w"), image("T1w", ceagent="gadolinium")], "ce-gadolinium_T1w"),
        ([image("FLAIR"), image("T2w")], "T2w"),
        ([image("PDw"), image("FLAIR")], "FLAIR"),
        ([image("T1w", run="02"), image("T1w", run="01")], "run-01_T1w"),
        (echoes(), ""),
    ],
)
def test_the_reference_is_the_first_that_there_is_of_t1w_enhanced_t1w_t2w_flair_pdw(files, reference):
    assert plan(*files)["sub-01"].reference == reference


def test_echoes_are_sorted_by_their_times_and_not_by_their_numbers():
    (unit,) = plan(*echoes(times=(0.02, 0.01))).values()
    (echo,) = unit.gradient_echoes
    assert echo.echo_times == (0.01, 0.02)
    assert [Path(path).name for path in echo.magnitude] == [
        "sub-01_echo-2_part-mag_MEGRE.nii.gz",
        "sub-01_echo-1_part-mag_MEGRE.nii.gz",
    ]


def test_echoes_numbered_in_another_order_give_the_same_plan_but_for_their_names():
    def times_and_order(times):
        (echo,) = next(iter(plan(*echoes(times=times)).values())).gradient_echoes
        numbers = [[path.split("echo-")[1][0] for path in paths] for paths in (echo.magnitude, echo.phase)]
        return echo.echo_times, echo.phase_times, numbers

    assert times_and_order((0.01, 0.02)) == ((0.01, 0.02), (0.01, 0.02), [["1", "2"]] * 2)
    assert times_and_order((0.02, 0.01)) == ((0.01, 0.02), (0.01, 0.02), [["2", "1"]] * 2)


@pytest.mark.parametrize(
    ("parts", "used", "why"),
    [
        (("real", "imag"), {"real", "imaginary"}, None),
        (("mag", "real", "imag"), {"magnitude", "real", "imaginary"}, None),
        (("mag", "phase", "real", "imag"), {"magnitude", "phase"}, "magnitude and phase are used"),
        (("mag", "real"), {"magnitude"}, "the imaginary part is missing"),
        (("mag", "imag"), {"magnitude"}, "the real part is missing"),
        (("real",), {"real"}, None),
    ],
)
def test_real_and_imaginary_images_are_used_where_magnitude_or_phase_lacks(parts, used, why):
    (unit,) = plan(*echoes(parts=parts)).values()
    (echo,) = unit.gradient_echoes
    names = ("magnitude", "phase", "real", "imaginary")
    assert {name for name in names if getattr(echo, name)} == used
    assert echo.echo_times == (0.01, 0.02)
    reasons = {item["why"] for item in unit.skipped if item["what"].endswith(".nii.gz")}
    assert reasons == ({why} if why else set())


def test_real_and_imaginary_images_are_prepared_as_the_magnitude_of_their_acquisition():
    (unit,) = plan(image("T1w"), *echoes(parts=("real", "imag"))).values()
    assert unit.image_labels == ["T1w", "MEGRE"]
    assert [Path(path).name for path in unit.images[1:]] == ["sub-01_echo-1_part-real_MEGRE.nii.gz"]
    assert unit.complex_labels == ["MEGRE"]
    assert [Path(path).name for path in unit.imaginary] == ["sub-01_echo-1_part-imag_MEGRE.nii.gz"]


def test_a_difference_of_phases_is_known_by_its_two_echo_times():
    times = {"EchoTime1": 0.01, "EchoTime2": 0.02}
    (unit,) = plan(*echoes(parts=("mag",)), image("MEGRE", part="phase", metadata=times)).values()
    assert unit.gradient_echoes[0].phase_difference
    (unit,) = plan(*echoes(), image("phasediff")).values()
    assert not unit.gradient_echoes[0].phase_difference
    assert any("the phase of each echo" in item["why"] for item in unit.skipped)


@pytest.mark.parametrize(
    ("makers", "known"),
    [(("GE", "GE"), "GE"), (("GE", "SIEMENS"), ""), ((None, None), ""), ((None, "GE"), "GE"), ((3, 3), "3")],
)
def test_the_manufacturer_is_that_which_the_sidecars_of_the_phase_agree_on(makers, known):
    phases = [
        image(
            "MEGRE", part="phase", echo=str(number), metadata={} if maker is None else {"Manufacturer": maker}
        )
        for number, maker in enumerate(makers)
    ]
    (unit,) = plan(*echoes(parts=("mag",)), *phases).values()
    assert unit.gradient_echoes[0].manufacturer == known


def test_acquisitions_are_told_apart_and_each_has_a_record():
    (unit,) = plan(*echoes(acquisition="a"), *echoes(acquisition="b")).values()
    assert unit_records(unit, ["qsm"]) == [
        "steps/sub-01/qsm-acq-a_MEGRE.json",
        "steps/sub-01/qsm-acq-b_MEGRE.json",
    ]


def test_visits_are_units_of_their_own_with_their_own_masks():
    masks = {"masks": [image("mask", session="2", desc="tumor")]}
    units = plan(image("T1w", session="1"), image("T1w", session="2"), derivatives=masks)
    assert list(units) == ["sub-01_ses-1", "sub-01_ses-2"]
    assert [len(unit.masks) for unit in units.values()] == [0, 1]
    assert units["sub-01_ses-2"].masks[0].path.startswith("/masks/")


def test_only_the_sessions_asked_for_are_planned():
    assert list(plan(image("T1w", session="1"), image("T1w", session="2"), sessions=["2"])) == [
        "sub-01_ses-2"
    ]


def test_an_image_with_a_problem_is_left_out_and_named():
    problem = {"path": image("T2w").path, "problem": "is broken", "remedy": "mend it"}
    (unit,) = plan(image("T1w"), image("T2w"), problems=[problem]).values()
    assert unit.image_labels == ["T1w"]
    assert unit.problems == (problem,)
    assert problem["path"] in [item["what"] for item in unit.skipped]


def test_what_is_not_possible_is_said_with_the_reason():
    (unit,) = plan(image("T1w")).values()
    reasons = {item["what"]: item["why"] for item in unit.skipped}
    assert reasons["R2*, SWI and susceptibility maps"] == "there is no gradient-echo acquisition"
    assert "registration between contrasts" in reasons


def test_a_subject_without_a_usable_image_is_not_planned():
    assert plan(image("bold")) == {}


def test_a_brain_mask_is_no_region_and_lesions_are_known_by_their_names():
    masks = {
        "masks": [image("mask", desc="brain"), image("dseg", desc="Tumor"), image("mask", label="thalamus")]
    }
    (unit,) = plan(image("T1w"), derivatives=masks).values()
    assert [mask.name for mask in unit.brain_masks] == ["brain"]
    assert [mask.name for mask in unit.masks] == ["Tumor", "thalamus"]
    assert [mask.name for mask in unit.lesions(["*tumor*"])] == ["Tumor"]
    assert unit.lesions([]) == []


def test_all_images_that_may_be_the_reference_are_named_best_first():
    files = (image("FLAIR"), image("T1w", run="2"), image("T1w", run="1"), *echoes())
    (unit,) = plan(*files).values()
    assert unit.references == ["run-1_T1w", "run-2_T1w", "FLAIR"]


def test_visits_are_brought_together_where_two_or_more_have_a_reference():
    visits = [image("T1w", session=number) for number in "12"]
    record = "steps/sub-01/midway.json"
    out = Path("/out")
    assert record in participant_targets(plan(*visits), ["preprocess", "register"], out)
    assert record not in participant_targets(plan(*visits), ["preprocess"], out)
    assert record not in participant_targets(plan(*visits[:1]), ["register"], out)
    assert record not in participant_targets(plan(visits[0], *echoes(session="2")), ["register"], out)


def test_moving_the_dataset_changes_no_digest_and_changed_content_does():
    inventory = SubjectInventory("01", [image("T1w")])
    here = load_plan({"01": inventory}, Path("/here"), {})["sub-01"]
    there = load_plan({"01": inventory}, Path("/there"), {})["sub-01"]
    changed = load_plan({"01": SubjectInventory("01", [image("T1w", digest="1" * 16)])}, Path("/here"), {})[
        "sub-01"
    ]
    assert here.image_digest == there.image_digest != changed.image_digest


def test_targets_are_those_of_the_stages_asked_for():
    units = plan(image("T1w"))
    out = Path("/out")
    assert participant_targets(units, ["preprocess"], out) == ["steps/sub-01/preprocess.json"]
    assert participant_targets(units, ["report"], out) == ["/out/sub-01.html"]
    assert group_targets(["a"], ["model"], out) == ["steps/group/features.json", "steps/group/model-a.json"]
    assert fold_records("a", {"jobs": 2}) == ["steps/group/folds-a-1.json", "steps/group/folds-a-2.json"]
    assert fold_records("a", {}) == []


def test_names_keep_the_order_of_the_bids_schema():
    entities = {
        "desc": "preproc",
        "space": "T1w",
        "run": "01",
        "ceagent": "gd",
        "subject": "01",
        "session": "2",
    }
    assert (
        bids_name(entities, "T1w", ".nii.gz") == "sub-01_ses-2_ce-gd_run-01_space-T1w_desc-preproc_T1w.nii.gz"
    )


def test_a_label_and_its_parts_are_each_others_inverse():
    entities = {"subject": "01", "acquisition": "fast", "run": "2", "echo": "1", "part": "mag"}
    label = contrast_label(entities, "MEGRE")
    assert label == "acq-fast_run-2_MEGRE"
    assert split_label(label) == ({"acquisition": "fast", "run": "2"}, "MEGRE")


def test_images_that_differ_only_in_a_rare_entity_have_different_labels():
    assert contrast_label({"chunk": "1"}, "T1w") != contrast_label({"chunk": "2"}, "T1w")


def test_a_unit_and_its_name_are_each_others_inverse():
    assert unit_entities(unit_name("01", "2")) == {"subject": "01", "session": "2"}
    assert unit_entities(unit_name("01", None)) == {"subject": "01"}


def test_maps_are_taken_by_their_suffixes_from_derivatives_and_from_the_dataset():
    given = {"masks": [image("ADC"), image("CBV", desc="corrected", space="T1w"), image("CBF")]}
    files = [image("T1w"), image("T1map"), image("R2map")]
    unit = plan(*files, derivatives=given, maps=["ADC", "CB[V]", "T1map"])["sub-01"]
    assert [item.name for item in unit.maps] == ["ADC", "desc-corrected_CBV", "T1map"]
    assert unit.maps[0].path.startswith(str(MASKS))
    assert unit.maps[2].path.startswith(str(ROOT))
    assert [item["what"] for item in unit.skipped if "R2map" in item["what"]]
    assert plan(*files, derivatives=given)["sub-01"].maps == ()


def test_of_two_maps_with_one_name_the_second_is_left_out_and_named():
    given = {"masks": [image("ADC"), image("ADC", space="T1w")]}
    unit = plan(image("T1w"), derivatives=given, maps=["ADC"])["sub-01"]
    assert len(unit.maps) == 1
    assert any(item["why"] == "there is another map ADC" for item in unit.skipped)


def test_masks_are_no_maps_and_reference_images_of_the_dataset_neither():
    given = {"masks": [image("mask", desc="tumor"), image("dseg", desc="tumor")]}
    unit = plan(image("T1w"), derivatives=given, maps=["*"])["sub-01"]
    assert unit.maps == ()
    assert unit.reference == "T1w"


def test_results_of_another_run_give_each_mask_once_on_the_grid_of_an_image_of_the_visit():
    found = [image("dseg", desc="lesion", space=space) for space in ("MEGRE", "MNI152NLin2009aSym", "T1w")]
    own = [image("mask", desc="excluded"), image("mask", desc="brain")]
    unit = plan(image("T1w"), image("FLAIR"), derivatives={"masks": [*found, *own]})["sub-01"]
    assert [Path(mask.path).name for mask in unit.masks] == ["sub-01_space-T1w_desc-lesion_dseg.nii.gz"]
    assert [mask.name for mask in unit.brain_masks] == ["brain"]
    reasons = {Path(item["what"]).name: item["why"] for item in unit.skipped}
    template = "sub-01_space-MNI152NLin2009aSym_desc-lesion_dseg.nii.gz"
    assert "no image of the visit" in reasons[template]
    assert "comes first" in reasons["sub-01_space-MEGRE_desc-lesion_dseg.nii.gz"]


def test_masks_of_one_name_without_a_space_are_all_taken():
    given = {"masks": [image("dseg", desc="lesion", label="a"), image("dseg", desc="lesion", label="b")]}
    assert len(plan(image("T1w"), derivatives=given)["sub-01"].masks) == 2
