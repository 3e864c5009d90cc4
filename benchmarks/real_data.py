"""Both levels on the five real cases: how long they take, and whether every subject was done.

The bar is 15 minutes on two cores. There is no peer: no other program goes the whole way.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "bids-real"
BAR = 15 * 60


def main() -> int:
    """Print the seconds of each level; exit code 1 where a level fails or the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nprocs", type=int, default=2)
    options = parser.parse_args()
    if not REAL.is_dir():
        print(f"not measured: there are no real data at {REAL}")
        return 1
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        shared = ["--nprocs", str(options.nprocs), "--derivatives", f"masks={REAL / 'derivatives' / 'masks'}"]
        for level in ("participant", "group"):
            begun = time.perf_counter()
            # What a run says names folders of this machine: it is not kept.
            command = [sys.executable, "-m", "voxelome.cli", str(REAL), folder, level, *shared]
            code = subprocess.run(command, stdout=sys.stderr, check=False).returncode
            rows.append((level, time.perf_counter() - begun, code))
    for level, seconds, code in rows:
        print(f"{level:12} {seconds:7.1f} s   exit {code}")
    total = sum(seconds for _, seconds, _ in rows)
    print(f"{'both':12} {total:7.1f} s   bar {BAR} s")
    return int(total > BAR or any(code for _, _, code in rows))


if __name__ == "__main__":
    sys.exit(main())
