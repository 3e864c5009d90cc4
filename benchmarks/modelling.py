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

from voxelome.modelling.analysis import parse_analysis, run_analysis

TABLES = Path(__file__).resolve().parents[2] / "shared" / "data" / "tables"
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


def gliomas(threads: int) -> None:
    """Print how well IDH mutation is told from the post-contrast T1w of 501 gliomas (UCSF-PDGM)."""
    folder = TABLES / "ucsf_pdgm_tables"
    people = pd.read_csv(folder / "UCSF-PDGM-metadata_v2.csv")
    people = people.rename(columns={"ID": "participant_id", "WHO CNS Grade": "grade", "Age at MRI": "age"})
    people["mutated"] = np.where(people["IDH"] == "wildtype", "wildtype", "mutated")
    table = pd.read_csv(folder / "radiomic_features_T1gad_bias.csv").rename(columns={"ID": "participant_id"})
    columns = [name for name in table if name.startswith("original_")]
    features = table[["participant_id", *columns]].rename(
        columns=lambda name: f"T1w__tumor__{name.replace('_', '__', 2)}" if name in columns else name
    )
    print(
        "| IDH of gliomas | participants, mutated | AUC (95 % interval) | age alone | size alone | seconds |"
    )
    print("|---|---|---|---|---|---|")
    for name, covariates, where in (
        ("features", [], {}),
        ("features and age", ["age"], {}),
        ("grade 4: features", [], {"grade": 4}),
        ("grade 4: features and age", ["age"], {"grade": 4}),
    ):
        begin = time.perf_counter()
        asked = {"name": "idh", "outcome": "mutated", "positive": "mutated", "where": where}
        metrics = run_analysis(
            features, people, parse_analysis({**asked, "covariates": covariates}), threads=threads
        ).metrics
        others = {
            other["name"].split(" alone")[0]: f"{other['value']:.3f}" for other in metrics["alternatives"]
        }
        found = "{auc:.3f} ({auc_low:.3f} to {auc_high:.3f})".format(**metrics)
        beside = f"{others.get('clinical covariates', '')} | {others.get('size', '')}"
        counts = f"{metrics['n']}, {metrics['n_positive']}"
        print(f"| {name} | {counts} | {found} | {beside} | {time.perf_counter() - begin:.0f} |", flush=True)


def noise(count: int, threads: int) -> None:
    """Print what is found in pure noise: 100 participants, 1,000 features."""
    aucs, covered = [], 0
    for seed in range(count):
        rng = np.random.default_rng(seed)
        who = [f"sub-{number:03d}" for number in range(100)]
        columns = [f"image__roi__original__class__F{number}" for number in range(1000)]
        features = pd.DataFrame(rng.normal(size=(100, 1000)), columns=columns)
        features.insert(0, "participant_id", who)
        people = pd.DataFrame({"participant_id": who, "outcome": rng.permutation(np.arange(100) % 2)})
        settings = parse_analysis({"name": "noise", "outcome": "outcome"})
        metrics = run_analysis(features, people, settings, threads=threads).metrics
        aucs.append(metrics["auc"])
        covered += metrics["auc_low"] <= 0.5 <= metrics["auc_high"]
    print(f"noise, {count} tables: mean AUC {np.mean(aucs):.3f}, interval covers 0.5 in {covered}")


def main() -> None:
    """Print the tables."""
    warnings.filterwarnings("ignore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "parts", nargs="*", default=["tables", "gliomas", "noise"], help="of tables, gliomas, noise"
    )
    parser.add_argument("--tables", nargs="*", default=list(NAMES), help=f"of {', '.join(NAMES)}")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    if "tables" in options.parts:
        tables(options.tables, options.threads)
    if "gliomas" in options.parts:
        gliomas(options.threads)
    if "noise" in options.parts:
        noise(20, options.threads)


if __name__ == "__main__":
    main()
