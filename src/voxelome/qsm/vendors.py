"""How scanners store phase: its sign, and slices that alternate by half a turn."""

from __future__ import annotations

import numpy as np

from voxelome.imageio import Array

# Signal is exp(i sign gamma B TE). The readers of the MEDI toolbox (Cornell MRI Research Lab) bring all to
# one convention: they negate the phase of Siemens and Philips and keep that of GE and United Imaging, and
# its fit (Fit_ppm_complex) negates all of them again before iron comes out as positive.
_SIGNS = {"siemens": 1, "philips": 1, "ge": -1, "general electric": -1, "uih": -1, "united imaging": -1}
_COHERENT = 0.5
_HALF_TURN = 0.75 * np.pi


def sign_of_phase(manufacturer: str) -> int:
    """Sign of the phase of a field that is too strong, as a manufacturer stores it; 0: not known.

    Parameters
    ----------
    manufacturer : str
        As in DICOM and BIDS, such as ``GE MEDICAL SYSTEMS``; case does not matter.
    """
    words = manufacturer.lower().replace("_", " ")
    for name, sign in _SIGNS.items():
        if f"{words} ".startswith(f"{name} "):
            return sign
    return 0


def alternating_axis(phase: Array, magnitude: Array) -> int | None:
    """Axis along which every other slice is half a turn off, as GE's scanners store 3D images; None: none is.

    The k-space of such images lies half a field of view off its middle. No field does that: it would have to
    rise by half a turn from voxel to voxel, all over the head.

    Parameters
    ----------
    phase, magnitude : ndarray, shape (x, y, z)
        Of the earliest echo; phase in rad.
    """
    weight = np.asarray(magnitude, np.float32)
    signal = weight * np.exp(1j * np.asarray(phase, np.float32))
    for axis in range(3):
        along = np.moveaxis(signal, axis, 0)
        product = np.vdot(along[:-1], along[1:])
        most = float(np.vdot(np.abs(along[:-1]), np.abs(along[1:])).real)
        if abs(product) > _COHERENT * most and abs(np.angle(product)) > _HALF_TURN:
            return axis
    return None


def turn_every_other_slice(phase: Array, axis: int) -> Array:
    """Phase in rad, shape (x, y, z, ...), with each second slice along an axis half a turn further.

    Phase from -pi to pi stays within.
    """
    turned = np.array(phase, np.float32)
    second = np.moveaxis(turned, axis, 0)[1::2]
    second -= np.copysign(np.float32(np.pi), second)
    return turned
