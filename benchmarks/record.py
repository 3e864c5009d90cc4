"""Run benchmarks and keep what they print, with the versions and the machine, for the documentation.

The page "Benchmarks as printed" is made of docs/benchmarks: no number in it was copied by hand.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import voxelome
from voxelome.imageio import save_text

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "benchmarks"
CPU = Path("/proc/cpuinfo")
# A benchmark that breaks off returns something else than one that misses a bar.
BROKEN_OFF = 70
_RUN = f"""
import runpy, sys, traceback
from pathlib import Path
def break_off(*failure):
    traceback.print_exception(*failure)
    sys.exit({BROKEN_OFF})
sys.excepthook = break_off
sys.argv = sys.argv[1:]
sys.path.insert(0, str(Path(sys.argv[0]).parent))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def main() -> int:
    """Return 1 where a benchmark did, that is where a bar is missed or data are absent."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="of the text file in docs/benchmarks")
    parser.add_argument("scripts", nargs="+", help="files in benchmarks/, each with its options in one word")
    options = parser.parse_args()
    lines = [*_heading(options.scripts)]
    returned = []
    for script in options.scripts:
        lines += ["", f"$ python benchmarks/{script}"]
        command = [sys.executable, "-c", _RUN, *_words(script)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
            for line in process.stdout or ():
                print(line, end="", flush=True)
                lines.append(line.rstrip())
        returned.append(process.returncode)
        if process.returncode not in (0, 1):
            print(f"{script} ended with {process.returncode}: nothing is kept", file=sys.stderr)
            return process.returncode
    save_text(FOLDER / f"{options.name}.txt", "\n".join(lines) + "\n")
    return max(returned)


def _words(script: str) -> Sequence[str]:
    name, *rest = script.split()
    return str(ROOT / "benchmarks" / name), *rest


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], capture_output=True, text=True, check=False, cwd=ROOT)
    return done.stdout.strip()


def _heading(scripts: Sequence[str]) -> Iterator[str]:
    """What the numbers hold for."""
    commit = _git("describe", "--always")
    # What benchmarks print is kept in the repository, and does not change what they measure.
    if _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs/benchmarks"):
        commit += "-dirty"
    models = [line for line in CPU.read_text().splitlines() if line.startswith("model name")]
    load = os.getloadavg()[0]
    yield f"{', '.join(scripts)}: voxelome {voxelome.__version__}, commit {commit or 'unknown'}"
    yield f"{datetime.datetime.now(tz=datetime.UTC):%Y-%m-%d}, Python {platform.python_version()}"
    processor = models[0].split(":")[1].strip() if models else platform.machine()
    yield f"{os.cpu_count()} x {processor}, load at the start {load:.1f}"


if __name__ == "__main__":
    sys.exit(main())
