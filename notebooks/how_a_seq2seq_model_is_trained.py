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
# # How a sequence-to-sequence model is trained
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/kerass2s/kerass2s/blob/main/notebooks/how_a_seq2seq_model_is_trained.ipynb)
#
# Three questions come up again and again, and here each is answered by measuring it on a model of real words:
#
# 1. **What exactly is fed when teacher forcing?** The true token. The hidden state is carried on untouched.
# 2. **Does the gradient reach the encoder?** Yes: from every output position, to every input position, under every feeding.
# 3. **What is the later gradient worth when the first output was wrong?** When teacher forcing all of it, exactly; the wrong
#    output was never read. When running free it is the gradient of another question.
#
# And then: what teacher forcing does not teach (exposure bias), and scheduled sampling, which tries to.
#
# It runs on two CPU cores in about three minutes.

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
WORDS, EPOCHS, DEV_WORDS, STUDIED = (64, 1, 8, 1) if QUICK else (10_000, 6, 400, 80)

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # TensorFlow's own remarks are no part of this

# %%
import hashlib

import keras
import matplotlib.figure
import numpy as np
import tensorflow as tf

import kerass2s
from kerass2s import cmudict, plots

# %% [markdown]
# ## A model that learns to pronounce
#
# Letters in, phones out: `luong2015`, a bidirectional LSTM encoder, an LSTM decoder, and attention after it. No dropout, so
# that all that differs below is what the decoder is fed.


# %%
def some(pairs, count):
    """Some pairs, the same in every run and from all over the alphabet."""
    return sorted(pairs, key=lambda pair: hashlib.sha256(pair.source.encode()).digest())[:count]


split = cmudict.load_split()
train, dev = some(split["train"], WORDS), some(split["dev"], DEV_WORDS)
letters = kerass2s.SentencePieceTokenizer.train([pair.source for pair in train], kind="char")
phones = kerass2s.SentencePieceTokenizer.train([pair.target for pair in train], kind="word")


def build():
    """The same model with the same first weights each time."""
    keras.utils.set_random_seed(1)
    return kerass2s.zoo.build(
        "luong2015", source_tokenizer=letters, target_tokenizer=phones, units=96, embedding_size=48, dropout=0.0
    )


forced_exposure = kerass2s.ExposureBias(dev)
model = build()
model.compile(keras.optimizers.Adam(0.004), feeding=kerass2s.TeacherForcing())
history = model.fit(train, epochs=EPOCHS, callbacks=[forced_exposure], verbose=0).history
print(f"{len(train)} words, {EPOCHS} epochs: loss per phone {history['loss'][0]:.2f}, then {history['loss'][-1]:.2f}")

# %% [markdown]
# For what follows, a word that the model never saw and **begins wrongly**: its own first phone is not the true one.

# %%
short = [pair for pair in some(split["dev"], 5 * DEV_WORDS) if len(pair.target.split()) == 4]
said_of = dict(zip(short, model.generate([pair.source for pair in short]), strict=True))


def begins_wrongly(pair):
    """Whether of four phones the first alone is wrong."""
    right = [a == b for a, b in zip(said_of[pair].split(), pair.target.split(), strict=False)]
    return right == [False, True, True, True]


word = next(filter(begins_wrongly, short), short[0])
print(f"{word.source}: the dictionary says {word.target}, the model {said_of[word]}")

# %% [markdown]
# ## 1. What exactly is fed when teacher forcing?
#
# The batch that `fit` trains on holds the target twice. `target_ids` is what the decoder reads: the target shifted right by
# one, with the start before it. `labels` is what its predictions are compared with. The token fed at a position is the label
# of the one before; the end is a label only.

# %%
inputs, labels, weights = next(iter(model.codec.batches([word], None, None)))
pieces = {2: "(start)", 3: "(end)"}


def named(ids):
    """The names of the tokens of the batch's only row."""
    return [
        pieces.get(each) or model.codec.target_pieces([each], word.source)[0].lstrip("▁") for each in ids.numpy()[0]
    ]


