"""What a framework's user writes to load a checkpoint and save it again, by the format: scripts for its interpreter."""

from __future__ import annotations

from backends.registry import BUILT_IN, LOADERS, ONNX_RUNTIME, Backend

TORCH, JAX, TENSORFLOW, MXNET = BUILT_IN
"""The backends by whose interpreters the scripts are run."""
SCRIPT = """
import time, sys
{imports}
source, target = sys.argv[1:]
started = time.perf_counter()
content = {load}
loaded = time.perf_counter()
{save}
print(loaded - started, time.perf_counter() - loaded)
"""
"""Prints the seconds of the load and of the save; imports stand outside the clock."""
_FLAX = {
    "imports": "from pathlib import Path; from flax.serialization import msgpack_restore, msgpack_serialize",
    "load": "msgpack_restore(Path(source).read_bytes())",
    "save": "Path(target).write_bytes(msgpack_serialize(content))",
}
_MXNET = {
    "imports": "from mxnet import nd",
    "load": "nd.load(source)",
    "save": "nd.save(target, content); nd.waitall()",
}
_KERAS = {
    "imports": "import tensorflow as tf",
    "load": "tf.keras.models.load_model(source, compile=False)",
    "save": "content.save(target)",
}
_SAFETENSORS = {
    "imports": "from safetensors.numpy import load_file, save_file",
    "load": "load_file(source)",
    "save": "save_file(content, target)",
}
OWN: dict[str, tuple[Backend | None, dict[str, str]]] = {
    "torch": (
        TORCH,
        {"imports": "import torch", "load": "torch.load(source)", "save": "torch.save(content, target)"},
    ),
    "safetensors": (None, _SAFETENSORS),
    "keras": (TENSORFLOW, _KERAS),
    "keras2": (LOADERS["keras2"], _KERAS),
    "flax-linen": (JAX, _FLAX),
    "flax-nnx": (JAX, _FLAX),
    "mxnet": (MXNET, _MXNET),
    "mxnet-prefix": (MXNET, _MXNET),
    "onnx": (
        ONNX_RUNTIME,
        {"imports": "import onnx", "load": "onnx.load(source)", "save": "onnx.save(content, target)"},
    ),
    "birnn": (None, _SAFETENSORS),
}
"""The backend in whose interpreter each format's script runs, None for this one, and the parts of the script. Weights
of Keras 3 alone are not among them: its loader needs the model."""


def script(format_name: str) -> str:
    """The whole script of a format."""
    return SCRIPT.format(**OWN[format_name][1])
