"""The real case: the trained bidirectional LSTM of g2pM, a tagger for Mandarin pronunciations, on real sentences.

g2pM (Park and Lee 2020, arXiv:2004.03136; PyPI package g2pM, Apache-2.0) carries its weights as NumPy arrays in
PyTorch's layout, and its own NumPy code for the network, which gives the expected outputs.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from common.case import Case
from common.specification import Specification
from common.weights import shapes

# Sentences with polyphones (行, 长, 重, 乐, 得, 还, 都, 着, 了 …), written for this suite; three are classical.
SENTENCES = (
    "银行门口有一行人在行走。",
    "他长大以后当了校长，头发也长了。",
    "这件事很重要，请你重新考虑一下。",
    "音乐让我们快乐。",
    "他跑得很快，今天得早点睡觉。",
    "我还没有把书还给图书馆。",
    "首都的人都喜欢在公园里散步。",
    "她看着窗外，终于睡着了。",
    "我们应该尽快答应他的要求。",
    "床前明月光，疑是地上霜。",
    "学而时习之，不亦说乎？有朋自远方来，不亦乐乎？",
    "三人行，必有我师焉。",
    "好",
    "医生说孩子在发烧，要多喝水，少说话。",
)
"""The sentences of the case."""
TOLERANCE = 1e-5
"""How far g2pM may be off: it mixes float32 and float64."""


@cache
def g2pm_case() -> Case:
    """The case of g2pM's bidirectional LSTM on its embeddings of the sentences, with its own outputs expected."""
    from g2pM import G2pM
    from g2pM.g2pM import BOS_TOKEN, EOS_TOKEN, UNK_TOKEN

    model = G2pM()
    index, unknown = model.char2idx, model.char2idx[UNK_TOKEN]
    rows = [[index[BOS_TOKEN], *(index.get(char, unknown) for char in text), index[EOS_TOKEN]] for text in SENTENCES]
    lengths = np.array([len(row) for row in rows], np.int64)
    ids = np.zeros((len(rows), lengths.max()), np.int64)  # 0 is g2pM's padding
    for row, tokens_of_row in zip(ids, rows, strict=True):
        row[: len(tokens_of_row)] = tokens_of_row
    input_size, hidden_size = model.embeddings.shape[1], model.weight_hh.shape[1]
    spec = Specification(
        cell="lstm", input_size=input_size, hidden_size=hidden_size, num_layers=1, bias=True, merge="concat"
    )
    rng = np.random.default_rng(0)
    batch, seq_len = ids.shape
    state = (2, batch, hidden_size)
    return Case(
        name="g2pm",
        source="PyPI package g2pM: its trained weights, its embeddings of real sentences, its own outputs",
        spec=spec,
        x=model.get_embedding(ids).astype(np.float64),
        weights={name: getattr(model, name.replace("_l0", "")).astype(np.float64) for name in shapes(spec)},
        lengths=lengths,
        cotangents={
            "output": rng.normal(size=(batch, seq_len, 2 * hidden_size)),
            "h_n": rng.normal(size=state),
            "c_n": rng.normal(size=state),
        },
        expected={"output": _outputs(model, ids, lengths)},
        atol=TOLERANCE,
    )


def _outputs(model, ids: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The outputs of g2pM's own cells and reversal, run as its ``predict`` does: (batch, seq_len, 2·hidden_size), NaN
    past the lengths.
    """
    halves = []
    for cell, order in (
        (model.fw_lstm_cell, ids),
        (model.bw_lstm_cell, model.reverse_sequence(ids, lengths).astype(int)),
    ):
        states, outputs = None, []
        for step in np.moveaxis(model.get_embedding(order), 1, 0):  # (seq_len, batch, input_size)
            states = cell(step, states)
            outputs.append(states[0])
        halves.append(np.stack(outputs, axis=1))  # (batch, seq_len, hidden_size)
    halves[1] = model.reverse_sequence(halves[1], lengths)
    output = np.concatenate(halves, axis=2).astype(np.float64)
    output[np.arange(ids.shape[1]) >= lengths[:, None]] = np.nan
    return output
