"""A trained model as NAME/: preset, SavedModel, both ONNX files, a model card with its figures, and the manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kerass2s import bundled, datasets, recipes
from kerass2s.data import Pair
from kerass2s.decoding import Search, search_spec
from kerass2s.errors import ConfigError, ExportError, UserError
from kerass2s.evaluation import evaluate_texts
from kerass2s.export import Predictor, load_predictor, verify, write_manifest, write_text_onnx
from kerass2s.export.describe import read_onnx
from kerass2s.export.precision import FULL
from kerass2s.files import write_bytes
from kerass2s.presets import load_preset, load_single, save_preset
from kerass2s.recipes import Recipe
from kerass2s.recipes.runs import RECIPE, best_epoch, history, hours
from kerass2s.seq2seq import Seq2Seq

__all__ = ["Card", "Shipped", "release", "shipped", "write_exports"]

CARD = "README.md"
METRICS = {
    "word_error_rate": "wrong outputs",
    "token_error_rate": "token error rate",
    "bleu": "BLEU",
    "chrf": "chrF",
}
BATCH = 256


@dataclass(frozen=True)
class Card:
    """What a model card says; `figures` has what `evaluate_texts` gave for each part, `training` is one sentence."""

    name: str
    data: datasets.Dataset
    figures: Mapping[str, dict[str, Any]]
    search: str
    precision: str
    recipe: Recipe
    command: str
    training: str

    def write(self, directory: Path, model: Seq2Seq) -> None:
        """Writes README.md, in the form that model hubs read: front matter in YAML, then prose."""
        front = yaml.safe_dump(self._front(), sort_keys=False, allow_unicode=True)
        write_bytes(directory / CARD, f"---\n{front}---\n\n{self._text(model)}".encode())

    def _front(self) -> dict[str, Any]:
        results = [
            {
                "task": {"type": "text2text-generation"},
                "dataset": {"name": self.recipe.data.name or "files", "type": "text", "split": part},
                "metrics": [{"type": metric, "value": round(each[metric], 5)} for metric in self.data.metrics],
            }
            for part, each in self.figures.items()
        ]
        return {
            "license": "apache-2.0",
            "library_name": "kerass2s",
            "pipeline_tag": "text2text-generation",
            "tags": ["seq2seq", "onnx", "tensorflow", self.recipe.architecture],
            "model-index": [{"name": self.name, "results": results}],
        }

    def _text(self, model: Seq2Seq) -> str:
        head = " | ".join(["part", "pairs", *(METRICS[metric] for metric in self.data.metrics)])
        rows = "\n".join(
            f"| {part} | {each['n']:,} | {' | '.join(_shown(metric, each[metric]) for metric in self.data.metrics)} |"
            for part, each in self.figures.items()
        )
        recipe = yaml.safe_dump(recipes.to_dict(self.recipe), sort_keys=False, allow_unicode=True)
        return f"""# {self.name}

{self.data.task[:1].upper()}{self.data.task[1:]}.
{model.architecture}, {model.count_params():,} parameters; the exports hold the search `{self.search}`.

## Data and split

{self.data.source}
Licence of the data: {self.data.licence}. The split is {self.data.split}.

## Figures

{self.data.right} Dev chose the settings and the epoch; test was looked at once, at the end. The figures are those of
`model.onnx`: search `{self.search}`, weights in {self.precision}.

| {head} |
|{" --- |" * (2 + len(self.data.metrics))}
{rows}

{self.training} To train it again:

    {self.command}

## Recipe

```yaml
{recipe}```

## Files

`preset/` to fine-tune, `saved_model/1/` for TensorFlow Serving, `model.onnx` for any ONNX runtime (ids to ids),
`model.text.onnx` for ONNX Runtime with onnxruntime-extensions (text to text), and `manifest.json` with the interface
and the SHA-256 of each file.

## Licence

