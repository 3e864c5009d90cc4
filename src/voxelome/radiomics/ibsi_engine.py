"""Radiomic features as the Image Biomarker Standardisation Initiative (IBSI) defines them, by mirp.

The functions are those of :mod:`voxelome.radiomics.extract`, for studies that have to follow IBSI to the
letter. mirp stands in an environment of its own (``radiomics-ibsi``), where PyRadiomics is not.

Features have mirp's tags, which are IBSI's family, feature and way of aggregation: ``stat_mean``,
``cm_joint_max_d1_3d_avg`` (co-occurrence at a distance of 1 voxel, average over the directions),
``cm_joint_max_d1_3d_v_mrg`` (directions merged into one matrix before). What mirp appends for the gray
levels (``_fbn_n32``) is left out: the settings say it. Each family is a class, named as PyRadiomics names its
own where it has one:

==================  =======  ==================================================
class               tag      what has to be asked for
==================  =======  ==================================================
firstorder          stat     firstorder
intensityhistogram  ih       firstorder
ivh                 ivh      firstorder
localintensity      loc      firstorder; the original image only
spatial             morph    firstorder; the original image only: those features
                             of IBSI's morphology that need intensities
glcm                cm       glcm
glrlm               rlm      glrlm
glszm               szm      glszm
gldzm               dzm      glszm
gldm                ngl      gldm (IBSI's neighboring gray level dependence)
ngtdm               ngt      ngtdm
shape               morph    shape
==================  =======  ==================================================

Settings mean what PyRadiomics means by them, but: the first gray level of a given width begins at the lower
end of `resegmentRange`; the region is resampled linearly; Laplacians of Gaussians are not multiplied by the
square of their width; wavelets of all levels have all bands; images go on as their mirror image behind a
border. A setting without a counterpart is refused.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from types import MappingProxyType
from typing import Any

import numpy as np

from voxelome.columns import ORIGINAL
from voxelome.errors import DataError
from voxelome.imageio import Affine, Array, MaskArray, voxel_sizes
from voxelome.radiomics.checks import box_of, unusable_region, unusable_values
from voxelome.radiomics.results import FeatureValue, RegionFeatures
from voxelome.radiomics.settings import RadiomicsSettings

Spacing = tuple[float, float, float]

_SHAPE_OF_ANY_SIZE = RadiomicsSettings(None, 32, minimum_voxels=1)

# Class: the prefix of its tags, and mirp's family.
_CLASSES = {
    "firstorder": ("stat", "statistics"),
    "intensityhistogram": ("ih", "intensity_histogram"),
    "ivh": ("ivh", "intensity_volume_histogram"),
    "localintensity": ("loc", "local_intensity"),
    "spatial": ("morph", "morphology"),
    "glcm": ("cm", "glcm"),
    "glrlm": ("rlm", "glrlm"),
    "glszm": ("szm", "glszm"),
    "gldzm": ("dzm", "gldzm"),
    "gldm": ("ngl", "ngldm"),
    "ngtdm": ("ngt", "ngtdm"),
    "shape": ("morph", "morphology"),
}
_ASKED = {
    "firstorder": ("firstorder", "intensityhistogram", "ivh", "localintensity", "spatial"),
    "glszm": ("glszm", "gldzm"),
}
_OF_THE_ORIGINAL = ("localintensity", "spatial")
_OF_GRAY_LEVELS = ("intensityhistogram", "glcm", "glrlm", "glszm", "gldzm", "gldm", "ngtdm")
_SPATIAL = ("morph_com", "morph_integ_int", "morph_moran_i", "morph_geary_c")
# Ways of aggregation in three dimensions, and where slices are taken one by one.
_DIRECTIONAL = {
    False: ["3d_average", "3d_volume_merge"],
    True: ["2d_average", "2d_slice_merge", "2.5d_direction_merge", "2.5d_volume_merge"],
}
_WHOLE = {False: ["3d"], True: ["2d", "2.5d"]}
_GRAY_LEVELS = re.compile(r"_fb[ns]_[nw][0-9.e+-]+$")

# What local intensity looks at around a voxel: a sphere of 1 cm3 (IBSI VJGA).
_PEAK_RADIUS = (3 / (4 * np.pi)) ** (1 / 3) * 10
# IBSI's value where no voxel differs from its neighbors (QCDE); the other features are then placeholders too.
_NO_COARSENESS = 1e6
# IBSI defines its filters on voxels of one size; headers have the precision of float32.
_SAME_SIZE = 1e-3

_SPLINES: Mapping[Any, int] = MappingProxyType(
    {"sitkNearestNeighbor": 0, "sitkLinear": 1, "sitkBSpline": 3, None: 3}
)
_TRANSLATED = (
    "force2D",
    "interpolator",
    "level",
    "minimumROIDimensions",
    "resampledPixelSpacing",
    "resegmentRange",
    "sigma",
    "wavelet",
)
# Settings without a counterpart, where they ask for what is done anyway.
_ANYWAY: Mapping[str, Any] = MappingProxyType(
    {
        "distances": [1],
        "force2Ddimension": 0,
        "gldm_a": 0,
        "normalize": False,
        "preCrop": False,
        "resegmentMode": "absolute",
        "resegmentShape": False,
        "start_level": 0,
        "symmetricalGLCM": True,
        "voxelArrayShift": 0,
        "weightingNorm": None,
    }
)
_FILTERS = {"LoG": "laplacian_of_gaussian", "Wavelet": "separable_wavelet"}
_OWN = {
    "Original": ("binCount", "binWidth"),
    "LoG": ("binCount", "sigma"),
    "Wavelet": ("binCount", "level", "wavelet"),
}

_INTENSITY = ("mean", "median", "min", "p10", "p90", "max", "iqr", "range", "mad", "rmad", "medad", "rms")
_UNITS = {
    **{f"stat_{name}": "intensity" for name in _INTENSITY},
    "stat_var": "intensity2",
    "stat_energy": "intensity2",
    "ih_entropy": "bit",
    "loc_peak_loc": "intensity",
    "loc_peak_glob": "intensity",
    "morph_area_mesh": "mm2",
    "morph_av": "mm-1",
    "morph_com": "mm",
    "morph_diam": "mm",
    "morph_integ_int": "intensity mm3",
    "morph_pca_least_axis": "mm",
    "morph_pca_maj_axis": "mm",
    "morph_pca_min_axis": "mm",
    "morph_vol_approx": "mm3",
    "morph_volume": "mm3",
}


@dataclass(frozen=True)
class _Processed:
    """Images and regions as the features take them; arrays count from z.

    `images` has the derived images by name. `regions` has the voxels of each region by name, before and after
    resegmentation.
    """

    spacing: Spacing
    images: Mapping[str, Array]
    regions: Mapping[str, tuple[MaskArray, MaskArray]]


def check_settings(settings: RadiomicsSettings) -> None:
    """Refuse settings that have no counterpart in mirp.

    Raises
    ------
    DataError
        It names all of them.
    """
    wrong = [f"{key}: {value}" for key, value in settings.options.items() if not _is_known(key, value)]
    for kind, own in settings.image_types.items():
        if kind not in _OWN:
            wrong.append(f"image type {kind}")
            continue
        known = (key in _OWN[kind] or (key in _ANYWAY and own[key] == _ANYWAY[key]) for key in own)
        wrong += [f"{key} of image type {kind}" for key, fine in zip(own, known, strict=True) if not fine]
    wrong += [f"feature class {name}" for name in settings.shapes if name != "shape"]
    wrong += [f"{', '.join(names)} of class {name}" for name, names in settings.features.items()]
    if wrong:
        problem = f"the IBSI engine has no counterpart of {'; '.join(wrong)}"
        raise DataError(problem, "take it out, or compute the features with PyRadiomics")
    for kind in settings.image_types:
        if settings.of(kind).get("binCount"):
            continue
        if kind != "Original":
            problem = f"gray levels of image type {kind} have a width, but its values have no unit"
            raise DataError(problem, f"give image type {kind} a binCount")
        if settings.options.get("resegmentRange") is None:
            problem = "gray levels have a width, and IBSI counts them from the lower end of a range"
            raise DataError(problem, "give resegmentRange, or a bin count where intensities have no unit")


def _is_known(key: str, value: Any) -> bool:
    """Whether a general setting has a counterpart."""
    if key == "resampledPixelSpacing":
        return value is None or len(value) == 3
    if key == "interpolator":
        return value in _SPLINES
    if key == "resegmentRange":
        return value is None or len(value) in (1, 2)
    return key in _TRANSLATED or (key in _ANYWAY and value == _ANYWAY[key])


def extract_regions(
    image: Array, masks: Mapping[str, MaskArray], affine: Affine, settings: RadiomicsSettings
) -> dict[str, RegionFeatures]:
    """Return the intensity and texture features of regions of an image.

    Parameters
    ----------
    image : ndarray, shape (x, y, z)
        Intensities, in any unit.
    masks : mapping of str to ndarray of bool, shape (x, y, z)
        The regions; they may overlap.
    affine : ndarray, shape (4, 4)
        Voxel to world (mm); features depend on the voxel sizes only.
    settings : RadiomicsSettings
        Derived images, gray levels and classes.

    Returns
    -------
    dict of str to RegionFeatures
        For each region every feature, derived images and classes in the order of the settings.

    Raises
    ------
    DataError
        A setting has no counterpart in mirp, image and mask are not three-dimensional arrays of one shape, or
        an image that is to be filtered has voxels of unequal sides.

    References
    ----------
    Zwanenburg et al. (2020), Radiology 295:328-338, and Whybra et al. (2024), Radiology 310:e231319, for the
    definitions; Zwanenburg et al. (2024), Journal of Open Source Software 9:6413, for mirp.
    """
    check_settings(settings)
    for mask in masks.values():
        if image.shape != mask.shape:
            problem = f"the image is {image.shape} and the region {mask.shape}"
            raise DataError(problem, "resample one to the other's grid")
    first, second, third = voxel_sizes(affine)
    flipped = {name: mask.transpose() for name, mask in masks.items()}
    reasons = {name: unusable_region(mask, box_of(mask), settings) for name, mask in flipped.items()}
    usable = {name: mask for name, mask in flipped.items() if not reasons[name]}
    done = _processed(image.transpose(), usable, (third, second, first), settings)
    for name, (before, after) in done.regions.items():
        if not before.any():
            reasons[name] = "Resampling left nothing of the region."
        elif not after.any():
            reasons[name] = "Resegmentation left nothing of the region."
        else:
            reasons[name] = unusable_region(after, box_of(after), settings)
    found = {name: RegionFeatures() for name in masks}
    for kind in settings.image_types:
        for filtered in _derived_names(kind, settings):
            for name, features in found.items():
                _add(features, done, name, filtered, reasons[name], kind, settings)
    return found


def shape_features(
    mask: MaskArray, affine: Affine, settings: RadiomicsSettings = _SHAPE_OF_ANY_SIZE
) -> list[FeatureValue]:
    """Return the shape features of a region.

    Parameters
    ----------
    mask : ndarray of bool, shape (x, y, z)
        The region.
    affine : ndarray, shape (4, 4)
        Voxel to world (mm).
    settings : RadiomicsSettings
        Smallest size and voxel size; by default any size.

    References
    ----------
    Zwanenburg et al. (2020), Radiology 295:328-338.
    """
    check_settings(settings)
    if not settings.shapes:
        return []
    first, second, third = voxel_sizes(affine)
    region, spacing = mask.transpose(), (third, second, first)
    reason = unusable_region(region, box_of(region), settings)
    if settings.resamples and not reason:
        blank = np.zeros(region.shape)
        done = _processed(
            blank, {"region": region}, spacing, RadiomicsSettings(None, 2, options=settings.options)
        )
        spacing, (region, _) = done.spacing, done.regions["region"]
        left = "" if region.any() else "Resampling left nothing of the region."
        reason = left or unusable_region(region, box_of(region), settings)
    results: dict[str, float] = {}
    if not reason:
        # No voxel has an intensity in the range: the spatial features, which are slow, have nothing to do.
        blank, empty = np.zeros(region.shape), {"resegmentation_intensity_range": [1.0, np.nan]}
        results = _computed(blank, region, spacing, {**_families(("shape",), settings), **empty})
    return _values(ORIGINAL, "shape", results, reason, settings)


def _processed(
    image: Array, masks: Mapping[str, MaskArray], spacing: Spacing, settings: RadiomicsSettings
) -> _Processed:
    """Return image and regions resampled, the regions resegmented, and the derived images, all by mirp."""
    if not masks:
        return _Processed(spacing, {}, {})
    sizes = _sizes(spacing, settings)
    asked = {**_resampling(sizes, settings), **_filters(sizes, settings), **_resegmentation(settings)}
    with _silence():
        ((images, regions),) = _mirp().extract_images(
            image=_image_of(image, spacing),
            mask=[_mask_of(mask, spacing) for mask in masks.values()],
            sample_name="image",
            image_export_format="native",
            by_slice=_is_flat(settings),
            **asked,
        )
    z, y, x = (float(size) for size in images[0].image_spacing)
    filtered = [name for kind in settings.image_types for name in _derived_names(kind, settings)]
    # mirp gives the image first, whether its features are wanted or not.
    names = [ORIGINAL, *(name for name in filtered if name != ORIGINAL)]
    return _Processed(
        (z, y, x),
        {name: item.get_voxel_grid() for name, item in zip(names, images, strict=True)},
        {
            name: (region.roi.get_voxel_grid(), region.roi_intensity.get_voxel_grid())
            for name, region in zip(masks, regions, strict=True)
        },
    )


def _sizes(spacing: Spacing, settings: RadiomicsSettings) -> Spacing:
    """Return the voxel sizes that features are computed with."""
    if not settings.resamples:
        return spacing
    first, second, third = settings.options["resampledPixelSpacing"]
    z, y, x = (float(new or old) for new, old in zip((third, second, first), spacing, strict=True))
    if _is_flat(settings) and not np.isclose(z, spacing[0], rtol=_SAME_SIZE):
        problem = f"force2D leaves slices apart; they would be resampled to {z:g} mm"
        raise DataError(problem, "give 0 as the third number of resampledPixelSpacing")
    return z, y, x


def _resampling(sizes: Spacing, settings: RadiomicsSettings) -> dict[str, Any]:
    """Return the resampling in mirp's words."""
    if not settings.resamples:
        return {}
    return {
        "new_spacing": list(sizes[1:] if _is_flat(settings) else sizes),
        "spline_order": _SPLINES[settings.options.get("interpolator")],
        # IBSI knows no smoothing before an image is resampled.
        "anti_aliasing": False,
    }


