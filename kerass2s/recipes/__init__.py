"""Recipes: a training run as typed data, read from YAML; unknown keys and wrong types are refused by name."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from kerass2s import datasets
from kerass2s.errors import ConfigError, suggestion

TOKENIZER_KINDS = ("char", "word", "unigram", "bpe")
BATCHING_KINDS = ("examples", "tokens")
DECAYS = ("none", "linear", "cosine")
PRECISIONS = ("float32", "mixed_bfloat16")
AUTO = "auto"
Auto = Literal["auto"]
"""A value that `recipes.settling` chooses by looking at the training pairs."""


# === Recipe ===


@dataclass(frozen=True)
class TokenizerRecipe:
    """Which SentencePiece tokenizer one side gets; no size means the trainer's own. `kind` may be `auto`.

    `fold_case` reads small letters, `split_digits` lets no subword hold a digit and anything else.
    """

    kind: str
    vocabulary_size: int | None = None
    fold_case: bool = False
    split_digits: bool = False

    def __post_init__(self) -> None:
        one_of("kind", self.kind, (*TOKENIZER_KINDS, AUTO))
        if self.vocabulary_size is not None:
            _at_least("vocabulary_size", self.vocabulary_size, 5)


@dataclass(frozen=True)
class BatchingRecipe:
    """How batches are cut: `size` examples, or `size` tokens, in each; `size` may be `auto`."""

    by: str = "examples"
    size: int | Auto = 64

    def __post_init__(self) -> None:
        one_of("by", self.by, BATCHING_KINDS)
        _at_least("size", self.size, 1)


@dataclass(frozen=True)
class DataRecipe:
    """Where pairs come from: `name` is a bundled reader, `train` and `dev` are TSV files."""

    name: str | None = None
    train: str | None = None
    dev: str | None = None

    def __post_init__(self) -> None:
        if self.name is not None:
            one_of("name", self.name, datasets.NAMES)
            if self.train or self.dev:
                raise ConfigError(f"`name` excludes `train` and `dev`. Received: name {self.name!r} with files")


@dataclass(frozen=True)
class TeacherRecipe:
    """A model whose outputs are learnt beside the data: a trained one, `preset`, or `recipe`, which is trained first.

    It is asked by `search` for the targets of `sources`, a file with one a line, but of none that is in train, dev or
    test, in any case of letters; without `sources`, for those of the training sources.
    """

    preset: str | None = None
    recipe: str | None = None
    sources: str | None = None
    search: str = "greedy"

    def __post_init__(self) -> None:
        if (self.preset is None) == (self.recipe is None):
            raise ConfigError(
                "one of `preset` and `recipe` must say who teaches. "
                f"Received: preset {self.preset!r}, recipe {self.recipe!r}"
            )


@dataclass(frozen=True)
class CurriculumRecipe:
    """Short pairs first: the share `initial` of them at the start, all after `steps` batches; see `ShortFirst`."""

    steps: int
    initial: float = 0.1
    power: float = 2.0

    def __post_init__(self) -> None:
        _at_least("steps", self.steps, 1)
        if not 0.0 < self.initial <= 1.0:
            raise ConfigError(f"`initial` must be in (0, 1]. Received: {self.initial}")
        if not self.power >= 1.0:
            raise ConfigError(f"`power` must be at least 1. Received: {self.power}")


@dataclass(frozen=True)
class Recipe:
    """A whole training run.

    `config` goes to the architecture, which checks its keys; those of a `settling.Size` may be `auto`, and so may
    `epochs`. `search` is the search of the free-running validation.
    `decay` takes the learning rate from `learning_rate` to zero over all epochs. `ema` is the momentum of a moving
    average of the weights, which is then what is validated and kept. `gradient_accumulation_steps` batches make one
    update. `precision` is what training computes in; weights are float32 either way, and so is the preset when loaded.
    `fused` trains by layers and a loss that are faster on a CPU, as `Seq2Seq.compile` tells.
    `early_stopping` is the patience: after so many epochs without a better free-running sequence accuracy the
    run ends, be it resumed or not. `feeding` names what the decoder is fed and its arguments, such as
    `{name: scheduled_sampling, decay: {name: inverse_sigmoid, k: 2000}}`; none is the architecture's own. What
    `teacher` says is trained on beside the data.
    """

    architecture: str
    source_tokenizer: TokenizerRecipe
    target_tokenizer: TokenizerRecipe
    config: dict[str, Any] = field(default_factory=dict)
    batching: BatchingRecipe = field(default_factory=BatchingRecipe)
    data: DataRecipe = field(default_factory=DataRecipe)
    teacher: TeacherRecipe | None = None
    epochs: int | Auto = 10
    learning_rate: float = 0.001
    decay: str = "none"
    clipnorm: float | None = 1.0
    label_smoothing: float = 0.0
    ema: float | None = None
    gradient_accumulation_steps: int = 1
    precision: str = "float32"
    fused: bool = False
    early_stopping: int | None = None
    feeding: dict[str, Any] | None = None
    curriculum: CurriculumRecipe | None = None
    search: str = "greedy"
    seed: int = 0

    def __post_init__(self) -> None:
        one_of("decay", self.decay, DECAYS)
        one_of("precision", self.precision, PRECISIONS)
        _at_least("epochs", self.epochs, 1)
        if not self.learning_rate > 0:
            raise ConfigError(f"`learning_rate` must be above 0. Received: {self.learning_rate}")
        if self.clipnorm is not None and not self.clipnorm > 0:
            raise ConfigError(f"`clipnorm` must be above 0, or null. Received: {self.clipnorm}")
        if not 0.0 <= self.label_smoothing < 1.0:
            raise ConfigError(f"`label_smoothing` must be in [0, 1). Received: {self.label_smoothing}")
        if self.ema is not None and not 0.0 < self.ema < 1.0:
            raise ConfigError(f"`ema` must be in (0, 1), or null. Received: {self.ema}")
        _at_least("gradient_accumulation_steps", self.gradient_accumulation_steps, 1)
        if self.early_stopping is not None:
            _at_least("early_stopping", self.early_stopping, 1)


def one_of(key: str, value: str, choices: Sequence[str]) -> None:
    """Raises a ConfigError unless `value` is one of the choices."""
    if value not in choices:
        raise ConfigError(
            f"`{key}` must be one of {', '.join(choices)}.{suggestion(value, choices)} Received: {value!r}"
        )


def _at_least(key: str, value: int | Auto, least: int) -> None:
    if value != AUTO and value < least:
        raise ConfigError(f"`{key}` must be at least {least}. Received: {value}")


# === Reading ===


def names() -> list[str]:
    """Returns the names of the bundled recipes."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.yaml"))


