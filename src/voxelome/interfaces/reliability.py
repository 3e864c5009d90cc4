"""How reliable each feature is: over perturbations, over raters, over repeated visits."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import Directory, File, SimpleInterface, traits

from voxelome.bids.names import unit_entities
from voxelome.columns import FEATURE_KEYS, IDENTIFIERS, SEPARATOR
from voxelome.imageio import FloatArray, replacing, save_json
from voxelome.interfaces.base import StepInputs, StepOutputs
from voxelome.step import StepRecord, recording

COEFFICIENTS = {
    "icc1": "ICC(1,1): any difference between measurements of a subject counts",
    "icc2": "ICC(2,1), absolute agreement: the ways of measuring are a sample, and their differences count",
    "icc3": "ICC(3,1), consistency: what a way of measuring adds to all subjects does not count",
    "concordance": "Overall concordance correlation coefficient; for two measurements that of Lin",
}
# Koo and Li (2016), J Chiropr Med 15:155-163: good reliability.
GOOD = 0.75
Source = tuple[str, list[str], FloatArray]


class ReliabilityInputs(StepInputs):
    """Inputs of :class:`AssessReliability`."""

    cohort = File(mandatory=True, desc="text file with the visits to take, one a line")
    participants = traits.List(
        traits.Str(), value=[], usedefault=True, desc="participants to take, without sub-; empty takes all"
    )
    steps_dir = Directory(mandatory=True, desc="folder with the records, <visit>/robustness.json")
    features = File(exists=True, desc="record of the group's features, for raters and repeated visits")
    raters = traits.Str("[]", usedefault=True, desc="JSON: lists of regions that are one, drawn by several")
    repeats = traits.List(
        traits.Str(), value=[], usedefault=True, desc="visits without ses- that repeat one measurement"
    )
    out_dir = Directory(mandatory=True, desc="group folder of the output dataset")


class AssessReliability(SimpleInterface):
    """Tell how reliable each feature is: over perturbations, over raters, over repeated visits."""

    input_spec = ReliabilityInputs
    output_spec = StepOutputs

    def _run_interface(self, runtime: Any) -> Any:
        import pandas as pd

        spec = self.inputs
        with recording("reliability", spec.unit, spec.record) as record:
            units = Path(spec.cohort).read_text(encoding="utf-8").split()
            if spec.participants:
                units = [unit for unit in units if unit_entities(unit)["subject"] in spec.participants]
            tables = [
                reliability_table(*source, record)
                for source in (*self._perturbations(units), *self._repeated(units))
            ]
            table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
            path = Path(spec.out_dir) / "reliability.tsv"
            with replacing(path) as temporary:
                table.to_csv(temporary, sep="\t", index=False, na_rep="n/a", float_format="%.4f")
            save_json(path.with_suffix(".json"), _dictionary(units))
            record.add(path, "reliability")
            if not tables:
                record.skip("reliability", "no feature was measured more than once")
        self._results["record"] = spec.record
        return runtime

    def _perturbations(self, units: list[str]) -> Iterator[Source]:
        """Give the features of visits after perturbations."""
        found = perturbed_of(units, Path(self.inputs.steps_dir))
        if found is not None:
            _, names, values = found
            yield "perturbation", names, values

    def _repeated(self, units: list[str]) -> Iterator[Source]:
        """Give the features of regions drawn by several raters, and of visits that repeat a measurement."""
        import pandas as pd

        spec = self.inputs
        groups = [list(map(str, names)) for names in json.loads(spec.raters)]
        if not groups and not spec.repeats:
            return
        path = StepRecord.load(spec.features).path("features")
        wide = pd.read_csv(path, sep="\t", na_values="n/a", keep_default_na=False)
        who = wide["participant_id"].str.removeprefix("sub-")
        when = wide["session_id"].fillna("").str.removeprefix("ses-")
        wanted = {(unit_entities(unit)["subject"], unit_entities(unit).get("session", "")) for unit in units}
        kept = [pair in wanted for pair in zip(who, when, strict=True)]
        wide, who, when = wide[kept], who[kept], when[kept]
        values = wide.drop(columns=list(IDENTIFIERS))
        for names in groups:
            yield f"raters {', '.join(names)}", *_by_rater(values, names)
        if spec.repeats:
            subjects = sorted(set(who))
            parts = [
                values[(when == visit).to_numpy()].set_axis(who[when == visit]).reindex(subjects)
                for visit in spec.repeats
            ]
            array = np.stack([part.to_numpy(dtype=float).T for part in parts], axis=-1)
            yield f"visits {', '.join(spec.repeats)}", list(values.columns), array


def perturbed_of(units: Sequence[str], steps_dir: Path) -> tuple[list[str], list[str], FloatArray] | None:
    """Return units, names of features and values (features, units, chains) of what was measured again."""
    tables = {}
    for unit in units:
        record = steps_dir / unit / "robustness.json"
        if record.is_file() and (path := StepRecord.load(record).path("perturbed")):
            tables[unit] = read_perturbed(path)
    return (list(tables), *stack(list(tables.values()))) if tables else None


def read_perturbed(path: Path | str) -> tuple[list[str], FloatArray]:
    """Return names of features, as columns of the wide table, and values of shape (features, chains)."""
    import pandas as pd

    table = pd.read_csv(path, sep="\t", na_values="n/a", keep_default_na=False)
    keys = table[list(FEATURE_KEYS)].astype(str)
    names = [SEPARATOR.join(key) for key in keys.itertuples(index=False)]
    return names, table.drop(columns=list(FEATURE_KEYS)).to_numpy(dtype=float)


def stack(visits: Sequence[tuple[list[str], FloatArray]]) -> tuple[list[str], FloatArray]:
    """Return names and values of shape (features, visits, measurements); what a visit lacks is NaN."""
    names = list(dict.fromkeys(name for found, _ in visits for name in found))
    place = {name: index for index, name in enumerate(names)}
    count = max(values.shape[1] for _, values in visits)
    stacked = np.full((len(names), len(visits), count), np.nan)
    for number, (found, values) in enumerate(visits):
        stacked[[place[name] for name in found], number, : values.shape[1]] = values
    return names, stacked


def reliability_table(source: str, names: list[str], values: FloatArray, record: StepRecord) -> Any:
    """Return one row a feature, and note the share that is reliable."""
    import pandas as pd

    from voxelome.reliability import reliability

    found = reliability(values)
    columns: dict[str, Any] = {"source": source}
    parts = [name.split(SEPARATOR) for name in names]
    columns |= {key: [part[index] for part in parts] for index, key in enumerate(FEATURE_KEYS)}
    columns |= {"subjects": found.subjects, "measurements": values.shape[2]}
    for name in COEFFICIENTS:
        estimate = getattr(found, name)
        columns |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    known = np.isfinite(found.icc1.value)
    if known.any():
        share = float(np.mean(found.icc1.value[known] >= GOOD))
        record.quality[f"reliable over {source} (% of {int(known.sum())})"] = round(100 * share, 1)
        record.done.append(
            f"{source}: ICC(1,1) of {share:.0%} of {int(known.sum())} features is {GOOD} or more."
        )
    else:
        record.skip(f"reliability over {source}", "it takes three subjects that differ")
    return pd.DataFrame(columns)


def _by_rater(values: Any, regions: list[str]) -> tuple[list[str], FloatArray]:
    """Return the features of a region that several raters drew, by the name of the first."""
    found: dict[str, list[Any]] = {}
    for name in values.columns:
        parts = name.split(SEPARATOR)
        if parts[1] == regions[0]:
            others = [SEPARATOR.join([parts[0], region, *parts[2:]]) for region in regions]
            if all(other in values for other in others):
                found[name] = [values[other].to_numpy(dtype=float) for other in others]
    shape = (0, len(values), len(regions))
    array = np.stack([np.stack(items, axis=-1) for items in found.values()]) if found else np.empty(shape)
    return list(found), array


def _dictionary(units: Sequence[str]) -> Mapping[str, Any]:
    return {
        "Description": "Agreement of repeated measurements of each feature, with 95 % intervals",
        "Visits": list(units),
        "source": {"Description": "What differs between measurements: perturbation, raters or visits"},
        "subjects": {"Description": "Visits (for visits, participants) with all measurements of the feature"},
        **{name: {"Description": text} for name, text in COEFFICIENTS.items()},
    }
