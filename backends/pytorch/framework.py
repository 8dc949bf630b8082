"""PyTorch's facts and settings; read beside the other frameworks' framework.py."""

from __future__ import annotations

import torch

from backends.base import Framework
from backends.probing import Probes
from backends.pytorch.gaps import GAPS
from backends.pytorch.manual import Manual
from backends.pytorch.native import Native
from backends.pytorch.scratch import Scratch


class PyTorch(Framework):
    """PyTorch with TF32 off, so that float32 means float32 on a GPU too."""

    name = "torch"
    gaps = GAPS
    implementations = {"native": Native, "manual": Manual, "scratch": Scratch}

    def __init__(self) -> None:
        torch.backends.cudnn.allow_tf32 = False  # on by default for cuDNN's RNNs
        torch.backends.cuda.matmul.allow_tf32 = False

    def versions(self) -> dict[str, str]:
        found = {"torch": torch.__version__.split("+")[0]}  # without the local build tag
        if torch.version.cuda:
            found |= {"cuda": torch.version.cuda, "cudnn": str(torch.backends.cudnn.version())}
        return found

    def devices(self) -> dict[str, str]:
        found = {"cpu": f"{torch.get_num_threads()} threads"}
        if torch.cuda.is_available():
            found["gpu"] = torch.cuda.get_device_name(0)
        return found

    def probes(self) -> Probes:
        from backends.pytorch.probes import PROBES

        return PROBES
