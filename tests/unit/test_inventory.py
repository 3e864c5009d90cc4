"""The inventory: what it takes, what it leaves out and says so, and what it reads again."""

import gzip
import json
import os
import time
from pathlib import Path

import pytest

from voxelome.bids import scan
from voxelome.bids.inventory import load_inventory, update_inventory
from voxelome.errors import InputError

MASK = "sub-01/anat/sub-01_desc-tumor_dseg.nii.gz"


def put(root, path, content="{}"):
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.endswith(".gz"):
        target.write_bytes(gzip.compress(content.encode(), mtime=0))
    else:
        target.write_text(content, encoding="utf-8")
    return target


def settle():
    """Let the file system's clock tick, so that what was written counts as old."""
    time.sleep(0.05)


class Study:
    """A dataset and its inventory."""

    def __init__(self, folder):
        self.root, self.folder, self.options = folder / "raw", folder / "inventory", {}
        put(self.root, "dataset_description.json", '{"Name": "x", "BIDSVersion": "1.10.0"}')
        for subject in ("01", "02"):
            self.image(subject, "T1w")
            self.image(subject, "T2w")
        put(self.root, "T1w.json", '{"EchoTime": 0.003}')
        settle()

    def image(self, subject, name, content="image"):
        return put(self.root, f"sub-{subject}/anat/sub-{subject}_{name}.nii.gz", content)

    def update(self, **options):
        return update_inventory(self.root, self.folder, **options)

    def load(self, **options):
        self.update(**options)
        return load_inventory(self.folder)

    def paths(self, subject="01", **options):
        return [Path(file.path).name for file in self.load(**options)[subject].files]

    def problems(self, subject="01", **options):
        return {row["path"]: row["problem"] for row in self.load(**options)[subject].problems}

    def json(self, subject="01"):
        return self.folder / f"sub-{subject}.json"


@pytest.fixture
def study(tmp_path):
    return Study(tmp_path)


@pytest.fixture
def derivatives(tmp_path):
    put(tmp_path, f"masks/{MASK}", "labels")
    return {"masks": tmp_path / "masks"}


def test_an_unchanged_dataset_is_not_read_again(study, monkeypatch):
    assert study.update().added == ["01", "02"]
    monkeypatch.setattr(scan, "content_digest", None)
    assert study.update().unchanged == ["01", "02"]


def test_only_a_new_subject_is_read(study, monkeypatch):
    study.update()
    study.image("03", "T1w")
    read = []
    digest = scan.content_digest
    monkeypatch.setattr(
        scan, "content_digest", lambda path, size: read.append(path.name) or digest(path, size)
    )
    update = study.update()
    assert (update.added, update.changed, update.unchanged) == (["03"], [], ["01", "02"])
    assert read == ["sub-03_T1w.nii.gz"]


def test_a_touched_image_leaves_the_inventory_as_it_is(study):
    study.update()
    before = study.json().stat()
    os.utime(study.root / "sub-01/anat/sub-01_T1w.nii.gz", ns=(1, 1))
    assert study.update().unchanged == ["01", "02"]
    assert study.json().stat().st_mtime_ns == before.st_mtime_ns
    assert study.json().stat().st_ino == before.st_ino


def test_an_image_with_other_content_changes_its_subject_only(study):
    before = study.load()["01"].files[0].digest
    study.image("01", "T1w", "other")
    assert study.update().changed == ["01"]
    assert load_inventory(study.folder)["01"].files[0].digest != before


def test_content_of_the_same_length_is_told_apart(study):
    path = study.root / "sub-01/anat/sub-01_FLAIR.nii"
    digests = set()
    for text in ("a" * 9000, "a" * 8999 + "b"):
        path.write_text(text)
        digests.add(scan.content_digest(path, 9000))
    gz = path.with_suffix(".nii.gz")
    for voxel in (b"\1", b"\2"):
        # stored without compression: equal sizes, and all but the checksum equal at both ends
        gz.write_bytes(gzip.compress(b"\0" * 20_000 + voxel + b"\0" * 20_000, compresslevel=0, mtime=0))
        digests.add(scan.content_digest(gz, gz.stat().st_size))
    assert len(digests) == 4


def test_a_removed_subject_and_a_removed_image_disappear(study):
    study.update()
    for path in (study.root / "sub-02/anat").iterdir():
        path.unlink()
    (study.root / "sub-02/anat").rmdir()
    (study.root / "sub-02").rmdir()
    (study.root / "sub-01/anat/sub-01_T2w.nii.gz").unlink()
    update = study.update()
    assert (update.subjects, update.removed, update.changed) == (["01"], ["02"], ["01"])
    assert not study.json("02").exists()
    assert list(load_inventory(study.folder)) == ["01"]


