"""Visits for the benchmarks of networks: models fetched, the workflow's own steps run, one process each."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from _cases import DATA, load_real, save

from voxelome.app.fetch import fetch
from voxelome.app.models import registry
from voxelome.imageio import load_volume, save_text
from voxelome.interfaces.network_inputs import NetworkInputs, choose, mri_inputs, usable_labels
from voxelome.segmentation.cards import load_card
from voxelome.segmentation.engine import open_members
from voxelome.segmentation.infer import Prediction, segment
from voxelome.segmentation.postprocess import postprocess
from voxelome.segmentation.spec import NetworkSpec, parse_spec
from voxelome.step import THREAD_VARIABLES, StepRecord

ROOT = Path(__file__).resolve().parents[1]
WEIGHTS = DATA / "models" / "meshnet_weights"
# What registries name by URL, and the folder of the same files here.
MESHNETS = {"meshnet18": "model18cls", "meshnet18large": "model30chan18cls"}
_TIMES = re.compile(r"([\d.]+) s in the network of ([\d.]+) s")
# A process counts at least what its parent held when it started it: this parent holds nearly nothing.
_LAUNCH = """
import json, os, sys, time
start = time.perf_counter()
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, used = os.wait4(child, 0)
took = [time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]
print(json.dumps([*took, os.waitstatus_to_exitcode(status)]))
"""


@dataclass(frozen=True)
class Cost:
    """What a process took: seconds from its start to its end, of all its threads, and its largest MB."""

    seconds: float
    cpu: float
    memory: float


def run(command: Sequence[object], threads: int) -> Cost:
    """Run a program in a process of its own with so many threads."""
    limits = dict.fromkeys([*THREAD_VARIABLES, "MKL_NUM_THREADS"], str(threads))
    words = [sys.executable, "-c", _LAUNCH, *(str(word) for word in command)]
    done = subprocess.run(words, check=True, capture_output=True, text=True, env={**os.environ, **limits})
    *took, code = json.loads(done.stdout.splitlines()[-1])
    if code:
        raise RuntimeError(f"{' '.join(words[3:])}: exit code {code}\n{done.stderr}")
    return Cost(*took)


@cache
def models(folder: Path, *names: str) -> Path:
    """Models folder with these networks, made of the installed registry and of the weights at hand."""
    own = folder / "registry.yaml"
    lines = [
        f'{name}: {{source: {{url: "{(WEIGHTS / where).as_uri()}/"}}}}' for name, where in MESHNETS.items()
    ]
    save_text(own, "\n".join(lines) + "\n")
    entries = registry(own)
    for name in names:
        fetch(entries[name], folder)
    return folder


@dataclass(frozen=True)
class Visit:
    """A visit that the network step can take.

    Attributes
    ----------
    unit : str
    folder : path
        Where its outputs go.
    prepared, registered : path
        Records of preprocess and of register.
    """

    unit: str
    folder: Path
    prepared: Path
    registered: Path

    def inputs(self, spec: NetworkSpec) -> NetworkInputs:
        """Images as the step gives them to a network."""
        records = StepRecord.load(self.prepared), StepRecord.load(self.registered)
        return mri_inputs(*records, choose(spec, usable_labels(*records)))


def prepare(
    unit: str,
    images: Mapping[str, Path],
    folder: Path,
    models_dir: Path,
    *,
    brain: Path | None = None,
    spaces: Sequence[str] = (),
) -> Visit:
    """Visit through preprocess and register, 2 threads; one that is there already is taken as it is."""
    records = [folder / name for name in ("preprocess.json", "register.json")]
    visit = Visit(unit, folder, *records)
    masks = [] if brain is None else ["--brain-masks", brain]
    steps: tuple[list[Any], ...] = (
        [
            *("preprocess_session.py", "--images", *images.values(), "--labels", *images),
            *("--references", next(iter(images)), *masks, "--models-dir", models_dir),
        ],
        ["register_session.py", "--prepared", records[0], *(["--output-spaces", *spaces] if spaces else [])],
    )
    for (script, *arguments), record in zip(steps, records, strict=True):
        if not record.is_file():
            shared = [
                "--unit",
                unit,
                "--record",
                record,
                "--out-dir",
                folder / record.stem,
                "--num-threads",
                2,
            ]
            run([sys.executable, ROOT / "scripts" / script, *arguments, *shared], threads=2)
    return visit


def as_prepared(unit: str, images: Mapping[str, Path], brain: Path, folder: Path) -> Visit:
    """Visit of images that are on one grid already: the records that preprocess and register would leave."""
    prepared, registered = StepRecord("preprocess", unit), StepRecord("register", unit)
    prepared.parameters["reference"] = next(iter(images))
    for label, path in images.items():
        prepared.add(path, "prepared", image=label, source=str(path))
        registered.add(path, "image", image=label, space=next(iter(images)))
        registered.add(path, "matrix", image=label, matrix=np.eye(4).tolist())
    prepared.add(brain, "brain")
    visit = Visit(unit, folder, folder / "prepared.json", folder / "registered.json")
    prepared.save(visit.prepared)
    registered.save(visit.registered)
    return visit


@dataclass(frozen=True)
class Found:
    """What the network step found, and what it took.

    Attributes
    ----------
    labels : ndarray of int, or None where the step left the visit out
    affine : ndarray, shape (4, 4)
    network, inference, seconds : float
        Time in the network's forward passes, with resampling and windows, and of the step without the start
        of Python.
    cost : Cost
        Of the whole process.
    record : StepRecord
    path : path
        Its record.
    """

    labels: Any
    affine: Any
    network: float
    inference: float
    seconds: float
    cost: Cost
    record: StepRecord
    path: Path


def run_network(visit: Visit, model: str, models_dir: Path, threads: int = 2, run_name: str = "") -> Found:
    """The network step on a visit, in a process of its own."""
    folder = visit.folder / f"{model}{run_name}"
    path = folder / "network.json"
    cost = run(
        [
            *(sys.executable, ROOT / "scripts" / "run_network.py", "--unit", visit.unit, "--model", model),
            *("--models-dir", models_dir, "--prepared", visit.prepared, "--registered", visit.registered),
            *("--out-dir", folder, "--record", path, "--num-threads", threads),
        ],
        threads,
    )
    record = StepRecord.load(path)
    labels = record.path("labels", name=model)
    if labels is None:
        return Found(None, None, 0.0, 0.0, record.seconds, cost, record, path)
    volume = load_volume(labels, dtype=None)
    times = next(match for text in record.done if (match := _TIMES.search(text)))
    return Found(
        volume.data, volume.affine, float(times[1]), float(times[2]), record.seconds, cost, record, path
    )


class Network:
    """A network of the models folder, for images that are arrays already."""

    def __init__(self, name: str, models_dir: Path, threads: int = 2) -> None:
        card = load_card(models_dir, name)
        self.spec = parse_spec(card)
        self._members = open_members(models_dir / name, self.spec, card["sha256"], threads)

    def __call__(self, volumes: Sequence[Any], affine: Any, brain: Any) -> tuple[Any, Prediction]:
        """Labels after its post-processing, and what it predicted."""
        found = segment(volumes, affine, brain, self.spec, self._members)
        spacing = [float(size) for size in np.linalg.norm(affine[:3, :3], axis=0)]
        return postprocess(found.labels, spacing, self.spec.postprocess, self.spec.labels)[0], found


def case_files(
    name: str, contrasts: Mapping[str, str], folder: Path, edge: int = 0
) -> tuple[dict[str, Path], Path]:
    """Files of a real case in RAS+ order by label, and of its brain; on a grid of edge^3 if `edge`."""
    folder.mkdir(parents=True, exist_ok=True)
    images, brain = {}, folder / "brain.nii.gz"
    for number, (label, file) in enumerate(contrasts.items()):
        image = load_real(name.format(contrast=file), with_brain=number == 0)
        images[label] = save(folder / f"{label}.nii.gz", *_on_cube(image.data, image.affine, edge))
        if number == 0:
            mask, affine = _on_cube(image.mask.astype(np.float32), image.affine, edge)
            nib.save(nib.Nifti1Image((mask > 0.5).astype(np.uint8), affine), brain)
    return images, brain


def _on_cube(data: Any, affine: Any, edge: int) -> tuple[Any, Any]:
    """Image on a grid of edge^3 voxels of 0.8 mm with the same middle, linearly interpolated."""
    if not edge:
        return data, affine
    from voxelome.registration.resample import resample

    target = np.diag([0.8, 0.8, 0.8, 1.0])
    middle = affine @ [*((np.array(data.shape) - 1) / 2), 1]
    target[:3, 3] = middle[:3] - 0.8 * (edge - 1) / 2
    return resample(data, affine, (edge,) * 3, target, matrix=np.eye(4), order="linear"), target
