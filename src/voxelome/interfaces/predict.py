"""Apply a model file to a table of features."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from voxelome.bids.image_settings import settings_behind
from voxelome.errors import InputError, blame
from voxelome.imageio import load_json, replacing


def predict(model: Path, features: Path, participants: Path | None, output: Path) -> int:
    """Write the predictions of a model, and return how many there are.

    Raises
    ------
    InputError
        The model or the features cannot be read, or were made with different settings.
    """
    import pandas as pd

    from voxelome.interfaces.analysis_inputs import read_tables
    from voxelome.modelling.apply import apply_model, check_same_settings

    if not features.is_file():
        raise InputError(features, "there is no such file", "check the name")
    fitted, about = read_model(model)
    names = about["Features"]
    with blame(features):
        made_with = load_json(features.with_suffix(".json")).get("Settings", {})
        trained, made_with = (settings_behind(each, names) for each in (about["FeatureSettings"], made_with))
        check_same_settings(trained, made_with)
    table = pd.read_csv(features, sep="\t", na_values="n/a", keep_default_na=False)
    tables = read_tables(participants) if participants else None
    with blame(features):
        found = apply_model(fitted, about, table, tables)
    with replacing(output) as temporary:
        found.to_csv(temporary, sep="\t", index=False, na_rep="n/a")
    return len(found)


def read_model(path: Path) -> tuple[Any, dict[str, Any]]:
    """Return a fitted model, and what model.json says of it.

    Raises
    ------
    InputError
        It is no model of voxelome.
    """
    from skops.io.exceptions import UntrustedTypesFoundException

    from voxelome.modelling.artifact import load_model

    if not path.is_file():
        raise InputError(path, "there is no such file", "check the name")
    about = load_json(path.with_suffix(".json"))
    try:
        return load_model(path), about
    except (UntrustedTypesFoundException, BadZipFile, ValueError, KeyError, OSError) as error:
        problem = f"is no model of voxelome ({' '.join(str(error).split())})"
        raise InputError(path, problem, "take a model.skops that an analysis wrote") from error
