"""The viewer of a report: vendored as it was published, nothing else runs, and the summary of lights."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from dataclasses import replace
from importlib.resources import files

import nibabel as nib
import numpy as np
import pytest

import voxelome
from tests.unit.html_page import Page
from voxelome.imageio import save_volume
from voxelome.interfaces.report import ReportSubject
from voxelome.interfaces.viewer_scenes import scenes_of
from voxelome.reports.lights import traffic_lights
from voxelome.reports.model import (
    Check,
    Failure,
    Layer,
    Scene,
    SessionSummary,
    StepSummary,
    SubjectReport,
)
from voxelome.reports.render import render_subject
from voxelome.reports.viewer import NIIVUE_SHA256, described, library
from voxelome.reports.volumes import packed
from voxelome.step import StepRecord

NIFTI = packed(np.zeros((2, 2, 2), np.uint8), np.eye(4), (0, 1))
HOSTILE = "</script><script>alert(1)</script><!--"


def report(**changes) -> SubjectReport:
    layers = [
        Layer("T1w", "image", NIFTI, (0.0, 1.0)),
        Layer("lesion", "labels", NIFTI, names={1: "core", 2: "rim"}),
    ]
    base = SubjectReport("sub-01", "A study", [SessionSummary("")], scenes=[Scene("space of T1w", layers)])
    return replace(base, **changes)


def scripts(html: str) -> list[str]:
    return re.findall(r"<script[^>]*>(.*?)</script>", html, re.S)


def test_the_vendored_viewer_is_the_published_one_and_brings_its_licences():
    vendor = files("voxelome.reports").joinpath("vendor")
    source = vendor.joinpath("niivue.umd.js").read_bytes()
    assert hashlib.sha256(source).hexdigest() == NIIVUE_SHA256
    assert gzip.decompress(base64.b64decode(library())) == source
    licences = vendor.joinpath("niivue.LICENSES.txt").read_text(encoding="utf-8")
    for owner in ("Niivue", "gl-matrix", "fflate", "nifti-reader-js"):
        assert owner in licences


def test_only_the_script_whose_checksum_the_policy_names_can_run_in_a_page():
    html = render_subject(report())
    page = Page(html)
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv"))
    assert "unsafe-eval" not in policy
    assert "http" not in policy
    allowed = set(re.findall(r"'sha256-([^']+)'", policy))
    kinds = [attributes.get("type") for attributes in page.all("script")]
    running = [text for text, kind in zip(scripts(html), kinds, strict=True) if kind is None]
    digests = {base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in running}
    assert digests == allowed
    assert not [attributes for attributes in page.all("script") if "src" in attributes]


def test_a_page_without_volumes_has_no_script_and_no_viewer():
    html = render_subject(report(scenes=()))
    assert not scripts(html)
    assert "script-src" not in html
    assert 'id="viewer"' not in html


def test_the_page_holds_each_volume_as_it_was_given():
    page = render_subject(report())
    volume = re.search(r'id="volume-1-2">(.*?)</script>', page, re.S)[1]
    assert base64.b64decode(volume) == NIFTI


def test_names_cannot_end_the_data_of_the_viewer():
    scene = Scene(HOSTILE, [Layer(HOSTILE, "labels", NIFTI, names={1: HOSTILE})], HOSTILE)
    assert "<" not in described([scene])
    assert json.loads(described([scene]))[0]["layers"][0]["labels"][0]["name"] == HOSTILE
    html = render_subject(report(scenes=[scene]))
    assert Page(html).mistakes == []
    assert "<script>alert" not in html


def test_words_stand_where_the_viewer_cannot_run():
    page = Page(render_subject(report()))
    hidden = next(a for tag, a in page.elements if a.get("id") == "viewer-on")
    assert "hidden" in hidden
    assert "the pictures below show the same volumes" in page.text


@pytest.fixture
def visit(tmp_path):
    rng = np.random.default_rng(0)

    def image(name: str, data: np.ndarray):
        return save_volume(tmp_path / f"{name}.nii.gz", data, np.diag([1.0, 1.0, 1.0, 1.0]))

    shape = (40, 40, 40)
    register = StepRecord("register", "sub-01_ses-1")
    noise = rng.random(shape, dtype=np.float32)
    register.add(image("T1w", noise), "image", image="T1w", space="T1w")
    register.add(image("FLAIR", noise), "image", image="FLAIR", space="T1w")
    lesion = np.zeros(shape, np.uint8)
    lesion[10:20, 10:20, 10:20] = 1
    register.add(image("brain", np.ones(shape, np.uint8)), "mask", space="T1w", name="brain")
    segment = StepRecord("segment", "sub-01_ses-1")
    segment.add(image("lesion", lesion), "labels", name="lesion", space="T1w", names={"1": "core"})
    preprocess = StepRecord("preprocess", "sub-01_ses-1")
    preprocess.add(image("MEGRE", noise), "prepared", image="MEGRE")
    qsm = StepRecord("qsm", "sub-01_ses-1")
    susceptibility = rng.normal(0, 0.05, shape).astype(np.float32)
    qsm.add(image("Chimap", susceptibility), "map", space="MEGRE", suffix="Chimap", image="Chimap")
    qsm.add(image("S0map", noise), "map", space="MEGRE", suffix="S0map", image="S0map")
    return [register, segment, preprocess, qsm]


def test_images_maps_and_labels_of_one_space_are_one_scene(visit):
    scenes = scenes_of(["sub-01_ses-1"], visit)
    assert [scene.name for scene in scenes] == [
        "ses-1 \N{MIDDLE DOT} space of T1w",
        "ses-1 \N{MIDDLE DOT} space of MEGRE",
    ]
    assert [layer.name for layer in scenes[0].layers] == ["T1w", "FLAIR", "brain", "lesion"]
    assert scenes[0].layers[3].names == {1: "core"}
    assert [layer.name for layer in scenes[1].layers] == ["MEGRE", "Susceptibility"]
    assert scenes[1].layers[1].window == (-0.15, 0.15)
    assert scenes[1].layers[1].unit == "ppm"


def test_what_would_make_the_page_too_large_is_left_out_and_named(visit):
    whole = scenes_of(["sub-01_ses-1"], visit)
    size = sum(len(layer.nifti) for scene in whole for layer in scene.layers) * 4 / 3
    cut = scenes_of(["sub-01_ses-1"], visit, largest=int(0.8 * size))
    assert sum(len(layer.nifti) for scene in cut for layer in scene.layers) * 4 / 3 <= 0.8 * size
    assert {layer.name for scene in cut for layer in scene.layers} == {"T1w", "FLAIR", "brain", "lesion"}
    assert all(name in cut[0].note for name in ("MEGRE", "Susceptibility"))


def test_a_volume_for_which_there_is_no_room_is_not_even_read(visit, tmp_path):
    whole = scenes_of(["sub-01_ses-1"], visit)
    size = sum(len(layer.nifti) for layer in whole[0].layers[:2]) * 4 / 3
    (tmp_path / "MEGRE.nii.gz").unlink()
    (tmp_path / "Chimap.nii.gz").unlink()
    cut = scenes_of(["sub-01_ses-1"], visit, largest=int(size) - 1)
    assert [layer.name for layer in cut[0].layers] == ["T1w"]
    assert "Susceptibility (ses-1 \N{MIDDLE DOT} space of MEGRE)" in cut[0].note


def labels(visit, tmp_path, data: np.ndarray, **tags) -> Scene:
    """Scene of the reference with these labels instead of the lesion's."""
    save_volume(tmp_path / "lesion.nii.gz", data, np.eye(4))
    visit[1].find("labels")[0].update(tags)
    return scenes_of(["sub-01_ses-1"], visit)[0]