def _filters(sizes: Spacing, settings: RadiomicsSettings) -> dict[str, Any]:
    """Return the filters of the derived images in mirp's words."""
    kinds = [kind for kind in settings.image_types if kind in _FILTERS]
    if not kinds:
        return {}
    flat = _is_flat(settings)
    sides = sizes[1:] if flat else sizes
    if max(sides) > min(sides) * (1 + _SAME_SIZE):
        # mirp would filter as if all sides had the shortest length.
        measured = " x ".join(f"{size:g}" for size in reversed(sides))
        problem = f"IBSI defines {' and '.join(kinds)} on voxels of equal sides; these are {measured} mm"
        raise DataError(problem, "give resampledPixelSpacing equal numbers, or leave the image type out")
    asked: dict[str, Any] = {"filter_kernels": [_FILTERS[kind] for kind in kinds]}
    if "LoG" in kinds:
        asked["laplacian_of_gaussian_sigma"] = [float(sigma) for sigma in settings.of("LoG")["sigma"]]
    if "Wavelet" in kinds:
        own = settings.of("Wavelet")
        asked |= {
            "separable_wavelet_families": own.get("wavelet", "coif1"),
            "separable_wavelet_set": [band.lower() for band in _bands(flat)],
            "separable_wavelet_decomposition_level": list(range(1, own.get("level", 1) + 1)),
            "separable_wavelet_rotation_invariance": False,
        }
    return asked


