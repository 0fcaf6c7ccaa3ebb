"""Strings in an ONNX graph: tokens of texts, and texts of ids, by nodes of onnxruntime-extensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from kerass2s.codec import TextCodec
from kerass2s.export.describe import needed
from kerass2s.export.onnx import EXTENSIONS
from kerass2s.text import END_ID, PAD_ID, START_ID, UNKNOWN_ID, SentencePieceTokenizer
from kerass2s.text.spelling import Spelling, byte_pieces

LABELS = "ai.onnx.ml"
SPACE_PIECE = "\u2581"
SEPARATOR = b"\xff"  # in no UTF-8 text

Operand = str | int | np.ndarray | list[Any]
"""The name of a value, or what becomes a constant: whole numbers are int64."""


class Nodes:
    """Nodes in the order in which they run, and the constants they use; each value gets a name of its own.

    Attributes:
        nodes: the nodes.
        constants: the initializers.
        types: of values that ONNX cannot know the type of, since they come out of an extension.

    Args:
        prefix: what the names of all values begin with.
    """

    def __init__(self, prefix: str) -> None:
        self.onnx = needed("onnx", "onnx")
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.types: list[Any] = []
        self._prefix = prefix

    def __call__(self, operator: str, *inputs: Operand, **attributes: Any) -> str:
        """Adds a standard node of one output; returns the name of that."""
        return self.add(operator, inputs, **attributes)[0]

    def extension(self, operator: str, *inputs: Operand, types: Sequence[str] = ("STRING",), **attributes: Any) -> Any:
        """Adds a node of onnxruntime-extensions with outputs of these types; returns their names."""
        made = self.add(operator, inputs, len(types), domain=EXTENSIONS, **attributes)
        for name, of in zip(made, types, strict=True):
            kind = getattr(self.onnx.TensorProto, of)
            self.types.append(self.onnx.helper.make_tensor_value_info(name, kind, None))
        return made

    def add(self, operator: str, inputs: Any, outputs: int = 1, domain: str = "", **attributes: Any) -> list[str]:
        """Adds a node; returns the names of its outputs."""
        name = f"{self._prefix}/{len(self.nodes)}_{operator}"
        made = [f"{name}:{index}" for index in range(outputs)]
        read = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        self.nodes.append(self.onnx.helper.make_node(operator, read, made, name, domain=domain, **attributes))
        return made

    def constant(self, value: int | np.ndarray | list[Any]) -> str:
        """Adds a constant; of a list of bytes, one of strings."""
        name = f"{self._prefix}/constant_{len(self.constants)}"
        strings = isinstance(value, list) and bool(value) and isinstance(value[0], bytes)
        if strings:
            made = self.onnx.TensorProto(data_type=self.onnx.TensorProto.STRING, dims=[len(value)], string_data=value)
            made.name = name
        else:
            made = self.onnx.numpy_helper.from_array(np.asarray(value), name)
        self.constants.append(made)
        return name

    def named(self, value: str, name: str) -> None:
        """Gives a value the name that others know it by."""
        self.nodes.append(self.onnx.helper.make_node("Identity", [value], [name], f"{self._prefix}/{name}"))

    # === Shorthands ===

    def cast(self, value: str, to: str) -> str:
        """Casts to a type of `TensorProto`."""
        return self("Cast", value, to=getattr(self.onnx.TensorProto, to))

    def part(self, value: str, begin: int, end: int = np.iinfo(np.int64).max) -> str:
        """Takes a slice of the first axis."""
        return self("Slice", value, [begin], [end], [0])

    def count(self, flags: str, axis: int, exclusive: int = 0) -> str:
        """Counts, along an axis, the flags up to each position."""
        return self("CumSum", self.cast(flags, "INT64"), axis, exclusive=exclusive)


# === Texts to ids ===


class Ragged(NamedTuple):
    """Rows of tokens one after the other, each with its END.

    Attributes:
        ids: int32 [n].
        splits: int64 [B + 1], where each row begins, and n.
        pieces: string [n], END's the empty one; None where nobody asks.
    """

    ids: str
    splits: str
    pieces: str | None = None


def tokenized(nodes: Nodes, text: str, codec: TextCodec, copies: bool) -> Ragged:
    """Tokenizes `text string [B]` as `codec.source` does; with their pieces, where some are to be copied."""
    tokenizer = codec.source_tokenizer
    model = byte_pieces(tokenizer) if copies else tokenizer.model_proto
    none, no, yes = np.zeros(1, np.float32), np.array([False]), np.array([True])
    inputs = (text, [0], none, no, yes, no)  # one best segmentation, no start, an end, not reversed
    ids, splits = nodes.extension("SentencepieceTokenizer", *inputs, types=("INT32", "INT64"), model=model)
    return _pieces(nodes, Ragged(ids, splits), codec) if copies else Ragged(ids, splits)


def _pieces(nodes: Nodes, spelled: Ragged, codec: TextCodec) -> Ragged:
    """Joins the bytes of each unknown piece again, and gives all pieces as strings beside the ids."""
    size = codec.source_size
    begins = _begins(nodes, spelled.ids, codec.source_tokenizer, codec.open_vocabulary)
    places = nodes("Squeeze", nodes("NonZero", begins), [0])
    first = nodes("Gather", spelled.ids, places)
    splits = nodes("Gather", nodes("Concat", [0], nodes.count(begins, 0), axis=0), spelled.splits)
    strings = _strings(nodes, spelled.ids, begins, codec.source_tokenizer)
    known = nodes("Less", first, np.int32(size))
    unknown = nodes("Add", _first_places(nodes, first, strings, splits), size) if codec.open_vocabulary else UNKNOWN_ID
    ids = nodes("Where", known, nodes.cast(first, "INT64"), unknown)
    return Ragged(nodes.cast(ids, "INT32"), splits, strings)


def _begins(nodes: Nodes, ids: str, tokenizer: SentencePieceTokenizer, apart: bool) -> str:
    """Where pieces begin, bool [n]: known ones, and runs of bytes, which come `apart` as `split` tells."""
    size = tokenizer.vocabulary_size
    known = nodes("Less", ids, np.int32(size))
    begins = nodes("Or", known, nodes("Concat", np.array([True]), nodes.part(known, 0, -1), axis=0))
    if not apart or tokenizer.kind not in ("char", "word"):
        return begins
    if tokenizer.kind == "char":  # each byte but those that go on in a character, 10xxxxxx
        above = nodes("GreaterOrEqual", ids, np.int32(size + 0x80))
        goes_on = nodes("And", above, nodes("Less", ids, np.int32(size + 0xC0)))
        return nodes("Or", known, nodes("Not", goes_on))
    longer = nodes("Concat", ids, np.zeros(2, np.int32), axis=0)
    views = (ids, nodes.part(longer, 1, -1), nodes.part(longer, 2))  # each byte, the one after it, and the next
    signs = [
        nodes("Equal", view, np.int32(size + byte)) for view, byte in zip(views, SPACE_PIECE.encode(), strict=True)
    ]
    return nodes("Or", begins, nodes("And", signs[0], nodes("And", *signs[1:])))


def _strings(nodes: Nodes, ids: str, begins: str, tokenizer: SentencePieceTokenizer) -> str:
    """The pieces, string [P]: what all tokens spell, joined and split again where pieces begin, in linear time."""
    pieces = [piece.encode() for piece in tokenizer.pieces]
    pieces[END_ID] = b""
    size = len(pieces)
    table = nodes.constant([*pieces, *(bytes([byte]) for byte in range(256)), SEPARATOR])
    between = nodes("Where", begins, np.int32(size + 256), np.int32(END_ID))
    both = nodes("Concat", *(nodes("Unsqueeze", each, [1]) for each in (between, ids)), axis=1)
    strings = nodes("Gather", table, nodes("Reshape", both, [-1]))
    (joined,) = nodes.extension("StringJoin", strings, [b""], [0])
    inputs = (joined, [SEPARATOR], np.array([False]))
    return nodes.part(nodes.extension("StringSplit", *inputs, types=("INT64", "STRING", "INT64"))[1], 1)


def _first_places(nodes: Nodes, ids: str, pieces: str, splits: str) -> str:
    """Each piece's first place in its row, int64 [P]: equal pieces get one number, equal pairs of it and row too."""
    row = nodes.count(nodes("Equal", ids, np.int32(END_ID)), 0, exclusive=1)
    number = nodes.add("Unique", [pieces], 3)[2]
    keys = nodes("Add", nodes("Mul", row, nodes("Size", pieces)), number)
    _, first, inverse = nodes.add("Unique", [keys], 3)
    return nodes("Sub", nodes("Gather", first, inverse), nodes("Gather", splits, row))


