"""`bezel`: puts the verbs together and turns errors into one line and an exit status."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer

import bezel
from bezel.cli import (
    advise,
    bench,
    chat,
    check,
    embed,
    eval_,
    keys,
    list_,
    monitor,
    pull,
    quantize,
    run,
    serve,
    show,
    slice_,
    speech,
)
from bezel.errors import BezelError

app = typer.Typer(
    name="bezel",
    help="Run Google's Gemma models on this machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("run")(run.run)
app.command("chat")(chat.chat)
app.command("embed")(embed.embed)
app.command("transcribe")(speech.transcribe)
app.command("translate")(speech.translate)
app.command("serve")(serve.serve)
app.add_typer(keys.app, name="keys")
app.add_typer(monitor.app, name="monitor")
app.command("pull")(pull.pull)
app.command("quantize")(quantize.quantize)
app.command("slice")(slice_.slice_)
app.command("list")(list_.list_)
app.command("show")(show.show)
app.command("advise")(advise.advise)
app.command("check")(check.check)
app.command("eval")(eval_.eval_)
app.command("bench")(bench.bench)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"bezel {bezel.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Run Google's Gemma models on this machine."""


def main() -> Any:
    """Exit status 0, 1 for an error that was explained, 2 for a command that cannot be read, 130 for Ctrl-C."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the kernels' threads are the only ones that work
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        return app()
    except BezelError as error:
        print(f"bezel: {error}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
