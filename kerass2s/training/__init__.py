"""Training: how the decoder is fed, what is minimised, what is measured, and validation by free running."""

from kerass2s.training.callbacks import FreeRunningValidation
from kerass2s.training.feeding import TeacherForcing
from kerass2s.training.metrics import Perplexity, SequenceAccuracy, TokenAccuracy
from kerass2s.training.objectives import TokenCrossentropy

__all__ = [
    "FreeRunningValidation",
    "Perplexity",
    "SequenceAccuracy",
    "TeacherForcing",
    "TokenAccuracy",
    "TokenCrossentropy",
]
