"""The page of a participant in a browser: the viewer shows what the volumes hold, and nothing is loaded."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.browser.conftest import open_page
from tests.conftest import Study
from tests.shared import REAL, needs_real_data
from voxelome.phantom.cohort import make_cohort
from voxelome.reports.figures import mosaic
from voxelome.reports.model import Check, Figure, Layer, Scene, SessionSummary, StepSummary, SubjectReport
from voxelome.reports.render import render_subject
from voxelome.reports.volumes import packed

READY = ["wait", "#viewer[data-ready]"]
CANVAS = "#viewer-canvas"
PLACE, VALUE = "#viewer-place", "#viewer-images td"
SHOTS = Path(os.environ.get("SCREENSHOTS", "/nonexistent"))
# Oblique, so that a viewer that takes the grid for upright reads another voxel.
ANGLE = np.deg2rad(20)
AFFINE = np.array(
    [
        [2 * np.cos(ANGLE), -2 * np.sin(ANGLE), 0, -40.0],
        [2 * np.sin(ANGLE), 2 * np.cos(ANGLE), 0, -60.0],
        [0, 0, 2, -50.0],
        [0, 0, 0, 1],
    ]
)
SHAPE = (48, 56, 44)
SPOT = (30, 20, 25)


@pytest.fixture(scope="module")
def made_up(tmp_path_factory) -> Path:
    """A page whose volumes hold their own voxel's number, and a label of one voxel."""
    rows = np.broadcast_to(np.arange(SHAPE[0], dtype=np.uint8)[:, None, None] * 5, SHAPE).copy()
    slices = np.broadcast_to(np.arange(SHAPE[2], dtype=np.uint8)[None, None, :] * 5, SHAPE).copy()
    label = np.zeros(SHAPE, np.uint8)
    label[SPOT] = 7
    layers = [
        Layer("first", "image", packed(rows, AFFINE, (0, 255)), (0, 255)),
        Layer("second", "map", packed(slices, AFFINE, (0, 255)), (0, 255), "ppm"),
        Layer("spot", "labels", packed(label, AFFINE), names={7: "the spot"}),
        Layer("brain", "labels", packed(np.ones(SHAPE, np.uint8), AFFINE), names={1: "brain"}),
    ]
    png = mosaic(rows.astype(np.float32), np.diag([2.0, 2, 2, 1]), width=400, slices=3)
    session = SessionSummary(
        "ses-1",
        [StepSummary("register", "sub-01", "warning", ["Done."], ["The slices are thick."])],
        [Figure("A picture", "What is seen.", png=png, alternate=png)],
        [("brain", 1300.0)],
        [("sub-01_T2w.nii.gz", "is cut", "copy it again")],
        [Check("FLAIR", "movement", 31.0, "mm", "amber", "0 to 20", "How far.", "register")],
    )
    other = Scene("another space", layers[1:2])
    report = SubjectReport(
        "sub-01",
        "Made up",
        [session],
        methods=["Text."],
        software={"numpy": "2"},
        citations=["A paper."],
        scenes=[Scene("space of first", layers), other],
    )
    page = tmp_path_factory.mktemp("made-up") / "sub-01.html"
    page.write_text(render_subject(report), encoding="utf-8")
    return page


def clean(visit) -> bool:
    assert visit.console == []
    assert visit.requests == []
    return True


def test_the_crosshair_begins_in_the_lesion_and_values_are_those_of_its_voxel(made_up):
    visit = open_page(made_up, READY, ["text", PLACE], ["texts", VALUE], ["texts", "#viewer-labels td"])
    place, values, labels = visit.results[1:]
    assert clean(visit)
    assert values == [str(SPOT[0] * 5), f"{SPOT[2] * 5} ppm"]
    assert labels == ["the spot", "brain"]
    x, y, z = AFFINE[:3] @ [*SPOT, 1]
    words = [f"{abs(v):.1f} {names[int(v >= 0)]}" for v, names in ((x, "LR"), (y, "PA"), (z, "IS"))]
    assert place.split("  ") == words


def test_a_click_and_the_keys_move_the_crosshair_and_change_the_value(made_up):
    visit = open_page(
        made_up,
        READY,
        ["text", VALUE],
        ["press", CANVAS, "ArrowRight"],
        ["text", VALUE],
        ["text", PLACE],
        ["click", CANVAS, 150, 120],
        ["text", VALUE],
        ["text", PLACE],
    )
    first, _, right, before, _, clicked, after = visit.results[1:]
    assert clean(visit)
    # The right of the picture is the patient's left, where the number of the row is smaller.
    assert int(right) == int(first) - 5
    assert clicked != right
    assert after != before


def test_an_overlay_is_seen_only_while_it_is_ticked(made_up, tmp_path):
    shots = [str(tmp_path / f"{name}.png") for name in ("without", "with", "again")]
    box = "#viewer-labels tr:nth-child(2) input"
    visit = open_page(
        made_up,
        READY,
        ["pause", 300],
        ["shot", CANVAS, shots[0]],
        ["click", box],
        ["pause", 300],
        ["shot", CANVAS, shots[1]],
        ["press", CANVAS, "2"],
        ["checked", box],
        ["pause", 300],
        ["shot", CANVAS, shots[2]],
    )
    assert clean(visit)
    without, shown, again = (np.asarray(Image.open(path).convert("RGB")).astype(int) for path in shots)
    assert without.max(axis=2).std() > 20, "no volume is seen"
    # The brain's colour is blue: more blue than red all over.
    assert (shown[..., 2] - shown[..., 0]).mean() > (without[..., 2] - without[..., 0]).mean() + 10
    assert visit.results[7] is False
    assert np.abs(again - without).mean() < 3


