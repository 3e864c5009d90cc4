"""Features and filters beside IBSI's reference values; as a module it rewrites the tables of docs/ibsi.md."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from tests.shared import IBSI
from voxelome.radiomics.derived import derived_images
from voxelome.radiomics.dictionary import definition
from voxelome.radiomics.extract import extract_features, shape_features
from voxelome.radiomics.settings import TEXTURES, RadiomicsSettings

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "ibsi.md"
COMMAND = "python -m tests.numerics.ibsi_table"

# IBSI's tag of each feature; texture features without the way of aggregation.
TAGS = {
    "shape": {
        "MeshVolume": "morph_volume",
        "VoxelVolume": "morph_vol_approx",
        "SurfaceArea": "morph_area_mesh",
        "SurfaceVolumeRatio": "morph_av",
        "Sphericity": "morph_sphericity",
        "Maximum3DDiameter": "morph_diam",
        "MajorAxisLength": "morph_pca_maj_axis",
        "MinorAxisLength": "morph_pca_min_axis",
        "LeastAxisLength": "morph_pca_least_axis",
        "Elongation": "morph_pca_elongation",
        "Flatness": "morph_pca_flatness",
    },
    "firstorder": {
        "Mean": "stat_mean",
        "Variance": "stat_var",
        "Skewness": "stat_skew",
        "Kurtosis": "stat_kurt",
        "Median": "stat_median",
        "Minimum": "stat_min",
        "10Percentile": "stat_p10",
        "90Percentile": "stat_p90",
        "Maximum": "stat_max",
        "InterquartileRange": "stat_iqr",
        "Range": "stat_range",
        "MeanAbsoluteDeviation": "stat_mad",
        "RobustMeanAbsoluteDeviation": "stat_rmad",
        "Energy": "stat_energy",
        "RootMeanSquared": "stat_rms",
        "Entropy": "ih_entropy",
        "Uniformity": "ih_uniformity",
    },
    "glcm": {
        "MaximumProbability": "cm_joint_max",
        "JointAverage": "cm_joint_avg",
        "SumSquares": "cm_joint_var",
        "JointEntropy": "cm_joint_entr",
        "DifferenceAverage": "cm_diff_avg",
        "DifferenceVariance": "cm_diff_var",
        "DifferenceEntropy": "cm_diff_entr",
        "SumAverage": "cm_sum_avg",
        "SumEntropy": "cm_sum_entr",
        "JointEnergy": "cm_energy",
        "Contrast": "cm_contrast",
        "Id": "cm_inv_diff",
        "Idn": "cm_inv_diff_norm",
        "Idm": "cm_inv_diff_mom",
        "Idmn": "cm_inv_diff_mom_norm",
        "InverseVariance": "cm_inv_var",
        "Correlation": "cm_corr",
        "Autocorrelation": "cm_auto_corr",
        "ClusterTendency": "cm_clust_tend",
        "ClusterShade": "cm_clust_shade",
        "ClusterProminence": "cm_clust_prom",
        "Imc1": "cm_info_corr1",
        "Imc2": "cm_info_corr2",
    },
    "glrlm": {
        "ShortRunEmphasis": "rlm_sre",
        "LongRunEmphasis": "rlm_lre",
        "LowGrayLevelRunEmphasis": "rlm_lgre",
        "HighGrayLevelRunEmphasis": "rlm_hgre",
        "ShortRunLowGrayLevelEmphasis": "rlm_srlge",
        "ShortRunHighGrayLevelEmphasis": "rlm_srhge",
        "LongRunLowGrayLevelEmphasis": "rlm_lrlge",
        "LongRunHighGrayLevelEmphasis": "rlm_lrhge",
        "GrayLevelNonUniformity": "rlm_glnu",
        "GrayLevelNonUniformityNormalized": "rlm_glnu_norm",
        "RunLengthNonUniformity": "rlm_rlnu",
        "RunLengthNonUniformityNormalized": "rlm_rlnu_norm",
        "RunPercentage": "rlm_r_perc",
        "GrayLevelVariance": "rlm_gl_var",
        "RunVariance": "rlm_rl_var",
        "RunEntropy": "rlm_rl_entr",
    },
    "glszm": {
        "SmallAreaEmphasis": "szm_sze",
        "LargeAreaEmphasis": "szm_lze",
        "LowGrayLevelZoneEmphasis": "szm_lgze",
        "HighGrayLevelZoneEmphasis": "szm_hgze",
        "SmallAreaLowGrayLevelEmphasis": "szm_szlge",
        "SmallAreaHighGrayLevelEmphasis": "szm_szhge",
        "LargeAreaLowGrayLevelEmphasis": "szm_lzlge",
        "LargeAreaHighGrayLevelEmphasis": "szm_lzhge",
        "GrayLevelNonUniformity": "szm_glnu",
        "GrayLevelNonUniformityNormalized": "szm_glnu_norm",
        "SizeZoneNonUniformity": "szm_zsnu",
        "SizeZoneNonUniformityNormalized": "szm_zsnu_norm",
        "ZonePercentage": "szm_z_perc",
        "GrayLevelVariance": "szm_gl_var",
        "ZoneVariance": "szm_zs_var",
        "ZoneEntropy": "szm_zs_entr",
    },
    "gldm": {
        "SmallDependenceEmphasis": "ngl_lde",
        "LargeDependenceEmphasis": "ngl_hde",
        "LowGrayLevelEmphasis": "ngl_lgce",
        "HighGrayLevelEmphasis": "ngl_hgce",
        "SmallDependenceLowGrayLevelEmphasis": "ngl_ldlge",
        "SmallDependenceHighGrayLevelEmphasis": "ngl_ldhge",
        "LargeDependenceLowGrayLevelEmphasis": "ngl_hdlge",
        "LargeDependenceHighGrayLevelEmphasis": "ngl_hdhge",
        "GrayLevelNonUniformity": "ngl_glnu",
        "DependenceNonUniformity": "ngl_dcnu",
        "DependenceNonUniformityNormalized": "ngl_dcnu_norm",
        "GrayLevelVariance": "ngl_gl_var",
        "DependenceVariance": "ngl_dc_var",
        "DependenceEntropy": "ngl_dc_entr",
    },
    "ngtdm": {
        "Coarseness": "ngt_coarseness",
        "Contrast": "ngt_contrast",
        "Busyness": "ngt_busyness",
        "Complexity": "ngt_complexity",
        "Strength": "ngt_strength",
    },
}


@dataclass(frozen=True)
class Aggregation:
    """A way to make one number of several directions and slices.

    `tags` are the endings of IBSI's tags by class, `settings` those of PyRadiomics.
    """

    name: str
    tags: Mapping[str, str]
    settings: Mapping[str, Any]


_DIRECTED, _WHOLE = ("glcm", "glrlm"), ("glszm", "gldm", "ngtdm")
_MERGED = {"weightingNorm": "no_weighting"}
AGGREGATIONS = (
    Aggregation("3D, averaged over directions (ITBB)", dict.fromkeys(_DIRECTED, "_3D_avg"), {}),
    Aggregation("3D, directions merged (IAZD)", dict.fromkeys(_DIRECTED, "_3D_comb"), _MERGED),
    Aggregation(
        "2.5D, slices merged, averaged over directions (JJUI)",
        dict.fromkeys(_DIRECTED, "_2_5D_avg"),
        {"force2D": True},
    ),
    Aggregation(
        "2.5D, slices and directions merged (ZW7Z)",
        dict.fromkeys(_DIRECTED, "_2_5D_comb"),
        {"force2D": True, **_MERGED},
    ),
    Aggregation("3D (KOBO)", dict.fromkeys(_WHOLE, "_3D"), {}),
    Aggregation("2.5D, slices merged (62GR)", dict.fromkeys(_WHOLE, "_2_5D"), {"force2D": True}),
)


@dataclass(frozen=True)
class Explanation:
    """Why a feature is not IBSI's, and how IBSI's follows from its value and the number of voxels."""

    reason: str
    to_ibsi: Callable[[float, int], float]


_AXIS = Explanation(
    "differs: covariance divided by n voxels, not n - 1",
    lambda value, count: value * np.sqrt(count / (count - 1)),
)
EXPLANATIONS = {
    ("firstorder", "Kurtosis"): Explanation("differs: IBSI's + 3", lambda value, _: value - 3),
    **{("shape", f"{name}AxisLength"): _AXIS for name in ("Major", "Minor", "Least")},
}


@dataclass(frozen=True)
class Comparison:
    """A feature of the digital phantom beside IBSI's consensus."""

    feature_class: str
    feature: str
    tag: str
    consensus: str
    tolerance: str
    value: float
    as_ibsi: float | None
    reason: str

    @property
    def verdict(self) -> str:
        """What the comparison says; empty where a difference has no known reason."""
        if self._near(self.value):
            return "agrees"
        return self.reason if self.as_ibsi is not None and self._near(self.as_ibsi) else ""

    def _near(self, value: float) -> bool:
        expected, tolerance = float(self.consensus), float(self.tolerance)
        # Published with three digits: half a unit of the third is rounding, not deviation.
        rounding = 0.5 * 10.0 ** (np.floor(np.log10(abs(expected))) - 2) if expected else 0.0
        return abs(value - expected) <= tolerance + 1.001 * rounding


