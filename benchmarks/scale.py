"""What a dry run costs on a dataset of many subjects, beside plain Snakemake on the same rules.

Makes small files for subjects of two visits (T1w, FLAIR, gradient echo), then measures time and memory of
`voxelome BIDS OUT participant --dry-run`: from nothing; then, with made-up results of all of them, again
when nothing changed (and of the run itself), with another setting, and after one subject was added, also on
one core. The peer is Snakemake, called on the same Snakefile.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from voxelome.app.arguments import check_folders, parse
from voxelome.app.standing import find_standing, settings_digest, stamp_finished
from voxelome.app.study import Study, open_study
from voxelome.bids.names import unit_entities
from voxelome.bids.targets import subject_records, wanted_stages
from voxelome.imageio import save_text
from voxelome.provenance import workflow_root
from voxelome.step import StepRecord

ECHOES = [f"echo-{echo}_part-{part}_MEGRE" for echo in (1, 2) for part in ("mag", "phase")]
IMAGES = ["T1w", "FLAIR", *ECHOES]
BARS = {"from nothing": (90, 2000), "one subject added": (15, 2000)}


@dataclass(frozen=True)
class Cost:
    """Seconds by the clock and of the processors, peak memory of all processes in MB, last line."""

    wall: float
    processor: float
    memory: float
    said: str


def write_subject(root: Path, label: str) -> None:
    """Write two visits: six images each, with sidecars."""
    for visit in ("1", "2"):
        folder = root / f"sub-{label}" / f"ses-{visit}" / "anat"
        folder.mkdir(parents=True)
        for number, name in enumerate(IMAGES):
            stem = f"sub-{label}_ses-{visit}_{name}"
            content = gzip.compress(f"{label} {visit} {name}".encode(), compresslevel=1)
            (folder / f"{stem}.nii.gz").write_bytes(content)
            sidecar = {"EchoTime": 0.004 * (number + 1), "MagneticFieldStrength": 3, "RepetitionTime": 0.05}
            (folder / f"{stem}.json").write_text(json.dumps(sidecar))


def write_dataset(root: Path, subjects: int) -> None:
    """Write the dataset."""
    root.mkdir()
    (root / "dataset_description.json").write_text('{"Name": "scale", "BIDSVersion": "1.10.0"}')
    for number in range(1, subjects + 1):
        write_subject(root, f"{number:05d}")


def write_results(study: Study) -> None:
    """Write records of all steps, each with two files, in the order in which steps make them, and reports."""
    for label in study.subjects:
        visits = study.visits(label)
        for record in subject_records(visits, wanted_stages(study.config)):
            path = study.work_dir / record
            session = unit_entities(path.parent.name).get("session", "1")
            step = StepRecord(path.stem.split("-")[0], path.parent.name)
            for part in ("a", "b"):
                file = study.out_dir / f"sub-{label}/ses-{session}/anat/{path.stem}_{part}.nii.gz"
                step.add(save_text(file, ""), "map")
            path.parent.mkdir(parents=True, exist_ok=True)
            step.save(path)
        save_text(study.out_dir / f"sub-{label}.html", "")


def measure(command: Sequence[str], log: Path) -> Cost:
    """Run a command to its end."""
    start = time.perf_counter()
    before = os.times()
    with log.open("w", encoding="utf-8") as file:
        process = psutil.Popen(command, stdout=file, stderr=file)
        peak = 0
        while process.poll() is None:
            peak = max(peak, _memory(process))
            time.sleep(0.1)
    after = os.times()
    if process.returncode:
        raise RuntimeError(f"{command[:4]} ended with {process.returncode}; see {log}")
    used = after.children_user + after.children_system - before.children_user - before.children_system
    lines = log.read_text(encoding="utf-8").rstrip().rsplit("\n", 1)
    return Cost(time.perf_counter() - start, used, peak / 1e6, lines[-1])


def _memory(process: psutil.Process) -> int:
    """Bytes that a process and its children hold (memory that they share counts once in each)."""
    total = 0
    try:
        for one in [process, *process.children(recursive=True)]:
            total += one.memory_info().rss
    except psutil.Error:
        return total
    return total


def main() -> int:
    """Print the table; exit code 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subjects", type=int, default=10_000)
    parser.add_argument("--no-peer", action="store_true", help="leave out plain Snakemake (minutes)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary).resolve()
        costs = compare(folder, options.subjects, peer=not options.no_peer)
    print(f"{options.subjects} subjects x 2 visits x {len(IMAGES)} images")
    for name, cost in costs.items():
        numbers = f"{cost.wall:7.1f} s  processor {cost.processor:7.1f} s  {cost.memory:6.0f} MB"
        print(f"{name:35} {numbers}  {cost.said.replace(f'{folder}/', '')}")
    missed = [name for name, (s, mb) in BARS.items() if costs[name].wall > s or costs[name].memory > mb]
    print("bars missed: " + (", ".join(missed) or "none"))
    return int(bool(missed))


def compare(folder: Path, subjects: int, *, peer: bool) -> dict[str, Cost]:
    """Cost of each situation by its name."""
    bids, out, log = folder / "bids", folder / "out", folder / "log.txt"
    write_dataset(bids, subjects)
    arguments = [str(bids), str(out), "participant", "--dry-run", "--skip-bids-validation"]
    ours = [sys.executable, "-m", "voxelome.cli", *arguments]
    work = out / ".voxelome"
    plain = [sys.executable, "-m", "snakemake", "--snakefile", str(workflow_root() / "Snakefile")]
    plain += ["--configfile", str(work / "dry-run.yaml"), "--directory", str(work), "--cores", "2"]
    plain += ["--rerun-triggers", "mtime", "input", "params", "--dry-run", "--quiet", "all"]
    plain += ["--", "participant"]
    costs = {"from nothing": measure(ours, log)}
    if peer:
        costs["from nothing, plain Snakemake"] = measure(plain, log)
    given, _ = parse(arguments)
    check_folders(given)
    study = open_study(given)
    write_results(study)
    # What a run that has finished them leaves; a dry run that finds nothing to do leaves the same.
    settings = settings_digest(study)
    stamp_finished(study, settings, find_standing(study, settings).planned, ())
    costs["nothing changed"] = measure(ours, log)
    costs["nothing changed, the run itself"] = measure([part for part in ours if part != "--dry-run"], log)
    # Snakemake has noted nothing of results that are made up, so that it plans all and finds nothing to do.
    costs["another setting"] = measure([*ours, "--random-seed", "1"], log)
    write_subject(bids, "new")
    costs["one subject added"] = measure(ours, log)
    costs["one subject added, on one core"] = measure(["taskset", "--cpu-list", "0", *ours], log)
    if peer:
        costs["one subject added, plain Snakemake"] = measure(plain, log)
    return costs


if __name__ == "__main__":
    sys.exit(main())
