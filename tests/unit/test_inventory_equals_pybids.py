"""Whatever the dataset, entities and metadata are those that pybids gives."""

import json
import tempfile
from importlib.resources import files
from pathlib import Path

import pytest
from bids import BIDSLayout
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from voxelome.bids.entities import DERIVATIVE_PATTERNS, RAW_PATTERNS
from voxelome.bids.inventory import load_inventory, update_inventory

DESCRIPTION = json.dumps({"Name": "generated", "BIDSVersion": "1.10.0", "GeneratedBy": [{"Name": "x"}]})
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.floats(-1, 1),
    st.sampled_from(["", "rad", "é"]),
    st.lists(st.integers(0, 3), max_size=2),
    st.dictionaries(st.sampled_from("ab"), st.integers(0, 3), max_size=1),
)
CONTENT = st.dictionaries(
    st.sampled_from(["EchoTime", "Units", "FlipAngle", "SliceTiming"]), VALUES, max_size=3
)
SUFFIXES = st.sampled_from(["T1w", "T2w", "FLAIR", "MEGRE"])


# Each example builds a pybids layout: to make a failing one smaller would take minutes.
QUICK = {
    "deadline": None,
    "database": None,
    "phases": [Phase.explicit, Phase.generate],
    "suppress_health_check": [HealthCheck.too_slow],
}


def optional(key, *values):
    return st.sampled_from(["", *(f"_{key}-{value}" for value in values)])


@st.composite
def middles(draw, echoes):
    """Entities between session and suffix."""
    parts = [optional("acq", "a", "b"), optional("ce", "gd"), optional("run", "1", "01", "2")]
    if echoes:
        parts += [optional("echo", "1", "2"), optional("part", "mag", "phase")]
    return "".join(draw(part) for part in parts)


@st.composite
def datasets(draw, derivative=False):
    """Content of the files of a dataset by path: images, and sidecars at every level."""
    found = {"dataset_description.json": DESCRIPTION}
    for subject in draw(st.lists(st.sampled_from(["01", "02", "A3"]), min_size=1, max_size=2, unique=True)):
        for session in draw(
            st.lists(st.sampled_from(["", "1", "post"]), min_size=1, max_size=2, unique=True)
        ):
            stem = f"sub-{subject}" + (f"_ses-{session}" if session else "")
            visit = stem.replace("_", "/")
            for _ in range(draw(st.integers(1, 5))):
                suffix = draw(SUFFIXES)
                middle = draw(middles(suffix == "MEGRE"))
                if derivative:
                    middle += draw(optional("space", "T1w")) + draw(optional("desc", "preproc", "x"))
                image = f"{visit}/anat/{stem}{middle}_{suffix}"
                found[image + draw(st.sampled_from([".nii", ".nii.gz"]))] = "content"
                if draw(st.booleans()):
                    found[f"{image}.json"] = json.dumps(draw(CONTENT))
            levels = [(f"{visit}/anat", stem), (visit, stem), (f"sub-{subject}", f"sub-{subject}"), ("", "")]
            for folder, start in levels:
                for _ in range(draw(st.integers(0, 2))):
                    name = f"{start}{draw(middles(True))}_{draw(SUFFIXES)}.json".removeprefix("_")
                    found[f"{folder}/{name}".removeprefix("/")] = json.dumps(draw(CONTENT))
    return found


def write(root, content):
    for path, text in content.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")


def by_pybids(layout, root):
    return {
        str(Path(file.path).relative_to(root)): (dict(file.get_entities()), dict(file.get_metadata()))
        for file in layout.get(extension=[".nii", ".nii.gz"])
    }


def described(found):
    return {file.path: (file.entities, file.metadata) for file in found}


def ours_and_theirs(content):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve() / "raw"
        write(root, {"dataset_description.json": DESCRIPTION, **content})
        update_inventory(root, Path(folder) / "inventory")
        inventories = load_inventory(Path(folder) / "inventory").values()
        ours = described(file for inventory in inventories for file in inventory.files)
        return ours, by_pybids(BIDSLayout(root, validate=False), root)


@settings(max_examples=25, **QUICK)
@given(datasets())
def test_entities_and_metadata_of_every_image_are_those_of_pybids(content):
    ours, theirs = ours_and_theirs(content)
    assert ours == theirs


STEM = "sub-01/anat/sub-01_acq-a_run-01"


@pytest.mark.parametrize(
    ("sidecars", "value"),
    [
        ({"T1w.json": 1, "acq-a_T1w.json": 2}, 2),
        ({"run-1_T1w.json": 2, "T1w.json": 1}, 2),
        ({"sub-01/anat/sub-01_T1w.json": 1, "sub-01/anat/sub-01_run-1_T1w.json": 2}, 2),
        ({f"{STEM}_T1w.json": 1, "sub-01/sub-01_T1w.json": 2, "T1w.json": 3}, 1),
        ({"sub-01/sub-01_T1w.json": 1, "T1w.json": 2}, 1),
        ({"sub-01/sub-01_T1w.json": None, "T1w.json": 2}, None),
        ({"sub-01_T1w.json": 1, "sub-02_T1w.json": 2}, 1),
        ({"run-2_T1w.json": 1, "acq-b_T1w.json": 2, "T2w.json": 3, "ce-a_T1w.json": 4}, None),
    ],
)
def test_which_of_several_sidecars_wins_is_as_in_pybids(sidecars, value):
    content = {path: json.dumps({"EchoTime": number}) for path, number in sidecars.items()}
    ours, theirs = ours_and_theirs({f"{STEM}_T1w.nii.gz": "content", **content})
    assert ours == theirs
    assert ours[f"{STEM}_T1w.nii.gz"][1].get("EchoTime") == value


@settings(max_examples=8, **QUICK)
@given(datasets(derivative=True))
def test_entities_and_metadata_of_derivatives_are_those_of_pybids(content):
    with tempfile.TemporaryDirectory() as folder:
        raw, root = Path(folder).resolve() / "raw", Path(folder).resolve() / "masks"
        write(root, content)
        write(
            raw,
            {path: text for path, text in content.items() if "_desc-" not in path and "_space-" not in path},
        )
        for subject in {path.split("/")[0] for path in content if path.startswith("sub-") and "/" in path}:
            (raw / subject).mkdir(exist_ok=True)
        update_inventory(raw, Path(folder) / "inventory", derivatives={"masks": root})
        inventories = load_inventory(Path(folder) / "inventory").values()
        ours = described(file for inventory in inventories for file in inventory.derivatives["masks"])
        layout = BIDSLayout(root, validate=False, config=["bids", "derivatives"])
        problems = {row["path"].split(":")[-1] for inventory in inventories for row in inventory.problems}
        theirs = by_pybids(layout, root)
        assert ours == {path: found for path, found in theirs.items() if path not in problems}


@pytest.mark.parametrize(("config", "ours"), [("bids", RAW_PATTERNS), ("derivatives", DERIVATIVE_PATTERNS)])
def test_the_patterns_of_entities_are_those_that_pybids_is_configured_with(config, ours):
    source = files("bids") / "layout" / "config" / f"{config}.json"
    entities = json.loads(source.read_text(encoding="utf-8"))["entities"]
    theirs = {item["name"]: item["pattern"] for item in entities if item["name"] != "scans"}
    assert {name: pattern for name, (_, pattern) in ours.items()} == theirs