def test_a_sidecar_at_the_root_changes_the_subjects_that_inherit_it(study):
    study.image("03", "T2w")
    study.update()
    put(study.root, "T1w.json", '{"EchoTime": 0.004}')
    update = study.update()
    assert (update.changed, update.unchanged) == (["01", "02"], ["03"])
    assert load_inventory(study.folder)["01"].files[0].metadata == {"EchoTime": 0.004}


def test_a_change_within_one_tick_of_the_clock_is_seen(study):
    sidecar = put(study.root, "sub-01/anat/sub-01_T1w.json", '{"EchoTime": 1}')
    times = sidecar.stat()
    study.update()
    sidecar.write_text('{"EchoTime": 2}')
    os.utime(sidecar, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert study.load()["01"].files[0].metadata["EchoTime"] == 2


def test_a_lost_or_damaged_file_of_the_inventory_is_made_anew(study):
    study.update()
    text = study.json().read_text()
    study.json().unlink()
    (study.folder / "index.json").write_text("{")
    study.update()
    assert study.json().read_text() == text


def test_a_file_that_does_not_fit_the_schema_is_refused(study):
    study.update()
    study.json().write_text(json.dumps({**json.loads(study.json().read_text()), "extra": 1}))
    with pytest.raises(InputError, match=r"sub-01\.json.*remove the file"):
        load_inventory(study.folder)["01"]


def test_a_file_that_nobody_has_touched_is_not_checked_again_and_one_that_was_is(study, monkeypatch):
    checks = []
    monkeypatch.setattr("voxelome.bids.inventory._schema", lambda: checks.append)
    study.update()
    study.update()
    checks.clear()
    assert list(dict(study.load())) == ["01", "02"]
    assert not checks
    os.utime(study.json())
    assert list(dict(study.load())) == ["01", "02"]
    assert len(checks) == 1


def test_without_an_inventory_the_command_that_makes_one_is_named(tmp_path):
    with pytest.raises(InputError, match="voxelome-tools inventory"):
        load_inventory(tmp_path)


def test_an_inventory_of_another_version_is_refused_until_it_is_made_anew(study):
    study.update()
    index = study.folder / "index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "format": 3, "subjects": ["01", "02"]}))
    with pytest.raises(InputError, match=r"index\.json.*not that of this version.*voxelome-tools inventory"):
        load_inventory(study.folder)
    assert study.update().unchanged == ["01", "02"]
    assert list(load_inventory(study.folder)) == ["01", "02"]


def test_labels_sessions_and_the_lack_of_problems_are_known_without_reading_a_subject(study):
    put(study.root, "sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz", "image")
    put(study.root, "sub-02/anat/sub-02_FLAIR.nii", "")
    loaded = study.load()
    problems = loaded["02"].problems
    study.json("01").unlink()
    assert (list(loaded), len(loaded), "01" in loaded, "03" in loaded) == (["01", "02"], 2, True, False)
    assert (loaded.sessions("01"), loaded.sessions("02")) == ({None, "a"}, {None})
    assert (loaded.problems("01"), loaded.problems("02")) == ([], problems)
    assert len(problems) == 1


def test_what_is_known_of_a_subject_outlives_updates_that_do_not_read_it(study):
    put(study.root, "sub-02/ses-b/anat/sub-02_ses-b_T1w.nii.gz", "image")
    put(study.root, "sub-02/anat/sub-02_FLAIR.nii", "")
    before = study.load()
    settle()
    study.update()
    after = study.load()
    assert after.sessions("02") == before.sessions("02") == {None, "b"}
    assert after.problems("02") == before.problems("02") != []


def test_the_nearest_sidecar_wins_and_null_takes_away(study):
    put(study.root, "sub-01/sub-01_T1w.json", '{"EchoTime": null, "FlipAngle": 8}')
    put(study.root, "sub-01/anat/sub-01_T1w.json", '{"FlipAngle": 9}')
    assert study.load()["01"].files[0].metadata == {"FlipAngle": 9}


def test_numbers_that_json_does_not_have_are_left_out(study):
    put(study.root, "sub-01/anat/sub-01_T1w.json", '{"EchoTime": NaN, "SliceTiming": [0, Infinity]}')
    assert study.load()["01"].files[0].metadata["SliceTiming"] == [0, None]


def test_a_broken_sidecar_is_blamed_at_its_image_and_the_rest_goes_on(study):
    put(study.root, "sub-01/anat/sub-01_T1w.json", "{")
    problems = study.problems()
    assert "is not JSON" in problems["sub-01/anat/sub-01_T1w.json"]
    assert "sub-01_T1w.json is not JSON" in problems["sub-01/anat/sub-01_T1w.nii.gz"]
    assert study.problems("02") == {}


def test_a_broken_inherited_sidecar_is_blamed_for_every_subject_it_applies_to(study):
    put(study.root, "T1w.json", "[]")
    for subject in ("01", "02"):
        assert (
            "T1w.json holds no JSON object"
            in study.problems(subject)[f"sub-{subject}/anat/sub-{subject}_T1w.nii.gz"]
        )
        assert f"sub-{subject}/anat/sub-{subject}_T2w.nii.gz" not in study.problems(subject)


def test_metadata_that_contradicts_the_name_is_a_problem(study):
    put(study.root, "sub-01/anat/sub-01_run-02_T1w.json", '{"run": 3}')
    study.image("01", "run-02_T1w")
    assert "says run = 3" in study.problems()["sub-01/anat/sub-01_run-02_T1w.nii.gz"]


def test_a_link_to_nothing_is_a_problem_and_no_image(study):
    (study.root / "sub-01/anat/sub-01_FLAIR.nii.gz").symlink_to("absent")
    assert "link to a file that is not there" in study.problems()["sub-01/anat/sub-01_FLAIR.nii.gz"]
    assert study.paths() == ["sub-01_T1w.nii.gz", "sub-01_T2w.nii.gz"]


def test_an_empty_or_unreadable_image_is_a_problem(study, monkeypatch):
    study.image("01", "FLAIR").write_bytes(b"")

    def refuse(path, size):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(scan, "content_digest", refuse)
    problems = study.problems()
    assert problems["sub-01/anat/sub-01_FLAIR.nii.gz"] == "is empty"
    assert problems["sub-01/anat/sub-01_T1w.nii.gz"] == "cannot be read (Permission denied)"
    assert study.paths() == []


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("sub-01/anat/sub-02_T1w.nii.gz", "lies in sub-01 but its name says sub-02"),
        ("sub-01/ses-1/anat/sub-01_T1w.nii.gz", "lies in ses-1 but its name has no ses-"),
        ("sub-01/anat/sub-01_ses-1_T1w.nii.gz", "lies in no ses- folder but its name says ses-1"),
        ("sub-01/anat/sub-01_foo-1_T1w.nii.gz", "foo-1"),
        ("sub-01/anat/sub-01_acq-a_acq-b_T1w.nii.gz", "acq- twice"),
        ("sub-01/anat/sub-01_echo-one_MEGRE.nii.gz", "echo-one"),
        ("sub-01/anat/sub-01_acq-a_b_T1w.nii.gz", "'b'"),
        ("sub-01/anat/sub-01_acq-1.5mm_T1w.nii.gz", "does not end"),
        ("sub-01/anat/old/sub-01_T1w.nii.gz", "does not lie in a folder"),
        ("sub-01/sub-01_T1w.nii.gz", "does not lie in a folder"),
    ],
)
def test_a_file_that_is_not_named_or_placed_as_bids_says_is_a_problem(study, path, problem):
    before = study.paths()
    put(study.root, path, "image")
    assert problem in study.problems()[path]
    assert study.paths() == before


