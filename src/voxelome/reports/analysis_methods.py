"""The methods of an analysis in the words of a paper, and what they cite."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from voxelome.outcomes import HEADLINES, rules_in_words
from voxelome.references import REFERENCES, Reference
from voxelome.reports import analysis_words as words
from voxelome.reports import model_words
from voxelome.reports.wording import plural

Content = Mapping[str, Any]


def methods_of(
    settings: Content, metrics: Content, feature_settings: Content, software_versions: Mapping[str, str]
) -> list[str]:
    """Return paragraphs on participants and features, the model, its validation, and software.

    Parameters
    ----------
    settings : mapping
        Of the analysis, as :class:`voxelome.modelling.settings.AnalysisSettings`.
    metrics : mapping
        As metrics.json holds them.
    feature_settings : mapping
        How features were computed: the ``Settings`` of the data dictionary beside them, and ``software``.
    software_versions : mapping
        Version of each program.
    """
    paragraphs = [
        [*_participants(settings, metrics), *_features(settings, metrics, feature_settings)],
        _model(settings),
        [*_validation(settings, metrics), *_beside(metrics)],
        _software(software_versions),
    ]
    return [" ".join(sentences) for sentences in paragraphs if sentences]


def references_of(paragraphs: Iterable[str]) -> list[Reference]:
    """Return the references that paragraphs cite, such as ``(Newcombe 2006)`` or ``Newcombe (2006)``."""
    text = " ".join(paragraphs)
    return [item for item in REFERENCES if _cites(text, item)]


def _cites(text: str, item: Reference) -> bool:
    surname = re.escape(item.authors.split(",")[0])
    # Between the name and the year may be other authors, but no other year and no end of a sentence.
    return re.search(rf"\b{surname}\b[^0-9;.)]{{0,40}}{item.year}\b", text) is not None


def _participants(settings: Content, metrics: Content) -> list[str]:
    if "n" not in metrics:
        return []
    steps = metrics.get("flow") or [{"n": metrics["n"], "label": ""}]
    lost = [reason for step in steps for reason in step.get("left_out", ())]
    told = f"Of {steps[0]['n']} participants {metrics['n']} were analysed, with {metrics['n_visits']} visits"
    if lost:
        reasons = "; ".join(f"{reason['why']}, n = {reason['n']}" for reason in lost)
        told += f" (left out: {reasons})"
    sentences = [f"{told}."]
    if settings.get("where"):
        sentences.insert(0, f"Participants were those with {rules_in_words(settings['where'])}.")
    kinds = {"binary": "a binary outcome", "multiclass": "several classes", "ordinal": "ordered classes"}
    kinds |= {"continuous": "a number", "survival": "the time to an event"}
    sentences.append(
        f"The outcome was {metrics['outcome']}, {kinds[metrics['kind']]}{words.counts(metrics)}."
    )
    taken = {
        "first": "Of each participant the first visit was taken.",
        "last": "Of each participant the last visit was taken.",
        "mean": "The features of a participant's visits were averaged.",
        "all": "A participant's prediction was the mean over the visits.",
    }
    if metrics["n_visits"] > metrics["n"] or settings.get("visits", "all") != "all":
        sentences.append(taken[settings.get("visits", "all")])
    return sentences


def _features(settings: Content, metrics: Content, features: Content) -> list[str]:
    sentences = []
    if software := words.feature_software(features):
        sentences.append(f"Features were computed with {software}")
    if features.get("bin_count") is not None:
        sentences.append(f"Gray levels were {features['bin_count']} bins between the extremes of the region.")
    elif features.get("bin_width") is not None:
        sentences.append(f"Gray levels were {features['bin_width']:g} wide, in the unit of the image.")
    if features.get("image_types"):
        sentences.append(f"Image types were {words.image_types(features['image_types'])}.")
    if "n_features" in metrics:
        told = f"The model was offered {metrics['n_features']} columns"
        if (patterns := list(settings.get("features", ("*",)))) != ["*"]:
            told += f", those named {' or '.join(patterns)}"
        if settings.get("exclude"):
            told += f", without those named {' or '.join(settings['exclude'])}"
        if settings.get("covariates"):
            told += f", among them the covariates {words.joined(list(settings['covariates']))}"
        sentences.append(f"{told}.")
    return sentences


def _model(settings: Content) -> list[str]:
    if not (model := model_words.model(settings)):
        return []
    sentences = [f"The model was {model}."]
    if least := settings.get("minimum_reliability"):
        sentences.append(
            "Features were offered whose ICC(1,1) over perturbations of image and outline "
            "(Zwanenburg 2019) was "
            f"at least {least:g} in training."
        )
    if images := settings.get("standard_scale"):
        sentences.append(
            f"Percentiles of regions of {words.joined(list(images))} were brought to a standard scale of "
            "intensities (Nyul 2000), the mean of the brains in training."
        )
    sentences.append(f"Missing values became the median in training. {model_words.scaling(settings)}.")
    if settings.get("harmonise"):
        kept = settings.get("harmonise_keep")
        sentences.append(
            f"ComBat was learned in training and never saw the outcome"
            f"{f'; it kept the effects of {words.joined(list(kept))}' if kept else ''}."
        )
        if settings.get("unseen_site") == "keep":
            sentences.append("Participants of a site that was not in training were not harmonised.")
    sentences += [each for each in (model_words.selection(settings), model_words.tuning(settings)) if each]
    if settings.get("kind", "binary") in ("binary", "multiclass", "ordinal"):
        sentences.append(model_words.BALANCES[settings.get("balance", "none")])
    if settings.get("kind", "binary") == "binary":
        sentences.append("Decisions were cut at the prevalence in training.")
    return sentences


def _validation(settings: Content, metrics: Content) -> list[str]:
    if "validation" not in metrics:
        return []
    who = "participant" if metrics["groups"] == "participant_id" else metrics["groups"]
    sentences = [
        f"The model was validated by {words.validation(metrics)} (Varma 2006; seed "
        f"{metrics['random_seed']}).",
        f"All visits of one {who} were on one side of each split, and all that was learned was learned from "
        "the training part alone (Ambroise 2002).",
    ]
    key, name, _ = HEADLINES[metrics["kind"]]
    if method := metrics.get(f"{key}_method"):
        told = method.replace("Share of", "share of", 1)
        sentences.append(f"The main measure was the {name}{_CITED.get(key, '')}: {told}")
    if (others := words.measures({k: v for k, v in metrics.items() if k != key})) != "":
        sentences.append(f"Further measures were {others}.")
    if "decision_curve" in metrics:
        sentences.append("Net benefit was that of Vickers and Elkin (2006).")
    if draws := settings.get("bootstrap"):
        sentences.append(f"The AUC was estimated by {draws} draws of the .632+ bootstrap (Efron 1997), too.")
    if shares := settings.get("learning_curve"):
        told = words.joined([f"{share:.0%}" for share in shares])
        sentences.append(f"It was validated with {told} of the training participants, too.")
    sentences += words.held_out(metrics, {})
    return sentences


_CITED = {"c_index": " (Harrell 1982)", "hand_till": " (Hand 2001)"}


def _beside(metrics: Content) -> list[str]:
    sentences = []
    if others := words.alternatives(metrics):
        names = words.joined([f"{each['name']} ({plural(each['features'], 'column')})" for each in others])
        told = f"On the same folds were validated {names}"
        tests = sorted({each["test"] for each in others if each["test"]})
        cited = {"corrected resampled t-test": " (Nadeau and Bengio 2003)"}
        if tests:
            names = words.joined([test + cited.get(test, "") for test in tests])
            told += f"; differences were tested by the {names}"
        sentences.append(f"{told}.")
    if permuted := metrics.get("permutations"):
        count = len(permuted["null"])
        sentences.append(
            f"The whole pipeline was repeated with the outcome dealt out at random {count} times."
        )
    if (size := metrics.get("sample_size")) and size["needed"] is not None:
        who = "Riley (2019) and Riley (2020)" if metrics["kind"] == "binary" else "Riley (2020)"
        sentences.append(f"By the criteria of {who}, from the performance found: {size['sentence']}")
    if metrics.get("leak_probe"):
        sentences.append(
            "A simple model was validated with features chosen inside the folds and, to show "
            "what that leak would "
            "have reported, with features chosen on all participants."
        )
    if metrics.get("explanation"):
        sentences.append(
            "What the model made of clusters of features was found in participants it had not seen."
        )
    return sentences


def _software(versions: Mapping[str, str]) -> list[str]:
    told = words.joined([f"{name} {version}" for name, version in versions.items()])
    cited = " (scikit-learn: Pedregosa 2011)" if "scikit-learn" in versions else ""
    return [f"Software: {told}{cited}."] if told else []
