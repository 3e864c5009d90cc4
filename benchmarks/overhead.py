"""What the workflow adds to the work of its steps: on this machine, and where each job waits in a queue.

Runs the participant level of a simulated cohort and compares its time with what its steps took. Then runs it
again as on a cluster whose jobs wait before they start, alone and in the groups of config/profiles/slurm, and
counts how many waits a subject paid for. For that it needs snakemake-executor-plugin-cluster-generic.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from voxelome.imageio import load_yaml, save_text
from voxelome.phantom.cohort import make_cohort
from voxelome.provenance import workflow_root
from voxelome.step import StepRecord

LARGEST_SHARE = 0.15
MOST_WAITS = 3
PLUGIN = "snakemake_executor_plugin_cluster_generic"
# What stands in for a queue: notes the job, waits, runs it.
SUBMIT = """\
#!/bin/sh
grep '^# properties' "$1" >> {notes}
(sleep {latency}; sh "$1") > /dev/null 2>&1 &
echo $!
"""


@dataclass(frozen=True)
class Times:
    """Seconds of a run, of its steps' processes, and of what those did between start and end."""

    wall: float
    processes: float
    work: float

    def share(self, cores: int) -> float:
        """Part that the run takes beyond its steps' processes, were those spread over all cores."""
        return self.wall * cores / self.processes - 1


def run(bids: Path, out: Path, *options: str) -> Times:
    """Run the participant level."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "voxelome.cli", str(bids), str(out), "participant"]
    masks = f"masks={bids / 'derivatives' / 'masks'}"
    done = subprocess.run(
        [*command, "--derivatives", masks, "--skip-bids-validation", *options],
        capture_output=True,
        text=True,
        check=False,
    )
    wall = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])
    work = out / ".voxelome"
    tables = list(work.glob("benchmarks/*/*.tsv"))
    rows = [next(csv.DictReader(path.open(encoding="utf-8"), delimiter="\t")) for path in tables]
    records = [StepRecord.load(path) for path in work.glob("steps/*/*.json")]
    return Times(wall, sum(float(row["s"]) for row in rows), sum(record.seconds for record in records))


def write_profile(folder: Path, latency: float, groups: Mapping[str, str]) -> Path:
    """Write a profile whose jobs wait; return the file in which they are noted."""
    notes = folder / "submitted.txt"
    submit = save_text(folder / "submit.sh", SUBMIT.format(notes=notes, latency=latency))
    profile = {
        "executor": "cluster-generic",
        "cluster-generic-submit-cmd": f"sh {submit}",
        "jobs": 16,
        "latency-wait": 5,
        "max-status-checks-per-second": 5,
        "seconds-between-status-checks": 1,
        **({"groups": dict(groups)} if groups else {}),
    }
    save_text(folder / "config.yaml", json.dumps(profile))
    notes.touch()
    return notes


def waits_by_subject(notes: Path) -> Counter[str]:
    """Jobs that the queue was given, by subject."""
    lines = notes.read_text(encoding="utf-8").splitlines()
    jobs = [json.loads(line.partition("=")[2]) for line in lines]
    subjects = [re.findall(r"sub-([A-Za-z0-9]+)", " ".join(job["output"])) for job in jobs]
    return Counter(label for found in subjects for label in set(found))


def main() -> int:
    """Print the tables; exit code 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--participants", type=int, default=8)
    parser.add_argument("--spacing", type=float, default=2.0, help="mm")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--latency", type=float, default=10.0, help="seconds that a job of a cluster waits")
    parser.add_argument("--queue-participants", type=int, default=2)
    options = parser.parse_args()
    missed = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary).resolve()
        make_cohort(folder / "bids", participants=options.participants, sites=1, spacing=options.spacing)
        times = run(folder / "bids", folder / "out", "--nprocs", str(options.cores), "--omp-nthreads", "1")
        share = times.share(options.cores)
        print(f"{options.participants} participants at {options.spacing} mm on {options.cores} cores")
        print(f"the run {times.wall:.1f} s; processes of its steps {times.processes:.1f} s together,")
        print(f"of which {times.work:.1f} s are work; the run takes {share:.1%} more than the processes")
        if share > LARGEST_SHARE:
            missed.append("share of overhead")
        if find_spec(PLUGIN):
            missed += queue(folder, options.latency, options.queue_participants, options.spacing)
        else:
            print(f"no queue: {PLUGIN.replace('_', '-')} is not installed")
    print("bars missed: " + (", ".join(missed) or "none"))
    return int(bool(missed))


def queue(folder: Path, latency: float, participants: int, spacing: float) -> list[str]:
    """Print what a queue costs, without groups and with them; return the bars that were missed."""
    bids = folder / "few"
    make_cohort(bids, participants=participants, sites=1, spacing=spacing)
    groups = load_yaml(workflow_root() / "config" / "profiles" / "slurm" / "config.yaml").get("groups", {})
    most = 0
    for name, chosen in (("each job by itself", {}), ("in groups", groups)):
        place = folder / name.replace(" ", "-")
        place.mkdir()
        notes = write_profile(place, latency, chosen)
        times = run(bids, place / "out", "--profile", str(place), "--omp-nthreads", "1")
        waits = waits_by_subject(notes)
        most = max(waits.values())
        print(
            f"queue of {latency:.0f} s, {name}: {most} waits a subject, {times.wall:.1f} s for {participants}"
        )
    return ["waits of a subject"] if most > MOST_WAITS else []


if __name__ == "__main__":
    sys.exit(main())
