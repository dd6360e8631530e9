"""Options that several verbs share, and what they become."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from bezel.cli.commands import Option

if TYPE_CHECKING:
    from bezel.api import Model as LoadedModel

Model = Annotated[
    str,
    Option(
        "--model",
        "-m",
        envvar="BEZEL_MODEL",
        help="tiny, owner/name, owner/name@revision, owner/name:file.gguf, a path",
    ),
]
Level = Annotated[
    str | None,
    Option(help="maximum_efficiency (4 bit), balanced (8 bit) or performance (BF16); default: as stored."),
]
Context = Annotated[int | None, Option("--context", "-c", help="Tokens of context; default: 8192 at most.")]
Threads = Annotated[int | None, Option(help="Threads; default: one for each processor that may be used.")]
Draft = Annotated[str | None, Option(help="A smaller model of the same vocabulary that drafts tokens.")]
Speculation = Annotated[
    str,
    Option(help="Who drafts tokens to be checked together: auto, off, lookup or draft. Answers stay the same."),
]
CacheType = Annotated[
    str, Option("--cache-type", help="What keys and values are kept in: f16, q8_0 (half of that) or f32.")
]
_SIZES = "a published MatFormer size like E2.98B, or FFN widths by layer like 16384x20,0x5,8192x10"
Size = Annotated[str | None, Option(help=f"Cut Gemma 3n while it is loaded: {_SIZES}.")]
NeededSize = Annotated[str, Option("--size", help=_SIZES[0].upper() + _SIZES[1:] + " (0 leaves a layer out).")]
Mmproj = Annotated[
    str | None, Option(help="GGUF file of the towers; default: for Gemma 3 the one beside the model's file.")
]
Fit = Annotated[str | None, Option(help="Choose size, precision and context for this memory, like 2.3GB.")]
Profile = Annotated[
    str | None,
    Option(help="edge: E2B of Gemma 3n, 8 bit where it fits and else 4, 2048 tokens, one answer at a time."),
]
Backend = Annotated[
    str,
    Option(
        envvar="BEZEL_BACKEND",
        help="What runs the model: native, transformers (on a torch device), or an endpoint: openai (or any that "
        "speaks its protocol), vllm, ollama, google, vertex, nvidia. Keys come from the environment.",
    ),
]
Device = Annotated[str | None, Option(help="Torch device of the backend transformers; default: the best here.")]
BaseUrl = Annotated[str | None, Option("--base-url", help="Another address of the backend.")]
Fps = Annotated[float | None, Option(above=0, max=30, help="Frames a second of videos; default: 1.")]
Mute = Annotated[bool, Option("--mute", help="Leave the sound of videos out.")]
System = Annotated[str | None, Option(help="System message.")]
MaxTokens = Annotated[int | None, Option("--max-tokens", "-n", help="Most tokens of an answer.")]
Stop = Annotated[list[str] | None, Option(help="Text that ends the answer; may be given several times.")]
Temperature = Annotated[float | None, Option("--temperature", "-t", help="0 is greedy.")]
TopK = Annotated[int | None, Option(help="Keep the k most probable tokens.")]
TopP = Annotated[float | None, Option(help="Keep the most probable tokens that sum to p.")]
MinP = Annotated[float | None, Option(help="Keep tokens of at least this share of the most probable one.")]
RepetitionPenalty = Annotated[float | None, Option(help="Above 1: fewer repetitions.")]
Seed = Annotated[int | None, Option(help="Same seed, same answer.")]
Culture = Annotated[
    str | None, Option(help="Whom the answer is for: japanese, american, ...; several with commas between.")
]
Style = Annotated[str | None, Option(help="formal, casual or educational.")]
Tools = Annotated[
    list[Path] | None,
    Option(
        help="A Python file, whose functions the model may call (they are executed), or a JSON file with a list of "
        "OpenAI tool schemas (calls are only printed). May be given several times."
    ),
]
Mcp = Annotated[
    list[str] | None,
    Option("--mcp", help="Command of an MCP server, whose tools the model may call. May be given several times."),
]
MaxRounds = Annotated[int, Option(min=1, help="Most answers with calls before the loop ends.")]
Json = Annotated[bool, Option("--json", help="Print one JSON object.")]


def given(**options: Any) -> dict[str, Any]:
    """The options that were given on the command line."""
    return {name: value for name, value in options.items() if value is not None}


def chosen(model: LoadedModel) -> dict[str, Any]:
    """What was chosen to fit a budget or a profile, as a field of a record; nothing where nothing was."""
    why = model.describe().get("chosen")
    return {"chosen": why} if why else {}


def cultures(text: str | None) -> list[str]:
    """The names between commas."""
    return [name for name in (text or "").split(",") if name.strip()]


def explain(model: LoadedModel) -> None:
    """One line on standard error about what was chosen."""
    for why in chosen(model).values():
        print(f"bezel: {why}", file=sys.stderr)


@contextmanager
def progress() -> Iterator[Callable[[int, int], None]]:
    """A function that shows (bytes done, all bytes) on a terminal's standard error, and nowhere else."""

    def show(done: int, total: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{done / total:4.0%} of {gigabytes(total)}", end="", file=sys.stderr, flush=True)

    yield show
    if sys.stderr.isatty():
        print(file=sys.stderr)


def gigabytes(size: float) -> str:
    """1.53 GB, in units of 2^30 bytes."""
    return f"{size / 2**30:.2f} GB"
