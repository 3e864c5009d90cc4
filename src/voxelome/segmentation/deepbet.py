"""Brain extraction with the networks of deepbet (Fisch et al., 2024), run by ONNX Runtime.

deepbet brings its networks as TorchScript. :func:`export_deepbet` writes them once as ONNX, and
:class:`BrainExtractor` does with them what ``deepbet.bet.BrainExtraction`` does with torch.

References
----------
Fisch L, Zumdick S, Barkhau C, et al. deepbet: Fast brain extraction of T1-weighted MRI using
Convolutional Neural Networks. Comput Biol Med 179 (2024) 108845.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

import cc3d
import fill_voids
import numpy as np
import onnxruntime
from nibabel.orientations import aff2axcodes
from numpy.typing import NDArray

from voxelome.errors import DataError, InputError
from voxelome.imageio import Affine, Array, MaskArray, load_json, replacing, save_json
from voxelome.segmentation.engine import open_session
from voxelome.segmentation.linknet import OPSET, linknet_onnx
from voxelome.segmentation.torchscript import read_weights

VERSION = "1.0.2"
# Of the weights in deepbet 1.0.2. The graph below was read from the code in these very files.
SOURCE_SHA256 = {
    "bbox_model.pt": "39a7b2b5f799faa1391ea97bfcdc0b9299f20d84f2316a4ff8918dc4685e40aa",
    "model.pt": "de8ee7c69654d0dd3935dc4a5d84571d8ecf4637a6bfc01df399c4c2bc86e0fd",
}
# ONNX file: the weights that it is made of, and the edge of the cube that it takes.
NETWORKS = {"bbox.onnx": ("bbox_model.pt", 128), "model.onnx": ("model.pt", 256)}

LOW_QUANTILE, HIGH_QUANTILE = 0.005, 0.995
# Mean and standard deviation that the networks were trained with.
TRAINED_MEAN, TRAINED_SD = 0.449, 0.226
BRAIN_PROBABILITY = 0.5
# A slice belongs to the box when more of it than this is brain; the box grows by this share on each side.
SLICE_SHARE = 0.02
MARGIN = 0.1

NO_BRAIN = "check that the image shows a whole head, and its orientation in the header"
FETCH_AGAIN = "remove the folder, then run: voxelome-tools models fetch deepbet"

FloatVolume = NDArray[np.float32]
Box = tuple[slice, ...]


def export_deepbet(folder: Path) -> None:
    """Write the networks of the installed package deepbet as ONNX; nothing of that package is run.

    `folder` gets ``bbox.onnx`` (finds the box of the brain), ``model.onnx`` (segments inside of it) and
    ``card.json`` (source, licence, reference, checksums). The same bytes come out every time.

    Parameters
    ----------
    folder : path
        Made if absent.

    Raises
    ------
    InputError
        deepbet is not installed, or its weights are not those of version 1.0.2.
    """
    models = _package_models()
    digests = {}
    for file, (source, edge) in NETWORKS.items():
        found = _sha256((models / source).read_bytes()) if (models / source).is_file() else "no such file"
        if found != SOURCE_SHA256[source]:
            problem = f"is not the file of deepbet {VERSION} (sha256: {found})"
            raise InputError(models / source, problem, f"install deepbet=={VERSION} again")
        content = linknet_onnx(read_weights(models / source), f"deepbet-{Path(file).stem}", edge)
        digests[file] = _sha256(content)
        with replacing(folder / file) as temporary:
            temporary.write_bytes(content)
    save_json(
        folder / "card.json",
        {
            "name": "deepbet",
            "task": "brain extraction",
            "source": {
                "package": "deepbet",
                "version": VERSION,
                "url": "https://pypi.org/project/deepbet/1.0.2/",
            },
            "conversion": f"TorchScript to ONNX (opset {OPSET}), float32, softmax of two as sigmoid",
            "licence": "MIT",
            "reference": "Fisch L, Zumdick S, Barkhau C, et al. deepbet: Fast brain extraction of "
            "T1-weighted MRI using Convolutional Neural Networks. Comput Biol Med 179 (2024) 108845.",
            "doi": "10.1016/j.compbiomed.2024.108845",
            "source_sha256": SOURCE_SHA256,
            "sha256": digests,
        },
    )


def _package_models() -> Path:
    """Folder of the weights, which the package puts beside itself, not inside."""
    spec = importlib.util.find_spec("deepbet")
    if spec is None or not spec.submodule_search_locations:
        problem = "the package that brings the weights is not installed"
        raise InputError("deepbet", problem, "install voxelome[preprocess]")
    return Path(next(iter(spec.submodule_search_locations))).parent / "data" / "models"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class BrainExtractor:
    """Brain masks by deepbet: one network finds the box of the brain, another segments inside of it.

    Parameters
    ----------
    folder : path
        What :func:`export_deepbet` wrote.
    threads : int
        Threads of the inference.

    Raises
    ------
    InputError
        A network is missing or damaged.
    """

    def __init__(self, folder: Path, threads: int = 1) -> None:
        self._find_box = _session(folder, "bbox.onnx", threads)
        self._segment = _session(folder, "model.onnx", threads)

    def __call__(self, data: Array, affine: Affine) -> MaskArray:
        """Brain mask on the grid of `data`.

        Parameters
        ----------
        data : ndarray, shape (x, y, z)
            Whole head, axes in RAS+ order.
        affine : ndarray, shape (4, 4)
            Voxel to world, for the check of the axes.

        Returns
        -------
        ndarray of bool, shape (x, y, z)

        Raises
        ------
        DataError
            The image is not 3D and RAS+, has no contrast, or no brain is found in it.
        """
        box, inside = self._inside(data, affine)
        # Laid out in memory as the image is, in the order of the file.
        mask = np.zeros_like(data, dtype=bool)
        mask[box] = fill_voids.fill(_largest(inside > BRAIN_PROBABILITY))
        return mask

    def probability(self, data: Array, affine: Affine) -> FloatVolume:
        """Probability of brain on the grid of `data`, 0 outside the box that the first network finds.

        The largest part of what is above 0.5, its holes filled, is the mask that calling the extractor
        gives. The network is sure of itself: nearly all voxels have nearly 0 or nearly 1.

        Parameters
        ----------
        data : ndarray, shape (x, y, z)
            Whole head, axes in RAS+ order.
        affine : ndarray, shape (4, 4)
            Voxel to world, for the check of the axes.

        Returns
        -------
        ndarray of float32, shape (x, y, z)
            From 0 to 1.

        Raises
        ------
        DataError
            The image is not 3D and RAS+, has no contrast, or no brain is found in it.
        """
        box, inside = self._inside(data, affine)
        probability = np.zeros(data.shape, dtype=np.float32)
        probability[box] = inside
        return probability

    def _inside(self, data: Array, affine: Affine) -> tuple[Box, FloatVolume]:
        """Box of the brain, and the probability of brain inside of it on the image's grid."""
        if data.ndim != 3 or aff2axcodes(affine) != ("R", "A", "S"):
            axes = "".join(str(axis) for axis in aff2axcodes(affine))
            problem = f"brain extraction takes a 3D image in RAS+ order, not {axes} of shape {data.shape}"
            raise DataError(problem, "reorient it first")
        image = data.astype(np.float32)
        if not np.isfinite(image).all():
            image = np.nan_to_num(image)
        small = _resize(image, _cube("bbox.onnx"))
        # Both networks see intensities scaled by the same two quantiles: those of the whole head.
        low, high = np.quantile(small, [LOW_QUANTILE, HIGH_QUANTILE]).astype(np.float32)
        if not high > low:
            raise DataError(f"the image has no contrast (nearly all voxels are {low:g})", NO_BRAIN)
        box = _box(_largest(_probability(self._find_box, small, low, high) > BRAIN_PROBABILITY), data.shape)
        part = image[box]
        inside = _probability(self._segment, _resize(part, _cube("model.onnx")), low, high)
        return box, _resize(inside, part.shape)


