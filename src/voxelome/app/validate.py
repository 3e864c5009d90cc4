"""The official BIDS validator, where it is installed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from voxelome.imageio import save_text

# Over this many participants the validator compares participants.tsv with a shortened list of them.
LARGEST = 1000


def validate(bids_dir: Path, participants: int, log: Path) -> str:
    """Run the validator and write what it says to `log`; return one sentence about it."""
    program = shutil.which("bids-validator-deno", path=str(Path(sys.executable).parent)) or shutil.which(
        "bids-validator-deno"
    )
    if program is None:
        return "BIDS validation: not done, bids-validator-deno is not installed."
    if participants > LARGEST:
        return f"BIDS validation: not done, the validator is not reliable over {LARGEST} participants."
    done = subprocess.run(
        [program, str(bids_dir), "--format", "json", "--ignoreWarnings"],
        capture_output=True,
        text=True,
        check=False,
    )
    save_text(log, done.stdout or done.stderr)
    try:
        issues = json.loads(done.stdout)["issues"]["issues"]
    except (json.JSONDecodeError, KeyError, TypeError):
        return f"BIDS validation: the validator gave no answer; see {log}"
    errors = Counter(issue["code"] for issue in issues if issue.get("severity") == "error")
    if not errors:
        return "BIDS validation: no errors."
    what = ", ".join(f"{code} ({count})" for code, count in errors.most_common(4))
    return f"BIDS validation: {sum(errors.values())} error(s): {what}. The run goes on; see {log}"
