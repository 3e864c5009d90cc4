"""Labels of a visit on their way out: on the grid of every image that wants them, and in templates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from voxelome.bids.description import source_uri
from voxelome.bids.names import bids_name, entity_value, space_label, split_label, unit_entities
from voxelome.imageio import Affine, Array, Volume, save_volume
from voxelome.interfaces.masks import matrix_between
from voxelome.interfaces.tables import save_label_names
from voxelome.step import StepRecord


def output_uri(path: Path | str) -> str:
    """BIDS URI of an image that an earlier step left in the output dataset."""
    return source_uri(path).replace("bids:raw:", "bids::", 1)


@dataclass(frozen=True)
class LabelImage:
    """Labels in RAS+ order, on the grid of one of the visit's images.

    Attributes
    ----------
    name : str
        Such as ``tumor``, or the name of a network.
    labels : ndarray of int, shape (x, y, z)
    affine : ndarray, shape (4, 4)
    names : dict
        Name by label value.
    home : str
        Label of the image on whose grid they are.
    how : str
        How they came onto that grid; empty where they were drawn there.
    sidecar : dict
        What their files say beside space and method: sources, and the network that made them.
    """

    name: str
    labels: Array
    affine: Affine
    names: dict[int, str]
    home: str
    how: str = ""
    sidecar: Mapping[str, Any] = field(default_factory=dict)

    @property
    def table(self) -> dict[str, str]:
        """Names of the labels as a record holds them."""
        return {str(index): label for index, label in self.names.items()}

    @property
    def desc(self) -> str:
        """Its name as an entity of a file's name."""
        return entity_value(self.name)


@dataclass(frozen=True)
class Delivery:
    """Carries labels to the reference, the gradient echoes and the templates of a visit, and saves them.

    Attributes
    ----------
    unit : str
    out_dir : path
    grids : dict of Volume
        Images of the visit by label.
    reference : str
        Label of the reference; empty where there is none.
    gradient_echoes : list of str
        Labels of the gradient-echo acquisitions.
    registered : StepRecord
        What register left.
    """

    unit: str
    out_dir: Path
    grids: Mapping[str, Volume]
    reference: str
    gradient_echoes: list[str]
    registered: StepRecord

    def deliver(self, image: LabelImage, record: StepRecord) -> None:
        """Save labels wherever they are wanted, and note files and volumes in the record."""
        from voxelome.segmentation.carry import carry_labels, label_volumes

        targets = [self.reference] if self.reference else []
        for target in dict.fromkeys([*targets, *self.gradient_echoes]):
            if target not in self.grids:
                record.skip(f"{image.name} on {target}", "the image cannot be used")
                continue
            grid = self.grids[target]
            matrix = matrix_between(self.registered, self.reference, target, image.home)
            carried = carry_labels(image.labels, image.affine, grid.data.shape, grid.affine, matrix)
            method = (
                "copied" if target == image.home else f"carried from {image.home} with the visit's transforms"
            )
            about = {"Method": f"{image.how}, {method}" if image.how else method}
            about["SpatialReference"] = f"the visit's {target}"
            key = split_label(target)[1] if target == self.reference else target
            out = self._save(image, space_label(key), carried, grid.affine, about)
            record.add(out, "labels", name=image.name, space=key, names=image.table)
            present = {index for index in image.names if (image.labels == index).any()}
            record.warnings += [
                f"{image.name}: {image.names[index]} has no voxel left on the grid of {target}."
                for index in sorted(present)
                if not (carried == index).any()
            ]
        self._to_templates(image, record)
        volumes = label_volumes(image.labels, image.affine)
        record.quality |= {
            f"{image.name} {name} (ml)": round(volumes.get(index, 0.0), 3)
            for index, name in image.names.items()
        }

    def _to_templates(self, image: LabelImage, record: StepRecord) -> None:
        """Carry labels from where they were made to every template space, in one interpolation."""
        from voxelome.registration.resample import load_itk_warp, resample

        for item in self.registered.find("warp"):
            displacement, affine = load_itk_warp(item["path"])
            carried = resample(
                image.labels,
                image.affine,
                displacement.shape[:3],
                affine,
                matrix=matrix_between(self.registered, self.reference, self.reference, image.home),
                displacement=displacement,
                order="label",
            )
            about = {"Method": f"carried from {image.home}", "SpatialReference": item["space"]}
            out = self._save(image, item["space"], carried, affine, about)
            record.add(out, "template-labels", name=image.name, space=item["space"], names=image.table)

    def _save(
        self, image: LabelImage, space: str, labels: Array, affine: Affine, about: dict[str, str]
    ) -> Path:
        out = self.path("dseg", ".nii.gz", space=space, desc=image.desc)
        save_volume(out, labels, affine, {**image.sidecar, **about})
        save_label_names(out, image.names)
        return out

    def path(self, suffix: str, extension: str, **entities: str) -> Path:
        """Path of an output of the visit."""
        return self.out_dir / bids_name({**unit_entities(self.unit), **entities}, suffix, extension)
