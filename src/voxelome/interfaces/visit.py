"""The images of a visit on their way out: names, sidecars, and one scale of intensities each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voxelome.bids.description import source_uri
from voxelome.bids.names import bids_name, split_label, unit_entities
from voxelome.errors import blame
from voxelome.imageio import Affine, Array, FloatArray, MaskArray, save_volume
from voxelome.step import StepRecord

if TYPE_CHECKING:
    from voxelome.anat.landmarks import StandardScale


class VisitImages:
    """Names and saves what registration makes of a visit's images.

    The scale of an image's intensities is found once, in the visit's brain mask in the space of its
    reference. In every other space the original voxels are interpolated once and scaled the same.

    Parameters
    ----------
    unit : str
        Subject and visit.
    out_dir : path
        Folder for the images.
    prepared : StepRecord
        What preprocess left.
    method : str
        Name of the normalisation.
    reference : str
        Label of the reference.
    standard : StandardScale, optional
        Where the landmarks of each contrast lie; for the normalisation ``nyul``.
    """

    def __init__(
        self,
        unit: str,
        out_dir: Path,
        prepared: StepRecord,
        method: str,
        reference: str,
        standard: StandardScale | None = None,
    ) -> None:
        self.unit, self.out_dir, self.prepared, self.method = unit, out_dir, prepared, method
        self.reference, self.standard = reference, standard
        self.scales: dict[str, dict[str, Any]] = {}

    def path(self, suffix: str, extension: str = ".nii.gz", label: str = "", **entities: str) -> Path:
        """Path of an output; the entities of `label` go into its name."""
        extra = split_label(label)[0] if label else {}
        named = {**unit_entities(self.unit), **extra, **entities}
        return self.out_dir / bids_name(named, suffix, extension)

    def source(self, label: str) -> str:
        """Path of the raw image."""
        return str(self.prepared.find("prepared", image=label)[0]["source"])

    def sidecar(self, label: str, **more: Any) -> dict[str, Any]:
        """Sidecar of what was made of an image."""
        return {"Sources": [source_uri(self.source(label))], "SkullStripped": False, **more}

    def scale(self, label: str, data: Array, mask: MaskArray) -> FloatArray:
        """Image with comparable intensities in the mask, 0 outside; the scale is kept for other spaces."""
        from voxelome.anat.normalise import normalise

        if self.standard is not None:
            return self._to_standard(label, data, mask, self.standard)
        with blame(self.source(label)):
            result = normalise(data, mask, self.method, label)
        self.scales[label] = {
            "Units": result.units,
            "Normalisation": self.method,
            "NormalisationOffset": result.offset,
            "NormalisationScale": result.scale,
            "NormalisationParameters": result.parameters,
        }
        return result.data

    def _to_standard(self, label: str, data: Array, mask: MaskArray, standard: StandardScale) -> FloatArray:
        """Image on the standard scale, which is kept for other spaces."""
        from voxelome.anat.landmarks import landmarks_for, landmarks_of
        from voxelome.standard_scale import HIGH, LOW, PERCENTILES

        with blame(self.source(label)):
            found, there = landmarks_of(data[mask]), landmarks_for(standard, label)
            ends = f"{LOW:g} and {HIGH:g} are the mean {PERCENTILES[0]}st and {PERCENTILES[-1]}th percentile"
            self.scales[label] = {
                "Units": f"standard scale of intensities in the brain ({ends})",
                "Normalisation": self.method,
                "NormalisationPercentiles": list(PERCENTILES),
                "NormalisationLandmarks": [float(value) for value in found],
                "NormalisationStandard": list(there),
            }
            return self.rescale(label, data, mask)

    def remember_scale(self, label: str, sidecar: Mapping[str, Any]) -> None:
        """Take the scale of an image from the sidecar of what :meth:`save` wrote earlier."""
        self.scales[label] = {
            key: value for key, value in sidecar.items() if key == "Units" or key.startswith("Normalisation")
        }

    def rescale(self, label: str, data: Array, mask: MaskArray) -> FloatArray:
        """Image in another space on the scale that :meth:`scale` found, 0 outside of the mask."""
        from voxelome.anat.landmarks import apply_landmarks
        from voxelome.anat.normalise import apply_scale

        found = self.scales[label]
        if "NormalisationLandmarks" in found:
            landmarks, standard = found["NormalisationLandmarks"], found["NormalisationStandard"]
            return apply_landmarks(data, mask, landmarks, standard)
        return apply_scale(data, mask, found["NormalisationOffset"], found["NormalisationScale"])

    def save(self, label: str, data: Array, affine: Affine, *, space: str = "", of: str = "") -> Path:
        """Save a normalised image in a space; `of` says what the space is."""
        entities = {"space": space, "desc": "preproc"} if space else {"desc": "preproc"}
        sidecar = self.sidecar(label, **self.scales[label])
        sidecar["SkullStripped"] = True
        if of:
            sidecar["SpatialReference"] = of
        return save_volume(self.path(split_label(label)[1], label=label, **entities), data, affine, sidecar)
