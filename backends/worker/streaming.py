"""A model's answers to sequences that are still arriving, by the layers of a framework, one direction each.

The recurrent layers, which are all that streaming changes, are the framework's own, each in an implementation's
one-direction form; the lookup, the merge and the linear layers between them are NumPy's, in the same dtype.
"""

from __future__ import annotations

import time

import numpy as np

from backends.interface.directions import merge_by_feature
from backends.interface.framework import Framework
from backends.interface.gaps import Request
from backends.interface.layer import Arrays, Implementation, Inputs
from backends.interface.network import Network
from backends.worker.execution import Unsupported
from common.models.batch import Batch, check_batch, padding_mask
from common.models.layers import Arithmetic, Head, best
from common.models.specification import rnn_weights
from common.models.streaming import Streaming, check_streamed
from common.reference import FORWARD, REVERSE, flip
from common.specification import Specification
from common.weights import KINDS, merge_weight_name, weight_name

States = tuple[np.ndarray, ...]
"""The states of one direction of a layer, (1, batch, units) each: h, and for an LSTM c."""


class Direction:
    """One direction of one layer in an implementation of the framework, on windows of one size.

    Parameters
    ----------
    framework, network
        The framework, and the model in it, which names implementation, dtype and device.
    weights
        The RNN's weights by canonical name.
    layer, direction
        Which one of the RNN's.
    """

    def __init__(self, framework: Framework, network: Network, weights: Arrays, layer: int, direction: int) -> None:
        self.spec = network.spec.recurrent.of_direction(layer, direction)
        self._refusal = lambda request: framework.refusal(network.implementation, request)
        self._run: Implementation = framework.implementations[network.implementation](
            self.spec, network.dtype, network.device
        )
        kinds = KINDS if self.spec.bias else KINDS[:2]
        self._run.load_weights(
            {weight_name(kind, 0, FORWARD): weights[weight_name(kind, layer, direction)] for kind in kinds}
        )

    def zeros(self, rows: int) -> States:
        """The states before the first step."""
        return tuple(np.zeros((1, rows, self.spec.hidden_size)) for _ in range(1 + (self.spec.cell == "lstm")))

    def __call__(self, x: np.ndarray, lengths: np.ndarray, states: States) -> tuple[np.ndarray, States]:
        """The outputs (batch, steps, units) and last states; x is (batch, steps, in) in the order that it is read.

        Raises
        ------
        Unsupported
            If the implementation declines.
        """
        rows, steps = x.shape[:2]
        ragged = lengths if (lengths < steps).any() else None
        request = Request(self.spec, self._run.dtype, self._run.device, rows, steps, ragged, gradients=False)
        if (refusal := self._refusal(request)) is not None:
            raise Unsupported(refusal)
        h_0, *c_0 = states
        self._run.move_inputs(Inputs(x.astype(np.float64), ragged, h_0, c_0[0] if c_0 else None, {}))
        self._run.forward()
        self._run.synchronise()
        results = self._run.extract()
        return results["output"], tuple(results[name].astype(np.float64) for name in ("h_n", "c_n")[: len(states)])


