"""What a network takes and gives, as its entry in the registry says: parsed once, read by every part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from voxelome.errors import DataError, listed
from voxelome.segmentation.postprocess_settings import check_steps

Task = Literal["segmentation", "classification", "regression"]
Need = Literal["required", "one", "optional"]
GridKind = Literal["spacing", "conform", "cube"]
Rule = Literal["zscore", "percentile", "window", "none"]
Region = Literal["brain", "nonzero", "image"]
Activation = Literal["softmax", "sigmoid", "none"]


class ImageError(DataError):
    """An image that a network cannot use; `index` is that of its input."""

    def __init__(self, problem: str, remedy: str, index: int = 0) -> None:
        super().__init__(problem, remedy)
        self.index = index


@dataclass(frozen=True)
class InputSpec:
    """One input of a network: a contrast, and how its intensities are scaled.

    Attributes
    ----------
    contrast : str
        BIDS suffix: ``T1w``, ``T2w``, ``FLAIR``, ``PDw`` or ``ct``.
    enhanced : bool
        Whether it is the image after contrast agent.
    need : str
        ``required``; ``one`` (of all inputs of this kind at least one must be there); ``optional``. An absent
        input is a channel of zeros.
    rule : str
        ``zscore`` (mean 0, standard deviation 1 in `region`), ``percentile`` (those of `low` and `high` in
        `region` become 0 and 1), ``window`` (each of `windows` is a channel: its lower edge becomes 0, its
        upper edge 1) or ``none``.
    region : str
        Where the figures of the rule come from: ``brain`` (the brain mask), ``nonzero`` or ``image``.
    low, high : float
        Percentiles of the rule ``percentile``.
    clip : tuple of float or None
        Bounds of the scaled values.
    windows : tuple of (center, width)
        In the units of the image, such as Hounsfield units.
    """

    contrast: str
    enhanced: bool = False
    need: Need = "required"
    rule: Rule = "zscore"
    region: Region = "brain"
    low: float = 0.5
    high: float = 99.5
    clip: tuple[float, float] | None = None
    windows: tuple[tuple[float, float], ...] = ()

    @property
    def channels(self) -> int:
        """Channels that it fills."""
        return len(self.windows) if self.rule == "window" else 1

    @property
    def label(self) -> str:
        """Name for people, such as ``T1w with contrast agent``."""
        return f"{self.contrast} with contrast agent" if self.enhanced else self.contrast


@dataclass(frozen=True)
class GridSpec:
    """Grid that a network works on, and how an image is cut for it.

    Attributes
    ----------
    kind : str
        ``spacing`` (the image resampled to `spacing`, cut into windows of `patch`), ``conform`` (FreeSurfer's
        256^3 grid of 1 mm, whole) or ``cube`` (the field of view resampled to the shape `patch`, whole).
    spacing : tuple of float
        Voxel size in mm along the axes of `orientation`.
    orientation : str
        Axis codes, such as ``RAS``.
    patch : tuple of int
        Shape that the network takes.
    overlap : float
        Share of a window that its neighbour covers too, from 0 to below 1.
    mirror : tuple of int
        Axes along which mirrored passes are made and averaged.
    brain_only : bool
        Whether what is outside the brain mask is set to 0 (after scaling), and the image cropped to it.
    crop : bool
        Whether the image is cropped to the brain though what lies around it stays.
    margin : float
        Millimetres that a crop leaves around the brain.
    """

    kind: GridKind = "spacing"
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    orientation: str = "RAS"
    patch: tuple[int, int, int] = (96, 96, 96)
    overlap: float = 0.5
    mirror: tuple[int, ...] = ()
    brain_only: bool = True
    crop: bool = False
    margin: float = 10.0


@dataclass(frozen=True)
class NetworkSpec:
    """A network: task, inputs, grid, outputs, what is done with them, and its files.

    Attributes
    ----------
    name : str
        As in the registry: a letter, then letters and digits (it becomes the ``desc`` entity).
    task : str
        ``segmentation``, ``classification`` or ``regression``.
    inputs : tuple of InputSpec
        In the order of the channels.
    grid : GridSpec
    activation : str
        What is applied to the network's output: ``softmax`` (channel 0 is the background), ``sigmoid``
        (a channel a label, in their order; a later one is painted over an earlier one) or ``none``
        (the outputs are probabilities of a softmax already).
    labels : dict
        Of a segmentation: name by label value, background left out. Of a classification: name by class,
        from 0. In the order of the channels: of a segmentation by ``sigmoid`` as the entry lists them, else
        by value.
    outcome, unit : str
        Name and unit of the value that a regression gives.
    postprocess : tuple of dict
        Each with ``name`` and its settings, in the order of their use.
    lesions : bool
        Whether the labels are lesions, which are counted, listed and compared between visits.
    members : tuple of str
        Files (ONNX) of the ensemble's members; their probabilities are averaged.
    """

    name: str
    task: Task
    inputs: tuple[InputSpec, ...]
    grid: GridSpec
    activation: Activation
    labels: dict[int, str]
    outcome: str = ""
    unit: str = ""
    postprocess: tuple[dict[str, Any], ...] = ()
    lesions: bool = False
    members: tuple[str, ...] = ()

    @property
    def channels(self) -> int:
        """Channels that the network takes."""
        return sum(item.channels for item in self.inputs)

    @property
    def outputs(self) -> int:
        """Channels, or numbers, that the network gives."""
        if self.task == "regression":
            return 1
        background = self.task == "segmentation" and self.activation != "sigmoid"
        return len(self.labels) + int(background)

    def lacking(self, present: Sequence[bool]) -> str:
        """What it needs and does not get, such as ``FLAIR``; empty where it has all that it needs.

        Parameters
        ----------
        present : sequence of bool
            For each input whether there is an image.
        """
        pairs = list(zip(self.inputs, present, strict=True))
        wanted = [item.label for item, there in pairs if item.need == "required" and not there]
        either = [(item.label, there) for item, there in pairs if item.need == "one"]
        if either and not any(there for _, there in either):
            wanted.append(" or ".join(name for name, _ in either))
        if not wanted and not any(present):
            wanted = [" or ".join(item.label for item in self.inputs)]
        return ", ".join(wanted)


def parse_spec(card: Mapping[str, Any]) -> NetworkSpec:
    """Specification of a network from its card, or from its entry in the registry.

    Parameters
    ----------
    card : mapping
        As config/schemas/model.yaml describes it.

    Raises
    ------
    DataError
        Its parts contradict each other.
    """
    inputs = tuple(InputSpec(**_tuples(item)) for item in card["inputs"])
    grid = GridSpec(**_tuples(card.get("grid", {})))
    outputs = card["outputs"]
    labels = {int(value): str(name) for value, name in outputs.get("labels", {}).items()}
    activation = outputs.get("activation", "softmax")
    if card["task"] != "segmentation" or activation != "sigmoid":
        labels = dict(sorted(labels.items()))
    spec = NetworkSpec(
        name=card["name"],
        task=card["task"],
        inputs=inputs,
        grid=grid,
        activation=activation,
        labels=labels,
        outcome=outputs.get("outcome", ""),
        unit=outputs.get("unit", ""),
        postprocess=tuple(card.get("postprocess", ())),
        lesions=bool(card.get("lesions", False)),
        members=tuple(card.get("members", ())),
    )
    if spec.task != "regression" and not labels:
        raise DataError(f"the network {spec.name} has no labels", "name them in its entry, under outputs")
    if spec.task == "segmentation" and min(labels) < 1:
        raise DataError(f"the network {spec.name} names the label 0", "0 is the background; leave it out")
    if spec.task == "classification" and list(labels) != list(range(len(labels))):
        problem = f"the network {spec.name} has the classes {listed(labels)}"
        raise DataError(problem, f"number them from 0 to {len(labels) - 1}, as its outputs lie")
    if spec.task == "regression" and not spec.outcome:
        raise DataError(f"the network {spec.name} does not say what it predicts", "add outputs: outcome")
    try:
        check_steps(spec.postprocess, labels)
    except DataError as error:
        raise DataError(f"the network {spec.name}: {error.problem}", error.remedy) from error
    for item in inputs:
        if (item.rule == "window") != bool(item.windows):
            problem = f"the network {spec.name}: input {item.label} has the rule {item.rule}"
            raise DataError(problem, "give windows with the rule window, and with no other")
    return spec


def _tuples(item: Mapping[str, Any]) -> dict[str, Any]:
    """Lists of a YAML or JSON file as tuples."""

    def frozen(value: Any) -> Any:
        return tuple(frozen(part) for part in value) if isinstance(value, list) else value

    return {key: frozen(value) for key, value in item.items()}
