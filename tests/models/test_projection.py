"""The projection fused with its cross-entropy: the losses, gradients and metrics that the logits would have given."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerass2s import projection, zoo
from kerass2s.errors import ConfigError
from kerass2s.projection import Scores, Unprojected
from kerass2s.text import SentencePieceTokenizer
from kerass2s.training import Perplexity, SequenceAccuracy, TokenAccuracy, TokenCrossentropy

ROWS, TIME, UNITS, VOCABULARY = 5, 7, 6, 11
LENGTHS = [7, 3, 0, 5, 1]


def values(*shape: int) -> tf.Tensor:
    return tf.constant(np.random.default_rng(sum(shape)).normal(size=shape), tf.float32)


def batch() -> tuple[tf.Tensor, tf.Tensor]:
    """Labels, and weights that are 0 at padding and not all the same elsewhere."""
    labels = np.random.default_rng(1).integers(0, VOCABULARY, [ROWS, TIME])
    return tf.constant(labels, tf.int32), tf.sequence_mask(LENGTHS, TIME, tf.float32) * tf.range(1.0, ROWS + 1)[:, None]


def gradients(loss: TokenCrossentropy, fused: bool, kind: tf.DType = tf.float32, bias: bool = True) -> list[np.ndarray]:
    """Return the loss, and its gradients at features, kernel and bias."""
    given = [values(ROWS, TIME, UNITS), values(UNITS, VOCABULARY), *([values(VOCABULARY)] if bias else [])]

    @tf.function(autograph=False)
    def run() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(given)
            features, *weights = given
            made = Unprojected(tf.cast(features, kind), *weights)
            labels, real = batch()
            total = loss(labels, made if fused else tf.convert_to_tensor(made), real)
        return [total, *tape.gradient(total, given)]

    return [each.numpy() for each in run()]


@pytest.mark.parametrize("rows", [1, 4, 100])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_and_gradients_are_those_of_the_logits(rows, smoothing, monkeypatch):
    monkeypatch.setattr(projection, "TILE", rows * VOCABULARY)
    loss = TokenCrossentropy(label_smoothing=smoothing)
    for one, other in zip(gradients(loss, True), gradients(loss, False), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("reduction", ["sum", "mean", "sum_over_batch_size"])
def test_every_reduction_has_its_gradients(reduction):
    loss = TokenCrossentropy(reduction=reduction)
    for one, other in zip(gradients(loss, True, bias=False), gradients(loss, False, bias=False), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5, rtol=1e-5)


def test_bfloat16_is_near():
    for one, other in zip(
        gradients(TokenCrossentropy(), True, tf.bfloat16), gradients(TokenCrossentropy(), False), strict=True
    ):
        assert one.dtype == np.float32
        np.testing.assert_allclose(one, other, atol=0.02 * np.abs(other).max())


def test_an_unlikely_label_has_its_loss_though_its_share_is_zero():
    features, kernel = tf.constant([[1.0]]), tf.constant([[0.0, 300.0, 290.0]])
    scores = projection.crossentropy(features, kernel, None, tf.constant([0]), tf.ones([1]))
    assert scores.loss.numpy() == pytest.approx(300.0, rel=1e-5)
    assert scores.right.numpy() == 0


def test_a_batch_of_padding_alone_has_no_loss_and_no_gradient():
    with tf.GradientTape() as tape:
        kernel = tf.Variable(values(UNITS, VOCABULARY))
        made = Unprojected(values(ROWS, TIME, UNITS), kernel)
        labels = tf.zeros([ROWS, TIME], tf.int32)
        loss = TokenCrossentropy()(labels, made, tf.zeros([ROWS, TIME]))
    assert float(loss) == 0
    np.testing.assert_array_equal(tape.gradient(loss, kernel), np.zeros(kernel.shape))


def test_metrics_are_those_of_the_logits():
    labels, weights = batch()
    made = Unprojected(values(ROWS, TIME, UNITS), values(UNITS, VOCABULARY))
    logits = tf.convert_to_tensor(made)
    labels = tf.where(tf.range(ROWS)[:, None] > 1, labels, tf.argmax(logits, -1, tf.int32))
    TokenCrossentropy(label_smoothing=0.1)(labels, made, weights)
    assert isinstance(made.scores, Scores)
    for kind in (TokenAccuracy, SequenceAccuracy, Perplexity):
        for given in (weights, None):  # without weights padding counts, and the loss knows nothing of it
            quick, plain = kind(), kind()
            quick.update_state(labels, made, given)
            plain.update_state(labels, logits, given)
            assert float(quick.result()) == pytest.approx(float(plain.result()), rel=1e-5)
            assert float(quick.result()) > 0


PAIRS = [("abc", "x y z"), ("ab", "x y"), ("cab", "z x y"), ("b", "y")]


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, SentencePieceTokenizer]:
    sources, targets = zip(*PAIRS, strict=True)
    return {
        "source_tokenizer": SentencePieceTokenizer.train(list(sources), kind="char"),
        "target_tokenizer": SentencePieceTokenizer.train(list(targets), kind="word"),
    }


def fitted(tokenizers: dict[str, SentencePieceTokenizer], **compiled) -> tuple[keras.Model, list[list[float]]]:
    keras.utils.set_random_seed(3)
    sizes = {"embedding_size": 12, "units": 12, "tie_embeddings": True}
    model = zoo.build("sutskever2014", preset="tiny", **sizes, **tokenizers)
    model.compile(keras.optimizers.SGD(0.5), **compiled)
    return model, list(model.fit(PAIRS, epochs=2, verbose=0).history.values())


def test_a_tied_model_trains_to_the_same_weights_and_metrics(tokenizers):
    loss = TokenCrossentropy(label_smoothing=0.1)
    (quick, shown), (plain, expected) = (fitted(tokenizers, fused=fused, loss=loss) for fused in (True, False))
    np.testing.assert_allclose(shown, expected, rtol=1e-5)
    for one, other in zip(quick.weights, plain.weights, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-5, err_msg=one.path)


def test_a_decoder_that_ends_in_more_than_a_projection_has_its_logits(tokenizers):
    model = zoo.build("pointer_generator2017", preset="tiny", **tokenizers)
    model.compile(fused=True)
    assert model.decoder.fused and model.decoder._graphs.features is None


def test_a_loss_and_a_metric_that_know_nothing_of_it_get_logits():
    labels, weights = batch()
    made = Unprojected(values(ROWS, TIME, UNITS), values(UNITS, VOCABULARY))
    logits = tf.convert_to_tensor(made)
    assert made.shape == logits.shape
    assert made.dtype == logits.dtype
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    assert float(loss(labels, made, weights)) == float(loss(labels, logits, weights))
    quick, plain = (keras.metrics.SparseCategoricalAccuracy() for _ in range(2))
    quick.update_state(labels, made, weights)
    plain.update_state(labels, logits, weights)
    assert float(quick.result()) == float(plain.result())


def test_fused_and_compiled_by_xla_is_refused(tokenizers):
    model = zoo.build("sutskever2014", preset="tiny", **tokenizers)
    with pytest.raises(ConfigError, match=r"jit_compile.*Received"):
        model.compile(fused=True, jit_compile=True)
