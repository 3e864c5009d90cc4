"""Bring the contrasts of a visit to its reference, and all of them to the template."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from nipype.interfaces.base import Directory, File, SimpleInterface, traits

from voxelome import quality
from voxelome.bids.names import bids_name, space_label, split_label, unit_entities
from voxelome.bids.spaces import parse_spaces
from voxelome.errors import InputError
from voxelome.imageio import (
    Affine,
    MaskArray,
    Volume,
    load_volume,
    save_json,
    save_text,
    save_volume,
    sidecar_path,
)
from voxelome.interfaces.base import StepInputs, StepOutputs
from voxelome.interfaces.masks import home_of, load_labels, union
from voxelome.interfaces.prepared import load_prepared, prepared_grids, reference_of
from voxelome.interfaces.visit import VisitImages
from voxelome.step import StepRecord, recording, use_threads

if TYPE_CHECKING:
    from voxelome.anat.landmarks import StandardScale


class RegisterInputs(StepInputs):
    """Inputs of :class:`RegisterSession`."""

    prepared = File(mandatory=True, desc="record of preprocess for this visit")
    gradient_echoes = traits.List(
        traits.Str(),
        value=[],
        usedefault=True,
        desc="labels that are gradient-echo magnitudes: they keep their own space",
    )
    lesions = traits.List(
        File(),
        desc="masks on the grids of the visit's images: left out in the comparison with the template",
    )
    other_grids = traits.Enum(
        "refuse", "resample", usedefault=True, desc="what to do with masks of lesions on no image's grid"
    )
    affine = traits.Enum(
        "auto", "sform", "qform", usedefault=True, desc="which affine of a lesion mask's header counts"
    )
    transform = traits.Enum(
        "rigid", "affine", usedefault=True, desc="transform of the contrasts to the reference"
    )
    normalisation = traits.Enum(
        "zscore",
        "whitestripe",
        "percentile",
        "nyul",
        "none",
        usedefault=True,
        desc="how intensities in the brain are made comparable",
    )
    landmarks = File(exists=True, desc="standard scale that other people's images taught, for nyul")
    output_spaces = traits.List(
        traits.Str(),
        value=[],
        usedefault=True,
        desc="template spaces, such as MNI152NLin2009aSym:res-2, or files of templates",
    )
    random_seed = traits.Int(0, usedefault=True, desc="seed of the optimiser's sampling")
    out_dir = Directory(mandatory=True, desc="anat folder of the visit in the output dataset")


class RegisterSession(SimpleInterface):
    """Bring the contrasts of a visit to its reference, and all of them to the template."""

    input_spec = RegisterInputs
    output_spec = StepOutputs

    def _run_interface(self, runtime: Any) -> Any:
        spec = self.inputs
        use_threads(spec.num_threads)
        prepared = StepRecord.load(spec.prepared)
        with recording("register", spec.unit, spec.record) as record:
            if reference_of(prepared):
                _Session(spec, prepared, record).run()
            else:
                record.done.append("Nothing to register: the visit has no reference image.")
            _save_quality(spec, [*prepared.checks, *record.checks], record)
        self._results["record"] = spec.record
        return runtime


def _save_quality(spec: Any, checks: list[dict[str, Any]], record: StepRecord) -> None:
    """Write the visit's measures with their traffic lights; those that are red are warnings, too."""
    if not checks:
        return
    name = bids_name({**unit_entities(spec.unit), "desc": "preproc"}, "quality", ".tsv")
    record.add(save_text(Path(spec.out_dir) / name, quality.table(checks)), "quality")
    record.warnings += quality.alarms(record.checks)


