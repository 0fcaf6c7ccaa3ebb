"""Training: how the decoder is fed, what is minimised, what is measured, and validation by free running."""

from kerass2s.training.callbacks import FreeRunningValidation
from kerass2s.training.checkpoints import Checkpoints, Interrupted
from kerass2s.training.decay import ConstantDecay, Decay, ExponentialDecay, InverseSigmoidDecay, LinearDecay
from kerass2s.training.distillation import distill
from kerass2s.training.exposure import Exposure, ExposureBias, compare_outputs, measure_exposure
from kerass2s.training.feeding import (
    Feeding,
    FreeRunning,
    MultiStep,
    ScheduledSampling,
    TeacherForcing,
    TeacherForcingRatio,
    TwoPass,
)
from kerass2s.training.finite import FiniteLoss
from kerass2s.training.gradients import GradientNorms, gradient_norms
from kerass2s.training.metrics import Perplexity, SequenceAccuracy, TokenAccuracy
from kerass2s.training.objectives import TokenCrossentropy
from kerass2s.training.risk import MinimumRisk, mismatch, token_error_rate
from kerass2s.training.standing import Standing
from kerass2s.training.truncation import TruncatedBackPropagation

__all__ = [
    "Checkpoints",
    "ConstantDecay",
    "Decay",
    "ExponentialDecay",
    "Exposure",
    "ExposureBias",
    "Feeding",
    "FiniteLoss",
    "FreeRunning",
    "FreeRunningValidation",
    "GradientNorms",
    "Interrupted",
    "InverseSigmoidDecay",
    "LinearDecay",
    "MinimumRisk",
    "MultiStep",
    "Perplexity",
    "ScheduledSampling",
    "SequenceAccuracy",
    "Standing",
    "TeacherForcing",
    "TeacherForcingRatio",
    "TokenAccuracy",
    "TokenCrossentropy",
    "TruncatedBackPropagation",
    "TwoPass",
    "compare_outputs",
    "distill",
    "gradient_norms",
    "measure_exposure",
    "mismatch",
    "token_error_rate",
]
