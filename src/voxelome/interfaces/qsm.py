"""Reconstruct R2*, SWI and susceptibility from one gradient-echo acquisition."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nipype.interfaces.base import Directory, File, SimpleInterface, traits

from voxelome.bids.description import source_uri
from voxelome.bids.names import bids_name, split_label, unit_entities
from voxelome.errors import InputError, blame
from voxelome.imageio import Volume, load_volume, save_volume
from voxelome.interfaces.base import StepInputs, StepOutputs
from voxelome.interfaces.gradient_echo import Images, image_warnings, load_images, magnitude_paths
from voxelome.orientation import reorder_like
from voxelome.step import StepRecord, recording, use_threads

TISSUE = "tissue mask from the magnitude"
UNITS = {
    "Chimap": "ppm",
    "R2starmap": "1/s",
    "T2starmap": "s",
    "S0map": "arbitrary",
    "fieldmap": "Hz",
    "swi": "arbitrary",
    "minIP": "arbitrary",
}
# Names of the maps of each kind of source, with what their sidecars say.
SEPARATED = {
    "desc-paramagnetic_Chimap": {"Description": "Susceptibility of paramagnetic sources (iron), from 0 up"},
    "desc-diamagnetic_Chimap": {
        "Description": "Susceptibility of diamagnetic sources (myelin, calcium), from 0 down"
    },
}
ERROR_OF_CHI = {
    "Units": "ppm",
    "Description": "Standard error of the susceptibility that the noise of the phase causes",
}
# By the desc of their names.
FIELD_MAPS: dict[str | None, dict[str, str]] = {
    None: {"Units": "Hz", "Description": "Frequency shift by the total field, above 0 where it is raised"},
    "ppm": {"Units": "ppm", "Description": "The same frequency shift relative to that of the main field"},
    "local": {"Units": "ppm", "Description": "Relative frequency shift by the sources in the mask alone"},
    "standarderror": {"Units": "Hz", "Description": "Standard error of the frequency that noise causes"},
    "residual": {"Units": "rad", "Description": "Root mean square of measured minus fitted phase"},
}


class QSMInputs(StepInputs):
    """Inputs of :class:`ReconstructQSM`."""

    label = traits.Str(mandatory=True, desc="name of the acquisition, such as acq-fast_MEGRE")
    magnitude = traits.List(File(), value=[], usedefault=True, desc="magnitude images, one an echo")
    phase = traits.List(File(), value=[], usedefault=True, desc="phase images, one an echo")
    real = traits.List(
        File(),
        value=[],
        usedefault=True,
        desc="real images, one an echo; used where magnitude or phase lacks",
    )
    imaginary = traits.List(File(), value=[], usedefault=True, desc="imaginary images, one an echo")
    echo_times = traits.List(traits.Float(), desc="echo times in s, in the order of the images")
    phase_times = traits.List(
        traits.Float(),
        value=[],
        usedefault=True,
        desc="echo times in s of the phase or imaginary images; none: those of the magnitude",
    )
    phase_difference = traits.Bool(
        False, usedefault=True, desc="the phase is the difference of two echoes, which cannot be used"
    )
    field_strength = traits.Float(0.0, usedefault=True, desc="field strength in T; 0 means unknown")
    phase_units = traits.Str(
        "", usedefault=True, desc="Units of the phase sidecars, such as rad or arbitrary"
    )
    registered = File(mandatory=True, desc="record of register for this visit (its brain mask is used)")
    background = traits.Enum(
        "pdf",
        "vsharp",
        "resharp",
        "lbv",
        "ismv",
        usedefault=True,
        desc="background removal: projection onto dipole fields, spheres (two ways), Laplacian boundaries, "
        "spheres from the rim",
    )
    inversion = traits.Enum(
        "tv",
        "nltv",
        "medi",
        "tgv",
        "ndi",
        "tkd",
        "rts",
        "tikhonov",
        usedefault=True,
        desc="dipole inversion: total variation (linear, nonlinear, by the magnitude's edges, generalised), "
        "nonlinear descent, thresholded, two-step or Tikhonov",
    )
    regularisation = traits.Range(
        low=0.0,
        value=0.0,
        usedefault=True,
        desc="weight of the inversion, or threshold of tkd and rts; 0: chosen from the noise of the field",
    )
    manufacturer = traits.Str("", usedefault=True, desc="Manufacturer of the scanner; empty: unknown")
    phase_sign = traits.Enum(
        "vendor",
        "positive",
        "negative",
        usedefault=True,
        desc="sign of the phase of a field stronger than the main field: +gamma B TE or -gamma B TE, or as "
        "the manufacturer stores it (positive where that is not known)",
    )
    unwrapping = traits.Enum(
        "romeo",
        "laplacian",
        usedefault=True,
        desc="phase unwrapping over space: region growing, or by the Laplacian (loses a harmonic part)",
    )
    field_fit = traits.Enum(
        "linear",
        "nonlinear",
        usedefault=True,
        desc="fit of the field over the echoes: of the phase, or of the complex signal",
    )
    relaxometry = traits.Enum(
        "linear",
        "arlo",
        usedefault=True,
        desc="R2*: weighted fit of the logarithm, or ARLO, which needs evenly spaced echoes",
    )
    reference = traits.Enum(
        "brain",
        "csf",
        "none",
        usedefault=True,
        desc="what has susceptibility 0: mean of the mask, fluid of the ventricles, nothing known",
    )
    shading = traits.Enum(
        "fluid",
        "none",
        usedefault=True,
        desc="what takes smooth shading out of the map: the fluid, whose susceptibility is one, or nothing",
    )
    swi = traits.Enum(
        "classic",
        "clear",
        usedefault=True,
        desc="susceptibility-weighted image: linear phase mask, or even brightness and a sigmoid one",
    )
    two_pass = traits.Bool(
        False, usedefault=True, desc="make a second map of strong sources, so that they do not streak"
    )
    separation = traits.Bool(
        False, usedefault=True, desc="make maps of paramagnetic and diamagnetic sources, of 3 echoes or more"
    )
    affine = traits.Enum("auto", "sform", "qform", usedefault=True, desc="which of a header's affines counts")
    out_dir = Directory(mandatory=True, desc="anat folder of the visit in the output dataset")


class ReconstructQSM(SimpleInterface):
    """Reconstruct R2*, SWI and susceptibility from one gradient-echo acquisition."""

    input_spec = QSMInputs
    output_spec = StepOutputs

    def _run_interface(self, runtime: Any) -> Any:
        spec = self.inputs
        use_threads(spec.num_threads)
        with recording("qsm", spec.unit, spec.record) as record:
            images = load_images(spec)
            if images.how:
                record.parameters["phase"] = images.how
            mask = self._mask(images.grid, images.magnitude, record)
            record.warnings += image_warnings(images, mask, spec)
            if images.phase is None:
                self._relax(images.magnitude, mask, images.grid.affine, record)
            else:
                self._reconstruct(images, mask, record)
        self._results["record"] = spec.record
        return runtime

    def _mask(self, first: Volume, magnitude: Any, record: StepRecord) -> Any:
        """Brain mask from the visit's reference, or a tissue mask from the magnitude itself."""
        from voxelome.qsm.masking import magnitude_mask

        carried = StepRecord.load(self.inputs.registered).path("mask", space=self.inputs.label, name="brain")
        if carried is not None:
            record.parameters["mask"] = "brain mask of the visit's reference"
            mask = load_brain(carried, first)
            if mask.shape != first.data.shape:
                raise InputError(
                    carried,
                    f"has shape {mask.shape}, the gradient echo {first.data.shape}",
                    "register the visit again",
                )
            return mask
        with blame(magnitude_paths(self.inputs)[0]):
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

    def _reconstruct(self, images: Images, mask: Any, record: StepRecord) -> None:
        from voxelome.qsm.dipole import field_direction
        from voxelome.qsm.fieldmap import ECHO_FIT, UNWRAPPING
        from voxelome.qsm.pipeline import LEFT_IN, reconstruct
        from voxelome.qsm.relaxometry import RELAXOMETRY
        from voxelome.qsm.separation import FEWEST_ECHOES
        from voxelome.qsm.susceptibility import QSMSettings

        spec = self.inputs
        affine, echoes = images.grid.affine, images.magnitude.shape[-1]
        settings = QSMSettings(
            background=spec.background,
            inversion=spec.inversion,
            regularisation=spec.regularisation or None,
            reference=spec.reference,
            shading=spec.shading,
            swi=spec.swi,
            unwrapping=spec.unwrapping,
            field_fit=spec.field_fit,
            relaxometry=spec.relaxometry,
            two_pass=spec.two_pass,
            separation=spec.separation,
        )
        with blame(magnitude_paths(spec)[0]):
            result = reconstruct(
                images.magnitude,
                images.phase,
                list(spec.echo_times),
                spec.field_strength,
                affine,
                mask,
                settings,
                threads=spec.num_threads,
            )
        maps: dict[str, Any] = {"Chimap": result.chi, "swi": result.swi, "minIP": result.minip}
        several = result.r2star is not None
        if several:
            record.parameters["R2* fit"] = RELAXOMETRY[spec.relaxometry]
            maps |= {"R2starmap": result.r2star, "T2starmap": result.t2star, "S0map": result.s0}
        else:
            record.skip("R2*", "there is only one echo")
            record.skip("correction of the phase offset", "it needs two echoes and there is one")
        if why := result.parameters["shading"].partition(f"{LEFT_IN}: ")[2]:
            record.skip("correction of the map's shading", why)
        if result.sources is not None:
            maps |= dict(zip(SEPARATED, result.sources, strict=True))
        elif spec.separation:
            record.skip(
                "separation of sources", f"it needs {FEWEST_ECHOES} echoes or more and there are {echoes}"
            )
        record.parameters |= {
            "phase unwrapping": UNWRAPPING[spec.unwrapping]
            + (", later echoes against the earlier ones" if several and spec.unwrapping == "romeo" else ""),
            "echo combination": ECHO_FIT[spec.field_fit] if several else "none: there is one echo",
            **result.parameters,
            "main field along the voxel axes": ", ".join(f"{part:.3f}" for part in field_direction(affine)),
        }
        self._save(maps, affine, record)
        error = self._path("Chimap", desc="standarderror")
        save_volume(error, result.chi_error, affine, {**self._map_sidecar("Chimap", record), **ERROR_OF_CHI})
        # Not a map: radiomics would take features of it.
        record.add(error, "error", image=self._image("Chimap"), space=spec.label, suffix="Chimap")
        fields = (result.frequency, result.field_ppm, result.local_field_ppm)
        self._save_field((*fields, result.frequency_error, result.phase_residual), affine, record)
        valid = self._path("mask", desc="qsm")
        save_volume(valid, result.mask, affine, {**self._sidecar(), "Type": "ROI"})
        record.add(valid, "mask", space=spec.label, name="qsm")
        record.quality |= {key: round(float(value), 4) for key, value in result.quality.items()}
        record.done.append(
            f"Susceptibility and SWI from {echoes} {'echo' if echoes == 1 else 'echoes'} "
            f"at {spec.field_strength:g} T."
        )
        record.warnings += result.notes

    def _save_field(self, maps: Sequence[Any], affine: Any, record: StepRecord) -> None:
        """Save the fields, standard error and residual: no maps of tissue to take features of."""
        for (desc, words), data in zip(FIELD_MAPS.items(), maps, strict=True):
            path = self._path("fieldmap", **({"desc": desc} if desc else {}))
            save_volume(path, data, affine, {**self._map_sidecar("fieldmap", record), **words})
            record.add(path, "field", space=self.inputs.label, suffix="fieldmap", desc=desc or "frequency")

    def _relax(self, magnitude: Any, mask: Any, affine: Any, record: StepRecord) -> None:
        from voxelome.qsm.pipeline import reconstruct_magnitude_only
        from voxelome.qsm.relaxometry import RELAXOMETRY

        record.skip("SWI and susceptibility", "there is no phase image")
        if magnitude.shape[-1] < 2:
            record.skip("R2*", "there is only one echo")
            return
        with blame(magnitude_paths(self.inputs)[0]):
            r2star, t2star, s0 = reconstruct_magnitude_only(
                magnitude, list(self.inputs.echo_times), mask, self.inputs.relaxometry
            )
        record.parameters["R2* fit"] = RELAXOMETRY[self.inputs.relaxometry]
        self._save({"R2starmap": r2star, "T2starmap": t2star, "S0map": s0}, affine, record)
        record.done.append(f"R2* from {magnitude.shape[-1]} echoes.")

    def _save(self, maps: dict[str, Any], affine: Any, record: StepRecord) -> None:
        for name, data in maps.items():
            entities, suffix = split_label(name)
            path = self._path(suffix, **entities)
            save_volume(path, data, affine, self._map_sidecar(suffix, record) | SEPARATED.get(name, {}))
            image = self._image(suffix, **entities)
            record.add(path, "map", image=image, space=self.inputs.label, suffix=name)

    def _map_sidecar(self, suffix: str, record: StepRecord) -> dict[str, Any]:
        return {
            **self._sidecar(),
            "Units": UNITS[suffix],
            "SkullStripped": record.parameters["mask"] != TISSUE,
            **{k: str(v) for k, v in record.parameters.items()},
        }

    def _image(self, suffix: str, **entities: str) -> str:
        """Name of a map in the feature tables, told apart by the acquisition's entities."""
        return bids_name({**split_label(self.inputs.label)[0], **entities}, suffix, "")

    def _path(self, suffix: str, **entities: str) -> Path:
        extra = split_label(self.inputs.label)[0]
        name = bids_name({**unit_entities(self.inputs.unit), **extra, **entities}, suffix, ".nii.gz")
        return Path(self.inputs.out_dir) / name

    def _sidecar(self) -> dict[str, Any]:
        spec = self.inputs
        sidecar: dict[str, Any] = {
            "Sources": [
                source_uri(path) for path in [*spec.magnitude, *spec.phase, *spec.real, *spec.imaginary]
            ],
            "EchoTime": [float(time) for time in spec.echo_times],
        }
        if spec.field_strength:
            sidecar["MagneticFieldStrength"] = spec.field_strength
        return sidecar


def load_brain(path: Path, target: Volume) -> Any:
    """Brain mask on the acquisition's grid, in the voxel order of `target`."""
    mask = load_volume(path, dtype=None)
    return reorder_like(mask.data, mask.affine, target.affine) > 0
