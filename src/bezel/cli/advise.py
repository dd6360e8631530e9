"""`bezel advise --memory 3GB --need audio`: which variant fits."""

from __future__ import annotations

import json
from typing import Annotated

import click

from bezel.catalog.needs import NEEDS
from bezel.cli import options
from bezel.cli.commands import Option


def advise(
    memory: Annotated[str | None, Option(help="Memory to use, like 3GB; default: what is free here.")] = None,
    need: Annotated[str, Option(help=f"One of: {', '.join(NEEDS)}.")] = "text",
    context: Annotated[int, Option("--context", "-c", help="Tokens of context; 0 plans for 4096.")] = 0,
    prefer: Annotated[str, Option(help="best or small.")] = "best",
    as_json: options.Json = False,
) -> None:
    """Name the variants that fit a need and a memory, the recommended one first."""
    from bezel.catalog.advisor import advise as fitting
    from bezel.catalog.advisor import least_memory
    from bezel.catalog.hardware import probe
    from bezel.catalog.memory import parse_memory

    machine = None if memory else probe()
    budget = machine.available if machine else parse_memory(memory or "")
    found = fitting(budget, need, context, prefer)  # type: ignore[arg-type]
    least = least_memory(need, context)
    if as_json:
        rows = [{"id": a.variant.id, "level": a.level, "context": a.context, "bytes": a.footprint.total} for a in found]
        print(json.dumps({"memory": budget, "need": need, "fits": rows}))
        return
    if machine:
        print(f"This machine: {machine.processor}, {options.gigabytes(machine.available)} free.")
    if not found:
        print(
            f"Nothing for {need} fits in {options.gigabytes(budget)}. The smallest is {least.variant.id} at "
            f"{least.level}, which needs {options.gigabytes(least.footprint.total)}."
        )
        raise click.exceptions.Exit(1)
    for index, advice in enumerate(found):
        print(
            f"{'->' if index == 0 else '  '} {advice.variant.id} at {advice.level}: "
            f"{options.gigabytes(advice.footprint.total)} with {advice.context} tokens of context"
        )