def padded(nodes: Nodes, rows: Ragged) -> tuple[str, str]:
    """Makes of rows what the encoder reads, `source_ids int32 [B, S]` and `source_lengths int32 [B]`."""
    begins = nodes.part(rows.splits, 0, -1)
    lengths = nodes("Sub", nodes.part(rows.splits, 1), begins)
    longest = nodes("ReduceMax", nodes("Concat", lengths, [0], axis=0), keepdims=0)
    places = nodes("Range", 0, longest, 1)
    begins, ends = (nodes("Unsqueeze", each, [1]) for each in (begins, lengths))
    index = nodes("Where", nodes("Less", places, ends), nodes("Add", begins, places), nodes("Size", rows.ids))
    ids = nodes("Gather", nodes("Concat", rows.ids, np.array([PAD_ID], np.int32), axis=0), index)
    return ids, nodes.cast(lengths, "INT32")


# === Ids to texts ===


def texts(nodes: Nodes, target_ids: str, codec: TextCodec, source: Ragged) -> str:
    """Spells `target_ids int32 [B, K, T] -> string [B, K]` as `codec.texts`; it copies where the source has pieces."""
    spelling = Spelling.of(codec.target_tokenizer)
    empty, space = len(spelling.bodies), len(spelling.bodies) + 1  # rows of the table after its bodies
    table = nodes.constant([*(body.encode() for body in spelling.bodies), b"", b" "])
    flags = [np.array([*held, False, False]) for held in (spelling.space, spelling.begins)]
    ids = nodes.cast(target_ids, "INT64")
    spelled = _spelled(nodes, ids)
    if source.pieces is not None:
        ids = _with_copies(nodes, ids, codec, source)
        table = nodes("Concat", table, source.pieces, axis=0)
        flags = [np.append(held, raw) for held, raw in zip(flags, (False, True), strict=True)]
    ids = nodes("Where", spelled, ids, empty)
    spaced, begun = (nodes("Gather", held, nodes("Min", ids, len(flags[0]) - 1)) for held in flags)
    inside = nodes("Greater", nodes.count(begun, 2, exclusive=1), 0)
    before = nodes("Where", nodes("And", spaced, inside), space, empty)
    joined = _joined(nodes, table, [before, ids])
    if source.pieces is not None:  # what is copied comes with its signs for a space
        for pattern, by in (("^" + SPACE_PIECE, ""), (SPACE_PIECE, " ")):
            (joined,) = nodes.extension("StringRegexReplace", joined, [pattern.encode()], [by.encode()])
    return nodes("Reshape", joined, nodes("Shape", target_ids, end=2), allowzero=1)


