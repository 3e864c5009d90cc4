"""Bundles of MONAI as ONNX."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from voxelome.errors import InputError
from voxelome.segmentation.importers import monai, monai_bundle
from voxelome.segmentation.spec import parse_spec

torch = pytest.importorskip("torch", reason="torch is not installed: networks cannot be imported")
nets = pytest.importorskip("monai.networks.nets", reason="MONAI is not installed")

PATCH = [16, 16, 24]
SETTINGS: dict[str, Any] = {
    "spatial_dims": 3,
    "in_channels": 4,
    "out_channels": 3,
    "init_filters": 8,
    "blocks_down": [1, 1],
    "blocks_up": [1],
}
# As in the model zoo's brats_mri_segmentation, but for the sizes.
METADATA = {
    "network_data_format": {
        "inputs": {
            "image": {
                "num_channels": 4,
                "spatial_shape": ["8*n", "8*n", "8*n"],
                "channel_def": {"0": "T1c", "1": "T1", "2": "T2", "3": "FLAIR"},
            }
        },
        "outputs": {
            "pred": {
                "num_channels": 3,
                "channel_def": {"0": "Tumor core", "1": "Whole tumor", "2": "Enhancing tumor"},
            }
        },
    }
}
NORMALIZE = {"_target_": "NormalizeIntensityd", "keys": "image", "nonzero": True, "channel_wise": True}
PERCENTILES = {"_target_": "ScaleIntensityRangePercentilesd", "lower": 1, "upper": 99, "b_min": 0, "b_max": 1}
INFERENCE = {
    "imports": ["$import glob"],
    "network_def": {"_target_": "SegResNet", **SETTINGS},
    "network": "$@network_def.to(@device)",
    "preprocessing": {
        "_target_": "Compose",
        "transforms": [{"_target_": "LoadImaged", "keys": "image"}, NORMALIZE],
    },
    "inferer": {"_target_": "SlidingWindowInferer", "roi_size": PATCH, "overlap": 0.25},
    "postprocessing": {
        "_target_": "Compose",
        "transforms": [{"_target_": "Activationsd", "keys": "pred", "sigmoid": True}],
    },
}
# The later is painted over the earlier.
LABELS = {2: "whole tumor", 1: "tumor core", 4: "enhancing tumor"}
ENTRY: dict[str, Any] = {
    "name": "tumour",
    "task": "segmentation",
    "grid": {"orientation": "LPS", "spacing": [1.0, 1.0, 1.0]},
    "outputs": {"labels": LABELS},
}


def network() -> Any:
    torch.manual_seed(3)
    made = nets.SegResNet(**SETTINGS).eval()
    with torch.no_grad():
        for value in made.parameters():
            value.add_(0.2 * torch.randn_like(value))
    return made


def save_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle with weights alone."""
    root = tmp_path / "bundle"
    save_json(root / "configs" / "metadata.json", METADATA)
    save_json(root / "configs" / "inference.json", INFERENCE)
    (root / "models").mkdir()
    torch.save({"model": network().state_dict()}, root / "models" / "model.pt")
    return root


@pytest.fixture
def scripted(bundle: Path) -> Path:
    """A bundle with TorchScript, which no class of MONAI is needed for."""
    made = network()
    torch.jit.trace(made, torch.zeros(1, 4, *PATCH)).save(str(bundle / "models" / "model.ts"))
    (bundle / "models" / "model.pt").unlink()
    return bundle


def run(path: Path, image: Any) -> Any:
    return onnxruntime.InferenceSession(path.read_bytes()).run(None, {"image": image})[0]


def test_weights_alone_give_what_torch_gives_with_the_channels_in_the_order_of_painting(
    bundle: Path, tmp_path: Path
) -> None:
    found = monai.convert(bundle, ENTRY, tmp_path)
    spec = parse_spec({**ENTRY, **found})
    assert [(item.contrast, item.enhanced) for item in spec.inputs] == [
        ("T1w", True),
        ("T1w", False),
        ("T2w", False),
        ("FLAIR", False),
    ]
    assert {(item.rule, item.region) for item in spec.inputs} == {("zscore", "brain")}
    assert (spec.grid.patch, spec.grid.overlap, spec.grid.brain_only) == (tuple(PATCH), 0.25, True)
    assert (spec.activation, spec.labels) == ("sigmoid", LABELS)
    image = np.random.default_rng(5).standard_normal((1, 4, *PATCH), dtype=np.float32)
    with torch.no_grad():
        expected = network()(torch.from_numpy(image)).numpy()
    assert np.abs(run(tmp_path / "model.onnx", image) - expected[:, [1, 0, 2]]).max() < 1e-4