def test_the_image_below_the_view_and_the_space_can_be_changed(made_up):
    visit = open_page(
        made_up,
        READY,
        ["press", CANVAS, "b"],
        ["checked", "#viewer-images tr:nth-child(2) input"],
        ["press", CANVAS, "v"],
        ["value", "#viewer-view"],
        ["select", "#viewer-scene", "1"],
        ["pause", 500],
        ["texts", "#viewer-images label"],
        ["visible", "#viewer-overlays"],
    )
    assert clean(visit)
    assert visit.results[2] is True
    assert visit.results[4] == "0"
    assert visit.results[7] == ["second"]
    assert visit.results[8] is False


def page_of(folder: Path, *scenes: Scene) -> Path:
    """A page with these scenes and nothing else."""
    page = folder / "sub-01.html"
    report = SubjectReport("sub-01", "Made up", [SessionSummary("")], scenes=scenes)
    page.write_text(render_subject(report), encoding="utf-8")
    return page


def flat(name: str, shape: tuple[int, int, int] = SHAPE) -> Layer:
    """A gray image."""
    return Layer(name, "image", packed(np.full(shape, 100, np.uint8), np.eye(4), (0, 255)), (0, 255))


def test_an_entropy_is_off_at_first_and_covers_only_what_is_undecided(tmp_path):
    entropy = np.zeros(SHAPE, np.uint8)
    entropy[SHAPE[0] // 2 :] = 204
    layer = Layer("entropy of tumour", "overlay", packed(entropy, np.eye(4), (0, 1)), (0, 1))
    shots = [str(tmp_path / f"{name}.png") for name in ("without", "with")]
    box = "#viewer-labels input"
    visit = open_page(
        page_of(tmp_path, Scene("space of first", [flat("first"), layer])),
        READY,
        ["checked", box],
        ["select", "#viewer-view", "0"],
        ["pause", 300],
        ["shot", CANVAS, shots[0]],
        ["click", box],
        ["pause", 300],
        ["shot", CANVAS, shots[1]],
        ["text", "#viewer-labels td"],
        ["text", "#viewer-labels th"],
    )
    assert clean(visit)
    assert visit.results[1] is False
    assert visit.results[-2] == "0.8"
    assert visit.results[-1] == "entropy of tumour"
    without, shown = (np.asarray(Image.open(path).convert("RGB")).astype(int) for path in shots)
    changed = np.abs(shown - without).max(axis=2) > 20
    # Radiological: the patient's right, where the network is undecided, is on the left of the picture.
    middle = without.shape[1] // 2
    head = without.max(axis=2) > 50
    assert changed[:, :middle][head[:, :middle]].mean() > 0.9
    assert changed[:, middle:].mean() < 0.02


def test_the_space_that_was_chosen_last_is_shown_although_another_arrives_later(tmp_path):
    scenes = [Scene("first", [flat("first")]), Scene("late", [flat("late", (100, 100, 100))])]
    visit = open_page(
        page_of(tmp_path, *scenes),
        READY,
        ["choose", "#viewer-scene", "1", "0"],
        ["pause", 2000],
        ["texts", "#viewer-images label"],
    )
    assert clean(visit)
    assert visit.results[-1] == ["first"]


def test_a_volume_that_cannot_be_read_ends_the_viewer_with_words(tmp_path):
    broken = Layer("broken", "image", b"no volume", (0, 255))
    visit = open_page(
        page_of(tmp_path, Scene("first", [flat("first")]), Scene("other", [broken])),
        READY,
        ["select", "#viewer-scene", "1"],
        ["pause", 500],
        ["visible", "#viewer-on"],
        ["text", "#viewer-off"],
    )
    assert clean(visit)
    assert visit.results[-2] is False
    assert "does not work here" in visit.results[-1]


def test_without_webgl_words_lead_to_the_pictures(made_up):
    visit = open_page(
        made_up, ["pause", 1500], ["visible", "#viewer-on"], ["visible", "#viewer-off"], webgl=False
    )
    assert clean(visit)
    assert visit.results[1:] == [False, True]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_serious_fault_of_accessibility_is_found(made_up, scheme):
    visit = open_page(made_up, ["media", scheme], READY, ["axe"])
    assert visit.results[-1] == []


def check_real(page: Path, name: str) -> None:
    """What holds for every report of a run: fast, small, silent, and a volume is seen."""
    shot = (SHOTS if SHOTS.is_dir() else page.parent) / f"{name}-viewer.png"
    visit = open_page(
        page,
        ["paint"],
        READY,
        ["text", PLACE],
        ["click", CANVAS, 200, 200],
        ["text", PLACE],
        ["axe"],
        ["shot", CANVAS, str(shot)],
    )
    assert clean(visit)
    paint, _, before, _, after, faults, _ = visit.results
    assert paint < 2
    assert before != after
    assert faults == []
    assert np.asarray(Image.open(shot).convert("L")).std() > 20
    assert page.stat().st_size < 15e6


def test_a_report_of_the_simulated_cohort_opens(tmp_path):
    study = Study(tmp_path)
    make_cohort(study.bids, participants=2, sites=1, spacing=4.0)
    done = study.call(
        "participant",
        "--participant-label",
        "01",
        "--stages",
        "preprocess",
        "register",
        "qsm",
        "segment",
        "report",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    check_real(study.out / "sub-01.html", "cohort")


@needs_real_data
def test_a_report_of_real_data_opens(tmp_path):
    study = Study(tmp_path)
    study.bids.symlink_to(REAL.resolve())
    done = study.call(
        "participant",
        "--participant-label",
        "ms01",
        "--stages",
        "preprocess",
        "register",
        "segment",
        "report",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    check_real(study.out / "sub-ms01.html", "real")
