"""`kerass2s benchmark`: speed of the input pipeline, of training and of decoding on this machine."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

from kerass2s.cli.app import examples, progress, quiet_tensorflow
from kerass2s.cli.models import AsJson, RecipeName

PAIRS = 20_000
WORDS = 512


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("benchmark", epilog=examples("benchmark", "benchmark g2p_bahdanau2015 --set config.units=256 --json"))(
        benchmark
    )


def benchmark(
    recipe: RecipeName = "quickstart",
    sets: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Training steps to time.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Time the input pipeline alone, training steps, and decoding, on the data of a recipe."""
    from kerass2s import recipes
    from kerass2s.recipes import build
    from kerass2s.recipes.settling import settle

    chosen = recipes.load(recipe, sets or [])
    train, dev = build.load_data(chosen)
    chosen, _ = settle(chosen, train)
    train, words = train[:: max(1, len(train) // PAIRS)], [pair.source for pair in dev[:WORDS]]
    quiet_tensorflow()
    from kerass2s.decoding import BeamSearch, GreedySearch

    model = build.build_model(chosen, *build.train_tokenizers(chosen, train))
    report: dict[str, Any] = {"recipe": recipe, "parameters": model.count_params()}
    with progress("benchmark", 4) as advance:
        report |= _pipeline(chosen, model, train, steps)
        advance(1)
        report |= _training(chosen, model, train, steps)
        advance(1)
        for name, search in (("greedy", GreedySearch(max_length=40)), ("beam_5", BeamSearch(5, max_length=40))):
            model.generate(words[:64], search)
            seconds = _timed(lambda search=search: model.generate(words, search))
            report[f"{name}_words_per_second"] = round(len(words) / seconds, 1)
            advance(1)
    print(json.dumps(report) if as_json else "\n".join(f"{key:<34} {value}" for key, value in report.items()))


def _timed(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _pipeline(recipe: Any, model: Any, pairs: list[Any], steps: int) -> dict[str, float]:
    """Batches a second that the input pipeline gives when nobody trains."""
    from kerass2s.data import batches, to_dataset
    from kerass2s.recipes import build

    data = batches(
        to_dataset(pairs), model.source_tokenizer, model.target_tokenizer, build.batching(recipe), shuffle_seed=0
    )
    data = data.repeat().take(steps)
    sum(1 for _ in data)
    seconds = _timed(lambda: sum(1 for _ in data))
    return {"input_batches_per_second": round(steps / seconds, 1)}


def _training(recipe: Any, model: Any, pairs: list[Any], steps: int) -> dict[str, float]:
    """Batches a second that training takes, tracing left out."""
    from kerass2s.data import batches, to_dataset
    from kerass2s.recipes import build

    data = batches(
        to_dataset(pairs), model.source_tokenizer, model.target_tokenizer, build.batching(recipe), shuffle_seed=0
    )
    data = data.repeat()
    model.fit(data, steps_per_epoch=5, epochs=1, verbose=0)
    seconds = _timed(lambda: model.fit(data, steps_per_epoch=steps, epochs=1, verbose=0))
    return {"training_batches_per_second": round(steps / seconds, 1)}
