"""Metrics of produced texts against pairs with one or several accepted targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kerass2s.data import Pair
from kerass2s.errors import DataError


def evaluate_texts(hypotheses: Sequence[str], pairs: Sequence[Pair]) -> dict[str, Any]:
    """Compares each hypothesis with the accepted targets of its pair.

    Tokens are what white space separates. `sequence_accuracy` is the fraction of hypotheses whose tokens equal
    those of any accepted target, `word_error_rate` is what is missing to 1, and `token_error_rate` is the edit
    distance to the closest accepted target, summed and divided by the tokens of those targets (so it passes 1
    where a hypothesis is far longer than its target). `bleu` and `chrf` run from 0 to 100, with their signatures.

    Example: the hypothesis `"K AE1 T S"` for the target `"K AE1 T"` has one edit on three reference tokens, so
    `token_error_rate` is 1/3 and `sequence_accuracy` is 0.

    Args:
        hypotheses: The produced texts, in the order of `pairs`.
        pairs: What was asked, each with its target and its `alternatives`.

    Returns:
        `n`, `sequence_accuracy`, `word_error_rate`, `token_error_rate`, `bleu`, `chrf`, `bleu_signature` and
        `chrf_signature`.

    Raises:
        DataError: There is nothing to compare, or the counts differ.
    """
    check_counts(hypotheses, pairs)
    correct = edits = length = 0
    for hypothesis, pair in zip(hypotheses, pairs, strict=True):
        distance, size = closest(hypothesis, pair.targets)
        correct += distance == 0
        edits += distance
        length += size
    accuracy = correct / len(pairs)
    return {
        "n": len(pairs),
        "sequence_accuracy": accuracy,
        "word_error_rate": 1.0 - accuracy,
        "token_error_rate": edits / max(length, 1),
        **corpus_scores(hypotheses, pairs),
    }


def check_counts(hypotheses: Sequence[str], pairs: Sequence[Pair]) -> None:
    """Refuses, with a DataError, no pairs at all, or other than one hypothesis for each."""
    if len(hypotheses) != len(pairs):
        raise DataError(f"Each pair needs one hypothesis. Received: {len(hypotheses)} hypotheses, {len(pairs)} pairs")
    if not pairs:
        raise DataError("There is nothing to evaluate. Received: 0 pairs")


def are_right(hypotheses: Sequence[str], pairs: Sequence[Pair]) -> list[bool]:
    """Tells of each hypothesis whether its tokens equal those of any accepted target, as `sequence_accuracy` counts."""
    return [
        any(hypothesis.split() == target.split() for target in pair.targets)
        for hypothesis, pair in zip(hypotheses, pairs, strict=True)
    ]


def closest(hypothesis: str, targets: Sequence[str]) -> tuple[int, int]:
    """Returns the edits to the closest target and the tokens of that target; of equals the first."""
    from rapidfuzz.distance import Levenshtein

    tokens = hypothesis.split()
    references = [target.split() for target in targets]
    return min(((Levenshtein.distance(tokens, each), len(each)) for each in references), key=lambda pair: pair[0])


def corpus_scores(hypotheses: Sequence[str], pairs: Sequence[Pair]) -> dict[str, Any]:
    """Returns BLEU and chrF of sacrebleu with their signatures; pairs may differ in how many targets they accept."""
    from sacrebleu.metrics import BLEU, CHRF

    streams = reference_streams(pairs)
    scores: dict[str, Any] = {}
    for name, metric in (("bleu", BLEU()), ("chrf", CHRF())):
        scores[name] = float(metric.corpus_score(list(hypotheses), streams).score)
        scores[f"{name}_signature"] = str(metric.get_signature())
    return scores


def reference_streams(pairs: Sequence[Pair]) -> list[list[str | None]]:
    """Turns per-pair targets into sacrebleu's streams: stream k holds each pair's target k, or None."""
    count = max(len(pair.targets) for pair in pairs)
    return [[pair.targets[k] if k < len(pair.targets) else None for pair in pairs] for k in range(count)]
