"""`kerass2s benchmark`: speed of the input pipeline, of training, and of decoding in each form on this machine."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from kerass2s.cli.app import examples, progress, quiet_tensorflow
from kerass2s.cli.models import AsJson, RecipeName

PAIRS = 20_000
SENTENCES = 128
FORMS = ("live", "saved_model", "onnx")
BATCHES = (1, 64)
ROUNDS = 3
LONGEST = 40
"""Tokens of an output: an untrained model seldom ends by itself."""
SEARCHES = {"greedy": f"greedy:max_length={LONGEST}", "beam_5": f"beam:5,max_length={LONGEST}"}


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("benchmark", epilog=examples("benchmark", "benchmark g2p_bahdanau2015 --set fused=true --json"))(
        benchmark
    )


def benchmark(
    recipe: RecipeName = "quickstart",
    sets: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Training steps to time.")] = 100,
    forms: Annotated[
        list[str] | None, typer.Option("--form", help=f"What decodes, of {', '.join(FORMS)}; all without it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Time the input pipeline alone, training, and decoding in each form, on the data of a recipe.

    The weights are new: outputs are as long as they come, at most 40 tokens, and mean nothing.
    """
    from kerass2s import recipes
    from kerass2s.recipes import build
    from kerass2s.recipes.settling import settle

    for form in forms or ():
        recipes.one_of("form", form, FORMS)
    chosen = recipes.load(recipe, sets or [])
    quiet_tensorflow()  # the data bring it
    train, dev = build.load_data(chosen)
    chosen, _ = settle(chosen, train)
    train, sentences = train[:: max(1, len(train) // PAIRS)], [pair.source for pair in dev[:SENTENCES]]
    model = build.build_model(chosen, *build.train_tokenizers(chosen, train))
    report: dict[str, Any] = {"recipe": recipe, "parameters": model.count_params()}
    with progress("benchmark", 2 + len(SEARCHES)) as advance:
        report |= _pipeline(chosen, model, train, steps)
        advance(1)
        report |= _training(chosen, model, train, steps)
        advance(1)
        for name, search in SEARCHES.items():
            report |= _decoding(model, name, search, sentences, forms or FORMS)
            advance(1)
    print(json.dumps(report) if as_json else "\n".join(f"{key:<48} {value}" for key, value in report.items()))


def _timed(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _batches(recipe: Any, model: Any, pairs: list[Any]) -> Any:
    from kerass2s.data import batches, to_dataset
    from kerass2s.recipes import build

    tokenizers, batching = (model.source_tokenizer, model.target_tokenizer), build.batching(recipe)
    return batches(to_dataset(pairs), *tokenizers, batching, shuffle_seed=0).repeat()


def _pipeline(recipe: Any, model: Any, pairs: list[Any], steps: int) -> dict[str, float]:
    """Batches a second that the input pipeline gives when nobody trains."""
    data = _batches(recipe, model, pairs).take(steps)
    sum(1 for _ in data)
    seconds = _timed(lambda: sum(1 for _ in data))
    return {"input_batches_per_second": round(steps / seconds, 1)}


def _training(recipe: Any, model: Any, pairs: list[Any], steps: int) -> dict[str, float]:
    """Batches and target tokens a second that training takes, tracing left out; padding does not count."""
    data = _batches(recipe, model, pairs).take(steps)
    tokens = sum(float(weights.numpy().sum()) for *_, weights in data)
    model.fit(data.take(1), epochs=1, verbose=0)
    seconds = _timed(lambda: model.fit(data, epochs=1, verbose=0))
    return {
        "training_batches_per_second": round(steps / seconds, 1),
        "training_target_tokens_per_second": round(tokens / seconds),
    }


def _decoding(model: Any, name: str, spec: str, sentences: list[str], forms: Sequence[str]) -> dict[str, float]:
    """Sentences a second from text to text, by batch, the forms by turns: the median of the rounds."""
    from kerass2s.decoding import parse_search
    from kerass2s.export import export_onnx, export_saved_model, load_predictor

    search, found = parse_search(spec), {}
    with tempfile.TemporaryDirectory() as directory:
        places = {"live": model, "saved_model": Path(directory) / "1", "onnx": Path(directory) / "model.onnx"}
        if "saved_model" in forms:
            export_saved_model(model, places["saved_model"], search)
        if "onnx" in forms:
            export_onnx(model, places["onnx"], search)
        ways = {form: load_predictor(places[form], search=spec) for form in forms}
        for size in BATCHES:
            seconds: dict[str, list[float]] = {form: [] for form in forms}
            for _ in range(1 + ROUNDS):
                for form, way in ways.items():
                    seconds[form].append(_timed(lambda way=way, size=size: way.generate(sentences, batch_size=size)))
            for form, each in seconds.items():
                rate = len(sentences) / statistics.median(each[1:])
                found[f"{form}_{name}_batch_{size}_sentences_per_second"] = round(rate, 1)
    return found