def _add(
    found: RegionFeatures,
    done: _Processed,
    name: str,
    filtered: str,
    reason: str,
    kind: str,
    settings: RadiomicsSettings,
) -> None:
    """Append the features of a region of one derived image."""
    options = settings.of(kind)
    classes = [part for asked in settings.classes for part in _ASKED.get(asked, (asked,))]
    if kind != "Original":
        classes = [part for part in classes if part not in _OF_THE_ORIGINAL]
    one_level, results = "", dict[str, float]()
    if not reason:
        values, (before, after) = done.images[filtered], done.regions[name]
        reason, levels = unusable_values(values[after], options)
        if not (reason or options.get("binCount")):
            levels = _levels(values[after], options)
        if levels:
            found.levels[filtered] = levels
        if levels == 1:
            one_level = (
                f"All intensities of the region lie in one gray level of width {options['binWidth']:g}."
            )
    if not reason:
        possible = tuple(part for part in classes if not (one_level and part in _OF_GRAY_LEVELS))
        asked = _families(possible, settings, options)
        if kind == "Original":
            # mirp resegments for itself: some features need both regions, the gray levels the range.
            results = _computed(values, before, done.spacing, {**asked, **_resegmentation(settings)})
        else:
            results = _computed(values, after, done.spacing, asked)
    for part in classes:
        why = reason or (one_level if part in _OF_GRAY_LEVELS else "")
        found.values.extend(_values(filtered, part, results, why, settings, options))


