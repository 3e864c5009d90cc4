"""What the benchmarks of the images share: heads, known motions, errors in mm, and the table."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nilearn.datasets import load_mni152_gm_template, load_mni152_wm_template
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from voxelome.anat.bias import correct_bias
from voxelome.anat.stripped import stripped_mask
from voxelome.imageio import load_volume
from voxelome.orientation import to_canonical
from voxelome.phantom.anatomy import tissues_at
from voxelome.phantom.cohort import make_cohort
from voxelome.phantom.person import make_person
from voxelome.registration.template import load_template
from voxelome.segmentation.cards import default_models_dir
from voxelome.segmentation.deepbet import BrainExtractor

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
REAL = DATA / "bids-real"
CHRIS = "sub-chris/anat/sub-chris_T1w"
MS01 = "sub-ms01/ses-0{visit}/anat/sub-ms01_ses-0{visit}_{contrast}"
DU7294 = "sub-du7294/anat/sub-du7294_{contrast}"

Floats = NDArray[np.floating[Any]]
SEED = 11
SITES = 2
_WIDTH = 36


@dataclass(frozen=True)
class Image:
    """An image in RAS+ order: values, voxels to world (mm), and the brain where one was found."""

    data: Any
    affine: Any
    mask: Any = None

    def brain_points(self, step: int = 50) -> Floats:
        """World points of every `step`-th voxel of the brain, shape (4, N)."""
        return np.asarray(self.affine @ np.insert(np.argwhere(self.mask)[::step].T, 3, 1, axis=0))

    def error(self, found: Any, truth: Any) -> float:
        """Mean distance in mm between where two matrices take the brain."""
        difference = (np.asarray(found) - np.asarray(truth)) @ self.brain_points()
        return float(np.linalg.norm(difference[:3], axis=0).mean())


@cache
def load_real(name: str, *, with_brain: bool = False) -> Image:
    """Image of the real dataset; its brain is its own edge where it came stripped, else deepbet's."""
    volume = load_volume(REAL / f"{name}.nii.gz")
    data, affine = to_canonical(volume.data, volume.affine)
    if not with_brain:
        return Image(data, affine)
    mask = stripped_mask(data, affine)
    if mask is None:
        mask = BrainExtractor(default_models_dir() / "deepbet", threads=1)(data, affine)
    return Image(data, affine, mask)


def random_motion(rng: np.random.Generator, centre: Any, degrees: float = 15, shift: float = 20) -> Any:
    """Rigid matrix that turns about `centre` by up to `degrees` and shifts by up to `shift` mm."""
    axis, way = (vector / np.linalg.norm(vector) for vector in rng.normal(size=(2, 3)))
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(np.radians(rng.uniform(0, degrees)) * axis).as_matrix()
    matrix[:3, 3] = centre - matrix[:3, :3] @ centre + rng.uniform(0, shift) * way
    return matrix


def move(image: Image, motion: Any, rng: np.random.Generator, noise: float = 0.02) -> Image:
    """Image of the moved head on its own grid, with noise: one cubic interpolation of scipy's.

    `motion` takes a point of the head to where it then is; `noise` is relative to the bright tissue.
    """
    back = np.linalg.inv(image.affine) @ np.linalg.inv(motion) @ image.affine
    data = ndimage.affine_transform(image.data, back[:3, :3], back[:3, 3], order=3, output=np.float32)
    top = np.percentile(image.data[image.data > 0], 95)
    data = data.clip(min=0) + rng.normal(0, noise * top, data.shape).astype(np.float32)
    return replace(image, data=np.abs(data), mask=None)


@dataclass(frozen=True)
class Case:
    """Files of a visit, the reference first, its brain, an atlas of its kind, and the known motions."""

    name: str
    images: list[Path]
    mask: Path
    atlas: Path
    motions: list[Any]

    def errors(self, found: list[Any]) -> list[float]:
        """Mean error in mm in the brain of each moved contrast."""
        volume = load_volume(self.mask)
        brain = Image(volume.data, volume.affine, volume.data > 0)
        return [brain.error(*pair) for pair in zip(found, self.motions, strict=True)]


def save(path: Path, data: Any, affine: Any) -> Path:
    """Write an image and return its path."""
    nib.save(nib.Nifti1Image(np.asarray(data, dtype=np.float32), affine), path)
    return path


def timed(function: Callable[..., Any], *arguments: Any, **options: Any) -> tuple[float, Any]:
    """Seconds that a call takes, and what it returns."""
    start = time.perf_counter()
    result = function(*arguments, **options)
    return time.perf_counter() - start, result


def in_process(threads: int, function: Callable[..., Any], *arguments: Any) -> Any:
    """Result of a function in a process of its own: ITK fixes its threads at its first use."""
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = str(threads)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def simulated_heads(folder: Path, count: int) -> dict[str, Image]:
    """Brains of a small cohort, the bias field corrected as before a registration."""
    make_cohort(folder, participants=count, sites=SITES, spacing=2, seed=SEED)
    heads = {}
    for number in range(1, count + 1):
        label = f"sub-{number:02d}"
        volume = load_volume(folder / label / "anat" / f"{label}_T1w.nii.gz")
        truth = folder / "derivatives" / "truth" / label / "anat" / f"{label}_desc-brain_mask.nii.gz"
        mask = load_volume(truth).data > 0
        heads[label] = Image(correct_bias(volume.data, volume.affine, mask)[0], volume.affine, mask)
    return heads


