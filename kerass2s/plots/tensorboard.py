"""A callback that puts pictures of a training into TensorBoard, beside the figures that Keras' own callback writes."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras

from kerass2s.analysis import outcomes
from kerass2s.data import Pair
from kerass2s.decoding import BeamSearch, Hypothesis
from kerass2s.errors import UserError
from kerass2s.plots.attention import attention_map, save_attention
from kerass2s.plots.beams import beam_tree, save_beam_tree
from kerass2s.plots.canvas import Place, check_picture
from kerass2s.plots.errors import save_errors
from kerass2s.plots.training import save_training

__all__ = ["TensorBoardPictures"]

MAPS = 6
DEEPEST = 24
"""Tokens of the beam tree: of a longer one nobody reads anything."""


class TensorBoardPictures(keras.callbacks.Callback):
    """After every so many epochs, draws what the model does with `pairs`, for the Images tab of TensorBoard.

    There are the curves, the errors, attention to the first few sources (where the model has attention), and the beam
    tree of the first. Put it after `FreeRunningValidation`, so that the curves have its figures.

    Args:
        log_dir: where events go: into `log_dir/pictures`; Keras' `TensorBoard` may write to the same `log_dir`.
        pairs: what to decode; a few hundred are enough.
        every: how many epochs lie between two pictures.
        search: how to decode; None for 4 beams.

    Raises:
        UserError: matplotlib or TensorBoard is not installed.
    """

    def __init__(self, log_dir: Any, pairs: Sequence[Pair], every: int = 1, search: BeamSearch | None = None) -> None:
        super().__init__()
        check_picture(io.BytesIO())
        if find_spec("tensorboard") is None:
            raise UserError(
                "Pictures in TensorBoard need: pip install 'kerass2s[tensorboard]'. Received: no tensorboard"
            )
        self.log_dir = Path(log_dir) / "pictures"
        self.pairs = [Pair(*pair) for pair in pairs]
        self.every = every
        self.search = search or BeamSearch(4)
        self._history: list[dict[str, float]] = []
        self._writer: Any = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Open the file of events."""
        import tensorflow as tf

        self._writer = tf.summary.create_file_writer(str(self.log_dir))

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Close it."""
        self._writer.close()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Draw and write."""
        self._history.append({"epoch": epoch, **{key: float(value) for key, value in (logs or {}).items()}})
        if (epoch + 1) % self.every:
            return
        best = [found[0] for found in self.model.n_best([pair.source for pair in self.pairs], self.search)]
        self._write("training", epoch, lambda place: save_training(place, self._history))
        self._write("errors", epoch, lambda place: self._errors(place, best))
        if best[0].alignment is not None:
            self._write("attention", epoch, lambda place: self._attention(place, best))
        first, short = self.pairs[0].source, replace(self.search, max_length=min(DEEPEST, self.search.max_length))
        tree = beam_tree(self.model, first, short)
        self._write("beams", epoch, lambda place: save_beam_tree(place, tree, str(first)))

    def _errors(self, place: Place, best: Sequence[Hypothesis]) -> None:
        found = outcomes([each.text for each in best], self.pairs, [sum(each.token_scores) for each in best])
        save_errors(place, {"validation": found}, self.model.source_tokenizer)

    def _attention(self, place: Place, best: Sequence[Hypothesis]) -> None:
        shown = zip(self.pairs[:MAPS], best, strict=False)
        save_attention(place, [attention_map(pair.source, each, self.model.codec) for pair, each in shown])

    def _write(self, name: str, epoch: int, draw: Callable[[Place], Any]) -> None:
        import tensorflow as tf

        file = io.BytesIO()
        draw(file)
        with self._writer.as_default():
            tf.summary.image(name, tf.io.decode_png(file.getvalue(), 4)[None], step=epoch)
        self._writer.flush()
