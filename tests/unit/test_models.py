"""The registry of networks: entries checked, files fetched whole or not at all, and what cards say."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
import yaml

from tests.shared import DATA
from voxelome.app.download import download
from voxelome.app.models import check_fields, default_registry, registry, state
from voxelome.errors import InputError
from voxelome.imageio import load_json, load_yaml
from voxelome.provenance import workflow_root
from voxelome.segmentation.cards import card_digest, damaged_files, load_card
from voxelome.segmentation.spec import GridSpec, InputSpec, parse_spec
from voxelome.tools import main

MESHNET = DATA / "models" / "meshnet_weights"
needs_meshnet = pytest.mark.skipif(not MESHNET.is_dir(), reason=f"there are no MeshNet weights at {MESHNET}")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def network(channels: int = 1, outputs: int = 3) -> bytes:
    """An ONNX network that multiplies its channels by ones."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    space = ["x", "y", "z"]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "kernel"], ["output"])],
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", channels, *space])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n", outputs, *space])],
        [numpy_helper.from_array(np.ones((outputs, channels, 1, 1, 1), np.float32), "kernel")],
    )
    opset = helper.make_opsetid("", 17)
    return helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()


def entry(**changes) -> dict:
    """A valid entry of two labels, in a folder beside the registry."""
    content = {
        "title": "Lesions",
        "task": "segmentation",
        "framework": "onnx",
        "source": {"folder": "nets"},
        "inputs": [{"contrast": "FLAIR"}, {"contrast": "T1w", "enhanced": True, "need": "optional"}],
        "grid": {"spacing": [1, 1, 1], "patch": [64, 64, 64]},
        "outputs": {"labels": {1: "core", 2: "edema"}},
        "licence": "MIT",
        "citation": "A paper",
        "intended_use": "research",
        "not_for": "diagnosis",
    }
    return content | changes


@pytest.fixture
def own(tmp_path: Path):
    """Write a registry with the entry `lesions` and its network; return the registry."""

    def write(content: bytes | None = None, **changes) -> Path:
        (tmp_path / "nets").mkdir(exist_ok=True)
        (tmp_path / "nets" / "one.onnx").write_bytes(network(2) if content is None else content)
        path = tmp_path / "own.yaml"
        path.write_text(yaml.safe_dump({"lesions": entry(**changes)}))
        return path

    return write


def models(*arguments: object) -> int:
    return main(["models", *map(str, arguments)])


# --- entries


def test_our_own_registry_is_valid_and_says_what_each_network_must_not_be_used_for() -> None:
    entries = registry()
    assert {"deepbet", "meshnet18", "meshnettissue", "meshnetbrain"} <= set(entries)
    for name, item in entries.items():
        assert item["name"] == name
        assert item["not_for"]
        assert all(len(file["sha256"]) == 64 for file in item.get("files", []))


def test_the_schema_has_the_fields_of_the_specification() -> None:
    fields = load_yaml(workflow_root() / "config" / "schemas" / "model.yaml")["properties"]
    inputs, grid = fields["inputs"]["items"]["properties"], fields["grid"]["properties"]
    for names, properties in ((InputSpec, inputs), (GridSpec, grid)):
        assert {field.name for field in dataclasses.fields(names)} == set(properties)
        defaults = {field.name: field.default for field in dataclasses.fields(names)}
        told = {key: value["default"] for key, value in properties.items() if "default" in value}
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in defaults.items()}
        assert told == {key: plain[key] for key in told}


def test_labels_may_be_written_as_numbers_and_the_entry_reads_as_a_specification(own) -> None:
    spec = parse_spec(registry(own())["lesions"])
    assert spec.labels == {1: "core", 2: "edema"}
    assert (spec.channels, spec.outputs) == (2, 3)