def template_points() -> tuple[Any, Any]:
    """Voxels (N, 3) of the template's brain at 2 mm, and where they lie, (3, N) mm."""
    _, affine, mask = load_template(2)
    voxels = np.argwhere(mask)
    return voxels, affine[:3, :3] @ voxels.T + affine[:3, 3:]


def tissue_overlap(label: str, head: Image, points: Any) -> tuple[float, float | None]:
    """Mean Dice of fluid, gray and white matter carried to the template; error in mm where it is known.

    A simulated head knows the template point, and with it the tissue, of each of its own: nothing is
    interpolated. Of a real one, three classes of the intensities are carried.
    """
    voxels, places = template_points()
    if label in CHRIS:
        return _dice(_classes(head, points), _template_tissues(voxels)), None
    warp = make_person(int(label[-2:]) - 1, SITES, SEED).warp
    reached = warp.to_template(points.astype(np.float32))
    error = float(np.linalg.norm(reached - places, axis=0).mean())
    return _dice(_phantom_tissues(reached), _phantom_tissues(places)), error


def _dice(first: Any, second: Any) -> float:
    both = [
        2 * ((first == k) & (second == k)).sum() / ((first == k).sum() + (second == k).sum())
        for k in range(3)
    ]
    return float(np.mean(both))


def _phantom_tissues(points: Any) -> Any:
    fractions = tissues_at(points[:, :, np.newaxis, np.newaxis].astype(np.float32), 1.0).fractions
    return np.argmax([fractions[name].ravel() for name in ("csf", "gm", "wm")], axis=0)


def _template_tissues(voxels: Any) -> Any:
    white, gray = (
        np.asarray(load(resolution=2).dataobj)[tuple(voxels.T)]
        for load in (load_mni152_wm_template, load_mni152_gm_template)
    )
    return np.where(white > np.maximum(gray, 0.3), 2, np.where(gray > 0.3, 1, 0))


def _classes(head: Image, points: Any) -> Any:
    """Class of the nearest voxel, from 0 (dark) to 2, by k-means of the brain's intensities."""
    values = head.data[head.mask]
    centres = np.percentile(values, [15, 50, 85])
    for _ in range(50):
        classes = np.digitize(values, (centres[1:] + centres[:-1]) / 2)
        centres = np.array([values[classes == k].mean() for k in range(3)])
    volume = np.zeros(head.data.shape, dtype=np.uint8)
    volume[head.mask] = np.digitize(values, (centres[1:] + centres[:-1]) / 2)
    inverse = np.linalg.inv(head.affine)
    return ndimage.map_coordinates(volume, inverse[:3, :3] @ points + inverse[:3, 3:], order=0)


@dataclass
class Table:
    """Lines of what was measured, and whether every bar was reached."""

    missed: list[str] = field(default_factory=list)

    def head(self, title: str, *, unit: str = "") -> None:
        """Print the title of a section and the names of the columns."""
        print(f"\n{title}")
        names = f"{unit:{_WIDTH}} {'ours':>9} {'peer':>9} {'ratio':>7} {'bar':>14} reached"
        print(names, flush=True)

    def row(
        self,
        what: str,
        ours: float,
        peer: float | None = None,
        *,
        bar: str = "",
        reached: bool | None = None,
        digits: int = 3,
    ) -> None:
        """Print one line; the ratio is the peer's number over ours."""
        theirs, ratio = "", ""
        if peer is not None:
            theirs, ratio = f"{peer:.{digits}f}", f"{peer / ours:.2f}" if ours else "-"
        verdict = "" if reached is None else "yes" if reached else "NO"
        print(f"{what:{_WIDTH}} {ours:9.{digits}f} {theirs:>9} {ratio:>7} {bar:>14} {verdict}", flush=True)
        if reached is False:
            self.missed.append(what)

    def absent(self, what: str) -> None:
        """Say what could not be measured; that counts as missed."""
        print(f"not measured: {what}", flush=True)
        self.missed.append(what)

    def exit_code(self) -> int:
        """1 where a bar was missed or something could not be measured."""
        if self.missed:
            print(f"\nmissed: {'; '.join(self.missed)}")
        return int(bool(self.missed))


Section = Callable[[Table, argparse.Namespace], None]


def run_sections(
    parser: argparse.ArgumentParser, sections: Mapping[str, Section], needed: Callable[[str], bool]
) -> int:
    """Measure the sections that the command line names, or all; exit code 1 where a bar is missed.

    `needed` says whether a section has the data that it needs.
    """
    parser.add_argument(
        "sections", nargs="*", metavar="SECTION", help=f"all, or some of {', '.join(sections)}"
    )
    options = parser.parse_args()
    for name in options.sections:
        if name not in sections:
            parser.error(f"there is no section {name}")
    # Read by ITK at its first use in a process.
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"
    table = Table()
    for name in options.sections or sections:
        if needed(name):
            sections[name](table, options)
        else:
            table.absent(f"{name}, for want of real data below {DATA}")
    return table.exit_code()
