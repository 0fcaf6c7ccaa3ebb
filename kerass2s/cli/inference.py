"""`kerass2s predict`, `score` and `calibrate`: models and exports at work on files."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kerass2s.cli.app import examples, progress, quiet_tensorflow
from kerass2s.cli.models import (
    WINDOW,
    AsJson,
    BatchSize,
    Model,
    Pairs,
    Preset,
    Source,
    Target,
    best_outputs,
    check_picture_path,
    columns,
    decode,
    is_export,
    load,
    log_probability,
    read,
    table,
)
from kerass2s.cli.searching import LexiconOption, SearchOption, check_search, searches
from kerass2s.errors import DataError, UserError

if TYPE_CHECKING:
    from kerass2s.confidence import Calibration
    from kerass2s.data import Pair
    from kerass2s.decoding import Hypothesis
    from kerass2s.export import Predictor
    from kerass2s.inference import Inference

ATTENTION_MAPS = 6
TREE_BEAMS = 4


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command(
        "predict",
        epilog=examples(
            "predict g2p_en words.txt --search beam:5",
            "predict g2p_en words.txt --search beam:5 --n-best 3 --json",
            "predict out/model.onnx - --n-best 3 --scores < words.txt",
            "predict my_model names.txt --search sample:4,seed=7 --n-best 4",
            "predict my_model words.txt --search beam:5 --lexicon allowed.txt",
            "predict my_model words.txt --confidence   # after `calibrate`",
            "predict my_model words.txt --attention looked.png --beam-tree beams.png",
        )
        + searches(),
    )(predict)
    app.command(
        "score",
        epilog=examples(
            "score my_model test.tsv", "score my_model test.tsv --perplexity", "score my_model x.tsv --json"
        ),
    )(score)
    app.command(
        "calibrate",
        epilog=examples(
            "calibrate my_model dev.tsv", "calibrate my_model dev.tsv --search beam:5 --plot dev.png --json"
        )
        + searches(),
    )(calibrate)


# === predict ===


def predict(
    model: Model,
    file: Annotated[str, typer.Argument(metavar="[FILE|-]", help="Sources, one a line; - is stdin.")] = "-",
    search: SearchOption = None,
    lexicon: LexiconOption = None,
    n_best: Annotated[int, typer.Option("--n-best", min=1, help="Outputs a line, tab separated, best first.")] = 1,
    scores: Annotated[bool, typer.Option("--scores", help="Put each output's score in the column after it.")] = False,
    attention: Annotated[
        str | None, typer.Option("--attention", metavar="PNG", help=f"Draw attention of the first {ATTENTION_MAPS}.")
    ] = None,
    beam_tree: Annotated[
        str | None, typer.Option("--beam-tree", metavar="PNG", help="Draw what the search of the first went through.")
    ] = None,
    confidence: Annotated[
        bool, typer.Option("--confidence", help="Put each output's calibrated confidence in the column after it.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object for each source, with all that is known of each output.")
    ] = False,
    batch_size: BatchSize = 64,
    window: Annotated[
        int, typer.Option(min=1, help="Lines read ahead, among which those of similar length share a batch.")
    ] = WINDOW,
) -> None:
    """Predict: a line in, a line out, in order. Only the first column of FILE is read.

    With --n-best N each line has N outputs, with --scores each output is followed by its score, with --confidence by
    how likely it is right. Where the search's rules allow fewer outputs, what is left is empty, with a score of -inf.
    FILE may have any number of lines; --window 1 answers each as soon as it comes.
    """
    from kerass2s.data import count_lines, stream_sources

    if not is_export(model):  # one checks the spec by what it holds
        check_search(search)
    for picture in (attention, beam_tree):
        check_picture_path(picture)
    if beam_tree and is_export(model):
        raise UserError(f"An export shows no steps; draw the tree of the preset it was made from. Received: {model}")
    total = count_lines(file)
    if search is None and n_best > 1 and not is_export(model):
        search = f"beam:{n_best}"
    predictor = load(model, search, lexicon)
    if n_best > predictor.width:
        raise UserError(
            f"--n-best {n_best} needs a search of that width, such as --search beam:{n_best} or sample:{n_best}. "
            f"Received: search {predictor.search}, which gives {predictor.width}"
        )
    calibration = _calibration(model, predictor.search) if confidence else None
    shown: list[tuple[str, Hypothesis]] = []
    sources = _numbered(stream_sources(file), file, predictor)
    for source, hypotheses in decode(predictor, sources, total, batch_size, window):
        if as_json:
            print(_object(source, hypotheses[:n_best], calibration), flush=True)
        else:
            print(_line(columns(hypotheses, n_best), scores, calibration), flush=True)
        if attention and source.strip() and hypotheses and len(shown) < ATTENTION_MAPS:
            shown.append((source, hypotheses[0]))
        if beam_tree and source.strip():
            _draw_tree(beam_tree, predictor, source)
            beam_tree = None
    if attention:
        _draw(attention, predictor, shown)


def _numbered(sources: Iterable[str], file: str, predictor: Predictor) -> Iterator[str]:
    """Yields the sources; one that the model does not take is refused with its line."""
    for number, source in enumerate(sources, 1):
        try:
            predictor.codec.check([source])
        except DataError as error:
            raise DataError(f"{file}:{number}: {str(error).partition(': ')[2]}") from error
        yield source


def _calibration(model: str, search: str) -> Calibration:
    """Reads how the outputs of a preset are calibrated."""
    from kerass2s.presets import load_calibration

    if is_export(model):
        raise UserError(f"A calibration stands in a preset: predict with the one it was made from. Received: {model}")
    return load_calibration(model, search)


def _line(hypotheses: Sequence[Hypothesis], scores: bool, calibration: Calibration | None) -> str:
    columns = [[each.text] for each in hypotheses]
    for each, column in zip(hypotheses, columns, strict=True):
        if scores:
            column.append(f"{each.score:.6f}")
        if calibration:
            column.append(f"{calibration.confidence([log_probability(each)])[0]:.4f}")
    return "\t".join(value for column in columns for value in column)


def _object(source: str, hypotheses: Sequence[Hypothesis], calibration: Calibration | None) -> str:
    """Returns a source with its outputs, best first, as a line of JSON; an output that does not exist is left out."""
    outputs = []
    for each in hypotheses:
        chance = log_probability(each)
        confidence = {"confidence": round(float(calibration.confidence([chance])[0]), 6)} if calibration else {}
        outputs.append(
            {"text": each.text, "score": round(each.score, 6), "log_probability": round(chance, 6), **confidence}
        )
    return json.dumps({"source": source, "outputs": outputs}, ensure_ascii=False)


def _draw(path: str, predictor: Predictor, shown: Sequence[tuple[str, Hypothesis]]) -> None:
    """Draws what the model looked at for the first few sources."""
    from kerass2s.plots import attention_map, save_attention

    maps = [attention_map(source, each, predictor.codec) for source, each in shown]
    save_attention(path, maps)


def _draw_tree(path: str, predictor: Predictor, source: str) -> None:
    """Draws the beam search of one source: the one that was asked for, or one of a few beams."""
    from kerass2s.decoding import BeamSearch
    from kerass2s.plots import beam_tree, save_beam_tree

    search = predictor.strategy if isinstance(predictor.strategy, BeamSearch) else BeamSearch(TREE_BEAMS)
    save_beam_tree(path, beam_tree(predictor.model, source, search), source)


# === score ===


def score(
    model: Preset,
    file: Pairs = None,
    source: Source = None,
    target: Target = None,
    perplexity: Annotated[
        bool, typer.Option("--perplexity", help="Print the perplexity by token instead, END counted.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object for each pair, with each token's log-probability.")
    ] = False,
    batch_size: BatchSize = 64,
) -> None:
    """Print the log-probability (nats) of each given target: a line for each pair, a column for each target."""
    if is_export(model):
        raise UserError(f"An export only searches; score with the preset it was made from. Received: {model}")
    pairs = read(file, source, target)
    quiet_tensorflow()
    from kerass2s.presets import load_preset

    live = load_preset(model)
    with progress("scoring", len(pairs)) as advance:
        for begin in range(0, len(pairs), WINDOW):
            chunk = pairs[begin : begin + WINDOW]
            for pair, targets in zip(chunk, _scored(live, chunk, batch_size), strict=True):
                key = "perplexity" if perplexity else "log_probability"
                columns = "\t".join(f"{each[key]:.6f}" for each in targets)
                print(
                    json.dumps({"source": pair.source, "targets": targets}, ensure_ascii=False) if as_json else columns
                )
            advance(len(chunk))


def _scored(live: Inference, pairs: Sequence[Pair], batch_size: int) -> Iterator[list[dict[str, Any]]]:
    """Yields what there is to say of each target of each pair."""
    from kerass2s.data import Pair

    flat = [Pair(each.source, target) for each in pairs for target in each.targets]
    scored = zip(flat, live.score_tokens(flat, batch_size), strict=True)
    for pair in pairs:
        yield [
            {
                "text": each.target,
                "log_probability": float(tokens.sum()),
                "perplexity": math.exp(-tokens.mean()),
                "token_log_probabilities": [round(float(token), 6) for token in tokens],
            }
            for each, tokens in islice(scored, len(pair.targets))
        ]


# === calibrate ===


def calibrate(
    model: Preset,
    file: Pairs = None,
    search: SearchOption = None,
    source: Source = None,
    target: Target = None,
    plot: Annotated[
        str | None, typer.Option("--plot", metavar="PNG", help="Draw reliability before and after, and risk.")
    ] = None,
    as_json: AsJson = False,
    batch_size: BatchSize = 64,
) -> None:
    """Fit, on pairs that the model was not trained on, how likely an output is right, and keep it in the preset.

    `predict --confidence` with the same search then shows it. Doubtful outputs can be sent to a person.
    """
    if is_export(model):
        raise UserError(f"A calibration stands in a preset; calibrate the one it was made from. Received: {model}")
    check_search(search)
    check_picture_path(plot)
    pairs = read(file, source, target)
    predictor = load(model, search, None)
    from kerass2s.confidence import Calibration
    from kerass2s.evaluation import are_right
    from kerass2s.presets import save_calibration

    best = best_outputs(predictor, pairs, batch_size)
    scores, right = [log_probability(each) for each in best], are_right([each.text for each in best], pairs)
    calibration = Calibration.fit(scores, right)
    report = _calibrated(calibration, scores, right, plot)
    save_calibration(model, predictor.search, calibration)
    print(json.dumps(report) if as_json else table(report))


def _calibrated(
    calibration: Calibration, scores: Sequence[float], right: Sequence[bool], plot: str | None
) -> dict[str, Any]:
    """Returns what the fit did to confidence on the very pairs it was made on, and draws it."""
    from kerass2s.confidence import Calibration, expected_calibration_error, risk_coverage
    from kerass2s.plots import save_calibration as draw

    kinds = {"before": Calibration().confidence(scores), "after": calibration.confidence(scores)}
    errors = {f"ece_{name}": expected_calibration_error(values, right) for name, values in kinds.items()}
    curve = risk_coverage(scores, right)
    if plot:
        draw(plot, kinds, right, curve)
    return {
        "n": len(scores),
        "sequence_accuracy": sum(right) / len(scores),
        "temperature": calibration.temperature,
        **errors,
        "risk_coverage_area": curve.area,
    }
