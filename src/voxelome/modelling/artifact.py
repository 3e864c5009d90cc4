"""The fitted model as a file, without pickle: reading it runs no code of the file's author."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zipfile import ZipFile

import skops.io

from voxelome.claims import check_archive_claim
from voxelome.imageio import replacing

# What a model file of voxelome holds beyond what skops trusts by itself: its own estimators, trees and the
# dictionaries of names of an average, and the number type that scikit-learn's imputer keeps: plain data.
TRUSTED_TYPES = (
    "numpy.dtype",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.tree._tree.Tree",
    "sklearn.utils._bunch.Bunch",
    "sksurv.ensemble.survival_loss.CoxPH",
    "sksurv.functions.StepFunction",
    "sksurv.linear_model.coxph.BreslowEstimator",
    "sksurv.tree.tree.SurvivalTree",
    "voxelome.modelling.average_risk.AverageRisk",
    "voxelome.modelling.balance.Balanced",
    "voxelome.modelling.cox_elastic_net.CoxElasticNet",
    "voxelome.modelling.estimators.KeepColumns",
    "voxelome.modelling.estimators.NormalScores",
    "voxelome.modelling.estimators.SelectUncorrelated",
    "voxelome.modelling.harmonise.ComBat",
    "voxelome.modelling.nyul.NyulScale",
    "voxelome.modelling.ordinal.OrdinalClassifier",
    "voxelome.modelling.selection.CorrelationFilter",
    "voxelome.modelling.selection.MRMR",
    "voxelome.modelling.selection.NearZeroVariance",
    "voxelome.modelling.selection.UnivariateFDR",
    "voxelome.modelling.stacking.StackedClassifier",
    "voxelome.modelling.stacking.StackedRegressor",
    "voxelome.modelling.stacking.StackedRisk",
    "voxelome.modelling.superpc.SupervisedPrincipalComponents",
    "voxelome.modelling.survival.SurvivalBoosting",
    "voxelome.modelling.survival.SurvivalForest",
    "voxelome.modelling.wrappers.Boruta",
    "voxelome.modelling.wrappers.SelectByPenalty",
    "voxelome.modelling.wrappers.StabilitySelection",
)


def save_model(path: Path | str, model: Any) -> None:
    """Write a fitted model in the format of skops, whole or not at all."""
    with replacing(path) as temporary:
        skops.io.dump(model, temporary)


def load_model(path: Path | str) -> Any:
    """Return the model in a file of :func:`save_model`.

    Raises
    ------
    skops.io.exceptions.UntrustedTypesFoundException
        The file holds types that no model of voxelome has.
    """
    with ZipFile(path) as archive:
        check_archive_claim(Path(path), archive)
    return skops.io.load(path, trusted=list(TRUSTED_TYPES))
