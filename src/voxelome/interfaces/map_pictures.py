"""Figures of the maps of a gradient echo."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from voxelome.imageio import MaskArray, load_volume
from voxelome.orientation import to_canonical
from voxelome.reports.figures import Plane, mosaic
from voxelome.reports.model import Figure
from voxelome.step import StepRecord


@dataclass(frozen=True)
class MapStyle:
    """How a map of a gradient echo is shown; without a window the picture chooses by percentiles."""

    title: str
    caption: str
    window: tuple[float, float] | None = None
    unit: str = ""
    planes: tuple[Plane, ...] = ("axial", "coronal", "sagittal")


MAPS = {
    "Chimap": MapStyle(
        "Susceptibility",
        "Iron-rich deep nuclei and veins are positive (paramagnetic), white matter is negative. Streaks "
        "that radiate from the edge or from veins are artefacts.",
        window=(-0.15, 0.15),
        unit="ppm",
    ),
    "desc-paramagnetic_Chimap": MapStyle(
        "Paramagnetic susceptibility",
        "Iron: the deep nuclei and veins are bright. What is bright here and dark in the diamagnetic map may "
        "decay fast for another reason, such as the neighbourhood of air.",
        window=(0.0, 0.15),
        unit="ppm",
    ),
    "desc-diamagnetic_Chimap": MapStyle(
        "Diamagnetic susceptibility",
        "Myelin and calcium are dark: white matter, and calcifications most.",
        window=(-0.15, 0.0),
        unit="ppm",
    ),
    "R2starmap": MapStyle(
        "R2*",
        "Iron-rich nuclei are bright; so are the neighbourhoods of air-filled sinuses, which are artefacts.",
        window=(0.0, 60.0),
        unit="1/s",
    ),
    "swi": MapStyle("SWI", "Veins and iron-rich nuclei are dark."),
    "minIP": MapStyle(
        "Minimum-intensity projection of SWI", "Veins run through the slab as dark lines.", planes=("axial",)
    ),
}
# Of the susceptibility, in the window in which a standard error of noise alone is small.
UNCERTAINTY = MapStyle(
    "Uncertainty of the susceptibility",
    "Standard error that the noise of the phase causes: bright where the signal has decayed. Errors of "
    "background removal and streaks are not in it.",
    window=(0.0, 0.01),
    unit="ppm",
)
# At 7 T rates double, and the window of 3 T would be white all over.
HIGH_FIELD_WINDOW = (0.0, 120.0)


def map_figures(records: Mapping[str, list[StepRecord]]) -> Iterator[Figure]:
    """Each map of a gradient echo, and the uncertainty of its susceptibility."""
    for record in records.get("qsm", []):
        valid = next(
            (load_volume(i["path"], dtype=None).data > 0 for i in record.find("mask", name="qsm")), None
        )
        for item in record.find("map"):
            if item["suffix"] in MAPS:
                yield _map(item, MAPS[item["suffix"]], valid)
        for item in record.find("error", suffix="Chimap"):
            yield _map(item, UNCERTAINTY, valid)


def _map(item: dict[str, Any], style: MapStyle, valid: MaskArray | None) -> Figure:
    volume = load_volume(item["path"])
    data, affine = to_canonical(volume.data, volume.affine)
    window = style.window
    if item["suffix"] == "R2starmap" and window and np.percentile(data[data > 0], 90) > window[1]:
        window = HIGH_FIELD_WINDOW
    box = None if valid is None else to_canonical(valid, volume.affine)[0]
    picture = mosaic(
        data,
        affine,
        window=window,
        unit=style.unit or None,
        box=box,
        planes=style.planes,
    )
    return Figure(f"{style.title} ({item['space']})", style.caption, png=picture)
