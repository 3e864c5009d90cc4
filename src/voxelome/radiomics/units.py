"""Units of PyRadiomics' features; one that is not named is a pure number."""

from __future__ import annotations

_INTENSITY = (
    "10Percentile",
    "90Percentile",
    "InterquartileRange",
    "Maximum",
    "Mean",
    "MeanAbsoluteDeviation",
    "Median",
    "Minimum",
    "Range",
    "RobustMeanAbsoluteDeviation",
    "RootMeanSquared",
)
_LENGTHS = (
    "LeastAxisLength",
    "MajorAxisLength",
    "MinorAxisLength",
    "Maximum2DDiameterColumn",
    "Maximum2DDiameterRow",
    "Maximum2DDiameterSlice",
    "Maximum3DDiameter",
)
_FLAT_LENGTHS = ("MajorAxisLength", "MinorAxisLength", "MaximumDiameter", "Perimeter")
UNITS: dict[tuple[str, str], str] = {
    **{("firstorder", name): "intensity" for name in _INTENSITY},
    ("firstorder", "Energy"): "intensity2",
    ("firstorder", "Variance"): "intensity2",
    ("firstorder", "TotalEnergy"): "intensity2 mm3",
    ("firstorder", "Entropy"): "bit",
    **{("shape", name): "mm" for name in _LENGTHS},
    **{("shape2D", name): "mm" for name in _FLAT_LENGTHS},
    ("shape", "MeshVolume"): "mm3",
    ("shape", "VoxelVolume"): "mm3",
    ("shape", "SurfaceArea"): "mm2",
    ("shape", "SurfaceVolumeRatio"): "mm-1",
    ("shape2D", "MeshSurface"): "mm2",
    ("shape2D", "PixelSurface"): "mm2",
    ("shape2D", "PerimeterSurfaceRatio"): "mm-1",
}
