"""The inventory beside a full pybids layout of the same dataset, in one run.

Makes a dataset of small files in a temporary folder, 12 images with sidecars a subject, then measures
the layout (entities and metadata of all files) and the inventory: cold, unchanged, with one new subject.
"""

from __future__ import annotations

import argparse
import gc
import gzip
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bids import BIDSLayout

from voxelome.bids.inventory import load_inventory, update_inventory

ECHOES = [f"echo-{echo}_part-{part}_MEGRE" for echo in range(1, 5) for part in ("mag", "phase")]
IMAGES = ["T1w", "ce-gadolinium_T1w", "T2w", "FLAIR", *ECHOES]


def write_dataset(root: Path, subjects: int) -> None:
    """Write a dataset with sidecars beside the images and at the root."""
    root.mkdir()
    (root / "dataset_description.json").write_text('{"Name": "benchmark", "BIDSVersion": "1.10.0"}')
    (root / "T1w.json").write_text('{"MagneticFieldStrength": 3, "Modality": "MR"}')
    for number in range(1, subjects + 1):
        write_subject(root, f"{number:04d}")


def write_subject(root: Path, label: str) -> None:
    """Write 12 images and their sidecars."""
    folder = root / f"sub-{label}" / "anat"
    folder.mkdir(parents=True)
    for number, name in enumerate(IMAGES):
        stem = f"sub-{label}_{name}"
        header = os.urandom(352)
        (folder / f"{stem}.nii.gz").write_bytes(gzip.compress(header, compresslevel=1))
        sidecar = {
            "EchoTime": 0.004 * (number + 1),
            "RepetitionTime": 0.05,
            "FlipAngle": 15,
            "Manufacturer": "X",
        }
        (folder / f"{stem}.json").write_text(json.dumps({**sidecar, "ImageType": ["ORIGINAL", "PRIMARY"]}))


def timed(function: Callable[..., Any], *arguments: Any, **options: Any) -> tuple[float, Any]:
    """Seconds that a call takes, and what it returns."""
    gc.collect()
    start = time.perf_counter()
    result = function(*arguments, **options)
    return time.perf_counter() - start, result


def count_differences(layout: BIDSLayout, root: Path, folder: Path, sample: int) -> tuple[int, int]:
    """Images of a random sample, and how many of them pybids describes in another way."""
    files = [file for inventory in load_inventory(folder).values() for file in inventory.files]
    chosen = random.Random(0).sample(files, min(sample, len(files)))
    wrong = 0
    for file in chosen:
        peer = layout.get_file(root / file.path)
        same = dict(peer.get_entities()) == file.entities and dict(peer.get_metadata()) == file.metadata
        wrong += not same
    return len(chosen), wrong


def main() -> int:
    """Print the table; exit code 1 where a bar is missed or a description differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subjects", type=int, default=2000)
    parser.add_argument("--sample", type=int, default=500, help="images whose description is compared")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root, folder = Path(temporary).resolve() / "raw", Path(temporary) / "inventory"
        write_dataset(root, options.subjects)
        print(f"{options.subjects} subjects x {len(IMAGES)} images with sidecars")
        cold, _ = timed(update_inventory, root, folder)
        warm, update = timed(update_inventory, root, folder)
        loading, _ = timed(lambda: dict(load_inventory(folder)))
        peer, layout = timed(BIDSLayout, root, validate=False)
        compared, wrong = count_differences(layout, root, folder, options.sample)
        write_subject(root, "new")
        added, new = timed(update_inventory, root, folder)
    if new.added != ["new"] or len(new.unchanged) != options.subjects or update.changed or update.added:
        raise RuntimeError("the inventory read other subjects than the new one")
    rows = [
        ("pybids, full layout", peer),
        ("inventory, cold", cold),
        ("inventory, nothing changed", warm),
        ("inventory, one subject added", added),
        ("loading the inventory", loading),
    ]
    for name, seconds in rows:
        print(f"{name:30} {seconds:9.2f} s   {peer / seconds:8.1f} x faster than pybids")
    print(f"entities and metadata of {compared} random images: {wrong} differ from pybids")
    return int(peer < 10 * cold or added > 3 or wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