def load(
    name_or_path: str | Path, sets: Sequence[str] = (), train: str | None = None, dev: str | None = None
) -> Recipe:
    """Reads a bundled recipe by its name, or a YAML file, with other data files, and applies `KEY=VALUE` changes.

    Args:
        name_or_path: A bundled name such as `g2p_luong2015`, or the path of a YAML file.
        train: Training pairs in the place of the recipe's data; a recipe's teacher, who taught those, is left out.
        dev: Development pairs, likewise.
        sets: Changes such as `config.units=256`; dots go down, values are read as YAML.

    Raises:
        ConfigError: No such recipe, a file that is not YAML, an unknown key, or a value of the wrong kind; the
            message names the file and the key.
    """
    path = _locate(name_or_path)
    tree = _read(path)
    if train or dev:
        data = tree["data"] if isinstance(tree.get("data"), dict) else {}
        tree["data"] = {"train": train or data.get("train"), "dev": dev or data.get("dev")}
        tree.pop("teacher", None)
    for change in sets:
        _apply(tree, change)
    try:
        return _build(Recipe, tree)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def to_dict(recipe: Any) -> dict[str, Any]:
    """Returns the plain data that `from_dict` and a YAML file hold."""
    return {
        each.name: to_dict(value) if is_dataclass(value := getattr(recipe, each.name)) else value
        for each in fields(recipe)
    }


