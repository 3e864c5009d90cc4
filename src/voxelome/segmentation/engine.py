"""Networks, one ONNX file each, run by ONNX Runtime: checked when opened, the same bits every time."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as runtime_errors

from voxelome.errors import InputError
from voxelome.segmentation.spec import NetworkSpec

Device = Literal["cpu", "cuda", "auto"]
Batch = NDArray[np.float32]

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
# The default search times the algorithms and takes the fastest, which need not be the same one twice.
CUDA_OPTIONS = {"cudnn_conv_algo_search": "DEFAULT", "use_tf32": "0"}
# Of ONNX Runtime's levels of what is logged.
ERRORS = 3
_LOAD_ERRORS = (
    runtime_errors.Fail,
    runtime_errors.InvalidArgument,
    runtime_errors.InvalidGraph,
    runtime_errors.InvalidProtobuf,
    runtime_errors.NotImplemented,
    runtime_errors.NoModel,
    runtime_errors.RuntimeException,
)
_RUN_ERRORS = (
    runtime_errors.Fail,
    runtime_errors.InvalidArgument,
    runtime_errors.RuntimeException,
    runtime_errors.EPFail,
)
FETCH = "fetch it again with: voxelome-tools models fetch"


class Forward(Protocol):
    """Anything that takes a batch (N, C, X, Y, Z) to outputs (N, K, ...)."""

    def __call__(self, batch: Batch, /) -> Batch:
        """Outputs of the batch."""
        ...


def open_session(
    path: Path, sha256: str, threads: int = 1, device: Device = "cpu", remedy: str = FETCH
) -> onnxruntime.InferenceSession:
    """Network ready for use, after a check that the file is the one that is meant.

    Parameters
    ----------
    path : path
        ONNX file, weights inside.
    sha256 : str
        Checksum that it must have.
    threads : int
        Threads of the inference.
    device : {'cpu', 'cuda', 'auto'}
        ``auto`` takes the GPU where there is one.
    remedy : str
        What the user can do about a file that is missing or damaged.

    Raises
    ------
    InputError
        The file is missing, has another checksum, or is no network; there is no GPU though one is asked for.
    """
    if not path.is_file():
        raise InputError(path, "the network is missing", remedy)
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        problem = f"is damaged: its checksum is not the one in its card ({len(content)} bytes)"
        raise InputError(path, problem, remedy)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.use_deterministic_compute = True
    # Threads that wait for work would otherwise burn the cores of the jobs beside this one.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # What the arena keeps for later took another layer's worth of a whole conformed image, and no less time.
    options.enable_cpu_mem_arena = False
    options.log_severity_level = ERRORS
    # CUDA writes a warning a layer to the logger of all sessions.
    onnxruntime.set_default_logger_severity(ERRORS)
    try:
        # From memory: a file could name others on the disk as its weights, which no checksum covers.
        session = onnxruntime.InferenceSession(content, options, providers=_providers(device))
    except _LOAD_ERRORS as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(path, f"cannot be read as an ONNX network ({reason})", remedy) from error
    if device == "cuda" and session.get_providers()[0] != CUDA:
        raise InputError(
            "device", "there is no GPU that ONNX Runtime can use", "install onnxruntime-gpu, or choose cpu"
        )
    return session


def _providers(device: Device) -> Sequence[str | tuple[str, dict[str, str]]]:
    """Providers in the order of preference."""
    if device == "cpu" or CUDA not in onnxruntime.get_available_providers():
        return [CPU]
    # CUDA's libraries from pip lie beside Python's packages, where the system's loader does not look.
    onnxruntime.preload_dlls()
    return [(CUDA, CUDA_OPTIONS), CPU]


class Network:
    """A network of one input and one output.

    Parameters
    ----------
    path, sha256, threads, device
        See :func:`open_session`.
    outputs : int
        Channels that it must give.
    channels : int
        Channels that it must take.

    Attributes
    ----------
    provider : str
        What runs it, such as ``CPUExecutionProvider``.
    patch : tuple of (int or None)
        Spatial shape that it takes; None where it takes any size.

    Raises
    ------
    InputError
        The file is missing, damaged or no network, or its channels are not those asked for.
    """

    def __init__(
        self,
        path: Path,
        sha256: str,
        threads: int = 1,
        device: Device = "cpu",
        *,
        outputs: int,
        channels: int,
    ) -> None:
        self.path = path
        self._outputs = outputs
        self._session = open_session(path, sha256, threads, device)
        self.provider = str(self._session.get_providers()[0])
        inputs, results = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or inputs[0].type != "tensor(float)":
            found = ", ".join(f"{item.name}: {item.type}" for item in inputs)
            raise InputError(path, f"takes {found}", "export it with one input of 32-bit floats")
        self._input = inputs[0].name
        self._check("takes", inputs[0].shape, channels, "inputs")
        self._check("gives", results[0].shape, outputs, "outputs")
        sizes = inputs[0].shape[2:]
        self.patch = tuple(size if isinstance(size, int) else None for size in sizes)

    def __call__(self, batch: Batch, /) -> Batch:
        """Outputs of a batch.

        Parameters
        ----------
        batch : ndarray of float32, shape (N, C, X, Y, Z)

        Returns
        -------
        ndarray of float32, shape (N, K, X, Y, Z), or (N, K) where the network gives numbers.

        Raises
        ------
        InputError
            The network cannot take an image of this size, or gives another number of channels.
        """
        result = self._run(batch)[0]
        self._check("gives", result.shape, self._outputs, "outputs")
        return result

    def attend(self, batch: Batch, /) -> Batch | None:
        """Attention (N, S) over the slices, a network's second output; None where it has none."""
        return self._run(batch)[1] if len(self._session.get_outputs()) > 1 else None

    def _run(self, batch: Batch) -> list[Batch]:
        try:
            results: list[Batch] = self._session.run(None, {self._input: np.ascontiguousarray(batch)})
        except _RUN_ERRORS as error:
            size = "x".join(str(part) for part in batch.shape)
            reason = " ".join(str(error).split())[:200]
            problem = f"fails on an image of {size} ({reason})"
            raise InputError(
                self.path, problem, "mend inputs and patch in its entry in the registry"
            ) from error
        return results

    def _check(self, verb: str, shape: Sequence[object], wanted: int, part: str) -> None:
        """Refuse a network whose channels, where they are fixed, are not those of its entry."""
        found = shape[1] if len(shape) > 1 else 0
        if isinstance(found, int) and found != wanted:
            problem = f"{verb} {found} channels, and its entry says {wanted}"
            raise InputError(self.path, problem, f"mend the {part} in its entry in the registry")


