"""Training: how the decoder is fed, what is minimised, what is measured, and validation by free running."""

from kerass2s.training.callbacks import FreeRunningValidation
from kerass2s.training.decay import ConstantDecay, Decay, ExponentialDecay, InverseSigmoidDecay, LinearDecay
from kerass2s.training.distillation import distill
from kerass2s.training.exposure import Exposure, ExposureBias, compare_outputs, measure_exposure
from kerass2s.training.feeding import Feeding, FreeRunning, ScheduledSampling, TeacherForcing, TeacherForcingRatio
from kerass2s.training.metrics import Perplexity, SequenceAccuracy, TokenAccuracy
from kerass2s.training.objectives import TokenCrossentropy

__all__ = [
    "ConstantDecay",
    "Decay",
    "ExponentialDecay",
    "Exposure",
    "ExposureBias",
    "Feeding",
    "FreeRunning",
    "FreeRunningValidation",
    "InverseSigmoidDecay",
    "LinearDecay",
    "Perplexity",
    "ScheduledSampling",
    "SequenceAccuracy",
    "TeacherForcing",
    "TeacherForcingRatio",
    "TokenAccuracy",
    "TokenCrossentropy",
    "compare_outputs",
    "distill",
    "measure_exposure",
]
