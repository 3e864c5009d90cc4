"""Entropy focus criterion: how blurred and ghosted an image is, without a reference.

References
----------
Atkinson D, Hill DLG, Stoyle PNR, Summers PE, Keevil SF. Automatic correction of motion artifacts in magnetic
resonance images using an entropy focus criterion. IEEE Trans Med Imaging 16 (1997) 903.
McGee KP, Manduca A, Felmlee JP, Riederer SJ, Ehman RL. Image metric-based correction (autocorrection) of
motion effects: analysis of image metrics. J Magn Reson Imaging 11 (2000) 174.
Esteban O, Birman D, Schaer M, et al. MRIQC: advancing the automatic prediction of image quality in MRI from
unseen sites. PLoS ONE 12 (2017) e0184661.
"""

from __future__ import annotations

import numpy as np
from scipy.special import xlogy

from voxelome.errors import DataError
from voxelome.imageio import Array


def entropy_focus(data: Array) -> float:
    r"""Entropy focus criterion, from 0 (all energy in one voxel) to 1 (all voxels alike).

    Motion spreads a head's energy over the air and over its edges: of two runs of one contrast, the lower
    value is the better one. The scale of the intensities does not matter; noise raises the value, and air
    that was set to zero lowers it, so that only images of one protocol can be compared.

    .. math::

        \mathrm{EFC} = \frac{E}{\sqrt{N} \ln \sqrt{N}}, \qquad
        E = -\sum_{j=1}^{N} \frac{x_j}{B} \ln \frac{x_j}{B}, \qquad B = \sqrt{\sum_{j=1}^{N} x_j^2}

    Divided by the entropy of N equal voxels, as MRIQC does, for images of different sizes.

    Parameters
    ----------
    data : ndarray, any shape
        Magnitudes; the sign of a value does not count.

    Raises
    ------
    DataError
        The image has fewer than two voxels, or every voxel is 0.
    """
    values = np.abs(data.astype(np.float64)).ravel()
    energy = float(np.linalg.norm(values))
    if values.size < 2 or energy == 0:
        raise DataError(f"an image of {values.size} voxels without signal has no focus", "export it again")
    values /= energy
    side = np.sqrt(values.size)
    return float(-xlogy(values, values).sum() / (side * np.log(side)))


def gradient_entropy(data: Array) -> float:
    """Entropy focus criterion of the gradient's magnitude, from 0 to 1: lower is sharper and less ghosted.

    Of the criteria that McGee et al. (2000) compared, the entropy of the gradient followed motion best. It
    also works where the air has been cut away, and with it the ghosts that the criterion of the image needs.

    Parameters
    ----------
    data : ndarray, shape (x, y, z)

    Raises
    ------
    DataError
        The image has fewer than two voxels, or is constant.
    """
    slopes = np.gradient(data.astype(np.float32))
    return entropy_focus(np.sqrt(sum(np.square(slope) for slope in slopes)))
