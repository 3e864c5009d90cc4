"""Bring all visits of a subject to one space that favours none of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from nipype.interfaces.base import Directory, File, SimpleInterface, traits

from voxelome.imageio import Affine, MaskArray, load_volume
from voxelome.interfaces.base import StepInputs, StepOutputs
from voxelome.interfaces.prepared import reference_of
from voxelome.step import StepRecord, recording, use_threads

MIDWAY = "midway"


class AlignVisitsInputs(StepInputs):
    """Inputs of :class:`AlignVisits`."""

    prepared = traits.List(File(), mandatory=True, desc="records of preprocess of the visits, in their order")
    registered = traits.List(File(), mandatory=True, desc="records of register of the same visits")
    lesions = traits.List(File(), desc="records of segment are not needed: masks of lesions of the visits")
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
        visits = [_Visit.load(StepRecord.load(one), StepRecord.load(other)) for one, other in pairs]
        with recording("midway", spec.unit, spec.record) as record:
            usable = [visit for visit in visits if visit.reference]
            for visit in visits:
                if not visit.reference:
                    record.skip(
                        f"{visit.unit} in the space of all visits", "the visit has no usable reference"
                    )
            if len(usable) > 1:
                _align(usable, spec, record)
            else:
                record.skip("a space of all visits", "fewer than two visits have a usable reference")
        self._results["record"] = spec.record
        return runtime


@dataclass(frozen=True)
class _Visit:
    """A visit as its own registration left it."""

    unit: str
    prepared: StepRecord
    registered: StepRecord

    @classmethod
    def load(cls, prepared: StepRecord, registered: StepRecord) -> _Visit:
        return cls(prepared.unit, prepared, registered)

    @property
    def reference(self) -> str:
        return reference_of(self.prepared)

    @property
    def brain(self) -> MaskArray:
        path = self.prepared.path("brain")
        assert path is not None  # preprocess masks every reference
        mask: MaskArray = load_volume(path, dtype=None).data > 0
        return mask

    def matrix(self, label: str) -> Affine:
        """Reference's world to the world of a contrast of this visit."""
        found = self.registered.find("matrix", image=label)
        return np.array(found[0]["matrix"]) if found else np.eye(4)