class _Session:
    """One visit's registration: the reference and what has been found about it."""

    def __init__(self, spec: Any, prepared: StepRecord, record: StepRecord) -> None:
        self.spec, self.prepared, self.record = spec, prepared, record
        self.label = reference_of(prepared)
        self.space = split_label(self.label)[1]
        self.reference = load_prepared(prepared, self.label)
        brain = prepared.path("brain")
        assert brain is not None  # preprocess masks every reference
        self.brain: MaskArray = load_volume(brain, dtype=None).data > 0
        folder, scale = Path(spec.out_dir), self._scale()
        self.images = VisitImages(spec.unit, folder, prepared, spec.normalisation, self.label, scale)
        self.matrices: dict[str, Affine] = {}

    def _scale(self) -> StandardScale | None:
        """The standard scale, where intensities are brought to one."""
        from voxelome.anat.landmarks import load_scale

        if self.spec.normalisation != "nyul":
            return None
        return load_scale(Path(self.spec.landmarks))

    def run(self) -> None:
        spaces = parse_spaces(list(self.spec.output_spaces))
        self.record.parameters = {
            "reference": self.label,
            "transform": self.spec.transform,
            "normalisation": self.spec.normalisation,
            "output spaces": ", ".join(space.name for space in spaces) or "none",
        }
        if standard := self.images.standard:
            people = len(standard.participants)
            self.record.parameters["standard scale"] = (
                f"learned from {people} participants of {standard.dataset}"
            )
        self._save_reference()
        for output in self.prepared.find("prepared"):
            label = output["image"]
            try:
                if label in self.spec.gradient_echoes:
                    self._register_gradient_echo(label)
                elif label != self.label:
                    self._register_contrast(label)
            except InputError as error:
                self.record.reject(error)
        if spaces:
            from voxelome.interfaces.to_template import carry_to_template

            lesion = self._lesion()
            for space in spaces:
                carry_to_template(
                    self.images, space, self.matrices, self.brain, lesion, self.spec, self.record
                )

    def _save_reference(self) -> None:
        sidecar = {
            **self.images.sidecar(self.label),
            "Type": "Brain",
            "Method": self.prepared.parameters["brain mask"],
        }
        path = save_volume(self.images.path("mask", desc="brain"), self.brain, self.reference.affine, sidecar)
        self.record.add(path, "mask", space=self.space, name="brain")
        data = self.images.scale(self.label, self.reference.data, self.brain)
        path = self.images.save(self.label, data, self.reference.affine)
        self.record.add(path, "image", image=self.label, space=self.space)
        self.matrices[self.label] = np.eye(4)

    def _register(self, label: str, moving: Volume) -> Affine:
        """Matrix from the reference's world to the image's, checked there and back, and for its sides.

        Raises
        ------
        InputError
            The image or the reference has left and right exchanged.
        """
        from voxelome.registration.rigid import inverse_consistency, register_rigid

        spec = self.spec
        options = {
            "affine": spec.transform == "affine",
            "seed": spec.random_seed,
            "threads": spec.num_threads,
        }
        fixed = (self.reference.data, self.reference.affine)
        result = register_rigid(moving.data, moving.affine, *fixed, fixed_mask=self.brain, **options)
        matrix = result.matrix
        there = self._carry_brain(moving, matrix)
        measures = {
            "movement": float(np.linalg.norm((matrix @ self._centre() - self._centre())[:3])),
            "mutual information before": result.mutual_information_before,
            "mutual information after": result.mutual_information_after,
        }
        if there.any():
            back = register_rigid(*fixed, moving.data, moving.affine, fixed_mask=there, **options)
            measures["inverse consistency"] = inverse_consistency(
                matrix, back.matrix, self.brain, self.reference.affine
            )
        self._judge(label, measures)
        self._check_sides(label, moving, matrix)
        sentences = [f"{label}: {note}" for note in result.notes]
        (self.record.warnings if result.doubtful else self.record.done).extend(sentences)
        self._save_matrix(label, matrix)
        self.matrices[label] = matrix
        return matrix

    def _check_sides(self, label: str, moving: Volume, matrix: Affine) -> None:
        """Refuse an image that fits the reference clearly better when left and right are exchanged."""
        from voxelome.registration.laterality import check_laterality

        fixed = (self.reference.data, self.reference.affine, self.brain)
        options = {"seed": self.spec.random_seed, "threads": self.spec.num_threads}
        found = check_laterality(moving.data, moving.affine, *fixed, matrix, **options)
        self._judge(label, {"mirrored fit": found.ratio})
        if found.verdict == "mirrored":
            reference = Path(self.images.source(self.label)).name
            raise InputError(
                self.images.source(label),
                f"fits {reference} clearly better with left and right exchanged "
                f"({found.mirrored_mutual_information:.2f} bits against {found.mutual_information:.2f})",
                "the header of one of the two is wrong: find out which, and convert it again from DICOM",
            )

    def _judge(self, label: str, measures: dict[str, float]) -> None:
        self.record.checks += [quality.check(label, name, value) for name, value in measures.items()]

    def _carry_brain(self, moving: Volume, matrix: Affine) -> MaskArray:
        """Brain mask of the reference on another image's grid."""
        from voxelome.registration.resample import resample

        brain = resample(
            self.brain.astype(np.uint8),
            self.reference.affine,
            moving.data.shape,
            moving.affine,
            matrix=np.asarray(np.linalg.inv(matrix), dtype=np.float64),
            order="nearest",
        )
        inside: MaskArray = brain > 0
        return inside

    def _centre(self) -> Any:
        """Centre of the brain in world coordinates, homogeneous."""
        return self.reference.affine @ np.append(np.argwhere(self.brain).mean(axis=0), 1.0)

    def _save_matrix(self, label: str, matrix: Affine) -> None:
        """Write the transform that brings the image to the reference, in ITK's form."""
        from voxelome.registration.resample import save_itk_affine

        path = self.images.path(
            "xfm", ".mat", **{"from": space_label(label), "to": self.space, "mode": "image"}
        )
        save_itk_affine(path, matrix)
        content = {"Type": self.spec.transform, "Matrix": matrix}
        save_json(sidecar_path(path), {**content, "Convention": "reference to image, RAS mm"})
        self.record.add(path, "matrix", image=label, matrix=[[float(x) for x in row] for row in matrix])

    def _register_contrast(self, label: str) -> None:
        from voxelome.registration.resample import resample

        moving = load_prepared(self.prepared, label)
        matrix = self._register(label, moving)
        shape, affine = self.reference.data.shape, self.reference.affine
        data = resample(moving.data, moving.affine, shape, affine, matrix=matrix, order="linear")
        covered = self.brain & (data != 0)
        data = self.images.scale(label, data, covered)
        path = self.images.save(label, data, affine, space=self.space, of=f"the visit's {self.label}")
        self.record.add(path, "image", image=label, space=self.space)
        self._judge(label, {"brain covered": 100 * float(covered.sum() / self.brain.sum())})
        self.record.done.append(
            f"{label} brought to {self.label} ({self.spec.transform}, one interpolation)."
        )

    def _register_gradient_echo(self, label: str) -> None:
        """Find where the brain is in the gradient echo, which keeps its own grid."""
        moving = load_prepared(self.prepared, label)
        brain = self._carry_brain(moving, self._register(label, moving))
        path = self.images.path("mask", space=space_label(label), desc="brain")
        sidecar = {**self.images.sidecar(label), "Type": "Brain", "Method": f"carried from {self.label}"}
        sidecar["SpatialReference"] = f"the visit's {label}"
        save_volume(path, brain, moving.affine, sidecar)
        self.record.add(path, "mask", space=label, name="brain")
        self.record.done.append(f"Brain mask carried from {self.label} to {label}.")

    def _lesion(self) -> MaskArray | None:
        """Lesions on the reference's grid; None where no masks of lesions were given."""
        from voxelome.segmentation.carry import carry_labels

        if not self.spec.lesions:
            return None
        grids = prepared_grids(self.prepared, self.label)
        carried = []
        for path in self.spec.lesions:
            try:
                labels, affine = load_labels(path, self.spec.affine)
                instead = self.label if self.spec.other_grids == "resample" else ""
                home = home_of(path, labels, affine, grids, instead)
            except InputError as error:  # segment refuses it; registration can do without
                self.record.skip(f"leaving out the lesion of {Path(path).name}", error.problem)
                continue
            if home not in self.matrices:
                self.record.skip(f"leaving out the lesion of {Path(path).name}", f"{home} cannot be used")
                continue
            grid = (self.reference.data.shape, self.reference.affine)
            carried.append(carry_labels(labels, affine, *grid, self.matrices[home]))
        if not carried:
            return None
        lesion = union(carried)
        path = self.images.path("mask", desc="excluded")
        about = {
            "Type": "Lesion",
            "Method": "left out where brains of others, or of other visits, are compared",
        }
        save_volume(path, lesion, self.reference.affine, {**self.images.sidecar(self.label), **about})
        self.record.add(path, "excluded", space=self.space)
        return lesion
