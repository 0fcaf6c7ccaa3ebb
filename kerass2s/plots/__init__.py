"""Pictures for reports, pages and TensorBoard, drawn by matplotlib; they read on light and on dark ground."""

from __future__ import annotations

from kerass2s.plots.attention import AttentionMap, attention_map, save_attention
from kerass2s.plots.beams import BeamTree, beam_tree, save_beam_tree
from kerass2s.plots.canvas import check_picture, show
from kerass2s.plots.confidence import save_calibration, save_risk_coverage
from kerass2s.plots.errors import save_errors
from kerass2s.plots.tensorboard import TensorBoardPictures
from kerass2s.plots.training import save_exposure, save_gradients, save_losses, save_training

__all__ = [
    "AttentionMap",
    "BeamTree",
    "TensorBoardPictures",
    "attention_map",
    "beam_tree",
    "check_picture",
    "save_attention",
    "save_beam_tree",
    "save_calibration",
    "save_errors",
    "save_exposure",
    "save_gradients",
    "save_losses",
    "save_risk_coverage",
    "save_training",
    "show",
]
