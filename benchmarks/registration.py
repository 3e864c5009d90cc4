"""Registration beside ANTsPy with its defaults, in one run: rigid, two real visits, and the template.

Motions are made by scipy, deformations by the phantom: never by the code that is measured.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import peers
from _cases import (
    CHRIS,
    DATA,
    DU7294,
    MS01,
    REAL,
    SEED,
    Image,
    Section,
    Table,
    in_process,
    load_real,
    move,
    random_motion,
    run_sections,
    simulated_heads,
    template_points,
    timed,
    tissue_overlap,
)
from scipy import ndimage

from voxelome.anat.bias import correct_bias
from voxelome.registration.rigid import register_rigid
from voxelome.registration.template import load_template, register_template

VISITS = DATA / "extra" / "ms_long01"
# Fixed image, moving image, how many motions, and whether the two are aligned as they come.
SAME = (
    (CHRIS, CHRIS, 8, True),
    (MS01.format(visit=1, contrast="T1w"), MS01.format(visit=1, contrast="T1w"), 6, True),
    (DU7294.format(contrast="T1w"), DU7294.format(contrast="T1w"), 6, True),
)
ACROSS = (
    (MS01.format(visit=1, contrast="T1w"), MS01.format(visit=1, contrast="FLAIR"), 10, False),
    (DU7294.format(contrast="T1w"), DU7294.format(contrast="FLAIR"), 10, True),
)
Register = Callable[[Image, Image], Any]


def ours_rigid(moving: Image, fixed: Image) -> Any:
    """Matrix from fixed world to moving world that voxelome finds."""
    return register_rigid(
        moving.data, moving.affine, fixed.data, fixed.affine, fixed_mask=fixed.mask, threads=1
    ).matrix


def measure_rigid(table: Table, options: argparse.Namespace) -> None:
    """Random motions to 15 degrees and 20 mm, with noise, on the moving image's own grid."""
    table.head("rigid: 40 known motions of real images, 1 thread", unit="error: mean over the brain, mm")
    print(f"(peer: ANTsPy 'Rigid' on {options.peer_pairs} of the motions of each kind)")
    for name, pairs, bar in (("same contrast", SAME, 0.5), ("FLAIR to T1w", ACROSS, 1.0)):
        ours = np.array(list(_rigid_errors(ours_rigid, pairs, options.motions)))
        peer = np.array(list(_rigid_errors(peers.ants_rigid, pairs, options.motions, options.peer_pairs)))
        for what, number in (("median", 50), ("95th percentile", 95)):
            row = (float(np.percentile(errors[:, 0], number)) for errors in (ours, peer))
            table.row(f"{name}: {what}", *row)
        share, theirs = (float((errors[:, 0] <= bar).mean()) for errors in (ours, peer))
        table.row(f"{name}: share <= {bar:g} mm", share, theirs, bar=">= 0.95", reached=share >= 0.95)
        table.row(f"{name}: seconds", *(float(np.median(errors[:, 1])) for errors in (ours, peer)), digits=2)
    print("(FLAIR of sub-ms01: truth is the program's own result for the unmoved image, then the motion)")


def _rigid_errors(
    register: Register, pairs: Any, motions: float, few: int = 0
) -> Iterator[tuple[float, float]]:
    """Error in mm and seconds of every pair; of `few` of them, spread over the images, if given."""
    for number, (fixed_name, moving_name, count, aligned) in enumerate(pairs):
        fixed, moving = load_real(fixed_name, with_brain=True), load_real(moving_name)
        native = np.eye(4) if aligned else register(moving, fixed)
        centre = fixed.brain_points().mean(axis=1)[:3]
        wanted = max(1, round(count * motions))
        if few:
            wanted = min(wanted, len(range(number, few, len(pairs))))
        for index in range(wanted):
            rng = np.random.default_rng([SEED, number, index])
            motion = random_motion(rng, centre)
            seconds, found = timed(register, move(moving, motion, rng), fixed)
            yield fixed.error(found, motion @ native), seconds


def measure_visits(table: Table, _: argparse.Namespace) -> None:
    """The two visits of sub-ms01 beside the published transforms, which ITK reads as common to visit."""
    table.head("ms01: study 1 to study 2 beside the published transforms", unit="mean over the brain, mm")
    flair, head = (
        [load_real(MS01.format(visit=v, contrast=c), with_brain=c == "T1w") for v in (1, 2)]
        for c in ("FLAIR", "T1w")
    )
    first, second = (
        peers.world_matrix(VISITS / f"study{visit}_FLAIR_to_common_space.txt") for visit in (1, 2)
    )
    published = second @ np.linalg.inv(first)
    for what, matrix in (
        ("headers", np.eye(4)),
        ("published", published),
        ("its inverse", np.linalg.inv(published)),
    ):
        print(f"correlation of the FLAIRs in the brain, {what}: {_correlation(flair, head[0], matrix):.3f}")
    into_first = ours_rigid(flair[0], head[0])
    # The brain of visit 1 in the FLAIR's own place, which is where the published transforms start.
    place = Image(head[0].data, into_first @ head[0].affine, head[0].mask)
    brain = ndimage.affine_transform(
        head[0].mask.astype(np.float32), *_voxels(place, flair[0]), output_shape=flair[0].data.shape, order=1
    )
    flair[0] = Image(flair[0].data, flair[0].affine, brain > 0.5)
    direct = (
        place.error(register(flair[1], flair[0]), published) for register in (ours_rigid, peers.ants_rigid)
    )
    ours, peer = direct
    table.row("FLAIR to FLAIR", ours, peer, bar="<= 1", reached=ours <= 1)
    errors = []
    for register in (ours_rigid, peers.ants_rigid):
        there, across, out = (
            register(flair[0], head[0]),
            register(head[1], head[0]),
            register(flair[1], head[1]),
        )
        errors.append(place.error(out @ across @ np.linalg.inv(there), published))
    table.row("by way of the T1w of each visit", *errors, bar="<= 1", reached=errors[0] <= 1)


