"""A bidirectional GRU as somebody writes it by hand in NumPy, gradients included, with bugs that can be planted.

It shares no line with the reference: steps are gathered by an index for each row, where the reference flips.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from common.case import Case

Arrays = dict[str, np.ndarray]
BUGS = {
    "flips the whole row": "whole padded row flipped, outputs masked after each layer",
    "inverts the update gate": "update gate inverted: h' = z·n + (1 − z)·h",
    "has a hard sigmoid": "hard sigmoid (x/6 + 1/2) for sigmoid",
    "has the old hard sigmoid": "hard sigmoid (0.2·x + 1/2) for sigmoid",
    "holds no state": "state runs on through the padding",
    "forgets the reverse h_0": "initial states of the reverse half ignored",
    "shares the forward h_0": "initial states of the forward half given to both",
    "detaches between steps": "gradient cut between steps",
    "detaches h_0": "gradient of the initial states cut",
    "masks by <=": "masks one step too long",
    "masks by < length - 1": "masks one step too short",
    "adds b_ih twice": "bias_ih used twice, bias_hh never",
    "feeds the forward half twice": "upper layers fed the forward half twice",
    "feeds the forward half alone": "upper layers fed the forward half and zeros",
    "repeats the last output": "last real output repeated past the length",
    "sums for the average": "merge sum for ave",
    "gives the reverse states first": "final states alone in the order: reverse, forward",
    "gives all forward states first": "final states alone in the order: all forward, then all reverse",
    "gives last outputs for states": "last real output taken for the final state",
    "resets before the product": "reset before the recurrent product for after",
}
"""What can be done wrong, and the known mistake that it is."""


@dataclass
class Tape:
    """What one direction of one layer keeps for its backward pass; lists have one entry a step."""

    index: np.ndarray
    runs: np.ndarray
    gives: np.ndarray
    steps: list[tuple[np.ndarray, ...]] = field(default_factory=list)


class HandWrittenGRU:
    """The network of a case, reset after the product, merged by concat or the average; with the bugs that are named."""

    def __init__(self, case: Case, dtype: str, *bugs: str) -> None:
        assert case.spec.cell == "gru"
        assert case.spec.merge in ("concat", "ave")
        assert set(bugs) <= set(BUGS)
        self.bugs, self.dtype, self.layers = bugs, np.dtype(dtype), case.spec.num_layers
        self.concat, self.units = case.spec.merge == "concat", case.spec.hidden_size
        self.p = {name: value.astype(dtype) for name, value in case.weights.items()}
        self.x, self.h_0 = np.nan_to_num(case.x).astype(dtype), case.initial_state("h").astype(dtype)
        self.rows, self.seq_len = np.arange(case.batch), case.seq_len
        self.lengths = np.full(case.batch, case.seq_len) if case.lengths is None else case.lengths
        self.d = {name: value.astype(dtype) for name, value in case.full_cotangents().items()}
        self.grad: Arrays = {}
        self.tapes: dict[tuple[int, int], Tape] = {}

    def run(self) -> Arrays:
        """All tensors of the result."""
        return self.forward() | {f"grad.{name}": value for name, value in self.backward().items()}

    def hard_slope(self) -> float | None:
        if "has a hard sigmoid" in self.bugs:
            return 1 / 6
        return 0.2 if "has the old hard sigmoid" in self.bugs else None

    def sigmoid(self, a: np.ndarray) -> np.ndarray:
        slope = self.hard_slope()
        if slope is None:
            return 1 / (1 + np.exp(-a))
        return np.clip(self.dtype.type(slope) * a + self.dtype.type(0.5), 0, 1)

    def slope(self, y: np.ndarray) -> np.ndarray:
        slope = self.hard_slope()
        if slope is None:
            return y * (1 - y)
        return np.where((y > 0) & (y < 1), self.dtype.type(slope), self.dtype.type(0))

    def tape(self, reverse: int) -> Tape:
        """Which step of a row comes when, whether the state moves on there, and whether an output is given."""
        step = np.broadcast_to(np.arange(self.seq_len), (len(self.rows), self.seq_len))
        ends = self.lengths[:, None]
        wrong = ("masks by <=" in self.bugs) - ("masks by < length - 1" in self.bugs)
        index = np.where(step < ends, ends - 1 - step, step) if reverse else step
        runs = gives = step < ends + wrong
        if "holds no state" in self.bugs:
            runs = np.full_like(runs, True)
        if "flips the whole row" in self.bugs and reverse:
            index, runs = self.seq_len - 1 - step, np.full_like(runs, True)
            gives = index < ends
        return Tape(index, runs, gives)

    def names(self, layer: int, reverse: int) -> list[str]:
        end = f"_l{layer}{'_reverse' if reverse else ''}"
        return [kind + end for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]

    def initial(self, row: int) -> np.ndarray:
        if row % 2 and "forgets the reverse h_0" in self.bugs:
            return np.zeros_like(self.h_0[row])
        return self.h_0[row - 1 if row % 2 and "shares the forward h_0" in self.bugs else row]

    def forward(self) -> Arrays:
        x, finals = self.x, []
        for layer in range(self.layers):
            halves = []
            for reverse in (0, 1):
                tape = self.tapes[layer, reverse] = self.tape(reverse)
                half, final = self.one_direction(x, self.initial(2 * layer + reverse), layer, reverse, tape)
                halves.append(half)
                finals.append(
                    half[self.rows, self.lengths - 1] if "gives last outputs for states" in self.bugs else final
                )
            top = layer == self.layers - 1
            x = self.merge(halves, top)
        if "repeats the last output" in self.bugs:
            for row, end in enumerate(self.lengths):
                x[row, end:] = x[row, end - 1]
        return {"output": x, "h_n": np.stack([finals[row] for row in self.order()])}

    def order(self) -> list[int]:
        """Which layer's and direction's final state stands where, 2 · layer + direction being right."""
        rows = [[2 * layer, 2 * layer + 1] for layer in range(self.layers)]
        if "gives the reverse states first" in self.bugs:
            rows = [pair[::-1] for pair in rows]
        if "gives all forward states first" in self.bugs:
            rows = [list(each) for each in zip(*rows, strict=True)]
        return [row for group in rows for row in group]

    def merge(self, halves: list[np.ndarray], top: bool) -> np.ndarray:
        if not self.concat:
            return (halves[0] + halves[1]) / self.dtype.type(1 if "sums for the average" in self.bugs else 2)
        if not top and "feeds the forward half twice" in self.bugs:
            halves = [halves[0], halves[0]]
        if not top and "feeds the forward half alone" in self.bugs:
            halves = [halves[0], np.zeros_like(halves[1])]
        return np.concatenate(halves, axis=-1)

    def one_direction(
        self, x: np.ndarray, h: np.ndarray, layer: int, reverse: int, tape: Tape
    ) -> tuple[np.ndarray, np.ndarray]:
        w, u, b, c = (self.p[name] for name in self.names(layer, reverse))
        c = b if "adds b_ih twice" in self.bugs else c
        output = np.zeros((*x.shape[:2], self.units), self.dtype)
        for s in range(self.seq_len):
            x_s = x[self.rows, tape.index[:, s]]
            a, g = x_s @ w.T + b, h @ u.T + c
            k = self.units
            r = self.sigmoid(a[:, :k] + g[:, :k])
            z = self.sigmoid(a[:, k : 2 * k] + g[:, k : 2 * k])
            inner = r * g[:, 2 * k :]
            if "resets before the product" in self.bugs:
                inner = (r * h) @ u[2 * k :].T + c[2 * k :]
            n = np.tanh(a[:, 2 * k :] + inner)
            new = z * n + (1 - z) * h if "inverts the update gate" in self.bugs else (1 - z) * n + z * h
            tape.steps.append((x_s, h, r, z, n, g[:, 2 * k :]))
            output[self.rows, tape.index[:, s]] = np.where(tape.gives[:, s, None], new, 0)
            h = np.where(tape.runs[:, s, None], new, h)
        return output, h

    def backward(self) -> Arrays:
        self.grad = {"h_0": np.zeros_like(self.h_0)}
        d_x = self.d["output"].copy()
        if "repeats the last output" in self.bugs:
            for row, end in enumerate(self.lengths):
                d_x[row, end - 1] += d_x[row, end:].sum(axis=0)
        for layer in reversed(range(self.layers)):
            halves = self.merge_back(d_x, layer == self.layers - 1)
            d_x = sum(
                (self.one_direction_back(halves[reverse], layer, reverse) for reverse in (0, 1)),
                start=self.dtype.type(0),
            )
        if "detaches h_0" in self.bugs:
            self.grad["h_0"][:] = 0
        return self.grad | {"x": d_x}

    def merge_back(self, d_x: np.ndarray, top: bool) -> list[np.ndarray]:
        if not self.concat:
            return [d_x / self.dtype.type(1 if "sums for the average" in self.bugs else 2)] * 2
        halves = np.split(d_x, 2, axis=-1)
        if not top and "feeds the forward half twice" in self.bugs:
            return [halves[0] + halves[1], np.zeros_like(halves[1])]
        if not top and "feeds the forward half alone" in self.bugs:
            return [halves[0], np.zeros_like(halves[1])]
        return halves

    def one_direction_back(self, d_output: np.ndarray, layer: int, reverse: int) -> np.ndarray:
        names, tape, k = self.names(layer, reverse), self.tapes[layer, reverse], self.units
        w, u, _, _ = (self.p[name] for name in names)
        d_w, d_u, d_b, d_c = (np.zeros_like(self.p[name]) for name in names)
        d_h = self.d["h_n"][self.order().index(2 * layer + reverse)]
        if "gives last outputs for states" in self.bugs:
            d_output = d_output.copy()
            d_output[self.rows, self.lengths - 1] += d_h
            d_h = np.zeros_like(d_h)
        d_x = np.zeros((*d_output.shape[:2], w.shape[1]), self.dtype)
        for s in reversed(range(self.seq_len)):
            x_s, h, r, z, n, g_n = tape.steps[s]
            runs = tape.runs[:, s, None]
            d_new = np.where(runs, d_h, 0) + np.where(tape.gives[:, s, None], d_output[self.rows, tape.index[:, s]], 0)
            inverted = "inverts the update gate" in self.bugs
            d_n = d_new * (z if inverted else 1 - z) * (1 - n * n)
            d_z = d_new * ((n - h) if inverted else (h - n)) * self.slope(z)
            d_before = d_new * ((1 - z) if inverted else z)
            if "resets before the product" in self.bugs:
                d_reset = d_n @ u[2 * k :]
                d_r = d_reset * h * self.slope(r)
                d_before = d_before + d_reset * r + np.concatenate([d_r, d_z], axis=1) @ u[: 2 * k]
                d_u[2 * k :] += d_n.T @ (r * h)
                d_u[: 2 * k] += np.concatenate([d_r, d_z], axis=1).T @ h
                d_a = d_g = np.concatenate([d_r, d_z, d_n], axis=1)
            else:
                d_r = d_n * g_n * self.slope(r)
                d_a, d_g = np.concatenate([d_r, d_z, d_n], axis=1), np.concatenate([d_r, d_z, d_n * r], axis=1)
                d_before = d_before + d_g @ u
                d_u += d_g.T @ h
            d_w += d_a.T @ x_s
            d_b += d_a.sum(axis=0)
            d_c += d_g.sum(axis=0)
            d_x[self.rows, tape.index[:, s]] = d_a @ w
            if "detaches between steps" in self.bugs and s:
                d_before = np.zeros_like(d_before)
            d_h = np.where(runs, d_before, d_h)
        if "adds b_ih twice" in self.bugs:
            d_b, d_c = d_b + d_c, np.zeros_like(d_c)
        self.grad |= dict(zip(names, (d_w, d_u, d_b, d_c), strict=True))
        self.take_initial(2 * layer + reverse, d_h)
        return d_x

    def take_initial(self, row: int, d_h: np.ndarray) -> None:
        if row % 2 and "forgets the reverse h_0" in self.bugs:
            return
        self.grad["h_0"][row - 1 if row % 2 and "shares the forward h_0" in self.bugs else row] += d_h
