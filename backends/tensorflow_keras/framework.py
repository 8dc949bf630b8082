"""TensorFlow's facts and settings; read beside the other frameworks' framework.py."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"  # Keras reads it once, when it is first imported

import keras
import tensorflow as tf

from backends.interface.checkpoint import LoadedCheckpoint
from backends.interface.framework import Framework, check_lane
from backends.interface.int8 import Int8Offer
from backends.interface.kept_files import make_room
from backends.interface.network import Network
from backends.interface.probe import Probes
from backends.tensorflow_keras.gaps import GAPS
from backends.tensorflow_keras.layer import programs
from backends.tensorflow_keras.layer.implementation import DEVICES, DTYPES, TensorFlowImplementation
from backends.tensorflow_keras.layer.manual import Manual
from backends.tensorflow_keras.layer.native import Native
from backends.tensorflow_keras.layer.scratch import Scratch
from backends.tensorflow_keras.layer.tuned import Tuned
from backends.tensorflow_keras.models.seq2seq import Seq2SeqNetwork
from backends.tensorflow_keras.models.sequence_model import SequenceNetwork
from common.models.specification import Model, SequenceModel
from common.specification import Specification


class TensorFlow(Framework):
    """TensorFlow, from the start with TF32 off, so that float32 means float32 on a GPU too, and Keras on top of it."""

    name = "tensorflow"
    gaps = GAPS
    compiles = True
    implementations: Mapping[str, type[TensorFlowImplementation]] = {
        "native": Native,
        "manual": Manual,
        "scratch": Scratch,
        "tuned": Tuned,
    }

    def __init__(self) -> None:
        if keras.config.backend() != "tensorflow":
            raise RuntimeError(f"keras must run on tensorflow; it was imported earlier with {keras.config.backend()}")
        self.use_lane("exact")
        if (kept := programs.folder()) is not None:
            make_room(kept, programs.MOST_BYTES)

    def versions(self) -> dict[str, str]:
        versions = {"tensorflow": tf.__version__, "keras": keras.__version__}
        build = tf.sysconfig.get_build_info()
        if build["is_cuda_build"]:
            versions |= {"cuda": build["cuda_version"], "cudnn": build["cudnn_version"]}
        return versions

    def devices(self) -> dict[str, str]:
        threads = os.environ.get("TF_NUM_INTRAOP_THREADS") or os.cpu_count()  # TensorFlow does not say itself
        devices = {"cpu": f"{threads} threads"}
        for gpu in tf.config.list_physical_devices("GPU")[:1]:
            devices["gpu"] = tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)
        return devices

    def use_lane(self, lane: str) -> None:
        check_lane(lane)
        tf.config.experimental.enable_tensor_float_32_execution(lane == "fast")  # on by default, for products and cuDNN

    def product(self, size: int, dtype: str, device: str) -> Callable[[], None]:
        with tf.device(DEVICES[device]):
            a, b = (tf.cast(tf.random.normal((size, size)), DTYPES[dtype]) for _ in range(2))

        def compute() -> None:
            tf.matmul(a, b)
            _wait(device)

        return compute

    def copy(self, num_bytes: int, device: str) -> Callable[[], None]:
        with tf.device(DEVICES[device]):
            source = tf.ones(num_bytes // 4)

        def compute() -> None:
            tf.raw_ops.DeepCopy(x=source)
            _wait(device)

        return compute

    def peak_device_bytes(self) -> int | None:
        if not tf.config.list_physical_devices("GPU"):
            return None
        return tf.config.experimental.get_memory_info("GPU:0")["peak"]

    def reset_peak(self) -> None:
        if tf.config.list_physical_devices("GPU"):
            tf.config.experimental.reset_memory_stats("GPU:0")

    def network(self, spec: Model, implementation: str, dtype: str, device: str) -> Network:
        kind = SequenceNetwork if isinstance(spec, SequenceModel) else Seq2SeqNetwork
        return kind(spec, implementation, dtype, device, self.implementations[implementation])

    def checkpoint(self, path: Path, format_name: str, config: str | None) -> LoadedCheckpoint:
        from backends.tensorflow_keras.checkpoints import KerasCheckpoint

        return KerasCheckpoint(path, format_name, config)

    def int8_layers(self, spec: Specification) -> Int8Offer:
        from backends.tensorflow_keras.int8 import int8_layers

        return int8_layers(spec)

    def probes(self) -> Probes:
        from backends.tensorflow_keras.probes.odd import PROBES

        return PROBES


def _wait(device: str) -> None:
    """Wait until the device has computed what was asked of it."""
    if device == "gpu":
        tf.test.experimental.sync_devices()