def test_a_zipped_bundle_with_a_script_gives_the_same(scripted: Path, tmp_path: Path) -> None:
    inference = json.loads((scripted / "configs" / "inference.json").read_text())
    inference["network_def"] = {"_target_": "scripts.own.Network"}
    save_json(scripted / "configs" / "inference.json", inference)
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        for path in scripted.rglob("*"):
            archive.write(path, path.relative_to(scripted.parent))
    found = monai.convert(tmp_path / "b.zip", ENTRY, tmp_path)
    assert found["members"] == ["model.onnx"]
    image = np.random.default_rng(5).standard_normal((2, 4, *PATCH), dtype=np.float32)
    with torch.no_grad():
        expected = network()(torch.from_numpy(image)).numpy()
    assert np.abs(run(tmp_path / "model.onnx", image) - expected[:, [1, 0, 2]]).max() < 1e-4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.zip", "bundle", "model.onnx"]


def test_grid_window_and_exclusive_labels_are_read_from_the_configuration(
    bundle: Path, tmp_path: Path
) -> None:
    metadata = json.loads(json.dumps(METADATA))
    described = metadata["network_data_format"]
    described["inputs"]["image"]["channel_def"] = {"0": "CT"}
    described["outputs"]["pred"]["channel_def"] = {"0": "background", "1": "spleen"}
    save_json(bundle / "configs" / "metadata.json", metadata)
    scale = {"a_min": -50, "a_max": 150, "b_min": -1.0, "b_max": 1.0, "clip": True}
    transforms = [
        {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
        {"_target_": "Spacingd", "keys": "image", "pixdim": [1.5, 1.5, 2.0]},
        {"_target_": "ScaleIntensityRanged", "keys": "image", **scale},
    ]
    settings = {**SETTINGS, "in_channels": 1, "out_channels": 2}
    inference = {
        **INFERENCE,
        "network_def": {"_target_": "monai.networks.nets.SegResNet", **settings},
        "preprocessing": {"transforms": transforms},
        "postprocessing": "$@unknown",
    }
    save_json(bundle / "configs" / "inference.json", inference)
    torch.manual_seed(1)
    made = nets.SegResNet(**settings).eval()
    torch.save(made.state_dict(), bundle / "models" / "model.pt")
    spec = parse_spec({**ENTRY, **monai.convert(bundle, {"name": "spleen"}, tmp_path)})
    assert (spec.grid.orientation, spec.grid.spacing) == ("RAS", (1.5, 1.5, 2.0))
    assert (spec.activation, spec.labels) == ("softmax", {1: "spleen"})
    assert (spec.inputs[0].contrast, spec.inputs[0].windows) == ("ct", ((50.0, 200.0),))
    units = np.random.default_rng(5).standard_normal((1, 1, *PATCH), dtype=np.float32) * 150
    scaled = torch.from_numpy(np.clip((units + 50) / 200, 0, 1) * 2 - 1)
    with torch.no_grad():
        expected = made(scaled).numpy()
    windowed = np.clip((units + 50) / 200, 0, 1)
    assert np.abs(run(tmp_path / "model.onnx", windowed) - expected).max() < 1e-4


@pytest.mark.parametrize("target", [(0.0, 1.0), (-1.0, 0.0)])
def test_a_range_goes_where_the_configuration_says_also_to_zero(target: tuple[float, float]) -> None:
    low, high = target
    scale = {"_target_": "ScaleIntensityRanged", "a_min": -50, "a_max": 150, "b_min": low, "b_max": high}
    configuration = {"preprocessing": {"transforms": [{**scale, "clip": True}]}}
    rule, gain = monai_bundle.scaling(Path("inference.json"), configuration, 1)
    assert rule["windows"] == [[50.0, 200.0]]
    assert gain == (1.0, low)


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_weights_that_would_run_something_are_refused_and_run_nothing(bundle: Path, tmp_path: Path) -> None:
    torch.save({"model": Trap(tmp_path / "sprung")}, bundle / "models" / "model.pt")
    with pytest.raises(InputError, match="mkdir"):
        monai.convert(bundle, ENTRY, tmp_path)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("definition", "said"),
    [
        ({"_target_": "os.system", "command": "true"}, "os.system"),
        ({"_target_": "scripts.own.SegResNet"}, "no network of MONAI"),
        ({"_target_": "torch.nn.Linear"}, "no network of MONAI"),
        ({"_target_": "SegResNet", **SETTINGS, "act": "$__import__('os').system('true')"}, "would run"),
        ({"_target_": "SegResNet", **SETTINGS, "norm": ["@norm"]}, "would run"),
        ({"_target_": "SegResNet", **SETTINGS, "nonsense": 1}, "describes no SegResNet"),
        ({"_target_": "SegResNet", **SETTINGS, "init_filters": 16}, "have the shape"),
        ({"_target_": "SegResNet", **SETTINGS, "blocks_down": [1, 2]}, "not those of the network"),
    ],
)
def test_a_definition_that_is_no_network_of_monai_with_plain_settings_is_refused(
    bundle: Path, tmp_path: Path, definition: dict[str, Any], said: str
) -> None:
    save_json(bundle / "configs" / "inference.json", {**INFERENCE, "network_def": definition})
    with pytest.raises(InputError, match=said):
        monai.convert(bundle, ENTRY, tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"grid": {"orientation": "LPS"}}, "spacing"),
        ({"outputs": {}}, "painted over"),
        (
            {"outputs": {"labels": {1: "whole tumor", 2: "core", 3: "enhancing tumor"}}},
            "names of the channels",
        ),
        ({"inputs": [{"contrast": "T1w"}]}, "fails on 1 channels"),
    ],
)
def test_an_entry_that_lacks_what_the_bundle_does_not_say_is_refused(
    bundle: Path, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        monai.convert(bundle, {**ENTRY, **changes}, tmp_path)


@pytest.mark.parametrize(
    "transforms",
    [
        [{**NORMALIZE, "channel_wise": False}],
        [NORMALIZE, {"_target_": "ScaleIntensityd", "keys": "image"}],
        [{"_target_": "HistogramNormalized", "keys": "image"}],
        [{"_target_": "ScaleIntensityd", "keys": "image"}],
        [{**PERCENTILES, "channel_wise": False}],
        [{**PERCENTILES, "channel_wise": True, "relative": True}],
        [{"_target_": "ScaleIntensityRanged", "a_min": 0, "clip": True}],
        [{"_target_": "ScaleIntensityRanged", "a_min": 0, "a_max": 9, "b_max": None, "clip": True}],
        [],
    ],
)
def test_intensities_scaled_in_a_way_that_is_not_known_are_asked_for(
    bundle: Path, tmp_path: Path, transforms: list[dict[str, Any]]
) -> None:
    save_json(
        bundle / "configs" / "inference.json", {**INFERENCE, "preprocessing": {"transforms": transforms}}
    )
    with pytest.raises(InputError, match="give inputs"):
        monai.convert(bundle, ENTRY, tmp_path)


def test_a_bundle_that_lacks_a_part_or_is_cut_short_is_refused(bundle: Path, tmp_path: Path) -> None:
    weights = bundle / "models" / "model.pt"
    weights.write_bytes(weights.read_bytes()[:2000])
    with pytest.raises(InputError, match=r"model\.pt"):
        monai.convert(bundle, ENTRY, tmp_path)
    weights.unlink()
    with pytest.raises(InputError, match="neither"):
        monai.convert(bundle, ENTRY, tmp_path)
    (bundle / "configs" / "metadata.json").unlink()
    with pytest.raises(InputError, match=r"metadata\.json"):
        monai.convert(bundle, ENTRY, tmp_path)
    (tmp_path / "b.zip").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(InputError, match=r"b\.zip.*no whole zip"):
        monai.convert(tmp_path / "b.zip", ENTRY, tmp_path)
