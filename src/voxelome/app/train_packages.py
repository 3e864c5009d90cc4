"""Packages that a way of training takes, besides those that voxelome always has."""

from __future__ import annotations

import argparse
import platform
from importlib.util import find_spec

from voxelome.errors import InputError
from voxelome.provenance import software_versions


def check_packages(options: argparse.Namespace) -> None:
    """Refuse to train without a package: it would be missed only after the images are read.

    Raises
    ------
    InputError
        One is not installed.
    """
    for package in _packages(options):
        if find_spec(package) is None:
            problem = f"needs the package {package}, which is not installed"
            raise InputError("train", problem, 'run: pip install "voxelome[train]"')


def versions(options: argparse.Namespace) -> dict[str, str]:
    """Versions of what takes part in a training."""
    return {"Python": platform.python_version(), **software_versions(("numpy", *_packages(options)))}


def _packages(options: argparse.Namespace) -> tuple[str, ...]:
    """Packages that are imported; nilearn brings the template of simulated heads."""
    if options.demo:
        return "torch", "onnx", "nilearn"
    own = ("torch", "monai", "onnx", "onnxruntime")
    return (*own, "nilearn") if options.synthetic and not options.label_maps else own
