"""What makes the output folder a BIDS derivative dataset."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import voxelome
from voxelome.imageio import load_json, save_json, save_text

BIDS_VERSION = "1.10.0"

# What BIDS has no name for.
BIDSIGNORE = """\
ro-crate-metadata.json
*.html
/group
/logs
/sub-*/figures/
/sub-*/**/*_swi.nii.gz
/sub-*/**/*_swi.json
/sub-*/**/*_minIP.nii.gz
/sub-*/**/*_minIP.json
/sub-*/**/*_fieldmap.nii.gz
/sub-*/**/*_fieldmap.json
/sub-*/**/*_features.tsv*
/sub-*/**/*_features.json
/sub-*/**/*_ct.nii.gz
/sub-*/**/*_ct.json
/sub-*/**/*_entropymap.*
/sub-*/**/*_disagreementmap.*
/sub-*/**/*_saliencymap.*
/sub-*/**/*_lesions.tsv
/sub-*/**/*_lesions.json
/sub-*/**/*_xfm.*
/sub-*/**/*_quality.tsv
"""

README = """\
Derivatives made by voxelome {version} from {name}.

Open group.html or sub-*.html for the reports. Images of a visit lie in sub-*/[ses-*/]anat; the names
follow BIDS, and each image has a JSON file that says what was done. Feature tables are long and tidy
(one value a row); group/features.tsv has one row a participant and visit.
"""


_DERIVED = "voxelome derivatives of "


def _generator() -> dict[str, Any]:
    """What made the derivatives; the image of the BIDS App says of itself which it is."""
    generator: dict[str, Any] = {"Name": "voxelome", "Version": voxelome.__version__}
    if image := os.environ.get("VOXELOME_IMAGE"):
        generator["Container"] = {"Type": "docker", "Tag": image}
    return generator


def source_uri(path: Path | str) -> str:
    """BIDS URI of an input image: its path from the subject's folder on, in the linked dataset ``raw``."""
    parts = Path(path).parts
    start = next((i for i, part in enumerate(parts[:-1]) if part.startswith("sub-")), len(parts) - 1)
    return "bids:raw:" + "/".join(parts[start:])


def dataset_name(bids_dir: Path) -> str:
    """Name that the dataset gives itself, or that of its folder."""
    return str(load_json(bids_dir / "dataset_description.json").get("Name") or bids_dir.name)


def source_name(out_dir: Path) -> str:
    """Name of the dataset that results of voxelome were made of; of others' results, their own."""
    return dataset_name(out_dir).removeprefix(_DERIVED)


def write_description(out_dir: Path, bids_dir: Path, derivatives: dict[str, Path]) -> None:
    """Write dataset_description.json, .bidsignore and README of the output."""
    source = load_json(bids_dir / "dataset_description.json")
    name = dataset_name(bids_dir)
    description: dict[str, Any] = {
        "Name": f"{_DERIVED}{name}",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [_generator()],
        "SourceDatasets": [{"URL": bids_dir.resolve().as_uri()}],
        "DatasetLinks": {
            "raw": bids_dir.resolve().as_uri(),
            **{key: path.resolve().as_uri() for key, path in derivatives.items()},
        },
    }
    if source.get("License"):
        description["License"] = source["License"]
    save_json(out_dir / "dataset_description.json", description)
    save_text(out_dir / ".bidsignore", BIDSIGNORE)
    save_text(out_dir / "README", README.format(version=voxelome.__version__, name=name))
