"""A network, fusion or comparison that failed is named, and what rests on it is void and nothing else."""

import pytest

from voxelome.app.events import Job
from voxelome.app.failures import Failure, job_failure, void_results
from voxelome.step import StepRecord

UNIT, SUBJECT = "sub-01_ses-1", "sub-01"
OF_UNIT = {
    *("preprocess", "register", "qsm-MEGRE", "segment", "network-lesion", "network-t1age"),
    *("fusion-fused", "radiomics", "robustness"),
}
OF_SUBJECT = {"midway", "change-lesion"}


@pytest.mark.parametrize(
    ("rule", "wildcards", "step"),
    [
        ("network", {"unit": UNIT, "model": "lesion"}, "network lesion"),
        ("fusion", {"unit": UNIT, "fusion": "fused"}, "fusion fused"),
        ("change", {"subject": "01", "compared": "lesion"}, "change lesion"),
    ],
)
def test_the_row_of_a_failure_says_which_network_fusion_or_comparison(tmp_path, rule, wildcards, step):
    assert job_failure(Job(rule, wildcards, "logs/x.log"), tmp_path).step == step


@pytest.mark.parametrize(
    ("step", "void", "void_together"),
    [
        ("preprocess", OF_UNIT - {"preprocess"}, OF_SUBJECT),
        ("register", OF_UNIT - {"preprocess", "register"}, OF_SUBJECT),
        ("qsm MEGRE", {"radiomics", "robustness"}, set()),
        ("segment", {"fusion-fused", "radiomics", "robustness"}, {"change-lesion"}),
        ("network lesion", {"fusion-fused", "radiomics", "robustness"}, {"change-lesion"}),
        ("fusion fused", {"radiomics", "robustness"}, {"change-lesion"}),
        ("radiomics", set(), set()),
        ("robustness", set(), set()),
        ("image check", set(), set()),
    ],
)
def test_what_rests_on_a_failed_step_is_void_and_nothing_else(tmp_path, step, void, void_together):
    steps = tmp_path / "steps"
    for unit, names in ((UNIT, OF_UNIT), (SUBJECT, OF_SUBJECT), ("sub-02", OF_UNIT)):
        for name in names:
            StepRecord(name, unit).save(steps / unit / f"{name}.json")
    # Snakemake has removed the record of the step itself.
    own = steps / UNIT / f"{step.replace(' ', '-')}.json"
    own.unlink(missing_ok=True)
    void_results([Failure("sub-01", "ses-1", step, "", "")], tmp_path)

    def left(unit):
        return {path.stem for path in (steps / unit).glob("*.json")}

    assert left(UNIT) == OF_UNIT - {own.stem} - void
    assert left(SUBJECT) == OF_SUBJECT - void_together
    assert left("sub-02") == OF_UNIT


def test_without_a_common_space_there_is_no_change_in_it(tmp_path):
    for name in OF_SUBJECT - {"midway"}:
        StepRecord(name, SUBJECT).save(tmp_path / "steps" / SUBJECT / f"{name}.json")
    void_results([Failure("sub-01", "n/a", "midway", "", "")], tmp_path)
    assert list((tmp_path / "steps" / SUBJECT).iterdir()) == []