def _session(folder: Path, file: str, threads: int) -> onnxruntime.InferenceSession:
    """Network ready for use, after a check that it is the one that the card names."""
    if not (folder / file).is_file():
        raise InputError(folder / file, "the network is missing", FETCH_AGAIN)
    digest = load_json(folder / "card.json").get("sha256", {}).get(file, "")
    session = open_session(folder / file, digest, threads, remedy=FETCH_AGAIN)
    if session.get_outputs()[0].shape[1] != 1:
        raise InputError(folder / file, "was written by an earlier version of voxelome", FETCH_AGAIN)
    return session


def _cube(file: str) -> tuple[int, int, int]:
    edge = NETWORKS[file][1]
    return edge, edge, edge


def _probability(
    session: onnxruntime.InferenceSession, image: FloatVolume, low: np.float32, high: np.float32
) -> FloatVolume:
    """Probability of brain in each voxel of an image of the network's size, which is used up."""
    # In place, and plane by plane where double precision is needed: new memory takes longer than the sums.
    image -= low
    image /= high - low
    np.clip(image, 0, 1, out=image)
    mean = image.mean(dtype=np.float64)
    square = sum(float(np.sum((plane.astype(np.float64) - mean) ** 2)) for plane in image)
    sd = np.float32(np.sqrt(square / (image.size - 1)))
    if not sd > 0:
        raise DataError("the image has no contrast where its brain should be", NO_BRAIN)
    image -= np.float32(mean)
    image /= sd
    image *= TRAINED_SD
    image += TRAINED_MEAN
    result: FloatVolume = session.run(None, {"image": image[np.newaxis, np.newaxis]})[0][0, 0]
    return result


