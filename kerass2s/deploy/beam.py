"""A folder for Apache Beam: a text-to-text ONNX file with a pipeline that answers every line of a corpus by it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import kerass2s
from kerass2s.deploy.folder import fresh_folder
from kerass2s.errors import ExportError, UserError
from kerass2s.export.describe import read_onnx

PIPELINE = Path(__file__).with_name("beam_pipeline.py")
REQUIREMENTS = ("apache-beam==2.77.0", "numpy==2.4.6", "onnxruntime==1.31.1", "onnxruntime-extensions==0.15.2")
"""What the pipeline was tried with."""


def write_beam(export: str | os.PathLike[str], out: str | os.PathLike[str]) -> None:
    """Writes a folder that a corpus is answered by; it takes its name only when it is complete.

        pipeline.py         the pipeline, see `beam_pipeline.py`
        requirements.txt    what to install beside Python
        model.onnx          the file, as it is
        README.md           how to run it

    Args:
        export: an ONNX file from text to text, or an exported directory with a `model.text.onnx`.
        out: the folder, new or empty.

    Raises:
        ConfigError: `out` holds something.
        UserError: there is nothing at the path.
        ExportError: it is no ONNX file of kerass2s, damaged, or not from text to text.
    """
    model = Path(export, "model.text.onnx") if Path(export).is_dir() else Path(export)
    if not model.is_file():
        raise UserError(f"No such export. Received: {str(model)!r}")
    description = read_onnx(model)[1]
    if "text" not in json.loads(description["inputs"]):
        raise ExportError(
            f"A corpus is answered from text to text, by a file of --format text_onnx. Received: {str(model)!r}"
        )
    with fresh_folder(out) as folder:
        shutil.copyfile(model, folder / "model.onnx")
        shutil.copyfile(PIPELINE, folder / "pipeline.py")
        (folder / "requirements.txt").write_text("".join(f"{each}\n" for each in REQUIREMENTS), "utf-8")
        (folder / "README.md").write_text(README.format(version=kerass2s.__version__, **description), "utf-8")


README = """\
# A model over a corpus

Made by kerass2s {version}: architecture `{architecture}`, search `{search}`. In an environment of its own, since Apache
Beam wants other versions than TensorFlow does:

    python -m venv venv && venv/bin/pip install -r requirements.txt
    venv/bin/python pipeline.py --input 'corpus/*.txt' --output answers --runner FnApiRunner \\
        --direct_running_mode multi_processing --direct_num_workers 4
    cat answers/part-* > answers.txt

`answers.txt` has a line for each line of the corpus, in its order. Where a run was cut short, the same command makes
the parts that are missing. `--direct_num_workers` is the processes, one for each core. Other runners take their own
options (`--runner FlinkRunner`, `SparkRunner`, `DataflowRunner`); the corpus, `--output` and `--model` must then be
where their machines see them, and these packages be installed there.
"""
