"""Check, reorient and bias-correct the images of a visit, choose its reference, and find the brain in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import Directory, File, SimpleInterface, traits

from voxelome import quality
from voxelome.bids.names import split_label
from voxelome.errors import InputError, blame
from voxelome.imageio import Affine, Array, MaskArray, load_volume, save_volume
from voxelome.interfaces.base import StepInputs, StepOutputs
from voxelome.interfaces.masks import load_labels
from voxelome.interfaces.reference import CheckedImage, rank_references
from voxelome.orientation import to_canonical
from voxelome.step import StepRecord, recording, use_threads


class PreprocessInputs(StepInputs):
    """Inputs of :class:`PreprocessSession`."""

    images = traits.List(File(), mandatory=True, desc="3D images of one visit, any grid and orientation")
    labels = traits.List(traits.Str(), mandatory=True, desc="name of each image, such as ce-gadolinium_T1w")
    complex_labels = traits.List(
        traits.Str(),
        value=[],
        usedefault=True,
        desc="labels of images that are real parts: the magnitude is made of them and their imaginary parts",
    )
    imaginary = traits.List(
        File(), value=[], usedefault=True, desc="imaginary parts, in the order of complex_labels"
    )
    references = traits.List(
        traits.Str(),
        value=[],
        usedefault=True,
        desc="labels of the images that may be the reference; none where the visit has none",
    )
    brain_masks = traits.List(
        File(),
        value=[],
        usedefault=True,
        desc="brain masks that the user gives, on the grid of the reference; none: one is found",
    )
    brain_extraction = traits.Enum(
        "deepbet",
        "ensemble",
        "given",
        usedefault=True,
        desc="how the brain is found: deepbet; deepbet and an atlas together; only masks that are given",
    )
    affine = traits.Enum(
        "auto",
        "sform",
        "qform",
        usedefault=True,
        desc="which of the header's affines counts; auto refuses an image whose two disagree",
    )
    denoising = traits.Bool(False, usedefault=True, desc="reduce noise with adaptive non-local means")
    bias_correction = traits.Bool(True, usedefault=True, desc="correct the bias field with N4")
    models_dir = Directory(mandatory=True, desc="folder of fetched models (voxelome-tools models fetch)")
    out_dir = Directory(mandatory=True, desc="folder for the corrected images, in their own space, RAS+")


class PreprocessSession(SimpleInterface):
    """Check, reorient and bias-correct the images of a visit, and find the brain in its reference."""

    input_spec = PreprocessInputs
    output_spec = StepOutputs

    def _run_interface(self, runtime: Any) -> Any:
        spec = self.inputs
        # Threads of ANTs' denoising add to common voxels without a lock: its result would differ each time.
        use_threads(1 if spec.denoising else spec.num_threads)
        with recording("preprocess", spec.unit, spec.record) as record:
            record.parameters = {
                "bias correction": "N4" if spec.bias_correction else "none",
                "denoising": "adaptive non-local means" if spec.denoising else "none",
            }
            images = _usable_images(spec, record)
            _reference_first(images, spec, record)
            for image in images.values():
                _attempt(image, spec, record)
            if not record.outputs:
                raise InputError(*record.problems[0].values())
        self._results["record"] = spec.record
        return runtime


def _usable_images(spec: Any, record: StepRecord) -> dict[str, CheckedImage]:
    """Images of the visit that can be used, by label; the others are noted and left out.

    Raises
    ------
    InputError
        None can be used.
    """
    if not spec.images:
        raise InputError(
            spec.unit,
            "has gradient-echo phase and no magnitude, and no other image",
            "add part-mag images of the same echoes",
        )
    images: dict[str, CheckedImage] = {}
    errors: list[InputError] = []
    imaginary = dict(zip(spec.complex_labels, spec.imaginary, strict=True))
    for path, label in zip(spec.images, spec.labels, strict=True):
        try:
            images[label] = _check(Path(path), label, spec.affine, record, imaginary.get(label))
        except InputError as error:
            errors.append(error)
    if not images:
        first, *others = errors
        names = ", ".join(Path(error.source).name for error in others)
        more = f" (no other image of the visit can be used either: {names})" if others else ""
        raise InputError(first.source, first.problem + more, first.remedy)
    for rejected in errors:
        record.reject(rejected)
    return images


def _check(
    path: Path, label: str, form: Any, record: StepRecord, imaginary: str | None = None
) -> CheckedImage:
    from voxelome.anat.checks import check_orientation, check_volume, holds_whole_head

    volume = load_volume(path, form=form)
    with blame(path):
        warnings = check_volume(volume.data, volume.affine)
        used = check_orientation(volume.data.shape, volume.qform, volume.sform, form)
    record.warnings += [f"{label}: {warning}" for warning in warnings]
    record.parameters[f"affine of {label}"] = used
    values = volume.data if imaginary is None else _modulus(volume.data, imaginary)
    data, affine = to_canonical(values, volume.affine)
    return CheckedImage(label, path, data, affine, holds_whole_head(data.shape, affine))


def _modulus(real: Array, imaginary: str) -> Array:
    """Magnitude of a complex image."""
    other = load_volume(imaginary).data
    if other.shape != real.shape:
        raise InputError(
            imaginary, f"has shape {other.shape}, the real part {real.shape}", "give both parts on one grid"
        )
    return np.hypot(real, other)


def _reference_first(images: dict[str, CheckedImage], spec: Any, record: StepRecord) -> None:
    """Prepare the reference: the best image in which a brain is found; it is taken out of `images`."""
    order = rank_references(images, spec.references, record)
    record.parameters["reference"] = ""
    for label in order:
        if not _attempt(images.pop(label), spec, record, is_reference=True):
            continue
        record.parameters["reference"] = label
        if label != order[0]:
            record.warnings.append(f"{label} is the reference, because {order[0]} cannot be used.")
        return


def _attempt(image: CheckedImage, spec: Any, record: StepRecord, *, is_reference: bool = False) -> bool:
    """Prepare an image; one that cannot be used is noted, and nothing else of it. Whether it could be."""
    part = StepRecord(record.step, record.unit)
    try:
        _prepare(image, spec, part, is_reference=is_reference)
    except InputError as error:
        if error.source != str(image.path):  # a brain mask that was given: the user must know
            raise
        record.reject(error)
        return False
    record.absorb(part)
    return True


def _prepare(image: CheckedImage, spec: Any, record: StepRecord, *, is_reference: bool = False) -> None:
    """Denoise, find the brain of the reference, correct the bias field, save.

    Raises
    ------
    InputError
        The image cannot be used, or a brain mask that was given.
    """
    from voxelome.anat.bias import correct_bias, head_mask, thin_out
    from voxelome.anat.denoise import denoise
    from voxelome.anat.stripped import stripped_mask

    label, data, affine = image.label, image.data, image.affine
    with blame(image.path):
        if spec.denoising:
            data, noise = denoise(data, affine)
            record.quality[f"{label} noise before denoising"] = round(noise, 4)
            record.done.append(f"{label}: noise reduced (adaptive non-local means).")
        stripped = stripped_mask(data, affine)
        if stripped is not None:
            record.done.append(f"{label}: already stripped.")
        mask = _reference_brain(image, data, stripped, spec, record) if is_reference else stripped
        if spec.bias_correction:
            data, field = correct_bias(data, affine, head_mask(data) if mask is None else mask)
            record.quality[f"{label} bias field range"] = round(float(np.ptp(np.log(field))), 3)
            record.done.append(f"{label}: bias field corrected (N4).")
            coarse = save_volume(Path(spec.out_dir) / f"{label}_bias.nii.gz", *thin_out(field, affine))
            record.add(coarse, "bias", image=label)
    path = save_volume(Path(spec.out_dir) / f"{label}.nii.gz", data, affine)
    tags = {"source": str(image.path), "stripped": stripped is not None}
    record.add(path, "prepared", image=label, **tags)


def _reference_brain(
    image: CheckedImage, data: Array, stripped: MaskArray | None, spec: Any, record: StepRecord
) -> MaskArray:
    """Brain mask of the reference, saved and measured: a given one before all others."""
    mask = _given_mask(image, spec)
    method = "given by the user"
    if mask is None and spec.brain_extraction == "given":
        raise InputError(
            spec.unit,
            "brain_extraction is 'given', but the visit has no brain mask",
            "add a *_desc-brain_mask.nii.gz to a --derivatives dataset, or choose deepbet",
        )
    if mask is None and stripped is not None:
        mask, method = stripped, "the image came already stripped"
    if mask is None:
        mask, method = _extract(data, image.affine, spec, record, image.label)
    volume_ml = float(mask.sum()) * abs(float(np.linalg.det(image.affine[:3, :3]))) / 1000
    record.quality["brain volume (ml)"] = round(volume_ml, 1)
    found = quality.check(image.label, "brain volume", volume_ml)
    record.checks.append(found)
    if found["light"] == "red":
        low, high = quality.MEASURES["brain volume"].amber
        record.warnings.append(
            f"{image.label}: the brain mask has {volume_ml:.0f} ml, not between {low:g} and {high:g} ml; "
            "look at its outline."
        )
    record.parameters["brain mask"] = method
    record.done.append(f"{image.label}: brain mask: {method}.")
    path = save_volume(Path(spec.out_dir) / "brain_mask.nii.gz", mask, image.affine)
    record.add(path, "brain", image=image.label, space=split_label(image.label)[1])
    return mask


def _given_mask(image: CheckedImage, spec: Any) -> MaskArray | None:
    """Brain mask that the user gives on the reference's grid; None where none is given."""
    from voxelome.segmentation.carry import same_grid

    for path in spec.brain_masks:
        labels, affine = load_labels(path, spec.affine)
        if same_grid(labels.shape, affine, image.data.shape, image.affine):
            mask: MaskArray = labels > 0
            return mask
    if spec.brain_masks:
        raise InputError(
            spec.brain_masks[0],
            f"is a brain mask, but not on the grid {image.data.shape} of the visit's reference {image.label}",
            f"resample it to {image.path.name}, or leave it out",
        )
    return None


def _extract(data: Array, affine: Affine, spec: Any, record: StepRecord, label: str) -> tuple[MaskArray, str]:
    """Brain mask by deepbet, or by deepbet and an atlas together, and the method's name."""
    from voxelome.segmentation.deepbet import VERSION, BrainExtractor

    extractor = BrainExtractor(Path(spec.models_dir) / "deepbet", threads=spec.num_threads)
    if spec.brain_extraction == "deepbet":
        return extractor(data, affine), f"deepbet {VERSION}"
    from voxelome.anat.bias import correct_bias, head_mask
    from voxelome.registration.atlas_brain import atlas_brain
    from voxelome.segmentation.ensemble import fuse

    even, _ = correct_bias(data, affine, head_mask(data))
    atlas = atlas_brain(even, affine, threads=spec.num_threads)
    fused = fuse(extractor.probability(data, affine), atlas.probability)
    record.checks.append(quality.check(label, "brain mask agreement", fused.agreement))
    record.warnings += [f"{label}: {note}" for note in fused.notes]
    return fused.mask, f"mean of deepbet {VERSION} and the atlas MNI152NLin2009aSym"
