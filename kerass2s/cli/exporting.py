"""`kerass2s export`, `verify`, `ensemble`, `release` and `push`: what is made of presets, and where it goes."""

from __future__ import annotations

import json
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kerass2s.cli.app import examples, quiet_tensorflow, wrote
from kerass2s.cli.models import AsJson, Preset, preset_names
from kerass2s.cli.searching import LexiconOption, SearchOption, read_lexicon, searches

if TYPE_CHECKING:
    from kerass2s.export import VerifyReport


class Format(StrEnum):
    """What can be written."""

    saved_model = "saved_model"
    onnx = "onnx"
    onnx_steps = "onnx_steps"
    text_onnx = "text_onnx"


class Precision(StrEnum):
    """How many bits the weights of an export have."""

    float32 = "float32"
    float16 = "float16"
    int8 = "int8"


class Average(StrEnum):
    """How an ensemble joins what its members say."""

    log_probability = "log_probability"
    probability = "probability"


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command(
        "export",
        epilog=examples(
            "export my_model out/saved_model/1 --format saved_model",
            "export my_model out/model.onnx --format onnx --search beam:5",
            "export my_model out/model.onnx --format onnx --lexicon allowed.txt",
            "export my_model out/small.onnx --format onnx --precision int8",
            "export my_model out/steps --format onnx_steps",
            "export my_model out/model.text.onnx --format text_onnx",
        )
        + searches(),
    )(export)
    app.command("ensemble", epilog=examples("ensemble runs/one runs/two runs/three --out runs/together"))(ensemble)
    app.command(
        "push", epilog=examples("push runs/mine hf://me/my_model", "push exported/g2p_en hf://me/g2p --private")
    )(push)
    app.command(
        "release",
        epilog=examples(
            "release runs/dates exported/dates --search beam:4", "release runs/dates exported/dates --json"
        ),
    )(release)
    app.command("verify", epilog=examples("verify out/model.onnx --against my_model"))(verify)


def export(
    model: Preset,
    out: Annotated[str, typer.Argument(help="Directory (SavedModel, steps) or file (ONNX) to write.")],
    format: Annotated[Format, typer.Option("--format", help="What to write.")],
    search: SearchOption = None,
    lexicon: LexiconOption = None,
    opset: Annotated[int | None, typer.Option("--opset", help="ONNX: version of the operators, 18 by default.")] = None,
    precision: Annotated[
        Precision | None, typer.Option("--precision", help="Bits of the weights; int8 is ONNX's alone.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Export a model with its whole search inside; as onnx_steps its encoder and one step of its decoder."""
    quiet_tensorflow()
    from kerass2s.decoding import parse_search
    from kerass2s.decoding.search import filtered

    spec = None if search is None else parse_search(search)
    from kerass2s.presets import load_preset

    live = load_preset(model)
    if lexicon is not None:
        spec = filtered(spec or live.codec.search(), read_lexicon(lexicon, live.codec))
    name = "tf_saved_model" if format is Format.saved_model else format.value
    live.export(out, format=name, search=spec, opset=opset, precision=precision and precision.value)
    wrote(out, as_json=as_json)


def ensemble(
    models: Annotated[
        list[str],
        typer.Argument(metavar="MODEL...", help="Preset names or directories.", autocompletion=preset_names),
    ],
    out: Annotated[str, typer.Option("--out", metavar="DIR", help="Becomes a preset directory.")],
    average: Annotated[Average, typer.Option("--average", help="What is averaged at each step.")] = (
        Average.log_probability
    ),
    as_json: AsJson = False,
) -> None:
    """Join models with one vocabulary into an ensemble that predicts, scores and exports as one model."""
    quiet_tensorflow()
    from kerass2s.ensemble import Ensemble

    Ensemble.from_presets(models, average.value).save_to_preset(out)
    wrote(out, as_json=as_json)


def release(
    run: Annotated[str, typer.Argument(help="What `train` made, with data by name.")],
    out: Annotated[str, typer.Argument(help="Becomes NAME/ with everything in it.")],
    search: SearchOption = None,
    precision: Annotated[
        Precision, typer.Option("--precision", help="ONNX: bits of the weights; below 32 all else has 16.")
    ] = Precision.float32,
    as_json: AsJson = False,
) -> None:
    """Make what one gives away of a training run: preset, SavedModel, ONNX files, model card, manifest.

    The card has the figures of the whole dev and test parts. Each export is verified against the preset.
    """
    quiet_tensorflow()
    from kerass2s.decoding import GreedySearch, parse_search
    from kerass2s.release import release as make

    figures = make(Path(run), Path(out), parse_search(search) if search else GreedySearch(), precision.value)
    if as_json:
        print(json.dumps({"out": out, **figures}))
    else:
        for part, each in figures.items():
            print(f"{part}: {each['n']} pairs, word error rate {each['word_error_rate']:.4f}")
        wrote(out, as_json=False)


def verify(
    path: Annotated[
        str, typer.Argument(metavar="EXPORT", help="SavedModel or steps directory, .onnx file, or a directory of them.")
    ],
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="MODEL", help="Preset it must equal.", autocompletion=preset_names),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Reload an export in a fresh process and compare it with the live model; exit 1 if they differ."""
    quiet_tensorflow()
    from kerass2s.export import verify as verify_export

    report = verify_export(path, against=against)
    if as_json:
        checks = [{**asdict(check), "ok": check.ok} for check in report.checks]
        print(json.dumps({"ok": report.ok, "checks": checks}, indent=2, ensure_ascii=False))
    else:
        _print_table(report)
        print(report)
    if not report.ok:
        raise typer.Exit(1)


def _print_table(report: VerifyReport) -> None:
    """Prints a row for each artefact: what was compared, on how many probes, how far apart, how fast."""
    from rich.console import Console
    from rich.table import Table

    table = Table("export", "search", "weights", "probes", "best the same", "largest difference", "ms", "live ms")
    for check in report.checks:
        apart = "\n".join(f"{name} {value:.1e}" for name, value in check.largest.items()) or "-"
        same = f"{check.same} of {check.rows}" if check.rows else "-"
        live = "-" if check.live_milliseconds is None else f"{check.live_milliseconds:.1f}"
        named = ("" if check.ok else "FAILED ") + check.path
        table.add_row(
            named, check.search, check.precision, str(check.probes), same, apart, f"{check.milliseconds:.1f}", live
        )
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 160  # a file has no width of its own to be cut to
    console.print(table)
    console.print("ms: one probe, the median over all probes and repeats after a first call, on this machine now")


def push(
    model: Annotated[
        str,
        typer.Argument(
            help="Preset name or directory; what lies beside the preset goes too.", autocompletion=preset_names
        ),
    ],
    handle: Annotated[str, typer.Argument(metavar="hf://OWNER/NAME", help="Where it goes.")],
    private: Annotated[bool, typer.Option("--private", help="Make a private repository, if it is made.")] = False,
    as_json: AsJson = False,
) -> None:
    """Upload a preset to the Hugging Face Hub. MODEL may then be that handle, wherever a preset is taken.

    Log in with `hf auth login`, or set HF_TOKEN. It needs: pip install 'kerass2s[hub]'.
    """
    quiet_tensorflow()
    from kerass2s.presets import push_preset

    address = push_preset(model, handle, private=private)
    print(json.dumps({"address": address}) if as_json else address)
