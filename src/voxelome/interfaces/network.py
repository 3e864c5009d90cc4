"""Run a network on a visit: labels, probabilities, uncertainty and lesions, or a value for the case."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.base import Directory, File, SimpleInterface, isdefined, traits

from voxelome.bids.description import source_uri
from voxelome.errors import blame
from voxelome.imageio import voxel_sizes
from voxelome.interfaces.base import StepInputs, StepOutputs
from voxelome.interfaces.delivery import Delivery, LabelImage
from voxelome.interfaces.network_inputs import (
    CT,
    NetworkInputs,
    absences,
    choose,
    ct_inputs,
    lesser_choices,
    mri_inputs,
    usable_labels,
)
from voxelome.interfaces.prepared import load_prepared, reference_of
from voxelome.segmentation.cards import load_card, works_on_ct
from voxelome.segmentation.spec import NetworkSpec, parse_spec
from voxelome.step import StepRecord, recording, use_threads


class NetworkStepInputs(StepInputs):
    """Inputs of :class:`RunNetwork`."""

    model = traits.Str(mandatory=True, desc="name of the network: a folder of models_dir")
    models_dir = Directory(mandatory=True, desc="folder of fetched networks")
    prepared = File(desc="record of preprocess for this visit, where it has MRI")
    registered = File(desc="record of register for this visit, where it has MRI")
    cts = traits.List(File(), value=[], usedefault=True, desc="head CT of the visit")
    gradient_echoes = traits.List(
        traits.Str(),
        value=[],
        usedefault=True,
        desc="labels of gradient-echo acquisitions: labels go there too",
    )
    probabilities = traits.Bool(False, usedefault=True, desc="save a map of each label's probability")
    affine = traits.Enum("auto", "sform", "qform", usedefault=True, desc="which of a CT's affines counts")
    device = traits.Enum("cpu", "auto", usedefault=True, desc="auto takes a CUDA device where there is one")
    out_dir = Directory(mandatory=True, desc="anat folder of the visit in the output dataset")


class RunNetwork(SimpleInterface):
    """Run a network on a visit: a segmentation, or a value for the case."""

    input_spec = NetworkStepInputs
    output_spec = StepOutputs

    def _run_interface(self, runtime: Any) -> Any:
        from voxelome.segmentation.engine import open_members

        spec = self.inputs
        use_threads(spec.num_threads)
        folder = Path(spec.models_dir)
        card = load_card(folder, spec.model)
        with blame(folder / spec.model):
            network = parse_spec(card)
        with recording("network", spec.unit, spec.record) as record:
            record.parameters = {"model": spec.model, "task": network.task, **_identity(card)}
            record.parameters["title"] = card["title"]
            inputs = self._inputs(network, works_on_ct(card), record)
            if inputs is not None:
                # Opened only now: a visit that lacks a contrast does not pay for it.
                members = open_members(
                    folder / spec.model, network, card["sha256"], spec.num_threads, spec.device
                )
                record.parameters["device"] = members[0].provider
                if network.task == "segmentation":
                    self._segment(network, card, members, inputs, record)
                else:
                    from voxelome.interfaces.network_case import judge_case

                    judge_case(network, card, members, inputs, spec, record)
        self._results["record"] = spec.record
        return runtime

    def _inputs(self, network: NetworkSpec, of_ct: bool, record: StepRecord) -> NetworkInputs | None:
        """Images for the network; None, and the reason in the record, where it lacks one."""
        spec = self.inputs
        if of_ct:
            if not spec.cts:
                record.skip(network.name, "there is no CT of this visit")
                return None
            if len(spec.cts) > 1:
                record.warnings.append(f"{network.name}: of {len(spec.cts)} CTs the first was taken.")
            return ct_inputs(spec.cts, network, spec.affine)
        if not isdefined(spec.prepared):
            record.skip(network.name, "there is no MRI of this visit")
            return None
        self.prepared, self.registered = StepRecord.load(spec.prepared), StepRecord.load(spec.registered)
        if not reference_of(self.prepared):
            record.skip(network.name, "the visit has no usable reference image")
            return None
        labels = usable_labels(self.prepared, self.registered)
        chosen = choose(network, labels)
        if lacking := network.lacking([label is not None for label in chosen]):
            record.skip(network.name, f"it needs {lacking}, and there is {', '.join(labels) or 'nothing'}")
            return None
        record.warnings += lesser_choices(network, labels)
        record.done += absences(network, chosen)
        return mri_inputs(self.prepared, self.registered, chosen)

    def _segment(
        self,
        network: NetworkSpec,
        card: dict[str, Any],
        members: list[Any],
        inputs: NetworkInputs,
        record: StepRecord,
    ) -> None:
        from voxelome.interfaces.network_outputs import save_findings
        from voxelome.segmentation.infer import segment
        from voxelome.segmentation.postprocess import postprocess
        from voxelome.segmentation.postprocess_settings import needed_probabilities

        spec = self.inputs
        every = spec.probabilities or network.lesions
        wanted = network.labels if every else needed_probabilities(network.postprocess, network.labels)
        with inputs.blamed():
            found = segment(inputs.volumes, inputs.affine, inputs.brain, network, members, wanted)
        spacing = voxel_sizes(inputs.affine)
        with blame(Path(spec.models_dir) / spec.model):
            labels, said = postprocess(
                found.labels, spacing, network.postprocess, network.labels, found.probabilities
            )
        record.warnings += [f"{network.name}: {note}" for note in found.notes]
        record.done += said
        sidecar = {
            "Sources": [source_uri(path) for path in dict.fromkeys(inputs.sources)],
            "Model": _identity(card),
        }
        image = LabelImage(network.name, labels, inputs.affine, network.labels, inputs.home, "", sidecar)
        delivery = self._delivery(inputs)
        delivery.deliver(image, record)
        if inputs.home == CT:
            # No step prepares CT: the report draws on the image itself.
            for item in record.find("labels"):
                item |= {"source": inputs.home_source, "image": CT, "form": inputs.form}
        save_findings(image, found, network, delivery, spec.probabilities, record)
        used = ", ".join(label for label in inputs.labels if label)
        took = f"{found.network_seconds:.1f} s in the network of {found.seconds:.1f} s"
        record.done.append(f"{network.name} on {used}: {found.passes} pass(es), {took}.")
        if not labels.any():
            record.done.append(f"{network.name} found nothing: an empty segmentation, which is a result.")

    def _delivery(self, inputs: NetworkInputs) -> Delivery:
        """Where labels go: with CT, only the CT's own grid."""
        spec = self.inputs
        out_dir, grids = Path(spec.out_dir), {inputs.home: inputs.grid}
        if inputs.home == CT:
            return Delivery(spec.unit, out_dir, grids, CT, [], StepRecord("register", spec.unit))
        for label in spec.gradient_echoes:
            if self.prepared.find("prepared", image=label):
                grids[label] = load_prepared(self.prepared, label)
        return Delivery(spec.unit, out_dir, grids, inputs.home, spec.gradient_echoes, self.registered)


def _identity(card: dict[str, Any]) -> dict[str, Any]:
    """What says which network it was."""
    return {
        "Name": card["name"],
        "Sha256": [card["sha256"].get(file, "n/a") for file in card["members"]],
        "Licence": card["licence"],
        "Reference": card.get("citation", ""),
    }
