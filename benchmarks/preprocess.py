"""Preprocessing beside others in one run: bias field, a case of four contrasts, what a step costs to start.

The bias fields are polynomials and the motions scipy's: neither is made by the code that is measured.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import peers
from _cases import (
    CHRIS,
    DU7294,
    REAL,
    SEED,
    SITES,
    Case,
    Image,
    Section,
    Table,
    load_real,
    move,
    random_motion,
    run_sections,
    save,
    timed,
)
from scipy import ndimage

from voxelome.anat.bias import correct_bias
from voxelome.interfaces import _HOMES
from voxelome.phantom.acquisition import CENTRE, EXTENT, field_of_view
from voxelome.phantom.anatomy import load_head_model, tissues_at
from voxelome.phantom.cohort import make_cohort
from voxelome.phantom.contrasts import acquire, bias_field, ideal_image
from voxelome.phantom.deform import Grid
from voxelome.phantom.lesion import make_tumour, tumour_fractions
from voxelome.phantom.person import make_person
from voxelome.registration.template import load_template
from voxelome.segmentation.cards import default_models_dir
from voxelome.step import StepRecord

ROOT = Path(__file__).resolve().parents[1]
MOVING = ("ce-gadolinium_T1w", "T2w", "FLAIR")
# A step's script, the interface that it runs, and whether it needs ANTs.
STEPS = {
    "preprocess_session": ("PreprocessSession", True),
    "register_session": ("RegisterSession", True),
    "align_visits": ("AlignVisits", True),
    "reconstruct_qsm": ("ReconstructQSM", False),
    "carry_masks": ("CarryMasks", False),
    "extract_radiomics": ("ExtractRadiomics", False),
    "assemble_features": ("AssembleFeatures", False),
    "fit_model": ("FitModel", False),
    "report_subject": ("ReportSubject", False),
    "report_group": ("ReportGroup", False),
}
_LOAD_ANTS = "from voxelome.ants_image import _library; _library()"


def measure_n4(table: Table, options: argparse.Namespace) -> None:
    """Planted bias fields in simulated heads of 1 mm and on a real one."""
    table.head("n4: bias fields that were planted, 1 thread", unit="correlation of logs in the brain")
    print("(peer: ANTsPy's n4_bias_field_correction with its defaults, on the full grid, with the same mask)")
    scores: dict[str, list[tuple[float, ...]]] = {}
    for kind, image, planted, known in _biased(options.heads):
        seconds, (_, field) = timed(correct_bias, image.data, image.affine, image.mask)
        peer_seconds, peer_field = timed(peers.ants_bias, image)
        found = [np.log(each[image.mask]) for each in (field, peer_field)]
        if known:  # a real image has a field of its own, which each program finds in the image as it came
            found[0] = found[0] - np.log(correct_bias(known.data, known.affine, known.mask)[1][known.mask])
            found[1] = found[1] - np.log(peers.ants_bias(known)[known.mask])
        truth = np.log(planted[image.mask])
        row = (*(float(np.corrcoef(each, truth)[0, 1]) for each in found), seconds, peer_seconds)
        scores.setdefault(kind, []).append(row)
    for kind, rows in scores.items():
        ours, peer, seconds, peer_seconds = np.array(rows).T
        middle, theirs = float(np.median(ours)), float(np.median(peer))
        table.row(f"{kind}: median of {len(rows)}", middle, theirs, bar=">= 0.95", reached=middle >= 0.95)
        table.row(f"{kind}: least", float(ours.min()), float(peer.min()))
        times = float(np.median(seconds)), float(np.median(peer_seconds))
        table.row(f"{kind}: seconds", *times, bar="peer / 3", reached=times[0] <= times[1] / 3, digits=2)


def _biased(heads: int) -> Iterator[tuple[str, Image, Any, Image | None]]:
    """Kind, image with a planted field, the field, and the image without it where it has an own field."""
    grid = field_of_view(EXTENT, CENTRE, 1.0)
    for index in range(heads):
        person = make_person(index, SITES, SEED)
        points = person.warp.to_template(grid.points())
        tissues, tumour = tissues_at(points, 1.0), make_tumour(person)
        parts = tumour_fractions(tumour, points, tissues, 1.0)
        texture = person.rng(2).standard_normal(grid.shape, dtype=np.float32)
        for number, contrast in ((0, "T1w"), (3, "FLAIR")):
            ideal = ideal_image(contrast, tissues, parts, tumour, ndimage.gaussian_filter(texture, 1.0))
            # The field is the first thing that is drawn for an image.
            planted = bias_field(person.rng(10 + number), grid, person.site.bias)
            stored = acquire(person.rng(10 + number), ideal, grid, person.site).astype(np.float32)
            yield f"simulated {contrast}", Image(stored, grid.affine, tissues.brain), planted, None
    real = load_real(CHRIS, with_brain=True)
    for index in range(2):
        own = Grid(real.data.shape, real.affine)
        planted = bias_field(np.random.default_rng([SEED, index]), own, 0.2)
        yield "sub-chris T1w", Image(real.data * planted, real.affine, real.mask), planted, real


def cases(folder: Path, count: int) -> Iterator[Case]:
    """Real images moved apart, and simulated participants, who moved between the contrasts."""
    template = save(folder / "template.nii.gz", *load_template(2)[:2])
    rng = np.random.default_rng(SEED)
    images = [load_real(DU7294.format(contrast=name), with_brain=name == "T1w") for name in ("T1w", *MOVING)]
    first = images[0]
    centre = first.brain_points().mean(axis=1)[:3]
    motions = [random_motion(rng, centre, 10, 10) for _ in MOVING]
    moved = [first, *(move(image, motion, rng, 0) for image, motion in zip(images[1:], motions, strict=True))]
    paths = [
        save(folder / f"du7294_{name}.nii.gz", image.data, image.affine)
        for name, image in zip(("T1w", *MOVING), moved, strict=True)
    ]
    mask = save(folder / "du7294_mask.nii.gz", first.mask, first.affine)
    yield Case("sub-du7294", paths, mask, template, motions)
    make_cohort(folder / "cohort", participants=count, sites=SITES, spacing=2, seed=SEED)
    atlas = save(folder / "atlas.nii.gz", *_atlas())
    for number in range(count):
        person = make_person(number, SITES, SEED)
        label = f"sub-{person.label}"
        paths = [folder / "cohort" / label / "anat" / f"{label}_{name}.nii.gz" for name in ("T1w", *MOVING)]
        truth = folder / "cohort" / "derivatives" / "truth" / label / "anat"
        mask = truth / f"{label}_desc-brain_mask.nii.gz"
        yield Case(label, paths, mask, atlas, [person.motion[name] for name in MOVING])


def _atlas() -> tuple[Any, Any]:
    """Undeformed head of the phantom, T1w: an atlas with its skull, as whole heads need."""
    load_head_model()
    grid = field_of_view(EXTENT, CENTRE, 2.0)
    tissues = tissues_at(grid.points(), 2.0)
    nothing = dict.fromkeys(("core", "oedema", "rim"), np.zeros(grid.shape, dtype=np.float32))
    tumour = make_tumour(make_person(0, SITES, SEED))
    return ideal_image("T1w", tissues, nothing, tumour, nothing["core"]), grid.affine


def run_ours(case: Case, folder: Path) -> list[Any]:
    """The workflow's own two steps, each in a process; return the matrices of the moved contrasts."""
    records = [folder / name for name in ("preprocess.json", "register.json")]
    steps: tuple[list[Any], ...] = (
        [
            *("preprocess_session.py", "--images", *case.images, "--labels", "T1w", *MOVING),
            *("--references", "T1w", "--brain-masks", case.mask, "--models-dir", default_models_dir()),
        ],
        ["register_session.py", "--prepared", records[0], "--output-spaces", "MNI152NLin2009aSym:res-2"],
    )
    for (script, *arguments), record in zip(steps, records, strict=True):
        shared = ["--unit", "sub-case", "--record", record, "--out-dir", folder / record.stem]
        command = [sys.executable, ROOT / "scripts" / script, *arguments, *shared, "--num-threads", 2]
        subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
    registered = StepRecord.load(records[1])
    return [np.array(registered.find("matrix", image=label)[0]["matrix"]) for label in MOVING]


