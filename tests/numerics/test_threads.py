"""The number of threads that a user gives is that of ITK, too."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys, threading, time
from pathlib import Path
from voxelome.step import use_threads
count = int(sys.argv[1])
use_threads(count)
import numpy as np
from voxelome.registration.prepare import reduce_resolution
from voxelome.registration.stages import Grid, Stage, run_stages
from voxelome.registration.template import load_template

brain, affine, _ = load_template(2)
brain, affine = reduce_resolution(brain, affine, 6)
def at_work():
    return {t.name for t in Path("/proc/self/task").iterdir()}
idle, most, going = at_work(), set(), True
def watch():
    while going:
        most.update(at_work() - idle)
        time.sleep(0.002)
watcher = threading.Thread(target=watch)
watcher.start()
grid = Grid(brain, affine)
run_stages(grid, grid, [Stage("SyN[0.2,3,0]", "MI", "32", (5,), (1,), (0,))], threads=count)
going = False
watcher.join()
print(len(most) - 1)  # less the watcher
"""


@pytest.mark.parametrize("threads", [1, 3])
def test_itk_starts_as_many_threads_as_it_is_told_and_no_more(threads: int) -> None:
    command = [sys.executable, "-c", PROGRAM, str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    # ITK's pool has that many threads; with one, the work is done by that one and the caller waits.
    assert int(done.stdout.splitlines()[-1]) == threads