class Streamed:
    """A sequence model that is given its rows window by window (see ``common.models.streaming``).

    All rows of a batch go on together: one that has ended runs a step of zeros whose answer is dropped.

    Parameters
    ----------
    framework, network
        The framework, and the model in it.
    streaming
        Chunk and look-ahead.
    """

    def __init__(self, framework: Framework, network: Network, streaming: Streaming) -> None:
        self.spec = check_streamed(network.spec, streaming)
        self.streaming = streaming
        self.dtype = np.dtype(network.dtype)
        self._weights = {name: value.astype(self.dtype) for name, value in network.weights().items()}
        self._head = Head(self._weights, Arithmetic(self.dtype))
        of_rnn, rnn = rnn_weights(self.spec, network.weights()), self.spec.rnn
        self._merges = {name: value.astype(self.dtype) for name, value in of_rnn.items() if name.startswith("merge")}

        def directions(direction: int, layers: int) -> list[Direction]:
            return [Direction(framework, network, of_rnn, layer, direction) for layer in range(layers)]

        self._forward = directions(FORWARD, rnn.num_layers)
        two = rnn.num_directions > 1
        self._reverse = directions(REVERSE, rnn.num_layers) if two else []
        # Of their own, for what is traced or compiled is so for one size at a time.
        self._ahead = directions(FORWARD, rnn.num_layers - 1) if two else []

    def predict(self, batch: Batch) -> Arrays:
        """``labels`` (batch, seq_len) int64 and ``logits`` (batch, seq_len, classes), 0 past a length; ``seconds``
        (windows,) from when a window's input was there to when its labels were.
        """
        check_batch(self.spec, batch, labelled=False)
        real = ~padding_mask(batch)
        x = self._weights["embedding"][batch["tokens"]] if "tokens" in batch else batch["x"].astype(self.dtype)
        x = np.where(real[..., None], x, np.zeros((), self.dtype))
        rows, seq_len = real.shape
        lengths = real.sum(axis=1)
        chunk = min(self.streaming.chunk, seq_len)
        ahead = min(self.streaming.look_ahead, seq_len - chunk)
        x = np.pad(x, ((0, 0), (0, chunk + ahead), (0, 0)))  # every window has one size
        logits = np.zeros((rows, seq_len + chunk, self.spec.classes), self.dtype)
        states = [direction.zeros(rows) for direction in self._forward]
        seconds = []
        for start in range(0, int(lengths.max()), chunk):
            began = time.perf_counter()
            output = self._window(x[:, start : start + chunk + ahead], chunk, lengths - start, states)
            answers = self._head.forward(output)[-1]
            best(answers)
            seconds.append(time.perf_counter() - began)
            logits[:, start : start + chunk] = answers
        logits = np.where(real[..., None], logits[:, :seq_len], np.zeros((), self.dtype))
        return {"labels": best(logits), "logits": logits, "seconds": np.array(seconds)}

    def _window(self, x: np.ndarray, chunk: int, left: np.ndarray, states: list[States]) -> np.ndarray:
        """The top layer's output for the chunk, (batch, chunk, output_size).

        x is (batch, chunk + ahead, in); ``left`` (batch,) how many steps a row has from here on, below 1 where it has
        ended; ``states`` of the forward directions are moved on.
        """
        rows, steps = x.shape[:2]
        lengths = np.clip(left, 1, steps)
        for layer, forward in enumerate(self._forward):
            output, states[layer] = forward(x[:, :chunk], np.clip(left, 1, chunk), states[layer])
            if self._reverse:
                if layer < len(self._ahead) and steps > chunk:
                    output = np.concatenate([output, self._further(x[:, chunk:], left - chunk, layer, states)], axis=1)
                backwards = self._reverse[layer]
                reverse, _ = backwards(flip(x, lengths), lengths, backwards.zeros(rows))
                output = merged(self.spec.rnn, self._merges, layer, output, flip(reverse, lengths))
            x = output
        return x

    def _further(self, x: np.ndarray, left: np.ndarray, layer: int, states: list[States]) -> np.ndarray:
        """The forward direction's output in the look-ahead, which the layer above reads in reverse; zeros where no row
        has come so far.
        """
        if (left < 1).all():
            return np.zeros((*x.shape[:2], self.spec.rnn.hidden_size), self.dtype)
        return self._ahead[layer](x, np.clip(left, 1, x.shape[1]), states[layer])[0]


def merged(spec: Specification, merges: Arrays, layer: int, forward: np.ndarray, reverse: np.ndarray) -> np.ndarray:
    """The two directions' outputs as the layer's, for the steps that the forward direction has."""
    reverse = reverse[:, : forward.shape[1]]
    if spec.merge == "concat":
        return np.concatenate([forward, reverse], axis=-1)
    return merge_by_feature(spec, merges.get(merge_weight_name(layer)), forward, reverse)