def from_dict(tree: Mapping[str, Any]) -> Recipe:
    """Builds a recipe from plain data; raises ConfigError as `load` does, without a file."""
    return _build(Recipe, tree)


def _locate(name_or_path: str | Path) -> Path:
    bundled = Path(__file__).parent / f"{name_or_path}.yaml"
    if str(name_or_path) in names():
        return bundled
    path = Path(name_or_path)
    if path.is_file():
        return path
    raise ConfigError(
        f"No such recipe: neither a bundled name ({', '.join(names())}) nor a file."
        f"{suggestion(str(name_or_path), names())} Received: {str(name_or_path)!r}"
    )


def _read(path: Path) -> dict[str, Any]:
    import yaml

    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a YAML file in UTF-8. Received: {' '.join(str(error).split())}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: a recipe is a mapping of keys to values. Received: {type(tree).__name__}")
    return tree


def _apply(tree: dict[str, Any], change: str) -> None:
    import yaml

    key, equals, text = change.partition("=")
    if not equals or not key.strip("."):
        raise ConfigError(f"--set takes KEY=VALUE. Received: {change!r}")
    *parents, last = key.strip().split(".")
    for parent in parents:
        below = tree.setdefault(parent, {})
        if not isinstance(below, dict):
            raise ConfigError(f"--set cannot go below `{parent}`, which is a value. Received: {change!r}")
        tree = below
    try:
        tree[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set takes a YAML value. Received: {change!r}") from error


# === Typed building ===


def _build(kind: type, tree: Mapping[str, Any], prefix: str = "") -> Any:
    """Builds a dataclass from a mapping, checking every key and the type of every value."""
    known = {each.name: each for each in fields(kind)}
    for key in tree:
        if key not in known:
            raise ConfigError(
                f"unknown key `{prefix}{key}`.{suggestion(str(key), list(known))} "
                f"Known: {', '.join(known)}. Received: {key!r}"
            )
    hints = get_type_hints(kind)
    values = {key: _convert(hints[key], value, f"{prefix}{key}") for key, value in tree.items()}
    try:
        return kind(**values)
    except TypeError as error:
        missing = [key for key in _required(kind) if key not in values]
        raise ConfigError(f"missing key `{prefix}{missing[0]}`. Received: {', '.join(tree) or 'no keys'}") from error
    except ConfigError as error:
        raise ConfigError(f"in `{prefix.rstrip('.')}`: {error}" if prefix else str(error)) from error


def _required(kind: type) -> list[str]:
    from dataclasses import MISSING

    return [each.name for each in fields(kind) if each.default is MISSING and each.default_factory is MISSING]


def _convert(hint: Any, value: Any, key: str) -> Any:
    """Returns the value as the hint wants it; a number written `1e-3` (a string to YAML) counts as a number."""
    if get_origin(hint) in (Union, types.UnionType):
        if (value is None and type(None) in get_args(hint)) or (value == AUTO and Auto in get_args(hint)):
            return value
        hint = next(each for each in get_args(hint) if each is not type(None))
    if is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, dict):
            raise ConfigError(f"`{key}` must be a mapping. Received: {value!r}")
        return _build(hint, value, f"{key}.")
    plain = get_origin(hint) or hint
    if plain is float and isinstance(value, (int, str)) and not isinstance(value, bool):
        value = number(value)
    if not isinstance(value, plain) or (plain is int and isinstance(value, bool)):
        raise ConfigError(f"`{key}` must be {_NAMES[plain]}. Received: {value!r}")
    return value


_NAMES = {int: "a whole number", float: "a number", str: "a text", dict: "a mapping"}


def number(value: int | str) -> float | int | str:
    """Returns the number that is written `1e-3`, a string to YAML; what is none as it is."""
    try:
        return float(value)
    except ValueError:
        return value
