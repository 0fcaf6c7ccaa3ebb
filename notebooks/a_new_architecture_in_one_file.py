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
# # A new architecture is one file
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/kerass2s/kerass2s/blob/main/notebooks/a_new_architecture_in_one_file.ipynb)
#
# Every file of `kerass2s/zoo/` is one architecture. Nothing else knows it: training, every search, every export, the command line and
# the shared tests find it by its file's name. Here you write one that the zoo does not have, train it, search with it, export it,
# and run the zoo's own tests on it.
#
# Gehring and others (2017) put a *convolutional* encoder, which reads all positions at once, before a *recurrent* decoder with
# attention. The zoo has the parts: `convs2s2017` has such an encoder, `luong2015` such a decoder.
#
# It runs on two CPU cores in about two minutes.
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
EPOCHS = 1 if QUICK else 8

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # TensorFlow's own remarks are no part of this

# %%
import itertools
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import kerass2s
from kerass2s import plots, zoo

# %% [markdown]
# ## The file
#
# `CITATION` says where it is from. `Config` has the settings, checked by their types. `PRESETS` has named sizes; "tiny" is what the
# shared tests build. And `build` returns an encoder and a decoder.

# %%
FILE = '''"""conv_encoder2017: a convolutional encoder before a recurrent decoder with attention.

Use it where sources are long and dependencies mostly local: the encoder reads all positions at once.
"""

from dataclasses import dataclass

import keras

from kerass2s.attention import SCORES
from kerass2s.codec import TextCodec
from kerass2s.decoders import PostAttentionDecoder
from kerass2s.elements import Tokens
from kerass2s.encoders import ConvolutionalEncoder

CITATION = (
    "After Jonas Gehring, Michael Auli, David Grangier and Yann N. Dauphin (2017). A Convolutional Encoder Model for "
    "Neural Machine Translation. ACL. arXiv:1611.02344. The encoder is that of convs2s2017, the decoder luong2015's."
)


@dataclass(frozen=True)
class Config:
    """Sizes; the default trains on 2 cores."""

    embedding_size: int = 64
    units: int = 128
    encoder_layers: int = 3
    kernel_size: int = 3
    max_positions: int = 256
    dropout: float = 0.1


PRESETS = {"tiny": Config(embedding_size=8, units=12, encoder_layers=2, max_positions=16)}


def build(config: Config, codec: TextCodec) -> tuple[ConvolutionalEncoder, PostAttentionDecoder]:
    """Build encoder and decoder."""
    encoder = ConvolutionalEncoder(
        Tokens(codec.source_size, config.embedding_size),
        units=config.units,
        layers=config.encoder_layers,
        kernel_size=config.kernel_size,
        max_positions=config.max_positions,
        dropout=config.dropout,
    )
    summary_size, memory_size = (encoder.output[name].shape[-1] for name in ("summary", "memory"))
    decoder = PostAttentionDecoder(
        Tokens(codec.target_size, config.embedding_size),
        summary_size,
        memory_size,
        SCORES["general"](config.units),
        keras.layers.Dense(config.units, "tanh", name="combine"),
        cell="lstm",
        units=config.units,
        dropout=config.dropout,
    )
    return encoder, decoder
'''
place = Path("my_zoo").resolve()
place.mkdir(exist_ok=True)
(place / "conv_encoder2017.py").write_text(FILE)

# %% [markdown]
# In a checkout the file goes into `kerass2s/zoo/`. Outside one, the zoo looks into further directories, too:

# %%
zoo.__path__.append(str(place))
print(*zoo.names())

# %% [markdown]
# ## Train it and search with it
#
# Letters in, the same letters backwards out: a toy task that shows within a minute whether anything is broken.

# %%
words = ["".join(letters) for n in range(1, 4 if QUICK else 6) for letters in itertools.product("abcd", repeat=n)]
pairs = kerass2s.split_pairs([kerass2s.Pair(word, word[::-1]) for word in words], dev=0.0, test=0.2)
tokenizer = kerass2s.SentencePieceTokenizer.train(["abcd"], kind="char")

keras.utils.set_random_seed(1)
model = zoo.build(
    "conv_encoder2017", source_tokenizer=tokenizer, target_tokenizer=tokenizer, units=64, embedding_size=32, dropout=0.0
)
model.compile(keras.optimizers.Adam(0.005, clipnorm=1.0), loss=kerass2s.TokenCrossentropy(label_smoothing=0.1))
model.fit(pairs["train"], epochs=EPOCHS, batching=kerass2s.BucketByExamples(32), verbose=0)

