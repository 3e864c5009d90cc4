#!/usr/bin/env python3
"""Command line of one step; --help shows its inputs."""

from voxelome.interfaces import FuseLabels
from voxelome.step import main

if __name__ == "__main__":
    main(FuseLabels)
