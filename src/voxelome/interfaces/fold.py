"""Fit some of the folds of an analysis, so that a cluster shares the work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nipype.interfaces.base import SimpleInterface, traits

from voxelome.errors import blame
from voxelome.imageio import replacing
from voxelome.interfaces.analysis_inputs import AnalysisInputs, plan_of
from voxelome.interfaces.base import StepOutputs
from voxelome.step import recording, use_threads


class FoldInputs(AnalysisInputs):
    """Inputs of :class:`FitFolds`."""

    part = traits.Range(low=1, mandatory=True, desc="which of the jobs this is, from 1")
    parts = traits.Range(low=1, mandatory=True, desc="jobs among which the fits are dealt out")


class FitFolds(SimpleInterface):
    """Fit every so-many-th of the fits of an analysis: folds, simpler models, permutations."""

    input_spec = FoldInputs
    output_spec = StepOutputs

    def _run_interface(self, runtime: Any) -> Any:
        from voxelome.modelling.tasks import tasks_of, work

        spec = self.inputs
        use_threads(spec.num_threads)
        wanted = json.loads(spec.analysis)
        with recording("folds", spec.unit, spec.record) as record:
            with blame(f"analysis {wanted.get('name', '')}"):
                plan = plan_of(spec).plan
                done = work(plan, tasks_of(plan)[spec.part - 1 :: spec.parts], spec.num_threads)
            path = Path(spec.record).with_suffix(".npz")
            save_done(path, done)
            record.add(path, "folds")
            record.done.append(f"{len(done)} fits")
        self._results["record"] = spec.record
        return runtime


def save_done(path: Path, done: Any) -> None:
    """Write what tasks gave, one array an entry ``<task>/<name>``."""
    import numpy as np

    arrays = {f"{task}/{name}": values for task, each in done.items() for name, values in each.items()}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def load_done(paths: list[Path], tasks: Any) -> Any:
    """Return what tasks gave, of all files; those that no file holds are absent."""
    import numpy as np

    known = {str(task): task for task in tasks}
    done: dict[Any, dict[str, Any]] = {}
    for path in paths:
        with np.load(path, allow_pickle=False) as arrays:
            for entry in arrays.files:
                task, _, name = entry.partition("/")
                if task in known:
                    done.setdefault(known[task], {})[name] = arrays[entry]
    return done
