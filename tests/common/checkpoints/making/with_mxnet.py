"""Make MXNet's files: ``python with_mxnet.py FOLDER`` where MXNet 1.9.1 and safetensors are."""

from __future__ import annotations

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
