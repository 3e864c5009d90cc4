"""Bring the contrasts of a visit to its reference, and the reference to the template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import Directory, File, SimpleInterface, traits

from voxelome.bids.description import source_uri
from voxelome.bids.names import bids_name, split_label, unit_entities
from voxelome.errors import blame
from voxelome.imageio import MaskArray, Volume, load_volume, save_json, save_volume, sidecar_path
from voxelome.interfaces.base import StepInputs, StepOutputs
from voxelome.interfaces.preprocess import load_prepared
from voxelome.step import StepRecord, recording, use_threads

TEMPLATE = "MNI152NLin2009aSym"


class RegisterInputs(StepInputs):
    """Inputs of :class:`RegisterSession`."""

    prepared = File(mandatory=True, desc="record of preprocess for this visit")
    reference = traits.Str("", usedefault=True, desc="label of the reference image; empty if there is none")
    gradient_echoes = traits.List(
        traits.Str(), desc="labels that are gradient-echo magnitudes: they keep their own space"
    )
    template_spacing = traits.Float(
        1.0, usedefault=True, desc="voxel size of the template space in mm: 1 or 2"
    )
    random_seed = traits.Int(0, usedefault=True, desc="seed of the optimiser's sampling")
    out_dir = Directory(mandatory=True, desc="anat folder of the visit in the output dataset")


class RegisterSession(SimpleInterface):
    """Bring the contrasts of a visit to its reference, and the reference to the template."""

    input_spec = RegisterInputs
    output_spec = StepOutputs

    def _run_interface(self, runtime: Any) -> Any:
        spec = self.inputs
        use_threads(spec.num_threads)
        prepared = StepRecord.load(spec.prepared)
        with recording("register", spec.unit, spec.record) as record:
            if spec.reference:
                _Session(spec, prepared, record).run()
            else:
                record.done.append("Nothing to register: the visit has no reference image.")
        self._results["record"] = spec.record
        return runtime


class _Session:
    """One visit's registration: the reference and what has been found about it."""

    def __init__(self, spec: Any, prepared: StepRecord, record: StepRecord) -> None:
        self.spec, self.prepared, self.record = spec, prepared, record
        self.entities = unit_entities(spec.unit)
        self.out = Path(spec.out_dir)
        self.space = split_label(spec.reference)[1]
        self.reference = load_prepared(prepared, spec.reference)
        brain = prepared.path("brain")
        assert brain is not None  # preprocess masks every reference
        self.brain: MaskArray = load_volume(brain, dtype=None).data > 0

    def run(self) -> None:
        self.record.parameters = {"reference": self.spec.reference, "template": TEMPLATE}
        self._save_reference()
        for output in self.prepared.find("prepared"):
            if output["image"] in self.spec.gradient_echoes:
                self._register_gradient_echo(output["image"])
            elif output["image"] != self.spec.reference:
                self._register_contrast(output["image"])
        self._register_template()

    def _path(self, suffix: str, extension: str = ".nii.gz", label: str = "", **entities: str) -> Path:
        extra = split_label(label)[0] if label else {}
        return self.out / bids_name({**self.entities, **extra, **entities}, suffix, extension)

    def _sidecar(self, label: str, **more: Any) -> dict[str, Any]:
        source = self.prepared.find("prepared", image=label)[0]["source"]
        return {"Sources": [source_uri(source)], "SkullStripped": False, **more}

    def _normalised(self, label: str, data: Any, mask: MaskArray) -> Any:
        from voxelome.anat.normalise import zscore

        with blame(self.prepared.find("prepared", image=label)[0]["source"]):
            return zscore(data, mask)

    def _save_reference(self) -> None:
        label, suffix = self.spec.reference, self.space
        mask_path = self._path("mask", desc="brain")
        sidecar = {**self._sidecar(label), "Type": "Brain", "Method": self.prepared.parameters["brain mask"]}
        save_volume(mask_path, self.brain, self.reference.affine, sidecar)
        self.record.add(mask_path, "mask", space=suffix, name="brain")
        path = self._path(suffix, label=label, desc="preproc")
        data = self._normalised(label, self.reference.data, self.brain)
        units = {"Units": "z-score in the brain mask"}
        save_volume(path, data, self.reference.affine, self._sidecar(label, **units, SkullStripped=True))
        self.record.add(path, "image", image=label, space=suffix)

    def _rigid(self, label: str, moving: Volume) -> Any:
        from voxelome.registration.rigid import register_rigid

        result = register_rigid(
            moving.data,
            moving.affine,
            self.reference.data,
            self.reference.affine,
            fixed_mask=self.brain,
            seed=self.spec.random_seed,
            threads=self.spec.num_threads,
        )
        shift = result.matrix[:3, :3] @ self._centre() + result.matrix[:3, 3] - self._centre()
        self.record.quality[f"{label} movement (mm)"] = round(float(np.linalg.norm(shift)), 2)
        self.record.quality[f"{label} mutual information before"] = round(result.mutual_information_before, 4)
        self.record.quality[f"{label} mutual information after"] = round(result.mutual_information_after, 4)
        sentences = [f"{label}: {note}" for note in result.notes]
        (self.record.warnings if result.doubtful else self.record.done).extend(sentences)
        self._save_matrix(label, result.matrix)
        return result.matrix

    def _centre(self) -> Any:
        """Centre of the brain in world coordinates."""
        centre = np.append(np.argwhere(self.brain).mean(axis=0), 1.0)
        return (self.reference.affine @ centre)[:3]

    def _save_matrix(self, label: str, matrix: Any) -> None:
        """Write the transform that brings the image to the reference, in ITK's form."""
        from voxelome.registration.resample import save_itk_affine

        name = label.replace("-", "").replace("_", "")
        path = self._path("xfm", ".mat", **{"from": name, "to": self.space, "mode": "image"})
        save_itk_affine(path, matrix)
        save_json(
            sidecar_path(path),
            {"Type": "rigid", "Matrix": matrix, "Convention": "reference to image, RAS mm"},
        )
        self.record.add(path, "matrix", image=label, matrix=[[float(x) for x in row] for row in matrix])

    def _register_contrast(self, label: str) -> None:
        from voxelome.registration.resample import resample

        moving = load_prepared(self.prepared, label)
        matrix = self._rigid(label, moving)
        shape, affine = self.reference.data.shape, self.reference.affine
        data = resample(moving.data, moving.affine, shape, affine, matrix=matrix, order="linear")
        path = self._path(split_label(label)[1], label=label, space=self.space, desc="preproc")
        covered = self.brain & (data != 0)
        sidecar = self._sidecar(label, Units="z-score in the brain mask", SkullStripped=True)
        sidecar["SpatialReference"] = f"the visit's {self.spec.reference}"
        save_volume(path, self._normalised(label, data, covered), affine, sidecar)
        self.record.add(path, "image", image=label, space=self.space)
        self.record.quality[f"{label} brain covered (%)"] = round(
            100 * float(covered.sum() / self.brain.sum()), 1
        )
        self.record.done.append(f"{label} brought to {self.spec.reference} (rigid, one interpolation).")

    def _register_gradient_echo(self, label: str) -> None:
        """Find where the brain is in the gradient echo, which keeps its own grid."""
        from voxelome.registration.resample import resample

        moving = load_prepared(self.prepared, label)
        matrix = self._rigid(label, moving)
        brain = resample(
            self.brain.astype(np.uint8),
            self.reference.affine,
            moving.data.shape,
            moving.affine,
            matrix=np.linalg.inv(matrix),
            order="nearest",
        )
        space = label.replace("-", "").replace("_", "")
        path = self._path("mask", space=space, desc="brain")
        sidecar = {**self._sidecar(label), "Type": "Brain", "Method": f"carried from {self.spec.reference}"}
        sidecar["SpatialReference"] = f"the visit's {label}"
        save_volume(path, brain > 0, moving.affine, sidecar)
        self.record.add(path, "mask", space=label, name="brain")
        self.record.done.append(f"Brain mask carried from {self.spec.reference} to {label}.")

    def _register_template(self) -> None:
        from voxelome.registration.resample import resample
        from voxelome.registration.template import load_template, register_template

        template, affine, template_mask = load_template(self.spec.template_spacing)
        brain = np.where(self.brain, self.reference.data, 0)
        result = register_template(
            brain,
            self.reference.affine,
            self.brain,
            template,
            affine,
            template_mask,
            threads=self.spec.num_threads,
            seed=self.spec.random_seed,
        )
        to_template: dict[str, Any] = {"matrix": result.affine, "displacement": result.displacement}
        normalised = self._normalised(self.spec.reference, self.reference.data, self.brain)
        data = resample(
            normalised, self.reference.affine, template.shape, affine, order="linear", **to_template
        )
        warp = self._path("xfm", **{"from": self.space, "to": TEMPLATE, "mode": "image"})
        convention = "template point + displacement, then Matrix, gives the point in the reference; RAS mm"
        save_volume(warp, result.displacement, affine, {"Matrix": result.affine, "Convention": convention})
        self.record.add(
            warp, "warp", space=TEMPLATE, matrix=[[float(x) for x in row] for row in result.affine]
        )
        mask = resample(
            self.brain.astype(np.uint8),
            self.reference.affine,
            template.shape,
            affine,
            order="nearest",
            **to_template,
        )
        path = self._path(self.space, label=self.spec.reference, space=TEMPLATE, desc="preproc")
        data[mask == 0] = 0
        save_volume(path, data, affine, self._sidecar(self.spec.reference, SkullStripped=True))
        self.record.add(path, "image", image=self.spec.reference, space=TEMPLATE)
        outline = self._path("mask", space=TEMPLATE, desc="brain")
        note = {**self._sidecar(self.spec.reference), "Type": "Brain", "Method": "carried to the template"}
        save_volume(outline, mask > 0, affine, note)
        self.record.add(outline, "template-mask", space=TEMPLATE, name="brain")
        overlap = (
            2 * float(((mask > 0) & template_mask).sum()) / float((mask > 0).sum() + template_mask.sum())
        )
        self.record.quality["template brain overlap (Dice)"] = round(overlap, 3)
        self.record.quality["template Jacobian minimum"] = round(result.jacobian_min, 3)
        self.record.quality["template Jacobian maximum"] = round(result.jacobian_max, 3)
        self.record.done.append(
            f"{self.spec.reference} brought to {TEMPLATE} (affine and SyN, one interpolation)."
        )
