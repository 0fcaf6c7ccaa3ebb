"""An MLServer folder: an ONNX file with a runtime of its own, texts in and texts out by the V2 protocol."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import kerass2s
from kerass2s.codec import CopyCodec
from kerass2s.deploy.folder import find_onnx, fresh_folder, named
from kerass2s.deploy.requests import V2_TYPES, in_shell_quotes, v2_requests
from kerass2s.export.describe import described_codec, described_search, read_onnx

RUNTIME = Path(__file__).with_name("mlserver_runtime.py")
REQUIREMENTS = ("mlserver==1.7.1", "numpy==2.4.6", "onnxruntime==1.31.1", "sentencepiece==0.2.3")
"""What the runtime was tried with."""
SETTINGS = {"debug": False, "http_port": 8080, "grpc_port": 8081, "metrics_port": 8082, "parallel_workers": 0}
"""One process: ONNX Runtime has threads of its own."""


def write_mlserver(exports: Sequence[str], out: str | os.PathLike[str]) -> None:
    """Writes a folder that MLServer is started over; it takes its name only when it is complete.

        settings.json                    ports, one process
        requirements.txt                 what to install beside Python
        models/NAME/model-settings.json  the model's name, inputs and outputs
        models/NAME/runtime.py           the runtime, see `mlserver_runtime.py`
        models/NAME/model.onnx           the file, as it is
        README.md                        how to start the server, and a request with curl

    Args:
        exports: ONNX files or exported directories, `NAME=EXPORT` for another name; see `folder.named`.
        out: the folder, new or empty.

    Raises:
        ConfigError: `out` holds something, or a name does not do.
        ExportError: an export is no ONNX file of kerass2s, or damaged.
    """
    models = named(exports, find_onnx)
    described = {name: read_onnx(path)[1] for name, path in models.items()}
    with fresh_folder(out) as folder:
        for name, path in models.items():
            place = folder / "models" / name
            place.mkdir(parents=True)
            shutil.copyfile(path, place / "model.onnx")
            shutil.copyfile(RUNTIME, place / "runtime.py")
            _write_json(place / "model-settings.json", model_settings(name, described[name]))
        _write_json(folder / "settings.json", SETTINGS)
        (folder / "requirements.txt").write_text("".join(f"{each}\n" for each in REQUIREMENTS), "utf-8")
        (folder / "README.md").write_text(readme(described), "utf-8")


def speaks_text(description: dict[str, str]) -> bool:
    """Tells whether the runtime takes and gives texts, not ids alone: it spells nothing that was copied."""
    codec = described_codec(description)
    copies = isinstance(codec, CopyCodec) or getattr(described_search(description), "copy_unknown", False)
    return "text" in codec.request_spec and not copies


def model_settings(name: str, description: dict[str, str]) -> dict[str, Any]:
    """Returns what model-settings.json says: the runtime, the file, and the tensors of the file."""
    return {
        "name": name,
        "implementation": "runtime.KerasS2S",
        "platform": "onnxruntime",
        "parameters": {
            "uri": "./model.onnx",
            "version": "1",
            "extra": {"text": speaks_text(description)},
        },
        "inputs": _tensors(json.loads(description["inputs"])),
        "outputs": _tensors(json.loads(description["outputs"])),
    }


def _tensors(described: dict[str, Any]) -> list[dict[str, Any]]:
    """Tensors by the V2 protocol, -1 for a size that a request chooses; a number without dimensions is [1]."""
    return [
        {
            "name": name,
            "datatype": V2_TYPES[of["dtype"]],
            "shape": [size if isinstance(size, int) else -1 for size in of["shape"]] or [1],
        }
        for name, of in described.items()
    ]


def readme(described: dict[str, dict[str, str]]) -> str:
    """Returns the text of README.md."""
    sections = [README.format(version=kerass2s.__version__)]
    for name, description in described.items():
        sections.append(
            f"## {name}\n\nArchitecture `{description['architecture']}`, search `{description['search']}`.\n"
        )
        requests = v2_requests(description)
        for kind in ("request", "source") if speaks_text(description) else ("source",):
            sections.append(
                f"    curl -s http://localhost:8080/v2/models/{name}/infer -H 'Content-Type: application/json' "
                f"-d {in_shell_quotes(requests[kind])}\n"
            )
    return "\n".join(sections)


README = """\
# Models for MLServer

Made by kerass2s {version}. In an environment of its own, since MLServer wants other versions than TensorFlow does:

    python -m venv venv && venv/bin/pip install -r requirements.txt
    venv/bin/mlserver start .

It answers REST at port 8080 and gRPC at port 8081, both by the V2 protocol. A request has the input `text`, where the
model reads and writes texts, or the inputs of the ONNX file. `max_length` and the like may be added to both, with the
shape [1].
"""


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", "utf-8")
