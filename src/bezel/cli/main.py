"""`bezel`: puts the verbs together and turns errors into one line and an exit status."""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import os
import sys

import click

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
from bezel.cli.commands import command, group
from bezel.errors import BezelError

app = group(
    "bezel",
    "Run Google's Gemma models on this machine.",
    [
        command("run", run.run),
        command("chat", chat.chat),
        command("embed", embed.embed),
        command("transcribe", speech.transcribe),
        command("translate", speech.translate),
        command("serve", serve.serve),
        keys.VERBS,
        monitor.VERBS,
        command("pull", pull.pull),
        command("quantize", quantize.quantize),
        command("slice", slice_.slice_),
        command("list", list_.list_),
        command("show", show.show),
        command("advise", advise.advise),
        command("check", check.check),
        command("eval", eval_.eval_),
        command("bench", bench.bench),
    ],
)
click.version_option(bezel.__version__, message="%(prog)s %(version)s", help="Print the version and leave.")(app)


def main() -> int:
    """Exit status 0, 1 for an error that was explained, 2 for a command that cannot be read, 130 for Ctrl-C."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the kernels' threads are the only ones that work
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    _write_what_can_be_written()
    try:
        status = app.main(prog_name="bezel", standalone_mode=False) or 0
        if sys.stdout is not None:
            sys.stdout.flush()  # what fails when Python ends is told in its own words
        return status
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return 130
    except BezelError as error:
        print(f"bezel: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        full = error.errno == errno.ENOSPC
        if not full and not isinstance(error, BrokenPipeError):
            raise
        if full:
            print(
                "bezel: the answer cannot be written (no space left); free some, or send it elsewhere", file=sys.stderr
            )
        _drop_output()
        return 1


def _write_what_can_be_written() -> None:
    """A character that the encoding of the output does not have becomes "?", and no error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and (stream.errors == "strict" or not _unicode(stream.encoding)):
            stream.reconfigure(errors="replace")


def _unicode(encoding: str) -> bool:
    return codecs.lookup(encoding).name.startswith("utf-")


def _drop_output() -> None:
    """Nobody reads standard output any more, or nothing can be written to it: what is left goes nowhere."""
    with contextlib.suppress(io.UnsupportedOperation), open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