def _levels(inside: Array, options: Mapping[str, Any]) -> int:
    """Return how many gray levels of a given width intensities span, counted from the end of the range."""
    start, width = options["resegmentRange"][0], options["binWidth"]
    low, high = np.floor((inside.min() - start) / width), np.floor((inside.max() - start) / width)
    return int(high - low) + 1


def _values(
    filtered: str,
    feature_class: str,
    results: Mapping[str, float],
    reason: str,
    settings: RadiomicsSettings,
    options: Mapping[str, Any] = MappingProxyType({}),
) -> list[FeatureValue]:
    """Return every feature of one class in mirp's order."""
    names = _feature_names(feature_class, _is_flat(settings))
    if any(np.isclose(results.get(name, 0), _NO_COARSENESS) for name in names if "coarseness" in name):
        results, reason = {}, "No voxel differs from its neighbors in the region, or none has any."
    calibrated = not options.get("binCount")
    found = []
    for name in names:
        value = results.get(name, np.nan)
        known = bool(np.isfinite(value))
        why = "" if known else reason or "The definition of the feature gives no finite number here."
        # A histogram of levels that have no unit gives numbers of levels.
        in_levels = name.startswith(("ivh_i", "ivh_diff_i"))
        unit = ("intensity" if calibrated else "") if in_levels else _UNITS.get(name, "")
        found.append(FeatureValue(filtered, feature_class, name, value if known else None, unit, why))
    return found


