"""What Snakemake's plugin calls of LSF, which cannot be installed freely: here, jobs start at once.

It is bsub, bjobs, badmin or lsclusters by its first word; of the others there is nothing to tell. Jobs lie in
the folder LSF_STAND_IN, each with what it was given, and its state.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(os.environ["LSF_STAND_IN"])
JOBS = ROOT / "jobs"
COMMANDS = ("bsub", "bjobs", "badmin", "lsclusters", "bhist", "bkill")
# The state of a job is that of LSF: RUN, and at the end DONE or EXIT. It is never half written.
JOB = """
cd "$1" && echo RUN > "$2/begun" && mv "$2/begun" "$2/state"
if sh -c "$3" > "$4" 2>&1; then echo DONE; else echo EXIT; fi > "$2/end"
mv "$2/end" "$2/state"
"""


def bsub(*words: str) -> None:
    """Start a job: options with a value each, then its command as one word."""
    *options, command = words
    given = dict(zip(options[::2], options[1::2], strict=True))
    job = JOBS / str(len(list(JOBS.iterdir())) + 1)
    job.mkdir()
    (job / "options").write_text(" ".join(options))
    (job / "state").write_text("PEND\n")
    subprocess.Popen(
        ["sh", "-c", JOB, "job", given["-cwd"], str(job), command, given["-o"]],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    sys.stdout.write(f"Job <{job.name}> is submitted to queue <normal>.\n")


def bjobs(*_: str) -> None:
    """List number and state of every job."""
    for job in JOBS.iterdir():
        sys.stdout.write(f"{job.name} {(job / 'state').read_text()}")


def badmin(*_: str) -> None:
    """Show where the configuration lies."""
    values = {"LSB_SHAREDIR": ROOT, "LSF_CONFDIR": ROOT, "LSF_UNIT_FOR_LIMITS": "MB"}
    sys.stdout.write("MBD configuration at now\n" + "".join(f"\t{k} = {v}\n" for k, v in values.items()))


def lsclusters(*_: str) -> None:
    """Name the cluster."""
    sys.stdout.write("CLUSTER_NAME STATUS\nstand-in ok\n")


def prepare() -> None:
    """Make the configuration, and the links in ROOT / bin."""
    parameters = ROOT / "lsbatch" / "stand-in" / "configdir" / "lsb.params"
    parameters.parent.mkdir(parents=True)
    parameters.write_text("DEFAULT_QUEUE = normal\n")
    JOBS.mkdir()
    (ROOT / "bin").mkdir()
    for name in COMMANDS:
        command = ROOT / "bin" / name
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" {name} "$@"\n')
        command.chmod(0o755)


if __name__ == "__main__":
    known = {command.__name__: command for command in (bsub, bjobs, badmin, lsclusters)}
    name, *words = sys.argv[1:]
    sys.exit(known[name](*words) if name in known else "no matching job found")
