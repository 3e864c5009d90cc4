"""How far features differ between sites, before and after harmonisation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from voxelome.imageio import Array
from voxelome.modelling.cohort import Assembled
from voxelome.modelling.explanation import parted

_SHOWN = 4


def explained_by_site(values: Array, site: Array) -> Array:
    """Share of each column's variance that lies between sites (eta squared), NaN where it is one value.

    Parameters
    ----------
    values : ndarray, shape (n_rows, n_columns)
        NaN is left out.
    site : ndarray, shape (n_rows,)
    """
    table = pd.DataFrame(values)
    means = table.groupby(site).transform("mean")
    total = ((table - table.mean()) ** 2).sum()
    between = ((means.where(table.notna()) - table.mean()) ** 2).sum()
    shares: Array = (between / total.where(total > 0)).to_numpy(dtype=np.float64)
    return shares


def site_effects(data: Assembled, model: Any, selected: pd.DataFrame) -> dict[str, Any] | None:
    """Share of variance between sites before and after, and the features where it was largest.

    Before and after are of the participants that the final model, and its harmonisation, learned from; in the
    validation each fold has one of its own. None where nothing is harmonised.

    Parameters
    ----------
    data : Assembled
    model : estimator
        The final model.
    selected : DataFrame
        Features that the models chose, in column ``feature``; among them are those that are shown.
    """
    column = data.cohort.site
    if column is None:
        return None
    values, features = data.cohort.values, data.cohort.features
    site, table = values[:, column], pd.DataFrame(values, columns=data.features)
    first, _ = parted(model)
    # Before harmonisation, the last of the first steps, but after the standard scale where there is one.
    before = (first[:-1].transform(table) if len(first) > 1 else values)[:, :features]
    after = first.transform(table)
    shares = explained_by_site(before, site), explained_by_site(after, site)
    chosen = set(selected["feature"])
    known = [
        place for place, name in enumerate(data.features[:features])
        if np.isfinite(shares[0][place]) and (not chosen or name in chosen)
    ]  # fmt: skip
    worst = sorted(known, key=lambda place: -shares[0][place])[:_SHOWN]
    names = {number: name for name, number in data.sites.items()}

    def by_site(table: Array, place: int) -> dict[str, list[float]]:
        found = {}
        for number in np.unique(site):
            part = table[site == number, place]
            found[names[int(number)]] = [float(f"{value:.5g}") for value in part[np.isfinite(part)]]
        return found

    return {
        "features": features,
        "median_before": float(np.nanmedian(shares[0])),
        "median_after": float(np.nanmedian(shares[1])),
        "shown": [
            {
                "feature": data.features[place],
                "share_before": float(shares[0][place]),
                "share_after": float(shares[1][place]),
                "before": by_site(before, place),
                "after": by_site(after, place),
            }
            for place in worst
        ],
    }
