"""nnU-Net v2 result folders as ONNX."""

from __future__ import annotations

import copy
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from tests.importers import nnunet_folder
from voxelome.errors import InputError
from voxelome.segmentation.importers import nnunet
from voxelome.segmentation.spec import parse_spec

torch = pytest.importorskip("torch", reason="torch is not installed: networks cannot be imported")
needed = "dynamic_network_architectures"
pytest.importorskip(needed, reason="the networks of nnU-Net are not installed")

BRATS = {
    "channel_names": {"0": "T1ce", "1": "FLAIR"},
    "labels": {"background": 0, "edema": 1, "core": 2},
}
ENTRY: dict[str, Any] = {"name": "small", "task": "segmentation", "grid": {"orientation": "LPS"}}


def two_folds(folder: Path) -> Path:
    """Result folder of a network of two contrasts and three classes."""
    networks = [nnunet_folder.make_network(2, 3, seed) for seed in (1, 2)]
    return nnunet_folder.write_folder(folder / "result", networks, nnunet_folder.plans(2), BRATS)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return two_folds(tmp_path)


@pytest.fixture
def fold(root: Path) -> Path:
    """The same of one fold."""
    shutil.rmtree(root / "fold_1")
    return root


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """What is found in a folder of two folds, and the folder of its members."""
    return converted(two_folds(tmp_path_factory.mktemp("nnunet")))


@pytest.fixture
def unwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    """The card alone: no network is written, which takes seconds."""
    monkeypatch.setattr(nnunet, "write_member", lambda *_: None)


