"""What the settings and results of an analysis show of the items of checklists.

Each function answers one item, or returns None where nothing is known. Nothing is claimed that the facts do
not show: where a judgement is needed the answer is the author's, with what is known beside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from voxelome.reports import analysis_words as words

State = Literal["yes", "no", "author", "n/a"]


class Evidence(NamedTuple):
    """An answer, and one sentence that gives the reason."""

    state: State
    text: str = ""


@dataclass(frozen=True)
class Facts:
    """What is known of an analysis; what is not known stays empty.

    Attributes
    ----------
    settings : mapping
        Of the analysis, as :class:`voxelome.modelling.settings.AnalysisSettings`.
    metrics : mapping
        As metrics.json holds them.
    features : mapping
        How features were computed: the ``Settings`` of the data dictionary beside them, and ``software``, its
        ``Software``.
    processing : mapping
        Settings of the images' processing, by stage: ``preprocess`` and ``register`` of config.yaml.
    versions : mapping
        Version of each program.
    columns : sequence of str
        Names of the features offered, ``<image>__<roi>__<filter>__<class>__<feature>``.
    missing : float, optional
        Share of the values of the features that are missing.
    n_selected, n_univariate : int
        Rows of the tables of selected features and of single features; 0 where there is none.
    hold_out : mapping
        As hold_out.json holds it, where the hold-out was opened.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    features: Mapping[str, Any] = field(default_factory=dict)
    processing: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    columns: Sequence[str] = ()
    missing: float | None = None
    n_selected: int = 0
    n_univariate: int = 0
    hold_out: Mapping[str, Any] = field(default_factory=dict)


Rule = Callable[[Facts], Evidence | None]


def guidelines(_: Facts) -> Evidence:
    """Answer whether a checklist was followed."""
    return Evidence("author", "This report holds CLEAR and METRICS, and the flow that TRIPOD+AI asks for.")


def sample_size(facts: Facts) -> Evidence | None:
    """Answer how the sample size was judged."""
    size = facts.metrics.get("sample_size")
    if not size:
        return None
    told = f"{facts.metrics['n']} participants, {size['events_per_variable']:.3g} of the rarer outcome for each"
    if facts.metrics.get("kind") == "continuous":
        told = f"{facts.metrics['n']} participants, {size['events_per_variable']:.3g} for each"
    told += f" candidate feature. {size['sentence']}"
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


def eligibility(facts: Facts) -> Evidence | None:
    """Answer who was eligible, as far as the settings say."""
    if not facts.settings.get("where"):
        return None
    return Evidence("author", f"The analysis took participants with {words.rules(facts.settings['where'])}.")


def partition(facts: Facts) -> Evidence | None:
    """Answer how training and test data were kept apart."""
    if not facts.metrics:
        return None
    return Evidence("yes", words.partition(facts.metrics))


def covariates(facts: Facts) -> Evidence | None:
    """Answer which predictors are not radiomic."""
    if "covariates" not in facts.settings:
        return None
    names = facts.settings["covariates"]
    if not names:
        return Evidence("n/a", "No covariate was offered.")
    return Evidence("author", f"Offered beside the features: {', '.join(names)}; texts as one indicator a value.")


def outcome(facts: Facts) -> Evidence | None:
    """Answer what the outcome is."""
    if "outcome" not in facts.metrics:
        return None
    told = f"{facts.metrics['outcome']} ({facts.metrics['kind']}) of participants.tsv"
    return Evidence("author", f"The outcome is the column {told}{words.counts(facts.metrics)}.")


def centres(facts: Facts) -> Evidence | None:
    """Answer whether there are several centres."""
    column = facts.settings.get("harmonise")
    return Evidence("author", f"Features were harmonised by {column}.") if column else None


def regions(facts: Facts) -> Evidence | None:
    """Answer what was segmented."""
    names = sorted({column.split("__")[1] for column in facts.columns if column.count("__") == 4})
    return Evidence("author", f"Regions: {words.some(names)}.") if names else None


def preprocessing(facts: Facts) -> Evidence | None:
    """Answer how images were processed."""
    told = words.processing(facts.processing)
    return Evidence("yes", told) if told else None


def preprocessing_judged(facts: Facts) -> Evidence | None:
    """Answer how images were processed, and leave the judgement to the author."""
    parts = [words.processing(facts.processing)]
    parts += [each.text for rule in (discretisation, image_types) if (each := rule(facts))]
    told = " ".join(part for part in parts if part)
    return Evidence("author", told) if told else None


