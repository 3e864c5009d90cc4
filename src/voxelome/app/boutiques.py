"""A Boutiques descriptor of the command line, made from its parser (Glatard et al., GigaScience 7, 2018)."""

from __future__ import annotations

import argparse
from typing import Any

import voxelome
from voxelome.app.arguments import DESCRIPTION, build_parser
from voxelome.imageio import load_yaml
from voxelome.provenance import workflow_root

# What asks for something else than a run.
_NO_INPUTS = ("help", "version")
# Names of places in the command line that descriptors of BIDS Apps share.
_KEYS = {"out_dir": "[OUTPUT_DIR]", "level": "[ANALYSIS_LEVEL]"}


def descriptor() -> dict[str, Any]:
    """Descriptor of the BIDS App in its image.

    Returns
    -------
    dict
        As Boutiques' schema 0.5 has it.
    """
    actions = [action for action in build_parser()._actions if action.dest not in _NO_INPUTS]
    # An output folder that is there already has to be mounted, which Boutiques does for files alone.
    mounted = {
        "id": "out_dir_there",
        "name": "out dir, there already",
        "description": "folder for the results, in place of its name, where it exists",
        "optional": True,
        "value-key": _KEYS["out_dir"],
        "type": "File",
    }
    image = load_yaml(workflow_root() / "config" / "containers.yaml")["images"]["app"]["tag"]
    return {
        "name": "voxelome",
        "description": " ".join(DESCRIPTION.split()),
        "tool-version": voxelome.__version__,
        "schema-version": "0.5",
        "command-line": f"mkdir -p {_KEYS['out_dir']}; voxelome "
        + " ".join(_key(action) for action in actions),
        "container-image": {"type": "docker", "image": image},
        "inputs": [*(_input(action) for action in actions), mounted],
        "groups": [
            {
                "id": "output",
                "name": "output folder",
                "members": ["out_dir", "out_dir_there"],
                "mutually-exclusive": True,
                "one-is-required": True,
            }
        ],
        "output-files": [
            {
                "id": "out_dir_results",
                "name": "Derivatives",
                "description": "BIDS derivatives, reports and tables",
                "path-template": _KEYS["out_dir"],
            }
        ],
        "tags": {"domain": ["neuroinformatics", "mri"]},
    }


def _key(action: argparse.Action) -> str:
    """Where the value of an argument goes in the command line."""
    return _KEYS.get(action.dest, f"[{action.dest.upper()}]")


def _input(action: argparse.Action) -> dict[str, Any]:
    """An argument as an input."""
    optional = bool(action.option_strings)
    about: dict[str, Any] = {
        "id": action.dest,
        "name": action.dest.replace("_", " "),
        "description": str(action.help),
        "optional": optional or action.dest == "out_dir",  # its group asks for one of two
        "value-key": _key(action),
        "type": "String",
    }
    if optional:
        about["command-line-flag"] = max(action.option_strings, key=len)
    if action.nargs == 0:
        return about | {"type": "Flag"}
    if action.nargs == "+":
        about["list"] = True
    if action.choices:
        about["value-choices"] = list(action.choices)
    elif action.dest == "bids_dir":
        about["type"] = "File"
    elif action.metavar in ("N", "MB"):
        about |= {"type": "Number", "integer": True}
    return about
