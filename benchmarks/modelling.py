"""Models beside the two baselines of radMLBench, and on tables where the truth is known.

Baselines and voxelome see the same tables in one run. The baselines are those that the tables' authors and we
measured: a logistic regression on the 20 features with the largest F, and extra trees; 5 times 5 folds, all
steps inside the folds. For voxelome it is the default analysis.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.feature_selection import SelectKBest, VarianceThreshold, f_classif
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sksurv.datasets import load_breast_cancer

from voxelome.modelling.analysis import parse_analysis, run_analysis

TABLES = Path(__file__).resolve().parents[2] / "shared" / "data" / "tables"
PARTS = ["tables", "gliomas", "survival", "noise"]
GRADES = {"poorly differentiated": 3.0, "intermediate": 2.0, "well differentiated": 1.0}
# Where the time is not measured: without what stands beside the validation and takes long.
ALONE = {"permutations": 0, "explain": False}
NAMES = {
    "Arita2018": "Arita2018",
    "Meningioma": "Meningioma-SEG-CLASS",
    "OcanaTienda2023": "OcanaTienda2023",
    "Lipo": "WORC-Lipo",
    "Melanoma": "WORC-Melanoma",
}


def load(name: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Features and participants of a table, as voxelome takes them."""
    table = pd.read_csv(TABLES / f"radMLBench_{NAMES[name]}.csv.gz")
    who = [f"sub-{number:04d}" for number in range(len(table))]
    values = table.drop(columns=["ID", "Target"]).astype(float)
    features = values.rename(columns=lambda name: f"image__roi__original__class__{name}")
    features.insert(0, "participant_id", who)
    return features, pd.DataFrame({"participant_id": who, "outcome": table["Target"]})


def baseline(features: pd.DataFrame, people: pd.DataFrame, make: Callable[[int], object]) -> float:
    """Mean AUC of 5 times 5 folds."""
    values, outcome = features.iloc[:, 1:].to_numpy(), people["outcome"].to_numpy()
    found = []
    for repeat in range(5):
        for train, test in StratifiedKFold(5, shuffle=True, random_state=repeat).split(values, outcome):
            model = make(repeat).fit(values[train], outcome[train])
            found.append(roc_auc_score(outcome[test], model.predict_proba(values[test])[:, 1]))
    return float(np.mean(found))


def logistic(_: int) -> object:
    """Logistic regression on 20 features."""
    select = SelectKBest(f_classif, k=20)
    scale = (SimpleImputer(strategy="median"), VarianceThreshold(), StandardScaler())
    return make_pipeline(*scale, select, LogisticRegression(max_iter=5000))


def trees(seed: int) -> object:
    """Extra trees on all features."""
    return make_pipeline(
        SimpleImputer(strategy="median"), ExtraTreesClassifier(500, random_state=seed, n_jobs=2)
    )


def tables(names: list[str], threads: int) -> None:
    """Print the AUC of each table by both baselines and by the default analysis."""
    print("| table | logistic | extra trees | voxelome (95 % interval) | above the better | seconds |")
    print("|---|---|---|---|---|---|")
    ahead, ours = [], []
    for name in names:
        features, people = load(name)
        peers = [baseline(features, people, make) for make in (logistic, trees)]
        begin = time.perf_counter()
        settings = parse_analysis({"name": name, "outcome": "outcome"})
        metrics = run_analysis(features, people, settings, threads=threads).metrics
        seconds = time.perf_counter() - begin
        ahead.append(metrics["auc"] - max(peers))
        ours.append(metrics["auc"])
        interval = f"{metrics['auc_low']:.3f} to {metrics['auc_high']:.3f}"
        row = f"{peers[0]:.3f} | {peers[1]:.3f} | {metrics['auc']:.3f} ({interval}) | {ahead[-1]:+.3f}"
        print(f"| {name} | {row} | {seconds:.0f} |", flush=True)
    print(f"| mean | | | {np.mean(ours):.3f} | {np.mean(ahead):+.3f} | |")


