"""Images of a visit as a network takes them: which is which, and all on one grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from voxelome.bids.names import split_label
from voxelome.errors import DataError, InputError, blame
from voxelome.imageio import Affine, Array, Form, MaskArray, Volume, load_volume
from voxelome.interfaces.prepared import load_prepared, reference_of
from voxelome.orientation import to_canonical
from voxelome.segmentation.spec import ImageError, InputSpec, NetworkSpec
from voxelome.step import StepRecord

CT = "ct"


@dataclass(frozen=True)
class NetworkInputs:
    """What a network gets of a visit.

    Attributes
    ----------
    labels : list of (str or None)
        Label of the image for each input; None where there is none.
    volumes : list of (ndarray, shape (x, y, z), or None)
    affine : ndarray, shape (4, 4)
    brain : ndarray of bool, shape (x, y, z), or None
    home : str
        Label of the image whose grid they are on.
    grid : Volume
        That image.
    home_source : str
        Its raw image.
    sources : list of str
        Raw images that were used, of the inputs for which there is one.
    form : {'auto', 'sform', 'qform'}
        Which of its header's affines counted where `home` is the raw image itself, as of a CT.
    """

    labels: list[str | None]
    volumes: list[Array | None]
    affine: Affine
    brain: MaskArray | None
    home: str
    grid: Volume
    home_source: str
    sources: list[str]
    form: Form = "auto"

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """Blame what a network cannot use on the image concerned; what concerns all, on that of the grid."""
        try:
            yield
        except ImageError as error:
            there = [index for index, label in enumerate(self.labels) if label is not None]
            source = self.sources[there.index(error.index)]
            raise InputError(source, error.problem, error.remedy) from error
        except InputError:
            raise
        except DataError as error:
            raise InputError(self.home_source, error.problem, error.remedy) from error


def is_input(label: str, wanted: InputSpec) -> bool:
    """Whether an image's label is that of an input's contrast."""
    entities, suffix = split_label(label)
    return suffix == wanted.contrast and ("ceagent" in entities) == wanted.enhanced


def choose(spec: NetworkSpec, labels: Sequence[str]) -> list[str | None]:
    """Label of the image for each input: of several of one contrast the first."""
    return [next((label for label in labels if is_input(label, item)), None) for item in spec.inputs]


def lesser_choices(spec: NetworkSpec, labels: Sequence[str]) -> list[str]:
    """Sentences on inputs of which there are several images, and on which of them was taken."""
    sentences = []
    for item in spec.inputs:
        several = [label for label in labels if is_input(label, item)]
        if len(several) > 1:
            sentences.append(f"{spec.name}: of {', '.join(several)} the first was taken.")
    return sentences


def absences(spec: NetworkSpec, chosen: Sequence[str | None]) -> list[str]:
    """Sentences on inputs that the network does without."""
    pairs = zip(spec.inputs, chosen, strict=True)
    lacking = [item.label for item, label in pairs if label is None]
    return [f"There is no {name}; {spec.name} sees zeros in its place." for name in lacking]


def mri_inputs(prepared: StepRecord, registered: StepRecord, chosen: list[str | None]) -> NetworkInputs:
    """Whole-head images on the grid of the reference, each interpolated once at most."""
    from voxelome.registration.resample import resample

    home = reference_of(prepared)
    grid = load_prepared(prepared, home)
    volumes: list[Array | None] = []
    for label in chosen:
        if label is None or label == home:
            volumes.append(None if label is None else grid.data)
            continue
        image = load_prepared(prepared, label)
        matrix = np.array(registered.find("matrix", image=label)[0]["matrix"])
        moved = resample(
            image.data, image.affine, grid.data.shape, grid.affine, matrix=matrix, order="linear"
        )
        volumes.append(moved)
    mask = prepared.path("brain")
    brain = None if mask is None else load_volume(mask, dtype=None).data > 0
    raw = {item["image"]: str(item["source"]) for item in prepared.find("prepared")}
    sources = [raw[label] for label in chosen if label is not None]
    return NetworkInputs(chosen, volumes, grid.affine, brain, home, grid, raw[home], sources)


def usable_labels(prepared: StepRecord, registered: StepRecord) -> list[str]:
    """Labels of the contrasts that are there and registered, the reference first."""
    home = reference_of(prepared)
    found = [item["image"] for item in prepared.find("prepared")]
    registered_ones = {item["image"] for item in registered.find("image")}
    return sorted((label for label in found if label in registered_ones), key=lambda label: label != home)


def ct_inputs(paths: Sequence[str], spec: NetworkSpec, form: Form = "auto") -> NetworkInputs:
    """The first CT of a visit, in RAS+ order, in Hounsfield units; it stands for every CT input.

    Raises
    ------
    InputError
        It cannot be read, is not 3D, or its header does not say how the head lies.
    """
    from voxelome.anat.checks import check_orientation

    path = str(paths[0])
    volume = load_volume(path, form=form)
    if volume.data.ndim != 3:
        raise InputError(path, f"has {volume.data.ndim} dimensions", "give one volume a CT file")
    with blame(path):
        used = check_orientation(volume.data.shape, volume.qform, volume.sform, form)
    data, affine = to_canonical(volume.data, volume.affine)
    label = Path(path).name.split(".")[0].rsplit("_", 1)[-1]
    chosen: list[str | None] = [label if item.contrast == CT else None for item in spec.inputs]
    volumes: list[Array | None] = [data if item else None for item in chosen]
    grid = replace(volume, data=data, affine=affine)
    sources = [path for item in chosen if item]
    return NetworkInputs(chosen, volumes, affine, None, CT, grid, path, sources, used)