def compared_features(settings: Mapping[str, Any], tags: Mapping[str, Mapping[str, str]]) -> list[Comparison]:
    """Return features of IBSI's first digital phantom beside the consensus.

    Parameters
    ----------
    settings : mapping
        Settings by PyRadiomics' names; gray levels are 1 wide.
    tags : mapping
        IBSI's tag for each class and feature.
    """
    with (IBSI / "ibsi1_reference" / "ibsi_1_dig_phantom.csv").open(encoding="utf-8") as file:
        reference = {row["tag"]: row for row in csv.DictReader(file, delimiter=";")}
    folder = IBSI / "ibsi1_digital_phantom"
    image, mask = (nib.load(folder / f"{name}.nii.gz") for name in ("phantom", "mask"))
    region = np.asarray(mask.dataobj) > 0
    levels = RadiomicsSettings(bin_width=1.0, bin_count=None, options=settings)
    found = [
        *extract_features(image.get_fdata(), region, image.affine, levels),
        *shape_features(region, image.affine),
    ]
    values = {(item.feature_class, item.feature): item.value for item in found}
    rows = []
    for kind, names in tags.items():
        for name, tag in names.items():
            value, known = values[kind, name], EXPLANATIONS.get((kind, name))
            as_ibsi = known.to_ibsi(value, np.count_nonzero(region)) if known else None
            row = reference[tag]
            consensus, tolerance = row["reference value"], row["tolerance"]
            reason = known.reason if known else ""
            rows.append(Comparison(kind, name, tag, consensus, tolerance, value, as_ibsi, reason))
    return rows


