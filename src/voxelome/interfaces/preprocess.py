"""Check, reorient and bias-correct the images of a visit, and find the brain in its reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import Directory, File, SimpleInterface, traits

from voxelome.bids.names import split_label
from voxelome.errors import DataError, blame
from voxelome.imageio import Volume, load_volume, save_volume
from voxelome.interfaces.base import StepInputs, StepOutputs
from voxelome.orientation import to_canonical
from voxelome.step import StepRecord, recording, use_threads

# Volume of an adult's brain with its sulci and ventricles, from the smallest to the largest seen.
PLAUSIBLE_ML = (900, 2100)


class PreprocessInputs(StepInputs):
    """Inputs of :class:`PreprocessSession`."""

    images = traits.List(File(), mandatory=True, desc="3D images of one visit, any grid and orientation")
    labels = traits.List(traits.Str(), mandatory=True, desc="name of each image, such as ce-gadolinium_T1w")
    reference = traits.Str("", usedefault=True, desc="label of the reference image; empty if there is none")
    models_dir = Directory(mandatory=True, desc="folder of fetched models (voxelome-tools models fetch)")
    bias_correction = traits.Bool(True, usedefault=True, desc="correct the bias field with N4")
    out_dir = Directory(mandatory=True, desc="folder for the corrected images, in their own space, RAS+")


class PreprocessSession(SimpleInterface):
    """Check, reorient and bias-correct the images of a visit, and find the brain in its reference."""

    input_spec = PreprocessInputs
    output_spec = StepOutputs

    def _run_interface(self, runtime: Any) -> Any:
        spec = self.inputs
        use_threads(spec.num_threads)
        with recording("preprocess", spec.unit, spec.record) as record:
            record.parameters = {
                "bias correction": "N4" if spec.bias_correction else "none",
                "reference": spec.reference or "none",
            }
            for path, label in zip(spec.images, spec.labels, strict=True):
                self._prepare(Path(path), label, record)
        self._results["record"] = spec.record
        return runtime

    def _prepare(self, path: Path, label: str, record: StepRecord) -> None:
        from voxelome.anat.bias import correct_bias, head_mask
        from voxelome.anat.checks import check_volume

        volume = load_volume(path)
        with blame(path):
            record.warnings += [f"{label}: {warning}" for warning in check_volume(volume.data, volume.affine)]
        data, affine = to_canonical(volume.data, volume.affine)
        brain = self._brain(path, label, data, affine, record)
        if self.inputs.bias_correction:
            data, field = correct_bias(data, affine, head_mask(data) if brain is None else brain)
            record.quality[f"{label} bias field range"] = round(float(np.ptp(np.log(field))), 3)
            record.done.append(f"{label}: bias field corrected (N4).")
        out = Path(self.inputs.out_dir) / f"{label}.nii.gz"
        record.add(save_volume(out, data, affine), "prepared", image=label, source=str(path))

    def _brain(self, path: Path, label: str, data: Any, affine: Any, record: StepRecord) -> Any:
        """Brain mask of the reference; other images get theirs from it once they are registered."""
        from voxelome.anat.stripped import stripped_mask

        mask = stripped_mask(data, affine)
        if mask is not None:
            method = "the image came already stripped"
            record.done.append(f"{label}: already stripped; its own edge is kept as brain mask.")
        elif label == self.inputs.reference:
            mask = self._extract(path, data, affine)
            method = "deepbet 1.0.2"
            record.done.append(f"{label}: brain extracted (deepbet).")
        else:
            return None
        if label == self.inputs.reference:
            volume_ml = float(mask.sum()) * abs(float(np.linalg.det(affine[:3, :3]))) / 1000
            record.quality["brain volume (ml)"] = round(volume_ml, 1)
            if not PLAUSIBLE_ML[0] <= volume_ml <= PLAUSIBLE_ML[1]:
                low, high = PLAUSIBLE_ML
                record.warnings.append(
                    f"{label}: the brain mask has {volume_ml:.0f} ml, not between {low} and {high} ml; "
                    "look at its outline."
                )
            record.parameters["brain mask"] = method
            path = save_volume(Path(self.inputs.out_dir) / "brain_mask.nii.gz", mask, affine)
            record.add(path, "brain", image=label, space=split_label(label)[1])
        return mask

    def _extract(self, path: Path, data: Any, affine: Any) -> Any:
        from voxelome.segmentation.deepbet import BrainExtractor

        extractor = BrainExtractor(Path(self.inputs.models_dir) / "deepbet", threads=self.inputs.num_threads)
        with blame(path):
            return extractor(data, affine)


def load_prepared(record: StepRecord, label: str) -> Volume:
    """Read an image that :class:`PreprocessSession` made."""
    path = record.path("prepared", image=label)
    if path is None:
        raise DataError(f"the record of {record.unit} has no image {label}", "run preprocess again")
    return load_volume(path)
