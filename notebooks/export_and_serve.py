# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Export and serve
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/kerass2s/kerass2s/blob/main/notebooks/export_and_serve.ipynb)
#
# A trained model leaves Python as two things: a **SavedModel**, from text to text, for TensorFlow and TensorFlow Serving, and an **ONNX
# file**, for everything else. The search and the tokenizers go along, so all of them give the same strings. Here each is run, by
# programs that know nothing of kerass2s.
#
# It runs on two CPU cores in about two minutes. The model is `dates`, which comes with the package: dates as people write them,
# to ISO 8601.
# %%
import importlib.util
import os
import subprocess
import sys

if importlib.util.find_spec("kerass2s") is None:  # in Colab, say
    package = "kerass2s[data,onnx,plots] @ git+https://github.com/kerass2s/kerass2s"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", package], check=True)

# KERASS2S_QUICK=1 runs every cell on next to nothing, for tests; its figures mean nothing.
QUICK = os.environ.get("KERASS2S_QUICK") == "1"

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # TensorFlow's own remarks are no part of this

# %%
import base64
import http.server
import json
import shutil
import threading
import zlib
from pathlib import Path

import numpy as np
import onnxruntime
import sentencepiece
import tensorflow as tf
import tensorflow_text  # noqa: F401  (it brings the operators of the tokenizers)

import kerass2s
from kerass2s import plots
from kerass2s.deploy.client import RestTransport, ServingClient

texts = ["Wednesday, July 4, 2001", "7. März 1999", "4 de julho de 2026"]
out = Path(kerass2s.__file__).parents[1] / "exported" / "dates" if QUICK else Path("dates")
if not QUICK:
    model = kerass2s.Seq2Seq.from_preset("dates")
    search = kerass2s.BeamSearch(width=4)
    model.export(out / "saved_model" / "1", format="tf_saved_model", search=search)
    model.export(out / "model.onnx", format="onnx", search=search)
    print(model.generate(texts, search=search))

# %% [markdown]
# An export holds one search: here beams of 4. `kerass2s verify` reloads it in a fresh process and compares it with the live model on
# many inputs, odd ones too.

# %%
if not QUICK:
    from kerass2s.export import verify

    print(verify(out / "model.onnx", against="dates"))

# %% [markdown]
# ## The SavedModel, in TensorFlow
#
# Strings in, strings out: `serving_default` gives the best output and its score (a log-probability), `n_best` all of them. There are
# signatures for ids, too.

# %%
loaded = tf.saved_model.load(str(out / "saved_model" / "1"))
print("signatures:", *sorted(loaded.signatures))
best = loaded.signatures["serving_default"](text=tf.constant(texts))
for text, said, score in zip(texts, best["text"].numpy(), best["score"].numpy(), strict=True):
    print(f"{text:26} {said.decode()}  {score:.4f}")

# %% [markdown]
# ## TensorFlow Serving: requests and answers
#
# The directory `saved_model/1` is what TensorFlow Serving loads; `kerass2s deploy tf-serving` writes the folder with its container,
# batching and metrics. The server is a binary of its own and not part of this notebook, so for these few cells a stand-in answers
# at its address: thirty lines that take the server's JSON and run the signature. The client is the real one.


