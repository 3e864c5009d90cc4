"""What is known of the data and features of an analysis, by items of checklists.

Each function answers one item, or returns None where nothing is known. Nothing is claimed that the facts do
not show: where a judgement is needed the answer is the author's, with what is known beside it.
"""

from __future__ import annotations

from collections import Counter

from voxelome.outcomes import rules_in_words
from voxelome.reports import analysis_words as words
from voxelome.reports import model_words
from voxelome.reports.checklist_facts import Evidence, Facts, Rule


def guidelines(_: Facts) -> Evidence:
    """Answer whether a checklist was followed."""
    return Evidence("author", "This report holds CLEAR and METRICS, and the flow that TRIPOD+AI asks for.")


def eligibility(facts: Facts) -> Evidence | None:
    """Answer who was eligible, as far as the settings say."""
    if not facts.settings.get("where"):
        return None
    return Evidence(
        "author", f"The analysis took participants with {rules_in_words(facts.settings['where'])}."
    )


def covariates(facts: Facts) -> Evidence | None:
    """Answer which predictors are not radiomic."""
    if "covariates" not in facts.settings:
        return None
    names = facts.settings["covariates"]
    if not names:
        return Evidence("n/a", "No covariate was offered.")
    return Evidence(
        "author", f"Offered beside the features: {', '.join(names)}; texts as one indicator a value."
    )


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
    return Evidence(
        "yes", f"Voxels were resampled to {' x '.join(f'{each:g}' for each in spacing)} mm ({how})."
    )


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
    told = (
        f"parameters given beside those above: {given or 'none'}; all others had the defaults of the software"
    )
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
    return Evidence("yes", f"{told[0].upper()}{told[1:]}. {model_words.BALANCES[facts.settings['balance']]}")


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
    return Evidence(
        "yes", f"Of {steps[0]['n']} {steps[0]['label']} {steps[-1]['n']} were analysed; see the diagram."
    )


def feature_statistics(facts: Facts) -> Evidence | None:
    """Answer which tables of features there are."""
    if not (facts.n_selected and facts.n_univariate):
        return None
    told = (
        f"How often each of {facts.n_selected} features was chosen, and what each of "
        f"{facts.n_univariate} tells"
    )
    return Evidence("yes", f"{told} of the outcome alone.")


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