@lru_cache(maxsize=32)
def _feature_names(feature_class: str, flat: bool) -> tuple[str, ...]:
    """Return the features of a class in mirp's order, as it gives them for a small cube."""
    settings = RadiomicsSettings(None, 4, options={"force2D": flat})
    cube = (np.arange(4.0**3) * 7 % 11).reshape(4, 4, 4)
    found = _computed(cube, cube >= 0, (1.0, 1.0, 1.0), _families((feature_class,), settings))
    if feature_class in ("spatial", "shape"):
        return tuple(name for name in found if (name in _SPATIAL) == (feature_class == "spatial"))
    return tuple(found)


def _computed(values: Array, mask: MaskArray, spacing: Spacing, asked: Mapping[str, Any]) -> dict[str, float]:
    """Return the features of a region by tag; for that, mirp needs no more than its surroundings."""
    if not asked["base_feature_families"]:
        return {}
    around = tuple(
        slice(max(part.start - reach, 0), part.stop + reach)
        for part, size in zip(box_of(mask), spacing, strict=True)
        for reach in [int(np.ceil(_PEAK_RADIUS / size))]
    )
    with _silence():
        (table,) = _mirp().extract_features(
            image=_image_of(values[around], spacing),
            mask=_mask_of(mask[around], spacing),
            # Numbers drawn for Moran's and Geary's measures of large regions depend on it.
            sample_name="image",
            **asked,
        )
    prefixes = tuple(f"{prefix}_" for prefix, _ in _CLASSES.values())
    row = table.iloc[0]
    given = (tag for tag in table.columns if tag.startswith(prefixes) and row[tag] is not None)
    return {_GRAY_LEVELS.sub("", tag): float(row[tag]) for tag in given}