def change(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def converted(root: Path, entry: dict[str, Any] = ENTRY) -> tuple[dict[str, Any], Path]:
    """What the importer found, and the folder of the members."""
    folder = root.parent / "onnx"
    folder.mkdir()
    return nnunet.convert(root, entry, folder), folder


def run(path: Path, image: Any) -> Any:
    """Output of ONNX Runtime."""
    return onnxruntime.InferenceSession(path.read_bytes()).run(None, {"image": image})[0]


def random_image(channels: int, patch: list[int]) -> Any:
    return np.random.default_rng(5).standard_normal((1, channels, *patch), dtype=np.float32)


def torch_output(network: Any, batch: Any) -> Any:
    """Output of torch at full resolution."""
    network.eval()
    network.decoder.deep_supervision = False
    with torch.no_grad():
        return network(torch.from_numpy(np.ascontiguousarray(batch))).numpy()


def probabilities(outputs: Any) -> Any:
    return torch.softmax(torch.from_numpy(np.ascontiguousarray(outputs)), 1).numpy()


def test_every_fold_is_a_member_that_gives_what_torch_gives_on_images_stored_x_y_z(
    network: tuple[dict[str, Any], Path],
) -> None:
    found, folder = network
    assert found["members"] == ["fold_0.onnx", "fold_1.onnx"]
    image = random_image(2, found["grid"]["patch"])
    for seed, member in zip((1, 2), found["members"], strict=True):
        expected = torch_output(
            nnunet_folder.make_network(2, 3, seed), image.transpose(0, 1, 4, 3, 2)
        ).transpose(0, 1, 4, 3, 2)
        difference = np.abs(probabilities(run(folder / member, image)) - probabilities(expected))
        assert difference.max() < 1e-5


@pytest.mark.usefixtures("unwritten")
def test_folds_are_chosen_by_the_entry(root: Path) -> None:
    assert converted(root, {**ENTRY, "members": ["fold_1"]})[0]["members"] == ["fold_1.onnx"]
    with pytest.raises(InputError, match=r"has no fold_7, .*its folds are fold_0, fold_1"):
        nnunet.convert(root, {**ENTRY, "members": ["fold_7"]}, root)


def test_a_card_says_what_the_plans_say_with_the_axes_of_the_image(
    network: tuple[dict[str, Any], Path],
) -> None:
    found, _ = network
    assert found["inputs"] == [
        {"contrast": "T1w", "enhanced": True, "rule": "zscore", "region": "brain"},
        {"contrast": "FLAIR", "enhanced": False, "rule": "zscore", "region": "brain"},
    ]
    grid = found["grid"]
    assert (grid["patch"], grid["spacing"]) == ([32, 16, 8], [0.5, 1.0, 3.0])
    # Mirrored along z and y of the file, which are the first two axes of the network.
    assert (grid["mirror"], grid["orientation"], grid["brain_only"]) == ([1, 2], "LPS", True)
    assert found["outputs"] == {"activation": "softmax", "labels": {"1": "edema", "2": "core"}}
    spec = parse_spec({**ENTRY, **json.loads(json.dumps(found))})
    assert (spec.channels, spec.outputs, spec.grid.patch) == (2, 3, (32, 16, 8))


def test_permuted_axes_of_the_network_are_found_in_the_image(fold: Path) -> None:
    # The network's axes are y, z, x of the file.
    change(fold / "plans.json", transpose_forward=[1, 0, 2], image_reader_writer="NibabelIOWithReorient")
    found, folder = converted(fold, {"name": "small"})
    assert found["grid"]["patch"] == [32, 8, 16]
    assert found["grid"]["spacing"] == [0.5, 3.0, 1.0]
    assert found["grid"]["orientation"] == "RAS"
    image = random_image(2, found["grid"]["patch"])
    # Batch and channel, then y, z, x; and back.
    expected = torch_output(nnunet_folder.make_network(2, 3, 1), image.transpose(0, 1, 3, 4, 2))
    expected = expected.transpose(0, 1, 4, 2, 3)
    assert np.abs(run(folder / "fold_0.onnx", image) - expected).max() < 1e-4


def test_residual_networks_and_weights_of_compiled_ones_are_read(tmp_path: Path) -> None:
    network = nnunet_folder.make_network(2, 3, 4, residual=True)
    settings = dict(nnunet_folder.ARCHITECTURE)
    settings["n_blocks_per_stage"] = settings.pop("n_conv_per_stage")
    name = "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet"
    needed = nnunet_folder.IMPORTED
    architecture = {"network_class_name": name, "arch_kwargs": settings, "_kw_requires_import": needed}
    plan = nnunet_folder.plans(2, architecture=architecture)
    root = nnunet_folder.write_folder(tmp_path / "r", [network], plan, BRATS, "module._orig_mod.")
    found, folder = converted(root)
    image = random_image(2, found["grid"]["patch"])
    expected = torch_output(network, image.transpose(0, 1, 4, 3, 2)).transpose(0, 1, 4, 3, 2)
    assert np.abs(run(folder / "fold_0.onnx", image) - expected).max() < 1e-4


def test_plans_from_before_architectures_were_written_down_build_the_same_network(fold: Path) -> None:
    plan = nnunet_folder.plans(2)
    base = plan["configurations"]["base"]
    del base["architecture"]
    base.update(
        UNet_class_name="PlainConvUNet",
        UNet_base_num_features=4,
        unet_max_num_features=8,
        n_conv_per_stage_encoder=[2, 2, 2],
        n_conv_per_stage_decoder=[2, 2],
        pool_op_kernel_sizes=nnunet_folder.ARCHITECTURE["strides"],
        conv_kernel_sizes=nnunet_folder.ARCHITECTURE["kernel_sizes"],
    )
    (fold / "plans.json").write_text(json.dumps(plan))
    found, folder = converted(fold)
    image = random_image(2, found["grid"]["patch"])
    expected = torch_output(nnunet_folder.make_network(2, 3, 1), image.transpose(0, 1, 4, 3, 2))
    assert np.abs(run(folder / "fold_0.onnx", image) - expected.transpose(0, 1, 4, 3, 2)).max() < 1e-4


@pytest.mark.usefixtures("unwritten")
def test_regions_become_overlapping_labels_in_the_order_in_which_they_are_painted(tmp_path: Path) -> None:
    labels = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3}
    dataset = {**BRATS, "labels": labels, "regions_class_order": [2, 1, 3]}
    networks = [nnunet_folder.make_network(2, 3, 1)]
    root = nnunet_folder.write_folder(tmp_path / "r", networks, nnunet_folder.plans(2), dataset)
    found, _ = converted(root)
    assert found["outputs"]["activation"] == "sigmoid"
    assert list(found["outputs"]["labels"].items()) == [("2", "whole"), ("1", "core"), ("3", "enhancing")]


def test_head_ct_is_scaled_as_nnunet_scales_it(tmp_path: Path) -> None:
    figures = {"mean": 50.0, "std": 20.0, "percentile_00_5": 10.0, "percentile_99_5": 90.0}
    plan = nnunet_folder.plans(1, normalization_schemes=["CTNormalization"], use_mask_for_norm=[False])
    plan["foreground_intensity_properties_per_channel"] = {"0": figures}
    dataset = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "blood": 1}}
    network = nnunet_folder.make_network(1, 2, 3)
    found, folder = converted(nnunet_folder.write_folder(tmp_path / "r", [network], plan, dataset))
    (rule,) = found["inputs"]
    assert (rule["contrast"], rule["rule"], rule["windows"]) == ("ct", "window", [[50.0, 80.0]])
    assert found["grid"]["brain_only"] is False
    units = random_image(1, found["grid"]["patch"]) * 60 + 40
    # What CTNormalization of nnU-Net 2.8.1 does.
    normalised = (np.clip(units, 10, 90) - 50) / 20
    expected = torch_output(network, normalised.transpose(0, 1, 4, 3, 2)).transpose(0, 1, 4, 3, 2)
    windowed = np.clip((units - 10) / 80, 0, 1)
    assert np.abs(run(folder / "fold_0.onnx", windowed) - expected).max() < 1e-4