def _voxels(source: Image, target: Image) -> tuple[Any, Any]:
    """Matrix and offset from target voxels to source voxels."""
    voxels = np.linalg.inv(source.affine) @ target.affine
    return voxels[:3, :3], voxels[:3, 3]


def _correlation(flair: list[Image], head: Image, matrix: Any) -> float:
    """Correlation of two images where a matrix takes the brain points of the first visit."""
    points = head.brain_points()
    values = []
    for image, placed in zip(flair, (points, matrix @ points), strict=True):
        values.append(
            ndimage.map_coordinates(image.data, (np.linalg.inv(image.affine) @ placed)[:3], order=1)
        )
    return float(np.corrcoef(values)[0, 1])


def ours_template(head: Image, spacing: int, threads: int) -> dict[str, Any]:
    """Seconds, where the points of the template lie in the head, and the range of the Jacobian."""
    template = load_template(spacing)
    brain = np.where(head.mask, head.data, 0)
    seconds, result = timed(
        register_template,
        brain,
        head.affine,
        head.mask,
        *template,
        same_contrast=True,
        threads=threads,
        seed=0,
    )
    voxels, points = template_points()
    shift = result.displacement[tuple((voxels * 2 // spacing).T)].T
    mapped = result.affine[:3, :3] @ (points + shift) + result.affine[:3, 3:]
    return {"seconds": seconds, "points": mapped, "jacobian": (result.jacobian_min, result.jacobian_max)}


def peer_template(head: Image, spacing: int, _: int) -> dict[str, Any]:
    """The same of ANTsPy's SyN."""
    template = Image(*load_template(spacing))
    seconds, found = timed(peers.ants_syn, head, template)
    mapped = peers.map_points(found, template_points()[1])
    return {"seconds": seconds, "points": mapped, "jacobian": peers.jacobian_range(found, template)}


def measure_template(table: Table, options: argparse.Namespace) -> None:
    """A real head and simulated ones whose deformation is known."""
    real = load_real(CHRIS, with_brain=True)
    heads = {"sub-chris": Image(correct_bias(real.data, real.affine, real.mask)[0], real.affine, real.mask)}
    with tempfile.TemporaryDirectory() as folder:
        heads |= simulated_heads(Path(folder), options.heads)
    spacing = options.spacing
    table.head(f"template at {spacing} mm: SyN of brains, 2 threads", unit="peer: ANTsPy 'SyN'")
    seconds = []
    for label, head in heads.items():
        ours, peer = (
            in_process(2, function, head, spacing, 2) for function in (ours_template, peer_template)
        )
        (overlap, error), (theirs, their_error) = (
            tissue_overlap(label, head, result["points"]) for result in (ours, peer)
        )
        bar = f">= {theirs - 0.01:.3f}"
        table.row(
            f"{label}: tissue overlap (Dice)", overlap, theirs, bar=bar, reached=overlap >= theirs - 0.01
        )
        if error is not None:
            table.row(f"{label}: error in the brain (mm)", error, their_error)
        (least, most), (their_least, their_most) = ours["jacobian"], peer["jacobian"]
        table.row(f"{label}: least Jacobian", least, their_least, bar="> 0", reached=least > 0)
        table.row(f"{label}: greatest Jacobian", most, their_most)
        seconds.append((ours["seconds"], peer["seconds"]))
    twice = partial(table.row, bar="peer / 2", digits=1)
    mine, theirs = np.median(seconds, axis=0)
    twice("seconds, median, 2 threads", mine, theirs, reached=bool(mine <= theirs / 2))
    head = heads["sub-chris"]
    mine, theirs = (
        in_process(1, function, head, spacing, 1)["seconds"] for function in (ours_template, peer_template)
    )
    twice("seconds, sub-chris, 1 thread", mine, theirs, reached=mine <= theirs / 2)


SECTIONS: dict[str, Section] = {
    "rigid": measure_rigid,
    "ms01": measure_visits,
    "template": measure_template,
}


def main() -> int:
    """Print the tables; exit code 1 where a bar is missed or data are absent."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--motions", type=float, default=1.0, help="share of the 40 motions")
    parser.add_argument("--peer-pairs", type=int, default=8, help="motions of each kind that the peer gets")
    parser.add_argument("--heads", type=int, default=5, help="simulated heads for the template")
    parser.add_argument("--spacing", type=int, choices=(1, 2), default=2, help="template's voxel size (mm)")
    return run_sections(parser, SECTIONS, lambda name: REAL.is_dir() and (name != "ms01" or VISITS.is_dir()))


if __name__ == "__main__":
    sys.exit(main())
