"""Measure every region on every image of a visit again, each time a little differently."""

from __future__ import annotations

import gzip
import io
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from nipype.interfaces.base import SimpleInterface, traits

from voxelome.bids.names import bids_name, unit_entities
from voxelome.columns import FEATURE_KEYS
from voxelome.errors import InputError, blame
from voxelome.imageio import load_volume, replacing, save_json, sidecar_path
from voxelome.interfaces.base import StepOutputs
from voxelome.interfaces.measurable import Measurable, MeasureInputs, open_visit
from voxelome.interfaces.pool import each
from voxelome.interfaces.roi import Region, check_grids
from voxelome.radiomics.settings import SHAPES
from voxelome.step import StepRecord, recording, use_threads

if TYPE_CHECKING:
    from voxelome.radiomics.perturbation import Perturbation
    from voxelome.radiomics.settings import RadiomicsSettings

# Of the chains on one image, at most so many are worked on at once.
PARTS = 4
# Feature by image, region, filter, class and name, with its value after each chain.
Rows = dict[tuple[str, ...], list[float | None]]


class RobustnessInputs(MeasureInputs):
    """Inputs of :class:`MeasureRobustness`."""

    perturbations = traits.Int(50, usedefault=True, desc="how often each region is measured again")
    random_seed = traits.Int(0, usedefault=True, desc="of what is perturbed; the same for all visits")


class _Job(NamedTuple):
    """Some of the chains on one image; with the shape where it is the first image of its space."""

    image: str
    path: str
    shape: bool
    regions: list[Region]
    settings: RadiomicsSettings
    chains: dict[int, Perturbation]


class MeasureRobustness(SimpleInterface):
    """Measure every region on every image of a visit again, each time a little differently."""

    input_spec = RobustnessInputs
    output_spec = StepOutputs

    def _run_interface(self, runtime: Any) -> Any:
        from voxelome.radiomics.perturbation import perturbations
        from voxelome.radiomics.selfcheck import check_engine

        spec = self.inputs
        use_threads(spec.num_threads)
        if spec.engine != "pyradiomics":
            raise InputError("radiomics: engine", f"{spec.engine} does not perturb", "choose pyradiomics")
        check_engine()
        with recording("robustness", spec.unit, spec.record) as record:
            visit = open_visit(spec, record)
            chains = perturbations(spec.perturbations, spec.random_seed)
            jobs = _jobs(visit, chains)
            rows: Rows = {}
            lost: Counter[str] = Counter()
            for job, (found, reasons) in zip(jobs, each(_measure, jobs, spec.num_threads), strict=True):
                lost += reasons
                for key, values in found.items():
                    row = rows.setdefault(key, [None] * len(chains))
                    for number, value in zip(job.chains, values, strict=True):
                        row[number] = value
            self._save(dict(sorted(rows.items())), chains, record)
            record.parameters = {"perturbations": len(chains), "seed": spec.random_seed}
            record.quality = {"features": len(rows), "values not available": lost.total()}
            for reason, count in lost.items():
                record.skip(f"{count} values", reason)
            if rows:
                record.done.append(f"{len(rows)} features measured {len(chains)} times.")
            else:
                record.skip("robustness", "there is no pair of an image and a region on one grid")
        self._results["record"] = spec.record
        return runtime

    def _save(self, rows: Rows, chains: list[Perturbation], record: StepRecord) -> None:
        """Write one row a feature and one column a chain, and beside it what each chain does."""
        names = [f"chain-{number:03d}" for number in range(1, len(chains) + 1)]
        text = io.StringIO()
        text.write("\t".join([*FEATURE_KEYS, *names]) + "\n")
        for key, values in rows.items():
            cells = ("n/a" if value is None else f"{value:.8g}" for value in values)
            text.write("\t".join([*key, *cells]) + "\n")
        entities = {**unit_entities(self.inputs.unit), "desc": "perturbed"}
        path = Path(self.inputs.out_dir) / bids_name(entities, "features", ".tsv.gz")
        with replacing(path) as temporary:
            # Without a time, so that the same values are the same file.
            temporary.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))
        save_json(
            sidecar_path(path),
            {
                "Description": "Features after chains of perturbations (Zwanenburg et al. 2019)",
                "Chains": {
                    name: {
                        "RotationDegrees": round(chain.rotation, 3),
                        "TranslationVoxels": chain.translation,
                        "Noise": chain.noise is not None,
                        "VolumeChange": round(chain.volume, 4),
                        "ContourRandomised": chain.contour is not None,
                    }
                    for name, chain in zip(names, chains, strict=True)
                },
            },
        )
        record.add(path, "perturbed")


def _jobs(visit: Measurable, chains: list[Perturbation]) -> list[_Job]:
    """Return the work on each image in parts of whole poses, which share an interpolation.

    The parts are the same for any number of threads, so that the values are.
    """
    poses = list(dict.fromkeys(chain.motion for chain in chains))
    parts: list[dict[int, Perturbation]] = [{} for _ in range(min(PARTS, len(poses)))]
    for number, chain in enumerate(chains):
        parts[poses.index(chain.motion) % len(parts)][number] = chain
    jobs = []
    spaces: set[str] = set()
    for image in visit.images:
        here = [item for item in visit.regions if item.measured and item.space == image["space"]]
        if here:
            shape = image["space"] not in spaces
            spaces.add(image["space"])
            jobs += [_Job(image["image"], image["path"], shape, here, visit.settings, part) for part in parts]
    return jobs


def _measure(job: _Job) -> tuple[Rows, Counter[str]]:
    """Return the features of all regions on one image, and how many values are missing by reason."""
    from voxelome.radiomics.perturbation import perturbed_features

    volume = load_volume(job.path)
    check_grids(job.path, volume, job.regions)
    masks = {region.name: region.mask for region in job.regions}
    shapes = {region.name: region.space for region in job.regions if region.shape and job.shape}
    rows: Rows = {}
    lost: Counter[str] = Counter()
    with blame(job.path):
        found = perturbed_features(volume.data, masks, volume.affine, job.settings, list(job.chains.values()))
    for name, measured in found.items():
        for features in measured:
            for value in features.values:
                is_shape = value.feature_class in SHAPES
                if is_shape and name not in shapes:
                    continue
                image = shapes[name] if is_shape else job.image
                key = (image, name, value.filter, value.feature_class, value.feature)
                rows.setdefault(key, []).append(value.value)
                if value.value is None:
                    lost[f"{job.image}, {name}: {value.reason}"] += 1
    return rows, lost
