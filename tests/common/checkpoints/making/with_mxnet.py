"""Make MXNet's files: ``python with_mxnet.py FOLDER`` where MXNet 1.9.1 and safetensors are."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import mxnet as mx
import numpy as np
from mxnet import gluon
from safetensors.numpy import save_file


class Model(gluon.HybridBlock):
    def __init__(self, **options) -> None:
        super().__init__(**options)
        with self.name_scope():
            self.embedding = gluon.nn.Embedding(7, 3)
            self.lstm = gluon.rnn.LSTM(4, num_layers=2, bidirectional=True, input_size=3, layout="NTC")
            self.gru = gluon.rnn.GRU(3, bidirectional=True, input_size=8, layout="NTC")
            self.rnn = gluon.rnn.RNN(5, activation="relu", input_size=6, layout="NTC")
            self.head = gluon.nn.Dense(2, in_units=5, flatten=False)

    def hybrid_forward(self, F, ids):
        x = self.embedding(ids)
        for layer in (self.lstm, self.gru, self.rnn, self.head):
            x = layer(x)
        return x


folder = Path(sys.argv[1])
mx.random.seed(0)
model = Model(prefix="model_")
model.initialize(mx.init.Uniform(0.5))
model.save_parameters(str(folder / "mxnet.params"))
model.collect_params().save(str(folder / "mxnet-prefix.params"))
model.hybridize()
model(mx.nd.zeros((2, 5)))
model.export(str(folder / "mxnet-export"))
answers: dict = {}
for name, width in (("lstm", 3), ("gru", 8), ("rnn", 6)):
    x = mx.nd.random.normal(shape=(2, 5, width))
    answers |= {f"{name}.x": x.asnumpy(), f"{name}.output": getattr(model, name)(x).asnumpy()}
save_file({name: np.ascontiguousarray(value) for name, value in answers.items()}, folder / "mxnet.answers.safetensors")

# The same arrays as older and newer writers have them. V3 is what 1.9.1 itself writes under NumPy's shapes. It has no
# writer of V0 and V1, whose bytes are those that its NDArray::LegacyLoad reads (src/ndarray/ndarray.cc, 1.9.1): it must
# load them as what they are.
arrays = mx.nd.load(str(folder / "mxnet.params"))
with mx.util.np_shape(True):
    scalar = mx.nd.ones(()) * 3
    mx.nd.save(str(folder / "mxnet-v3.params"), arrays | {"step.count": scalar, "step.none": mx.nd.ones((0, 2))})
for version in (0, 1):
    parts = [struct.pack("<QQQ", 0x112, 0, len(arrays))]
    for value in arrays.values():
        parts.append(struct.pack("<I", value.ndim) if version == 0 else struct.pack("<Ii", 0xF993FAC8, value.ndim))
        parts.append(struct.pack(f"<{value.ndim}{'Iq'[version]}", *value.shape))
        parts += [struct.pack("<iii", 1, 0, 0), value.asnumpy().tobytes()]  # on the CPU, float32
    parts.append(struct.pack("<Q", len(arrays)))
    parts += [struct.pack("<Q", len(name)) + name.encode() for name in arrays]
    (folder / f"mxnet-v{version}.params").write_bytes(b"".join(parts))
    again = mx.nd.load(str(folder / f"mxnet-v{version}.params"))
    assert again.keys() == arrays.keys()
    assert all((again[name] == value).asnumpy().all() for name, value in arrays.items())