# %%
class StandIn(http.server.BaseHTTPRequestHandler):
    """Answers POST /v1/models/NAME:predict as TensorFlow Serving's REST interface does, and prints what was said."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        asked = json.loads(body)
        signature = loaded.signatures[asked.get("signature_name", "serving_default")]
        specs = signature.structured_input_signature[1]
        given = {name: tf.constant(value, specs[name].dtype) for name, value in asked["inputs"].items()}
        found = {name: value.numpy().tolist() for name, value in signature(**given).items()}
        answer = json.dumps({"outputs": found}, default=bytes.decode)
        print(f"POST {self.path}\n  {body}\n  {answer}")
        self.send_response(200)
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, *ignored):
        """The requests are printed above."""


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), StandIn)
threading.Thread(target=server.serve_forever, daemon=True).start()

with ServingClient(RestTransport(f"http://127.0.0.1:{server.server_port}"), "dates") as client:
    said = client.generate(texts)
    hypotheses = client.n_best(texts[:1])
print(said)
assert said == [text.decode() for text in best["text"].numpy()]
server.shutdown()
server.server_close()

# %% [markdown]
# With a server of your own the address is `http://HOST:8501`, or `GrpcTransport("HOST:8500")` for gRPC. Busy servers and broken
# connections are tried again, refusals are not. Any other client will do:
#
#     curl -s http://localhost:8501/v1/models/dates:predict -d '{"inputs": {"text": ["7. März 1999"]}}'

# %% [markdown]
# ## The ONNX file, in Python
#
# It takes ids and gives ids, by standard operators alone, and the whole search is inside. All that a host must know is in the
# file's metadata: both tokenizers, the special ids, the search. So this needs `onnxruntime` and `sentencepiece`, and nothing
# else.

# %%
options = onnxruntime.SessionOptions()
options.log_severity_level = 3
session = onnxruntime.InferenceSession(out / "model.onnx", options)
about = session.get_modelmeta().custom_metadata_map
print(f"{(out / 'model.onnx').stat().st_size / 1e6:.1f} MB;", about["search"])

source, target = (
    sentencepiece.SentencePieceProcessor(model_proto=zlib.decompress(base64.b64decode(about[key])))
    for key in ("source_sentencepiece", "target_sentencepiece")
)
rows = [[*source.encode(text), int(about["end_id"])] for text in texts]
ids = np.zeros([len(rows), max(map(len, rows))], np.int32)  # padding is 0
for row, into in zip(rows, ids, strict=True):
    into[: len(row)] = row
asked = {"source_ids": ids, "source_lengths": np.array([len(row) for row in rows], np.int32)}

names = [output.name for output in session.get_outputs()]
answer = dict(zip(names, session.run(names, asked), strict=True))
first = zip(answer["target_ids"][:, 0].tolist(), answer["target_lengths"][:, 0].tolist(), strict=True)
spelled = target.decode([found[:length] for found, length in first])
print(spelled)
assert spelled == said

# %% [markdown]
# The file gives more than ids: the scores of all hypotheses, and what each output token looked at.

# %%
maps = []
for row, (text, best_text) in enumerate(zip(texts[:2], spelled, strict=False)):
    pieces = [*source.encode(text, out_type=str), "(end)"]
    weights = answer["alignments"][row, 0, : len(best_text), : len(pieces)]
    maps.append(plots.AttentionMap(pieces, list(best_text), weights))
plots.show(plots.save_attention("export_attention.png", maps))

# %% [markdown]
# ## The same file, in JavaScript
#
# `model.mjs` is one module without dependencies, for Node and browsers. It reads the metadata from the file's bytes, and cuts text
# as SentencePiece does.

# %%
PROGRAM = """
import { readFileSync } from "node:fs";
import * as ort from "onnxruntime-node";
import { Model } from "./model.mjs";

const bytes = readFileSync(process.argv[2]);
const model = await Model.read(bytes);
const session = await ort.InferenceSession.create(bytes, { logSeverityLevel: 3 });
for (const [best] of await model.ask(ort, session, process.argv.slice(3))) console.log(best.text);
"""
Path("ask.mjs").write_text(PROGRAM.lstrip())
shutil.copy(Path(kerass2s.__file__).parent / "deploy" / "web" / "model.mjs", "model.mjs")

if shutil.which("npm") and not QUICK:
    subprocess.run(["npm", "install", "--ignore-scripts", "--silent", "onnxruntime-node"], check=True)
    command = ["node", "ask.mjs", str(out / "model.onnx"), *texts]
    answered = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    print(answered)
    assert answered == said
else:
    print("npm install --ignore-scripts onnxruntime-node; node ask.mjs", out / "model.onnx", repr(texts[0]))

# %% [markdown]
# In a page it is the same with `onnxruntime-web`, and `kerass2s deploy web` writes such a page, whole: see
# [from zero to a browser](pronunciations_from_zero_to_a_browser.ipynb).
#
# | what | made by | runs in |
# | --- | --- | --- |
# | SavedModel, text to text | `kerass2s export MODEL DIR --format saved_model` | TensorFlow, TensorFlow Serving, C |
# | ONNX, ids to ids | `--format onnx`, with `--precision int8` a quarter as large | ONNX Runtime in many languages, OpenVINO, Triton, browsers |
# | ONNX, text to text | `--format text_onnx` | ONNX Runtime with onnxruntime-extensions |
#
# [docs/exports.md](../docs/exports.md) has what each takes and gives, [docs/runtimes.md](../docs/runtimes.md) a short program for each
# runtime, and [docs/deploying.md](../docs/deploying.md) the servers.
