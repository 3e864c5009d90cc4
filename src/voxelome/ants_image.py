"""ANTs on arrays: its compiled library alone, and images as it sees them.

``import ants`` takes seconds, nearly all of them for plotting and statistics that no step uses. The
programs are in the package's extension module, which is loaded here by itself in some hundredths of a
second; a later ``import ants`` finds it loaded and shares it.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from voxelome.errors import DataError
from voxelome.imageio import Affine, Array, FloatArray, voxel_sizes

# ITK's world axes run to the left and to the back; NIfTI's to the right and to the front.
RAS_TO_LPS: Affine = np.diag([-1.0, -1.0, 1.0, 1.0])
_SHEAR_TOLERANCE = 1e-3
_MODULE = "ants.lib"


class AntsImage:
    """Image in ITK's memory, whose geometry is in LPS mm.

    Parameters
    ----------
    data : ndarray, shape (X, Y, Z)
        Voxel values; booleans become unsigned char (masks), all else single precision.
    affine : ndarray, shape (4, 4)
        Voxel indices to world coordinates (RAS+, mm).

    Raises
    ------
    DataError
        The affine has shear, which ITK's geometry (origin, spacing, direction) cannot hold.
    """

    def __init__(self, data: Array, affine: Affine) -> None:
        lps = RAS_TO_LPS @ affine
        spacing = voxel_sizes(affine)
        direction = lps[:3, :3] / np.array(spacing)
        shear = float(np.abs(direction.T @ direction - np.eye(3)).max())
        if shear > _SHEAR_TOLERANCE:
            raise DataError(
                f"the image axes are not perpendicular (cosine up to {shear:.3g})",
                "resample the image to a grid without shear, or mend its affine",
            )
        mask = data.dtype == np.bool_
        # ITK runs along x first, and works in this very memory: the array must live as long as the image.
        self._memory = np.array(data.T, dtype=np.uint8 if mask else np.float32, order="C")
        library = _library()
        make = library.fromNumpyUC3 if mask else library.fromNumpyF3
        self._image = make(self._memory, self._memory.shape[::-1])
        library.setOrigin(self._image, tuple(float(x) for x in lps[:3, 3]))
        library.setSpacing(self._image, spacing)
        library.setDirection(self._image, direction)

    @property
    def argument(self) -> str:
        """The image as an argument of :func:`run_ants`."""
        return str(_library().ptrstr(self._image))

    def array(self) -> FloatArray:
        """Copy of the voxel values, shape (X, Y, Z), after a program has written the image."""
        flat = np.asarray(_library().toNumpy(self._image)).view(self._memory.dtype)
        return np.array(flat.reshape(self._memory.shape).T, order="C")


def run_ants(program: str, arguments: Sequence[str]) -> None:
    """Run one of ANTs' programs, such as ``antsRegistration``.

    Raises
    ------
    DataError
        ANTs gave up, as registration does where the images do not overlap.
    """
    try:
        code = getattr(_library(), program)(list(arguments))
    except RuntimeError as error:  # ANTs has no kinder way to say it
        raise DataError(f"{program} of ANTs gave up ({error})", "look at the images") from error
    if code:
        raise DataError(f"{program} of ANTs gave up (code {code})", "look at the images")


@cache
def _library() -> Any:
    """ANTs' extension module, without the package around it."""
    if _MODULE in sys.modules:
        return sys.modules[_MODULE]
    package = importlib.util.find_spec("ants")
    if package is None or not package.submodule_search_locations:
        raise DataError("the package antspyx is not installed", "install voxelome[register]")
    (path,) = Path(next(iter(package.submodule_search_locations))).glob("lib*.so")
    spec = importlib.util.spec_from_file_location(_MODULE, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[_MODULE] = module
    spec.loader.exec_module(module)
    return module