def measure_case(table: Table, options: argparse.Namespace) -> None:
    """Four contrasts from files to files, 2 threads, the brain mask given to all."""
    table.head("case: four contrasts, files to files, 2 threads", unit="seconds, and mm in the brain")
    print("ours: checks, N4 x 4, rigid x 3, SyN to the template at 2 mm, all images there and here")
    print("ants: N4 x 4, 'Rigid' x 3, 'SyN' to the same template, all images there and here; defaults")
    print(
        "brainles: rigid x 3, rigid to an atlas, correction there x 3, N4 x 4, mask; then ants' SyN as above"
    )
    pythons: dict[str, Any] = {"ants": sys.executable}
    if not options.no_brainles:
        pythons["brainles"] = peers.brainles_python()
    if pythons.get("brainles") is None:
        print(f"({peers.BRAINLES} is not here: compared with the same steps of ANTsPy alone)")
    with tempfile.TemporaryDirectory() as temporary:
        for case in cases(Path(temporary), options.cases):
            seconds, found = timed(run_ours, case, _folder(temporary, case, "ours"))
            ours = max(case.errors(found))
            for program in [name for name, python in pythons.items() if python is not None]:
                files = (case.images, case.mask, case.atlas, Path(temporary) / "template.nii.gz")
                folder = _folder(temporary, case, program)
                theirs, matrices = timed(peers.run_case, pythons[program], program, *files, folder)
                reached = seconds <= theirs / 2
                what = f"{case.name}, {program}"
                table.row(f"{what}: seconds", seconds, theirs, bar="peer / 2", reached=reached, digits=1)
                table.row(f"{what}: largest error (mm)", ours, max(case.errors(matrices)))