FEEDINGS = {
    "teacher forcing": kerass2s.TeacherForcing(),
    "free running": kerass2s.FreeRunning(),
    "soft scheduled sampling": kerass2s.ScheduledSampling(kerass2s.ConstantDecay(0.0), "soft"),
}
norms = {name: kerass2s.gradient_norms(model, [word], feeding)[0] for name, feeding in FEEDINGS.items()}

rows = {"position": [str(t + 1) for t in range(labels.shape[1])], "fed, in the batch": named(inputs["target_ids"])}
rows |= {f"fed, {name}": each.fed_tokens for name, each in norms.items()}
rows |= {"label": named(labels)}
for name, tokens in rows.items():
    print(f"{name:29}" + "".join(f"{token:9}" for token in tokens))

# %% [markdown]
# When teacher forcing the decoder reads the truth: row two is row one. Running free it reads what it said itself. Soft scheduled
# sampling feeds the mean of all tokens' embeddings by the model's distribution, and the token named is the likeliest. The
# labels are the same in every case.
#
# And the hidden state? It is carried from step to step as it is, and nothing replaces or resets it. Teacher forcing says what
# comes **in**, and no more. Run by hand, one step after another, each fed the true token, the decoder gives the very logits
# that `fit` computes for all positions at once:

# %%
start = model.decoder.begin(model.encoder({"source_ids": inputs["source_ids"]}))
state, stepped = start.state, []
for t in range(labels.shape[1]):
    output = model.decoder.step(inputs["target_ids"][:, t], state, start.memory)  # the true token goes in
    state = output.state  # the model's own hidden state goes on
    stepped.append(output.prediction)
difference = np.abs(np.stack(stepped, axis=1) - model(inputs)).max()
print(f"largest difference of a logit: {difference:.0e}")
assert difference < 1e-4

# %% [markdown]
# ## 2. Does the gradient reach the encoder?
#
# Yes. Feeding the truth cuts one thing only: the way from a *prediction* into the next *input*. What joins decoder and encoder
# are the attention and the hidden state, and these are not cut. So the loss at each output position t has a gradient at each
# input position s, and backpropagation through time carries it on.
#
# `gradient_norms` measures it: a row is the loss of one output position, a column is one place it may reach, the colour is
# the norm of the gradient there. Grey is an exact zero: no path.
#
# - **Top: the source.** No grey: every loss reaches every letter's embedding, through the whole encoder.
# - **Middle: what was fed.** The present input and all earlier ones, by the hidden state: a triangle.
# - **Bottom: the predictions.** Teacher forcing and free running are both diagonal: no loss reaches an earlier prediction,
#   because a token is a hard choice. Only soft feedback, which feeds the distribution itself, fills the triangle.

# %%
plots.show(plots.save_gradients("training_gradients.png", norms))
for name, each in norms.items():
    print(f"{name:24} least gradient at a letter {each.source.min():.0e}, at an earlier prediction", end=" ")
    print(f"{np.tril(each.said, -1).max():.0e} at most")
    assert (each.source > 0).all()

# %% [markdown]
# Every single weight matrix of the encoder has a gradient from each of the output positions, too:

# %%
for feeding in FEEDINGS.values():
    for t in range(labels.shape[1]):
        with tf.GradientTape() as tape:
            start = model.decoder.begin(model.encoder({"source_ids": inputs["source_ids"]}, training=True))
            logits = feeding(model.decoder, inputs["target_ids"], start)
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels[0, t], logits[0, t])
        gradients = tape.gradient(loss, model.encoder.trainable_variables)
        assert all(np.any(tf.convert_to_tensor(gradient)) for gradient in gradients)
print(f"{len(gradients)} weights of the encoder, {labels.shape[1]} positions, {len(FEEDINGS)} feedings: all reached")

# %% [markdown]
# ## 3. What is the later gradient worth when the first output was wrong?
#
# **When teacher forcing: all of it.** The loss of the second position is $-\log p(y_2 \mid y_1, x)$, with the *true* $y_1$. That the
# model would have said something else is nowhere in the formula, so it is nowhere in the gradient; summed over the positions
# it is the gradient of the exact likelihood $\log p(y \mid x)$.
#
# See it happen. Let the same model insist on a blatantly wrong first phone, whatever it computed, and look at the losses of
# the later positions. Teacher forced they stay as they were, to the last digit; running free they do not.