def open_members(
    folder: Path, spec: NetworkSpec, sha256: Mapping[str, str], threads: int = 1, device: Device = "cpu"
) -> list[Network]:
    """Networks of an ensemble, every one checked against the specification.

    Parameters
    ----------
    folder : path
        Where its files lie.
    spec : NetworkSpec
    sha256 : mapping
        Checksum by name of the file.
    threads, device
        See :func:`open_session`.

    Raises
    ------
    InputError
        A file is missing, damaged, no network, has other channels, or takes another size than `spec` says.
    """
    if not spec.members:
        raise InputError(folder, f"the card of {spec.name} names no network", FETCH)
    members = []
    for file in spec.members:
        if file not in sha256:
            raise InputError(folder / file, "the card has no checksum of it", FETCH)
        network = Network(
            folder / file, sha256[file], threads, device, outputs=spec.outputs, channels=spec.channels
        )
        # A conformed image has a size of its own, which shows when the network is run.
        fixed = zip(network.patch, spec.grid.patch, strict=False)
        if spec.grid.kind != "conform" and any(size not in (None, wanted) for size, wanted in fixed):
            taken = "x".join("any" if size is None else str(size) for size in network.patch)
            wanted = "x".join(str(size) for size in spec.grid.patch)
            problem = f"takes images of {taken}, and its entry says {wanted}"
            raise InputError(network.path, problem, "mend the patch in its entry in the registry")
        members.append(network)
    return members
