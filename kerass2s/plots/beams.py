"""The tree of one beam search: what each prefix was followed by, what was given up, and what was left in the end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from kerass2s.decoding import BeamSearch
from kerass2s.plots.canvas import INK, LINES, Place, finish, in_style, new_figure, plain
from kerass2s.text import END_ID

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from kerass2s.inference import Inference

ENDED = "(end)"
KEPT, GIVEN_UP = LINES[0][0], LINES[1][0]


@dataclass
class BeamTree:
    """A prefix and what it was followed by.

    Attributes:
        token: the last token of the prefix; "(end)" where an output is complete, and nothing at the root.
        log_probability: of the prefix, in nats.
        kept: whether it leads to one of the outputs that the search found.
        best: whether it leads to the first of these.
        branches: the longer prefixes that were in the beam, the likeliest first.
    """

    token: str = ""
    log_probability: float = 0.0
    kept: bool = False
    best: bool = False
    branches: list[BeamTree] = field(default_factory=list)

    @property
    def leaves(self) -> int:
        """How many ends its branches have."""
        return sum(branch.leaves for branch in self.branches) or 1

    @property
    def depth(self) -> int:
        """How many tokens the longest of its branches has."""
        return max((1 + branch.depth for branch in self.branches), default=0)


def beam_tree(model: Inference, source: Any, search: BeamSearch) -> BeamTree:
    """Search one source, and return every prefix that was in the beam after some step.

    The beam after t tokens is what a search of at most t tokens finds, so the search is run for each t until nothing
    is added.

    Args:
        model: of tokens.
        source: what it is asked.
        search: how many beams, and their rules.

    Raises:
        ConfigError: the model's targets are no tokens.
    """
    import tensorflow as tf

    codec = model.codec
    codec.need_tokens("a beam tree")
    codec.check([source])

    @tf.function(input_signature=[codec.request_spec, tf.TensorSpec([], tf.int32)], autograph=False)
    def run(request: dict[str, tf.Tensor], limit: tf.Tensor) -> tuple[tf.Tensor, ...]:
        found = model.search_graph(*codec.source(request), search, max_length=limit)
        return found.ids[0], found.lengths[0], found.token_scores[0], found.scores[0]

    request, prefixes, limit = codec.request([source]), {}, 0
    while True:
        limit += 1
        last = _outputs(*(part.numpy() for part in run(request, tf.constant(limit))), limit)
        for ids, gains in last:
            prefixes |= {tuple(ids[:length]): sum(gains[:length]) for length in range(1, len(ids) + 1)}
        if limit >= search.max_length or all(ids[-1] == END_ID for ids, _ in last):
            return _grown(prefixes, [tuple(ids) for ids, _ in last], source, codec)


def _outputs(
    ids: np.ndarray, lengths: np.ndarray, gains: np.ndarray, scores: np.ndarray, limit: int
) -> list[tuple[list[int], list[float]]]:
    """The hypotheses of a search that was cut at a limit, END a token where it came, with what each token added."""
    found = []
    for row in np.flatnonzero(np.isfinite(scores)):
        length = int(lengths[row])
        tokens = [*ids[row, :length].tolist(), *([END_ID] if length < limit else [])]
        found.append((tokens, gains[row, : len(tokens)].tolist()))
    return found


def _grown(
    prefixes: dict[tuple[int, ...], float], outputs: Sequence[tuple[int, ...]], source: Any, codec: Any
) -> BeamTree:
    """Put the prefixes together."""
    nodes = {(): BeamTree(kept=True, best=True)}
    for prefix in sorted(prefixes, key=len):
        kept = [output for output in outputs if output[: len(prefix)] == prefix]
        (piece,) = [ENDED] if prefix[-1] == END_ID else codec.target_pieces([prefix[-1]], source)
        name = piece if piece == ENDED else piece.removeprefix("▁") or "▁"
        nodes[prefix] = BeamTree(name, float(prefixes[prefix]), bool(kept), kept[:1] == [*outputs[:1]])
        nodes[prefix[:-1]].branches.append(nodes[prefix])
    for node in nodes.values():
        node.branches.sort(key=lambda branch: (not branch.best, -branch.log_probability))
    return nodes[()]


@in_style
def save_beam_tree(path: Place, tree: BeamTree, title: str = "") -> Place:
    """Draws the tree from left to right; the best output goes along the top, and what was given up is dashed.

    A line is the thicker the likelier the prefix; at the end of an output stands its probability.

    Args:
        path: Where the picture goes; its ending picks the format.
        tree: What `beam_tree` found.
        title: Stands above it, such as the source.

    Raises:
        UserError: The file cannot be written.
    """
    step = max(0.7, 0.3 + 0.1 * _widest(tree))
    figure = new_figure(1.6 + step * tree.depth, 1.0 + 0.32 * tree.leaves)
    axis = figure.subplots()
    axis.set_axis_off()
    axis.set_xlim(-0.2, tree.depth + 0.9)
    axis.set_ylim(tree.leaves - 0.4, -0.6)
    axis.set_title(plain(title), loc="left")
    _grow(axis, tree, 0, 0)
    return finish(figure, path)


def _widest(tree: BeamTree) -> int:
    return max([len(plain(tree.token)), *map(_widest, tree.branches)])


def _grow(axis: Axes, tree: BeamTree, depth: int, top: int) -> None:
    """Draws a node's branches below each other, each as high as it has leaves."""
    below = top
    for branch in tree.branches:
        colour, dash = (KEPT, "-") if branch.kept else (GIVEN_UP, (0, (3, 2)))
        width = 0.8 + 4.0 * math.exp(branch.log_probability)
        axis.plot([depth, depth + 0.35, depth + 1], [top, below, below], color=colour, linestyle=dash, linewidth=width)
        _name(axis, branch, depth + 1, below, colour)
        _grow(axis, branch, depth + 1, below)
        below += branch.leaves


def _name(axis: Axes, branch: BeamTree, depth: int, row: int, colour: str) -> None:
    if branch.token == ENDED:
        chance = f"{100 * math.exp(branch.log_probability):.2g} %"
        axis.text(depth + 0.06, row, chance, va="center", size=9, weight="bold" if branch.best else "normal")
        return
    box = {"boxstyle": "round,pad=0.2", "facecolor": colour, "edgecolor": "none"}
    axis.text(depth, row, plain(branch.token), ha="center", va="center", size=9, color="white", bbox=box)
    if not branch.branches:
        axis.plot([depth + 0.25], [row], marker="x", color=INK, markersize=4)