# %%
class Stubborn:
    """A decoder that says one token first, whatever comes; to a feeding it looks like the decoder itself."""

    def __init__(self, decoder, token):
        self.decoder, self.first = decoder, tf.one_hot([token], decoder.output.shape[-1], 50.0)

    def sequence(self, target, start, training=False):
        logits = self.decoder.sequence(target, start, training)
        return tf.concat([self.first[:, None], logits[:, 1:]], axis=1)

    def step(self, target, state, memory, training=False):
        output = self.decoder.step(target, state, memory, training)
        return output._replace(prediction=self.first) if int(target[0]) == 2 else output  # 2 is the start


wrong_first = phones.encode("ZH")[0]
start = model.decoder.begin(model.encoder({"source_ids": inputs["source_ids"]}))
for name in ("teacher forcing", "free running"):
    for said, decoder in {"as it is": model.decoder, "saying ZH first": Stubborn(model.decoder, wrong_first)}.items():
        logits = FEEDINGS[name](decoder, inputs["target_ids"], start)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)[0, 1:]
        print(f"later losses, {name:15} {said:16}", "".join(f"{loss:8.3f}" for loss in losses))

# %% [markdown]
# **When running free it is the gradient of another question.** The second position is then fed the wrong first token, and its label
# is still the true second one: it learns "after this mistake, say $y_2$". Where the mistake only stands in for the truth, that
# is the right lesson. Where it shifted everything that follows (one phone too many or too few), it is a wrong one.
#
# How much do the two gradients agree? For words that the model never saw, the gradient of each position's loss in all the
# encoder's weights, once fed the truth and once the model's own output, and the cosine between the two:


# %%
@tf.function(reduce_retracing=True)
def encoder_gradient(inputs, labels, position, feeding):
    """The loss of one position of one pair, its gradient in the encoder as one vector, and what the model says."""
    with tf.GradientTape() as tape:
        start = model.decoder.begin(model.encoder({"source_ids": inputs["source_ids"]}, training=True))
        logits = feeding(model.decoder, inputs["target_ids"], start)[0]
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels[0, position], logits[position])
    gradients = tape.gradient(loss, model.encoder.trainable_variables)
    flat = [tf.reshape(tf.convert_to_tensor(gradient), [-1]) for gradient in gradients]
    return loss, tf.concat(flat, 0), tf.argmax(logits, 1, tf.int32)


AGO = ["none yet", "1 ago", "2 ago", "3 ago", "more"]
cosines, true_losses, own_losses = ({ago: [] for ago in AGO} for _ in range(3))
for inputs, labels, _ in model.codec.batches(dev[:STUDIED], kerass2s.BucketByExamples(1), None):
    for t in range(labels.shape[1]):
        position = tf.constant(t)
        forced, forced_gradient, _ = encoder_gradient(inputs, labels, position, FEEDINGS["teacher forcing"])
        free, free_gradient, said = encoder_gradient(inputs, labels, position, FEEDINGS["free running"])
        wrong = np.flatnonzero(said[:t] != labels[0, :t])
        ago = AGO[min(t - wrong[0], 4) if len(wrong) else 0]
        cosines[ago].append(-keras.losses.cosine_similarity(forced_gradient, free_gradient))
        true_losses[ago].append(forced)
        own_losses[ago].append(free)

print("first wrong output   positions   cosine   loss fed the truth   loss fed its own")
for ago in filter(cosines.get, AGO):
    means = [np.mean(each[ago]) for each in (cosines, true_losses, own_losses)]
    print(f"{ago:20} {len(cosines[ago]):10} {means[0]:8.2f} {means[1]:20.2f} {means[2]:18.2f}")

# %%
figure = matplotlib.figure.Figure(figsize=(9, 3.4), layout="constrained")
left, right = figure.subplots(1, 2)
shown = [ago for ago in AGO if cosines[ago]]
left.boxplot(
    [np.array(cosines[ago]) for ago in shown], tick_labels=shown, showfliers=False, medianprops={"color": "#D55E00"}
)
left.set_ylabel("cosine of the two gradients")
right.plot(
    shown, [np.mean(true_losses[ago]) for ago in shown], color="#D55E00", ls="--", marker="s", label="fed the truth"
)
right.plot(shown, [np.mean(own_losses[ago]) for ago in shown], color="#0072B2", marker="o", label="fed its own output")
right.set_ylabel("loss of the position")
right.legend()
for axis in (left, right):
    axis.set_xlabel("the first wrong output was")
    axis.grid(alpha=0.3)
