"""Searches by name: `greedy`, `beam:5`, `beam:5,length_penalty=0.6,max_length=40`, `rollout:24`."""

from __future__ import annotations

import difflib
from dataclasses import fields

from kerass2s.decoding.beam import BeamSearch
from kerass2s.decoding.greedy import GreedySearch
from kerass2s.decoding.rollout import Rollout
from kerass2s.decoding.search import Search
from kerass2s.errors import ConfigError

SEARCHES: dict[str, type] = {"greedy": GreedySearch, "beam": BeamSearch, "rollout": Rollout}
"""Every search by its name. What follows the name sets its fields; the first of them may go without its name."""

_FIRST = {"beam": "width", "rollout": "horizon"}
_NUMBERS = {"width": int, "length_penalty": float, "max_length": int, "horizon": int}


def parse_search(spec: str) -> Search:
    """Returns the search that a spec such as `greedy` or `beam:5,length_penalty=0.6,max_length=40` names.

    Raises:
        ConfigError: on an unknown name or key, a key given twice, or a value that is no number or out of range.
    """
    name, colon, rest = str(spec).strip().partition(":")
    if name not in SEARCHES:
        raise ConfigError(f"Unknown search{_suggestion(name, SEARCHES)}. Received: {spec!r}")
    values: dict[str, int | float] = {}
    for place, setting in enumerate(rest.split(",") if colon else []):
        key, value = _read_setting(name, place, setting.strip(), spec)
        if key in values:
            raise ConfigError(f"Search {name!r} is given {key} twice. Received: {spec!r}")
        values[key] = value
    return SEARCHES[name](**values)


def search_spec(search: Search) -> str:
    """Returns the shortest spec that `parse_search` reads as `search`.

    Raises:
        ConfigError: if `search` is not one of the searches that have a name.
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
        if field.name != first and value != field.default:
            settings.append(f"{field.name}={_NUMBERS[field.name](value)!r}")
    return ":".join([name, ",".join(settings)]) if settings else name


def _read_setting(name: str, place: int, setting: str, spec: str) -> tuple[str, int | float]:
    """Reads `key=value`, or the bare value of the first field, of a search `name`."""
    keys = [field.name for field in fields(SEARCHES[name])]
    key, equals, value = (part.strip() for part in setting.partition("="))
    if not equals and place == 0 and name in _FIRST:
        key, value = _FIRST[name], setting
    elif not equals:
        raise ConfigError(f"Search {name!r} takes key=value, keys: {', '.join(keys)}. Received: {spec!r}")
    if key not in keys:
        raise ConfigError(f"Unknown key {key!r} of search {name!r}{_suggestion(key, keys)}. Received: {spec!r}")
    try:
        return key, _NUMBERS[key](value)
    except ValueError:
        kind = "a whole number" if _NUMBERS[key] is int else "a number"
        raise ConfigError(f"{key} of search {name!r} must be {kind}. Received: {spec!r}") from None


def _suggestion(word: str, known: object) -> str:
    names = list(known)
    close = difflib.get_close_matches(word, names, n=1)
    return (f"; did you mean {close[0]!r}?" if close else "") + f" (known: {', '.join(names)})"