def resampling(facts: Facts) -> Evidence | None:
    """Answer to what voxel size images were resampled."""
    if "options" not in facts.features:
        return None
    spacing = facts.features["options"].get("resampledPixelSpacing")
    if not spacing:
        return Evidence("author", "Voxels were not resampled to one size before features were computed.")
    how = facts.features["options"].get("interpolator", "the software's default interpolation")
    return Evidence("yes", f"Voxels were resampled to {' x '.join(f'{each:g}' for each in spacing)} mm ({how}).")


def discretisation(facts: Facts) -> Evidence | None:
    """Answer how gray levels were made."""
    if (count := facts.features.get("bin_count")) is not None:
        return Evidence("yes", f"Fixed bin count: {count} gray levels between the extremes of the region.")
    if (width := facts.features.get("bin_width")) is not None:
        return Evidence("yes", f"Fixed bin width: gray levels of {width:g} in the unit of the image.")
    return None


def image_types(facts: Facts) -> Evidence | None:
    """Answer which derived images were measured."""
    types = facts.features.get("image_types")
    return Evidence("yes", f"Image types: {words.image_types(types)}.") if types else None


def feature_software(facts: Facts) -> Evidence | None:
    """Answer which software computed the features."""
    told = words.feature_software(facts.features)
    return Evidence("yes", told) if told else None


def feature_classes(facts: Facts) -> Evidence | None:
    """Answer which classes of features there are."""
    counted = Counter(column.split("__")[3] for column in facts.columns if column.count("__") == 4)
    if counted:
        told = ", ".join(f"{name} {count}" for name, count in sorted(counted.items()))
        return Evidence("yes", f"Features offered by class, over all images and regions: {told}.")
    asked = [*facts.features.get("shapes", ()), *facts.features.get("classes", ())]
    return Evidence("author", f"Classes: {', '.join(asked)}.") if asked else None


def feature_count(facts: Facts) -> Evidence | None:
    """Answer how many features there are."""
    if "n_features" not in facts.metrics:
        return None
    by_image = Counter(column.split("__")[0] for column in facts.columns if column.count("__") == 4)
    told = ", ".join(f"{name} {count}" for name, count in sorted(by_image.items()))
    several = f" ({told})" if told else ""
    return Evidence("yes", f"{facts.metrics['n_features']} columns were offered to the model{several}.")


def feature_defaults(facts: Facts) -> Evidence | None:
    """Answer whether all parameters are told."""
    if "options" not in facts.features or "software" not in facts.features:
        return None
    given = ", ".join(f"{name} {value}" for name, value in facts.features["options"].items())
    told = f"parameters given beside those above: {given or 'none'}; all others had the defaults of the software"
    return Evidence("yes", f"{told[0].upper()}{told[1:]} ({facts.features['software']}).")


def missing_values(facts: Facts) -> Evidence | None:
    """Answer what was done about missing values."""
    if "model" not in facts.settings:
        return None
    told = "Missing values became the median of the training participants, in each fold anew"
    if facts.missing is None:
        return Evidence("author", f"{told}.")
    return Evidence("yes", f"{facts.missing:.2%} of the values were missing. {told}.")


def class_balance(facts: Facts) -> Evidence | None:
    """Answer how large the classes are and how imbalance was handled."""
    kind = facts.metrics.get("kind")
    if kind in ("continuous", "survival"):
        return Evidence("n/a", f"The outcome has no classes{words.counts(facts.metrics)}.")
    if kind is None or "balance" not in facts.settings:
        return None
    told = words.counts(facts.metrics).removeprefix(": ")
    return Evidence("yes", f"{told[0].upper()}{told[1:]}. {words.BALANCES[facts.settings['balance']]}")


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
        f"Features had to have an ICC(1,1) of at least {least:g} over perturbations of image and outline, in the "
        "training participants of each fold.",
    )


def scaling(facts: Facts) -> Evidence | None:
    """Answer how features were scaled."""
    if not (told := words.scaling(facts.settings)):
        return None
    return Evidence("yes", f"{told}, learned from the training participants of each fold alone.")


def selection(facts: Facts) -> Evidence | None:
    """Answer how features were chosen."""
    told = words.selection(facts.settings)
    return Evidence("yes", told) if told else None


def redundant_features(facts: Facts) -> Evidence | None:
    """Answer whether redundant features were left out."""
    if not (told := words.selection(facts.settings)):
        return None
    members = words.members(facts.settings)
    chosen = sum(name in words.CHOOSING for name in members)
    state: State = "yes" if chosen == len(members) else "author" if chosen else "no"
    return Evidence(state, told)


