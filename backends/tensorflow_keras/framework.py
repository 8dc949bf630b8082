"""TensorFlow's facts and settings; read beside the other frameworks' framework.py."""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "tensorflow"  # Keras reads it once, when it is first imported

import keras
import tensorflow as tf

from backends.base import Framework
from backends.probing import Probes
from backends.tensorflow_keras.gaps import GAPS
from backends.tensorflow_keras.manual import Manual
from backends.tensorflow_keras.native import Native
from backends.tensorflow_keras.scratch import Scratch


class TensorFlow(Framework):
    """TensorFlow with TF32 off, so that float32 means float32 on a GPU too, and Keras on top of it."""

    name = "tensorflow"
    gaps = GAPS
    implementations = {"native": Native, "manual": Manual, "scratch": Scratch}

    def __init__(self) -> None:
        if keras.config.backend() != "tensorflow":
            raise RuntimeError(f"keras must run on tensorflow; it was imported earlier with {keras.config.backend()}")
        tf.config.experimental.enable_tensor_float_32_execution(False)  # on by default, for products and cuDNN

    def versions(self) -> dict[str, str]:
        found = {"tensorflow": tf.__version__, "keras": keras.__version__}
        build = tf.sysconfig.get_build_info()
        if build["is_cuda_build"]:
            found |= {"cuda": build["cuda_version"], "cudnn": build["cudnn_version"]}
        return found

    def devices(self) -> dict[str, str]:
        threads = os.environ.get("TF_NUM_INTRAOP_THREADS") or os.cpu_count()  # TensorFlow does not say itself
        found = {"cpu": f"{threads} threads"}
        for gpu in tf.config.list_physical_devices("GPU")[:1]:
            found["gpu"] = tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)
        return found

    def probes(self) -> Probes:
        from backends.tensorflow_keras.probes import PROBES

        return PROBES
