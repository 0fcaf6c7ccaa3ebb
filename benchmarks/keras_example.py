"""Trains what Keras' example `lstm_seq2seq` trains, in plain Keras and as the zoo's, and a better model beside them.

    python benchmarks/keras_example.py --out FILE.json

The data are the first 10,000 lines of Tatoeba's English and French (`kerass2s.tatoeba`), the last fifth of them for
validation, as in the example; characters; LSTMs of 256 units; RMSprop; batches of 64. `example` is that network in
plain Keras as the example has it: one-hot characters, spaces as padding, which is not masked, so that it is read and
predicted and part of the loss, the mean over all 59 positions of a padded target. What is printed of the others is as
near to that as can be: the sum of -log p over the characters and the end of each target, over 59 positions. The
example's best, as its page shows, is 0.4358 after epoch 25 of 100.

The better model, `luong2015`, has about as many weights, attention, and dropout.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerass2s import tatoeba, zoo
from kerass2s.data import BucketByExamples, Pair
from kerass2s.evaluation import evaluate_texts
from kerass2s.text import SentencePieceTokenizer

LINES, SHARE, BATCH = 10_000, 0.8, 64
EPOCHS = 30
PUBLISHED = 0.4358
RUNS: dict[str, dict[str, Any]] = {
    "keras_lstm_seq2seq": {"units": 256},
    "luong2015": {"units": 152, "embedding_size": 64, "dropout": 0.4},
}


def main() -> None:
    """Trains both and writes what each epoch gave."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="where the figures of each epoch go, as JSON")
    out = parser.parse_args().out
    columns = [line.split("\t") for line in tatoeba.lines()[:LINES]]
    pairs = [Pair(english, french) for english, french in columns]
    found = {"example": run_example(pairs)}
    found |= {name: run(name, settings, pairs) for name, settings in RUNS.items()}
    out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for name, each in found.items():
        best = min(range(len(each["losses"])), key=each["losses"].__getitem__)
        print(
            f"{name}, {each['weights']:,} weights: best validation loss {each['losses'][best]:.4f} after epoch "
            f"{best + 1} (published: {PUBLISHED})"
        )
        if "right" in each:
            print(
                f"    the end's greedy translations: {100 * each['right']:.1f} % of the {each['sentences']} sentences "
                f"right, chrF {each['chrf']:.1f}"
            )


def run_example(pairs: list[Pair]) -> dict[str, Any]:
    """Trains the example's network in plain Keras; returns the losses that Keras prints."""
    keras.utils.set_random_seed(0)
    source = _one_hot([pair.source for pair in pairs])
    target = _one_hot([f"\t{pair.target}\n" for pair in pairs])
    # The decoder is fed the target, and predicts what comes one position later; the last is padding.
    later = np.concatenate([target[:, 1:], target[:, -1:]], axis=1)
    inputs = [keras.Input((None, side.shape[-1])) for side in (source, target)]
    _, *state = keras.layers.LSTM(256, return_state=True)(inputs[0])
    decoded = keras.layers.LSTM(256, return_sequences=True)(inputs[1], initial_state=state)
    model = keras.Model(inputs, keras.layers.Dense(target.shape[-1], activation="softmax")(decoded))
    model.compile(optimizer=keras.optimizers.RMSprop(0.001), loss="categorical_crossentropy")
    story = model.fit([source, target], later, BATCH, EPOCHS, validation_split=1 - SHARE, verbose=2)
    losses = [round(loss, 4) for loss in story.history["val_loss"]]
    return {"weights": model.count_params(), "positions": target.shape[1], "losses": losses}


def _one_hot(texts: list[str]) -> np.ndarray:
    """Characters as `[texts, longest, characters]`, with spaces behind a text, as the example has it."""
    index = {character: number for number, character in enumerate(sorted(set("".join(texts)) | {" "}))}
    longest = max(map(len, texts))
    ids = np.array([[index[character] for character in text.ljust(longest)] for text in texts])
    return np.eye(len(index), dtype="float32")[ids]


def run(name: str, settings: dict[str, Any], pairs: list[Pair]) -> dict[str, Any]:
    """Trains one; returns its losses as the example counts them, and what its translations are worth."""
    train, held = pairs[: int(SHARE * len(pairs))], pairs[int(SHARE * len(pairs)) :]
    source, target = (SentencePieceTokenizer.train([pair[end] for pair in pairs], "char") for end in (0, 1))
    keras.utils.set_random_seed(0)
    model = zoo.build(name, source_tokenizer=source, target_tokenizer=target, **settings)
    model.compile(optimizer=keras.optimizers.RMSprop(0.001))
    batching = BucketByExamples(BATCH)
    story = model.fit(train, epochs=EPOCHS, batching=batching, seed=0, validation_data=held, verbose=2)
    positions = 2 + max(len(pair.target) for pair in pairs)  # with the example's start and end
    share = sum(len(target.encode(pair.target)) + 1 for pair in held) / (len(held) * positions)
    sentences = tatoeba.parse("\t".join(pair[:2]) for pair in held)
    figures = evaluate_texts(model.generate([pair.source for pair in sentences], batch_size=128), sentences)
    return {
        "settings": settings,
        "weights": model.count_params(),
        "positions": positions,
        "losses": [round(share * loss, 4) for loss in story.history["val_loss"]],
        "sentences": len(sentences),
        "right": round(figures["sequence_accuracy"], 4),
        "chrf": round(figures["chrf"], 2),
    }


if __name__ == "__main__":
    main()
