"""Susceptibility from raw phase on simulated heads with known truth, and on a real crop.

The heads are other people than those on which the settings were chosen, and their field comes from voxels
half as long over the whole head with its air. The usual way beside ours: unwrapping as in ROMEO, V-SHARP,
thresholded division. Compiled programs that others offer are not to be had from PyPI and are not run.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import peers
from _cases import DATA, REAL, Section, Table, in_process, run_sections, save
from scipy import ndimage

from voxelome.imageio import load_volume, voxel_sizes
from voxelome.phantom.anatomy import NUCLEI
from voxelome.phantom.magnetic import ECHO_TIMES, SusceptibilityHead, make_susceptibility_head
from voxelome.qsm.background import project_dipoles, sphere_radii, vsharp
from voxelome.qsm.dipole import field_direction
from voxelome.qsm.fieldmap import FieldFit, fit_field
from voxelome.qsm.inversion import total_variation
from voxelome.qsm.masking import (
    edge_weights,
    fluid_mask,
    magnitude_mask,
    map_edge_weights,
    slow_decay_mask,
)
from voxelome.qsm.methods import INVERSION, choose_inversion
from voxelome.qsm.pipeline import reconstruct
from voxelome.qsm.shading import shading_of
from voxelome.qsm.streaking import streaking_index
from voxelome.qsm.susceptibility import QSMSettings, map_susceptibility
from voxelome.qsm.unwrap import unwrap_spatially, wrap_fraction
from voxelome.step import peak_memory_mb

SEED = 71
TILTS = ((0.0, 0.0, 0.0), (25.0, 12.0, 0.0))
SNRS = (100.0, 40.0)
_AIR = 4.0  # ppm; what is above is air
OURS, USUAL = QSMSettings(), QSMSettings(background="vsharp", inversion="tkd", shading="none")


@cache
def head(index: int, tilted: int) -> SusceptibilityHead:
    """One of the simulated heads; made once a run."""
    return make_susceptibility_head(index, seed=SEED, tilt=TILTS[tilted])


def measure_whole(table: Table, options: argparse.Namespace) -> None:
    """Raw phase to susceptibility; the median over the heads and noise levels is judged."""
    table.head("whole: raw phase to susceptibility, 164 x 205 x 205, 4 echoes", unit="peer: the usual way")
    rows: list[list[tuple[float, ...]]] = [[], []]
    for index in range(options.heads):
        for tilted in range(len(TILTS)):
            truth = head(index, tilted)
            for snr in SNRS:
                with tempfile.TemporaryDirectory() as folder:
                    for name, image in zip(("mag", "phase"), truth.acquire(snr), strict=True):
                        np.save(f"{folder}/{name}.npy", image)
                    shown = replace(truth, signal=np.zeros(()))
                    for number, settings in enumerate((OURS, USUAL)):
                        rows[number].append(in_process(2, _reconstruct, shown, folder, settings))
                ours, theirs = rows[0][-1], rows[1][-1]
                what = f"head {index + 1}, {'tilted' if tilted else 'upright'}, SNR {snr:g}"
                table.row(f"{what}: NRMSE %", ours[1], theirs[1], digits=1)
    ours, theirs = (np.median(part, axis=0) for part in rows)
    kept, error, detrended, hfen, xsim, slope, worst, seconds, memory = range(9)
    table.row("brain kept %", ours[kept], theirs[kept], bar=">= 90", reached=ours[kept] >= 90, digits=1)
    table.row("NRMSE %", ours[error], theirs[error], bar="<= 50", reached=ours[error] <= 50, digits=1)
    table.row("detrended NRMSE %", ours[detrended], theirs[detrended], digits=1)
    table.row("HFEN %", ours[hfen], theirs[hfen], digits=1)
    table.row("XSIM", ours[xsim], theirs[xsim])
    inside = 0.85 <= ours[slope] <= 1.1
    table.row("slope over the deep nuclei", ours[slope], theirs[slope], bar="0.85 to 1.1", reached=inside)
    table.row("largest error of a nucleus (ppm)", ours[worst], theirs[worst])
    quick = ours[seconds] <= 32
    table.row("CPU seconds", ours[seconds], theirs[seconds], bar="<= 32", reached=quick, digits=1)
    for number, nucleus in enumerate(NUCLEI, memory + 1):
        table.row(f"error of {nucleus.name} (ppb)", 1e3 * ours[number], 1e3 * theirs[number], digits=1)
    light = ours[memory] <= 1.5
    table.row("peak memory of the process (GB)", ours[memory], theirs[memory], bar="<= 1.5", reached=light)


def _reconstruct(truth: SusceptibilityHead, folder: str, settings: QSMSettings) -> tuple[float, ...]:
    """Share of the brain (%), scores, CPU seconds, peak memory (GB), and the error of each nucleus (ppm).

    The memory is that of a process with these images.
    """
    magnitude, phase = (np.load(f"{folder}/{name}.npy") for name in ("mag", "phase"))
    arguments = (truth.echo_times, truth.field_strength, truth.affine, truth.brain)
    tiny = np.s_[60:92, 80:112, 80:112]  # compiles and loads what is compiled
    reconstruct(magnitude[tiny], phase[tiny], *arguments[:3], truth.brain[tiny], settings)
    start = time.process_time()
    found = reconstruct(magnitude, phase, *arguments, settings, threads=2)
    seconds = time.process_time() - start
    memory = peak_memory_mb() / 1000
    kept = 100 * found.mask.sum() / truth.brain.sum()
    true, measured = nuclei(found.chi, truth, found.mask)
    return kept, *scores(found.chi, truth, found.mask), seconds, memory, *np.abs(measured - true)


def measure_forward(table: Table, _: argparse.Namespace) -> None:
    """Raw phase made by qsm-forward from the first head's maps: field, shim, offset and noise are its own."""
    table.head("forward: raw phase by qsm-forward, upright, SNR 100", unit="peer: V-SHARP and RTS")
    python = peers.forward_python()
    if python is None:
        table.absent(f"forward, for want of {peers.FORWARD}")
        return
    truth = head(0, 0)
    first = np.abs(truth.signal[..., 0]) * np.exp(truth.echo_times[0] * truth.r2star)
    maps = {"chi": truth.chi, "R2star": truth.r2star, "mask": truth.brain, "R1": np.ones(first.shape)}
    maps["M0"] = first * (truth.chi < _AIR)
    with tempfile.TemporaryDirectory() as folder:
        for name, values in maps.items():
            save(Path(folder) / f"{name}.nii.gz", values, np.eye(4))
        script = Path(__file__).with_name("_forward.py")
        subprocess.run([python, script, folder], check=True, capture_output=True)
        echoes = f"{folder}/bids/sub-1/anat/sub-1_echo-{{}}_part-{{}}_MEGRE.nii"
        magnitude, phase = (
            np.stack([load_volume(echoes.format(echo, part)).data for echo in (1, 2, 3, 4)], axis=-1)
            for part in ("mag", "phase")
        )
    rows = []
    for settings in (OURS, replace(USUAL, inversion="rts")):
        found = reconstruct(magnitude, phase, ECHO_TIMES, 3.0, np.eye(4), truth.brain, settings, threads=2)
        rows.append((100 * found.mask.sum() / truth.brain.sum(), *scores(found.chi, truth, found.mask)))
    names = ("brain kept %", "NRMSE %", "detrended NRMSE %", "HFEN %", "XSIM", "slope", "largest error (ppm)")
    for name, ours, theirs in zip(names, *rows, strict=True):
        table.row(name, ours, theirs)