sources, targets = zip(*(pair[:2] for pair in pairs["test"]), strict=True)
for search in [kerass2s.GreedySearch()] if QUICK else [kerass2s.GreedySearch(), kerass2s.BeamSearch(width=3)]:
    right = np.mean([said == target for said, target in zip(model.generate(sources, search), targets, strict=True)])
    print(f"{type(search).__name__:13} {right:.1%} of {len(sources)} unseen words right")

# %%
answers = [one[0] for one in model.n_best(["abcd", "ddcab"])]
maps = [plots.attention_map(word, one, model.codec) for word, one in zip(["abcd", "ddcab"], answers, strict=True)]
plots.show(plots.save_attention("architecture_attention.png", maps))

# %% [markdown]
# ## What every architecture promises
#
# Three promises hold the zoo together, and a few lines check each. **Step by step equals the whole sequence**: the search runs what
# was trained.

# %%
inputs, labels, _ = next(iter(model.codec.batches(pairs["test"], kerass2s.BucketByExamples(16), None)))
start = model.decoder.begin(model.encoder({"source_ids": inputs["source_ids"]}))
state, steps = start.state, []
for t in range(labels.shape[1]):
    made = model.decoder.step(inputs["target_ids"][:, t], state, start.memory)
    state = made.state
    steps.append(made.prediction)
difference = np.abs(np.stack(steps, axis=1) - model(inputs)).max()
print(f"largest difference of a logit: {difference:.0e}")
assert difference < 1e-4

# %% [markdown]
# **More padding changes nothing.**

# %%
padded = {**inputs, "source_ids": tf.pad(inputs["source_ids"], [[0, 0], [0, 5]])}
difference = np.abs(model(padded) - model(inputs)).max()
print(f"with five more columns of padding: {difference:.0e}")
assert difference < 1e-4

# %% [markdown]
# **The gradient of the answers reaches every weight of the encoder**: both halves are trained jointly.

# %%
with tf.GradientTape() as tape:
    loss = model.compute_loss(inputs, labels, model(inputs))
gradients = tape.gradient(loss, model.encoder.trainable_variables)
assert all(gradient is not None for gradient in gradients)
print(len(gradients), "weights of the encoder, all reached")

# %% [markdown]
# ## Export it
#
# The same call as for every model, and the whole search is in the file.

# %%
model.save_to_preset("backwards")
assert kerass2s.Seq2Seq.from_preset("backwards").generate(["dcba"]) == model.generate(["dcba"])
if not QUICK:
    from kerass2s.export import load_predictor

    beams = kerass2s.BeamSearch(width=3)
    model.export("backwards.onnx", format="onnx", search=beams)
    same = load_predictor("backwards.onnx").generate(sources) == model.generate(sources, beams)
    print("the ONNX file gives the same strings:", same)
    assert same

# %% [markdown]
# ## The shared tests
#
# In a checkout the zoo's own tests take the new member by its name: steps against sequence under several batches, padding, gradients,
# presets; a toy task that it must learn, and every export in every runtime, which take longer and are left out here. A plugin of
# one line tells them where the file lies; in `kerass2s/zoo/` it needs none.

# %%
checkout = Path(kerass2s.__file__).parents[1]
if (checkout / "tests").is_dir() and not QUICK:
    Path("my_plugin.py").write_text(f"from kerass2s import zoo\n\nzoo.__path__.append({str(place)!r})\n")
    tests = [str(checkout / "tests" / name) for name in ("models/test_decoders.py", "models/test_seq2seq.py")]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "my_plugin", "-k", "conv_encoder2017", "--color=no"]
    paths = os.pathsep.join([os.getcwd(), str(checkout)])
    environment = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", *tests], capture_output=True, text=True, env=environment, cwd=checkout
    )
    print(done.stdout.splitlines()[-1])
    assert done.returncode == 0, done.stdout

# %% [markdown]
# What is left for a real member: a line in the page of the zoo (`docs/make_zoo.py` draws it), the sizes of the paper as the preset
# `paper`, and its figures. [CONTRIBUTING.md](../CONTRIBUTING.md) says how.
