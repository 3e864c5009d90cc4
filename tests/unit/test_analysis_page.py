"""The report of one analysis: numbers in, the same numbers out, and no claim without a fact."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import fields, replace
from itertools import combinations, pairwise
from typing import Any

import pytest

from tests.unit.html_page import Page
from voxelome.references import REFERENCES
from voxelome.reports import model_words
from voxelome.reports.analysis_methods import methods_of, references_of
from voxelome.reports.analysis_page import (
    AnalysisPage,
    Table,
    caution_of,
    comparison_table,
    headline_of,
    render_analysis_page,
    selected_table,
    univariate_table,
    verdict_of,
)
from voxelome.reports.checklists import Answer, Checklist, Facts, clear, metrics_score
from voxelome.reports.flow import flow_diagram, flow_of
from voxelome.reports.model import Figure
from voxelome.reports.plots import roc_curve

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
SETTINGS: dict[str, Any] = {
    "name": "mutation",
    "outcome": "idh",
    "kind": "binary",
    "model": "elasticnet_logistic",
    "features": ("*__tumor*",),
    "exclude": ("*__ngtdm__*",),
    "covariates": ("age", "sex"),
    "inner_folds": 4,
    "selection": "mrmr",
    "selected_features": 7,
    "where": {"grade": 4, "age": {"min": 18}},
    "harmonise": "scanner",
    "harmonise_keep": ("age",),
    "unseen_site": "keep",
    "minimum_reliability": 0.75,
    "groups": "family",
    "validation": "kfold",
    "search": "random",
    "trials": 23,
    "search_seconds": None,
    "balance": "smote",
    "visits": "first",
    "bootstrap": 33,
    "learning_curve": (0.5, 0.75),
}
METRICS: dict[str, Any] = {
    "name": "mutation",
    "outcome": "idh",
    "kind": "binary",
    "model": "elasticnet_logistic",
    "validation": "kfold",
    "groups": "family",
    "negative": "wildtype",
    "positive": "mutated",
    "n": 187,
    "n_visits": 203,
    "n_features": 421,
    "n_held_out": 46,
    "folds": 6,
    "repeats": 9,
    "random_seed": 11,
    "n_positive": 72,
    "n_negative": 115,
    "auc": 0.8312,
    "auc_low": 0.7421,
    "auc_high": 0.8934,
    "auc_method": "Share of pairs. 95% interval: Newcombe (2006), method 5.",
    "sensitivity": 0.71,
    "specificity": 0.82,
    "brier": 0.17,
    "calibration_slope": 0.93,
    "calibration_in_the_large": -0.04,
    "decision_curve": {"threshold": [0.1], "model": [0.2], "treat_all": [0.1]},
    "flow": [
        {"n": 260, "label": "in participants.tsv", "left_out": [{"n": 27, "why": "idh is not known"}]},
        {"n": 233, "label": "with idh", "left_out": [{"n": 46, "why": "locked hold-out: site B"}]},
        {"n": 187, "label": "to develop the model", "left_out": []},
    ],
    "alternatives": [
        {
            "name": "clinical covariates alone",
            "features": 2,
            "value": 0.6543,
            "difference": 0.1769,
            "low": 0.0832,
            "high": 0.2706,
            "p": 0.0037,
            "test": "corrected resampled t-test",
        }
    ],
    "permutations": {"p": 0.00498, "null": [0.5] * 200},
    "leak_probe": {"inside": 0.78, "outside": 0.89, "gap": 0.11},
    "sample_size": {
        "events_per_variable": 0.171,
        "needed": 2891,
        "sentence": "A model needs at least 2891 participants.",
    },
    "bootstrap_632": None,
}
FEATURES: dict[str, Any] = {
    "software": "pyradiomics-bhklab 3.1.4",
    "engine": "pyradiomics",
    "bin_width": None,
    "bin_count": 48,
    "classes": ("firstorder", "glcm"),
    "shapes": ("shape",),
    "image_types": {"Original": {}, "LoG": {"sigma": [1.5]}},
    "options": {"resampledPixelSpacing": [1.0, 1.0, 2.0]},
}
COLUMNS = [f"{image}__tumor__original__glcm__F{n}" for image in ("T1w", "FLAIR") for n in range(3)]
FACTS = Facts(
    SETTINGS,
    METRICS,
    FEATURES,
    {"preprocess": {"bias_correction": True, "denoising": False}, "register": {"transform": "rigid"}},
    {"scikit-learn": "1.9.0"},
    COLUMNS,
    0.0123,
    14,
    421,
)


def boxes(svg: str) -> list[tuple[float, float, float, float]]:
    return [
        tuple(float(rect.get(key, "")) for key in ("x", "y", "width", "height"))
        for rect in ET.fromstring(svg).iter("rect")
    ]


def drawn(svg: str) -> list[str]:
    return ["".join(text.itertext()) for text in ET.fromstring(svg).iter("text")]


def by_number(checklist: Checklist) -> dict[int, Answer]:
    return {each.item.number: each for each in checklist.answers}


# --- the flow ---------------------------------------------------------------------------------------

LONG = "a reason that goes on and on, such as a tumour smaller than the minimum, or a step that failed"
FLOWS = {
    "two classes": flow_of(METRICS),
    "one box": [{"n": 5, "label": "in participants.tsv"}],
    "nobody left out": [{"n": 5, "label": "one"}, {"n": 5, "label": "two", "left_out": []}],
    "long texts": [
        {"n": 1234, "label": LONG, "left_out": [{"n": 17, "why": LONG}, {"n": 18, "why": LONG}]},
        {"n": 1199, "label": LONG, "left_out": [{"n": 3, "why": "x" * 120}]},
        {"n": 1196, "label": "kept", "ends": [{"n": 299, "label": LONG} for _ in range(4)]},
    ],
    "left out at the end": [{"n": 9, "label": "one", "left_out": [{"n": 2, "why": LONG}]}],
    "three classes": [
        {"n": 9, "label": "a", "left_out": [{"n": 2, "why": "b"}], "ends": [{"n": 3, "label": "c"}] * 3}
    ],
    "many classes": [{"n": 36, "label": "all", "ends": [{"n": i, "label": f"class {i}"} for i in range(9)]}],
}


@pytest.mark.parametrize("steps", FLOWS.values(), ids=list(FLOWS))
def test_the_boxes_of_the_flow_lie_inside_the_picture_and_do_not_overlap(steps: list[dict[str, Any]]) -> None:
    svg = flow_diagram(steps)
    root = ET.fromstring(svg)
    found = boxes(svg)
    assert len(found) >= len(steps)
    for x, y, width, height in found:
        assert x >= 0
        assert y >= 0
        assert x + width <= float(root.get("width", ""))
        assert y + height <= float(root.get("height", ""))
    for (ax, ay, aw, ah), (bx, by, bw, bh) in combinations(found, 2):
        assert ax + aw <= bx or bx + bw <= ax or ay + ah <= by or by + bh <= ay


@pytest.mark.parametrize("steps", FLOWS.values(), ids=list(FLOWS))
def test_every_text_of_the_flow_lies_inside_a_box(steps: list[dict[str, Any]]) -> None:
    svg = flow_diagram(steps)
    for text in ET.fromstring(svg).iter("text"):
        x, y = float(text.get("x", "")), float(text.get("y", ""))
        # A letter of 12 px is about 7 px wide.
        reach = 7 * len("".join(text.itertext()))
        left, right = (
            (x - reach / 2, x + reach / 2) if text.get("text-anchor") == "middle" else (x, x + reach)
        )
        assert any(
            bx <= left and right <= bx + width and by < y < by + height
            for bx, by, width, height in boxes(svg)
        )


def test_the_flow_shows_every_number_and_who_has_the_outcome() -> None:
    svg = flow_diagram(flow_of(METRICS))
    shown = drawn(svg)
    for n in (260, 233, 187, 72, 115):
        assert f"n = {n}" in shown
    for n in (27, 46):
        assert f"Left out: n = {n}" in shown
    assert {"idh mutated", "idh wildtype", "locked hold-out: site B"} <= set(shown)


def test_the_flow_of_a_survival_ends_in_events_and_censored() -> None:
    steps = flow_of({"n": 50, "n_events": 21, "flow": [{"n": 50, "label": "all", "left_out": []}]})
    assert steps[-1]["ends"] == [{"n": 21, "label": "with the event"}, {"n": 29, "label": "censored"}]


def test_names_in_the_flow_are_no_markup() -> None:
    svg = flow_diagram([{"n": 3, "label": HOSTILE, "left_out": [{"n": 1, "why": HOSTILE}]}])
    assert not {"script", "img"} & {element.tag for element in ET.fromstring(svg).iter()}


# --- the checklists ---------------------------------------------------------------------------------


def test_clear_has_each_of_its_58_items_once() -> None:
    assert [each.item.number for each in clear(Facts()).answers] == list(range(1, 59))


def test_metrics_has_30_items_in_9_categories_with_the_weights_of_the_published_calculator() -> None:
    items = [each.item for each in metrics_score(Facts()).answers]
    assert [item.number for item in items] == list(range(1, 31))
    by_category: Counter[str] = Counter()
    for item in items:
        by_category[item.section] += item.weight or 0.0
    # Sums of the calculator's rounded weights; the paper orders the categories by importance like this.
    ordered = [
        ("Study design", 0.203),
        ("Imaging data", 0.146),
        ("Image processing and feature extraction", 0.134),
        ("Metrics and comparison", 0.135),
        ("Testing", 0.112),
        ("Feature processing", 0.09),
        ("Preparation for modelling", 0.09),
        ("Segmentation", 0.067),
        ("Open science", 0.021),
    ]
    assert dict(by_category) == pytest.approx(dict(ordered))
    assert sum(by_category.values()) == pytest.approx(1, abs=0.005)


@pytest.mark.parametrize("fill", [clear, metrics_score])
def test_no_item_is_met_or_missed_without_facts(fill: Any) -> None:
    for each in fill(Facts()).answers:
        assert each.state == "author", each.item.title
        assert each.write


@pytest.mark.parametrize("fill", [clear, metrics_score])
def test_an_answer_has_evidence_or_says_what_to_write(fill: Any) -> None:
    for each in fill(FACTS).answers:
        assert (each.state in ("author", "no")) == bool(each.write)
        if each.state in ("yes", "n/a"):
            assert each.evidence.endswith(".")


@pytest.mark.parametrize(
    ("number", "numbers"),
    [
        (9, ("187", "0.171", "2891")),
        (15, ("6 folds", "9 times", "family", "seed 11")),
        (22, ("1 x 1 x 2 mm",)),
        (23, ("48",)),
        (24, ("LoG", "1.5")),
        (25, ("pyradiomics-bhklab 3.1.4", "IBSI")),
        (26, ("glcm 6",)),
        (27, ("421", "FLAIR 3", "T1w 3")),
        (29, ("1.23%", "median")),
        (30, ("72 mutated", "115 wildtype", "SMOTE")),
        (31, ("0.75",)),
        (32, ("ComBat", "scanner", "standardised")),
        (33, ("at most 7", "minimum redundancy")),
        (34, ("elastic net", "1.9.0")),
        (35, ("4 inner folds", "23 settings")),
        (38, ("6 folds", "46 more participants")),
        (40, ("0.83", "0.74 to 0.89", "Newcombe")),
        (41, ("0.65", "0.18", "0.08 to 0.27", "0.0037", "resampled")),
        (45, ("260", "187")),
        (46, ("14", "421")),
        (47, ("0.83", "0.5")),
    ],
)
def test_clear_gives_the_numbers_of_the_analysis(number: int, numbers: tuple[str, ...]) -> None:
    found = by_number(clear(FACTS))[number]
    assert found.state == "yes"
    for each in numbers:
        assert each in found.evidence


@pytest.mark.parametrize(
    ("changes", "number", "state"),
    [
        ({"settings": {**SETTINGS, "minimum_reliability": 0.0}}, 14, "no"),
        ({"settings": {**SETTINGS, "model": "ridge_logistic"}}, 15, "no"),
        ({"settings": {**SETTINGS, "model": "ensemble"}}, 15, "author"),
        ({}, 15, "yes"),
        ({}, 16, "no"),
        ({"metrics": {**METRICS, "n": 2891}}, 16, "yes"),
        ({}, 17, "n/a"),
        ({"metrics": {**METRICS, "calibration_slope": None}}, 22, "no"),
        ({}, 23, "author"),
        ({"columns": COLUMNS[:3]}, 23, "yes"),
        ({"metrics": {**METRICS, "alternatives": []}}, 24, "no"),
        ({"metrics": {**METRICS, "alternatives": [{**METRICS["alternatives"][0], "p": None}]}}, 24, "no"),
        ({"metrics": {**METRICS, "n_held_out": 0}}, 26, "no"),
        ({}, 26, "no"),
        (
            {"hold_out": {"n": 46, "auc": 0.77, "auc_low": 0.6, "auc_high": 0.9, "OpenedBefore": 0}},
            26,
            "author",
        ),
        ({"hold_out": {"n": 46, "auc": 0.77, "auc_low": 0.6, "auc_high": 0.9, "OpenedBefore": 2}}, 26, "no"),
    ],
)
def test_metrics_follows_what_was_done(changes: dict[str, Any], number: int, state: str) -> None:
    assert by_number(metrics_score(replace(FACTS, **changes)))[number].state == state


def test_the_score_lies_between_what_is_met_and_what_the_author_may_add() -> None:
    found = metrics_score(FACTS)
    weight = Counter[str]()
    for each in found.answers:
        weight[each.state] += each.item.weight or 0.0
    whole = weight["yes"] + weight["no"] + weight["author"]
    assert found.score == pytest.approx((100 * weight["yes"] / whole, 100 - 100 * weight["no"] / whole))
    assert f"{found.score[0]:.1f} %" in found.summary
    assert metrics_score(Facts()).score == pytest.approx((0, 100))


# --- the methods ------------------------------------------------------------------------------------


def test_the_methods_say_what_ran_with_its_numbers() -> None:
    paragraphs = methods_of(SETTINGS, METRICS, FEATURES, {"scikit-learn": "1.9.0"})
    assert len(paragraphs) == 4
    text = " ".join(paragraphs)
    for part in (
        "grade 4, age at least 18",
        "Of 260 participants 187 were analysed, with 203 visits",
        "idh is not known, n = 27",
        "72 mutated, 115 wildtype",
        "the first visit",
        "48 bins",
        "421 columns",
        "*__tumor*",
        "without those named *__ngtdm__*",
        "covariates age and sex",
        "elastic net penalty",
        "at least 0.75 in training",
        "ComBat (Johnson 2007; Fortin 2018) over scanner",
        "kept the effects of age",
        "not harmonised",
        "at most 7 features",
        "4 inner folds",
        "23 settings",
        "SMOTE",
        "6 folds, 9 times",
        "seed 11",
        "one family",
        "33 draws",
        "50% and 75%",
        "46 more participants were locked away",
        "clinical covariates alone (2 columns)",
        "200 times",
        "2891",
        "scikit-learn 1.9.0",
    ):
        assert part in text
    assert "None" not in text
    assert "{" not in text


def test_the_methods_cite_what_they_name_and_nothing_else() -> None:
    keys = {
        each.key for each in references_of(methods_of(SETTINGS, METRICS, FEATURES, {"scikit-learn": "1"}))
    }
    assert keys == {
        "pyradiomics",
        "ibsi",
        "perturbation",
        "sklearn",
        "newcombe",
        "nadeau",
        "varma",
        "ambroise",
        "riley2019",
        "riley2020",
        "decision_curve",
        "combat",
        "combat_mri",
        "bootstrap632",
        "elasticnet",
        "mrmr",
        "smote",
    }


def test_every_year_that_the_phrases_cite_has_a_reference() -> None:
    texts = [*model_words.FAMILIES.values(), *model_words.SELECTIONS.values(), *model_words.BALANCES.values()]
    for text in texts:
        for cited in re.findall(r"[A-Z]\w+ \d{4}", text):
            assert references_of([cited]), cited


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"model": "extra_trees", "search": "grid"}, "nothing was tuned"),
        ({"model": "extra_trees"}, "23 settings"),
        ({"search": "grid"}, "small fixed grid"),
        ({"search": "halving"}, "successive halving"),
        ({"kind": "survival", "model": "cox_elasticnet"}, "cross-validation inside the training part"),
    ],
)
def test_no_tuning_is_told_of_a_model_that_was_not_tuned(changes: dict[str, Any], part: str) -> None:
    assert part in model_words.tuning({**SETTINGS, **changes})


def test_the_methods_of_nothing_are_empty() -> None:
    assert methods_of({}, {}, {}, {}) == []


def test_the_references_of_the_checklists_are_known() -> None:
    known = {item.key for item in REFERENCES}
    assert {each.reference for each in (clear(FACTS), metrics_score(FACTS))} <= known


def test_the_phrases_know_every_family_selection_and_balance_of_the_models() -> None:
    from voxelome.modelling import families
    from voxelome.modelling.settings import BALANCES, AnalysisSettings

    assert {kind: tuple(names) for kind, names in model_words.MEMBERS.items()} == families.MEMBERS
    assert set(model_words.FAMILIES) == {name for known in families.FAMILIES.values() for name in known}
    assert set(model_words.SELECTIONS) == set(families.SELECTIONS)
    assert set(model_words.BALANCES) == set(BALANCES)
    assert set(SETTINGS) <= {field.name for field in fields(AnalysisSettings)}
    for kind, known in families.FAMILIES.items():
        for name, family in known.items():
            chooses = any(step == "select" for step, _ in family.prepare(families.Choice("fdr", 3, 0)))
            assert chooses == (name in model_words.CHOOSING), (kind, name)
            alone = len(family.grid) == 1
            assert alone == (name in (*model_words.FIXED, model_words.OF_ITSELF)), (kind, name)
            scaled = any(step == "scale" for step, _ in family.prepare(families.Choice("fdr", 3, 0)))
            assert scaled != (name in model_words.AS_THEY_ARE), (kind, name)


# --- the page ---------------------------------------------------------------------------------------


def whole_page() -> AnalysisPage:
    selected = [
        {"feature": f"{COLUMNS[0]}_{n}", "frequency": 0.91, "importance": 0.1234, "coefficient": float("nan")}
        for n in range(30)
    ]
    single = [
        {
            "feature": f"{COLUMNS[0]}_{n}",
            "n": 187,
            "effect": 0.6789,
            "low": 0.59,
            "high": 0.76,
            "effect_name": "AUC",
            "test": "Mann-Whitney",
            "p": 1.5e-5,
            "q": 0.0021,
        }
        for n in range(25)
    ]
    plot = roc_curve([0.0, 0.2, 1.0], [0.0, 0.7, 1.0], 0.8312, 0.7421, 0.8934)
    status, verdict = verdict_of(METRICS)
    return AnalysisPage(
        "mutation",
        "Study",
        headline_of(METRICS),
        status,
        verdict,
        caution_of(METRICS | {"n": 40, "n_positive": 15, "n_negative": 25}),
        ["A sentence."],
        flow_diagram(flow_of(METRICS)),
        [Figure("ROC curve", "Held out.", svg=plot)],
        [("sensitivity", 0.71)],
        comparison_table(METRICS),
        selected_table(selected),
        univariate_table(single),
        [Figure("Clusters", "What counts.", svg=plot)],
        [Table(("Cluster", "Share"), [("texture", 0.5)], numbers=(1,))],
        ["A note."],
        [clear(FACTS), metrics_score(FACTS)],
        methods_of(SETTINGS, METRICS, FEATURES, {}),
        ["A reference."],
        {"scikit-learn": "1.9.0"},
        "voxelome study out group",
        group_href="../../group.html",
    )


def test_the_page_is_well_formed_with_headings_in_order_and_scoped_headers() -> None:
    page = Page(render_analysis_page(whole_page()))
    assert page.mistakes == []
    assert page.open == []
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert all(attrs.get("scope") in ("col", "row") for tag, attrs in page.elements if tag == "th")
    names = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(names) == len(set(names))
    targets = {
        (attrs.get("href") or "")[1:] for tag, attrs in page.elements if (attrs.get("href") or "")[:1] == "#"
    }
    assert targets <= set(names)


def test_the_page_needs_no_other_file_and_runs_nothing() -> None:
    html = render_analysis_page(whole_page())
    page = Page(html)
    assert "http://" not in html.replace("http://www.w3.org", "")
    assert "https://" not in html
    assert not [tag for tag, _ in page.elements if tag in ("script", "iframe", "object")]
    for tag, attrs in page.elements:
        for key in ("src", "href"):
            assert (attrs.get(key) or "#").startswith(("#", "data:", "../../group.html")), (tag, attrs)


def test_the_page_shows_every_part() -> None:
    text = " ".join(Page(render_analysis_page(whole_page())).text.split())
    for part in (
        "idh: AUC 0.83 (95 % interval 0.74 to 0.89); 187 participants (72 mutated, 115 wildtype)",
        "Better than chance",
        "Small sample (40 participants, 15 of them in the smaller group)",
        "A sentence.",
        "Left out: n = 27",
        "sensitivity",
        "0.18 (0.08 to 0.27)",
        "0.0037",
        "20 of 30 features",
        "20 of 25 features, by p (Mann-Whitney)",
        "0.68 (0.59 to 0.76)",
        "1.5e-05",
        "texture",
        "A note.",
        "All 58 items",
        "All 30 items",
        "A reference.",
        "voxelome study out group",
    ):
        assert part in text


def test_parts_without_data_are_left_out() -> None:
    page = Page(render_analysis_page(AnalysisPage("a", "Study", "The headline.")))
    ids = {attrs.get("id") for _, attrs in page.elements}
    assert page.mistakes == []
    assert "result" in ids
    assert not ids & {"flow", "figures", "measures", "comparisons", "univariate", "explanation", "checklists"}


def test_names_in_the_page_are_text_and_no_markup() -> None:
    hostile = replace(
        whole_page(),
        name=HOSTILE,
        headline=HOSTILE,
        notes=[HOSTILE],
        selected=Table((HOSTILE,), [(HOSTILE,)], HOSTILE),
        group_href="javascript:alert(1)",
    )
    page = Page(render_analysis_page(hostile))
    assert page.mistakes == []
    assert not [tag for tag, attrs in page.elements if tag == "script" or "onerror" in attrs]
    assert "javascript" not in str(page.elements)


def test_the_same_content_gives_the_same_page() -> None:
    assert render_analysis_page(whole_page()) == render_analysis_page(whole_page())


@pytest.mark.parametrize(
    ("changes", "status", "part"),
    [
        ({}, "done", "lies above 0.5"),
        ({"auc_low": 0.45}, "warning", "includes 0.5"),
        ({"auc_high": 0.4, "auc_low": 0.2}, "warning", "below 0.5"),
        ({"auc_low": None}, "warning", "no interval"),
        ({"kind": "continuous", "r2": 0.1, "r2_low": -0.1, "r2_high": 0.3}, "warning", "includes 0."),
    ],
)
def test_the_verdict_goes_by_the_interval(changes: dict[str, Any], status: str, part: str) -> None:
    found = verdict_of({**METRICS, **changes})
    assert found[0] == status
    assert part in found[1]


def test_a_large_sample_calls_for_no_caution() -> None:
    assert caution_of(METRICS) == ""


def test_tables_without_rows_are_none() -> None:
    assert comparison_table({**METRICS, "alternatives": []}) is None
    assert selected_table([]) is None
    assert univariate_table([]) is None
