"""Pairs out of what other libraries hold data in: tables with named columns, and tf.data of dicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kerass2s.data.readers import Pair
from kerass2s.errors import DataError

__all__ = ["pairs_of", "with_named_sides"]

SIDES = ("source", "target")


def pairs_of(data: Any, source: str = "source", target: str = "target") -> Any:
    """Take two columns of a dataset as sources and targets, so that `fit` can train on them.

    `data` is a Hugging Face `datasets.Dataset`, a pandas `DataFrame`, or a mapping of names to columns, which give a
    list of pairs; or a `tf.data.Dataset` of dicts, as `tfds.load` makes them, which stays one. (With
    `as_supervised=True` it makes tuples of strings, which `fit` takes as they are.)

    A dot goes down into a column of dicts: translations are often one column, whose sides are `translation.en` and
    `translation.de`.

    Args:
        data: the dataset, one split of it.
        source: the name of the sources' column.
        target: the name of the targets' column.

    Raises:
        DataError: it has no columns, or none of that name; or a cell is no text.
    """
    if hasattr(data, "element_spec"):
        return _mapped(data, source, target)
    names = _names(data)
    if names is None:
        raise DataError(f"Pairs come from a dataset with named columns. Received: {type(data).__name__}")
    columns = [_column(data, names, name) for name in (source, target)]
    return [Pair(_side(a, source, row), _side(b, target, row)) for row, (a, b) in enumerate(zip(*columns, strict=True))]


def with_named_sides(data: Any) -> Any:
    """Take a dataset that has columns "source" and "target" as pairs; leave anything else as it is.

    Raises:
        DataError: it is a table, but has no such columns; `pairs_of` says which they are.
    """
    if isinstance(data, Sequence | Mapping):
        return data
    spec = getattr(data, "element_spec", None)
    if spec is not None:
        return pairs_of(data) if isinstance(spec, dict) and set(SIDES) <= set(spec) else data
    return data if _names(data) is None else pairs_of(data)


def _names(data: Any) -> list[str] | None:
    """The names of the columns of a table; None if it is none."""
    if isinstance(data, Mapping):
        return list(data)
    found = getattr(data, "column_names", getattr(data, "columns", None))
    if isinstance(found, dict) or found is None or isinstance(found, str):  # a dict has the splits, not the columns
        return None
    return list(found)


def _column(data: Any, names: Sequence[str], name: str) -> list[Any]:
    first, *inner = name.split(".") if name not in names else [name]
    if first not in names:
        raise DataError(
            f"The dataset has the columns {', '.join(map(str, names))}; name two: "
            f"kerass2s.pairs_of(data, source=..., target=...). Received: {name!r}"
        )
    cells = list(data[first])
    for key in inner:
        cells = [_inner(cell, key, name) for cell in cells]
    return cells


def _inner(cell: Any, key: str, name: str) -> Any:
    if not isinstance(cell, Mapping) or key not in cell:
        held = ", ".join(map(str, cell)) if isinstance(cell, Mapping) else type(cell).__name__
        raise DataError(f"A cell has no {key!r}; it holds {held}. Received: {name!r}")
    return cell[key]


def _side(cell: Any, name: str, row: int) -> Any:
    """A text; or what else may be a side, an array."""
    if isinstance(cell, bytes):
        return cell.decode("utf-8")
    if isinstance(cell, str) or hasattr(cell, "shape"):
        return cell
    raise DataError(f"A side is a text or an array. Received: {cell!r} in row {row} of {name!r}")


def _mapped(data: Any, source: str, target: str) -> Any:
    """A tf.data.Dataset of dicts as one of tuples."""
    paths = [name.split(".") for name in (source, target)]

    def down(element: Any, path: Sequence[str]) -> Any:
        for key in path:
            if not isinstance(element, dict) or key not in element:
                held = ", ".join(element) if isinstance(element, dict) else "no dict"
                raise DataError(f"An element of the dataset holds {held}. Received: {'.'.join(path)!r}")
            element = element[key]
        return element

    for path in paths:
        down(data.element_spec, path)
    return data.map(lambda element: tuple(down(element, path) for path in paths))
