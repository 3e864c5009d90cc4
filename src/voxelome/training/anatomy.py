"""Brains to synthesise images from: tissues of each voxel, and its distance from surfaces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from scipy import ndimage

from voxelome.errors import DataError
from voxelome.imageio import Affine, Array, FloatArray, MaskArray, replacing
from voxelome.segmentation.grids import network_grid, to_network
from voxelome.segmentation.spec import GridSpec

# Order of the first axis of Anatomy.maps.
MAPS = ("gm", "wm", "csf", "ventricle", "deep", "to_ventricle", "depth")
# Distances (mm) are clipped: farther away nothing depends on them.
_FAR = 60.0
# What lies deeper than this (mm) under the brain's surface and is fluid or gray is ventricle or nucleus.
_VENTRICLE_DEPTH, _NUCLEUS_DEPTH = 14.0, 20.0
_MARGIN = 8
# Half the width (mm) of the sulci that a closing fills.
_SULCUS = 4.0
Tissue = Literal["gm", "wm", "csf", "ventricle", "deep"]
TISSUES: tuple[Tissue, ...] = ("gm", "wm", "csf", "ventricle", "deep")
_WORDS = {"gm": "gray matter", "wm": "white matter", "ventricle": "ventricles"}


@dataclass(frozen=True)
class Anatomy:
    """One brain at 1 mm, axes in RAS+ order, cropped.

    Attributes
    ----------
    maps : ndarray of float16, shape (7, X, Y, Z)
        As :data:`MAPS` names them: fractions of gray and white matter and fluid, of ventricle (a part of the
        fluid) and deep gray nuclei (a part of the gray), signed distance to the ventricles (mm, negative
        inside) and depth under the brain's surface (mm, negative outside).
    name : str
    """

    maps: FloatArray
    name: str

    def save(self, path: Path) -> None:
        """Write it as .npz, distances rounded to mm/2 and fractions to 1/250."""
        fractions = np.rint(self.maps[:5].astype(np.float32) * 250).astype(np.uint8)
        distances = np.rint(self.maps[5:].astype(np.float32) * 2).astype(np.int8)
        with replacing(path) as temporary:
            np.savez_compressed(temporary, fractions=fractions, distances=distances, name=self.name)

    @classmethod
    def load(cls, path: Path) -> Anatomy:
        """Read what :meth:`save` wrote."""
        with np.load(path, allow_pickle=False) as stored:
            maps = np.concatenate(
                [stored["fractions"].astype(np.float16) / 250, stored["distances"].astype(np.float16) / 2]
            )
            return cls(maps, str(stored["name"]))


def anatomy_from_fractions(gm: FloatArray, wm: FloatArray, brain: MaskArray, name: str) -> Anatomy:
    """Anatomy of gray and white matter fractions on a grid of 1 mm; what they leave of the brain is fluid.

    Ventricles are the deep fluid, nuclei the deep gray matter: good enough to say where lesions lie and
    which gray is a little darker, and no parcellation.

    Parameters
    ----------
    gm, wm : ndarray, shape (X, Y, Z)
        Fractions from 0 to 1.
    brain : ndarray of bool, shape (X, Y, Z)
        With the fluid around the brain.
    name : str

    Raises
    ------
    DataError
        No ventricle is found.
    """
    where = ndimage.find_objects(brain.astype(np.uint8))[0]
    gm, wm, brain = (np.pad(part[where], _MARGIN) for part in (gm, wm, brain))
    gm, wm = np.clip(gm, 0, 1) * brain, np.clip(wm, 0, 1) * brain
    csf = np.clip(1 - gm - wm, 0, 1) * brain
    depth = signed_distance(brain)
    ventricle = _largest_parts((csf > 0.5) & (depth > _VENTRICLE_DEPTH), 3)
    if not ventricle.any():
        raise DataError(f"{name}: no ventricle is found", "give fractions of tissue of a whole brain at 1 mm")
    soft = ndimage.binary_dilation(ventricle, iterations=2) * csf
    nuclei = (gm > 0.3) & (depth > _NUCLEUS_DEPTH)
    maps = np.stack(
        [gm, wm, csf, soft, nuclei * gm, -signed_distance(ventricle), depth],
        dtype=np.float32,
    )
    maps[5:] = np.clip(maps[5:], -_FAR, _FAR)
    return Anatomy(maps.astype(np.float16), name)


def anatomy_from_labels(labels: Array, affine: Affine, tissues: Mapping[int, Tissue], name: str) -> Anatomy:
    """Anatomy of a label map of a whole brain.

    Fluid around the brain is what a closing of the labelled brain adds to it: label maps seldom have it.

    Parameters
    ----------
    labels : ndarray of int, shape (x, y, z)
    affine : ndarray, shape (4, 4)
        Voxels to world, RAS+ mm.
    tissues : mapping
        Tissue by label; of a label that is not in it nothing is used.
    name : str

    Raises
    ------
    DataError
        Gray matter, white matter or ventricles are missing.
    """
    members = {tissue: [label for label, of in tissues.items() if of == tissue] for tissue in TISSUES}
    masks = {tissue: np.isin(labels, chosen) for tissue, chosen in members.items()}
    masks["gm"] |= masks["deep"]
    missing = [_WORDS[tissue] for tissue in ("gm", "wm", "ventricle") if not masks[tissue].any()]
    if missing:
        raise DataError(f"{name} has no label of {', '.join(missing)}", "give a label map of a whole brain")
    whole = np.any(list(masks.values()), axis=0)
    grid = network_grid(labels.shape, affine, GridSpec(margin=_MARGIN), whole)
    share = {tissue: to_network(mask.astype(np.float32), grid) for tissue, mask in masks.items()}
    brain = _closed(to_network(whole.astype(np.float32), grid) > 0.5)
    gm, wm = share["gm"] * brain, share["wm"] * brain
    csf = np.clip(1 - gm - wm, 0, 1) * brain
    ventricle = share["ventricle"] > 0.5
    to_ventricle, depth = -signed_distance(ventricle), signed_distance(brain)
    maps = np.stack(
        [gm, wm, csf, np.minimum(share["ventricle"], csf), share["deep"] * brain, to_ventricle, depth]
    )
    maps[5:] = np.clip(maps[5:], -_FAR, _FAR)
    return Anatomy(maps.astype(np.float16), name)


def _closed(brain: MaskArray) -> MaskArray:
    """Brain with its sulci, and 1 mm of fluid around it, on a grid of 1 mm."""
    wide = signed_distance(np.pad(brain, 1)) >= -_SULCUS
    narrow = ndimage.distance_transform_edt(wide) > _SULCUS - 1
    filled: MaskArray = ndimage.binary_fill_holes(narrow)[1:-1, 1:-1, 1:-1]
    return filled


def signed_distance(inside: MaskArray) -> FloatArray:
    """Distance in voxels to the surface of a mask, positive inside."""
    return np.asarray(ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside))


def _largest_parts(mask: MaskArray, count: int) -> MaskArray:
    """The largest connected parts of a mask, of at least 200 voxels."""
    labels, _ = ndimage.label(mask, np.ones((3, 3, 3)))
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    keep = [int(part) for part in np.argsort(sizes)[::-1][:count] if sizes[part] >= 200]
    return np.asarray(np.isin(labels, keep))


def template_anatomy() -> Anatomy:
    """Anatomy of the MNI template (symmetric, 2009a) that nilearn brings."""
    from nilearn.datasets import load_mni152_brain_mask, load_mni152_gm_template, load_mni152_wm_template

    gm, wm, mask = (
        np.asarray(load(resolution=1).dataobj, dtype=np.float32)
        for load in (load_mni152_gm_template, load_mni152_wm_template, load_mni152_brain_mask)
    )
    return anatomy_from_fractions(gm, wm, mask > 0.5, "MNI152NLin2009aSym")
