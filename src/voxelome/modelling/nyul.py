"""A standard scale of intensities (Nyul) that is learned from training rows, as all else is.

Features are measured in images that are on no such scale. But the map to it rises: a percentile of a region
moves as a voxel of that value would. So percentiles can be brought to the scale of each fold from the table
alone, where those of the brain are in it. Other features cannot.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted, validate_data

from voxelome.errors import DataError
from voxelome.imageio import Array, MaskArray
from voxelome.modelling.visits import Cohort
from voxelome.standard_scale import FEWEST, on_range, to_scale


class NyulScale(TransformerMixin, BaseEstimator):
    """Bring percentiles of regions to a standard scale, the mean of the brains in training.

    Rows without the landmarks of an image lose its percentiles, which are on no scale. The outcome is not
    looked at.

    Parameters
    ----------
    landmarks : sequence of sequence of int
        For each image the 11 columns of `X` with the percentiles of the brain
        (:data:`voxelome.standard_scale.PERCENTILES`). They are not part of what `transform` returns.
    moved : sequence of sequence of int
        For each image the columns that are brought to the scale.
    images : sequence of str
        Names of the images.

    Attributes
    ----------
    standard_ : ndarray, shape (n_images, 11)
        Where the landmarks of each image lie on its scale, from 0 to 100: the mean over rows.

    References
    ----------
    Nyul, Udupa and Zhang (2000), IEEE Trans Med Imaging 19:143-150.
    Shah et al. (2011), Med Image Anal 15:267-282.
    """

    def __init__(
        self,
        landmarks: Sequence[Sequence[int]] = (),
        moved: Sequence[Sequence[int]] = (),
        images: Sequence[str] = (),
    ) -> None:
        self.landmarks = landmarks
        self.moved = moved
        self.images = images

    def fit(self, X: Any, y: Any = None) -> NyulScale:
        """Learn the scales of `X` (n_samples, n_columns); `y` is not looked at.

        Raises
        ------
        DataError
            Fewer than three rows have the landmarks of an image.
        """
        X = validate_data(self, X, dtype=np.float64, ensure_all_finite="allow-nan")
        standard = []
        for image, columns in zip(self.images, self.landmarks, strict=True):
            found = X[:, list(columns)]
            known = found[_usable(found)]
            if len(known) < FEWEST:
                problem = f"{len(known)} visits in training have percentiles of {image} in the brain"
                raise DataError(problem, f"leave {image} out of standard_scale")
            standard.append(on_range(known).mean(axis=0))
        self.standard_ = np.array(standard)
        return self

    def transform(self, X: Any) -> NDArray[np.float64]:
        """Return the columns of `X` but the landmarks, percentiles on the scales of training."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, ensure_all_finite="allow-nan", reset=False)
        scaled: NDArray[np.float64] = X.copy()
        for columns, moved, standard in zip(self.landmarks, self.moved, self.standard_, strict=True):
            found, places = X[:, list(columns)], list(moved)
            usable = _usable(found)
            scaled[:, places] = np.nan
            for row in np.flatnonzero(usable):
                scaled[row, places] = to_scale(X[row, places], found[row], standard)
        return np.delete(scaled, self._taken(), axis=1)

    def get_feature_names_out(self, input_features: Any = None) -> Any:
        """Return the names of all columns but the landmarks."""
        check_is_fitted(self)
        return np.delete(_check_feature_names_in(self, input_features), self._taken())

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def _taken(self) -> list[int]:
        return [column for columns in self.landmarks for column in columns]


def scale_for(cohort: Cohort) -> NyulScale:
    """Return the scale of the images that a cohort names, not fitted."""
    images, landmarks, moved = zip(*cohort.scaled, strict=True)
    return NyulScale(landmarks, moved, images)


def shown_features(cohort: Cohort) -> NDArray[np.float64]:
    """Return the features for what tells of all participants and that no model sees, shape (n_visits, n).

    Percentiles are on the scale that everybody's images give.
    """
    values: NDArray[np.float64] = cohort.values
    if cohort.scaled:
        values = scale_for(cohort).fit_transform(values)
    return values[:, : cohort.features]


def _usable(landmarks: Array) -> MaskArray:
    """Return which rows have landmarks that span a range."""
    known: MaskArray = np.isfinite(landmarks).all(axis=1) & (landmarks[:, -1] > landmarks[:, 0])
    return known
