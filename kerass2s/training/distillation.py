"""Distillation: pairs whose targets are what a teacher says, for a smaller model to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kerass2s.data import Pair

__all__ = ["distill"]


def distill(teacher: Any, sources: Sequence[str], search: Any = None, batch_size: int = 64) -> list[Pair]:
    """Return each source with the output that the teacher finds for it, in order.

    This is sequence-level knowledge distillation, "Sequence-Level Knowledge Distillation", arXiv:1606.07947, section
    3.2: the teacher's distribution over sequences is replaced by its mode, which beam search seeks, and the student is
    then trained on these pairs as on any others. An empty output is kept: it is what the teacher says.

    Example: `student.fit(distill(teacher, [pair.source for pair in pairs], BeamSearch(5)), epochs=10)`.

    Args:
        teacher: what has `generate`: a `Seq2Seq`, an export's predictor, or any ensemble that offers the same.
        sources: the texts to ask about; they need no targets.
        search: how the teacher decodes; None for its own way, which is the only one that an export has.
        batch_size: sources decoded at once.
    """
    options = {} if search is None else {"search": search}
    outputs = teacher.generate(sources, batch_size=batch_size, **options)
    return [Pair(source, output) for source, output in zip(sources, outputs, strict=True)]