def _folder(parent: str, case: Case, program: str) -> Path:
    folder = Path(parent) / f"{case.name}-{program}"
    folder.mkdir()
    return folder


def measure_start(table: Table, _: argparse.Namespace) -> None:
    """What each step imports when it works, in a fresh process."""
    table.head("start: Python and all imports of a step, median of 5", unit="seconds; peer: import ants")
    ants = _start_seconds("import ants")
    for script, (interface, needs_ants) in STEPS.items():
        modules = sorted(imports_of(interface))
        code = "\n".join(f"import {module}" for module in modules)
        seconds = _start_seconds(f"{code}\n{_LOAD_ANTS if needs_ants else ''}")
        bar = 3.0 if needs_ants else 1.5
        table.row(script, seconds, ants, bar=f"<= {bar:g}", reached=seconds <= bar, digits=2)


def imports_of(interface: str) -> set[str]:
    """Modules of voxelome that an interface, or a function beside it, imports when it works."""
    found, waiting = {"voxelome.step"}, [f"voxelome.interfaces.{_HOMES[interface]}"]
    while waiting:
        name = waiting.pop()
        spec = importlib.util.find_spec(name)
        if name in found or spec is None or spec.origin is None:
            continue
        found.add(name)
        if name.startswith("voxelome.interfaces"):
            for part in ast.parse(Path(spec.origin).read_text()).body:
                # Other steps may share the module.
                if not (isinstance(part, ast.ClassDef) and part.name in _HOMES and part.name != interface):
                    waiting += [
                        str(node.module)
                        for node in ast.walk(part)
                        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("voxelome.")
                    ]
    return found


def _start_seconds(code: str) -> float:
    command = [sys.executable, "-c", code]
    seconds = [timed(subprocess.run, command, check=True, capture_output=True)[0] for _ in range(6)]
    return float(np.median(seconds[1:]))  # the first one may have to read the disk


SECTIONS: dict[str, Section] = {
    "n4": measure_n4,
    "case": measure_case,
    "start": measure_start,
}


def main() -> int:
    """Print the tables; exit code 1 where a bar is missed or data are absent."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--heads", type=int, default=5, help="simulated heads for n4")
    parser.add_argument("--cases", type=int, default=2, help="simulated cases beside the real one")
    parser.add_argument("--no-brainles", action="store_true", help="compare with ANTsPy's steps only")
    return run_sections(parser, SECTIONS, lambda name: name == "start" or REAL.is_dir())


if __name__ == "__main__":
    sys.exit(main())
