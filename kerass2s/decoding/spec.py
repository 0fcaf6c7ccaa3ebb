"""Searches as short text, for command lines, recipes and exports: `beam:5,length_penalty=0.6,min_length=2`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import Field, fields
from typing import Any

from kerass2s.decoding.beam import BeamSearch
from kerass2s.decoding.filters import (
    Banned,
    Filter,
    Forced,
    Lexicon,
    MaxRatio,
    MinLength,
    MinRatio,
    Monotonic,
    NoRepeatNgram,
    NoUnknown,
    Prefix,
    RepetitionPenalty,
)
from kerass2s.decoding.greedy import GreedySearch
from kerass2s.decoding.risk import MinimumBayesRisk
from kerass2s.decoding.rollout import Rollout
from kerass2s.decoding.sampling import SamplingSearch
from kerass2s.decoding.search import Search
from kerass2s.errors import ConfigError

SEARCHES: dict[str, type] = {
    "greedy": GreedySearch,
    "beam": BeamSearch,
    "sample": SamplingSearch,
    "mbr": MinimumBayesRisk,
    "rollout": Rollout,
}
"""Every search by its name. What follows the name sets its fields; the first of them may go without its name."""

FILTERS: dict[str, type[Filter]] = {
    "min_length": MinLength,
    "min_ratio": MinRatio,
    "max_ratio": MaxRatio,
    "banned": Banned,
    "no_unknown": NoUnknown,
    "forced": Forced,
    "prefix": Prefix,
    "no_repeat_ngram": NoRepeatNgram,
    "repetition_penalty": RepetitionPenalty,
    "lexicon": Lexicon,
    "monotonic": Monotonic,
}
"""Every filter by its key; its arguments follow, with a + between them: `banned=7+12`, `monotonic=3+1`."""

_FIRST = {"beam": "width", "rollout": "horizon", "sample": "samples", "mbr": "samples"}
_READERS = {"int": int, "float": float, "str": str}
_KINDS = {"int": "a whole number", "float": "a number", "str": "text"}


# === Reading ===


def parse_search(spec: str, lexicon: Lexicon | None = None) -> Search:
    """Returns the search that a spec such as `greedy` or `beam:5,length_penalty=0.6,max_length=40` names.

    Args:
        spec: the name of a search, and what it is set to.
        lexicon: the one that a key `lexicon=DIGEST` means; a spec has its digest alone.

    Raises:
        ConfigError: on an unknown name or key, a key given twice, or a value that is no number or out of range.
    """
    name, colon, rest = str(spec).strip().partition(":")
    if name not in SEARCHES:
        raise ConfigError(f"Unknown search{_suggestion(name, SEARCHES)}. Received: {spec!r}")
    values: dict[str, Any] = {}
    filters: dict[str, Filter] = {}
    for place, setting in enumerate(rest.split(",") if colon else []):
        key, value = _split(name, place, setting.strip(), spec)
        if key in values or key in filters:
            raise ConfigError(f"Search {name!r} is given {key} twice. Received: {spec!r}")
        if key in FILTERS:
            filters[key] = _read_filter(name, key, value, spec, lexicon)
        else:
            kind = _field(name, key).type
            values[key] = True if kind == "bool" else _read(name, key, kind, value, spec)
    return SEARCHES[name](**values, **({"filters": tuple(filters.values())} if filters else {}))


def _keys(name: str) -> list[str]:
    """The keys of a search: its fields, and the filters if it takes any."""
    own = [field.name for field in fields(SEARCHES[name])]
    return [*(key for key in own if key != "filters"), *(FILTERS if "filters" in own else ())]


def _field(name: str, key: str) -> Field:
    return next(field for field in fields(SEARCHES[name]) if field.name == key)


def _split(name: str, place: int, setting: str, spec: str) -> tuple[str, str]:
    """Takes `key=value` apart, or the bare value of the first field, or a key that has none, of a search `name`."""
    keys = _keys(name)
    key, equals, value = (part.strip() for part in setting.partition("="))
    bare = key in keys and _is_bare(name, key)
    if not equals and place == 0 and name in _FIRST and not bare:
        return _FIRST[name], setting
    if bool(equals) == bare:
        takes = f"Search {name!r} takes key=value{_close(key, keys)}"
        raise ConfigError(f"{takes}, keys: {', '.join(keys)}. Received: {spec!r}")
    if key not in keys:
        raise ConfigError(f"Unknown key {key!r} of search {name!r}{_suggestion(key, keys)}. Received: {spec!r}")
    return key, value


def _is_bare(name: str, key: str) -> bool:
    """Tells whether a key stands without a value: a filter of no arguments, or what is either so or not."""
    return not fields(FILTERS[key]) if key in FILTERS else _field(name, key).type == "bool"


def _read(name: str, key: str, kind: str, value: str, spec: str) -> Any:
    try:
        return _READERS[kind](value)
    except ValueError:
        raise ConfigError(f"{key} of search {name!r} must be {_KINDS[kind]}. Received: {spec!r}") from None


def _read_filter(name: str, key: str, value: str, spec: str, lexicon: Lexicon | None) -> Filter:
    if key == "lexicon":
        if lexicon is None or lexicon.digest != value:
            raise ConfigError(f"A lexicon goes beside its spec, which only names it. Received: {spec!r}")
        return lexicon
    kinds = [field.type for field in fields(FILTERS[key])]
    parts = value.split("+") if kinds else []
    if kinds == ["tuple[int, ...]"]:
        return FILTERS[key](tuple(_read(name, key, "int", part, spec) for part in parts))
    if len(parts) > len(kinds):
        raise ConfigError(f"{key} of search {name!r} takes at most {len(kinds)} numbers. Received: {spec!r}")
    return FILTERS[key](*(_read(name, key, kind, part, spec) for kind, part in zip(kinds, parts, strict=False)))


# === Writing ===


def search_spec(search: Search) -> str:
    """Returns the shortest spec that `parse_search` reads as `search`.

    Raises:
        ConfigError: if `search` or one of its filters is not one of those that have a name, or two filters have one.
    """
    for name, kind in SEARCHES.items():
        if type(search) is kind:
            return _write_spec(name, search)
    raise ConfigError(f"Only a search of these has a spec: {', '.join(SEARCHES)}. Received: {search!r}")


def _write_spec(name: str, search: Search) -> str:
    first = _FIRST.get(name)
    settings = [str(getattr(search, first))] if first else []
    for field in fields(search):
        value = getattr(search, field.name)
        if field.name not in (first, "filters") and value != field.default:
            settings.append(field.name if value is True else f"{field.name}={_READERS[field.type](value)}")
    filters = getattr(search, "filters", ())
    if len({type(each) for each in filters}) < len(filters):
        raise ConfigError(f"A spec names each filter once. Received: {filters!r}")
    settings += [_write_filter(each) for each in filters]
    return ":".join([name, ",".join(settings)]) if settings else name


def _write_filter(rule: Filter) -> str:
    for key, kind in FILTERS.items():
        if type(rule) is kind:
            values = [rule.digest] if isinstance(rule, Lexicon) else list(_arguments(rule))
            return f"{key}={'+'.join(map(str, values))}" if values else key
    raise ConfigError(f"Only a filter of these has a spec: {', '.join(FILTERS)}. Received: {rule!r}")


def _arguments(rule: Filter) -> Iterable[Any]:
    """The arguments of a filter, one after the other."""
    for field in fields(rule):
        value = getattr(rule, field.name)
        if isinstance(value, tuple):
            yield from value
        else:
            yield _READERS[field.type](value)


def _suggestion(word: str, known: Iterable[str]) -> str:
    names = list(known)
    return f"{_close(word, names)} (known: {', '.join(names)})"


def _close(word: str, names: list[str]) -> str:
    close = difflib.get_close_matches(word, names, n=1)
    return f"; did you mean {close[0]!r}?" if close and close[0] != word else ""
