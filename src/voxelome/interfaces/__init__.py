"""One nipype interface a step; each is loaded when it is first asked for."""

from __future__ import annotations

import importlib
import os
from typing import Any

# nipype asks a server for its newest version when imported, unless told not to.
os.environ.setdefault("NO_ET", "1")

_HOMES = {
    "PreprocessSession": "preprocess",
    "RegisterSession": "register",
    "AlignVisits": "midway",
    "ReconstructQSM": "qsm",
    "CarryMasks": "segment",
    "RunNetwork": "network",
    "FuseLabels": "fuse",
    "CompareLesions": "change",
    "ExtractRadiomics": "radiomics",
    "MeasureRobustness": "robustness",
    "AssessReliability": "reliability",
    "AssembleFeatures": "features",
    "FitFolds": "fold",
    "FitModel": "model",
    "ReportSubject": "report",
    "ReportGroup": "report",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"voxelome.interfaces.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