@pytest.mark.parametrize(
    ("task", "activation", "names"),
    [
        ("segmentation", "softmax", ["core", "edema"]),
        ("segmentation", "sigmoid", ["edema", "core"]),
        ("classification", "softmax", ["core", "edema"]),
        ("classification", "sigmoid", ["core", "edema"]),
    ],
)
def test_channels_are_in_the_order_of_the_labels_values_unless_later_ones_are_painted_over(
    task: str, activation: str, names: list[str]
) -> None:
    first = int(task == "segmentation")
    labels = {first + 1: "edema", first: "core"}
    content = entry(name="lesions", task=task, outputs={"activation": activation, "labels": labels})
    assert list(parse_spec(content).labels.values()) == names


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"licenc": "MIT"}, r"no field 'lesions\.licenc'; did you mean licence"),
        ({"inputs": [{"contrast": "FLAIR", "rul": "none"}]}, r"'lesions\.inputs\.0\.rul'; did you mean rule"),
        ({"inputs": [{"contrast": "T3w"}]}, r"'lesions\.inputs\.0\.contrast': 'T3w' is not one of"),
        ({"inputs": [{"contrast": "ct", "rule": "window"}]}, "give windows"),
        ({"grid": {"orientation": "RRS"}}, r"lesions\.grid\.orientation"),
        ({"outputs": {}}, "has no labels"),
        ({"outputs": {"labels": {0: "a", 1: "b"}}}, "0 is the background"),
        ({"framework": "tfjs", "members": ["one.onnx"]}, r"lesions\.members .* a network of tfjs is one"),
        ({"outputs": {"labels": {1: "a", 2: "a"}}}, "two labels are named 'a'"),
        (
            {"task": "classification", "outputs": {"labels": {1: "a", 2: "b"}}},
            "from 0 to 1, as its outputs lie",
        ),
        (
            {"postprocess": [{"name": "fill_hole"}]},
            "lesions: there is no step fill_hole .*did you mean fill_holes",
        ),
        ({"postprocess": [{"name": "fill_holes", "labels": ["oedema"]}]}, "has oedema, which is no label"),
        ({"outputs": {"labels": {"one": "a"}}}, r"lesions\.outputs\.labels"),
        ({"source": {}}, r"lesions\.source"),
        ({"source": {"folder": "nets", "bundled": "nets"}}, "exactly one of package, url, folder, bundled"),
        ({"source": {"package": "deepbet"}}, "'version' is a dependency of 'package'; add it"),
        ({"source": {"url": "ftp://host/net.onnx"}}, r"lesions\.source\.url"),
        ({"source": {"url": "http://host/net.onnx"}}, r"lesions\.files names 0 files"),
        ({"source": {"bundled": "../../etc"}}, r"lesions\.source\.bundled"),
        (
            {"files": [{"path": "a/../../b", "sha256": "0" * 64, "size": 1}]},
            r"lesions\.files\.0\.path",
        ),
        ({"files": [{"path": "a", "sha256": "0" * 63, "size": 1}]}, r"lesions\.files\.0\.sha256"),
        ({"inputs": [{"contrast": "T1w", "rule": "percentile", "low": 90, "high": 10}]}, "from 90 to 10"),
    ],
)
def test_a_bad_entry_is_refused_with_file_entry_and_field(changes: dict, says: str, own) -> None:
    path = own(**changes)
    with pytest.raises(InputError, match=says) as caught:
        registry(path)
    assert caught.value.source == str(path)


@pytest.mark.parametrize("field", ["licence", "not_for", "inputs", "outputs"])
def test_what_an_entry_lacks_is_named(field: str, tmp_path: Path) -> None:
    content = entry()
    del content[field]
    with pytest.raises(InputError, match=f"'{field}' is a required property; add it"):
        check_fields(content, tmp_path, "lesions")


@pytest.mark.parametrize("name", ["two words", "with-dash", "1st", "é"])
def test_a_name_that_cannot_be_an_entity_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump({name: entry()}))
    with pytest.raises(InputError, match="cannot name a model"):
        registry(path)


def test_a_registry_of_ones_own_changes_single_fields_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump({"meshnet18": {"source": {"folder": "mirror"}, "grid": {"crop": False}}}))
    before, after = registry()["meshnet18"], registry(path)["meshnet18"]
    assert after["source"] == {"folder": str(tmp_path / "mirror")}
    assert after["grid"] == {**before["grid"], "crop": False}
    assert after["files"] == before["files"]


