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
# # Your own data, in ten lines
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/kerass2s/kerass2s/blob/main/notebooks/your_own_data_in_ten_lines.ipynb)
#
# You have pairs: a file with a source, a tab and a target in each line. The recipe `transduce` looks at them and chooses tokenizers,
# sizes and batches; you train with one command and read the errors with another.
#
# So that there is a file, this makes one: numbers written out in German, English and French, and the same in digits
# (`einundzwanzig` is `21`; `quatre-vingt-dix-sept` is 97). Use your own from there on.
#
# It runs on two CPU cores in about two minutes.
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
NUMBERS, EPOCHS, LANGUAGES = (40, 1, ("de",)) if QUICK else (1_500, 8, ("de", "en", "fr"))

os.environ.pop("FORCE_COLOR", None)  # a notebook is no terminal: no bars that move
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # TensorFlow's own remarks are no part of this

# %%
import contextlib
import io
import shlex
from pathlib import Path

import kerass2s
from kerass2s import numerals, plots
from kerass2s.analysis import Kind, outcomes
from kerass2s.cli import app
from kerass2s.data.split import split_of

rows = {"train": [], "dev": [], "test": []}
for number, by_language in numerals.written(NUMBERS).items():
    part = split_of(str(number))
    rows[part] += [f"{by_language[each]}\t{number}" for each in LANGUAGES if each in by_language]
for part, lines in rows.items():
    Path(f"{part}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
print(*rows["train"][-3:], sep="\n")


def shell(line):
    """Runs a command line as a shell would, but in this process."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        app(shlex.split(line)[1:], standalone_mode=False)
    print(f"$ {line}\n{said.getvalue()}")


# %% [markdown]
# The split is by *number*: what is tested is a number that was in no language in the training data. Split your own data likewise, by
# whatever must be new: the word, the customer, the day. Otherwise the figures tell of memory.

# %% [markdown]
# ## Train
#
# It says what it chose and why. `epochs` it would choose larger; some are enough here.

# %%
shell(f"kerass2s train transduce --train train.tsv --dev dev.tsv --out mine --plot training.png --set epochs={EPOCHS}")

# %%
plots.show("training.png")

# %% [markdown]
# The first epochs look hopeless, and the loss says otherwise: what is validated, and kept, is a running average of the weights
# (`ema` in the recipe), which needs some hundreds of steps to forget where it began.

# %% [markdown]
# ## Ask
#
# The ten lines were fewer. From Python the same model is a preset like any other:

# %%
model = kerass2s.Seq2Seq.from_preset("mine")
for text in ["einundzwanzig", "zweitausendsechsundzwanzig", "four hundred and seven", "quatre-vingt-dix-sept"]:
    print(f"{text:28} {model.generate([text])[0]}")

# %% [markdown]
# ## Read its errors
#
# A rate says how many are wrong. What to do next depends on *which*.

# %%
shell("kerass2s evaluate mine dev.tsv")

# %% [markdown]
# A token of these figures is what white space separates, so a number is one, right or wrong as a whole. To see *where* in a number it
# goes wrong, part the digits by spaces and look again:

# %%
pairs = kerass2s.read_pairs("dev.tsv")
answers = [found[0] for found in model.n_best([pair.source for pair in pairs])]
spaced = [pair._replace(target=" ".join(pair.target)) for pair in pairs]
found = outcomes([" ".join(one.text) for one in answers], spaced, [one.score for one in answers])
plots.show(plots.save_errors("own_errors.png", {"mine": found}, model.source_tokenizer))

# %%
MARKS = {
    Kind.same: "{target}",
    Kind.substituted: "[{target}→{output}]",
    Kind.missing: "[{target}→]",
    Kind.extra: "[→{output}]",
}
wrong = sorted((outcome for outcome in found if outcome.errors), key=lambda outcome: -outcome.log_probability)
for outcome in wrong[:10]:
    edits = "".join(MARKS[edit.kind].format(target=edit.target, output=edit.output) for edit in outcome.edits)
    print(f"{outcome.pair.source:60} {edits}")

# %% [markdown]
# In brackets: what should stand there, and what came. These are the wrong ones that it was surest of, and they tell what to do:
#
# - **`soixante et onze`, `soixante-dix`: 7 becomes 6.** French says 71 as "sixty and eleven". It is regular, but there were too few
#   to see that. More pairs of this kind.
# - **`neun`, `nine`, `neuf`** alone. There are ten numbers of one digit; the model hardly ever saw a source so short. The figure
#   says so, too: the shortest group errs more than the next ones. More short ones, or repeat those that there are.
# - **The fifth and sixth digit**, in the longest sources. More of them, more epochs, a larger model: in this order.
#
# So the first thing to try is more data. With twice as many numbers (`NUMBERS = 3_000`, six epochs) 2 of 453 were wrong in place of
# these (2026-11-22). No setting brings as much as that.
#
# `kerass2s evaluate mine dev.tsv --report DIR` puts all this on one page, with intervals; [docs/errors.md](../docs/errors.md) says how to
# read it. When you have chosen everything on `dev.tsv`, ask `test.tsv`, once.
