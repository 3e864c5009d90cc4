"""Five real cases: each gets what its data allow, none fails, and nothing is invented."""

import nibabel as nib
import numpy as np
import pytest

from tests.conftest import Study
from tests.golden_lists import golden, made_by
from tests.shared import REAL, needs_real_data
from voxelome.step import StepRecord

pytestmark = needs_real_data


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Study:
    study = Study(tmp_path_factory.mktemp("real"), coarse=False)
    study.bids.symlink_to(REAL.resolve())
    for level in ("participant", "group"):
        done = study.call(level)
        assert done.returncode == 0, done.stdout + done.stderr
    return study


def made(study: Study, folder: str) -> set[str]:
    """Names of the images of a visit, without subject and session."""
    names = (path.name for path in (study.out / folder / "anat").glob("*.nii.gz"))
    return {"_".join(part for part in name.split("_") if part[:4] not in ("sub-", "ses-")) for name in names}


ANATOMY = {
    "desc-brain_mask.nii.gz",
    "desc-preproc_T1w.nii.gz",
    "space-MNI152NLin2009aSym_desc-brain_mask.nii.gz",
    "space-MNI152NLin2009aSym_desc-preproc_T1w.nii.gz",
    "from-T1w_to-MNI152NLin2009aSym_mode-image_xfm.nii.gz",
}
ENHANCED = {f"ce-gadolinium_{name}" if "preproc_T1w" in name else name for name in ANATOMY}
MNI = "space-MNI152NLin2009aSym_desc"
TWO_VISITS = {
    "space-T1w_desc-preproc_FLAIR.nii.gz",
    f"{MNI}-preproc_FLAIR.nii.gz",
    "space-midway_desc-preproc_T1w.nii.gz",
    "space-midway_desc-preproc_FLAIR.nii.gz",
    "space-midway_desc-brain_mask.nii.gz",
}
TUMOUR = {"desc-excluded_mask.nii.gz", "space-T1w_desc-tumor_dseg.nii.gz", f"{MNI}-tumor_dseg.nii.gz"}
MAPS = {f"{name}.nii.gz" for name in ("Chimap", "R2starmap", "T2starmap", "S0map", "swi", "minIP")}
FIELDS = [
    f"{desc}fieldmap" for desc in ("", "desc-ppm_", "desc-local_", "desc-standarderror_", "desc-residual_")
]


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("sub-chris", ANATOMY),
        ("sub-ms01/ses-01", ANATOMY | TWO_VISITS),
        ("sub-ms01/ses-02", ANATOMY | TWO_VISITS),
        (
            "sub-du7294",
            ANATOMY
            | TUMOUR
            | {f"space-T1w_desc-preproc_{suffix}.nii.gz" for suffix in ("T2w", "FLAIR")}
            | {f"{MNI}-preproc_{suffix}.nii.gz" for suffix in ("T2w", "FLAIR")}
            | {f"ce-gadolinium_{space}_desc-preproc_T1w.nii.gz" for space in ("space-T1w", MNI[:-5])},
        ),
        ("sub-brain1", ENHANCED | TUMOUR),
        (
            "sub-gre7t",
            MAPS
            | {f"desc-{name}.nii.gz" for name in ("brain_mask", "qsm_mask", "standarderror_Chimap")}
            | {f"{name}.nii.gz" for name in FIELDS},
        ),
    ],
)
def test_each_visit_gets_what_its_data_allow(real, folder, expected):
    assert made(real, folder) == expected


@pytest.mark.parametrize(
    ("subject", "says"),
    [
        ("chris", "there is no gradient-echo acquisition"),
        ("brain1", "there is only one image"),
        ("gre7t", "there is no T1w, T2w, FLAIR or PDw image to serve as reference"),
        ("gre7t", "it holds all tissue with signal, not the brain alone"),
        ("du7294", "already stripped"),
    ],
)
def test_the_report_says_what_was_not_possible_and_why(real, subject, says):
    assert says in (real.out / f"sub-{subject}.html").read_text()


def test_brain_volumes_are_those_of_adults(real):
    for unit in ("sub-chris", "sub-ms01_ses-01", "sub-ms01_ses-02", "sub-du7294", "sub-brain1"):
        record = StepRecord.load(real.work / "steps" / unit / "preprocess.json")
        assert 1100 < record.quality["brain volume (ml)"] < 1800


def test_the_two_visits_of_one_brain_have_nearly_one_volume(real):
    records = [
        StepRecord.load(real.work / "steps" / f"sub-ms01_ses-{n}" / "preprocess.json") for n in ("01", "02")
    ]
    first, second = (record.quality["brain volume (ml)"] for record in records)
    assert first == pytest.approx(second, rel=0.06)


def test_the_tumour_keeps_the_labels_and_volumes_that_were_drawn(real):
    drawn = nib.load(REAL / "derivatives/masks/sub-du7294/anat/sub-du7294_desc-tumor_dseg.nii.gz")
    carried = nib.load(real.out / "sub-du7294" / "anat" / "sub-du7294_space-T1w_desc-tumor_dseg.nii.gz")
    before = np.unique(np.asarray(drawn.dataobj), return_counts=True)
    after = np.unique(np.asarray(carried.dataobj), return_counts=True)
    assert [list(part) for part in before] == [list(part) for part in after]


def test_zscores_are_those_of_the_brain(real):
    image = nib.load(real.out / "sub-chris" / "anat" / "sub-chris_desc-preproc_T1w.nii.gz").get_fdata()
    mask = nib.load(real.out / "sub-chris" / "anat" / "sub-chris_desc-brain_mask.nii.gz").get_fdata() > 0
    assert image[mask].mean() == pytest.approx(0, abs=0.01)
    assert image[mask].std() == pytest.approx(1, abs=0.01)
    assert not image[~mask].any()


def test_the_susceptibility_of_tissue_is_within_plausible_limits(real):
    chi = nib.load(real.out / "sub-gre7t" / "anat" / "sub-gre7t_Chimap.nii.gz").get_fdata()
    low, high = np.percentile(chi[chi != 0], (1, 99))
    assert -0.2 < low < 0 < high < 0.3


def test_a_run_leaves_the_files_of_the_golden_list(real):
    made = made_by(real.out)
    assert made == golden("bids-real", made)


def test_the_official_validator_accepts_the_derivatives(real, validator_errors):
    assert validator_errors(real.out) == []
