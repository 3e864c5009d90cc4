"""Reconstruct R2*, SWI and susceptibility from one gradient-echo acquisition."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import Directory, File, SimpleInterface, traits

from voxelome.bids.description import source_uri
from voxelome.bids.names import bids_name, split_label, unit_entities
from voxelome.errors import InputError, blame
from voxelome.imageio import Volume, load_volume, save_volume
from voxelome.interfaces.base import StepInputs, StepOutputs
from voxelome.orientation import reorder_like
from voxelome.step import StepRecord, recording, use_threads

TISSUE = "tissue mask from the magnitude"
UNITS = {
    "Chimap": "ppm",
    "R2starmap": "1/s",
    "T2starmap": "s",
    "S0map": "arbitrary",
    "swi": "arbitrary",
    "minIP": "arbitrary",
}


class QSMInputs(StepInputs):
    """Inputs of :class:`ReconstructQSM`."""

    label = traits.Str(mandatory=True, desc="name of the acquisition, such as acq-fast_MEGRE")
    magnitude = traits.List(File(), value=[], usedefault=True, desc="magnitude images, one an echo")
    phase = traits.List(File(), value=[], usedefault=True, desc="phase images, one an echo")
    echo_times = traits.List(traits.Float(), desc="echo times in s, in the order of the images")
    field_strength = traits.Float(0.0, usedefault=True, desc="field strength in T; 0 means unknown")
    phase_units = traits.Str(
        "", usedefault=True, desc="Units of the phase sidecars, such as rad or arbitrary"
    )
    registered = File(mandatory=True, desc="record of register for this visit (its brain mask is used)")
    inversion = traits.Enum(
        "tv", "tkd", usedefault=True, desc="dipole inversion: total variation or thresholded"
    )
    affine = traits.Enum("auto", "sform", "qform", usedefault=True, desc="which of a header's affines counts")
    out_dir = Directory(mandatory=True, desc="anat folder of the visit in the output dataset")


class ReconstructQSM(SimpleInterface):
    """Reconstruct R2*, SWI and susceptibility from one gradient-echo acquisition."""

    input_spec = QSMInputs
    output_spec = StepOutputs

    def _run_interface(self, runtime: Any) -> Any:
        from voxelome.anat.checks import check_orientation

        spec = self.inputs
        use_threads(spec.num_threads)
        with recording("qsm", spec.unit, spec.record) as record:
            if not spec.magnitude:
                raise InputError(
                    spec.phase[0], "phase has no magnitude image", "add part-mag images of the same echoes"
                )
            volumes = [load_volume(path, form=spec.affine) for path in spec.magnitude]
            magnitude = _stack(volumes, spec.magnitude)
            with blame(spec.magnitude[0]):
                check_orientation(volumes[0].data.shape, volumes[0].qform, volumes[0].sform, spec.affine)
            self._check_times(len(volumes))
            mask = self._mask(volumes[0], magnitude, record)
            if spec.phase:
                self._reconstruct(magnitude, mask, volumes[0].affine, record)
            else:
                self._relax(magnitude, mask, volumes[0].affine, record)
        self._results["record"] = spec.record
        return runtime

    def _check_times(self, echoes: int) -> None:
        times = self.inputs.echo_times
        missing = [path for path, time in zip(self.inputs.magnitude, times, strict=False) if time <= 0]
        if missing or len(times) != echoes:
            where = missing[0] if missing else self.inputs.magnitude[0]
            raise InputError(where, "its sidecar has no EchoTime", "add EchoTime in seconds to the JSON file")

    def _mask(self, first: Volume, magnitude: Any, record: StepRecord) -> Any:
        """Brain mask from the visit's reference, or a tissue mask from the magnitude itself."""
        from voxelome.qsm.masking import magnitude_mask

        carried = StepRecord.load(self.inputs.registered).path("mask", space=self.inputs.label, name="brain")
        if carried is not None:
            record.parameters["mask"] = "brain mask of the visit's reference"
            return load_brain(carried, first)
        with blame(self.inputs.magnitude[0]):
            mask = magnitude_mask(magnitude[..., 0], first.spacing)
        record.parameters["mask"] = TISSUE
        record.warnings.append(
            "The mask was made from the magnitude: it holds all tissue with signal, not the brain alone."
        )
        path = self._path("mask", desc="brain")
        sidecar = {**self._sidecar(), "Type": "ROI", "Method": "Otsu threshold on the first echo's magnitude"}
        save_volume(path, mask, first.affine, sidecar)
        record.add(path, "mask", space=self.inputs.label, name="tissue")
        return mask

    def _reconstruct(self, magnitude: Any, mask: Any, affine: Any, record: StepRecord) -> None:
        from voxelome.qsm.dipole import field_direction
        from voxelome.qsm.phase import phase_to_radians
        from voxelome.qsm.pipeline import QSMSettings, reconstruct

        spec = self.inputs
        volumes = [load_volume(path) for path in spec.phase]
        with blame(spec.phase[0]):
            phase, how = phase_to_radians(
                _stack(volumes, spec.phase), spec.phase_units or None, volumes[0].slope
            )
        record.parameters["phase"] = how
        with blame(spec.magnitude[0]):
            result = reconstruct(
                magnitude,
                phase,
                list(spec.echo_times),
                spec.field_strength,
                affine,
                mask,
                QSMSettings(inversion=spec.inversion),
                threads=spec.num_threads,
            )
        maps: dict[str, Any] = {"Chimap": result.chi, "swi": result.swi, "minIP": result.minip}
        if result.r2star is not None:
            maps |= {"R2starmap": result.r2star, "T2starmap": result.t2star, "S0map": result.s0}
        record.parameters |= {
            "dipole inversion": spec.inversion,
            "reference": "mean over the mask",
            "main field along the voxel axes": ", ".join(f"{part:.3f}" for part in field_direction(affine)),
        }
        self._save(maps, affine, record)
        valid = self._path("mask", desc="qsm")
        save_volume(valid, result.mask, affine, {**self._sidecar(), "Type": "ROI"})
        record.add(valid, "mask", space=spec.label, name="qsm")
        record.quality |= {key: round(float(value), 4) for key, value in result.quality.items()}
        record.done.append(
            f"Susceptibility and SWI from {len(spec.phase)} echoes at {spec.field_strength:g} T."
        )
        record.warnings += result.notes

    def _relax(self, magnitude: Any, mask: Any, affine: Any, record: StepRecord) -> None:
        from voxelome.qsm.pipeline import reconstruct_magnitude_only

        record.skip("SWI and susceptibility", "there is no phase image")
        if magnitude.shape[-1] < 2:
            record.skip("R2*", "there is only one echo")
            return
        with blame(self.inputs.magnitude[0]):
            r2star, t2star, s0 = reconstruct_magnitude_only(magnitude, list(self.inputs.echo_times), mask)
        self._save({"R2starmap": r2star, "T2starmap": t2star, "S0map": s0}, affine, record)
        record.done.append(f"R2* from {magnitude.shape[-1]} echoes.")

    def _save(self, maps: dict[str, Any], affine: Any, record: StepRecord) -> None:
        for suffix, data in maps.items():
            path = self._path(suffix)
            sidecar = {
                **self._sidecar(),
                "Units": UNITS[suffix],
                "SkullStripped": record.parameters["mask"] != TISSUE,
                **{k: str(v) for k, v in record.parameters.items()},
            }
            save_volume(path, data, affine, sidecar)
            record.add(path, "map", image=self._image(suffix), space=self.inputs.label, suffix=suffix)

    def _image(self, suffix: str) -> str:
        """Name of a map in the feature tables, told apart by the acquisition's entities."""
        return bids_name(split_label(self.inputs.label)[0], suffix, "")

    def _path(self, suffix: str, **entities: str) -> Path:
        extra = split_label(self.inputs.label)[0]
        name = bids_name({**unit_entities(self.inputs.unit), **extra, **entities}, suffix, ".nii.gz")
        return Path(self.inputs.out_dir) / name

    def _sidecar(self) -> dict[str, Any]:
        return {
            "Sources": [source_uri(path) for path in [*self.inputs.magnitude, *self.inputs.phase]],
            "EchoTime": [float(time) for time in self.inputs.echo_times],
            "MagneticFieldStrength": self.inputs.field_strength,
        }


def _stack(volumes: list[Volume], paths: list[str]) -> Any:
    """Join echoes into (x, y, z, echo); all must share one grid."""
    for volume, path in zip(volumes, paths, strict=True):
        if volume.data.ndim != 3 or volume.data.shape != volumes[0].data.shape:
            raise InputError(
                path,
                f"has shape {volume.data.shape}, the first echo {volumes[0].data.shape}",
                "all echoes of an acquisition must be 3D on one grid",
            )
        if not np.isfinite(volume.data).all():
            raise InputError(path, "holds NaN or infinite values", "replace them, or export the image again")
    return np.stack([volume.data for volume in volumes], axis=-1)


def load_brain(path: Path, target: Volume) -> Any:
    """Brain mask on the acquisition's grid, in the voxel order of `target`."""
    mask = load_volume(path, dtype=None)
    return reorder_like(mask.data, mask.affine, target.affine) > 0