Apache-2.0, as the code that made it.
"""


def _shown(metric: str, value: float) -> str:
    return f"{100 * value:.2f} %" if metric.endswith("rate") else f"{value:.1f}"


# === Making a release ===


def write_exports(model: Seq2Seq, directory: Path, search: Search, precision: str = FULL) -> None:
    """Writes what NAME/ holds beside the card and the manifest.

    With another `precision` than float32 the ONNX files' weights have that, and those of the preset and the SavedModel
    are written as float16; exports are of what the preset gives, so that the SavedModel is exact.
    """
    held = FULL if precision == FULL else "float16"
    save_preset(model, directory / "preset", dtype=held)
    model = load_single(directory / "preset")
    model.export(directory / "saved_model" / "1", format="tf_saved_model", search=search, precision=held)
    model.export(directory / "model.onnx", format="onnx", search=search, precision=precision)
    write_text_onnx(read_onnx(directory / "model.onnx")[0], directory / "model.text.onnx")  # converted once for both


def release(run: Path, out: Path, search: Search, precision: str = FULL) -> dict[str, dict[str, Any]]:
    """Makes `out` of the directory of a training run, verifies each export against the preset, and returns figures.

    Args:
        run: what `kerass2s train` left.
        out: a new directory; its name is the model's.
        search: what the exports hold and the figures are for.
        precision: of the ONNX files' weights; those of preset and SavedModel are float16 if it is not float32.

    Raises:
        UserError: `run` is no such directory, its recipe names no data, `out` holds something, or the data is missing.
        ExportError: an export does not give what the preset gives.
    """
    if not (run / RECIPE).is_file():
        raise UserError(f"Not the directory of a training run, it has no {RECIPE}. Received: {str(run)!r}")
    if out.exists() and any(out.iterdir()):
        raise UserError(f"The release needs a new or empty directory. Received: {str(out)!r}")
    recipe, model = recipes.load(run / RECIPE), load_preset(run)
    if recipe.data.name is None:
        raise ConfigError(f"{run / RECIPE}: a release says whose data it is, by `data.name`. Received: {recipe.data}")
    parts, about = datasets.load_split(recipe.data.name), datasets.about(recipe.data.name)
    write_exports(model, out, search, precision)
    figures = {part: _figures(load_predictor(out / "model.onnx"), parts[part]) for part in ("dev", "test")}
    training, command = _training(history(run), recipe), _command(recipe)
    Card(out.name, about, figures, search_spec(search), precision, recipe, command, training).write(out, model)
    write_manifest(out)
    report = verify(out)
    if not report.ok:
        raise ExportError(f"{out} does not give what its preset gives. Received: {report}")
    return figures


def _figures(exported: Predictor, pairs: list[Pair]) -> dict[str, Any]:
    return evaluate_texts(exported.generate([pair.source for pair in pairs], batch_size=BATCH), pairs)


def _training(entries: list[dict[str, Any]], recipe: Recipe) -> str:
    best, teacher = best_epoch(entries), recipe.teacher
    taught = (
        f" Beside the data it learnt what `{teacher.preset or teacher.recipe}` answers (`{teacher.search}`) for "
        f"{teacher.sources or 'the training sources'}, none of which is in dev or test."
        if teacher
        else ""
    )
    return (
        f"Trained for {len(entries)} epochs, {hours(entries):.1f} hours on 2 CPU cores that did other work too, seed "
        f"{recipe.seed}; the weights are those of epoch {best['epoch'] + 1}, the best on validation pairs.{taught}"
    )


def _command(recipe: Recipe) -> str:
    """Returns what trains the model again: a bundled recipe by its name, or the card's own."""
    trained = recipes.to_dict(recipe)
    same = (name for name in recipes.names() if _became(recipes.to_dict(recipes.load(name)), trained))
    return f"kerass2s train {next(same, 'recipe.yaml')} --out DIR"


def _became(recipe: Any, trained: Any) -> bool:
    """Tells whether a recipe as it is read can have been settled to another: what it leaves open may be anything."""
    if isinstance(recipe, dict) and isinstance(trained, dict):
        return recipe.keys() == trained.keys() and all(_became(recipe[key], trained[key]) for key in recipe)
    return recipe in (recipes.AUTO, trained)


# === Reading cards ===


@dataclass(frozen=True)
class Shipped:
    """A preset that comes with kerass2s: its size as a preset, and of its card licence, data and figures by part."""

    name: str
    megabytes: float
    licence: str
    data: str
    figures: dict[str, dict[str, float]]

    @property
    def shown(self) -> list[str]:
        """The figures, each in words."""
        return [
            f"{part} {METRICS[metric]} {_shown(metric, value)}"
            for part, metrics in self.figures.items()
            for metric, value in metrics.items()
        ]


def shipped() -> list[Shipped]:
    """Returns what there is to know of each preset that comes with kerass2s."""
    return [_read_card(bundled.PLACE / name) for name in bundled.names()]


def _read_card(directory: Path) -> Shipped:
    size = sum(file.stat().st_size for file in (directory / "preset").iterdir())
    front = yaml.safe_load((directory / CARD).read_text(encoding="utf-8").split("---\n")[1])
    results = front["model-index"][0]["results"]
    figures = {
        each["dataset"]["split"]: {metric["type"]: metric["value"] for metric in each["metrics"]} for each in results
    }
    return Shipped(directory.name, size / 1e6, front["license"], results[0]["dataset"]["name"], figures)
