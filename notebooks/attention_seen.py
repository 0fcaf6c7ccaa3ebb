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
# # Attention, seen
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/kerass2s/kerass2s/blob/main/notebooks/attention_seen.ipynb)
#
# A decoder with attention looks at the source anew for every token that it says. Here you see where it looks: in a
# pronunciation, in a translation, and in dates whose parts change places. Then the same task without attention, by length.
#
# It runs on two CPU cores in about three minutes; the first three parts use trained models that come with the package.
# %%
import importlib.util
import os
import subprocess
import sys

if importlib.util.find_spec("kerass2s") is None:  # in Colab, say
    package = "kerass2s[data,plots] @ git+https://github.com/kerass2s/kerass2s"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", package], check=True)

# KERASS2S_QUICK=1 runs every cell on next to nothing, for tests; its figures mean nothing.
QUICK = os.environ.get("KERASS2S_QUICK") == "1"
WORDS, EPOCHS, DEV_WORDS = (32, 1, 8) if QUICK else (8_000, 6, 1_000)

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # TensorFlow's own remarks are no part of this

# %%
import hashlib

import keras

import kerass2s
from kerass2s import analysis, cmudict, plots


def look(model, sources, picture):
    """Draws what a model looks at while it answers."""
    answers = [one[0] for one in model.n_best(sources)]
    maps = [plots.attention_map(source, one, model.codec) for source, one in zip(sources, answers, strict=True)]
    plots.show(plots.save_attention(picture, maps, columns=2))
    return answers


# %% [markdown]
# ## A pronunciation
#
# `g2p_en` turns English words into phones. A row is a phone that it says, a column a letter that it reads, and the brighter a
# cell, the more of the weight lies there; each row sums to 1.

# %%
pronouncer = kerass2s.Seq2Seq.from_preset("g2p_en")
words = ["knight", "daughter"] if QUICK else ["knight", "daughter", "chocolate", "photograph"]
for word, answer in zip(words, look(pronouncer, words, "attention_words.png"), strict=True):
    print(f"{word:12} {answer.text}")

# %% [markdown]
# A diagonal: English is said in the order in which it is written. One look is mostly enough. Where letters say one sound together
# (the `ph` of *photograph*, the `augh` of *daughter*) the first of them gets it, and what is not spoken, the `k` of *knight*,
# gets none at all.
#
# Mind what the picture does *not* say. Each encoder state has read the whole word in both directions, so the state at one
# letter knows its neighbours. A bright cell shows where information was fetched, not that the letter alone caused the phone.

# %% [markdown]
# ## A translation
#
# `translate_en_fr` turns short English sentences into French, by pieces of words; ▁ stands where a word begins. One would
# expect a diagonal, but French puts most adjectives behind their nouns.

# %%
translator = kerass2s.Seq2Seq.from_preset("translate_en_fr")
sentences = ["The black cat is sleeping on the red chair.", "He gave me an interesting book."][QUICK:]
for sentence, answer in zip(sentences, look(translator, sentences, "attention_sentences.png"), strict=True):
    print(f"{sentence:45} {answer.text}")

# %% [markdown]
# Where *black cat* becomes *chat noir*, *red chair* *chaise rouge*, and *interesting book* *livre intéressant*, the bright cells
# cross over: the model looks ahead for the noun, and then back for the adjective. Many of them stand one place to the right
# of the word that is translated. The state there has read that word too, and nothing but the answers told the model where
# to keep what it needs.

# %% [markdown]
# ## Another order
#
# `dates` turns dates as people write them in 48 locales into ISO 8601, so that whole parts change places, and in each
# language in another way.

# %%
reader = kerass2s.Seq2Seq.from_preset("dates")
dates = (
    ["Wednesday, July 4, 2001", "7. März 2001"]
    if QUICK
    else [
        "Wednesday, July 4, 2001",
        "mercredi 4 juillet 2001",
        "Τετάρτη 4 Ιουλίου 2001",
        "2001. július 4., szerda",
    ]
)
for date, answer in zip(dates, look(reader, dates, "attention_dates.png"), strict=True):
    print(f"{date:26} {answer.text}")

# %% [markdown]
# English, French and Greek: the year stands last and is looked at first, then the month, then the day, so the bright cells jump
# back. Hungarian is written in the order of ISO 8601, and there the way goes straight on. A few letters of a month are
# enough. The model was told nothing about months or languages: where to look was learned from pairs alone, by the gradient
# of the answers.

# %% [markdown]
# ## Without attention, by length
#
# `sutskever2014` has none: all that the decoder ever learns of the source is the encoder's last state, of one size however
# long the source is. A task that lets nothing be guessed shows the difference: spelling real words backwards. Both models
# see the same words in the same order as often. (The one without attention reads the source in its own order, which is
# the better one here: the letter that must be said first is the one read last.)


# %%
def some(pairs, count):
    """Words of some pairs, the same in every run and from all over the alphabet."""
    return sorted({pair.source for pair in pairs}, key=lambda word: hashlib.sha256(word.encode()).digest())[:count]


def backwards(words):
    """Pairs of words and their letters, the last one first."""
    return [kerass2s.Pair(word, " ".join(reversed(word))) for word in words]


split = cmudict.load_split()
train, dev = backwards(some(split["train"], WORDS)), backwards(some(split["dev"], DEV_WORDS))
source = kerass2s.SentencePieceTokenizer.train([pair.source for pair in train], kind="char")
target = kerass2s.SentencePieceTokenizer.train([pair.target for pair in train], kind="word")

MODELS = {
    "with attention": ("luong2015", {"units": 96}),
    "without": ("sutskever2014", {"units": 128, "layers": 1, "reverse_source": False}),
}
found = {}
for name, (architecture, settings) in MODELS.items():
    keras.utils.set_random_seed(1)
    model = kerass2s.zoo.build(
        architecture, source_tokenizer=source, target_tokenizer=target, embedding_size=48, dropout=0.0, **settings
    )
    model.compile(keras.optimizers.Adam(0.004))
    loss = model.fit(train, epochs=EPOCHS, verbose=0).history["loss"][-1]
    answers = [one[0] for one in model.n_best([pair.source for pair in dev])]
    found[name] = analysis.outcomes([one.text for one in answers], dev, [one.score for one in answers])
    wrong = sum(outcome.errors > 0 for outcome in found[name]) / len(dev)
    print(f"{name:15} {model.count_params():9,} weights, loss {loss:.3f}, {wrong:.1%} of {len(dev)} unseen words wrong")

plots.show(plots.save_errors("attention_by_length.png", found, source))

# %% [markdown]
# Above, left: the model with attention makes hardly an error up to eight letters. The one without is behind from the start, and
# the longer the word the more: everything must pass through one vector. Of the longest words there were few to learn from, and
# there attention does not save its model either: it finds its place by what it reads (which of the two `e`?) and by what
# it remembers, not by counting.
#
# Above, right: without attention the errors grow all the way to the end of the output. That is the *start* of the word, what
# was read first and has faded most.
#
# Below: they fail in different ways. With attention a letter is left out (the column "(none)") and hardly ever taken for another;
# without, letters are confused, put in and left out.
#
# The same pictures of your own model, from the command line:
#
#     kerass2s predict MODEL words.txt --attention looked.png
#     kerass2s evaluate MODEL dev.tsv --against OTHER --plot errors.png
