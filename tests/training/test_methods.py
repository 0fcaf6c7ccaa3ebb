"""What training is helped by: averaged weights, accumulated gradients, early stopping, bfloat16, a teacher."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import keras
import numpy as np
import pytest

from kerass2s import BeamSearch, BucketByExamples, FreeRunningValidation, GreedySearch, Seq2Seq, distill, zoo
from kerass2s.data import Pair

Make = Callable[..., Seq2Seq]
SHORT = GreedySearch(max_length=8)


@pytest.fixture
def make(source_tokenizer, target_tokenizer) -> Make:
    """Build a tiny model from a fixed seed, compiled with Adam as the settings say, or with another optimizer."""

    def build(architecture: str = "luong2015", optimizer: type = keras.optimizers.Adam, **options: object) -> Seq2Seq:
        keras.utils.set_random_seed(5)
        tokenizers = {"source_tokenizer": source_tokenizer, "target_tokenizer": target_tokenizer}
        model = zoo.build(architecture, **tokenizers, preset="tiny", dropout=0.0)
        model.compile(optimizer(**{"learning_rate": 0.01, **options}))
        return model

    return build


# === Averaged weights ===


def test_keras_averages_the_weights_and_validates_what_it_averaged(make: Make, lexicon) -> None:
    """The mean is m <- 0.5 m + 0.5 w after each update but the first, which it starts at."""
    model = make(use_ema=True, ema_momentum=0.5)
    states, validated = [], []
    keep = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: states.append([np.array(each) for each in model.get_weights()])
    )
    see = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: validated.append([np.array(each) for each in model.get_weights()])
    )
    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
    model.fit(lexicon, batching=BucketByExamples(6), epochs=2, verbose=0, callbacks=[keep, swap, see])
    means = states[0]
    for state in states[1:]:
        means = [0.5 * mean + 0.5 * weight for mean, weight in zip(means, state, strict=True)]
    for found in (validated[-1], model.get_weights()):
        for mean, weight in zip(means, found, strict=True):
            np.testing.assert_allclose(weight, mean, atol=1e-6)


# === Accumulated gradients ===


def test_two_batches_make_the_update_of_one_twice_as_large(make: Make, lexicon) -> None:
    pairs = [pair for pair in lexicon if len(pair[0]) == 3]  # of one shape, so that the mean of means is the mean
    pairs = pairs[: len(pairs) // 2 * 2]
    sgd = {"optimizer": keras.optimizers.SGD, "learning_rate": 0.5}
    half, whole = make(**sgd, gradient_accumulation_steps=2), make(**sgd)
    half.fit(pairs, batching=BucketByExamples(len(pairs) // 2), epochs=3, verbose=0)
    whole.fit(pairs, batching=BucketByExamples(len(pairs)), epochs=3, verbose=0)
    assert int(half.optimizer.iterations) == int(whole.optimizer.iterations) == 3
    for one, other in zip(half.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


# === Early stopping ===


def test_training_stops_when_free_running_does_not_get_better(make: Make, lexicon) -> None:
    model = make(learning_rate=1e-9)
    watched = "val_free_token_error_rate"
    callbacks = [
        FreeRunningValidation(lexicon, SHORT),
        keras.callbacks.EarlyStopping(watched, patience=2, mode="min", restore_best_weights=True),
    ]
    history = model.fit(lexicon, epochs=9, verbose=0, callbacks=callbacks).history
    assert len(history[watched]) == 3
    assert len(set(history[watched])) == 1


# === bfloat16 ===


@pytest.fixture
def bfloat16() -> Iterator[None]:
    """Compute in bfloat16 and keep the weights in float32."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("architecture", ["luong2015", "transformer2017"])
@pytest.mark.usefixtures("bfloat16")
def test_bfloat16_trains_and_generates(make: Make, lexicon, architecture: str) -> None:
    model = make(architecture)
    assert {weight.dtype for weight in model.trainable_weights} == {"float32"}
    losses = model.fit(lexicon, epochs=16, verbose=0).history["loss"]
    assert losses[-1] < 0.9 * losses[0]
    best = [
        hypotheses[0] for hypotheses in model.n_best([source for source, _ in lexicon], BeamSearch(2, max_length=8))
    ]
    assert np.isfinite([each.score for each in best]).all()
    assert len({each.text for each in best}) > 1
    assert np.isfinite(model.score_pairs(lexicon)).all()


# === A teacher ===


def test_a_student_learns_what_its_teacher_says(make: Make, lexicon) -> None:
    teacher, student = make(), make("transformer2017")
    teacher.fit(lexicon, epochs=12, verbose=0)
    sources = [source for source, _ in lexicon]
    pairs = distill(teacher, sources, BeamSearch(3, max_length=8))
    said = teacher.generate(sources, BeamSearch(3, max_length=8))
    assert pairs == [Pair(*each) for each in zip(sources, said, strict=True)]
    before = student.score_pairs(pairs).mean()
    student.fit(pairs, epochs=8, verbose=0)
    assert student.score_pairs(pairs).mean() > before


def test_a_teacher_without_a_choice_of_search_is_asked_in_its_own_way() -> None:
    class Shouting:
        def generate(self, sources: list[str], batch_size: int = 64) -> list[str]:
            return [source.upper() for source in sources]

    assert distill(Shouting(), ["a", "b"]) == [Pair("a", "A"), Pair("b", "B")]
    assert distill(Shouting(), []) == []