# --- fetching


def test_fetch_writes_the_networks_and_a_card_that_says_everything(own, tmp_path: Path, capsys) -> None:
    path, folder = own(), tmp_path / "models"
    assert models("fetch", "lesions", "--registry", path, "--models-dir", folder) == 0
    assert "not for: diagnosis" in capsys.readouterr().out
    card = load_card(folder, "lesions")
    assert card["sha256"] == {"one.onnx": sha256(network(2))}
    assert card["members"] == ["one.onnx"]
    assert card["outputs"]["labels"] == {"1": "core", "2": "edema"}
    assert parse_spec(card).members == ("one.onnx",)
    assert card["converter"]["voxelome"]
    assert sorted(item.name for item in folder.iterdir()) == ["lesions"]
    assert state(registry(path)["lesions"], folder) == "ready"


def test_members_of_one_name_in_different_folders_are_all_kept(own, tmp_path: Path) -> None:
    path, folder = own(members=["b/model.onnx", "a/model.onnx"]), tmp_path / "models"
    for name, outputs in (("a", 3), ("b", 3), ("c", 4)):
        (tmp_path / "nets" / name).mkdir()
        content = network(2, outputs).replace(b"small", b"fold" + name.encode())
        (tmp_path / "nets" / name / "model.onnx").write_bytes(content)
    assert models("fetch", "lesions", "--registry", path, "--models-dir", folder) == 0
    card = load_card(folder, "lesions")
    assert card["members"] == ["b/model.onnx", "a/model.onnx"]
    assert len(set(card["sha256"].values())) == 2
    assert damaged_files(folder, "lesions") == []


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (network(2)[:-20], "cannot be read as ONNX"),
        (b"", "cannot be read as ONNX"),
        (network(3), "takes 3 channels, and its entry says 2"),
        (network(2, 5), "gives 5 channels, and its entry says 3"),
    ],
)
def test_a_network_that_is_not_what_its_entry_says_is_refused_and_leaves_nothing(
    content: bytes, says: str, own, tmp_path: Path, capsys
) -> None:
    folder = tmp_path / "models"
    assert models("fetch", "lesions", "--registry", own(content), "--models-dir", folder) == 3
    assert says in capsys.readouterr().err
    assert not list(folder.iterdir())


def test_a_file_of_another_checksum_is_refused(own, tmp_path: Path, capsys) -> None:
    files = [{"path": "one.onnx", "sha256": "0" * 64, "size": 5}]
    path = own(files=files)
    assert models("fetch", "lesions", "--registry", path, "--models-dir", tmp_path / "models") == 3
    assert "not the file that the registry names" in capsys.readouterr().err


