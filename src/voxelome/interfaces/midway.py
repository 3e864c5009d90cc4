"""Bring all visits of a subject to one space that favours none of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import Directory, File, SimpleInterface, traits

from voxelome import quality
from voxelome.bids.names import split_label, unit_entities, unit_folder
from voxelome.imageio import (
    Affine,
    MaskArray,
    Volume,
    load_json,
    load_volume,
    save_json,
    save_volume,
    sidecar_path,
)
from voxelome.interfaces.base import StepInputs, StepOutputs
from voxelome.interfaces.prepared import load_prepared, reference_of
from voxelome.interfaces.visit import VisitImages
from voxelome.step import StepRecord, recording, use_threads

MIDWAY = "midway"
_SPACE = "halfway between the references of all visits of the subject"


class AlignVisitsInputs(StepInputs):
    """Inputs of :class:`AlignVisits`."""

    prepared = traits.List(File(), mandatory=True, desc="records of preprocess of the visits, in their order")
    registered = traits.List(File(), mandatory=True, desc="records of register of the same visits")
    random_seed = traits.Int(0, usedefault=True, desc="seed of the optimiser's sampling")
    out_dir = Directory(mandatory=True, desc="output dataset")


class AlignVisits(SimpleInterface):
    """Bring all visits of a subject to one space that favours none of them."""

    input_spec = AlignVisitsInputs
    output_spec = StepOutputs

    def _run_interface(self, runtime: Any) -> Any:
        spec = self.inputs
        use_threads(spec.num_threads)
        pairs = zip(spec.prepared, spec.registered, strict=True)
        visits = [_Visit(StepRecord.load(one), StepRecord.load(other)) for one, other in pairs]
        with recording("midway", spec.unit, spec.record) as record:
            usable = [visit for visit in visits if visit.reference]
            for visit in visits:
                if not visit.reference:
                    record.skip(f"{visit.session} in the space of all visits", "it has no usable reference")
            if len(usable) > 1:
                _align(usable, spec, record)
            else:
                record.skip("a space of all visits", "fewer than two visits have a usable reference")
        self._results["record"] = spec.record
        return runtime


@dataclass(frozen=True)
class _Visit:
    """A visit as its own registration left it."""

    prepared: StepRecord
    registered: StepRecord

    @property
    def unit(self) -> str:
        return self.prepared.unit

    @property
    def session(self) -> str:
        return f"ses-{unit_entities(self.unit).get('session', '')}"

    @property
    def reference(self) -> str:
        return reference_of(self.prepared)

    @property
    def brain(self) -> MaskArray:
        mask = _mask(self.prepared, "brain")
        assert mask is not None  # preprocess masks every reference
        return mask

    def matrix(self, label: str) -> Affine:
        """Reference's world to the world of a contrast of this visit."""
        found = self.registered.find("matrix", image=label)
        return np.array(found[0]["matrix"]) if found else np.eye(4)


def _mask(record: StepRecord, role: str) -> MaskArray | None:
    path = record.path(role)
    if path is None:
        return None
    mask: MaskArray = load_volume(path, dtype=None).data > 0
    return mask


def _align(visits: list[_Visit], spec: Any, record: StepRecord) -> None:
    from voxelome.registration import midway

    images = []
    for visit in visits:
        reference = load_prepared(visit.prepared, visit.reference)
        grid = (reference.data, reference.affine)
        images.append(midway.Visit(visit.session, *grid, visit.brain, _mask(visit.registered, "excluded")))
    result = midway.find_midway(images, seed=spec.random_seed, threads=spec.num_threads)
    for visit, matrix in zip(visits, result.matrices, strict=True):
        _carry(visit, matrix, result.shape, result.affine, Path(spec.out_dir), record)
    for pair in result.pairs:
        measures = {
            "mutual information before": pair.mutual_information_before,
            "mutual information after": pair.mutual_information_after,
            "inverse consistency": pair.inverse_consistency,
            "agreement of all pairs": pair.residual,
        }
        name = f"{pair.first} to {pair.second}"
        record.checks += [quality.check(name, measure, value) for measure, value in measures.items()]
    if result.loop_error is not None:
        record.checks.append(quality.check("visits round", "inverse consistency", result.loop_error))
    record.warnings += [*result.notes, *quality.alarms(record.checks)]
    record.parameters = {"visits": [visit.session for visit in visits], "transform": "rigid"}
    record.done.append(f"{len(visits)} visits brought to one space halfway between them (one interpolation).")


def _carry(
    visit: _Visit, matrix: Affine, shape: tuple[int, ...], affine: Affine, out: Path, record: StepRecord
) -> None:
    """Save every contrast of a visit and its brain mask in the common space."""
    from voxelome.registration.resample import resample, save_itk_affine

    entities = unit_entities(visit.unit)
    folder = out / unit_folder(entities["subject"], entities.get("session")) / "anat"
    images = VisitImages(visit.unit, folder, visit.prepared, "", visit.reference)
    reference = load_prepared(visit.prepared, visit.reference)
    brain = resample(
        visit.brain.astype(np.uint8), reference.affine, shape, affine, matrix=matrix, order="label"
    )
    inside: MaskArray = brain > 0
    suffix = split_label(visit.reference)[1]
    transform = images.path("xfm", ".mat", **{"from": suffix, "to": MIDWAY, "mode": "image"})
    save_itk_affine(transform, matrix)
    convention = "common space to reference, RAS mm"
    save_json(sidecar_path(transform), {"Type": "rigid", "Matrix": matrix, "Convention": convention})
    record.add(transform, "matrix", visit=visit.session, space=suffix, matrix=matrix.tolist())
    about = {"Type": "Brain", "Method": "carried from the visit's reference", "SpatialReference": _SPACE}
    path = images.path("mask", space=MIDWAY, desc="brain")
    save_volume(path, inside, affine, {**images.sidecar(visit.reference), **about})
    record.add(path, "midway-mask", visit=visit.session)
    for item in visit.registered.find("image"):
        label = item["image"]
        image: Volume = load_prepared(visit.prepared, label)
        both = visit.matrix(label) @ matrix
        data = resample(image.data, image.affine, shape, affine, matrix=both, order="linear")
        images.remember_scale(label, load_json(sidecar_path(item["path"])))
        data = images.rescale(label, data, inside & (data != 0))
        path = images.save(label, data, affine, space=MIDWAY, of=_SPACE)
        record.add(path, "midway", visit=visit.session, image=label, reference=label == visit.reference)
