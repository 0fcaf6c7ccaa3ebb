"""A trie of token sequences as two flat arrays, which a graph walks by adding and gathering."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from kerass2s.text import END_ID

ROOT = 0
_FREE, _TAKEN = -1, -2


def double_array(sequences: Iterable[Sequence[int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the trie of sequences, each with END after it, as `base`, `check` and `lack`, int32 [P] (Aoe 1989).

    A node is the number of its place; the root is 0. Its child by token c stands at place `base[node] + c`, and is
    there if `check[base[node] + c] == node`. The children of one node stand in gaps between those of others, so there
    are hardly more places than nodes. The last place is nobody's, for what would point beyond it. `lack[node]` is how
    many tokens are missing to the nearest end of a sequence.

    With the tokens 4 and 5 and the sequences `[4]` and `[5]`, END is 3:

        place    0   1   2   3   4   5   6   7
        node    root     -end    4   5  -end  none
        lack     1        0      0   0   0
    """
    base, check = [0], [_TAKEN]
    # Only the unknown token could come to the places before END_ID: as free ones they would be tried again and again.
    waiting, free = [(ROOT, _grow(sequences))], END_ID
    nodes: list[int] = []
    while waiting:
        node, children = waiting.pop()
        nodes.append(node)
        if not children:
            continue
        while free < len(check) and check[free] != _FREE:
            free += 1
        base[node] = start = _fit(sorted(children), check, free)
        missing = start + max(children) + 1 - len(check)
        base += [0] * missing
        check += [_FREE] * missing
        for token, below in children.items():
            check[start + token] = node
            waiting.append((start + token, below))
    base, check = [*base, 0], [*check, _FREE]
    return np.array(base, np.int32), np.array(check, np.int32), np.array(_lacks(nodes, base, check), np.int32)


def _lacks(nodes: list[int], base: list[int], check: list[int]) -> list[int]:
    """Returns how many tokens each node lacks to the nearest end, of nodes that come after their parents."""
    lacks = [len(check)] * len(check)
    for node in reversed(nodes[1:]):
        parent = check[node]
        if node == base[parent] + END_ID:
            lacks[node] = lacks[parent] = 0
        else:
            lacks[parent] = min(lacks[parent], lacks[node] + 1)
    return lacks


def _grow(sequences: Iterable[Sequence[int]]) -> dict[int, Any]:
    """Returns the trie as a dict of dicts by token."""
    root: dict[int, Any] = {}
    for sequence in sequences:
        node = root
        for token in (*sequence, END_ID):
            node = node.setdefault(token, {})
    return root


def _fit(tokens: list[int], check: list[int], free: int) -> int:
    """Returns the first base by which all tokens come to free places, `free` being the first of those."""
    start = max(0, free - tokens[0])
    while any(place < len(check) and check[place] != _FREE for place in (start + token for token in tokens)):
        start += 1
    return start