def scores(chi: Any, truth: SusceptibilityHead, mask: Any) -> tuple[float, ...]:
    """NRMSE, detrended NRMSE, HFEN (%), XSIM, slope over the nuclei, and the largest error of one."""
    found, true = (values[mask] - values[mask].mean() for values in (chi, truth.chi))
    slope = float(found @ true / (true @ true))
    detrended = found - slope * true
    filtered = [ndimage.gaussian_laplace(np.where(mask, x, 0), 1.5)[mask] for x in (chi, truth.chi)]
    known, measured = nuclei(chi, truth, mask)
    return (
        100 * float(np.linalg.norm(found - true) / np.linalg.norm(true)),
        100 * float(np.linalg.norm(detrended) / np.linalg.norm(slope * true)),
        100 * float(np.linalg.norm(filtered[0] - filtered[1]) / np.linalg.norm(filtered[1])),
        xsim(chi, truth.chi, mask),
        float(np.polyfit(known, measured, 1)[0]),
        float(np.abs(measured - known).max()),
    )


def nuclei(chi: Any, truth: SusceptibilityHead, mask: Any) -> Any:
    """True and measured susceptibility (ppm) of each nucleus against the mean of the mask."""
    regions = [mask & (truth.labels == number) for number in range(1, len(NUCLEI) + 1)]
    return [
        np.array([values[r].mean() for r in regions]) - values[mask].mean() for values in (truth.chi, chi)
    ]


