"""The TensorFlow Serving kit: SavedModels in versioned directories, the server's settings, a compose file, a README."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from typing import Any

import kerass2s
from kerass2s.deploy.folder import find_saved_model, fresh_folder, named
from kerass2s.deploy.requests import in_shell_quotes, setting_defaults, source_examples
from kerass2s.export.describe import raw_signature, read_saved_model_description

IMAGE = "tensorflow/serving:2.21.0"
"""The container that the compose file names: the version whose TensorFlow writes the SavedModels."""
GRPC_PORT, REST_PORT = 8500, 8501
KIT = "/kit"
"""Where the folder is inside the container."""


def write_tf_serving(exports: Sequence[str], out: str | os.PathLike[str], image: str = IMAGE) -> None:
    """Writes a folder that a TensorFlow Serving container takes as it is; it takes its name only when it is complete.

        models/NAME/1/             each SavedModel, with its warm-up requests
        models.config              the models' names and places
        batching_parameters.txt    how requests of several callers become one batch
        monitoring.config          metrics for Prometheus at /monitoring/prometheus/metrics
        compose.yaml               `docker compose up`
        README.md                  what each model answers to, with curl

    Batching is left out where a model predicts vectors: its horizon is one number for a whole request, and a server
    that batches refuses such requests.

    Args:
        exports: SavedModels or exported directories, `NAME=EXPORT` for another name; see `folder.named`.
        out: the folder, new or empty.
        image: the container's image.

    Raises:
        ConfigError: `out` holds something, or a name does not do.
        ExportError: an export is no SavedModel, or damaged.
    """
    models = named(exports, find_saved_model)
    described = {name: read_saved_model_description(path) for name, path in models.items()}
    batching = all(raw_signature(description) != "serving_default" for description in described.values())
    with fresh_folder(out) as folder:
        for name, path in models.items():
            shutil.copytree(path, folder / "models" / name / "1")
        files = {
            "models.config": models_config(models),
            "monitoring.config": MONITORING,
            "compose.yaml": compose(image, batching),
            "README.md": readme(described, batching),
            **({"batching_parameters.txt": BATCHING} if batching else {}),
        }
        for name, text in files.items():
            (folder / name).write_text(text, "utf-8")


# === Settings ===

BATCHING = """\
# How TensorFlow Serving joins requests into batches (BatchingParameters of its session_bundle_config.proto).
# Batch threads: as many as the server has cores, unless num_batch_threads { value: N } says otherwise.
max_batch_size { value: 64 }
# How long the first request of a batch waits for others; 0 where there are few callers.
batch_timeout_micros { value: 2000 }
# When so many full batches wait, the server answers UNAVAILABLE; the client then tries again.
max_enqueued_batches { value: 64 }
# Ids of different lengths in one batch are padded, with the first element of each tensor (tensorflow/serving#1279):
# not with 0. The models read as far as source_lengths says, so nothing else matters. Texts need no padding.
pad_variable_length_inputs: true
"""

MONITORING = """\
# Metrics for Prometheus, at http://HOST:8501/monitoring/prometheus/metrics
prometheus_config {
  enable: true
  path: "/monitoring/prometheus/metrics"
}
"""


def models_config(names: Iterable[str]) -> str:
    """Returns the text of models.config, a ModelServerConfig: all versions below `models/NAME`, the newest served."""
    models = "".join(MODEL.format(name=name, kit=KIT) for name in names)
    return f"model_config_list {{\n{models}}}\n"


MODEL = """\
  config {{
    name: "{name}"
    base_path: "{kit}/models/{name}"
    model_platform: "tensorflow"
  }}
