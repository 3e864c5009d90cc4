"""Assemble the feature table of the group."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nipype.interfaces.base import Directory, File, SimpleInterface, traits

from voxelome.bids.image_settings import NETWORKS
from voxelome.columns import COLUMNS, IDENTIFIERS
from voxelome.errors import InputError
from voxelome.imageio import load_json, replacing, save_json, sidecar_path
from voxelome.interfaces.base import StepInputs, StepOutputs
from voxelome.step import StepRecord, recording


class AssembleInputs(StepInputs):
    """Inputs of :class:`AssembleFeatures`."""

    cohort = File(mandatory=True, desc="text file with the visits to take, one a line")
    steps_dir = Directory(mandatory=True, desc="folder with the records, <visit>/radiomics.json")
    networks = traits.List(
        traits.Str(), value=[], usedefault=True, desc="networks whose values of the case are features too"
    )
    made_with = traits.Str("{}", usedefault=True, desc="settings of the images, by what they are of, as JSON")
    taught_by = traits.List(
        traits.Str(),
        value=[],
        usedefault=True,
        desc="participants whose images taught the standard scale of the intensities",
    )
    out_dir = Directory(mandatory=True, desc="group folder of the output dataset")


class AssembleFeatures(SimpleInterface):
    """Assemble the feature table of the group: one row a participant and visit."""

    input_spec = AssembleInputs
    output_spec = StepOutputs

    def _run_interface(self, runtime: Any) -> Any:
        from voxelome.modelling.table import assemble

        spec = self.inputs
        with recording("features", spec.unit, spec.record) as record:
            units = Path(spec.cohort).read_text(encoding="utf-8").split()
            names = ["radiomics", *(f"network-{name}" for name in spec.networks)]
            files = [Path(spec.steps_dir) / unit / f"{name}.json" for unit in units for name in names]
            # A visit that has only CT has no radiomics.
            records = [StepRecord.load(path) for path in files if path.is_file()]
            paths = [Path(output["path"]) for item in records for output in item.find("features")]
            out = Path(spec.out_dir)
            about = _dictionary(paths)
            about["Settings"] |= json.loads(spec.made_with) | {NETWORKS: _networks(records)}
            about["ScaleTaughtBy"] = list(spec.taught_by)
            with (
                replacing(out / "features-long.tsv") as text,
                replacing(out / "features-long.parquet") as file,
            ):
                wide = assemble(_kept(paths, text, file))
                if wide.empty:
                    raise InputError(spec.out_dir, "no visit has features", "run the participant level first")
            values = wide.drop(columns=list(IDENTIFIERS))
            with replacing(out / "features.tsv") as temporary:
                wide.to_csv(temporary, sep="\t", index=False, na_rep="n/a")
            with replacing(out / "features.parquet") as temporary:
                wide.to_parquet(temporary, index=False)
            save_json(out / "features.json", {**about, "Names": [str(name) for name in values.columns]})
            record.add(out / "features.tsv", "features")
            record.add(out / "features-long.tsv", "features long")
            record.quality = {
                "rows": len(wide),
                "features": values.shape[1],
                "values not available (%)": round(100 * float(values.isna().to_numpy().mean()), 2),
            }
            record.done.append(f"{len(wide)} rows of {values.shape[1]} features.")
        self._results["record"] = spec.record
        return runtime


def _kept(paths: list[Path], text: Path, file: Path) -> Iterator[Any]:
    """Read the tables of visits one by one, and append each to the long tables of the group."""
    import pandas as pd
    import pyarrow
    from pyarrow import parquet

    schema = pyarrow.schema(
        [(name, pyarrow.float64() if name == "value" else pyarrow.string()) for name in COLUMNS]
    )
    types = {name: float if name == "value" else str for name in COLUMNS}
    with parquet.ParquetWriter(file, schema) as writer:
        for path in paths:
            table = pd.read_csv(path, sep="\t", na_values="n/a", keep_default_na=False, dtype=types)
            table.to_csv(text, sep="\t", index=False, na_rep="n/a", mode="a", header=not text.exists())
            writer.write_table(pyarrow.Table.from_pandas(table, schema, preserve_index=False))
            yield table


def _networks(records: list[StepRecord]) -> dict[str, list[str]]:
    """Checksums of the networks that ran, by their names.

    Raises
    ------
    InputError
        Visits were segmented by different networks of one name.
    """
    found: dict[str, list[str]] = {}
    for record in records:
        if record.step == "network":
            name, checksums = record.parameters["model"], record.parameters["Sha256"]
            if found.setdefault(name, checksums) != checksums:
                problem = f"was segmented by another network {name} than other visits"
                raise InputError(record.unit, problem, "run the participant level again for all visits")
    return found


def _dictionary(paths: list[Path]) -> dict[str, Any]:
    """Explain filters and features by what lies beside the tables of the visits.

    Raises
    ------
    InputError
        Visits were measured with different settings.
    """
    filters: dict[str, Any] = {}
    features: dict[str, dict[str, Any]] = {}
    settings: dict[str, Any] = {}
    software: dict[str, str] = {}
    first: dict[str, Path] = {}
    for path in paths:
        about = load_json(sidecar_path(path))
        kind = about["Description"]
        if kind in settings and settings[kind] != about["Settings"]:
            problem = f"was made with other settings than {first[kind]}"
            raise InputError(path, problem, "measure all visits with one configuration")
        settings[kind] = about["Settings"]
        first.setdefault(kind, path)
        software[kind] = about.get("Software", "")
        filters |= about.get("Filters", {})
        for feature_class, found in about["Features"].items():
            features.setdefault(feature_class, {}).update(found)
    return {
        "Description": "One row a participant and visit; features-long.* hold one value a row",
        "Columns": "<image>__<roi>__<filter>__<class>__<feature>",
        "Settings": settings,
        "Software": software,
        "Filters": filters,
        "Features": features,
    }