def test_labels_above_a_byte_are_shown_with_their_names(visit, tmp_path):
    data = np.zeros((40, 40, 40), np.int16)
    data[10:20], data[20:30], data[0, 0, 0] = 1001, 2035, 17
    scene = labels(visit, tmp_path, data, names={"17": "hippocampus", "1001": "bankssts"})
    assert scene.layers[3].names == {1: "hippocampus", 2: "bankssts", 3: "lesion 2035"}
    shown = nib.Nifti1Image.from_bytes(gzip.decompress(scene.layers[3].nifti)).get_fdata()
    assert set(np.unique(shown)) == {0, 1, 2, 3}


def test_more_labels_than_can_be_told_apart_are_left_out_and_named(visit, tmp_path):
    data = np.arange(40**3, dtype=np.int32).reshape(40, 40, 40) % 300
    scene = labels(visit, tmp_path, data)
    assert [layer.name for layer in scene.layers] == ["T1w", "FLAIR", "brain"]
    assert "more than 255 labels: lesion (ses-1" in scene.note


def test_the_entropy_of_a_network_is_an_overlay_between_certain_and_undecided(visit, tmp_path):
    network = StepRecord("network", "sub-01_ses-1")
    entropy = np.full((40, 40, 40), 0.25, np.float32)
    network.add(save_volume(tmp_path / "e.nii.gz", entropy, np.eye(4)), "entropy", name="tumour", space="T1w")
    scene = scenes_of(["sub-01_ses-1"], [*visit, network])[0]
    layer = scene.layers[-1]
    assert (layer.name, layer.kind, layer.window) == ("entropy of tumour", "overlay", (0, 1))
    shown = nib.Nifti1Image.from_bytes(gzip.decompress(layer.nifti)).get_fdata()
    assert np.allclose(shown, 0.25, atol=1 / 510)
    assert 'entropy of tumour", "kind": "overlay"' in render_subject(report(scenes=[scene]))


