"""The encoder–decoder in PyTorch: bridge, additive attention and a decoder of torch.nn.GRUCell's steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from backends.interface.layer import Arrays
from backends.pytorch.layer.lengths import step_mask
from backends.pytorch.models.network import TorchNetwork, array, best, wide
from common.answers.beam import DecoderStep
from common.errors import InputError
from common.models.batch import Batch, check_batch, decoder_dropout_name
from common.models.specification import END, PADDING, START, Seq2Seq
from common.weights import KINDS, weight_name

Layers = list[list[torch.Tensor]]
"""A decoder's states, by layer and direction, (batch, hidden_size) each."""


class Seq2SeqNetwork(TorchNetwork):
    """Tokens in, tokens out, with or without attention, the decoder in one direction or two."""

    spec: Seq2Seq

    def forward(self, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        targets = self.tensor(batch["targets"])  # (batch, target_len)
        states = self._encode(batch)
        tokens = torch.full_like(targets[:, 0], START)
        names = [decoder_dropout_name(layer) for layer in range(self.spec.encoder.num_layers)]
        factors = [self.tensor(batch[name]) for name in names if name in batch]  # (batch, target_len, state_size)
        steps: list[torch.Tensor] = []
        every_attention: list[torch.Tensor] = []
        for u in range(targets.shape[1]):
            if u > 0:
                tokens = targets[:, u - 1] if batch["forced"][u] else best(steps[-1])
            logits, states, attention = self._step(tokens, states, [each[:, u] for each in factors])
            steps.append(logits)
            every_attention += attention
        real = step_mask(self.tensor(batch["target_lengths"]), targets.shape[1])
        passed = {"vectors": self._memory}
        if every_attention:
            passed["attention"] = torch.stack(every_attention, dim=1).masked_fill(~real, 0)
        return torch.stack(steps, dim=1).masked_fill(~real, 0), passed

    def predict(self, batch: Batch) -> Arrays:
        raise InputError("predict must be asked of a sequence model; got an encoder–decoder")

    def decode(self, batch: Batch, max_steps: int) -> np.ndarray:
        check_batch(self.spec, batch, labelled=False)
        answers = np.full((len(batch["tokens"]), max_steps), PADDING, np.int64)
        ended = np.zeros(len(answers), bool)
        with torch.no_grad():
            states = self._encode(batch)
            tokens = self.tensor(np.full(len(answers), START))
            for u in range(max_steps):
                logits, states, _ = self._step(tokens, states)
                tokens = best(logits)
                answers[:, u] = np.where(ended, PADDING, array(tokens))
                ended |= answers[:, u] == END
                if ended.all():
                    break
        return answers

    def stepper(self, batch: Batch) -> DecoderStep:
        check_batch(self.spec, batch, labelled=False)
        with torch.no_grad():
            states = self._encode(batch)

        def step(tokens: np.ndarray, parents: np.ndarray) -> np.ndarray:
            nonlocal states
            chosen = self.tensor(parents)
            with torch.no_grad():
                before = [[state[chosen] for state in of_layer] for of_layer in states]
                logits, states, _ = self._step(self.tensor(tokens), before)
            return array(logits)

        return step

    def _encode(self, batch: Batch) -> Layers:
        """The decoder's first states; what steps need of the encoder is kept."""
        embedded = functional.embedding(self.tensor(batch["tokens"]), self.parameters["source_embedding"])
        self._memory, h_n = self.run_rnn(embedded, batch)
        if self.spec.attention:
            self._keys = functional.linear(self._memory, self.parameters["attention.w2"])  # (batch, seq_len, A)
            self._padding = ~step_mask(self.tensor(batch["lengths"]), embedded.shape[1])[..., 0]
        states = []
        for layer, pair in enumerate(h_n.split(self.spec.encoder.num_directions)):
            joined = torch.cat([*pair], dim=-1)  # (batch, num_directions·hidden_size), forward first
            weight, bias = (self.parameters[f"bridge.{layer}.{part}"] for part in ("weight", "bias"))
            first = torch.tanh(functional.linear(joined, weight, bias))
            states.append(list(first.chunk(self.spec.decoder_directions, dim=-1)))
        return states

    def _step(
        self, tokens: torch.Tensor, states: Layers, factors: Sequence[torch.Tensor] = ()
    ) -> tuple[torch.Tensor, Layers, list[torch.Tensor]]:
        """The logits (batch, target_size) and the states after a step that is given the tokens (batch,), and, with
        attention, its weights; dropout's factors multiply what each layer hands up.
        """
        embedded = functional.embedding(tokens, self.parameters["target_embedding"])
        attention = [self._attend(torch.cat(states[-1], dim=-1))] if self.spec.attention else []
        context = [torch.bmm(weights[:, None], self._memory)[:, 0] for weights in attention]
        x = torch.cat([embedded, *context], dim=-1)
        after = []
        for layer, before in enumerate(states):
            after.append([self._cell(x, state, layer, direction) for direction, state in enumerate(before)])
            x = torch.cat(after[-1], dim=-1) * factors[layer] if factors else torch.cat(after[-1], dim=-1)
        return self.head(torch.cat([x, *context], dim=-1)), after, attention

    def _cell(self, x: torch.Tensor, state: torch.Tensor, layer: int, direction: int) -> torch.Tensor:
        """torch.nn.GRUCell's step, on parameters that lie elsewhere."""
        w = [self.parameters[f"decoder.{weight_name(kind, layer, direction)}"] for kind in KINDS]
        return torch.gru_cell(x, state, *w)

    def _attend(self, s: torch.Tensor) -> torch.Tensor:
        """The weights (batch, seq_len) of the memory's steps, softmax of v·tanh(W1 s + W2 memory), for the decoder's
        top states s (batch, state_size).
        """
        query = functional.linear(s, self.parameters["attention.w1"])
        energies = torch.tanh(query[:, None] + self._keys) @ self.parameters["attention.v"]  # (batch, seq_len)
        return torch.softmax(wide(energies).masked_fill(self._padding, -torch.inf), dim=-1).to(s.dtype)
