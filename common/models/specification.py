"""What a model is: the two kinds that every framework builds, the names and shapes of their parameters, their start."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal, cast

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    TypeAdapter,
    ValidationError,
    model_serializer,
    model_validator,
)

from common import weights
from common.errors import from_validation
from common.memory import check_room, numbers_in
from common.models.crf.scores import INITIAL_BOUND, PREFIX
from common.models.crf.scores import shapes as crf_shapes
from common.specification import NUM_DIRECTIONS, Size, Specification

Arrays = dict[str, np.ndarray]
"""Arrays by name."""
Shapes = dict[str, tuple[int, ...]]
"""Shapes by name."""
Share = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
"""A share, from 0 to below 1."""

COPIES_IN_TRAINING = 4
"""How many copies of a model's parameters training holds, float64: the first, the trained, and Adam's two moments."""
PADDING, START, END = range(3)
"""Token ids of an encoder–decoder's targets that are no symbol."""


class SequenceModel(BaseModel):
    """(Embedding →) bidirectional or forward RNN → linear layers: a label for each step, or one for the whole sequence.

    Parameters
    ----------
    rnn
        The RNN, bidirectional or, with ``num_directions`` 1, forward only; its initial states are zeros. With
        embeddings its ``input_size`` is their width.
    num_embeddings
        Rows of the embedding table; None when the batches hold features (``x``) and no tokens.
    frozen_embedding
        Whether the embedding has no gradient and is not trained.
    readout
        ``steps``: the head reads the output of every step (batch, seq_len, output_size). ``final``: it reads the top
        layer's final states, forward then reverse, (batch, num_directions·hidden_size).
    hidden
        Widths of linear layers with ReLU before the last one.
    classes
        Width of the last linear layer.
    dropout
        Share of the merged output of every rnn layer but the top that is set to 0 in training; the masks are in the
        batches.
    head
        ``softmax``, or ``crf``: a linear-chain CRF over a row's labels (``common.models.crf``), which needs the readout
        ``steps``. In JSON it is there for a CRF alone.

    Attributes
    ----------
    rnn_name
        The field of the bidirectional RNN, which its parameters' names begin with.
    question, answer
        The method of a network that answers without labels, and what its answer holds.
    right
        Where a batch has the right answers.
    vocabulary
        The vocabulary of its input, where that is words.
    decodes
        Whether it answers with tokens that it chooses one after another; a batch of it always has lengths.
    decoder_dropout
        As in ``Seq2Seq``; there is no decoder here.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    rnn_name: ClassVar[str] = "rnn"
    question: ClassVar[Literal["predict"]] = "predict"
    answer: ClassVar[str] = "labels"
    right: ClassVar[str] = "labels"
    vocabulary: ClassVar[str] = "words"
    decodes: ClassVar[bool] = False
    decoder_dropout: ClassVar[float] = 0.0

    kind: Literal["sequence"] = "sequence"
    rnn: Specification
    num_embeddings: Size | None = None
    frozen_embedding: StrictBool = False
    readout: Literal["steps", "final"]
    hidden: tuple[Size, ...] = ()
    classes: Size
    dropout: Share = 0.0
    head: Literal["softmax", "crf"] = "softmax"

    @model_serializer(mode="wrap")
    def _as_before(self, dump: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        return {name: value for name, value in dump(self).items() if (name, value) != ("head", "softmax")}

    @model_validator(mode="after")
    def _fits(self) -> SequenceModel:
        if self.head == "crf" and self.readout != "steps":
            raise ValueError(f"must have the readout steps where the head is crf (it is {self.readout})")
        if self.frozen_embedding and self.num_embeddings is None:
            raise ValueError("must have num_embeddings where frozen_embedding is true")
        if self.readout == "final" and self.rnn.hidden_size_reverse is not None:
            raise ValueError("must have directions of one size where the readout is final")
        _check_dropout(self.dropout, self.rnn)
        return self

    @property
    def recurrent(self) -> Specification:
        """The RNN, in both directions or one."""
        return self.rnn

    @property
    def num_tokens(self) -> int | None:
        """How many tokens there are in the input; None where it is features."""
        return self.num_embeddings

    @property
    def num_answers(self) -> int:
        """How many classes an answer is one of."""
        return self.classes

    @property
    def first_input(self) -> str:
        """What the first layer reads: the batch's features ``x``, or the embedding's parameter."""
        return "x" if self.num_embeddings is None else "embedding"

    @property
    def frozen(self) -> frozenset[str]:
        """The parameters without a gradient, which training leaves alone."""
        return frozenset({"embedding"} if self.frozen_embedding else ())

    @property
    def readout_size(self) -> int:
        """Width of what the first linear layer reads."""
        return self.rnn.output_size if self.readout == "steps" else self.rnn.num_directions * self.rnn.hidden_size

    @property
    def head_sizes(self) -> tuple[int, ...]:
        """Widths from what the head reads to the classes; linear layer i goes from width i to width i + 1."""
        return (self.readout_size, *self.hidden, self.classes)

    def parameters(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """The name and the shape of every parameter, in order."""
        if self.num_embeddings is not None:
            yield "embedding", (self.num_embeddings, self.rnn.input_size)
        for name, shape in weights.shapes(self.rnn).items():
            yield f"rnn.{name}", shape
        yield from _head_parameters(self.head_sizes)
        if self.head == "crf":
            yield from crf_shapes(self.classes).items()


class Seq2Seq(BaseModel):
    """Encoder–decoder: tokens in, tokens out, with or without attention (Bahdanau et al. 2015, arXiv:1409.0473).

    Decoder layer l starts from tanh(W [forward; reverse final state of encoder layer l] + b): the bridge. The decoder
    is a reset-after GRU with as many layers and units as the encoder. Token ids: 0 padding, 1 start, 2 end.

    Parameters
    ----------
    source_size, target_size
        The two vocabularies' sizes.
    embedding_size
        Width of both embeddings.
    encoder
        A reset-after GRU with biases, bidirectional and merged by concat, or in one direction.
    attention, attention_size
        Whether there is additive attention, and the width A of its inner layer (None without).
    decoder
        ``gru``: one direction. ``bidirectional``: a bidirectional GRU that is run over a sequence of one step at a
        time, both directions' states carried on.
    dropout
        As in ``SequenceModel``, for the encoder.
    decoder_dropout
        Share of each decoder layer's output that is set to 0 in training, on its way to the next layer or the head and
        not to the next step (Zaremba et al. 2014, arXiv:1409.2329). In JSON it is there where it is not 0.

    Attributes
    ----------
    rnn_name, question, answer, right, vocabulary, decodes, head
        As in ``SequenceModel``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    rnn_name: ClassVar[str] = "encoder"
    question: ClassVar[Literal["decode"]] = "decode"
    answer: ClassVar[str] = "tokens"
    right: ClassVar[str] = "targets"
    vocabulary: ClassVar[str] = "source"
    decodes: ClassVar[bool] = True
    head: ClassVar[str] = "softmax"

    kind: Literal["seq2seq"] = "seq2seq"
    source_size: Size
    target_size: Annotated[int, Field(strict=True, gt=END, le=1_000_000)]
    embedding_size: Size
    encoder: Specification
    attention: StrictBool
    attention_size: Size | None = None
    decoder: Literal["gru", "bidirectional"] = "gru"
    dropout: Share = 0.0
    decoder_dropout: Share = 0.0

    @model_serializer(mode="wrap")
    def _as_before(self, dump: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        return {name: value for name, value in dump(self).items() if (name, value) != ("decoder_dropout", 0.0)}

    @model_validator(mode="after")
    def _fits(self) -> Seq2Seq:
        encoder = self.encoder
        if encoder.cell != "gru" or not encoder.reset_after or not encoder.bias or not encoder.keeps_directions:
            what = "a reset-after gru with biases, and concat or one direction,"
            raise ValueError(f"must have {what} as its encoder (it is {encoder})")
        if encoder.hidden_size_reverse is not None:
            raise ValueError(f"must have an encoder with directions of one size (it is {encoder})")
        if encoder.input_size != self.embedding_size:
            raise ValueError(f"must have an encoder of input_size {self.embedding_size} (it is {encoder.input_size})")
        if self.attention != (self.attention_size is not None):
            raise ValueError("must have attention_size where attention is true, and there alone")
        _check_dropout(self.dropout, encoder)
        return self

    @property
    def recurrent(self) -> Specification:
        """The RNN, in both directions or one."""
        return self.encoder

    @property
    def num_tokens(self) -> int:
        """How many tokens there are in the input."""
        return self.source_size

    @property
    def num_answers(self) -> int:
        """How many tokens an answer is one of."""
        return self.target_size

    @property
    def first_input(self) -> str:
        """What the first layer reads: the embedding's parameter."""
        return "source_embedding"

    @property
    def frozen(self) -> frozenset[str]:
        """The parameters without a gradient, which training leaves alone: none."""
        return frozenset()

    @property
    def memory_size(self) -> int:
        """Width 2H of the encoder's output, H with one direction, and of the context that attention makes of it."""
        return self.encoder.output_size

    @property
    def decoder_directions(self) -> int:
        """1 or 2."""
        return 1 if self.decoder == "gru" else NUM_DIRECTIONS

    @property
    def state_size(self) -> int:
        """Width of a decoder layer's states of all its directions together: H or 2H."""
        return self.decoder_directions * self.encoder.hidden_size

    @property
    def decoder_rnn(self) -> Specification:
        """The decoder, in its directions; its input is the embedding, with attention followed by the context."""
        context = self.memory_size if self.attention else 0
        two = self.decoder_directions == NUM_DIRECTIONS
        return self.encoder.model_copy(
            update={
                "input_size": self.embedding_size + context,
                "merge": "concat" if two else None,
                "num_directions": self.decoder_directions,
            }
        )

    @property
    def readout_size(self) -> int:
        """Width of what the head reads: the top states after the step, with attention followed by the context."""
        return self.state_size + (self.memory_size if self.attention else 0)

    def parameters(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """The name and the shape of every parameter, in order."""
        yield "source_embedding", (self.source_size, self.embedding_size)
        yield "target_embedding", (self.target_size, self.embedding_size)
        for name, shape in weights.shapes(self.encoder).items():
            yield f"encoder.{name}", shape
        for layer in range(self.encoder.num_layers):
            yield f"bridge.{layer}.weight", (self.state_size, self.memory_size)
            yield f"bridge.{layer}.bias", (self.state_size,)
        for name, shape in decoder_shapes(self).items():
            yield f"decoder.{name}", shape
        if self.attention_size is not None:
            yield "attention.w1", (self.attention_size, self.state_size)
            yield "attention.w2", (self.attention_size, self.memory_size)
            yield "attention.v", (self.attention_size,)
        yield from _head_parameters((self.readout_size, self.target_size))


Model = SequenceModel | Seq2Seq
"""A model of any kind."""
_ANY_MODEL: TypeAdapter = TypeAdapter(Annotated[Model, Field(discriminator="kind")])


def _check_dropout(dropout: float, rnn: Specification) -> None:
    """Raise for dropout that has no place."""
    if dropout and rnn.num_layers == 1:
        raise ValueError("must have dropout 0 where the rnn has one layer: it is between layers")


def model_from_json(content: Mapping[str, Any], what: str = "model") -> Model:
    """Check ``content`` and make a model's specification of it.

    Raises
    ------
    InputError
        If a key is unknown or missing, or a value has the wrong type or range; ``what`` names the origin.
    """
    try:
        return _ANY_MODEL.validate_python(content)
    except ValidationError as error:
        raise from_validation(error, what) from None


def model_as_json(spec: Model) -> dict[str, Any]:
    """The specification as its JSON object, which ``model_from_json`` reads."""
    return spec.model_dump(mode="json") | {spec.rnn_name: spec.recurrent.as_json()}


def rnn_prefix(spec: Model) -> str:
    """What stands before the canonical names of the bidirectional RNN's weights: ``rnn.`` or ``encoder.``."""
    return f"{spec.rnn_name}."


def parameters(spec: Model) -> Shapes:
    """Name and shape of every parameter, in the order in which everything lists them.

    ``embedding`` or ``source_embedding`` and ``target_embedding`` (num_embeddings, width), ``rnn.<canonical>`` or
    ``encoder.<canonical>``, ``bridge.{l}.*``, ``decoder.<canonical>``, ``attention.*``, ``head.{i}.weight`` (out, in),
    ``head.{i}.bias`` (out,) and ``crf.*`` (``common.models.crf.scores``).
    """
    return dict(spec.parameters())


def _head_parameters(sizes: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The names and shapes of linear layers from width to width."""
    for i, (before, after) in enumerate(pairwise(sizes)):
        yield f"head.{i}.weight", (after, before)
        yield f"head.{i}.bias", (after,)


def decoder_shapes(spec: Seq2Seq) -> Shapes:
    """Name (without ``decoder.``) and shape of the decoder's weights; a ``gru`` decoder has no ``_reverse`` ones."""
    return weights.shapes(spec.decoder_rnn)


def initialise(spec: Model, rng: np.random.Generator) -> Arrays:
    """Parameters drawn in the order of ``parameters``, float64.

    Embeddings from N(0, 1), as torch.nn.Embedding; the weights of an RNN from U(−1/√hidden_size, 1/√hidden_size), as
    torch.nn.RNNBase; the scores of a CRF from U(−0.1, 0.1), as pytorch-crf; all else from U(−1/√in, 1/√in) with the
    width ``in`` of what the layer reads, as torch.nn.Linear.

    Raises
    ------
    InputError
        If they do not fit into memory, with what training keeps beside them.
    """
    arrays: Arrays = {}
    shapes = parameters(spec)
    check_room(numbers_in(shapes.values()), COPIES_IN_TRAINING, "the model")
    for name, shape in shapes.items():
        if "embedding" in name:
            arrays[name] = rng.normal(size=shape)
            continue
        if name.startswith(PREFIX):
            arrays[name] = rng.uniform(-INITIAL_BOUND, INITIAL_BOUND, shape)
            continue
        if name.startswith(("rnn.", "encoder.", "decoder.")):
            width = spec.recurrent.hidden_size
        else:
            width = shapes[name.replace(".bias", ".weight")][-1]
        bound = 1 / np.sqrt(width)
        arrays[name] = rng.uniform(-bound, bound, shape)
    return arrays


def rnn_weights(spec: Model, arrays: Mapping[str, np.ndarray]) -> Arrays:
    """The bidirectional RNN's weights of a model's, by their canonical names."""
    return cast("Arrays", weights.without_prefix(rnn_prefix(spec), arrays))