@pytest.mark.usefixtures("unwritten")
def test_inputs_and_labels_of_the_entry_replace_those_of_the_folder(fold: Path) -> None:
    inputs = [{"contrast": "T2w", "region": "image"}, {"contrast": "PDw", "region": "image"}]
    entry = {**ENTRY, "inputs": inputs, "outputs": {"labels": {4: "one", 7: "two"}}}
    found, _ = converted(fold, entry)
    assert found["inputs"] == inputs
    assert found["outputs"]["labels"] == {4: "one", 7: "two"}
    assert found["grid"]["brain_only"] is False


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_a_checkpoint_that_would_run_something_is_refused_and_runs_nothing(root: Path) -> None:
    sprung = root.parent / "sprung"
    content = nnunet_folder.checkpoint(nnunet_folder.make_network(2, 3, 1))
    torch.save({**content, "logging": Trap(sprung)}, root / "fold_1" / "checkpoint_final.pth")
    with pytest.raises(InputError, match=r"fold_1.*mkdir"):
        converted(root)
    assert not sprung.exists()


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_a_checkpoint_cut_short_is_refused(root: Path, share: float) -> None:
    path = root / "fold_0" / "checkpoint_final.pth"
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match="checkpoint_final"):
        converted(root)


@pytest.mark.parametrize(
    ("file", "changes", "said"),
    [
        ("dataset.json", {"channel_names": {"0": "MRI", "1": "FLAIR"}}, "'MRI'"),
        ("dataset.json", {"channel_names": {"0": "T1"}}, "normalises 2 channels of 1"),
        ("dataset.json", {"labels": {"background": 0, "one": 1}}, "have the shape"),
        ("dataset.json", {"labels": {"background": 0, "a": [1, 2], "b": 2}}, "regions_class_order"),
        ("plans.json", {"configurations": {"2d": {}}}, "no configuration 3d_fullres"),
        ("plans.json", {"transpose_forward": None}, "wrong kind"),
    ],
)
def test_a_description_that_does_not_fit_is_refused_by_name(
    root: Path, file: str, changes: dict[str, Any], said: str
) -> None:
    change(root / file, **changes)
    with pytest.raises(InputError, match=said):
        converted(root)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"previous_stage": "3d_lowres"}, "another network's result"),
        ({"patch_size": [16, 16]}, "2D"),
        ({"normalization_schemes": ["Odd", "Odd"]}, "Odd"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_refused(
    root: Path, changes: dict[str, Any], said: str
) -> None:
    (root / "plans.json").write_text(json.dumps(nnunet_folder.plans(2, **changes)))
    with pytest.raises(InputError, match=said):
        converted(root)


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("network_class_name", "os.system"),
        ("conv_op", "os.system"),
        ("conv_op", "torch.nn.functional.conv3d"),
    ],
)
def test_plans_cannot_name_code_to_be_run(root: Path, place: str, name: str) -> None:
    plan = copy.deepcopy(nnunet_folder.plans(2))
    architecture = plan["configurations"]["base"]["architecture"]
    (architecture if place in architecture else architecture["arch_kwargs"])[place] = name
    (root / "plans.json").write_text(json.dumps(plan))
    with pytest.raises(InputError, match=name.rsplit(".", 1)[-1]):
        converted(root)


def test_a_folder_that_lacks_a_part_is_refused_with_its_name(root: Path) -> None:
    with pytest.raises(InputError, match="orientation"):
        nnunet.convert(root, {"name": "small"}, root)
    (root / "fold_1" / "checkpoint_final.pth").unlink()
    with pytest.raises(InputError, match=r"fold_1.*no such file"):
        nnunet.convert(root, ENTRY, root)
    (root / "dataset.json").unlink()
    with pytest.raises(InputError, match=r"dataset\.json"):
        nnunet.convert(root, ENTRY, root)
    with pytest.raises(InputError, match=r"no plans\.json"):
        nnunet.convert(root / "fold_0", ENTRY, root)
