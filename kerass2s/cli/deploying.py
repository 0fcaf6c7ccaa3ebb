"""`kerass2s deploy`: folders that hosts of models are given."""

from __future__ import annotations

from typing import Annotated

import typer

from kerass2s.cli.app import examples, quiet_tensorflow, wrote
from kerass2s.cli.models import AsJson, preset_names

SavedModels = Annotated[
    list[str],
    typer.Argument(metavar="EXPORT...", help="SavedModels, or exported directories with one; or NAME=EXPORT."),
]
OnnxFiles = Annotated[
    list[str],
    typer.Argument(metavar="EXPORT...", help="ONNX files, or exported directories with one; or NAME=EXPORT."),
]
OutOption = Annotated[str, typer.Option("--out", metavar="DIR", help="Folder to write, new or empty.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    deploy = typer.Typer(
        name="deploy",
        help="Write what a host of models is given.",
        epilog=examples("deploy web g2p_en --out demo --example phoneme", "deploy web --help"),
        rich_markup_mode=None,
    )
    deploy.command(
        "web",
        epilog=examples(
            "deploy web out/model.onnx --out demo",
            "deploy web pronounce=runs/g2p out/spell/model.onnx --out demo --example phoneme --example spell=FOWNIYM",
        ),
    )(web)
    deploy.command(
        "tf-serving",
        epilog=examples(
            "deploy tf-serving out/saved_model/1 --out served", "deploy tf-serving g2p=out spell=other --out served"
        ),
    )(tf_serving)
    deploy.command("triton", epilog=examples("deploy triton g2p=out/model.onnx --out repository"))(triton)
    deploy.command("mlserver", epilog=examples("deploy mlserver g2p=out/model.onnx --out served"))(mlserver)
    deploy.command("beam", epilog=examples("deploy beam out/model.text.onnx --out corpus_job"))(beam)
    app.add_typer(deploy)


def web(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="ONNX files, or presets to export with beam:5; or NAME=MODEL.",
            autocompletion=preset_names,
        ),
    ],
    out: Annotated[str, typer.Option("--out", metavar="DIR", help="Folder to write.")],
    runtime: Annotated[
        str | None,
        typer.Option("--runtime", metavar="DIR", help="onnxruntime-web's folder dist; without it, npm brings it."),
    ] = None,
    example: Annotated[
        list[str] | None,
        typer.Option("--example", metavar="TEXT", help="Offered to try; NAME=TEXT by the model of that name alone."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a web page that runs models in the browser: static files for any web server."""
    quiet_tensorflow()
    from kerass2s.deploy.web import write_page

    write_page(models, out, runtime=runtime, examples=example or [])
    wrote(out, f"; to see it: python -m http.server -d {out}", as_json=as_json)


def tf_serving(
    exports: SavedModels,
    out: OutOption,
    image: Annotated[
        str | None, typer.Option("--image", metavar="NAME:TAG", help="Container to start; by default TensorFlow's.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a folder for a TensorFlow Serving container: models, warm-up, batching, compose file."""
    quiet_tensorflow()
    from kerass2s.deploy.tf_serving import IMAGE, write_tf_serving

    write_tf_serving(exports, out, image or IMAGE)
    wrote(out, f"; to start it: cd {out} && docker compose up", as_json=as_json)


def triton(exports: OnnxFiles, out: OutOption, as_json: AsJson = False) -> None:
    """Write a model repository for Triton's onnxruntime backend."""
    quiet_tensorflow()
    from kerass2s.deploy.triton import write_triton

    write_triton(exports, out)
    wrote(out, f"; to start it: tritonserver --model-repository={out}", as_json=as_json)


def mlserver(exports: OnnxFiles, out: OutOption, as_json: AsJson = False) -> None:
    """Write a folder for MLServer: texts in, texts out, by the V2 protocol."""
    quiet_tensorflow()
    from kerass2s.deploy.mlserver import write_mlserver

    write_mlserver(exports, out)
    wrote(out, f"; {out}/README.md says how to start it", as_json=as_json)


def beam(
    export: Annotated[
        str, typer.Argument(metavar="EXPORT", help="A text-to-text ONNX file, or an exported directory with one.")
    ],
    out: OutOption,
    as_json: AsJson = False,
) -> None:
    """Write a folder for Apache Beam: a pipeline that answers every line of a corpus, on one machine or on many."""
    quiet_tensorflow()
    from kerass2s.deploy.beam import write_beam

    write_beam(export, out)
    wrote(out, f"; {out}/README.md says how to run it", as_json=as_json)
