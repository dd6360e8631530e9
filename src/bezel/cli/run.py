"""`bezel run "question"`: one answer, streamed."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from bezel.cli import options
from bezel.cli.commands import Argument, Option
from bezel.cli.media import of_videos, showing
from bezel.cli.piped import at_terminal, piped
from bezel.errors import InvalidRequestError

if TYPE_CHECKING:
    from bezel.api import Model
    from bezel.backends.interface import Result
    from bezel.cli.objects import Seen
    from bezel.cli.tools import Offered
    from bezel.tools import ToolRun


def run(
    prompt: Annotated[list[str] | None, Argument(help="The question; - or nothing reads standard input.")] = None,
    model: options.Model = "tiny",
    backend: options.Backend = "native",
    base_url: options.BaseUrl = None,
    device: options.Device = None,
    file: Annotated[list[Path] | None, Option("--file", "-f", help="Text files put before the question.")] = None,
    image: Annotated[list[Path] | None, Option("--image", "-i", help="Images put before the question.")] = None,
    audio: Annotated[list[Path] | None, Option("--audio", help="Sounds put before the question.")] = None,
    video: Annotated[
        list[Path] | None, Option("--video", help="Videos put before the question: frames, and sound.")
    ] = None,
    fps: options.Fps = None,
    mute: options.Mute = False,
    pan_and_scan: Annotated[
        bool | None, Option(help="See images in crops too; default: large and very long ones.")
    ] = None,
    masks: Annotated[
        Path | None,
        Option(help="PaliGemma's mask decoder (vae-oid.npz): --json shows the masks of objects, too."),
    ] = None,
    mmproj: options.Mmproj = None,
    system: options.System = None,
    level: options.Level = None,
    context: options.Context = None,
    threads: options.Threads = None,
    draft: options.Draft = None,
    speculation: options.Speculation = "auto",
    cache_type: options.CacheType = "f16",
    size: options.Size = None,
    fit: options.Fit = None,
    profile: options.Profile = None,
    max_tokens: options.MaxTokens = None,
    stop: options.Stop = None,
    temperature: options.Temperature = None,
    top_k: options.TopK = None,
    top_p: options.TopP = None,
    min_p: options.MinP = None,
    repetition_penalty: options.RepetitionPenalty = None,
    seed: options.Seed = None,
    schema: Annotated[Path | None, Option(help="JSON Schema file that the answer must satisfy.")] = None,
    regex: Annotated[str | None, Option(help="Regular expression that the whole answer matches.")] = None,
    choices: Annotated[str | None, Option(help="Answers to choose from, with commas between.")] = None,
    grammar: Annotated[Path | None, Option(help="Lark grammar file that the answer follows.")] = None,
    culture: options.Culture = None,
    style: options.Style = None,
    tools: options.Tools = None,
    mcp: options.Mcp = None,
    tool_choice: Annotated[
        str | None, Option(help="auto, none, required, or the name of the tool that is called first.")
    ] = None,
    max_rounds: options.MaxRounds = 8,
    stats: Annotated[bool, Option("--stats", help="Print token counts and speed to standard error.")] = False,
    as_json: options.Json = False,
) -> None:
    """Answer one question. Text from a pipe and from files stands before the question."""
    question = _question(prompt or [], file or [])
    from bezel.cli.objects import mask_decoder, seen_by
    from bezel.cli.tools import offered
    from bezel.prompts import answering

    videos = of_videos(fps, mute)
    if videos and not video:
        raise InvalidRequestError("--fps and --mute are for videos; name one with --video")
    decoder, images = mask_decoder(masks, image or [], as_json), image or []
    shown = {"image": images, "audio": audio or [], "video": video or []}
    *before, asked_of = answering(question, options.cultures(culture), style, system)
    messages = [*before, asked_of | {"content": showing(asked_of["content"], shown, videos)}]
    with offered(tools or [], mcp or []) as found:
        from bezel.api import load

        chosen = options.given(size=size, fit=fit, profile=profile, mmproj=mmproj, backend=backend)
        chosen |= options.given(base_url=base_url, device=device)
        if backend == "native":
            several = bool(video) or max(len(images), len(audio or [])) > 1
            chosen["keep_towers"] = several  # a tower that looks once need not stay
        loaded = load(model, level, context, threads, sequences=1, draft=draft, cache=cache_type, **chosen)
        options.explain(loaded)
        seen = seen_by(loaded, images, decoder)
        asked = options.given(
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            repetition_penalty=repetition_penalty,
            seed=seed,
            speculation=speculation,
            schema=_text(schema) if schema is not None else None,
            regex=regex,
            choices=[choice.strip() for choice in choices.split(",")] if choices is not None else None,
            grammar=_text(grammar) if grammar is not None else None,
            max_tokens=max_tokens,
            tool_choice=_choice(tool_choice) if tool_choice is not None else None,
            pan_and_scan=pan_and_scan,
        )
        _answer(loaded, messages, found, max_rounds, stats, as_json, model, seen, stop=tuple(stop or ()), **asked)


def _choice(text: str) -> Any:
    """A tool choice as the command line spells it."""
    return text if text in ("auto", "none", "required") else {"type": "function", "function": {"name": text}}


def _answer(
    loaded: Model,
    messages: list[dict[str, Any]],
    offered: Offered,
    max_rounds: int,
    stats: bool,
    as_json: bool,
    name: str,
    seen: Seen | None,
    **asked: Any,
) -> None:
    """Print an answer while it is written, or all of it as one JSON object."""
    from bezel.cli.tools import show

    shown = show((lambda text: None) if as_json else (lambda text: print(text, end="", flush=True)))
    runs = None
    if offered.tools:
        done = loaded.run_tools(messages, offered.tools, max_rounds, listen=shown, **asked)
        result, runs = done.result, done.runs
        if not done.finished:
            print(f"bezel: no answer in words after {max_rounds} rounds of calls", file=sys.stderr)
    else:
        result = loaded.answer(loaded.request(messages=messages, tools=offered.schemas, **asked), shown)
    usage = result.usage
    if as_json:
        record = {"model": name, **_fields(result, runs)}
        record |= seen.objects(result.text) if seen else {}
        record |= {"memory": asdict(loaded.memory()), **options.chosen(loaded)}
        print(json.dumps(record, ensure_ascii=False))
        return
    print()
    if stats:
        print(
            f"{usage.prompt_tokens} tokens read ({usage.prefill_tokens_per_second:.0f}/s), "
            f"{usage.completion_tokens} written "
            f"({usage.decode_tokens_per_second:.0f}/s), {usage.accepted_tokens} of {usage.draft_tokens} "
            f"drafted tokens accepted, {options.gigabytes(loaded.memory().peak)} at most, "
            f"ended by {result.finish_reason}",
            file=sys.stderr,
        )


def _fields(result: Result, runs: Sequence[ToolRun] | None) -> dict[str, Any]:
    usage = result.usage
    speeds = {
        "prefill_tokens_per_second": round(usage.prefill_tokens_per_second, 1),
        "decode_tokens_per_second": round(usage.decode_tokens_per_second, 1),
        "acceptance_rate": round(usage.acceptance_rate, 3),
    }
    fields: dict[str, Any] = {
        "text": result.text,
        "finish_reason": result.finish_reason,
        "usage": asdict(usage) | speeds,
    }
    if result.calls:
        fields["calls"] = [asdict(call) for call in result.calls]
    return fields if runs is None else fields | {"runs": [asdict(run) for run in runs]}


def _question(prompt: list[str], files: list[Path]) -> str:
    parts = [f"File {_shown(file)}:\n{_text(file)}" for file in files]
    read = prompt in ([], ["-"])
    if read or not at_terminal():
        given = piped('bezel run "your question"', required=read and not files)
        parts += [given] if given else []
    if not read:
        parts.append(" ".join(prompt))
    return "\n\n".join(parts)


def _shown(file: Path) -> str:
    """A file's name as text: names may be any bytes."""
    return os.fsencode(file.name).decode("utf-8", "replace")


def _text(file: Path) -> str:
    """What a file holds, without the mark that Windows puts before UTF-8."""
    try:
        return file.read_text("utf-8-sig")
    except OSError as error:
        raise InvalidRequestError(f"{file}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise InvalidRequestError(f"{file}: is not UTF-8 text ({error.reason} at byte {error.start})") from None
