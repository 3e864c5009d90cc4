"""Measure every region on one image after another, or on several at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from voxelome.columns import BRAIN
from voxelome.errors import blame
from voxelome.imageio import MaskArray, load_volume
from voxelome.interfaces.measurable import Measurable
from voxelome.interfaces.pool import each
from voxelome.interfaces.roi import Region, check_grids
from voxelome.radiomics.algebra import mirrored
from voxelome.radiomics.histogram import (
    RELATIVE,
    histogram_features,
    reference_level,
    smooth_density,
    unusable,
)
from voxelome.radiomics.results import FeatureValue, RegionFeatures
from voxelome.radiomics.settings import RadiomicsSettings

CONTRALATERAL = "contralateral"


class Row(NamedTuple):
    """One feature of one region of one image."""

    image: str
    roi: str
    value: FeatureValue


@dataclass(frozen=True)
class HistogramSettings:
    """How histograms are made.

    Attributes
    ----------
    wanted : bool
        Whether they are made.
    reference : str
        Region whose median becomes 1 in the class of relative features; ``contralateral`` is the mirror image
        of each region. Empty: no relative features.
    thresholds : mapping
        By name or pattern of images: where fractions below and above are told.
    """

    wanted: bool = True
    reference: str = ""
    thresholds: dict[str, list[float]] = field(default_factory=dict)

    def of(self, image: str) -> list[float]:
        """Thresholds of an image, ascending."""
        found = (values for pattern, values in self.thresholds.items() if fnmatchcase(image, pattern))
        return sorted({float(value) for values in found for value in values})


@dataclass
class Measured:
    """What was measured on one image.

    Attributes
    ----------
    features, histograms : list of Row
        Rows of the two tables.
    densities : dict
        By region: first and last value of the curve, and the curve.
    warnings : list of str
        Sentences.
    """

    features: list[Row] = field(default_factory=list)
    histograms: list[Row] = field(default_factory=list)
    densities: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


# What is normal for each region, or why that is not known.
_Normals = dict[str, tuple[MaskArray | None, str]]


class _Job(NamedTuple):
    image: str
    path: str
    regions: list[Region]
    normals: _Normals
    engine: str
    settings: RadiomicsSettings
    histogram: HistogramSettings


class Engine(NamedTuple):
    """What computes features: functions as those of :mod:`voxelome.radiomics.extract`."""

    extract_regions: Callable[..., dict[str, RegionFeatures]]
    shape_features: Callable[..., list[FeatureValue]]


def engine_of(name: str) -> Engine:
    """Return the engine of that name, ``pyradiomics`` or ``mirp``; each stands in its own environment."""
    if name == "mirp":
        from voxelome.radiomics import ibsi_engine

        return Engine(ibsi_engine.extract_regions, ibsi_engine.shape_features)
    from voxelome.radiomics import extract

    return Engine(extract.extract_regions, extract.shape_features)


def measure_shapes(visit: Measurable) -> list[Row]:
    """Return the shape features of regions; their image is the space in which they were measured."""
    rows = []
    for region in visit.regions:
        if region.shape:
            with blame(region.path):
                values = engine_of(visit.engine).shape_features(region.mask, region.affine, visit.settings)
            rows += [Row(region.space, region.name, value) for value in values]
    return rows


def measure_images(
    visit: Measurable, histogram: HistogramSettings, threads: int
) -> Iterator[tuple[str, Measured]]:
    """Measure all regions on each image of their space, on several images at once where there are threads.

    Yields
    ------
    name, measured : str, Measured
        In the order of the images; an image without a region in its space is left out.
    """
    jobs: list[_Job] = []
    normals: dict[str, _Normals] = {}
    for image in visit.images:
        space = image["space"]
        here = [region for region in visit.regions if region.space == space]
        if any(region.measured for region in here):
            if space not in normals:
                normals[space] = _normals(here, visit.midplanes.get(space), histogram)
            jobs.append(
                _Job(
                    image["image"],
                    image["path"],
                    here,
                    normals[space],
                    visit.engine,
                    visit.settings,
                    histogram,
                )
            )
    yield from zip([job.image for job in jobs], each(_measure, jobs, threads), strict=True)


def _measure(job: _Job) -> Measured:
    volume = load_volume(job.path)
    check_grids(job.path, volume, job.regions)
    # Images and maps are exactly 0 where they are not known: outside of what the field of
    # view, the background removal or the mask of the maps leave.
    known = volume.data != 0
    masks = {region.name: region.mask & known for region in job.regions if region.measured}
    result = Measured()
    with blame(job.path):
        found = engine_of(job.engine).extract_regions(volume.data, masks, volume.affine, job.settings)
    for name, features in found.items():
        result.features += [Row(job.image, name, value) for value in features.values]
        if doubtful := features.doubtful_levels():
            counts = ", ".join(f"{name} {count}" for name, count in doubtful.items())
            result.warnings.append(
                f"{job.image}, {name}: few or very many gray levels ({counts}); another bin width or a bin "
                "count suits."
            )
    if job.histogram.wanted:
        for name, mask in masks.items():
            _add_histogram(result, job, name, volume.data, mask, known)
    return result


def _add_histogram(
    result: Measured, job: _Job, name: str, data: Any, mask: MaskArray, known: MaskArray
) -> None:
    """Append the histogram of one region, and that relative to its reference."""
    inside, thresholds = data[mask], job.histogram.of(job.image)
    curve = None if unusable(inside) else smooth_density(inside)
    rows = histogram_features(inside, thresholds, density=curve)
    if curve is not None:
        ends = [float(curve.values[0]), float(curve.values[-1])]
        result.densities[name] = {"values": ends, "density": [float(f"{y:.4g}") for y in curve.density[::2]]}
    if job.histogram.reference:
        normal, reason = job.normals[name]
        level = float("nan")
        if normal is not None:
            level, reason = reference_level(data[normal & known], inside)
        relative = inside if reason else inside / level
        rows += histogram_features(relative, thresholds, feature_class=RELATIVE, unit="1", reason=reason)
    result.histograms += [Row(job.image, name, value) for value in rows]


def _normals(regions: list[Region], to_midplane: Any, histogram: HistogramSettings) -> _Normals:
    """Return what is normal for each region that is measured, in one space."""
    measured = [region for region in regions if region.measured]
    masks = {region.name: region.mask for region in regions}
    wanted = histogram.reference
    if not histogram.wanted or not wanted:
        return {}
    if wanted != CONTRALATERAL:
        found = masks.get(wanted)
        return dict.fromkeys(masks, (found, "" if found is not None else f"There is no region {wanted}."))
    if to_midplane is None or BRAIN not in masks:
        reason = "The other hemisphere is not known without a template space and a brain mask."
        return dict.fromkeys(masks, (None, reason))
    return {
        region.name: (
            mirrored(region.mask, region.affine, to_midplane) & masks[BRAIN] & ~region.mask,
            "",
        )
        for region in measured
    }
