"""Carry a visit's images to a template space: one deformation, one interpolation an image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from voxelome import quality
from voxelome.bids.names import split_label
from voxelome.bids.spaces import Space
from voxelome.imageio import Affine, MaskArray, save_json, save_volume, sidecar_path
from voxelome.interfaces.prepared import load_prepared
from voxelome.interfaces.template_space import load_space
from voxelome.interfaces.visit import VisitImages
from voxelome.step import StepRecord


def carry_to_template(
    images: VisitImages,
    space: Space,
    matrices: Mapping[str, Affine],
    brain: MaskArray,
    lesion: MaskArray | None,
    spec: Any,
    record: StepRecord,
) -> None:
    """Register the reference to a template, and carry all contrasts and the brain mask there.

    Parameters
    ----------
    images : VisitImages
        The visit; the scale of each contrast has been found.
    space : Space
        Where to.
    matrices : mapping
        By contrast: reference's world to the contrast's, RAS mm.
    brain, lesion : ndarray of bool
        On the reference's grid; lesions are left out of the comparison.
    """
    from voxelome.registration.resample import resample, save_itk_warp
    from voxelome.registration.template import register_template

    template = load_space(space)
    reference = load_prepared(images.prepared, images.reference)
    result = register_template(
        np.where(brain, reference.data, 0),
        reference.affine,
        brain,
        template.brain,
        template.affine,
        template.mask,
        lesion=lesion,
        same_contrast=split_label(images.reference)[1] == space.contrast,
        threads=spec.num_threads,
        seed=spec.random_seed,
    )
    suffix = split_label(images.reference)[1]
    grid = (template.brain.shape, template.affine)
    warp = images.path("xfm", **{"from": suffix, "to": space.name, "mode": "image"})
    save_itk_warp(warp, result.displacement, template.affine, result.affine)
    convention = (
        "ITK displacement field with the affine in it: template to reference, for antsApplyTransforms"
    )
    save_json(
        sidecar_path(warp), {"Type": "affine and SyN", "Matrix": result.affine, "Convention": convention}
    )
    affine_rows = [[float(x) for x in row] for row in result.affine]
    record.add(warp, "warp", space=space.name, matrix=affine_rows)
    to_reference: dict[str, Any] = {"matrix": result.affine, "displacement": result.displacement}
    mask = resample(brain.astype(np.uint8), reference.affine, *grid, order="nearest", **to_reference) > 0
    # Gradient echoes have no scale, and neither has an image whose intensities could not be used.
    for label in images.scales:
        image = load_prepared(images.prepared, label)
        both = {**to_reference, "matrix": matrices[label] @ result.affine}
        data = resample(image.data, image.affine, *grid, order="linear", **both)
        data = images.rescale(label, data, mask & (data != 0))
        path = images.save(label, data, template.affine, space=space.name, of=_name_of(space))
        record.add(path, "template", image=label, space=space.name)
    path = images.path("mask", space=space.name, desc="brain")
    method = {"Type": "Brain", "Method": "carried to the template", "SpatialReference": _name_of(space)}
    save_volume(path, mask, template.affine, {**images.sidecar(images.reference), **method})
    record.add(path, "template-mask", space=space.name, name="brain")
    overlap = 2 * float((mask & template.mask).sum()) / float(mask.sum() + template.mask.sum())
    measures = {
        "template overlap": overlap,
        "mutual information before": result.mutual_information_before,
        "mutual information after": result.mutual_information_after,
        "template Jacobian minimum": result.jacobian_min,
        "template Jacobian maximum": result.jacobian_max,
        "template inverse consistency": result.inverse_consistency,
    }
    name = f"{images.reference} to {space.name}"
    record.checks += [quality.check(name, measure, value) for measure, value in measures.items()]
    left_out = ""
    if lesion is not None:
        voxel = abs(float(np.linalg.det(reference.affine[:3, :3]))) / 1000
        left_out = f"; {float(lesion.sum()) * voxel:.1f} ml of lesions were left out of the comparison"
    record.done.append(
        f"{len(images.scales)} image(s) brought to {space.name} "
        f"(affine and SyN of {images.reference}, one interpolation{left_out})."
    )


def _name_of(space: Space) -> str:
    return space.path or space.name
