"""Measure every region on every image of a visit again, each time a little differently."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from nipype.interfaces.base import SimpleInterface, traits

from voxelome.bids.names import bids_name, unit_entities
from voxelome.errors import InputError, blame
from voxelome.imageio import load_volume, replacing, save_json, sidecar_path
from voxelome.interfaces.base import StepOutputs
from voxelome.interfaces.columns import FEATURE_KEYS
from voxelome.interfaces.measurable import MeasureInputs, open_visit
from voxelome.interfaces.pool import each
from voxelome.interfaces.roi import Region, check_grids
from voxelome.step import StepRecord, recording, use_threads

if TYPE_CHECKING:
    from voxelome.radiomics.perturbation import Perturbation
    from voxelome.radiomics.settings import RadiomicsSettings

# Feature by image, region, filter, class and name, with its value after each chain.
Rows = dict[tuple[str, ...], list[float | None]]


class RobustnessInputs(MeasureInputs):
    """Inputs of :class:`MeasureRobustness`."""

    perturbations = traits.Int(50, usedefault=True, desc="how often each region is measured again")
    random_seed = traits.Int(0, usedefault=True, desc="of what is perturbed; the same for all visits")


class _Job(NamedTuple):
    image: str
    path: str
    regions: list[Region]
    settings: RadiomicsSettings
    chains: list[Perturbation]


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
            jobs = []
            for image in visit.images:
                here = [item for item in visit.regions if item.measured and item.space == image["space"]]
                if here:
                    jobs.append(_Job(image["image"], image["path"], here, visit.settings, chains))
            rows: Rows = {}
            lost: dict[str, int] = {}
            for found, reasons in each(_measure, jobs, spec.num_threads):
                # The shape is that on the first image of its space.
                rows = {**found, **rows}
                for reason, count in reasons.items():
                    lost[reason] = lost.get(reason, 0) + count
            self._save(dict(sorted(rows.items())), chains, record)
            record.parameters = {"perturbations": len(chains), "seed": spec.random_seed}
            record.quality = {"features": len(rows), "values not available": sum(lost.values())}
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


def _measure(job: _Job) -> tuple[Rows, dict[str, int]]:
    """Return the features of all regions on one image, and how many values are missing by reason."""
    from voxelome.radiomics.perturbation import perturbed_features

    volume = load_volume(job.path)
    check_grids(job.path, volume, job.regions)
    masks = {region.name: region.mask for region in job.regions}
    shapes = {region.name: region.space for region in job.regions if region.shape}
    rows: Rows = {}
    lost: dict[str, int] = {}
    with blame(job.path):
        found = perturbed_features(volume.data, masks, volume.affine, job.settings, job.chains)
    for name, chains in found.items():
        for number, features in enumerate(chains):
            for value in features.values:
                if (is_shape := value.feature_class in ("shape", "shape2D")) and name not in shapes:
                    continue
                image = shapes[name] if is_shape else job.image
                key = (image, name, value.filter, value.feature_class, value.feature)
                rows.setdefault(key, [None] * len(chains))[number] = value.value
                if value.value is None:
                    reason = f"{job.image}, {name}: {value.reason}"
                    lost[reason] = lost.get(reason, 0) + 1
    return rows, lost
