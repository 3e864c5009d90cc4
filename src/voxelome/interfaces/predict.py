"""Apply a model file to a table of features."""

from __future__ import annotations

from pathlib import Path
from zipfile import BadZipFile

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
    from skops.io.exceptions import UntrustedTypesFoundException

    from voxelome.interfaces.model import read_participants
    from voxelome.modelling.apply import apply_model, check_same_settings
    from voxelome.modelling.artifact import load_model

    for path in (model, features):
        if not path.is_file():
            raise InputError(path, "there is no such file", "check the name")
    about = load_json(model.with_suffix(".json"))
    with blame(features):
        check_same_settings(about, load_json(features.with_suffix(".json")).get("Settings", {}))
    try:
        fitted = load_model(model)
    except (UntrustedTypesFoundException, BadZipFile, ValueError, KeyError, OSError) as error:
        problem = f"is no model of voxelome ({' '.join(str(error).split())})"
        raise InputError(model, problem, "take a model.skops that an analysis wrote") from error
    table = pd.read_csv(features, sep="\t", na_values="n/a", keep_default_na=False)
    people = read_participants(participants) if participants else None
    with blame(features):
        found = apply_model(fitted, about, table, people)
    with replacing(output) as temporary:
        found.to_csv(temporary, sep="\t", index=False, na_rep="n/a")
    return len(found)
