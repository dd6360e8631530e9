"""Options that several verbs share, and what they become."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from bezel.errors import InvalidRequestError

Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        envvar="BEZEL_MODEL",
        help="tiny, owner/name, owner/name@revision, owner/name:file.gguf, a path",
    ),
]
Level = Annotated[
    str | None,
    typer.Option(help="maximum_efficiency (4 bit), balanced (8 bit) or performance (BF16); default: as stored."),
]
Context = Annotated[int | None, typer.Option("--context", "-c", help="Tokens of context; default: 8192 at most.")]
Threads = Annotated[int | None, typer.Option(help="Threads; default: one for each processor that may be used.")]
Draft = Annotated[str | None, typer.Option(help="A smaller model of the same vocabulary that drafts tokens.")]
Speculation = Annotated[
    str,
    typer.Option(help="Who drafts tokens to be checked together: auto, off, lookup or draft. Answers stay the same."),
]
CacheType = Annotated[
    str, typer.Option("--cache-type", help="What keys and values are kept in: f16, q8_0 (half of that) or f32.")
]
_SIZES = "a published MatFormer size like E2.98B, or FFN widths by layer like 16384x20,0x5,8192x10"
Size = Annotated[str | None, typer.Option(help=f"Cut Gemma 3n while it is loaded: {_SIZES}.")]
NeededSize = Annotated[str, typer.Option("--size", help=_SIZES[0].upper() + _SIZES[1:] + " (0 leaves a layer out).")]
System = Annotated[str | None, typer.Option(help="System message.")]
MaxTokens = Annotated[int | None, typer.Option("--max-tokens", "-n", help="Most tokens of an answer.")]
Stop = Annotated[list[str] | None, typer.Option(help="Text that ends the answer; may be given several times.")]
Temperature = Annotated[float | None, typer.Option("--temperature", "-t", help="0 is greedy.")]
TopK = Annotated[int | None, typer.Option(help="Keep the k most probable tokens.")]
TopP = Annotated[float | None, typer.Option(help="Keep the most probable tokens that sum to p.")]
MinP = Annotated[float | None, typer.Option(help="Keep tokens of at least this share of the most probable one.")]
RepetitionPenalty = Annotated[float | None, typer.Option(help="Above 1: fewer repetitions.")]
Seed = Annotated[int | None, typer.Option(help="Same seed, same answer.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def given(**options: Any) -> dict[str, Any]:
    """The options that were given on the command line."""
    return {name: value for name, value in options.items() if value is not None}


@contextmanager
def progress() -> Iterator[Callable[[int, int], None]]:
    """A function that shows (bytes done, all bytes) on a terminal's standard error, and nowhere else."""

    def show(done: int, total: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{done / total:4.0%} of {gigabytes(total)}", end="", file=sys.stderr, flush=True)

    yield show
    if sys.stderr.isatty():
        print(file=sys.stderr)


_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def parse_memory(text: str) -> int:
    """Bytes from "3GB", "512 MB", "1.5g" (as memory is sold: 1 GB is 2^30 bytes). InvalidRequestError otherwise."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?\s*", text.lower())
    if not match or float(match[1]) <= 0:
        raise InvalidRequestError(f"{text!r} is not an amount of memory; write it like 3GB or 512MB")
    return int(float(match[1]) * _UNITS[match[2]])


def gigabytes(size: float) -> str:
    """1.53 GB, in units of 2^30 bytes."""
    return f"{size / 2**30:.2f} GB"