def xsim(first: Any, second: Any, mask: Any) -> float:
    """Structural similarity with constants for susceptibility in ppm (Milovic et al., MRM 2024)."""
    x, y = (np.where(mask, values - values[mask].mean(), 0) for values in (first, second))

    def mean(values: Any) -> Any:
        return ndimage.gaussian_filter(values, 1.5, truncate=3.5)

    mx, my = mean(x), mean(y)
    vx, vy, both = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    c1, c2 = 0.01**2, 0.001**2
    ratio = (2 * mx * my + c1) * (2 * both + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    return float(ratio[mask].mean())


def measure_background(table: Table, options: argparse.Namespace) -> None:
    """Local field from the true total field; peer: V-SHARP.

    Ours is the local field after both passes; the projection by itself is shown too.
    """
    table.head("background: from the true total field", unit="peer: V-SHARP to 12 mm")
    rows = []
    for index in range(options.heads):
        for tilted in range(len(TILTS)):
            truth = head(index, tilted)
            box = ndimage.find_objects(truth.brain.astype(np.uint8))[0]
            total, true, brain = truth.field[box], truth.local_field[box], truth.brain[box]
            spacing, direction = voxel_sizes(truth.affine), field_direction(truth.affine)
            inner = ndimage.binary_erosion(brain)
            projected, seconds = _cpu(project_dipoles, total, brain, spacing, direction, threads=2)
            (other, kept), theirs = _cpu(
                vsharp, total, brain, spacing, sphere_radii(spacing, 12.0), threads=2
            )
            # As measured without noise: every voxel is trusted alike.
            zeros = np.zeros(brain.shape, np.float32)
            fit = FieldFit(total, zeros, zeros, zeros + 1, noise=0.0)
            signal = np.abs(truth.signal[box])
            both = map_susceptibility(
                total, zeros, fit, signal, brain, truth.affine, OURS, threads=2
            ).local_field
            ours = [_nrmse(found, true, inner) for found in (both, projected)]
            kept_shares = [100 * mask.sum() / brain.sum() for mask in (inner, kept)]
            rows.append((*ours, _nrmse(other, true, kept), *kept_shares, seconds, theirs))
    both, alone, peer, inside, peer_inside, seconds, theirs = np.median(rows, axis=0)
    table.row("NRMSE %", both, peer, bar="<= 20", reached=both <= 20, digits=1)
    table.row("in % of the brain", inside, peer_inside, bar=">= 95", reached=inside >= 95, digits=1)
    table.row("NRMSE % of one projection", alone, peer, digits=1)
    table.row("CPU seconds of one projection", seconds, theirs, digits=1)
    table.row("CPU seconds of V-SHARP", theirs, bar="<= 3", reached=theirs <= 3, digits=1)


def measure_inversion(table: Table, options: argparse.Namespace) -> None:
    """Susceptibility from the true local field with noise of 0.5 ppb; the weight is the default's.

    As in the default way, a second inversion is weighted by the edges of the first one's map.
    """
    table.head("inversion: from the true local field, noise 0.5 ppb", unit="blind weight; weights beside it")
    rows = []
    for index in range(options.heads):
        for tilted in range(len(TILTS)):
            truth = head(index, tilted)
            noise = np.random.default_rng(index).normal(0, 5e-4, truth.brain.shape)
            field = (truth.local_field + noise).astype(np.float32)
            edges = edge_weights(np.abs(truth.signal), truth.brain, voxel_sizes(truth.affine))
            once, *found = [
                _invert(field, truth, edges, weight, iterations)
                for weight, iterations in ((1.25e-4, 15), (6.25e-5, 15), (2.5e-4, 15), (1.25e-4, 60))
            ]
            again = map_edge_weights(once, truth.brain)
            found += [_invert(field, truth, again, 1.25e-4, iterations) for iterations in (15, 60)]
            rows.append(
                [
                    (_nrmse(chi, truth.chi, truth.brain), xsim(chi, truth.chi, truth.brain))
                    for chi in (once, *found)
                ]
            )
    first, half, twice, long, (error, similarity), longest = np.median(rows, axis=0)
    table.row("NRMSE %", error, bar="<= 12", reached=error <= 12, digits=1)
    table.row("XSIM", similarity, bar=">= 0.93", reached=similarity >= 0.93)
    for name, (value, likeness) in (
        ("one inversion", first),
        ("one inversion, half the weight", half),
        ("one inversion, twice the weight", twice),
        ("one inversion, 60 iterations", long),
        ("second inversion, 60 iterations", longest),
    ):
        table.row(f"{name}: NRMSE %", value, digits=1)
        table.row(f"{name}: XSIM", likeness)


def _invert(field: Any, truth: SusceptibilityHead, edges: Any, weight: float, iterations: int) -> Any:
    spacing, direction = voxel_sizes(truth.affine), field_direction(truth.affine)
    ones = np.ones(field.shape, np.float32)
    # There is no field from outside here that could be explained by sources there.
    options = {
        "regularisation": weight,
        "edges": edges,
        "outside": 1.0,
        "threads": 2,
        "iterations": iterations,
    }
    return total_variation(field, ones, truth.brain, spacing, direction, **options)


def measure_shading(table: Table, _: argparse.Namespace) -> None:
    """What taking shading out is worth on the heads that it was chosen on, and with veins in the fluid."""
    table.head("shading: raw phase to susceptibility, NRMSE %, heads 5 and 6", unit="peer: shading left in")
    for seed, tilt in zip((5, 6), TILTS, strict=True):
        truth = make_susceptibility_head(0, seed=seed, tilt=tilt)
        known = (truth.echo_times, truth.field_strength, truth.affine, truth.brain)
        for snr in SNRS:
            shaded = reconstruct(*truth.acquire(snr), *known, replace(OURS, shading="none"), threads=2)
            errors = []
            for chi in (shaded.chi, _with_veins(shaded.chi, shaded.r2star, shaded.mask, truth)):
                shade = shading_of(chi, shaded.r2star, shaded.mask, voxel_sizes(truth.affine)).values
                errors.append(scores(shaded.chi - shade, truth, shaded.mask)[0])
            before = scores(shaded.chi, truth, shaded.mask)[0]
            what = f"head {seed}, SNR {snr:g}"
            table.row(what, errors[0], before, bar="less", reached=errors[0] < before, digits=1)
            table.row(f"{what}, a fifth of the sulcal fluid 0.03 ppm off", errors[1], before, digits=1)


def _with_veins(chi: Any, r2star: Any, mask: Any, truth: SusceptibilityHead) -> Any:
    """Map in which clusters of a fifth of the fluid outside the ventricles are 0.03 ppm too high."""
    fluid = slow_decay_mask(r2star, mask)
    ventricles = ndimage.binary_dilation(fluid_mask(r2star, mask, voxel_sizes(truth.affine)), iterations=3)
    clusters = ndimage.gaussian_filter(np.random.default_rng(1).normal(size=chi.shape), 1.5)
    veins = fluid & ~ventricles & (clusters > np.quantile(clusters[fluid], 0.8))
    return np.where(veins, chi + np.float32(0.03), chi)


def measure_methods(table: Table, _: argparse.Namespace) -> None:
    """Every inversion from the first head's true local field with noise of 0.5 ppb, with its usual weight."""
    table.head("methods: from the true local field, noise 0.5 ppb, first head", unit="NRMSE %, XSIM, CPU s")
    truth = head(0, 0)
    spacing, direction = voxel_sizes(truth.affine), field_direction(truth.affine)
    noise = np.random.default_rng(0).normal(0, 5e-4, truth.brain.shape)
    field = (truth.local_field + noise).astype(np.float32)
    error, ones = np.full(field.shape, 5e-4, np.float32), np.ones(field.shape, np.float32)
    signal = np.abs(truth.signal)
    for method in INVERSION:
        chosen = choose_inversion(
            method, None, error, ones, signal, truth.brain, spacing, iterations=15, radians=6.4
        )
        invert = (
            partial(chosen.invert, outside=1.0) if chosen.surrounded and method != "ndi" else chosen.invert
        )
        chi, seconds = _cpu(invert, field, mask=truth.brain, spacing=spacing, direction=direction, threads=2)
        table.row(f"{method}: NRMSE %", _nrmse(chi, truth.chi, truth.brain), digits=1)
        table.row(f"{method}: XSIM", xsim(chi, truth.chi, truth.brain))
        table.row(f"{method}: streaking index", streaking_index(chi, truth.brain, spacing, direction))
        table.row(f"{method}: CPU seconds", seconds, digits=0)


def measure_unwrapping(table: Table, _: argparse.Namespace) -> None:
    """Neighbours in the real crop whose phase differs by over half a turn."""
    table.head("unwrapping: the crop of sub-gre7t, 7 T, and beyond", unit="share of neighbours")
    name = str(REAL / "sub-gre7t" / "anat" / "sub-gre7t_echo-{}_part-{}_MEGRE.nii.gz")
    stacks = [
        np.stack([load_volume(name.format(echo, part)).data for echo in (1, 2, 3)], axis=-1)
        for part in ("mag", "phase")
    ]
    volume = load_volume(name.format(1, "mag"))
    mask = magnitude_mask(stacks[0][..., 0], volume.spacing)
    fit = fit_field(stacks[1], stacks[0], (0.004, 0.008, 0.012), mask, volume.spacing)
    share = wrap_fraction(fit.field * np.float32(0.004), mask)
    table.row("fitted field", share, bar="0", reached=share == 0, digits=6)
    for echo in range(3):
        unwrapped = unwrap_spatially(stacks[1][..., echo], stacks[0][..., echo], mask)
        table.row(f"echo {echo + 1} by itself", wrap_fraction(unwrapped, mask), digits=6)


def _nrmse(found: Any, true: Any, mask: Any) -> float:
    x, y = (values[mask] - values[mask].mean() for values in (found, true))
    return 100 * float(np.linalg.norm(x - y) / np.linalg.norm(y))


def _cpu(function: Callable[..., Any], *arguments: Any, **options: Any) -> tuple[Any, float]:
    start = time.process_time()
    return function(*arguments, **options), time.process_time() - start


SECTIONS: dict[str, Section] = {
    "whole": measure_whole,
    "forward": measure_forward,
    "background": measure_background,
    "inversion": measure_inversion,
    "shading": measure_shading,
    "methods": measure_methods,
    "unwrapping": measure_unwrapping,
}


def main() -> int:
    """Print the tables; exit code 1 where a bar is missed or data are absent."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--heads", type=int, default=3, help="simulated heads")
    return run_sections(parser, SECTIONS, lambda name: name != "unwrapping" or DATA.is_dir())


if __name__ == "__main__":
    sys.exit(main())