def test_what_changed_between_visits_is_not_the_first_to_find_no_room(visit, tmp_path):
    midway, change = StepRecord("midway", "sub-01"), StepRecord("change", "sub-01")
    for name in ("ses-1", "ses-2"):
        midway.add(tmp_path / "T1w.nii.gz", "midway", image="T1w", visit=name)
    tags = {"name": "lesion", "pair": "ses-1 to ses-2", "names": {"1": "new"}}
    change.add(tmp_path / "lesion.nii.gz", "change", **tags)
    records = [*visit, midway, change]
    whole = scenes_of(["sub-01_ses-1"], records)
    assert [layer.name for layer in whole[-1].layers] == [
        "T1w of ses-1",
        "change of lesion, ses-1 to ses-2",
        "T1w of ses-2",
    ]
    volume = len(whole[0].layers[0].nifti) * 4 / 3
    cut = scenes_of(["sub-01_ses-1"], records, largest=int(3.5 * volume))
    assert [scene.name for scene in cut] == [whole[0].name, whole[-1].name]
    assert [layer.name for layer in cut[1].layers] == ["T1w of ses-1", "change of lesion, ses-1 to ses-2"]
    assert [layer.name for layer in cut[0].layers] == ["T1w", "FLAIR", "brain", "lesion"]


def test_the_image_of_a_template_that_the_user_named_lies_below_the_subjects(visit, tmp_path):
    template = save_volume(tmp_path / "tpl-Own_T1w.nii.gz", np.ones((40, 40, 40), np.float32), np.eye(4))
    visit[0].add(tmp_path / "T1w.nii.gz", "template", image="T1w", space="Own")
    carried = {"name": "lesion", "space": "Own", "names": {"1": "core"}}
    visit[1].add(tmp_path / "lesion.nii.gz", "template-labels", **carried)
    scenes = scenes_of(["sub-01_ses-1"], visit, [str(template)])
    assert [layer.name for layer in scenes[1].layers] == ["T1w", "template Own", "lesion"]
    assert scenes[1].layers[2].names == {1: "core"}


def cell(session: SessionSummary, part: str, errors=()):
    rows = traffic_lights(SubjectReport("sub-01", "A study", [session], errors))
    return next(row.cells[0] for row in rows if row.part == part)


STEP = StepSummary("register", "sub-01", done=["Brought to T1w."])


def test_only_what_was_measured_is_good():
    check = Check("FLAIR", "movement", 1.0, "mm", "green", "0 to 20", "How far.", "register")
    assert cell(SessionSummary("", [STEP], checks=[check]), "Registration and template").light == "green"
    assert cell(SessionSummary("", [STEP]), "Registration and template").light == "done"


@pytest.mark.parametrize("light", ["amber", "red"])
def test_a_measure_out_of_its_range_is_the_reason_of_its_part_alone(light):
    check = Check("FLAIR", "movement", 31.0, "mm", light, "0 to 20", "How far.", "register")
    session = SessionSummary("", [STEP, StepSummary("radiomics", "sub-01")], checks=[check])
    found = cell(session, "Registration and template")
    assert (found.light, found.why) == (light, "FLAIR: movement is 31 mm, good is 0 to 20")
    assert cell(session, "Features").light == "done"