def test_an_image_that_is_there_compressed_and_not_is_a_problem(study):
    put(study.root, "sub-01/anat/sub-01_T1w.nii", "image")
    assert set(study.problems()) == {"sub-01/anat/sub-01_T1w.nii", "sub-01/anat/sub-01_T1w.nii.gz"}


def test_a_subject_without_any_image_is_a_problem(study):
    (study.root / "sub-03").mkdir()
    assert study.problems("03") == {"sub-03": "has no image"}


def test_hidden_files_are_no_images(study):
    put(study.root, "sub-01/anat/._sub-01_T1w.nii.gz", "left by a Mac")
    assert study.problems() == {}


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ({"t1w": {"acquisition": "a"}}, ["acq-a_run-02_T1w", "T2w"]),
        ({"t1w": {"acquisition": ["a", "b"]}}, ["acq-a_run-02_T1w", "acq-b_ce-gd_T1w", "T2w"]),
        ({"t1w": {"acquisition": None}}, ["T1w", "T2w"]),
        ({"t1w": {"acquisition": "Query.NONE"}}, ["T1w", "T2w"]),
        ({"t1w": {"ceagent": "*"}}, ["acq-b_ce-gd_T1w", "T2w"]),
        ({"t1w": {"ceagent": "Query.ANY", "suffix": "T1w"}}, ["acq-b_ce-gd_T1w", "T2w"]),
        ({"t1w": {"acquisition": ["a", None]}}, ["T1w", "acq-a_run-02_T1w", "T2w"]),
        ({"t1w": {"run": 2}}, ["acq-a_run-02_T1w", "T2w"]),
        ({"t2w": {"suffix": ["T1w", "T2w"], "run": "*"}}, ["acq-a_run-02_T1w"]),
        ({"bold": {"task": "rest"}}, ["T1w", "T2w", "acq-a_run-02_T1w", "acq-b_ce-gd_T1w"]),
        ({"t2w": {"session": "9"}, "flair": {}}, ["T1w", "acq-a_run-02_T1w", "acq-b_ce-gd_T1w"]),
    ],
)
def test_a_filter_keeps_what_matches_and_does_not_touch_other_suffixes(study, query, kept):
    study.image("01", "acq-a_run-02_T1w")
    study.image("01", "acq-b_ce-gd_T1w")
    assert sorted(study.paths(filters=query)) == sorted(f"sub-01_{name}.nii.gz" for name in kept)


