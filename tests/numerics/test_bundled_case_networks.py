"""The two networks of whole cases that come with voxelome, on simulated people whom they have not seen."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from voxelome.segmentation.cases import Variation, predict_case
from voxelome.segmentation.engine import open_members
from voxelome.segmentation.saliency import Occlusion, occlusion_map
from voxelome.segmentation.spec import parse_spec
from voxelome.training import age_phantom, ct_phantom
from voxelome.training.cases import AGE, BLEED

MODELS = Path(__file__).resolve().parents[2] / "models"


def opened(card):
    """Specification and network of a card."""
    folder = MODELS / card["name"]
    digest = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    spec = parse_spec({**card, "members": ["model.onnx"]})
    return spec, open_members(folder, spec, {"model.onnx": digest})


@pytest.fixture(scope="module")
def heads():
    """Head CT of a scanner that training did not have, every second one with a haemorrhage."""
    return [
        ct_phantom.simulate_head_ct(
            np.random.default_rng([77, index]), bleeding=bool(index % 2), scanner=ct_phantom.UNSEEN
        )
        for index in range(24)
    ]


def test_haemorrhages_are_told_from_heads_without_on_a_scanner_of_other_noise_and_slices(heads):
    spec, members = opened(BLEED)
    scores = np.array(
        [
            predict_case([head.image], head.affine, None, spec, members, Variation(count=0)).values[1]
            for head in heads
        ]
    )
    pairs = scores[1::2, None] > scores[::2]
    assert pairs.mean() > 0.8


def test_the_occlusion_map_has_its_maximum_within_a_box_of_the_clot():
    spec, members = opened(BLEED)
    head = ct_phantom.simulate_head_ct(np.random.default_rng(102), bleeding=True, kind="intraparenchymal")
    how = Occlusion(most=250, odds=True)
    found = occlusion_map([head.image], head.affine, None, spec, members, 1, how)
    peak = np.argwhere(found.change == found.change.max())[0]
    clot = np.argwhere(head.blood > 0.5)
    distance = np.linalg.norm((clot - peak) @ np.diag(np.diag(head.affine)[:3]), axis=1).min()
    assert found.change.max() > 0.5
    assert distance < max(found.box) / 2


def test_the_planted_age_is_found_within_a_decade_on_other_voxels_and_noise():
    spec, members = opened(AGE)
    error = []
    for index in range(10):
        rng = np.random.default_rng([78, index])
        brain = age_phantom.simulate_brain(rng, scanner=age_phantom.UNSEEN)
        found = predict_case([brain.image], brain.affine, brain.brain, spec, members, Variation(count=2))
        error.append(found.values[0] - brain.age)
    assert np.abs(error).mean() < 10


def test_the_networks_are_small():
    for card in (AGE, BLEED):
        assert (MODELS / card["name"] / "model.onnx").stat().st_size < 10**6