def _resize(image: FloatVolume, shape: tuple[int, ...]) -> FloatVolume:
    """Nearest voxel by voxel centres: output i takes input floor((i + 0.5) * size_in / size_out).

    In single precision, as ``nearest-exact`` of torch has it, so that ties fall to the same side.
    """
    # The axis that grows most comes last, which takes the least memory on the way.
    sizes = zip(range(3), image.shape, shape, strict=True)
    for axis, size_in, size_out in sorted(sizes, key=lambda each: each[2] / each[1]):
        scale = np.float32(size_in) / np.float32(size_out)
        index = ((np.arange(size_out, dtype=np.float32) + np.float32(0.5)) * scale).astype(np.int64)
        image = image.take(np.minimum(index, size_in - 1), axis)
    return image


def _largest(mask: MaskArray) -> MaskArray:
    """Largest part of a mask, voxels being neighbours by face, edge or corner."""
    labels = cc3d.connected_components(mask, connectivity=26)
    sizes = np.bincount(labels.ravel())
    if sizes.size < 2:
        raise DataError("no brain was found in the image", NO_BRAIN)
    largest: MaskArray = labels == 1 + int(sizes[1:].argmax())
    return largest


def _box(small: MaskArray, shape: tuple[int, ...]) -> Box:
    """Box of the brain, with a margin, on a grid of `shape`, from a mask of the same field of view."""
    box = []
    for axis, size in enumerate(shape):
        others = tuple(other for other in range(3) if other != axis)
        slices = np.flatnonzero(small.mean(axis=others) > SLICE_SHARE)
        if not slices.size:
            raise DataError("only specks of brain were found in the image", NO_BRAIN)
        scale = np.float32(size) / np.float32(small.shape[axis])
        first, end = slices[0], slices[-1] + 1
        centre = np.round(scale * np.float32((first + end) / 2))
        half = np.round(np.float32(1 + 2 * MARGIN) * (scale * np.float32(end - first))) / 2
        # int() cuts towards zero, as deepbet does.
        box.append(slice(max(0, int(centre - half)), min(size, int(centre + half))))
    if any(part.start >= part.stop for part in box):
        raise DataError("the brain found is smaller than a voxel", NO_BRAIN)
    return tuple(box)
