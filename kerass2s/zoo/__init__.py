"""The zoo: every module of this directory is one published architecture, found by its file's name."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from dataclasses import fields
from types import ModuleType
from typing import Any, get_type_hints

from kerass2s.codec import Codec, TextCodec
from kerass2s.errors import ConfigError, suggestion
from kerass2s.seq2seq import Seq2Seq
from kerass2s.text import SentencePieceTokenizer

__all__ = ["build", "codec", "configure", "entry", "names"]

LARGEST, DEEPEST = 1 << 20, 128
"""The most that a setting may be, and the most layers, so that no config of anyone's takes all memory or all time."""


def names() -> list[str]:
    """Return the names of all architectures, in alphabetical order."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def entry(name: str) -> ModuleType:
    """Return the module of one architecture: `CITATION`, `Config`, `PRESETS`, `build(config, codec)`.

    It may also have `codec(config, source_tokenizer, target_tokenizer)` where it does not turn text into text, and
    `feeding(config)` where it is not trained by plain teacher forcing.

    Raises:
        ConfigError: there is no such architecture.
    """
    if name not in names():
        hint = suggestion(name, names())
        raise ConfigError(f"No such architecture; there are {', '.join(names())}.{hint} Received: {name!r}")
    return importlib.import_module(f"{__name__}.{name}")


def configure(name: str, preset: str | None = None, **settings: Any) -> Any:
    """Make an architecture's typed config from its default (or one of its presets) and the given settings.

    Raises:
        ConfigError: an unknown preset or key, or a value of the wrong type.
    """
    module = entry(name)
    if preset is not None and preset not in module.PRESETS:
        known = ", ".join(module.PRESETS)
        raise ConfigError(f"Architecture {name} has the presets {known}. Received: {preset!r}")
    base = module.PRESETS[preset] if preset else module.Config()
    types = get_type_hints(module.Config)
    values = {field.name: getattr(base, field.name) for field in fields(base)}
    for key, value in settings.items():
        if key not in values:
            near = difflib.get_close_matches(key, values, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else f"; it has {', '.join(values)}"
            raise ConfigError(f"Architecture {name} has no setting of that name{hint}. Received: {key!r}")
        values[key] = _typed(f"{name}.{key}", value, types[key])
    return module.Config(**values)


def _typed(key: str, value: Any, wanted: type) -> Any:
    if wanted is float and type(value) is int:
        value = float(value)
    if type(value) is not wanted:
        raise ConfigError(f"{key} must be of type {wanted.__name__}. Received: {value!r}")
    least = {int: 1, float: 0}.get(wanted)
    if least is not None and not value >= least:
        raise ConfigError(f"{key} must be at least {least}. Received: {value!r}")
    most = DEEPEST if key.endswith("layers") else LARGEST
    if least is not None and value > most:
        raise ConfigError(f"{key} must be at most {most}. Received: {value!r}")
    return value


def build(
    name: str,
    *,
    source_tokenizer: SentencePieceTokenizer | None = None,
    target_tokenizer: SentencePieceTokenizer | None = None,
    preset: str | None = None,
    **settings: Any,
) -> Seq2Seq:
    """Build an architecture by name, with fresh weights.

    Args:
        name: one of `names()`.
        source_tokenizer: turns source text into ids; its vocabulary sizes the encoder. None where sources are vectors.
        target_tokenizer: the same for the decoder.
        preset: a named config of the architecture ("paper" is the paper's own sizes); None for the small default.
        **settings: fields of the architecture's `Config` to change; unknown ones are refused.

    Raises:
        ConfigError: an unknown name, preset or setting, or a tokenizer too few.
    """
    config = configure(name, preset, **settings)
    module = entry(name)
    ends = codec(name, config, source_tokenizer, target_tokenizer)
    encoder, decoder = module.build(config, ends)
    feeding = module.feeding(config) if hasattr(module, "feeding") else None
    return Seq2Seq(encoder, decoder, codec=ends, architecture=name, config=config, feeding=feeding)


def codec(
    name: str,
    config: Any,
    source_tokenizer: SentencePieceTokenizer | None,
    target_tokenizer: SentencePieceTokenizer | None,
) -> Codec:
    """Make the codec of an architecture: text to text, unless its module says otherwise.

    Raises:
        ConfigError: a tokenizer too few.
    """
    make = getattr(entry(name), "codec", None)
    if make is None:
        return TextCodec(name, source_tokenizer, target_tokenizer)
    return make(config, source_tokenizer, target_tokenizer)