def deep_learning(facts: Facts) -> Evidence | None:
    """Answer for end-to-end deep learning, of which there is none."""
    return Evidence("n/a", "The model takes a table of features.") if facts.metrics else None


def algorithm(facts: Facts) -> Evidence | None:
    """Answer which algorithm it is."""
    if not (told := words.model(facts.settings)):
        return None
    package = "scikit-survival" if facts.settings.get("kind") == "survival" else "scikit-learn"
    version = f" ({package} {facts.versions[package]})" if package in facts.versions else ""
    return Evidence("yes" if version else "author", f"{told[0].upper()}{told[1:]}{version}.")


def tuning(facts: Facts) -> Evidence | None:
    """Answer how settings were chosen."""
    told = words.tuning(facts.settings)
    return Evidence("yes", told) if told else None


def confounders(facts: Facts) -> Evidence | None:
    """Answer what was done about confounders, as far as the settings say."""
    parts = []
    if column := facts.settings.get("harmonise"):
        parts.append(f"ComBat removed effects of {column} inside the folds")
    if (groups := facts.settings.get("groups", "participant_id")) != "participant_id":
        parts.append(f"members of one {groups} were never split between training and test")
    parts += [f"beside the model stands {each['name']}" for each in words.alternatives(facts.metrics)]
    return Evidence("author", words.sentence("; ".join(parts))) if parts else None


def model_choice(facts: Facts) -> Evidence | None:
    """Answer by what the final model was chosen."""
    told = words.choice(facts.settings)
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
    return _compared(facts, ("clinical covariates alone", "size alone"), "No covariates or volumes were offered")


def simple_model(facts: Facts) -> Evidence | None:
    """Answer whether the model was compared with a simple one by a test."""
    if permuted := facts.metrics.get("permutations"):
        count = len(permuted["null"])
        return Evidence("yes", f"Against {count} permutations of the outcome p = {permuted['p']:.3g}.")
    return _compared(facts, ("clinical covariates alone", "size alone"), "No simple model was compared by a test")


def explanation(facts: Facts) -> Evidence | None:
    """Answer how the model was interpreted."""
    if facts.metrics.get("explanation"):
        return Evidence("yes", "What the model makes of clusters of features, in participants it has not seen.")
    return None


def one_image(facts: Facts) -> Evidence | None:
    """Answer whether features are of one kind of image."""
    images = sorted({column.split("__")[0] for column in facts.columns if column.count("__") == 4})
    if not images:
        return None
    return Evidence("yes" if len(images) == 1 else "author", f"Images measured: {words.some(images)}.")


def flow(facts: Facts) -> Evidence | None:
    """Answer whether the flow of participants is shown."""
    steps = facts.metrics.get("flow")
    if not steps:
        return None
    return Evidence("yes", f"Of {steps[0]['n']} {steps[0]['label']} {steps[-1]['n']} were analysed; see the diagram.")


def feature_statistics(facts: Facts) -> Evidence | None:
    """Answer which tables of features there are."""
    if not (facts.n_selected and facts.n_univariate):
        return None
    told = f"How often each of {facts.n_selected} features was chosen, and what each of {facts.n_univariate} tells"
    return Evidence("yes", f"{told} of the outcome alone.")


def performance(facts: Facts) -> Evidence | None:
    """Answer how the model does."""
    found = words.headline(facts.metrics)
    return None if found is None else Evidence("yes", f"{found.sentence}; without information {found.chance:g}.")


def _kept(name: str) -> Rule:
    """Return a rule for what lies in the output, and that the author may share."""

    def rule(facts: Facts) -> Evidence | None:
        return Evidence("author", f"To share: {name}.") if facts.metrics else None

    return rule


feature_data = _kept("group/features.tsv and predictions.tsv")
settings_file = _kept("config.yaml of the run, and the data dictionaries beside the features")
code = _kept("config.yaml and command.txt of the run; the software is open (Apache-2.0)")
model_file = _kept("model.skops with model.json, which holds no pickle")
ready_system = _kept("voxelome-tools predict applies model.skops to features made elsewhere")


def _compared(facts: Facts, names: Sequence[str], otherwise: str) -> Evidence | None:
    if "alternatives" not in facts.metrics:
        return None
    found = [each for each in words.alternatives(facts.metrics) if each["name"] in names]
    if any(each["p"] is not None for each in found):
        return Evidence("yes", words.sentence(words.comparisons({**facts.metrics, "alternatives": found})))
    return Evidence("no", f"{otherwise}.")