def test_a_failure_comes_before_a_doubt_and_counts_the_rest():
    step = replace(STEP, status="failed", warnings=["Thick slices."])
    found = cell(
        SessionSummary("", [step]),
        "Registration and template",
        [Failure("sub-01", "", "register", "no overlap")],
    )
    assert (found.light, found.why, found.more) == ("failed", "no overlap", 1)


def test_a_step_that_could_do_nothing_is_not_done_and_says_why():
    step = StepSummary("qsm", "sub-01", skipped=[("susceptibility", "there is no phase image")])
    found = cell(SessionSummary("", [step]), "Maps of gradient echoes")
    assert (found.light, found.why) == ("not run", "susceptibility: there is no phase image")


def subject_page(folder, records, failures=()) -> str:
    """Page of a subject of two visits, from records and failures."""
    plan = {"images": ["T1w"], "masks": [], "skipped": [], "problems": []}
    page = folder / "sub-01.html"
    ReportSubject(
        subject="01",
        dataset="A study",
        visits=json.dumps({"sub-01_ses-1": plan, "sub-01_ses-2": plan}),
        records=[str(record.save(folder / f"{number}.json")) for number, record in enumerate(records)],
        failures=json.dumps(list(failures)),
        report=str(page),
    ).run()
    return page.read_text()


def test_what_failed_for_all_visits_and_for_one_network_of_two_has_its_light(tmp_path):
    network = StepRecord("network", "sub-01_ses-1", done=["tumour on T1w."])
    failures = [
        {"unit": "sub-01_ses-1", "step": "network synlesion", "reason": "out of memory", "log": "a"},
        {"unit": "sub-01", "step": "midway", "reason": "no overlap", "log": "b"},
        {"unit": "sub-01", "step": "change synlesion", "reason": "no space", "log": "c"},
    ]
    html = subject_page(tmp_path, [network], failures)
    rows = re.findall(r'<tr><th scope="row">([^<]+)</th>(.*?)</tr>', html.split('class="lights"')[1], re.S)
    shown = {
        part: [" ".join(Page(cell).text.split()) for cell in cells.split("</td>")] for part, cells in rows
    }
    assert shown["Segmentation by networks"][0].endswith("failed synlesion: out of memory")
    assert shown["Space of all visits"][2].endswith("failed no overlap")
    assert shown["Change between visits"][2].endswith("failed synlesion: no space")
    assert "network synlesion" not in shown
    assert "3 steps failed" in Page(html).text


def test_versions_are_those_that_steps_ran_with_and_nothing_is_said_of_other_programs(tmp_path):
    register = StepRecord("register", "sub-01_ses-1", software={"voxelome": "0.0.1", "antspyx": "0.9"})
    network = StepRecord("network", "sub-01_ses-1", software={"onnxruntime": "1.2", "antspyx": "0.10"})
    html = subject_page(tmp_path, [register, network, StepRecord("midway", "sub-01")])
    told = dict(re.findall(r"<div><dt>(.*?)</dt><dd>(.*?)</dd></div>", html.split('class="versions"')[1]))
    assert told == {
        "voxelome": ", ".join(sorted({"0.0.1", voxelome.__version__})),
        "antspyx": "0.10, 0.9",
        "onnxruntime": "1.2",
    }
    assert "not installed" not in html


def test_an_unusable_file_is_a_doubt_about_the_data():
    session = SessionSummary("", [StepSummary("dataset", "sub-01")], problems=[("T2w.nii", "is cut", "copy")])
    assert cell(session, "Data").light == "amber"


def test_a_red_measure_is_the_first_sentence_of_the_page():
    check = Check("FLAIR", "movement", 99.0, "mm", "red", "0 to 20", "How far.", "register")
    session = SessionSummary("", [replace(STEP, warnings=["FLAIR: moved."])], checks=[check])
    page = Page(render_subject(SubjectReport("sub-01", "A study", [session])))
    assert "Do not use before somebody has looked: 1 measure far out of range." in page.text
