"""The typer app: a user's mistake becomes one line on stderr and exit 2; results go to stdout, all else to stderr."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from kerass2s.errors import UserError, suggestion
from kerass2s.files import OUT_OF_ROOM

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

__all__ = ["app", "examples", "hush", "one_line", "progress", "quiet_tensorflow", "stderr", "wrote"]


def one_line(error: BaseException) -> str:
    """Returns an error's message without line breaks."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"This path cannot be used: {error.strerror}. Received: {str(error.filename)!r}"
    if _is_out_of_room(error):
        return f"There is no room to write what was asked for. Received: {os.strerror(error.errno)}"
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    return _with_a_hint(" ".join(message.split()))


def _with_a_hint(message: str) -> str:
    """Says of an option's choices, as typer puts them, which may have been meant."""
    choice = re.fullmatch(r"(.*: )(?:Value error, )?('(.*)' is not one of ('.*')\.)", message)
    if choice is None:
        return message
    place, said, given, known = choice.groups()
    return place + said + suggestion(given, re.findall("'([^']*)'", known))


def _is_users_mistake(error: Exception) -> bool:
    """Tells a bad option (which typer raises), our own UserError, or what cannot be read or written, from a defect."""
    return (
        isinstance(error, UserError)
        or hasattr(error, "format_message")
        or (isinstance(error, OSError) and error.filename is not None)
        or _is_out_of_room(error)
    )


def _is_out_of_room(error: BaseException) -> bool:
    """Tells a full disk, whose error names no file."""
    return isinstance(error, OSError) and error.errno in OUT_OF_ROOM


def _let_go_of_output() -> None:
    """Drops what stdout still holds if it cannot go where it should: Python would try again at its end, and say so."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Group(TyperGroup):
    """Runs a command and turns what it raises into an exit status."""

    def main(self, *args: Any, standalone_mode: bool = True, **options: Any) -> Any:
        if not standalone_mode:
            return super().main(*args, standalone_mode=False, **options)
        sys.exit(self._status(*args, **options))

    def _status(self, *args: Any, **options: Any) -> int:
        try:
            status = super().main(*args, standalone_mode=False, **options)
            sys.stdout.flush()
        except BrokenPipeError:  # the reader of our output has gone; leave without a word
            _let_go_of_output()
            return 1
        except typer.Abort:
            print("error: interrupted", file=sys.stderr)
            return 130
        except Exception as error:
            if not _is_users_mistake(error):
                raise
            print(f"error: {one_line(error)}", file=sys.stderr)
            _let_go_of_output()
            return 2
        return status if isinstance(status, int) else 0


def examples(*lines: str) -> str:
    """Returns the end of a command's help: example lines, kept as they are, and an empty line."""
    return "Examples:\n\n\b\n" + "\n".join(f"  kerass2s {line}" for line in lines) + "\n\n"


app = typer.Typer(
    cls=_Group,
    name="kerass2s",
    help="Sequence to sequence models in Keras: train, predict, evaluate and export.",
    epilog=examples(
        "quickstart",
        "train transduce --train train.tsv --dev dev.tsv --out runs/mine",
        "evaluate runs/mine test.tsv --search beam:5",
        "predict g2p_en words.txt",
        "COMMAND --help",
    ),
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)


@app.callback(invoke_without_command=True)
def _top(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version and leave.", is_eager=True),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="Before COMMAND: nothing on stderr but errors."),
) -> None:
    hush(quiet)
    if version:
        import kerass2s

        print(kerass2s.__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        raise UserError("a command is missing. Try `kerass2s --help`. Received: no command")


def hush(quiet: bool) -> None:
    """Sets whether `stderr` and `progress` say nothing; results on stdout and errors stay."""
    _talk["quiet"] = quiet


_talk = {"quiet": False}


def stderr() -> Console:
    """Returns a console on stderr, for tables of progress and logs."""
    from rich.console import Console

    # In a notebook, too, these are lines of text on stderr.
    return Console(stderr=True, highlight=False, quiet=_talk["quiet"], force_jupyter=False)


def wrote(out: str, then: str = "", *, as_json: bool) -> None:
    """Says what a command has written, and what can be done with it; for programs as JSON on stdout."""
    if as_json:
        print(json.dumps({"out": out}))
    else:
        stderr().print(f"wrote {out}{then}", markup=False, soft_wrap=True)


@contextmanager
def progress(description: str, total: int | None) -> Iterator[Any]:
    """Shows a bar on stderr (on a terminal only) and yields `advance(count)`; None where the end is not known."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = stderr()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar: Progress
    with Progress(*columns, console=console, transient=True, disable=console.quiet or not console.is_terminal) as bar:
        task = bar.add_task(description, total=total)
        yield lambda count: bar.advance(task, count)


def quiet_tensorflow(begin: Callable[[], Any] | None = None) -> Any:
    """Imports TensorFlow without the notes that its C++ side writes to stderr before any log level counts.

    `begin` is what comes before anything else that TensorFlow does; what it returns is returned.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if "tensorflow" in sys.modules:
        return begin and begin()
    with _stderr_closed():
        import tensorflow as tf

        from kerass2s.text.outside import tensorflow_text_if_any

        tf.get_logger().setLevel("ERROR")
        begun = begin and begin()
        tf.config.list_logical_devices()
        tensorflow_text_if_any()  # its import writes notes too
    return begun


@contextmanager
def _stderr_closed() -> Iterator[None]:
    """Sends what the process writes to stderr nowhere, C++ included; exceptions still come through."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