def load_gliomas() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Features of the post-contrast T1w, and the data of 501 gliomas (UCSF-PDGM)."""
    folder = TABLES / "ucsf_pdgm_tables"
    new_names = {"ID": "participant_id", "WHO CNS Grade": "grade", "Age at MRI": "age"}
    new_names |= {"1-dead 0-alive": "dead", "OS": "days"}
    people = pd.read_csv(folder / "UCSF-PDGM-metadata_v2.csv").rename(columns=new_names)
    people["mutated"] = np.where(people["IDH"] == "wildtype", "wildtype", "mutated")
    table = pd.read_csv(folder / "radiomic_features_T1gad_bias.csv").rename(columns={"ID": "participant_id"})
    columns = [name for name in table if name.startswith("original_")]
    renamed = {name: f"T1w__tumor__{name.replace('_', '__', 2)}" for name in columns}
    return table[["participant_id", *columns]].rename(columns=renamed), people


def beside(metrics: dict[str, Any], name: str) -> str:
    """Value of a simpler model, as text."""
    found = [other["value"] for other in metrics["alternatives"] if other["name"].startswith(name)]
    return f"{found[0]:.3f}" if found else ""


def gliomas(threads: int) -> None:
    """Print how well IDH mutation of gliomas is told."""
    features, people = load_gliomas()
    print("| IDH of gliomas | participants, mutated | AUC (95 % interval) | age alone | size alone | s |")
    print("|---|---|---|---|---|---|")
    for name, covariates, where in (
        ("features", [], {}),
        ("features and age", ["age"], {}),
        ("grade 4: features", [], {"grade": 4}),
        ("grade 4: features and age", ["age"], {"grade": 4}),
    ):
        begin = time.perf_counter()
        asked = {"name": "idh", "outcome": "mutated", "positive": "mutated", "where": where, **ALONE}
        settings = parse_analysis({**asked, "covariates": covariates})
        metrics = run_analysis(features, people, settings, threads=threads).metrics
        found = "{n}, {n_positive} | {auc:.3f} ({auc_low:.3f} to {auc_high:.3f})".format(**metrics)
        others = f"{beside(metrics, 'clinical')} | {beside(metrics, 'size')}"
        print(f"| {name} | {found} | {others} | {time.perf_counter() - begin:.0f} |", flush=True)


def breast_cancer() -> tuple[pd.DataFrame, pd.DataFrame]:
    """scikit-survival's breast cancer: 76 genes and four clinical columns of 198 women."""
    table, followed = load_breast_cancer()
    table = table.reset_index(drop=True).assign(
        er=(table["er"] == "positive").to_numpy() * 1.0,
        grade=table["grade"].astype(str).map(GRADES).to_numpy(),
    )
    who = [f"sub-{number:03d}" for number in range(len(table))]
    genes = table.astype(float).rename(columns=lambda name: f"gene__roi__original__class__{name}")
    genes.insert(0, "participant_id", who)
    return genes, pd.DataFrame(
        {"participant_id": who, "dead": followed["e.tdm"] * 1, "days": followed["t.tdm"]}
    )


def survival(threads: int) -> None:
    """Print the concordance of survival: glioma of grade 4, and breast cancer."""
    print("| survival | model | participants, events | concordance (95 % interval) | age alone | s |")
    print("|---|---|---|---|---|---|")
    features, people = load_gliomas()
    grade4 = {"where": {"grade": 4}, "covariates": ["age"]}
    cases = [
        ("glioma, grade 4", features, people[people["days"].notna()], grade4),
        ("breast cancer", *breast_cancer(), {}),
    ]
    common = {"name": "s", "kind": "survival", "outcome": "dead", "positive": "1", "time": "days", **ALONE}
    for name, inputs, persons, own in cases:
        for model in ("ensemble", "superpc", "cox_elasticnet", "survival_forest"):
            begin = time.perf_counter()
            settings = parse_analysis({**common, "model": model, **own})
            metrics = run_analysis(inputs, persons, settings, threads=threads).metrics
            found = "{n}, {n_events} | {c_index:.3f} ({c_index_low:.3f} to {c_index_high:.3f})".format(
                **metrics
            )
            age = beside(metrics, "clinical")
            print(f"| {name} | {model} | {found} | {age} | {time.perf_counter() - begin:.0f} |", flush=True)


def noise(count: int, threads: int) -> None:
    """Print what is found where there is nothing: in noise, and with a site that goes with the outcome."""
    print("| nothing to find | tables | mean AUC | interval covers 0.5 |")
    print("|---|---|---|---|")
    for name, asked in (
        ("noise, 100 x 1,000", {}),
        ("the same, the site goes with the outcome, ComBat", {"harmonise": "site"}),
        (
            "noise, one of each class left out at a time (ridge)",
            {"validation": "leave_one_group_out", "repeats": 1, "model": "ridge_logistic"},
        ),
    ):
        aucs, covered = [], 0
        for seed in range(count):
            rng = np.random.default_rng(seed)
            outcome = rng.permutation(np.arange(100) % 2)
            site = rng.random(100) < np.where(outcome, 0.7, 0.3)
            who = [f"sub-{number:03d}" for number in range(100)]
            columns = [f"image__roi__original__class__F{number}" for number in range(1000)]
            values = rng.normal(size=(100, 1000)) + ("harmonise" in asked) * site[:, None]
            features = pd.DataFrame(values, columns=columns)
            features.insert(0, "participant_id", who)
            people = pd.DataFrame({"participant_id": who, "outcome": outcome, "site": site.astype(int)})
            settings = parse_analysis({"name": "noise", "outcome": "outcome", **ALONE, **asked})
            metrics = run_analysis(features, people, settings, threads=threads).metrics
            aucs.append(metrics["auc"])
            covered += metrics["auc_low"] <= 0.5 <= metrics["auc_high"]
        print(f"| {name} | {count} | {np.mean(aucs):.3f} | {covered} |", flush=True)


def main() -> None:
    """Print the tables."""
    warnings.filterwarnings("ignore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("parts", nargs="*", default=PARTS, help=f"of {', '.join(PARTS)}")
    parser.add_argument("--tables", nargs="*", default=list(NAMES), help=f"of {', '.join(NAMES)}")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    if "tables" in options.parts:
        tables(options.tables, options.threads)
    if "gliomas" in options.parts:
        gliomas(options.threads)
    if "survival" in options.parts:
        survival(options.threads)
    if "noise" in options.parts:
        noise(20, options.threads)


if __name__ == "__main__":
    main()
