"""Size of each stage's image, and what it adds to the start of a step: `make images sif`, then this."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from voxelome.images import STEPS, default_images_dir, image_names

SCRIPTS = {
    "preprocess": "preprocess_session.py",
    "register": "register_session.py",
    "qsm": "reconstruct_qsm.py",
    "segment": "carry_masks.py",
    "radiomics": "extract_radiomics.py",
    "radiomics-ibsi": "extract_radiomics.py",
    "model": "assemble_features.py",
    "report": "report_subject.py",
}
REPEATS = 3


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images-dir", type=Path, default=default_images_dir())
    images = image_names(parser.parse_args().images_dir)
    scripts = Path(__file__).resolve().parents[1] / "scripts"
    print("| image | in the store (MB) | file (MB) | start without image (s) | in the image (s) |")
    print("|---|---|---|---|---|")
    for stage in STEPS:
        path = Path(images[stage])
        if path.is_file():
            plain = _seconds([sys.executable, str(scripts / SCRIPTS[stage]), "--help"])
            inside = _seconds(["apptainer", "exec", "--cleanenv", str(path), SCRIPTS[stage], "--help"])
            size = path.stat().st_size / 1e6
            print(f"| {stage} | {_stored(path.stem)} | {size:.0f} | {plain:.1f} | {inside:.1f} |")


def _seconds(command: list[str]) -> float:
    """Shortest of several runs: others share the machine."""
    took = []
    for _ in range(REPEATS):
        begun = time.monotonic()
        subprocess.run(command, check=True, capture_output=True)
        took.append(time.monotonic() - begun)
    return min(took)


def _stored(name: str) -> str:
    command = ["podman", "image", "inspect", f"localhost/{name}:0.1.0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"{json.loads(done.stdout)[0]['Size'] / 1e6:.0f}" if done.returncode == 0 else "n/a"


if __name__ == "__main__":
    main()
