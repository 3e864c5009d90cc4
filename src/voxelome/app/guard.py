"""Ends a group of processes when the one that started it has been killed: `guard.py GROUP < pipe`.

A program of its own, with nothing of voxelome. Its standard input is a pipe that whoever starts it holds open
and writes to at an orderly end. A pipe that ends without a word means that its writer is gone.
"""

import os
import signal
import sys
import time

# A Snakemake that is interrupted takes away its lock, and cancels the jobs that it gave to a cluster.
GRACE = 10.0


def main() -> None:
    """Wait for the end of standard input, and then end the group."""
    group = int(sys.argv[1])
    if sys.stdin.read():
        return
    try:
        os.killpg(group, signal.SIGINT)
        deadline = time.monotonic() + GRACE
        while time.monotonic() < deadline:
            time.sleep(0.1)
            os.killpg(group, 0)
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


if __name__ == "__main__":
    main()