figure.savefig("training_worth.png", dpi=100)
plots.show("training_worth.png")

# %% [markdown]
# As long as no output was wrong, both feedings read the same tokens, and the gradients are one and the same: the cosine is 1. After
# the first wrong output they part, and not just for one step: often a little, since the same letters are to be looked at, but
# for many a position they hardly agree. And the loss is several times as great: a decoder that was only ever fed the truth has
# not learned what to do after a mistake of its own.
#
# So teacher forcing loses nothing of the later gradient. What it lacks is *situations*: the mistakes themselves.

# %% [markdown]
# ## 4. What teacher forcing does not teach: exposure bias
#
# In training the decoder always reads the truth. In use it reads itself, so one mistake may bring the next. `ExposureBias`
# measures both ways on the same words after each epoch: the share of wrong tokens by output position. (A phone too many
# shifts all that follow, and these then count as wrong; so the gap is more than exposure alone.)

# %%
plots.show(plots.save_exposure("training_exposure.png", forced_exposure.measured))

# %% [markdown]
# Teacher forced, later positions are no harder than early ones. Free running, they are worse and worse: mistakes add up.

# %% [markdown]
# ## 5. Scheduled sampling: from the truth to its own outputs, step by step
#
# Bengio et al. (2015) feed the truth with a probability ε that falls during training: at first the model learns from the
# truth, at the end from inputs as it makes them itself. The same model, the same words, the same first weights:

# %%
steps = EPOCHS * int(model.codec.batches(train, None, 0).cardinality())
decay = kerass2s.InverseSigmoidDecay(k=max(1.0, steps / 10))
sampled_exposure = kerass2s.ExposureBias(dev)
sampled = build()
sampled.compile(keras.optimizers.Adam(0.004), feeding=kerass2s.ScheduledSampling(decay, seed=1))
sampled_history = sampled.fit(train, epochs=EPOCHS, callbacks=[sampled_exposure], verbose=0).history

curriculum = [(step, 1 - float(decay(step))) for step in range(0, steps, max(1, steps // 40))]
curve = {"an own output is fed": curriculum}
plots.show(plots.save_losses("training_curriculum.png", curve, x_label="step", y_label="chance"))

# %%
print("wrong phones on words never seen   teacher forced   free running   gap")
for name, exposure in {"teacher forcing": forced_exposure, "scheduled sampling": sampled_exposure}.items():
    last = exposure.measured[-1]
    print(f"{name:34} {last.forced_error:14.1%} {last.free_error:14.1%} {last.gap:8.1%}")

# %%
curves = {}
for name, exposure in {"teacher forcing": forced_exposure, "scheduled sampling": sampled_exposure}.items():
    curves[f"{name}, free running"] = [(i + 1, 100 * each.free_error) for i, each in enumerate(exposure.measured)]
    curves[f"{name}, fed the truth"] = [(i + 1, 100 * each.forced_error) for i, each in enumerate(exposure.measured)]
plots.show(plots.save_losses("training_feedings.png", curves, y_label="wrong phones, %"))

# %% [markdown]
# Read the gap with care. Scheduled sampling can narrow it from the wrong side: the model errs more when it is fed the truth,
# which it saw less of. What counts is the free-running error, which is worse after so short a training, and one run with one
# seed decides nothing. `benchmarks/feedings.py` compares all feedings with several seeds, and
# [docs/training.md](../docs/training.md) says when to use which.
#
# ## In short
#
# | question | answer |
# | --- | --- |
# | What is fed when teacher forcing? | the true token of the position before; the hidden state is the model's own |
# | Does the gradient reach the encoder? | yes: from every position, by the attention and by the hidden state |
# | What is cut? | the way from a prediction into the next input, under every feeding of hard tokens |
# | The first output was wrong: the later gradient? | teacher forcing: exact, as the output was never read. Free running: of another question |
# | What is missing? | practice after mistakes; scheduled sampling and the other feedings give some |
