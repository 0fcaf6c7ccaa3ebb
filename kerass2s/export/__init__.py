"""Exports: a model and its search as a SavedModel or an ONNX file, reloaded, compared and described."""

from kerass2s.export.describe import describe
from kerass2s.export.manifest import check_manifest, write_manifest
from kerass2s.export.onnx import export_onnx
from kerass2s.export.predictor import Predictor, load_predictor
from kerass2s.export.saved_model import export_saved_model
from kerass2s.export.steps import export_onnx_steps
from kerass2s.export.text_onnx import export_text_onnx, write_text_onnx
from kerass2s.export.verify import VerifyReport, verify

__all__ = [
    "Predictor",
    "VerifyReport",
    "check_manifest",
    "describe",
    "export_onnx",
    "export_onnx_steps",
    "export_saved_model",
    "export_text_onnx",
    "load_predictor",
    "verify",
    "write_manifest",
    "write_text_onnx",
]
