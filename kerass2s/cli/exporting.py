"""`kerass2s export` and `verify`: a preset to a SavedModel or an ONNX file, and the proof that it is the same."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from kerass2s.cli.app import examples, quiet_tensorflow, stderr
from kerass2s.cli.searching import LexiconOption, SearchOption, read_lexicon, searches


class Format(StrEnum):
    """What can be written."""

    saved_model = "saved_model"
    onnx = "onnx"


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command(
        "export",
        epilog=examples(
            "export my_model out/saved_model/1 --format saved_model",
            "export my_model out/model.onnx --format onnx --search beam:5",
            "export my_model out/model.onnx --format onnx --lexicon allowed.txt",
        )
        + searches(),
    )(export)
    app.command("verify", epilog=examples("verify out/model.onnx --against my_model"))(verify)


def export(
    model: Annotated[str, typer.Argument(help="Preset name or directory.")],
    out: Annotated[str, typer.Argument(help="Directory (SavedModel) or file (ONNX) to write.")],
    format: Annotated[Format, typer.Option("--format", help="What to write.")],
    search: SearchOption = None,
    lexicon: LexiconOption = None,
) -> None:
    """Export a model with its whole search inside."""
    quiet_tensorflow()
    from kerass2s.decoding import parse_search
    from kerass2s.decoding.search import filtered

    spec = None if search is None else parse_search(search)
    from kerass2s.seq2seq import Seq2Seq

    live = Seq2Seq.from_preset(model)
    if lexicon is not None:
        spec = filtered(spec or live.codec.search(), read_lexicon(lexicon, live.codec))
    live.export(out, format={"saved_model": "tf_saved_model", "onnx": "onnx"}[format.value], search=spec)
    stderr().print(f"wrote {out}", markup=False, soft_wrap=True)


def verify(
    path: Annotated[str, typer.Argument(metavar="EXPORT", help="SavedModel directory or .onnx file.")],
    against: Annotated[str | None, typer.Option("--against", metavar="MODEL", help="Preset it must equal.")] = None,
) -> None:
    """Reload an export in a fresh process and compare it with the live model; exit 1 if they differ."""
    quiet_tensorflow()
    from kerass2s.export import verify as verify_export

    report = verify_export(path, against=against)
    print(report)
    if not report.ok:
        raise typer.Exit(1)
