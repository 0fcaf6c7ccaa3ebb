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
# # Forecasting: vectors to vectors
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/kerass2s/kerass2s/blob/main/notebooks/forecasting_vectors_to_vectors.ipynb)
#
# A sequence need not be text. Here the source is three days of hourly measurements, two numbers an hour, and the target is how one
# of them goes on. You train a `series2series`, compare it with forecasts that need no training, see how far ahead it can be
# trusted, and export it.
#
# The data are made up by a few lines, so that you see what there is to find in them: the electricity that a small town uses, and
# its temperature. It runs on two CPU cores in about a minute.
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
HOURS, EPOCHS, UNITS = (600, 1, 8) if QUICK else (24 * 365 * 2, 6, 48)

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # TensorFlow's own remarks are no part of this

# %%
import keras
import matplotlib.figure
import numpy as np

import kerass2s
from kerass2s import plots

draw = np.random.default_rng(0)


def town(hours):
    """The load of a town in megawatts and its temperature in °C, float64 [hours, 2]."""
    hour = np.arange(hours)
    weather = np.zeros(hours)  # warm and cold spells, some days long
    for t in range(1, hours):
        weather[t] = 0.985 * weather[t - 1] + 0.6 * draw.normal()
    temperature = 10 - 9 * np.cos(2 * np.pi * hour / (24 * 365)) - 4 * np.cos(2 * np.pi * (hour - 3) / 24) + weather
    daily = 12 + 5 * np.sin(2 * np.pi * (hour - 9) / 24) + 2 * np.sin(4 * np.pi * (hour - 5) / 24)
    weekend = np.where(hour // 24 % 7 >= 5, 0.8, 1.0)
    heating = 0.5 * np.clip(15 - temperature, 0, None)
    return np.stack([daily * weekend + heating + 0.4 * draw.normal(size=hours), temperature], axis=1)


series = town(HOURS)

# %% [markdown]
# ## Windows
#
# 72 hours in, 24 hours out. Three rules that are easily broken, and each flatters a forecast:
#
# - cut by **time**: what is tested lies after all that was trained on, and no window reaches over the border;
# - scale by the mean and deviation of the **training** part;
# - the future of what is known now is not an input: the temperature of tomorrow is not in the source.

# %%
SEEN, AHEAD = 72, 24
border = int(0.8 * HOURS)
mean, deviation = series[:border].mean(axis=0), series[:border].std(axis=0)
scaled = ((series - mean) / deviation).astype("float32")


def windows(first, last, step):
    """Pairs of arrays, the hours seen [72, 2] and the load that follows [24, 1]."""
    starts = range(first, last - SEEN - AHEAD + 1, step)
    return [(scaled[s : s + SEEN], scaled[s + SEEN : s + SEEN + AHEAD, :1]) for s in starts]


train, test = windows(0, border, 7), windows(border, HOURS, 23)
print(f"{len(train)} windows to train on, {len(test)} later ones to test")

# %% [markdown]
# ## The model
#
# An LSTM reads the hours, another one goes on from its final state, hour by hour: it is fed the load of the hour before, in
# training the true one (teacher forcing), in use its own forecast.

# %%
keras.utils.set_random_seed(1)
model = kerass2s.zoo.build("series2series", source_size=2, target_size=1, units=UNITS)
model.compile(keras.optimizers.Adam(0.005), loss="mse")
history = model.fit(train, epochs=EPOCHS, batching=kerass2s.BucketByExamples(32), verbose=0).history
print("squared error, fed the truth:", " ".join(f"{loss:.3f}" for loss in history["loss"]))

keras.utils.set_random_seed(1)
free = kerass2s.zoo.build("series2series", source_size=2, target_size=1, units=UNITS)
free.compile(keras.optimizers.Adam(0.005), loss="mse", feeding=kerass2s.FreeRunning())
history = free.fit(train, epochs=EPOCHS, batching=kerass2s.BucketByExamples(32), verbose=0).history
print("squared error, running free: ", " ".join(f"{loss:.3f}" for loss in history["loss"]))

# %% [markdown]
# ## Against forecasts that need no training
#
# A network that does not beat "as now" and "as yesterday" is not worth its keep. The errors in megawatts, by hours ahead:

# %%
sources, truth = [source for source, _ in test], np.array([target for _, target in test])[:, :, 0]
horizon = kerass2s.Rollout(horizon=AHEAD)
forecasts = {
    "as now": np.array([np.full(AHEAD, source[-1, 0]) for source in sources]),
    "as yesterday": np.array([source[-24:, 0] for source in sources]),
    "trained on the truth": np.array(model.generate(sources, search=horizon))[:, :, 0],
    "trained running free": np.array(free.generate(sources, search=horizon))[:, :, 0],
}
errors = {name: deviation[0] * np.abs(forecast - truth).mean(axis=0) for name, forecast in forecasts.items()}
print("mean error, MW          all   hour 1   hour 6   hour 24")
for name, each in errors.items():
    print(f"{name:20} {each.mean():6.2f}   {each[0]:6.2f}   {each[5]:6.2f}   {each[23]:7.2f}")

curves = {name: list(enumerate(each, start=1)) for name, each in errors.items()}
plots.show(plots.save_losses("forecast_errors.png", curves, x_label="hours ahead", y_label="mean error, MW"))

# %% [markdown]
# The networks are ahead of both for most of a day. Towards its end "as yesterday" is as good: what the weather will do by then
# is not in the data, and no training can find it. "As now" is right again after 24 hours, since the day goes round.
#
# And what the decoder was fed in training? Hardly a difference: fed the truth it is a little better in the first hours, where
# it is used as it was trained. The losses above cannot be compared, though: the one asks for the next hour after a true
# past, the other for a whole day.

# %% [markdown]
# ## One forecast, seen

# %%
chosen = len(test) // 2
figure = matplotlib.figure.Figure(figsize=(8, 3.4), layout="constrained")
axis = figure.subplots()
seen, ahead = np.arange(-SEEN, 0), np.arange(AHEAD)
axis.plot(seen, mean[0] + deviation[0] * sources[chosen][:, 0], color="0.5", label="seen")
axis.plot(ahead, mean[0] + deviation[0] * truth[chosen], color="0.5", ls=":", lw=2.5, label="what came")
STYLES = {
    "as yesterday": ("#009E73", "-."),
    "trained on the truth": ("#D55E00", "--"),
    "trained running free": ("#0072B2", "-"),
}
for name, (colour, dash) in STYLES.items():
    axis.plot(ahead, mean[0] + deviation[0] * forecasts[name][chosen], color=colour, ls=dash, label=name)
axis.set_xlabel("hours from now")
axis.set_ylabel("load, MW")
figure.legend(loc="outside upper center", ncols=5)
axis.grid(alpha=0.3)
figure.savefig("forecast.png", dpi=100)
plots.show("forecast.png")

# %% [markdown]
# Two quiet days and then a busier one: what a weekend is the networks have learned, from the load alone; nobody told them the day
# of the week.

# %% [markdown]
# ## Any horizon, and in other runtimes
#
# The horizon is said when asked, also to an export: ONNX Runtime gives what the live model gives.

# %%
week = free.generate(sources[:1], search=kerass2s.Rollout(horizon=24 * 7))[0]
print("a week ahead:", week.shape)
if not QUICK:
    import onnxruntime

    free.export("forecast.onnx", format="onnx")
    session = onnxruntime.InferenceSession("forecast.onnx")
    asked = {"source_values": sources[0][None], "source_lengths": np.array([SEEN], "int32")}
    (answer,) = session.run(["target_values"], {**asked, "horizon": np.array(24 * 7, "int32")})
    print(f"largest difference of the ONNX file: {np.abs(answer[0] - week).max():.0e}")
    assert np.abs(answer[0] - week).max() < 1e-3