def default_features() -> list[Comparison]:
    """Return all features as voxelome gives them unless it is told otherwise."""
    tags = {kind: names for kind, names in TAGS.items() if kind not in TEXTURES}
    first, _, _, _, last, _ = AGGREGATIONS
    both = {**first.tags, **last.tags}
    tags |= {kind: _ended(kind, both[kind]) for kind in TAGS if kind in TEXTURES}
    return compared_features({}, tags)


def aggregated_features(aggregation: Aggregation) -> list[Comparison]:
    """Return the texture features for one way of aggregation."""
    tags = {kind: _ended(kind, ending) for kind, ending in aggregation.tags.items()}
    return compared_features(aggregation.settings, tags)


def _ended(kind: str, ending: str) -> dict[str, str]:
    return {name: tag + ending for name, tag in TAGS[kind].items()}


def features_table() -> str:
    """Return the table of features."""
    lines = ["| class | feature | IBSI | consensus | tolerance | voxelome | verdict |", "|" + "---|" * 7]
    for row in default_features():
        code = definition(row.feature_class, row.feature).ibsi
        cells = (row.feature_class, row.feature, code, row.consensus, row.tolerance, f"{row.value:.4g}")
        lines.append(f"| {' | '.join(cells)} | {row.verdict or 'differs'} |")
    return "\n".join(lines)


