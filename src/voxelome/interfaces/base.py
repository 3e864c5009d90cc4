"""Fields that several steps share."""

from __future__ import annotations

from nipype.interfaces.base import BaseInterfaceInputSpec, File, TraitedSpec, traits


class StepInputs(BaseInterfaceInputSpec):
    """Inputs of every step."""

    unit = traits.Str(mandatory=True, desc="subject and visit, such as sub-01_ses-1")
    record = File(mandatory=True, desc="JSON file to write: what the step made, measured and left out")
    num_threads = traits.Int(1, usedefault=True, desc="threads that the step may use")


class StepOutputs(TraitedSpec):
    """Outputs of every step."""

    record = File(exists=True, desc="JSON file: what the step made, measured and left out")