def test_a_filter_that_is_taken_away_leaves_nothing_behind(study):
    study.update(filters={"t1w": {"session": "1"}})
    assert study.update().changed == ["01", "02"]
    assert len(study.paths()) == 2


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"t1": {}}, r"no query 't1'.*t1w"),
        ({"t1w": {"acquisitoin": "a"}}, r"unknown entity 'acquisitoin'.*acquisition"),
        ({"t1w": {"acq": "a"}}, r"unknown entity 'acq'.*'acquisition'"),
        ({"t1w": "a"}, "not a mapping"),
        ({"t1w": {"run": {"is": 1}}}, "is no value"),
    ],
)
def test_a_wrong_filter_is_refused_with_what_is_right(study, query, message):
    with pytest.raises(InputError, match=message):
        study.update(filters=query)


def test_derivatives_of_the_subjects_are_listed_by_name(study, derivatives):
    found = study.load(derivatives=derivatives)
    assert [file.path for file in found["01"].derivatives["masks"]] == [MASK]
    assert found["01"].derivatives["masks"][0].entities["desc"] == "tumor"
    assert found["02"].derivatives == {"masks": []}


def test_a_broken_derivative_is_left_out_and_named_by_its_bids_uri(study, derivatives):
    put(derivatives["masks"], MASK.replace(".nii.gz", ".json"), "{")
    found = study.load(derivatives=derivatives)["01"]
    assert found.derivatives == {"masks": []}
    assert f"bids:masks:{MASK}" in {row["path"] for row in found.problems}


def test_a_label_table_is_inherited_and_the_nearest_wins(study, derivatives):
    tables = []
    beside = MASK.replace(".nii.gz", ".tsv")
    for path in ("dseg.tsv", "desc-tumor_dseg.tsv", beside):
        put(derivatives["masks"], path, "index\tname\n1\tcore\n")
        tables.append(study.load(derivatives=derivatives)["01"].derivatives["masks"][0].label_table)
    assert tables == ["dseg.tsv", "desc-tumor_dseg.tsv", beside]


def test_a_label_table_enters_the_digest_of_its_image(study, derivatives):
    digests = []
    for name in ("core", "rim"):
        put(derivatives["masks"], "desc-tumor_dseg.tsv", f"index\tname\n1\t{name}\n")
        digests.append(study.load(derivatives=derivatives)["01"].derivatives["masks"][0].digest)
    assert digests[0] != digests[1]


def test_a_mask_takes_no_table_that_says_nothing_of_its_name(study, derivatives):
    mask = MASK.replace("dseg", "mask")
    (derivatives["masks"] / MASK).rename(derivatives["masks"] / mask)
    tables = []
    for path in ("dseg.tsv", "desc-tumor_dseg.tsv"):
        put(derivatives["masks"], path, "index\tname\n1\tcore\n")
        tables.append(study.load(derivatives=derivatives)["01"].derivatives["masks"][0].label_table)
    assert tables == ["", "desc-tumor_dseg.tsv"]


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda root: root.rename(root.with_name("gone")), "there is no such folder"),
        (lambda root: (root / "dataset_description.json").unlink(), "has no dataset_description.json"),
        (lambda root: (root / "dataset_description.json").write_text("{"), "is not JSON"),
        (
            lambda root: [path.rename(root / path.name[4:]) for path in root.glob("sub-*")],
            r"has no folder sub-\*",
        ),
        (lambda root: (root / "sub-01_old").mkdir(), "sub-01_old: is no BIDS label"),
    ],
)
def test_what_is_no_bids_dataset_is_refused(study, break_it, message):
    break_it(study.root)
    with pytest.raises(InputError, match=message):
        study.update()


def test_a_missing_folder_of_derivatives_is_refused(study, tmp_path):
    with pytest.raises(InputError, match="'masks'"):
        study.update(derivatives={"masks": tmp_path / "absent"})
