"""From a recipe to what it names: pairs, tokenizers, a compiled model, and the callbacks of its learning rate."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from kerass2s.data import Pair, read_pairs
from kerass2s.errors import ConfigError
from kerass2s.recipes import Recipe, TokenizerRecipe

if TYPE_CHECKING:
    import keras

    from kerass2s.data import Batching
    from kerass2s.seq2seq import Seq2Seq
    from kerass2s.text import SentencePieceTokenizer

__all__ = ["batching", "build_model", "check", "compile_model", "decay_callbacks", "load_data", "train_tokenizers"]


def load_data(recipe: Recipe) -> tuple[list[Pair], list[Pair]]:
    """Returns the training pairs, one target each, and the development pairs, all accepted targets each.

    Raises:
        ConfigError: The recipe names no data.
        DataError: A file that is missing or broken.
    """
    from kerass2s import cmudict, scan

    data = recipe.data
    if data.name:
        parts = cmudict.load_split() if data.name == "cmudict" else scan.load_split(data.name.removeprefix("scan_"))
        train, dev = parts["train"], parts["dev"]
    elif data.train and data.dev:
        train, dev = read_pairs(data.train), read_pairs(data.dev)
    else:
        raise ConfigError(
            "Training needs data: `data.name`, or `data.train` and `data.dev` (--train, --dev). "
            f"Received: train {data.train!r}, dev {data.dev!r}"
        )
    return cmudict.one_target_each(train), dev


def check(recipe: Recipe) -> None:
    """Checks what only the named rooms can: the architecture, its config and the search.

    Raises:
        ConfigError: An unknown architecture, key of `config` or search; the message names the key of the recipe.
    """
    from kerass2s import zoo
    from kerass2s.decoding import parse_search

    try:
        zoo.configure(recipe.architecture, **recipe.config)
    except ConfigError as error:
        raise ConfigError(f"recipe, `architecture` and `config`: {error}") from error
    try:
        parse_search(recipe.search)
    except ConfigError as error:
        raise ConfigError(f"recipe, `search`: {error}") from error


def train_tokenizers(recipe: Recipe, pairs: list[Pair]) -> tuple[SentencePieceTokenizer, SentencePieceTokenizer]:
    """Returns the source and the target tokenizer, trained on the two sides of the pairs."""
    return (
        _train(recipe.source_tokenizer, [pair.source for pair in pairs]),
        _train(recipe.target_tokenizer, [pair.target for pair in pairs]),
    )


def _train(recipe: TokenizerRecipe, texts: list[str]) -> SentencePieceTokenizer:
    from kerass2s.text import SentencePieceTokenizer

    return SentencePieceTokenizer.train(texts, kind=recipe.kind, vocabulary_size=recipe.vocabulary_size)


def build_model(recipe: Recipe, source: SentencePieceTokenizer, target: SentencePieceTokenizer) -> Seq2Seq:
    """Returns the compiled model with fresh weights that the recipe's seed decides.

    Raises:
        ConfigError: An unknown architecture or key of `config`.
    """
    import keras

    from kerass2s import zoo

    keras.utils.set_random_seed(recipe.seed)
    model = zoo.build(recipe.architecture, source_tokenizer=source, target_tokenizer=target, **recipe.config)
    compile_model(recipe, model)
    return model


def compile_model(recipe: Recipe, model: Seq2Seq) -> None:
    """Compiles with Adam; `clipnorm` bounds the norm of all gradients together."""
    import keras

    from kerass2s.training import TokenCrossentropy

    optimizer = keras.optimizers.Adam(recipe.learning_rate, global_clipnorm=recipe.clipnorm)
    model.compile(optimizer=optimizer, loss=TokenCrossentropy(label_smoothing=recipe.label_smoothing))


def batching(recipe: Recipe) -> Batching:
    """Returns the batching that the recipe names."""
    from kerass2s.data import BucketByExamples, BucketByTokens

    size = recipe.batching.size
    return BucketByExamples(size) if recipe.batching.by == "examples" else BucketByTokens(size)


def decayed(decay: str, progress: float) -> float:
    """Returns the factor of the learning rate at `progress` in [0, 1]: 1 at the start, 0 at the end, or 1 always.

    `decayed("linear", 0.25)` is 0.75.
    """
    if decay == "none":
        return 1.0
    left = 1.0 - min(max(progress, 0.0), 1.0)
    return left if decay == "linear" else 0.5 - 0.5 * math.cos(math.pi * left)


def decay_callbacks(recipe: Recipe) -> list[keras.callbacks.Callback]:
    """Returns what sets the learning rate at the start of each epoch, by its number, so that a run can be resumed."""
    import keras

    def rate(epoch: int, _: float) -> float:
        return recipe.learning_rate * decayed(recipe.decay, epoch / recipe.epochs)

    return [] if recipe.decay == "none" else [keras.callbacks.LearningRateScheduler(rate)]
