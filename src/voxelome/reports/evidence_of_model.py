"""What is known of the model of an analysis and its validation, by items of checklists.

Each function answers one item, or returns None where nothing is known. Nothing is claimed that the facts do
not show: where a judgement is needed the answer is the author's, with what is known beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

from voxelome.reports import analysis_words as words
from voxelome.reports import model_words
from voxelome.reports.checklist_facts import Evidence, Facts, State


def sample_size(facts: Facts) -> Evidence | None:
    """Answer how the sample size was judged."""
    size = facts.metrics.get("sample_size")
    if not size:
        return None
    what = (
        "participants" if facts.metrics.get("kind") == "continuous" else "events or cases of the rarest class"
    )
    told = (
        f"Judged after the analysis: {facts.metrics['n']} participants, "
        f"{size['events_per_variable']:.3g} {what} "
        f"for each candidate feature. {size['sentence']}"
    )
    return Evidence("author" if size["needed"] is None else "yes", told)


def dimensionality(facts: Facts) -> Evidence | None:
    """Answer whether the participants suffice for the number of features."""
    size = facts.metrics.get("sample_size")
    if not size:
        return None
    if size["needed"] is None:
        return Evidence("author", size["sentence"])
    enough = facts.metrics["n"] >= size["needed"]
    return Evidence("yes" if enough else "no", f"{facts.metrics['n']} participants. {size['sentence']}")


def partition(facts: Facts) -> Evidence | None:
    """Answer how training and test data were kept apart."""
    if not facts.metrics:
        return None
    return Evidence("yes", words.partition(facts.metrics))


def reliability(facts: Facts) -> Evidence | None:
    """Answer how reliable features are under other outlines."""
    found = robust_features(facts)
    return None if found is None or found.state == "no" else found


def robust_features(facts: Facts) -> Evidence | None:
    """Answer whether features that are not robust were left out."""
    if "minimum_reliability" not in facts.settings:
        return None
    least = facts.settings["minimum_reliability"]
    if not least:
        return Evidence("no", "No feature was left out for its reliability (minimum_reliability is 0).")
    return Evidence(
        "yes",
        f"Features had to have an ICC(1,1) of at least {least:g} over perturbations of image and "
        "outline, in the "
        "training participants of each fold.",
    )


def scaling(facts: Facts) -> Evidence | None:
    """Answer how features were scaled."""
    if not (told := model_words.scaling(facts.settings)):
        return None
    if not facts.settings.get("harmonise") and set(model_words.members(facts.settings)) <= set(
        model_words.AS_THEY_ARE
    ):
        return Evidence("n/a", f"{told}.")
    return Evidence("yes", f"{told}, learned from the training participants of each fold alone.")


def selection(facts: Facts) -> Evidence | None:
    """Answer how features were chosen."""
    told = model_words.selection(facts.settings)
    if not told:
        return None
    reduced = any(
        name in (*model_words.CHOOSING, *model_words.REDUCING) for name in model_words.members(facts.settings)
    )
    return Evidence("yes" if reduced else "n/a", told)


def redundant_features(facts: Facts) -> Evidence | None:
    """Answer whether redundant features were left out."""
    if not (told := model_words.selection(facts.settings)):
        return None
    members = model_words.members(facts.settings)
    some = any(name in (*model_words.CHOOSING, *model_words.REDUCING) for name in members)
    state: State = "author" if some else "no"
    if all(name in model_words.CHOOSING for name in members):
        state = "yes"
    return Evidence(state, told)


def deep_learning(facts: Facts) -> Evidence | None:
    """Answer for end-to-end deep learning, of which there is none."""
    return Evidence("n/a", "The model takes a table of features.") if facts.metrics else None


def algorithm(facts: Facts) -> Evidence | None:
    """Answer which algorithm it is."""
    if not (told := model_words.model(facts.settings)):
        return None
    package = "scikit-survival" if facts.settings.get("kind") == "survival" else "scikit-learn"
    version = f" ({package} {facts.versions[package]})" if package in facts.versions else ""
    return Evidence("yes" if version else "author", f"{told[0].upper()}{told[1:]}{version}.")


def tuning(facts: Facts) -> Evidence | None:
    """Answer how settings were chosen."""
    told = model_words.tuning(facts.settings)
    return Evidence("yes", told) if told else None


def confounders(facts: Facts) -> Evidence | None:
    """Answer what was done about confounders, as far as the settings say."""
    parts = []
    if column := facts.settings.get("harmonise"):
        parts.append(f"ComBat removed effects of {column} inside the folds")
    if (groups := facts.settings.get("groups", "participant_id")) != "participant_id":
        parts.append(f"members of one {groups} were never split between training and test")
    if names := [each["name"] for each in words.alternatives(facts.metrics)]:
        parts.append(f"beside the model were validated {words.joined(names)}")
    return Evidence("author", words.sentence("; ".join(parts))) if parts else None


def model_choice(facts: Facts) -> Evidence | None:
    """Answer by what the final model was chosen."""
    told = model_words.choice(facts.settings)
    return Evidence("yes", told) if told else None


def testing(facts: Facts) -> Evidence | None:
    """Answer how the model was tested."""
    if not facts.metrics:
        return None
    told = f"{words.validation(facts.metrics)[0].upper()}{words.validation(facts.metrics)[1:]}."
    return Evidence("yes", " ".join([told, *words.held_out(facts.metrics, facts.hold_out)]))


def internal_test(facts: Facts) -> Evidence | None:
    """Answer whether participants were tested on who took no part in development."""
    if not facts.metrics:
        return None
    told = " ".join(words.held_out(facts.metrics, facts.hold_out))
    if not told:
        return Evidence("no", "Nested cross-validation alone; no participants were locked away.")
    opened = bool(facts.hold_out)
    once = opened and not facts.hold_out.get("OpenedBefore", 0)
    return Evidence("author" if once else "no", told)


def external_test(facts: Facts) -> Evidence | None:
    """Answer whether there is an external test: the software does not know institutions."""
    if facts.settings.get("validation") == "leave_one_group_out":
        return Evidence("author", f"Each {facts.settings['groups']} was left out once.")
    told = " ".join(words.held_out(facts.metrics, facts.hold_out))
    return Evidence("author", told) if told else None


def measures(facts: Facts) -> Evidence | None:
    """Answer which measures there are."""
    names = words.measures(facts.metrics)
    return Evidence("yes", f"{names[0].upper()}{names[1:]}.") if names else None


def uncertainty(facts: Facts) -> Evidence | None:
    """Answer how uncertain the result is."""
    found = words.headline(facts.metrics)
    if found is None or found.low is None:
        return None
    _, mark, method = str(facts.metrics.get(f"{found.key}_method", "")).partition("95% interval: ")
    return Evidence("yes", f"{found.sentence}. Interval: {method}" if mark else f"{found.sentence}.")


def calibration(facts: Facts) -> Evidence | None:
    """Answer whether calibration was assessed."""
    if not facts.metrics:
        return None
    slope = facts.metrics.get("calibration_slope")
    if slope is not None:
        level = facts.metrics.get("calibration_in_the_large")
        more = "" if level is None else f", calibration in the large {level:.2f} (0 is right)"
        return Evidence("yes", f"Held-out calibration slope {slope:.2f} (1 is right){more}.")
    if "one_against_rest" in facts.metrics:
        return Evidence("yes", "Held-out calibration curve of each class.")
    return Evidence("no", "No calibration was found for this outcome.")


def statistical_comparison(facts: Facts) -> Evidence | None:
    """Answer by what test models were compared."""
    tested = [each for each in words.alternatives(facts.metrics) if each["p"] is not None]
    if not tested:
        return None
    tests = ", ".join(sorted({each["test"] for each in tested}))
    return Evidence("yes", f"{tests[0].upper()}{tests[1:]}: {words.comparisons(facts.metrics)}.")


def comparison_plan(facts: Facts) -> Evidence | None:
    """Answer whether other methods than radiomics stand beside the model."""
    found = [each["name"] for each in words.alternatives(facts.metrics)]
    if not found:
        return None
    curve = "; net benefit by decision curves" if "decision_curve" in facts.metrics else ""
    return Evidence("yes", words.sentence(f"on the same folds: {', '.join(found)}{curve}"))


def comparison_results(facts: Facts) -> Evidence | None:
    """Answer what the comparison gave."""
    told = words.comparisons(facts.metrics)
    return Evidence("yes", words.sentence(told)) if told else None


def non_radiomic(facts: Facts) -> Evidence | None:
    """Answer whether the model was compared with covariates or size by a test."""
    return _compared(
        facts, ("clinical covariates alone", "size alone"), "No covariates or volumes were offered"
    )


def simple_model(facts: Facts) -> Evidence | None:
    """Answer whether the model was compared with a simple one by a test."""
    if permuted := facts.metrics.get("permutations"):
        count = len(permuted["null"])
        return Evidence("yes", f"Against {count} permutations of the outcome p = {permuted['p']:.3g}.")
    return _compared(
        facts, ("clinical covariates alone", "size alone"), "No simple model was compared by a test"
    )


def explanation(facts: Facts) -> Evidence | None:
    """Answer how the model was interpreted."""
    if facts.metrics.get("explanation"):
        return Evidence(
            "yes", "What the model makes of clusters of features, in participants it has not seen."
        )
    return None


def performance(facts: Facts) -> Evidence | None:
    """Answer how the model does."""
    found = words.headline(facts.metrics)
    return (
        None if found is None else Evidence("yes", f"{found.sentence}; without information {found.chance:g}.")
    )


def _compared(facts: Facts, names: Sequence[str], otherwise: str) -> Evidence | None:
    if "alternatives" not in facts.metrics:
        return None
    found = [each for each in words.alternatives(facts.metrics) if each["name"] in names]
    if any(each["p"] is not None for each in found):
        return Evidence("yes", words.sentence(words.comparisons({**facts.metrics, "alternatives": found})))
    return Evidence("no", f"{otherwise}.")
