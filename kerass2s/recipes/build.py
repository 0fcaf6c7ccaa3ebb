"""From a recipe to what it names: pairs, tokenizers, a compiled model with its feeding, and callbacks."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kerass2s import datasets
from kerass2s.cmudict import one_target_each
from kerass2s.data import Pair, read_pairs, read_sources
from kerass2s.errors import ConfigError, suggestion
from kerass2s.recipes import Recipe, TokenizerRecipe, number, one_of

if TYPE_CHECKING:
    import keras

    from kerass2s.data import Batching, ShortFirst
    from kerass2s.seq2seq import Seq2Seq
    from kerass2s.text import SentencePieceTokenizer
    from kerass2s.training import Feeding

__all__ = [
    "averaged",
    "batching",
    "build_model",
    "check",
    "compile_model",
    "curriculum",
    "decay_callbacks",
    "feeding",
    "load_data",
    "sources_to_teach",
    "stopping_callbacks",
    "train_tokenizers",
]

FEEDINGS = {
    "teacher_forcing": "TeacherForcing",
    "free_running": "FreeRunning",
    "teacher_forcing_ratio": "TeacherForcingRatio",
    "scheduled_sampling": "ScheduledSampling",
    "multi_step": "MultiStep",
    "two_pass": "TwoPass",
    "truncated_back_propagation": "TruncatedBackPropagation",
}
DECAYS = {
    "constant": "ConstantDecay",
    "linear": "LinearDecay",
    "exponential": "ExponentialDecay",
    "inverse_sigmoid": "InverseSigmoidDecay",
}
"""What a recipe calls the classes of `kerass2s.training`."""


def load_data(recipe: Recipe) -> tuple[list[Pair], list[Pair]]:
    """Returns the training pairs, one target each, and the development pairs, all accepted targets each.

    Raises:
        ConfigError: The recipe names no data.
        DataError: A file that is missing or broken.
    """
    data = recipe.data
    if data.name:
        parts = datasets.load_split(data.name)
        train, dev = parts["train"], parts["dev"]
    elif data.train and data.dev:
        train, dev = read_pairs(data.train), read_pairs(data.dev)
    else:
        raise ConfigError(
            "Training needs data: `data.name`, or `data.train` and `data.dev` (--train, --dev). "
            f"Received: train {data.train!r}, dev {data.dev!r}"
        )
    return one_target_each(train), dev


def sources_to_teach(recipe: Recipe, train: Sequence[Pair], dev: Sequence[Pair]) -> list[str]:
    """Returns what the recipe's teacher is asked, each once: the training sources, or others that no part has.

    Raises:
        DataError: a file that is missing or broken.
    """
    asked = recipe.teacher.sources
    if asked is None:
        return list(dict.fromkeys(pair.source for pair in train))
    test = datasets.load_split(recipe.data.name)["test"] if recipe.data.name else []
    known = {pair.source.casefold() for pair in (*train, *dev, *test)}
    return [source for source in dict.fromkeys(read_sources(asked)) if source and source.casefold() not in known]


def check(recipe: Recipe) -> None:
    """Checks what only the named rooms can: the architecture, its config, the search and the feeding.

    Raises:
        ConfigError: An unknown architecture, key of `config`, search or feeding; the message names the recipe's key.
    """
    from kerass2s import zoo
    from kerass2s.codec import TextCodec
    from kerass2s.decoding import parse_search
    from kerass2s.text import SentencePieceTokenizer

    try:
        # Some settings are only understood when a model is built, so one is, with the smallest of vocabularies.
        toy = SentencePieceTokenizer.train(["a"], kind="char")
        model = zoo.build(recipe.architecture, source_tokenizer=toy, target_tokenizer=toy, **recipe.config)
    except ConfigError as error:
        raise ConfigError(f"recipe, `architecture` and `config`: {error}") from error
    if not isinstance(model.codec, TextCodec):
        raise ConfigError(
            "recipe, `architecture`: a recipe trains on text, but this reads or writes vectors; train it in Python. "
            f"Received: {recipe.architecture!r}"
        )
    searches = {"search": recipe.search} | ({"teacher.search": recipe.teacher.search} if recipe.teacher else {})
    for key, search in searches.items():
        try:
            parse_search(search)
        except ConfigError as error:
            raise ConfigError(f"recipe, `{key}`: {error}") from error
    feeding(recipe)


def train_tokenizers(recipe: Recipe, pairs: list[Pair]) -> tuple[SentencePieceTokenizer, SentencePieceTokenizer]:
    """Returns the source and the target tokenizer, trained on the two sides of the pairs."""
    return (
        _train(recipe.source_tokenizer, [pair.source for pair in pairs]),
        _train(recipe.target_tokenizer, [pair.target for pair in pairs]),
    )


def _train(recipe: TokenizerRecipe, texts: list[str]) -> SentencePieceTokenizer:
    from kerass2s.text import SentencePieceTokenizer

    return SentencePieceTokenizer.train(texts, **dataclasses.asdict(recipe))


def build_model(recipe: Recipe, source: SentencePieceTokenizer, target: SentencePieceTokenizer) -> Seq2Seq:
    """Returns the compiled model with fresh weights that the recipe's seed decides.

    Raises:
        ConfigError: An unknown architecture or key of `config`.
    """
    import keras

    from kerass2s import zoo

    keras.utils.set_random_seed(recipe.seed)
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(recipe.precision)
    try:
        model = zoo.build(recipe.architecture, source_tokenizer=source, target_tokenizer=target, **recipe.config)
    finally:
        keras.config.set_dtype_policy(policy)
    compile_model(recipe, model)
    return model


def compile_model(recipe: Recipe, model: Seq2Seq) -> None:
    """Compiles with Adam; `clipnorm` bounds the norm of all gradients together, of one batch each."""
    import keras

    from kerass2s.training import TokenCrossentropy

    averaging = {} if recipe.ema is None else {"use_ema": True, "ema_momentum": recipe.ema}
    accumulated = recipe.gradient_accumulation_steps
    optimizer = keras.optimizers.Adam(
        recipe.learning_rate,
        global_clipnorm=recipe.clipnorm,
        gradient_accumulation_steps=accumulated if accumulated > 1 else None,
        **averaging,
    )
    loss = TokenCrossentropy(label_smoothing=recipe.label_smoothing)
    model.compile(optimizer=optimizer, loss=loss, feeding=feeding(recipe), fused=recipe.fused)


def feeding(recipe: Recipe) -> Feeding | None:
    """Returns the feeding that the recipe names, its coins seeded by the recipe's seed; None where it names none.

    Raises:
        ConfigError: An unknown name or argument, or a value out of range; the message names the key of the recipe.
    """
    return None if recipe.feeding is None else _named("feeding", recipe.feeding, FEEDINGS, recipe.seed)


def _named(key: str, tree: Mapping[str, Any], kinds: Mapping[str, str], seed: int) -> Any:
    """Makes the object that `{name: ..., argument: value, ...}` describes; a mapping in it is a decay or a feeding."""
    from kerass2s import training

    one_of(f"{key}.name", str(tree.get("name")), list(kinds))
    kind = getattr(training, kinds[tree["name"]])
    taken = [] if kind.__init__ is object.__init__ else list(inspect.signature(kind).parameters)
    values = {"seed": seed} if "seed" in taken else {}
    for name, value in tree.items():
        if name == "name":
            continue
        if name not in taken:
            known = ", ".join(taken) or "none"
            raise ConfigError(
                f"unknown key `{key}.{name}`.{suggestion(name, taken)} Known: {known}. Received: {name!r}"
            )
        if isinstance(value, dict):
            values[name] = _named(f"{key}.{name}", value, FEEDINGS if name == "feeding" else DECAYS, seed)
        else:
            values[name] = number(value) if isinstance(value, str) else value
    try:
        return kind(**values)
    except ConfigError as error:
        raise ConfigError(f"recipe, `{key}`: {error}") from error
    except TypeError as error:
        raise ConfigError(
            f"recipe, `{key}`: {tree['name']} does not take these arguments. Received: {error}"
        ) from error


def batching(recipe: Recipe) -> Batching:
    """Returns the batching that the recipe names."""
    from kerass2s.data import BucketByExamples, BucketByTokens

    size = recipe.batching.size
    return BucketByExamples(size) if recipe.batching.by == "examples" else BucketByTokens(size)


def curriculum(recipe: Recipe) -> ShortFirst | None:
    """Returns the curriculum that the recipe describes, if any."""
    from kerass2s.data import ShortFirst

    asked = recipe.curriculum
    return asked and ShortFirst(asked.steps, asked.initial, asked.power)


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


def averaged(recipe: Recipe, callbacks: Sequence[keras.callbacks.Callback]) -> list[keras.callbacks.Callback]:
    """Returns the callbacks so that at an epoch's end they find the averaged weights, if the recipe wants those.

    Training then goes on with its own weights. After the last epoch Keras leaves the averaged ones in their place, so a
    run that is resumed with more epochs goes on from there.
    """
    import keras

    if recipe.ema is None:
        return list(callbacks)
    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
    # By itself it swaps back when the next epoch begins: too late for what saves the state of training.
    back = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: swap.on_epoch_begin(epoch))
    return [swap, *callbacks, back]


def stopping_callbacks(recipe: Recipe) -> list[keras.callbacks.Callback]:
    """Returns what ends the run when free running is no longer getting better; put it after what measures that."""
    import keras

    if recipe.early_stopping is None:
        return []
    return [keras.callbacks.EarlyStopping("val_free_sequence_accuracy", patience=recipe.early_stopping, mode="max")]
