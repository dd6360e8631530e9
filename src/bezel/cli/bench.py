"""`bezel bench MODEL`: tokens a second and memory of one run."""

from __future__ import annotations

import json
from typing import Annotated

from bezel.cli import options
from bezel.cli.commands import Argument, Option


def bench(
    model: Annotated[str, Argument(help="tiny, a hub name, or a path.")] = "tiny",
    prompt_tokens: Annotated[int, Option("--prompt-tokens", "-p", help="Tokens read.")] = 512,
    new_tokens: Annotated[int, Option("--new-tokens", "-n", help="Tokens written.")] = 128,
    depth: Annotated[int, Option("--depth", "-d", help="Tokens in the cache before the first is written.")] = 0,
    profile: Annotated[bool, Option("--profile", help="Split the time of writing by kernel.")] = False,
    level: options.Level = None,
    threads: options.Threads = None,
    cache_type: options.CacheType = "f16",
    size: options.Size = None,
    as_json: options.Json = False,
) -> None:
    """Time a model: how fast it reads a prompt and writes tokens, and its peak memory."""
    from bezel.api import load

    loaded = load(model, level, max(prompt_tokens, depth) + new_tokens, threads, cache=cache_type, size=size)
    found = loaded.bench(prompt_tokens, new_tokens, depth, profile)
    facts = {
        "model": model,
        "prompt_tokens": found.prompt_tokens,
        "new_tokens": found.new_tokens,
        "depth": found.depth,
        "prefill_tokens_per_second": round(found.prefill_tokens_per_second, 2),
        "decode_tokens_per_second": round(found.decode_tokens_per_second, 2),
        "peak_memory_bytes": found.peak_memory,
        **loaded.describe(),
    }
    if profile:
        facts["decode_seconds_by_kernel"] = {name: round(s, 4) for name, s in found.seconds_by_kernel.items()}
    if as_json:
        print(json.dumps(facts))
        return
    print(f"read   {found.prompt_tokens:>6} tokens at {found.prefill_tokens_per_second:8.1f}/s")
    print(f"wrote  {found.new_tokens:>6} tokens at {found.decode_tokens_per_second:8.1f}/s")
    print(f"memory {options.gigabytes(found.peak_memory)} at most")
    for name, seconds in sorted(found.seconds_by_kernel.items(), key=lambda entry: -entry[1]):
        print(
            f"  {name:<12} {seconds / found.new_tokens * 1000:7.3f} ms a token  {seconds / found.decode_seconds:6.1%}"
        )
