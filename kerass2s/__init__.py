"""kerass2s: sequence-to-sequence models in Keras 3, from text pairs to an export that gives the same strings."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kerass2s import zoo
    from kerass2s.confidence import Calibration, RiskCoverage, expected_calibration_error, risk_coverage
    from kerass2s.data import (
        BucketByExamples,
        BucketByTokens,
        Pair,
        ShortFirst,
        pairs_of,
        read_pairs,
        read_parallel,
        split_pairs,
    )
    from kerass2s.decoding import (
        Banned,
        BeamSearch,
        Forced,
        GreedySearch,
        Hypothesis,
        Lexicon,
        MaxRatio,
        MinimumBayesRisk,
        MinLength,
        MinRatio,
        Monotonic,
        NoRepeatNgram,
        NoUnknown,
        Prefix,
        RepetitionPenalty,
        Rollout,
        SamplingSearch,
    )
    from kerass2s.ensemble import Ensemble
    from kerass2s.errors import UserError
    from kerass2s.presets import average_checkpoints, load_preset, push_preset
    from kerass2s.seq2seq import Seq2Seq
    from kerass2s.text import Sampling, SentencePieceTokenizer
    from kerass2s.training import (
        ConstantDecay,
        ExponentialDecay,
        ExposureBias,
        FreeRunning,
        FreeRunningValidation,
        InverseSigmoidDecay,
        LinearDecay,
        MinimumRisk,
        MultiStep,
        ScheduledSampling,
        TeacherForcing,
        TeacherForcingRatio,
        TokenCrossentropy,
        TruncatedBackPropagation,
        TwoPass,
        distill,
        gradient_norms,
    )

__version__ = "0.1.0"

# TensorFlow takes seconds to import, so each public name brings its room along only when it is first asked for.
_ROOMS = {
    "Banned": "decoding",
    "BeamSearch": "decoding",
    "BucketByExamples": "data",
    "BucketByTokens": "data",
    "Calibration": "confidence",
    "ConstantDecay": "training",
    "Ensemble": "ensemble",
    "ExponentialDecay": "training",
    "ExposureBias": "training",
    "Forced": "decoding",
    "FreeRunning": "training",
    "FreeRunningValidation": "training",
    "GreedySearch": "decoding",
    "Hypothesis": "decoding",
    "InverseSigmoidDecay": "training",
    "Lexicon": "decoding",
    "LinearDecay": "training",
    "MaxRatio": "decoding",
    "MinLength": "decoding",
    "MinRatio": "decoding",
    "MinimumBayesRisk": "decoding",
    "MinimumRisk": "training",
    "Monotonic": "decoding",
    "MultiStep": "training",
    "NoRepeatNgram": "decoding",
    "NoUnknown": "decoding",
    "Pair": "data",
    "Prefix": "decoding",
    "RepetitionPenalty": "decoding",
    "RiskCoverage": "confidence",
    "Rollout": "decoding",
    "Sampling": "text",
    "SamplingSearch": "decoding",
    "ScheduledSampling": "training",
    "SentencePieceTokenizer": "text",
    "Seq2Seq": "seq2seq",
    "ShortFirst": "data",
    "TeacherForcing": "training",
    "TeacherForcingRatio": "training",
    "TokenCrossentropy": "training",
    "TruncatedBackPropagation": "training",
    "TwoPass": "training",
    "UserError": "errors",
    "average_checkpoints": "presets",
    "distill": "training",
    "expected_calibration_error": "confidence",
    "gradient_norms": "training",
    "load_preset": "presets",
    "pairs_of": "data",
    "push_preset": "presets",
    "read_pairs": "data",
    "read_parallel": "data",
    "risk_coverage": "confidence",
    "split_pairs": "data",
}

__all__ = [
    "Banned",
    "BeamSearch",
    "BucketByExamples",
    "BucketByTokens",
    "Calibration",
    "ConstantDecay",
    "Ensemble",
    "ExponentialDecay",
    "ExposureBias",
    "Forced",
    "FreeRunning",
    "FreeRunningValidation",
    "GreedySearch",
    "Hypothesis",
    "InverseSigmoidDecay",
    "Lexicon",
    "LinearDecay",
    "MaxRatio",
    "MinLength",
    "MinRatio",
    "MinimumBayesRisk",
    "MinimumRisk",
    "Monotonic",
    "MultiStep",
    "NoRepeatNgram",
    "NoUnknown",
    "Pair",
    "Prefix",
    "RepetitionPenalty",
    "RiskCoverage",
    "Rollout",
    "Sampling",
    "SamplingSearch",
    "ScheduledSampling",
    "SentencePieceTokenizer",
    "Seq2Seq",
    "ShortFirst",
    "TeacherForcing",
    "TeacherForcingRatio",
    "TokenCrossentropy",
    "TruncatedBackPropagation",
    "TwoPass",
    "UserError",
    "average_checkpoints",
    "distill",
    "expected_calibration_error",
    "gradient_norms",
    "load_preset",
    "pairs_of",
    "push_preset",
    "read_pairs",
    "read_parallel",
    "risk_coverage",
    "split_pairs",
    "zoo",
]


def __getattr__(name: str) -> Any:
    if name == "zoo":
        return importlib.import_module("kerass2s.zoo")
    if name in _ROOMS:
        return getattr(importlib.import_module(f"kerass2s.{_ROOMS[name]}"), name)
    raise AttributeError(f"module 'kerass2s' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
