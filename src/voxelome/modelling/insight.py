"""What an analysis says beside the prediction: single features, changes between visits, the bootstrap."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from voxelome.errors import DataError
from voxelome.modelling import problems
from voxelome.modelling.cohort import Assembled
from voxelome.modelling.crossval import fit_model
from voxelome.modelling.mixed import mixed_models, visit_design
from voxelome.modelling.nyul import shown_features
from voxelome.modelling.optimism import bootstrap_632_auc
from voxelome.modelling.people import Tables
from voxelome.modelling.settings import AnalysisSettings
from voxelome.modelling.univariate import univariate_table
from voxelome.modelling.visits import Cohort
from voxelome.modelling.which_visits import visit_time


def associations(data: Assembled) -> pd.DataFrame:
    """Return what each feature alone tells of the outcome, of all participants; no model sees it."""
    cohort = data.cohort
    values, names = shown_features(cohort), data.features[: cohort.features]
    return univariate_table(values, names, cohort.participant, cohort.target, cohort.kind)


def changes(
    data: Assembled, tables: Tables, settings: AnalysisSettings
) -> tuple[pd.DataFrame | None, list[str]]:
    """Return mixed models of the features over repeated visits, or why there are none.

    Without repeated visits, and for survival, there is neither.

    The term that asks whether a feature changes otherwise in those with the outcome is ``outcome x time``.
    """
    cohort = data.cohort
    if cohort.kind == problems.SURVIVAL or len(data.visits) == len(data.participants):
        return None, []
    time = visit_time(data.visits, tables, settings)
    values, names = shown_features(cohort), data.features[: cohort.features]
    try:
        design, terms = visit_design(cohort.target, cohort.kind, cohort.participant, time, data.classes)
        return mixed_models(values, names, cohort.participant, design, terms), []
    except DataError as error:  # the analysis itself does not need them
        return None, [f"No mixed models of repeated visits: {error}."]


def bootstrap_of(cohort: Cohort, settings: AnalysisSettings) -> dict[str, float]:
    """Return the .632+ estimate of the AUC over draws of participants, and what it is made of."""

    def fit_predict(rows: NDArray[np.intp], unseen: NDArray[np.intp]) -> NDArray[np.float64]:
        part = cohort.of_rows(rows)
        model = fit_model(part, settings, np.unique(part.participant))
        return problems.predicted(cohort.kind, model, cohort.values[unseen])

    positive = cohort.of_visits(np.arange(len(cohort.values)))
    found = bootstrap_632_auc(
        fit_predict, cohort.participant, positive, settings.bootstrap, settings.random_seed
    )
    return {**asdict(found), "draws": settings.bootstrap}
