"""What is said, and so logged, tells of participants nothing but their identifiers."""

import pandas as pd
import pytest

from tests.conftest import Study
from voxelome.errors import DataError
from voxelome.modelling.outcomes import read_target, target_of
from voxelome.modelling.settings import parse_analysis

SECRET = "1961-07-23"


def people(values: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"outcome": values}, index=[f"sub-{n:02d}" for n in range(len(values))])


@pytest.mark.parametrize(
    ("kind", "values", "says"),
    [
        ("binary", [SECRET, *map(str, range(20))], r"has 21 different value\(s\).*: 21 that one alone has"),
        ("binary", ["yes"] * 9 + [SECRET], r"has the classes yes \(9\), 1 that one alone has"),
        ("multiclass", ["yes"] * 9 + [SECRET], r"has 2 different value\(s\).*: yes \(9\), 1 that one"),
        ("continuous", ["1", "2", SECRET, *map(str, range(20))], r"birth of sub-02 is no number"),
    ],
)
def test_a_wrong_column_as_the_outcome_is_refused_without_telling_what_it_holds(kind, values, says):
    settings = parse_analysis({"name": "a", "outcome": "birth", "kind": kind})
    with pytest.raises(DataError, match=says) as caught:
        read_target(people(values), settings)
    assert SECRET not in str(caught.value)


def test_a_class_that_a_model_has_not_seen_is_told_by_who_has_it():
    settings = parse_analysis({"name": "a", "outcome": "birth"})
    with pytest.raises(DataError, match="birth of sub-01 is a class that the model has not seen") as caught:
        target_of(people(["yes", SECRET]), settings, ("no", "yes"))
    assert SECRET not in str(caught.value)


def test_no_log_of_a_study_holds_what_its_tables_say_of_participants(study: Study, tmp_path):
    table = study.bids / "participants.tsv"
    rows = [line.split("\t") for line in table.read_text().splitlines()]
    ids = [row[0] for row in rows[1:]]
    secrets = ["zebra", "1961-07-2", "61.437"]
    lines = ["participant_id\tdiagnosis\tbirth\tage"]
    lines += ["\t".join([one, *(f"{secret}{n}" for secret in secrets)]) for n, one in enumerate(ids)]
    table.write_text("\n".join(lines) + "\n")
    (tmp_path / "study.yaml").write_text(
        "analyses: [{name: a, outcome: diagnosis}, {name: b, outcome: birth, kind: continuous},"
        " {name: c, outcome: age, kind: continuous, covariates: [birth]}]\n"
    )
    done = study.call("group", "--config-file", str(tmp_path / "study.yaml"), "--verbose")
    assert done.returncode == 1, done.stdout + done.stderr
    logs = [path for place in (study.work, study.out / "logs") for path in place.rglob("*") if path.is_file()]
    told = {str(path): path.read_bytes().decode(errors="replace") for path in logs if path.suffix != ".gz"}
    told["the screen"] = done.stdout + done.stderr
    assert any("model-a.log" in name for name in told)
    assert {name for name, text in told.items() for secret in secrets if secret in text} == set()
