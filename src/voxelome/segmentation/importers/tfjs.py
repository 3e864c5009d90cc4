"""A TF.js layers model (``model.json`` and its weight shards) as ONNX, without TensorFlow.

What MeshNet is made of is known: dilated three-dimensional convolutions of stride 1, normalisation and
activations, one layer after the other. Any other layer is refused by name.

References
----------
TensorFlow.js, tfjs-core, io/io_utils.ts (weight files) and tfjs-layers, activations.ts.
Fedorov A, Johnson J, Damaraju E, et al. End-to-end learning of brain tissue segmentation from imperfect
labeling. IJCNN (2017). arXiv:1612.00940.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from voxelome.errors import InputError
from voxelome.imageio import load_json, replacing
from voxelome.segmentation.importers.tfjs_layers import REMEDY, LayerGraph
from voxelome.segmentation.importers.tfjs_weights import read_weights

MODEL, MEMBER = "model.json", "model.onnx"


def convert(source: Path, entry: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What the files tell of the network, as additions to its card; writes ``model.onnx``.

    The ONNX network takes ``image``, shape (n, c, x, y, z), of any size in n, x, y, z, and gives ``output``,
    shape (n, k, x, y, z). The axes x, y, z are depth, height and width of TF.js.

    Parameters
    ----------
    source : path
        Folder with ``model.json`` and the shards that it names, or ``model.json`` itself.
    entry : mapping
        Registry entry.
    folder : path
        Gets ``model.onnx``.

    Raises
    ------
    InputError
        A file is missing or damaged, or a layer is none of those known.
    """
    path = source / MODEL if source.is_dir() else source
    model = load_json(path)
    layers = _layers(path, model)
    weights = read_weights(path, model.get("weightsManifest"))
    graph = LayerGraph(path, weights)
    result = "image"
    for layer in layers:
        result = graph.layer(layer, result)
    activation = _activation(graph, entry)
    with replacing(folder / MEMBER) as temporary:
        temporary.write_bytes(graph.to_bytes(str(entry["name"]), _channels(path, layers)))
    found: dict[str, Any] = {"members": [MEMBER], "outputs": {"activation": activation}}
    shape = layers[0]["config"].get("batch_input_shape", [])[1:4]
    if len(shape) == 3 and all(isinstance(size, int) for size in shape):
        found["grid"] = {"patch": shape}
    return found


def _activation(graph: LayerGraph, entry: Mapping[str, Any]) -> str:
    """What makes probabilities of the outputs, as a card has it."""
    last = graph.nodes[-1].op_type if graph.nodes else ""
    if last == "Sigmoid" and entry.get("outputs", {}).get("activation", "sigmoid") == "sigmoid":
        # A card knows of no sigmoid that was applied already, so it is left to what runs the network.
        graph.nodes.pop()
        return "sigmoid"
    return "none" if last == "Softmax" else "softmax"


def _layers(path: Path, model: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Layers in their order, each fed by the one before."""
    topology = model.get("modelTopology", {})
    topology = topology.get("model_config", topology)
    config = topology.get("config", {})
    layers = config if isinstance(config, list) else config.get("layers", [])
    if model.get("format", "layers-model") != "layers-model" or not layers:
        problem = "holds no layers model of TF.js"
        raise InputError(path, problem, "give the model.json that tensorflowjs_converter writes for Keras")
    for before, layer in pairwise(layers):
        feeds = [node[0] for call in layer.get("inbound_nodes", []) for node in call]
        name = layer["config"]["name"]
        if topology.get("class_name") != "Sequential" and feeds != [before["config"]["name"]]:
            problem = f"layer {name!r} is fed by {feeds}, not by the one before it alone"
            raise InputError(path, problem, REMEDY)
    return list(layers)


def _channels(path: Path, layers: list[dict[str, Any]]) -> int:
    """Channels that the network takes."""
    config = layers[0]["config"]
    shape = config.get("batch_input_shape", [])
    if len(shape) != 5:
        problem = f"the input of layer {config['name']!r} has the shape {shape}"
        raise InputError(path, problem, "give a network of volumes: batch, three axes, channels")
    first = next((layer for layer in layers if layer["class_name"] == "Conv3D"), layers[0])
    return int(shape[1 if first["config"].get("data_format") == "channels_first" else 4])
