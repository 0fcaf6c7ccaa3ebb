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
# # Fine-tune a preset
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/kerass2s/kerass2s/blob/main/notebooks/fine_tune_a_preset.ipynb)
#
# A trained model meets a form that it never saw. You teach it with 200 examples, watch it forget what it knew, and then do it
# without forgetting.
#
# The model is `dates`, which comes with the package: dates as 48 locales write them, to ISO 8601. What it does not know are
# months in Roman numerals, as on old gravestones and in Polish and Hungarian handwriting: `4. VII. 2001`.
#
# It runs on two CPU cores in about a minute.
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
NEW, OLD, EPOCHS, DEV = (8, 8, 1, 2) if QUICK else (200, 400, 12, 400)

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # TensorFlow's own remarks are no part of this

# %%
import datetime
import random

import keras

import kerass2s
from kerass2s import dates, plots
from kerass2s.evaluation import evaluate_texts

model = kerass2s.Seq2Seq.from_preset("dates")
print(f"{model.architecture}, {model.count_params():,} weights")
for text in ["Wednesday, July 4, 2001", "4. VII. 2001", "12 XI 1918"]:
    print(f"{text:26} {model.generate([text])[0]}")

# %% [markdown]
# What it never saw it does not refuse: it says some date. So measure, and measure both: the new form, and the old ones. The days
# of the dev pairs are none of the training pairs'.

# %%
FORMS = ("{day}. {month}. {year}", "{day} {month} {year}", "{day}.{month}.{year}", "{day}/{month}/{year}")
MONTHS = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII")


def roman(count, seed):
    """Pairs of dates with Roman months and the same in ISO 8601, no day twice."""
    draw = random.Random(seed)
    first, last = (datetime.date(year, 1, 1).toordinal() for year in (1900, 2100))
    days = map(datetime.date.fromordinal, draw.sample(range(first, last), count))
    written = [
        (draw.choice(FORMS).format(day=one.day, month=MONTHS[one.month - 1], year=one.year), one) for one in days
    ]
    return [kerass2s.Pair(text, one.isoformat()) for text, one in written]


new = roman(NEW + DEV, seed=1)
new, new_dev = new[:NEW], new[NEW:]
old = dates.pairs(OLD + DEV, seed=2)
old, old_dev = old[:OLD], old[OLD:]


class Watch(keras.callbacks.Callback):
    """Measures the share of wrong outputs on the new form and on the old ones, before training and after each epoch."""

    def __init__(self):
        super().__init__()
        self.wrong = {"new form": [], "old forms": []}

    def measure(self, epoch):
        for name, pairs in zip(self.wrong, (new_dev, old_dev), strict=True):
            texts = self.model.generate([pair.source for pair in pairs])
            self.wrong[name].append((epoch, 100 * evaluate_texts(texts, pairs)["word_error_rate"]))

    def on_train_begin(self, logs=None):
        self.measure(0)

    def on_epoch_end(self, epoch, logs=None):
        self.measure(epoch + 1)


def fine_tune(pairs):
    """Trains the preset on some pairs, by a smaller learning rate than it was made with; returns what was watched."""
    keras.utils.set_random_seed(1)
    tuned, watch = kerass2s.Seq2Seq.from_preset("dates"), Watch()
    tuned.compile(keras.optimizers.Adam(0.001, clipnorm=1.0))
    tuned.fit(pairs, epochs=EPOCHS, batching=kerass2s.BucketByExamples(16), callbacks=[watch], verbose=0)
    return tuned, watch.wrong


# %% [markdown]
# ## With the new examples alone

# %%
alone, wrong_alone = fine_tune(new)
for name, measured in wrong_alone.items():
    print(f"{name:10} wrong, % after each epoch:", " ".join(f"{value:.0f}" for _, value in measured))

# %% [markdown]
# ## With some of the old beside the new
#
# The remedy is old and simple: let it rehearse. To each new pair come two of the old kind, so an epoch takes three times as
# long and shows each new pair once, as before.

# %%
rehearsed, wrong_rehearsed = fine_tune(new + old)
for name, measured in wrong_rehearsed.items():
    print(f"{name:10} wrong, % after each epoch:", " ".join(f"{value:.0f}" for _, value in measured))

# %%
curves = {f"{name}, new pairs alone": measured for name, measured in wrong_alone.items()}
curves |= {f"{name}, with rehearsal": measured for name, measured in wrong_rehearsed.items()}
plots.show(plots.save_losses("fine_tuning.png", curves, y_label="wrong on unseen days, %"))

# %%
rehearsed.save_to_preset("dates_roman")
again = kerass2s.Seq2Seq.from_preset("dates_roman")
for text in ["Wednesday, July 4, 2001", "4. VII. 2001", "12 XI 1918", "2001年7月4日水曜日"]:
    print(f"{text:26} {again.generate([text])[0]}")

# %% [markdown]
# With the new pairs alone the new form is learned, and each epoch takes more of the old away: nothing in those pairs speaks for it.
# With rehearsal both are there. The old forms are still a little worse than before, because a few hundred pairs are not the
# 180,000 that the preset was made of: more of them, a smaller learning rate, or the mean of both models' weights
# (`kerass2s.average_checkpoints`) bring it closer.
#
# What to take from it:
#
# - Measure the old task beside the new one, before and after. The training loss says nothing of what is forgotten.
# - A preset can only read characters that its tokenizer knows; here `I`, `V` and `X` were known. What it does not know,
#   `kerass2s evaluate --report` lists.
# - The same from the command line, for pairs in files of your own, begins a model afresh: `kerass2s train transduce --train
#   FILE --dev FILE --out DIR`. With thousands of pairs that is often the better way.
