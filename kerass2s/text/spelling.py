"""How the pieces of a SentencePiece model spell a text, as tables, for runtimes without SentencePiece's decoder."""

from __future__ import annotations

import dataclasses

from sentencepiece import sentencepiece_model_pb2

from kerass2s.text.tokenizer import SentencePieceTokenizer

__all__ = ["Spelling", "byte_pieces", "has_byte_pieces"]

_MODEL = sentencepiece_model_pb2.ModelProto
_PIECE = _MODEL.SentencePiece
_SPACE_PIECE = "\u2581"


@dataclasses.dataclass(frozen=True)
class Spelling:
    """What each of the V pieces adds to a text.

    A piece adds its body; one that has a `space` adds a space before it, but not at the beginning of the text, which
    is over as soon as a piece that `begins` it was there. So SentencePiece's `Decode` has it: "▁cat ▁sat" is "cat sat",
    and of a `char` model's pieces "▁", "a", "▁" only the last space is one.

    Attributes:
        bodies: the text of each piece, "" for those that spell nothing.
        space: whether a space stands before the body, inside a text.
        begins: whether no piece after this one is at the beginning any more.
    """

    bodies: tuple[str, ...]
    space: tuple[bool, ...]
    begins: tuple[bool, ...]

    @classmethod
    def of(cls, tokenizer: SentencePieceTokenizer) -> Spelling:
        """Reads the tables from a tokenizer's model; one with byte pieces has none, see `has_byte_pieces`."""
        model = _MODEL.FromString(tokenizer.model_proto)
        normalizer = model.normalizer_spec
        trims = normalizer.add_dummy_prefix or normalizer.remove_extra_whitespaces
        space = tuple(_is_plain(each) and each.piece.startswith(_SPACE_PIECE) and trims for each in model.pieces)
        bodies = tuple(
            _body(each, spaced, model.trainer_spec.unk_surface)
            for each, spaced in zip(model.pieces, space, strict=True)
        )
        once = not normalizer.remove_extra_whitespaces  # then one piece's space is left out, else all leading ones
        begins = tuple(bool(body) or (spaced and once) for body, spaced in zip(bodies, space, strict=True))
        return cls(bodies, space, begins)


def _is_plain(piece: _PIECE) -> bool:
    return piece.type not in (_PIECE.CONTROL, _PIECE.UNKNOWN)


def _body(piece: _PIECE, spaced: bool, unknown: str) -> str:
    if not _is_plain(piece):
        return unknown if piece.type == _PIECE.UNKNOWN else ""
    return piece.piece[spaced:].replace(_SPACE_PIECE, " ")


def has_byte_pieces(tokenizer: SentencePieceTokenizer) -> bool:
    """Tells whether a model spells what it does not know byte by byte, as none that kerass2s trains does."""
    return any(piece.type == _PIECE.BYTE for piece in _MODEL.FromString(tokenizer.model_proto).pieces)


def byte_pieces(tokenizer: SentencePieceTokenizer) -> bytes:
    """Returns the tokenizer's model with 256 pieces more, by which it spells what it does not know.

    The ids are those of the tokenizer, but in the place of each unknown id are the bytes, V + 0 to V + 255, of what
    stands there after normalisation: so a runtime that gives ids alone still tells what an unknown piece is.
    """
    model = _MODEL.FromString(tokenizer.model_proto)
    for byte in range(256):
        model.pieces.add(piece=f"<0x{byte:02X}>", score=0.0, type=_PIECE.BYTE)
    model.trainer_spec.byte_fallback = True
    return model.SerializeToString()