def test_an_edited_entry_makes_the_model_outdated_and_fetch_mends_it(own, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "models"
    options = ("--registry", own(), "--models-dir", folder)
    models("fetch", "lesions", *options)
    own(outputs={"labels": {1: "necrosis", 2: "edema"}})
    assert models("verify", "lesions", *options) == 0
    assert "the registry has another entry now" in capsys.readouterr().out
    models("fetch", "lesions", *options)
    assert load_card(folder, "lesions")["outputs"]["labels"]["1"] == "necrosis"


def test_the_digest_changes_with_what_decides_the_result_and_with_nothing_else(own, tmp_path: Path) -> None:
    folder, digests = tmp_path / "models", []
    for changes in ({}, {"title": "Others", "licence": "BSD"}, {"grid": {"patch": [32, 32, 32]}}):
        models("fetch", "lesions", "--registry", own(**changes), "--models-dir", folder)
        digests.append(card_digest(folder, "lesions"))
    assert digests[0] == digests[1] != digests[2]


def test_labels_in_another_order_are_another_network(own, tmp_path: Path, capsys) -> None:
    folder, digests = tmp_path / "models", []
    for labels in ({1: "core", 2: "edema"}, {2: "edema", 1: "core"}):
        text = yaml.safe_dump(
            {"lesions": entry(outputs={"activation": "sigmoid", "labels": labels})}, sort_keys=False
        )
        own(network(2, 2)).write_text(text)
        models("fetch", "lesions", "--registry", tmp_path / "own.yaml", "--models-dir", folder)
        assert "fetched" in capsys.readouterr().out
        digests.append(card_digest(folder, "lesions"))
    assert digests[0] != digests[1]


def test_verify_names_the_damaged_file_and_exits_with_3(own, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "models"
    options = ("--registry", own(), "--models-dir", folder)
    models("fetch", "lesions", *options)
    assert models("verify", *options) == 0
    network_file = folder / "lesions" / "one.onnx"
    network_file.write_bytes(network_file.read_bytes()[:-1])
    assert models("verify", *options) == 3
    assert "lesions: damaged: one.onnx; run: voxelome-tools models fetch lesions" in capsys.readouterr().out
    assert damaged_files(folder, "lesions") == ["one.onnx"]
    assert models("fetch", "lesions", *options) == 0
    assert models("verify", *options) == 0


def test_a_missing_model_is_answered_with_the_command_that_fetches_it(tmp_path: Path) -> None:
    command = re.escape(f"run: voxelome-tools models fetch meshnet18 --models-dir {tmp_path}")
    with pytest.raises(InputError, match=f"{command}$"):
        load_card(tmp_path, "meshnet18")
    with pytest.raises(InputError, match=r"--registry YOUR_REGISTRY\.yaml$"):
        card_digest(tmp_path, "mine")


def test_a_package_of_another_version_is_refused(tmp_path: Path, capsys) -> None:
    path = tmp_path / "own.yaml"
    source = {"package": "numpy", "version": "0.1", "path": "numpy"}
    path.write_text(yaml.safe_dump({"lesions": entry(source=source)}))
    assert models("fetch", "lesions", "--registry", path, "--models-dir", tmp_path / "models") == 3
    assert "run: pip install --no-deps numpy==0.1" in capsys.readouterr().err


def test_list_has_a_line_a_model_with_its_state(own, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "models"
    models("fetch", "lesions", "--registry", own(), "--models-dir", folder)
    capsys.readouterr()
    models("list", "--models-dir", folder)
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert "absent" in lines["meshnet18"]
    assert "ready" in lines["lesions"]


def test_show_tells_licence_and_limits_of_a_model_that_is_not_here(tmp_path: Path, capsys) -> None:
    assert models("show", "meshnettissue", "--models-dir", tmp_path) == 0
    shown = capsys.readouterr().out
    for part in (
        "licence: MIT",
        "not_for: diagnosis",
        "White-Matter",
        "state: absent",
        "models fetch meshnettissue",
    ):
        assert part in shown


# --- over the network

CONTENT = bytes(range(256)) * 40


class Server(BaseHTTPRequestHandler):
    """Serves CONTENT in the ways that servers do, by the path; notes the ranges that it was asked for."""

    ranges: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.ranges.append(asked)
        start = int(asked.split("=")[1].split("-")[0]) if asked and "/ranged" in self.path else 0
        if self.path == "/moved":
            return self._head(302, Location="/ranged")
        if self.path == "/to-file":
            return self._head(302, Location=Path(__file__).as_uri())
        if self.path == "/absent":
            return self._head(404)
        if start >= len(CONTENT):
            return self._head(416)
        rest = CONTENT[start:]
        place = {"Content-Range": f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"} if start else {}
        self._head(206 if start else 200, **{"Content-Length": str(len(rest)), **place})
        breaks = self.path.endswith("/breaks") and start < 7000
        self.wfile.write(rest[:3000] if breaks else rest)

    def _head(self, code: int, **headers: str) -> None:
        self.send_response(code)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def serving(handler) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def address(monkeypatch) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    Server.ranges = []
    yield from serving(Server)


def bring(url: str, path: Path, **changes) -> None:
    download(url, path, **({"sha256": sha256(CONTENT), "size": len(CONTENT)} | changes))


@pytest.mark.parametrize("route", ["/whole", "/ranged", "/moved"])
def test_a_download_is_the_file(route: str, address: str, tmp_path: Path) -> None:
    bring(address + route, tmp_path / "net")
    assert [path.name for path in tmp_path.iterdir()] == ["net"]
    assert (tmp_path / "net").read_bytes() == CONTENT
    asked = len(Server.ranges)
    bring(address + route, tmp_path / "net")
    assert len(Server.ranges) == asked


def test_a_download_goes_on_where_it_stopped(address: str, tmp_path: Path) -> None:
    (tmp_path / "net.part").write_bytes(CONTENT[:4000])
    bring(address + "/ranged", tmp_path / "net")
    assert (tmp_path / "net").read_bytes() == CONTENT
    assert Server.ranges == ["bytes=4000-"]


def test_a_connection_that_breaks_is_taken_up_again(address: str, tmp_path: Path) -> None:
    bring(address + "/ranged/breaks", tmp_path / "net")
    assert (tmp_path / "net").read_bytes() == CONTENT
    assert Server.ranges == [None, "bytes=3000-", "bytes=6000-", "bytes=9000-"]


def test_a_server_without_ranges_is_asked_for_the_whole(address: str, tmp_path: Path) -> None:
    (tmp_path / "net.part").write_bytes(b"of another try")
    bring(address + "/whole", tmp_path / "net")
    assert (tmp_path / "net").read_bytes() == CONTENT


@pytest.mark.parametrize("part", [b"other" * 10, CONTENT + b"more"])
def test_a_part_that_does_not_fit_is_thrown_away(part: bytes, address: str, tmp_path: Path) -> None:
    (tmp_path / "net.part").write_bytes(part)
    bring(address + "/ranged", tmp_path / "net")
    assert (tmp_path / "net").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("route", "changes", "says"),
    [
        ("/absent", {}, "HTTP 404"),
        ("/to-file", {}, "file:/"),
        ("/whole", {"sha256": "0" * 64}, "not the file that the registry names"),
        ("/whole", {"size": 100}, "sends more than the 100 bytes announced"),
        (
            "/ranged",
            {"size": len(CONTENT) + 1},
            f"no more than {len(CONTENT):,} of {len(CONTENT) + 1:,} bytes",
        ),
    ],
)
def test_what_is_not_the_file_is_refused(
    route: str, changes: dict, says: str, address: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=re.escape(says)):
        bring(address + route, tmp_path / "net", **changes)
    assert not (tmp_path / "net").exists()


def test_a_server_that_is_not_there_is_said_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"stopped at 0 of .* bytes .*run the command again"):
        bring("http://127.0.0.1:9/net", tmp_path / "net")


def test_a_file_url_is_copied(tmp_path: Path) -> None:
    (tmp_path / "a file").write_bytes(CONTENT)
    bring((tmp_path / "a file").as_uri(), tmp_path / "net")
    assert (tmp_path / "net").read_bytes() == CONTENT
    with pytest.raises(InputError, match="no such file"):
        bring((tmp_path / "nowhere").as_uri(), tmp_path / "other")


@needs_meshnet
def test_meshnet_comes_from_a_server_with_the_checksums_of_our_registry(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    ours = load_yaml(default_registry())
    names = ["meshnet18", "meshnet18large", "meshnettissue", "meshnetbrain"]
    quiet = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    for base in serving(partial(quiet, directory=str(MESHNET))):
        path = tmp_path / "own.yaml"
        sources = {name: ours[name]["source"]["url"].split("/models/")[1] for name in names}
        path.write_text(
            json.dumps({name: {"source": {"url": f"{base}/{at}"}} for name, at in sources.items()})
        )
        assert models("fetch", *names, "--registry", path, "--models-dir", tmp_path / "models") == 0
        assert models("verify", *names, "--registry", path, "--models-dir", tmp_path / "models") == 0
    # Fetched from a mirror it is what our own entry names.
    assert state(registry()["meshnet18"], tmp_path / "models") == "ready"
    card = load_json(tmp_path / "models" / "meshnet18" / "card.json")
    assert parse_spec(card).outputs == 18
    assert card["grid"]["kind"] == "conform"