def aggregations_table() -> str:
    """Return the table of ways of aggregation: how many features agree."""
    lines = ["| aggregation | settings | " + " | ".join(TEXTURES) + " |", "|" + "---|" * (2 + len(TEXTURES))]
    for aggregation in AGGREGATIONS:
        rows = aggregated_features(aggregation)
        settings = ", ".join(f"`{key}: {str(value).lower()}`" for key, value in aggregation.settings.items())
        cells = []
        for kind in TEXTURES:
            verdicts = [row.verdict for row in rows if row.feature_class == kind]
            cells.append(f"{verdicts.count('agrees')} of {len(verdicts)}" if verdicts else "")
        lines.append(f"| {aggregation.name} | {settings or 'default'} | {' | '.join(cells)} |")
    return "\n".join(lines)


@dataclass(frozen=True)
class FilterCase:
    """A response map of IBSI and the derived image that comes nearest.

    Attributes
    ----------
    test : str
        IBSI's number of the test.
    phantom : str
        Image that is filtered.
    what : str
        The filter and the border that IBSI wants.
    image_type, settings, name
        Image type of PyRadiomics, its settings, and the derived image.
    divisor : float
        What the derived image is divided by.
    rotations : bool
        Whether IBSI averages over all right angles; no setting does.
    reason : str
        Why it differs; empty where it agrees.
    largest : float
        Largest difference that the reason accounts for, as a fraction of the range of the map.
    """

    test: str
    phantom: str
    what: str
    image_type: str
    settings: Mapping[str, Any]
    name: str
    divisor: float = 1.0
    rotations: bool = False
    reason: str = ""
    largest: float = 0.0

    @property
    def map(self) -> str:
        """Name of the file of the response map."""
        return re.sub(r"\W", "_", self.test.lower())


VOXEL = 2.0
# Of the range of IBSI's map, in every voxel.
TOLERANCE = 0.01
BORDER = 16
_SPREAD = "differs: the filter is not spread on the second level"
_CASES = (
    FilterCase(
        "2.A",
        "impulse",
        "Laplacian of Gaussian, 3 mm, zeros beyond the border",
        "LoG",
        {"sigma": [3.0]},
        "log-sigma-3-0-mm-3D",
        divisor=(3.0 / VOXEL) ** 2,
        reason="differs in the voxel of the impulse: a recursion approximates the Gaussian of 1.5 voxels",
        largest=0.015,
    ),
    FilterCase(
        "2.B",
        "checkerboard",
        "Laplacian of Gaussian, 5 mm, mirrored",
        "LoG",
        {"sigma": [5.0]},
        "log-sigma-5-0-mm-3D",
        divisor=(5.0 / VOXEL) ** 2,
    ),
    FilterCase("5.A.1", "impulse", "db2 LHL, zeros", "Wavelet", {"wavelet": "db2"}, "wavelet-LHL"),
    FilterCase(
        "5.A.2",
        "impulse",
        "the same, mean over rotations",
        "Wavelet",
        {"wavelet": "db2"},
        "wavelet-LHL",
        rotations=True,
    ),
    FilterCase("6.A.1", "sphere", "coif1 HHL, periodic", "Wavelet", {"wavelet": "coif1"}, "wavelet-HHL"),
    FilterCase(
        "6.A.2",
        "sphere",
        "the same, mean over rotations",
        "Wavelet",
        {"wavelet": "coif1"},
        "wavelet-HHL",
        rotations=True,
    ),
    FilterCase(
        "7.A.1",
        "checkerboard",
        "haar LLL, level 2, mirrored, mean over rotations",
        "Wavelet",
        {"wavelet": "haar", "level": 2},
        "wavelet2-LLL",
        rotations=True,
        reason=f"{_SPREAD}; border",
        largest=0.5,
    ),
    FilterCase(
        "7.A.2",
        "checkerboard",
        "haar HHH, level 2, mirrored, mean over rotations",
        "Wavelet",
        {"wavelet": "haar", "level": 2},
        "wavelet2-HHH",
        rotations=True,
        reason=_SPREAD,
        largest=0.5,
    ),
)
FILTERS = {case.test: case for case in _CASES}


