"""Analyses of simulated tables whose truth is known, and of real ones whose outcome is dealt out at random.

What an interval should hold: the AUC (or concordance) that the fitted model has among people whom nobody has
seen. That of the true score is out of reach where the model must learn the score from few participants; it is
printed beside.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from modelling import ALONE, NAMES, load
from scipy.optimize import brentq
from scipy.stats import norm

from voxelome.modelling.analysis import AnalysisResult, parse_analysis, run_analysis
from voxelome.modelling.metrics import auc

PARTS = ["auc", "concordance", "permuted", "splits"]
FRESH, PAIRS = 20_000, 200_000
N, FEATURES = 200, 20
CENSORED = 0.4
COLUMNS = [f"image__roi__original__class__F{number}" for number in range(FEATURES)]


def names_of(count: int) -> list[str]:
    """Names of participants."""
    return [f"sub-{number:04d}" for number in range(count)]


def analyse(
    values: np.ndarray, people: dict[str, Any], asked: dict[str, Any], threads: int
) -> AnalysisResult:
    """Analyse a table of features."""
    who = names_of(len(values))
    features = pd.DataFrame(values, columns=COLUMNS[: values.shape[1]])
    features.insert(0, "participant_id", who)
    settings = parse_analysis({"name": "known", **ALONE, **asked})
    return run_analysis(features, pd.DataFrame({"participant_id": who, **people}), settings, threads=threads)


def table_for(model: Any, values: np.ndarray) -> pd.DataFrame:
    """Features as the model takes them."""
    return pd.DataFrame(values, columns=COLUMNS)[list(model.feature_names_in_)]


def held(intervals: Sequence[tuple[float, float]], truth: Any) -> str:
    """How many intervals hold the truth, one for all or one for each."""
    low, high = np.array(intervals).T
    return f"{np.sum((low <= truth) & (truth <= high))}"


def width(intervals: Sequence[tuple[float, float]]) -> str:
    """Mean width of intervals."""
    return f"{np.mean(np.diff(np.array(intervals))):.3f}"


def two_classes(n: int, known: float, informative: int, rng: np.random.Generator) -> tuple[Any, Any]:
    """Normal classes of which the best score, the sum of the informative features, has the known AUC."""
    positive = rng.random(n) < 0.4
    values = rng.normal(size=(n, FEATURES))
    # The AUC of the best score is the normal distribution at d / sqrt(2), d being Mahalanobis' distance.
    values[:, :informative] += positive[:, None] * np.sqrt(2 / informative) * norm.ppf(known)
    return values, positive


def known_auc(model: str, count: int, threads: int) -> None:
    """Print how often the interval holds the AUC of the true score, and that of the fitted model."""
    print(
        f"| AUC, n {N} | of the true score | tables | mean AUC | of the fitted model | mean width |"
        " holds that of the model | holds that of the true score |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for offered, informative in ((3, 3), (FEATURES, 1), (FEATURES, 5)):
        for known in (0.65, 0.75, 0.85):
            fresh, truth = two_classes(FRESH, known, informative, np.random.default_rng(FRESH))
            found, reached, intervals = [], [], []
            for seed in range(count):
                rng = np.random.default_rng((seed, informative, round(100 * known)))
                values, positive = two_classes(N, known, informative, rng)
                asked = {"outcome": "outcome", "model": model}
                result = analyse(values[:, :offered], {"outcome": positive.astype(int)}, asked, threads)
                score = result.model.predict_proba(table_for(result.model, fresh))[:, 1]
                found.append(result.metrics["auc"])
                reached.append(auc(truth, score))
                intervals.append((result.metrics["auc_low"], result.metrics["auc_high"]))
            row = f"{np.mean(found):.3f} | {np.mean(reached):.3f} | {width(intervals)}"
            covered = f"{held(intervals, np.array(reached))} | {held(intervals, known)}"
            signal = f"signal in {informative} of {offered} features"
            print(
                f"| {signal} | {known} | {count} | {row} | {covered} |",
                flush=True,
            )


def lifetimes(n: int, spread: float, follow_up: float, rng: np.random.Generator) -> tuple[Any, ...]:
    """Features, true log hazard with a standard deviation, exponential lifetimes, and ends of follow-up."""
    values = rng.normal(size=(n, FEATURES))
    hazard = values[:, :5].sum(axis=1) * spread / np.sqrt(5)
    return values, hazard, rng.exponential(np.exp(-hazard)), rng.exponential(follow_up, size=n)


def mean_follow_up(spread: float) -> float:
    """Mean of exponential ends of follow-up by which the given share is censored."""
    hazard = np.exp(spread * np.random.default_rng(0).normal(size=PAIRS))
    return float(brentq(lambda mean: np.mean(1 / (1 + hazard * mean)) - CENSORED, 1e-3, 1e3))


def concordance_of_pairs(risk: np.ndarray, time: np.ndarray, event: np.ndarray) -> float:
    """Share of random pairs with a known order that the risk orders rightly."""
    one, other = np.random.default_rng(1).integers(len(risk), size=(2, PAIRS))
    first, second = np.where(time[one] < time[other], (one, other), (other, one))
    comparable = event[first] & (first != second)
    return float(np.mean((risk[first] > risk[second])[comparable]))


def known_concordance(model: str, count: int, threads: int) -> None:
    """Print how often the interval holds the concordance of the true risk, and that of the fitted model.

    Harrell's C leaves out the pairs that censoring hides, which are those of late events: what it estimates
    is the concordance under the same censoring, not that without.
    """
    print(
        f"| concordance, n {N}, {CENSORED:.0%} censored | of the true risk, as censored | uncensored |"
        " tables | mean C | of the fitted model, as censored | mean width | holds that of the model |"
        " holds that of the true risk | holds the uncensored |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for offered, spread in ((5, 0.5), (5, 1.0), (FEATURES, 0.5), (FEATURES, 1.0)):
        follow_up = mean_follow_up(spread)
        fresh, hazard, life, end = lifetimes(FRESH, spread, follow_up, np.random.default_rng(FRESH))
        time, event = np.minimum(life, end), life <= end
        known = concordance_of_pairs(hazard, time, event)
        uncensored = concordance_of_pairs(hazard, life, np.ones(FRESH, dtype=bool))
        found, reached, intervals = [], [], []
        for seed in range(count):
            rng = np.random.default_rng((seed, round(10 * spread)))
            values, _, lived, followed = lifetimes(N, spread, follow_up, rng)
            people = {"dead": (lived <= followed).astype(int), "days": np.minimum(lived, followed)}
            asked = {"kind": "survival", "outcome": "dead", "positive": "1", "time": "days", "model": model}
            result = analyse(values[:, :offered], people, asked, threads)
            risk = np.asarray(result.model.predict(table_for(result.model, fresh)))
            found.append(result.metrics["c_index"])
            reached.append(concordance_of_pairs(risk, time, event))
            intervals.append((result.metrics["c_index_low"], result.metrics["c_index_high"]))
        row = f"{known:.3f} | {uncensored:.3f} | {count} | {np.mean(found):.3f} | {np.mean(reached):.3f}"
        covered = " | ".join(held(intervals, truth) for truth in (np.array(reached), known, uncensored))
        case = f"5 of {offered} features, log hazard with SD {spread}"
        print(f"| {case} | {row} | {width(intervals)} | {covered} |", flush=True)


def permuted(model: str, tables: list[str], count: int, threads: int) -> None:
    """Print what is found in real features where the outcome is dealt out at random."""
    print("| outcome dealt out | participants, features | times | mean AUC | interval holds 0.5 |")
    print("|---|---|---|---|---|")
    aucs, all_intervals = [], []
    for name in tables:
        features, people = load(name)
        found, intervals = [], []
        for seed in range(count):
            outcome = np.random.default_rng(seed).permutation(people["outcome"].to_numpy())
            settings = parse_analysis(
                {"name": name, "outcome": "outcome", "model": model, "explain": False, "permutations": 0}
            )
            dealt = people.assign(outcome=outcome)
            metrics = run_analysis(features, dealt, settings, threads=threads).metrics
            found.append(metrics["auc"])
            intervals.append((metrics["auc_low"], metrics["auc_high"]))
        size = f"{len(people)}, {features.shape[1] - 1}"
        print(f"| {name} | {size} | {count} | {np.mean(found):.3f} | {held(intervals, 0.5)} |", flush=True)
        aucs += found
        all_intervals += intervals
    print(f"| all | | {len(aucs)} | {np.mean(aucs):.3f} | {held(all_intervals, 0.5)} |", flush=True)


def families(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Noise of 40 families of 4, who share half of the variance of their features, and the outcome."""
    family = np.repeat(np.arange(40), 4)
    values = rng.normal(size=(40, FEATURES))[family] + rng.normal(size=(160, FEATURES))
    return values, rng.permutation(np.arange(40) % 2)[family], family