def _spelled(nodes: Nodes, ids: str) -> str:
    """Which ids [B, K, T] stand for text: those before the first END, but PAD and START."""
    going = nodes("Equal", nodes.count(nodes("Equal", ids, END_ID), 2), 0)
    silent = nodes("Or", nodes("Equal", ids, PAD_ID), nodes("Equal", ids, START_ID))
    return nodes("And", going, nodes("Not", silent))


def _with_copies(nodes: Nodes, ids: str, codec: TextCodec, source: Ragged) -> str:
    """Ids [B, K, T] as rows of the table: a copied piece is the target's own, one behind the table, or nothing."""
    size = codec.target_size
    own = {piece: index for index, piece in enumerate(codec.target_vocabulary)}
    attributes = {"keys_strings": list(own), "values_int64s": list(own.values()), "default_int64": -1}
    (known,) = nodes.add("LabelEncoder", [source.pieces], domain=LABELS, **attributes)
    count = nodes("Size", source.pieces)
    behind = nodes("Add", nodes("Range", 0, count, 1), size + 2)
    rows = nodes("Where", nodes("Less", known, 0), behind, known)
    rows = nodes("Concat", rows, [size], axis=0)  # the last: what points past the source spells nothing
    begins, ends = (nodes("Unsqueeze", nodes.part(source.splits, *each), [1, 2]) for each in ((0, -1), (1,)))
    place = nodes("Add", begins, nodes("Sub", ids, size))
    there = nodes("Less", place, nodes("Sub", ends, 1))
    place = nodes("Where", nodes("And", nodes("GreaterOrEqual", ids, size), there), place, count)
    return nodes("Where", nodes("Less", ids, size), ids, nodes("Gather", rows, place))


def _joined(nodes: Nodes, table: str, indices: list[str]) -> str:
    """Joins strings of the table, the first index's before the second's at each position: [B, K, T] to string [B · K].

    The extension fails on no row at all, so there is one more until it is done.
    """
    shape = nodes("Shape", indices[0])
    rows = nodes("ReduceProd", nodes.part(shape, 0, 2), keepdims=1)
    columns = nodes("Mul", nodes.part(shape, 2), len(indices))
    index = nodes("Concat", *(nodes("Unsqueeze", each, [3]) for each in indices), axis=3)
    index = nodes("Reshape", index, nodes("Concat", rows, columns, axis=0), allowzero=1)
    index = nodes("Pad", index, [0, 0, 1, 0], 0)
    (strings,) = nodes.extension("StringJoin", nodes("Gather", table, index), [b""], [1])
    return nodes("Slice", strings, [0], rows, [0])
