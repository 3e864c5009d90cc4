"""What each image costs: its size, the time to build it from nothing, and what it adds to a start.

`make bench-images` calls it, so that it finds what the tests of images set up: podman, Apptainer and a base.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.containers import machine

from voxelome.imageio import load_yaml
from voxelome.images import APP, STEPS
from voxelome.provenance import workflow_root

# A command of each stage, which imports what its steps do.
COMMANDS = {
    "preprocess": ("preprocess_session.py", "--help"),
    "register": ("register_session.py", "--help"),
    "qsm": ("reconstruct_qsm.py", "--help"),
    "segment": ("carry_masks.py", "--help"),
    "radiomics": ("extract_radiomics.py", "--help"),
    "radiomics-ibsi": ("extract_radiomics.py", "--help"),
    "model": ("assemble_features.py", "--help"),
    "report": ("report_subject.py", "--help"),
    APP: ("voxelome", "--version"),
}
COLUMNS = (
    "unpacked (MB)",
    "file (MB)",
    "built from nothing (s)",
    "file written (s)",
    "first start (s)",
    "start (s)",
    "its command without image (s)",
    "in the image (s)",
)
REPEATS = 7


def main() -> int:
    """Print the table; return 1 where images cannot be built here."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=f"of {', '.join(COMMANDS)}; default: all")
    options = parser.parse_args()
    try:
        machine.prepare()
    except machine.CannotBuildError as reason:
        print(f"nothing was measured: {reason}")
        return 1
    print(f"files are written with SIF_OPTIONS={machine.environment()['SIF_OPTIONS']}")
    print(f"starts: median of {REPEATS}; the first after the file was dropped from memory")
    print(f"| image | {' | '.join(COLUMNS)} |")
    print("|---" * (len(COLUMNS) + 1) + "|")
    for stage in options.stages or [*STEPS, APP]:
        print(f"| {stage} | {' | '.join(measure(stage))} |", flush=True)
    run = ["podman", "run", "--rm", "--network", "none", "--read-only", tag(APP), "--version"]
    print(f"as a BIDS App, {' '.join(run)}: {median(run):.2f} s")
    return 0


def measure(stage: str) -> list[str]:
    """Build one image and its file, and start them: what stands in :data:`COLUMNS`."""
    make = [sys.executable, str(workflow_root() / "containers" / "make.py")]
    built = seconds([*make, "build", stage, "--anew"])
    written = seconds([*make, "sif", stage, "--anew", "--images-dir", str(machine.IMAGES)])
    path = machine.IMAGES / f"{tag(stage).split(':')[0]}.sif"
    program, *words = COMMANDS[stage]
    within = ["apptainer", "exec", "--cleanenv", str(path)]
    python = [*within, "python", "-c", "pass"]
    drop_from_memory(path)
    starts = [seconds(python), median(python)]
    starts += [median([*local(program), *words]), median([*within, program, *words])]
    sizes = [stored(stage), path.stat().st_size / 1e6]
    return [*(f"{value:,.0f}" for value in (*sizes, built, written)), *(f"{value:.2f}" for value in starts)]


def local(program: str) -> Sequence[str]:
    """Command by which a program is started without an image."""
    script = workflow_root() / "scripts" / program
    return (sys.executable, str(script)) if script.is_file() else (shutil.which(program) or program,)


def tag(stage: str) -> str:
    """Name and tag of a stage's image."""
    return str(load_yaml(workflow_root() / "config" / "containers.yaml")["images"][stage]["tag"])


def stored(stage: str) -> float:
    """Megabytes of an image in podman's store."""
    command = ["podman", "image", "inspect", "--format", "{{.Size}}", tag(stage)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, env=environment())
    return int(said.stdout) / 1e6


def drop_from_memory(path: Path) -> None:
    """Have the next start read a file from the disk, as on a node that has not seen it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def median(command: Sequence[str]) -> float:
    """Seconds that a command usually takes: others share the machine."""
    seconds(command)
    return statistics.median(seconds(command) for _ in range(REPEATS))


def seconds(command: Sequence[str]) -> float:
    """Seconds of one call."""
    begun = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    took = time.monotonic() - begun
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout[-1000:]}{done.stderr[-2000:]}")
    return took


def environment() -> Mapping[str, str]:
    """Environment of commands, in which Python keeps bytecode, as an image has it and a checkout in use."""
    return {name: value for name, value in machine.environment().items() if name != "PYTHONDONTWRITEBYTECODE"}


if __name__ == "__main__":
    sys.exit(main())