@dataclass(frozen=True)
class FilterDifference:
    """Largest difference from IBSI's response map, as a fraction of its range."""

    whole: float
    interior: float
    beyond: int
    case: FilterCase

    @property
    def verdict(self) -> str:
        """What the comparison says; empty where a difference has no known reason."""
        if self.whole <= TOLERANCE:
            return "agrees, but no setting averages rotations" if self.case.rotations else "agrees"
        return self.case.reason if self.whole <= self.case.largest else ""


@cache
def filter_difference(test: str) -> FilterDifference:
    """Return how far a derived image is from the response map of a test of IBSI."""
    case = FILTERS[test]
    image = _read(IBSI / "ibsi2_digital_phantom" / case.phantom / "image" / f"{case.phantom}.nii.gz")
    expected = _read(IBSI / "ibsi2_reference" / "response_maps" / f"{case.map}-ValidCRM.nii.gz")
    turns = list(_rotations()) if case.rotations else [((0, 1, 2), ())]
    found = np.zeros(image.shape)
    for order, flipped in turns:
        turned = np.flip(image.transpose(order), flipped)
        back = np.flip(_filtered(np.ascontiguousarray(turned), case), flipped)
        found += back.transpose(np.argsort(order)) / (case.divisor * len(turns))
    difference = np.abs(found - expected) / np.ptp(expected)
    inner = (slice(BORDER, -BORDER),) * 3
    beyond = int(np.count_nonzero(difference > TOLERANCE))
    return FilterDifference(float(difference.max()), float(difference[inner].max()), beyond, case)


def _read(path: Path) -> np.ndarray:
    """Return an image as an array from z, as derived images have it."""
    return np.ascontiguousarray(nib.load(path).get_fdata().transpose())


def _filtered(image: np.ndarray, case: FilterCase) -> np.ndarray:
    settings = RadiomicsSettings(None, 32, image_types={case.image_type: case.settings})
    box = (slice(0, image.shape[0]), slice(0, image.shape[1]), slice(0, image.shape[2]))
    everywhere = np.ones(image.shape, dtype=bool)
    made = derived_images(image, everywhere, (VOXEL,) * 3, box, settings)
    return next(item.values for item in made if item.name == case.name)


def _rotations() -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Return the 24 rotations by right angles: order of the axes, and the axes to reverse then."""
    for order in permutations(range(3)):
        parity = round(float(np.linalg.det(np.eye(3)[list(order)])))
        for signs in product((1, -1), repeat=3):
            if parity * np.prod(signs) == 1:
                yield order, tuple(axis for axis, sign in enumerate(signs) if sign < 0)


def filters_table() -> str:
    """Return the table of derived images."""
    titles = ("test", "image", "IBSI's filter", "derived image", "largest difference", "away from the border")
    head = f"| {' | '.join(titles)} | verdict |"
    lines = [head, "|" + "---|" * 7]
    for test, case in FILTERS.items():
        found = filter_difference(test)
        sizes = f"{_percent(found.whole)} | {_percent(found.interior)}"
        cells = (test, case.phantom, case.what, f"`{case.name}`", sizes, found.verdict or "differs")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2g} %" if fraction > 1e-5 else "below 0.001 %"


TABLES = {"features": features_table, "aggregation": aggregations_table, "filters": filters_table}


def with_tables(text: str) -> str:
    """Return the document with its tables as they are computed now."""
    for name, make in TABLES.items():
        begin, end = f"<!-- {name} -->\n\n", f"\n\n<!-- end of {name} -->"
        before, rest = text.split(begin)
        _, after = rest.split(end)
        text = before + begin + make() + end + after
    return text


if __name__ == "__main__":
    DOCUMENT.write_text(with_tables(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
