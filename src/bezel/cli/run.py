"""`bezel run "question"`: one answer, streamed."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from bezel.cli import options
from bezel.errors import InvalidRequestError


def run(
    prompt: Annotated[list[str] | None, typer.Argument(help="The question; - or nothing reads standard input.")] = None,
    model: options.Model = "tiny",
    file: Annotated[list[Path] | None, typer.Option("--file", "-f", help="Text files put before the question.")] = None,
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
    schema: Annotated[Path | None, typer.Option(help="JSON Schema file that the answer must satisfy.")] = None,
    regex: Annotated[str | None, typer.Option(help="Regular expression that the whole answer matches.")] = None,
    choices: Annotated[str | None, typer.Option(help="Answers to choose from, with commas between.")] = None,
    grammar: Annotated[Path | None, typer.Option(help="Lark grammar file that the answer follows.")] = None,
    tools: Annotated[Path | None, typer.Option(help="JSON file with a list of OpenAI tool schemas.")] = None,
    stats: Annotated[bool, typer.Option("--stats", help="Print token counts and speed to standard error.")] = False,
    as_json: options.Json = False,
) -> None:
    """Answer one question. Text from a pipe and from files stands before the question."""
    question = _question(prompt or [], file or [])
    from bezel.api import load
    from bezel.backends.interface import Delta, Finish

    chosen = options.given(size=size, fit=fit, profile=profile)
    loaded = load(model, level, context, threads, sequences=1, draft=draft, cache=cache_type, **chosen)
    options.explain(loaded)
    messages = [{"role": "system", "content": system}] if system else []
    request = loaded.request(
        messages=[*messages, {"role": "user", "content": question}],
        tools=_tools(tools) if tools else (),
        max_tokens=max_tokens,
        stop=tuple(stop or ()),
        **options.given(
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            repetition_penalty=repetition_penalty,
            seed=seed,
            speculation=speculation,
            schema=_text(schema) if schema else None,
            regex=regex,
            choices=[choice.strip() for choice in choices.split(",")] if choices else None,
            grammar=_text(grammar) if grammar else None,
        ),
    )
    pieces = []
    for event in loaded.events(request):
        if isinstance(event, Delta):
            pieces.append(event.text)
            if not as_json:
                print(event.text, end="", flush=True)
        elif isinstance(event, Finish):
            usage = event.usage
            speeds = {
                "prefill_tokens_per_second": round(usage.prefill_tokens_per_second, 1),
                "decode_tokens_per_second": round(usage.decode_tokens_per_second, 1),
                "acceptance_rate": round(usage.acceptance_rate, 3),
            }
            if as_json:
                answer = {"text": "".join(pieces), "finish_reason": event.reason, "usage": asdict(usage) | speeds}
                record = {"model": model, **answer, "memory": asdict(loaded.memory()), **options.chosen(loaded)}
                print(json.dumps(record, ensure_ascii=False))
                return
            print()
            if stats:
                print(
                    f"{usage.prompt_tokens} tokens read ({usage.prefill_tokens_per_second:.0f}/s), "
                    f"{usage.completion_tokens} written "
                    f"({usage.decode_tokens_per_second:.0f}/s), {usage.accepted_tokens} of {usage.draft_tokens} "
                    f"drafted tokens accepted, {options.gigabytes(loaded.memory().peak)} at most, "
                    f"ended by {event.reason}",
                    file=sys.stderr,
                )


def _question(prompt: list[str], files: list[Path]) -> str:
    parts = [f"File {file.name}:\n{_text(file)}" for file in files]
    if prompt in ([], ["-"]) or not sys.stdin.isatty():
        piped = _piped(required=prompt in ([], ["-"]) and not files)
        parts += [piped] if piped else []
    if prompt and prompt != ["-"]:
        parts.append(" ".join(prompt))
    return "\n\n".join(parts)


def _piped(required: bool) -> str:
    if sys.stdin.isatty():
        raise InvalidRequestError('nothing to answer; write: bezel run "your question"')
    text = sys.stdin.read().strip()
    if required and not text:
        raise InvalidRequestError('standard input is empty; write: bezel run "your question"')
    return text


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except OSError as error:
        raise InvalidRequestError(f"{file}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise InvalidRequestError(f"{file}: is not UTF-8 text ({error.reason} at byte {error.start})") from None


def _tools(file: Path) -> list[dict[str, object]]:
    try:
        tools = json.loads(_text(file))
    except ValueError as error:
        raise InvalidRequestError(f"{file}: is not JSON ({error})") from None
    if not isinstance(tools, list) or not all(isinstance(tool, dict) and "function" in tool for tool in tools):
        raise InvalidRequestError(f'{file}: must be a list of {{"type": "function", "function": {{...}}}} objects')
    return tools
