"""Results without a source are named, and removed where that is asked for; nothing else is."""

from pathlib import Path

import pytest

from voxelome.app.orphans import find_orphans, remove_orphans
from voxelome.bids.inventory import load_inventory, update_inventory
from voxelome.bids.names import unit_folder
from voxelome.errors import InputError
from voxelome.imageio import save_json
from voxelome.step import StepRecord, recording


class Cohort:
    """A dataset of empty images, and results as a run would leave them."""

    def __init__(self, folder: Path) -> None:
        self.bids, self.out = folder / "bids", folder / "out"
        self.work = self.out / ".voxelome"
        save_json(self.bids / "dataset_description.json", {"Name": "x", "BIDSVersion": "1.10.0"})
        for subject, session in (("01", None), ("02", "1"), ("02", "2"), ("03", "1")):
            self.image(subject, session)
            self.result(subject, session)
        self.shared("02")

    def image(self, subject: str, session: str | None) -> Path:
        unit = unit_folder(subject, session)
        path = self.bids / unit / "anat" / f"{unit.replace('/', '_')}_T1w.nii.gz"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"image")
        return path

    def result(self, subject: str, session: str | None) -> None:
        unit = unit_folder(subject, session)
        name = unit.replace("/", "_")
        record = StepRecord("register", name)
        for kind in ("desc-preproc_T1w.nii.gz", "desc-brain_mask.nii.gz"):
            path = self.out / unit / "anat" / f"{name}_{kind}"
            save_json(path.with_name(path.name.replace(".nii.gz", ".json")), {})
            path.write_bytes(b"result")
            record.add(path, "image")
        record.save(self.work / "steps" / name / "register.json")
        (self.out / f"sub-{subject}.html").write_text("report")

    def shared(self, subject: str) -> None:
        record = StepRecord("midway", f"sub-{subject}")
        for session in ("1", "2"):
            path = (
                self.out
                / f"sub-{subject}/ses-{session}/anat/sub-{subject}_ses-{session}_space-midway_T1w.nii.gz"
            )
            path.write_bytes(b"shared")
            record.add(path, "image")
        record.save(self.work / "steps" / f"sub-{subject}" / "midway.json")

    def find(self):
        update_inventory(self.bids, self.work / "inventory")
        inventories = load_inventory(self.work / "inventory")
        return find_orphans(self.bids, self.out, self.work, inventories)

    def remove(self) -> list[str]:
        return remove_orphans(self.find(), self.bids, self.out, self.work)

    def drop(self, folder: str) -> None:
        for path in sorted((self.bids / folder).rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        (self.bids / folder).rmdir()

    def files(self, *folders: str) -> set[str]:
        found = [path for path in self.out.rglob("*") if path.is_file() and "inventory" not in path.parts]
        return {str(path.relative_to(self.out)) for path in found}


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    return Cohort(tmp_path)


def test_results_with_a_source_are_no_orphans(cohort):
    before = cohort.files()
    assert cohort.find() == []
    assert cohort.remove() == []
    assert cohort.files() == before


def test_everything_of_a_subject_that_is_gone_is_removed_and_nothing_else(cohort):
    before = cohort.files()
    cohort.drop("sub-02")
    assert {str(orphan) for orphan in cohort.find()} == {
        f"{name} is no longer in the dataset" for name in ("sub-02", "sub-02_ses-1", "sub-02_ses-2")
    }
    cohort.remove()
    assert cohort.files() == {name for name in before if "sub-02" not in name}
    assert not (cohort.out / "sub-02").exists()
    assert cohort.find() == []


def test_a_visit_that_is_gone_takes_what_the_visits_shared_with_it(cohort):
    before = cohort.files()
    cohort.drop("sub-02/ses-2")
    assert [str(orphan) for orphan in cohort.find()] == [
        "sub-02 has no two visits any more",
        "sub-02_ses-2 is no longer in the dataset",
    ]
    cohort.remove()
    gone = {name for name in before if "sub-02_ses-2" in name or "midway" in name}
    assert cohort.files() == before - gone
    assert cohort.find() == []


def test_a_subject_that_is_renamed_leaves_its_old_results_as_orphans(cohort):
    cohort.drop("sub-01")
    cohort.image("01b", None)
    cohort.result("01b", None)
    assert [orphan.name for orphan in cohort.find()] == ["sub-01"]
    cohort.remove()
    assert not [
        name for name in cohort.files() if "sub-01/" in name or "sub-01_" in name or "sub-01." in name
    ]
    assert (cohort.out / "sub-01b.html").is_file()


def test_a_subject_whose_images_moved_to_a_visit_keeps_its_report(cohort):
    cohort.drop("sub-01/anat")
    cohort.image("01", "1")
    assert [(orphan.name, orphan.kind) for orphan in cohort.find()] == [("sub-01", "visit")]
    cohort.remove()
    assert (cohort.out / "sub-01.html").is_file()
    assert not list((cohort.out / "sub-01").glob("anat/*.nii.gz"))


def test_what_no_record_names_is_left_and_said(cohort):
    own = cohort.out / "sub-03/ses-1/anat/sub-03_ses-1_desc-mine_dseg.nii.gz"
    own.write_bytes(b"mine")
    cohort.drop("sub-03")
    lines = cohort.remove()
    assert own.read_bytes() == b"mine"
    assert any("1 other file(s) are left" in line for line in lines)


def test_the_results_of_a_step_whose_record_was_void_are_removed_too(cohort):
    record = cohort.work / "steps" / "sub-03_ses-1" / "register.json"
    paths = StepRecord.load(record).outputs
    with recording("register", "sub-03_ses-1", record) as again:
        again.outputs += paths
    record.unlink()
    cohort.drop("sub-03")
    cohort.remove()
    assert not [name for name in cohort.files() if "sub-03" in name]


def test_a_record_that_names_a_file_elsewhere_does_not_remove_it(cohort, tmp_path):
    elsewhere = tmp_path / "precious.nii.gz"
    elsewhere.write_bytes(b"precious")
    record = StepRecord("register", "sub-03_ses-1")
    record.add(elsewhere, "image")
    record.save(cohort.work / "steps" / "sub-03_ses-1" / "register.json")
    cohort.drop("sub-03")
    cohort.remove()
    assert elsewhere.is_file()


def test_links_to_images_that_are_not_here_are_a_source(cohort):
    image = cohort.bids / "sub-03/ses-1/anat/sub-03_ses-1_T1w.nii.gz"
    image.unlink()
    image.symlink_to("../../.git/annex/objects/absent")
    assert cohort.find() == []


def test_results_of_another_dataset_are_not_removed(cohort, tmp_path):
    save_json(cohort.out / "dataset_description.json", {"DatasetLinks": {"raw": "file:///elsewhere"}})
    cohort.drop("sub-03")
    before = cohort.files()
    with pytest.raises(InputError, match="results of another dataset, file:///elsewhere"):
        cohort.remove()
    assert cohort.files() == before


def test_where_the_dataset_has_none_of_the_subjects_it_is_another_one_at_the_same_place(cohort):
    for label in ("01", "02", "03"):
        cohort.drop(f"sub-{label}")
    cohort.image("04", None)
    before = cohort.files()
    with pytest.raises(InputError, match=r"of whom .* has none"):
        cohort.remove()
    assert cohort.files() == before
    cohort.image("01", "1")
    cohort.remove()
    assert not [name for name in cohort.files() if "sub-02" in name or "sub-03" in name]