"""


def compose(image: str, batching: bool) -> str:
    """Returns the text of compose.yaml: one server, or where it batches another one for requests with settings."""
    if not batching:
        return HEAD + _service("serving", image, 0, [])
    batched = ["--enable_batching=true", f"--batching_parameters_file={KIT}/batching_parameters.txt"]
    return HEAD + _service("serving", image, 0, batched) + UNBATCHED + _service("unbatched", image, 10, [])


HEAD = """\
# TensorFlow Serving over this folder: docker compose up
services:
"""
UNBATCHED = """\
  # The same models without batching, for the signatures with settings: docker compose --profile unbatched up
"""


def _service(name: str, image: str, offset: int, more: list[str]) -> str:
    """One service; `offset` moves the ports that the host shows."""
    options = [f"--model_config_file={KIT}/models.config", f"--monitoring_config_file={KIT}/monitoring.config", *more]
    lines = [
        f"  {name}:",
        f"    image: {image}",
        *(['    profiles: ["unbatched"]'] if offset else []),
        "    command:",
        *(f"      - {option}" for option in [*options, "--rest_api_timeout_in_ms=30000"]),
        "    ports:",
        f'      - "{GRPC_PORT + offset}:{GRPC_PORT}"  # gRPC',
        f'      - "{REST_PORT + offset}:{REST_PORT}"  # REST',
        "    volumes:",
        f"      - .:{KIT}:ro",
        "    restart: unless-stopped",
    ]
    return "\n".join(lines) + "\n"


# === README ===


def example_requests(description: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Returns the inputs of one request to each signature of a described SavedModel, ready for JSON."""
    examples, settings = source_examples(description), setting_defaults(description)
    if raw_signature(description) == "serving_default":
        return {"serving_default": {**examples["source"], **settings}}
    return {
        "serving_default": examples["request"],
        "n_best": examples["request"],
        "n_best_with_settings": {**examples["request"], **settings},
        "ids": examples["source"],
        "ids_with_settings": {**examples["source"], **settings},
    }


def readme(described: dict[str, dict[str, str]], batching: bool) -> str:
    """Returns the text of README.md: how to start the server, and a curl for each signature of each model."""
    sections = [README.format(version=kerass2s.__version__, grpc=GRPC_PORT, rest=REST_PORT)]
    if batching:
        sections.append(README_BATCHING.format(rest=REST_PORT + 10))
    sections += [_model_section(name, description, batching) for name, description in described.items()]
    return "\n".join(sections)


def _model_section(name: str, description: dict[str, str], batching: bool) -> str:
    lines = [f"## {name}", "", f"Architecture `{description['architecture']}`, search `{description['search']}`.", ""]
    for signature, inputs in example_requests(description).items():
        port = REST_PORT + 10 * (batching and signature.endswith("_with_settings"))
        body = in_shell_quotes({"signature_name": signature, "inputs": inputs})
        lines += [f"    curl -s http://localhost:{port}/v1/models/{name}:predict -d {body}", ""]
    return "\n".join(lines)


README = """\
# Models for TensorFlow Serving

Made by kerass2s {version}. Start a server over this folder:

    docker compose up

It answers gRPC at port {grpc} and REST at port {rest}; `curl http://localhost:{rest}/v1/models/NAME` says whether a
model is ready, and metrics are at /monitoring/prometheus/metrics. A newer version of a model goes to `models/NAME/2`:
the server finds it by itself and then leaves the older one. Write it beside this folder and move it in, so that the
server does not see half of it.

Every answer is `{{"outputs": ...}}`: `text` and `score` of the best output (`serving_default`) or of all of them
(`n_best`, a list for each source), or `target_ids`, `target_lengths`, `scores` and more (`ids`). A mistake is answered
by `{{"error": "..."}}` and a status of 400 or more. `source_ids` end with 3, shorter rows are padded with anything.
"""

README_BATCHING = """\
## Batching

The server joins requests of several callers into one batch (`batching_parameters.txt`). It refuses requests with a
number for the whole request, such as `max_length`, with "Batching Run() input tensors must have at least one
dimension". For those there is a second server without batching, at port {rest}:

    docker compose --profile unbatched up
"""