def sites(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Noise of 5 sites of 32, which differ in their features and in how frequent the outcome is."""
    site = np.repeat(np.arange(5), 32)
    values = rng.normal(size=(5, FEATURES))[site] + rng.normal(size=(160, FEATURES))
    return values, (rng.random(160) < np.linspace(0.15, 0.85, 5)[site]).astype(int), site


def splits(model: str, count: int, threads: int) -> None:
    """Print what is found in noise with groups, held out whole or split."""
    print("| noise in groups | held out | tables | mean AUC | interval holds 0.5 |")
    print("|---|---|---|---|---|")
    for name, make, ways in (
        (
            "families of 4 with one outcome",
            families,
            {"single participants (a leak)": {}, "families": {"groups": "group"}},
        ),
        (
            "5 sites, more or less of the outcome",
            sites,
            {
                "single participants (a leak)": {},
                "one site at a time": {"groups": "group", "validation": "leave_one_group_out"},
            },
        ),
    ):
        for way, asked in ways.items():
            found, intervals = [], []
            for seed in range(count):
                values, outcome, group = make(np.random.default_rng(seed))
                common = {"outcome": "outcome", "model": model}
                people = {"outcome": outcome, "group": [f"G{number}" for number in group]}
                metrics = analyse(values, people, common | asked, threads).metrics
                found.append(metrics["auc"])
                intervals.append((metrics["auc_low"], metrics["auc_high"]))
            row = f"{count} | {np.mean(found):.3f} | {held(intervals, 0.5)}"
            print(f"| {name} | {way} | {row} |", flush=True)


def main() -> None:
    """Print the tables."""
    warnings.filterwarnings("ignore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("parts", nargs="*", default=PARTS, help=f"of {', '.join(PARTS)}")
    parser.add_argument("--model", default="elasticnet_logistic", help="of classes; ensemble is slow")
    parser.add_argument("--survival-model", default="cox_elasticnet", help="of concordance")
    parser.add_argument("--tables", nargs="*", default=list(NAMES), help=f"of {', '.join(NAMES)}")
    parser.add_argument("--count", type=int, default=50, help="simulated tables with each known truth")
    parser.add_argument("--noise", type=int, default=20, help="simulated tables of each kind of noise")
    parser.add_argument("--permutations", type=int, default=10, help="of each real table")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    if "auc" in options.parts:
        known_auc(options.model, options.count, options.threads)
    if "concordance" in options.parts:
        known_concordance(options.survival_model, options.count, options.threads)
    if "permuted" in options.parts:
        permuted(options.model, options.tables, options.permutations, options.threads)
    if "splits" in options.parts:
        splits(options.model, options.noise, options.threads)


if __name__ == "__main__":
    main()