def _families(
    classes: tuple[str, ...], settings: RadiomicsSettings, options: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return what mirp is asked for: families, gray levels, and every way of aggregation."""
    flat, given = _is_flat(settings), settings.binning if options is None else options
    asked: dict[str, Any] = {
        "by_slice": flat,
        "ibsi_compliant": True,
        "base_feature_families": list(dict.fromkeys(_CLASSES[name][1] for name in classes)),
        **{f"{name}_spatial_method": _DIRECTIONAL[flat] for name in ("glcm", "glrlm")},
        **{f"{name}_spatial_method": _WHOLE[flat] for name in ("glszm", "gldzm", "ngtdm", "ngldm")},
    }
    if count := given.get("binCount"):
        asked |= {"base_discretisation_method": "fixed_bin_number", "base_discretisation_n_bins": int(count)}
        # IBSI's number of levels where intensities have no unit; mirp's by default.
        asked |= {"ivh_discretisation_method": "fixed_bin_number", "ivh_discretisation_n_bins": 1000}
    else:
        for kind in ("base", "ivh"):
            asked[f"{kind}_discretisation_method"] = "fixed_bin_size"
            asked[f"{kind}_discretisation_bin_width"] = float(given["binWidth"])
    return asked


def _resegmentation(settings: RadiomicsSettings) -> dict[str, Any]:
    """Return the range of intensities in mirp's words; PyRadiomics lets the upper end be absent."""
    given = settings.options.get("resegmentRange")
    if given is None:
        return {}
    low, high = (float(end) for end in [*given, np.nan][:2])
    return {"resegmentation_intensity_range": [low, high]}


def _is_flat(settings: RadiomicsSettings) -> bool:
    """Whether slices are taken one by one."""
    return bool(settings.options.get("force2D"))


def _bands(flat: bool) -> list[str]:
    return ["".join(letters) for letters in product("LH", repeat=2 if flat else 3)]


def _derived_names(kind: str, settings: RadiomicsSettings) -> list[str]:
    """Return the derived images of one type, in mirp's order and named as PyRadiomics names its own."""
    own, flat = settings.of(kind), _is_flat(settings)
    if kind == "LoG":
        sizes = [str(float(sigma)).replace(".", "-") for sigma in own["sigma"]]
        return [f"log-sigma-{size}-mm-{2 if flat else 3}D" for size in sizes]
    if kind == "Wavelet":
        levels = range(1, own.get("level", 1) + 1)
        pairs = product(_bands(flat), levels)
        return [f"wavelet{'' if level == 1 else level}-{band}" for band, level in pairs]
    return [ORIGINAL]


def _mirp() -> Any:
    """Return mirp; only the environment of this engine has it."""
    try:
        import mirp
    except ModuleNotFoundError as error:
        remedy = "install voxelome[radiomics-ibsi] in an environment of its own"
        raise DataError(f"the IBSI engine needs mirp ({error})", remedy) from None
    return mirp


def _image_of(values: Array, spacing: Spacing) -> Any:
    """Return an array as an image of mirp."""
    from mirp.data_import.import_image import import_image

    (image,) = import_image(np.ascontiguousarray(values, dtype=np.float64))
    image.image_spacing = spacing
    return image


def _mask_of(mask: MaskArray, spacing: Spacing) -> Any:
    """Return an array as a mask of mirp."""
    from mirp.data_import.import_mask import import_mask

    (region,) = import_mask(np.ascontiguousarray(mask))
    region.image_spacing = spacing
    return region


@contextmanager
def _silence() -> Iterator[None]:
    """Keep mirp, which would set up the log of the whole program for itself, from doing and from saying so.

    What it warns of is refused before, or told in a reason.
    """
    root, handler = logging.getLogger(), logging.NullHandler()
    before = root.manager.disable
    root.addHandler(handler)
    logging.disable(logging.INFO)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
        root.removeHandler(handler)
