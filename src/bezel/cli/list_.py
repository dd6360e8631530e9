"""`bezel list`: the family."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

from bezel.cli import options
from bezel.cli.commands import Argument
from bezel.errors import UnknownModelError


def list_(
    family: Annotated[str | None, Argument(help='Part of an id or a family, like "3n" or "shield".')] = None,
    as_json: options.Json = False,
) -> None:
    """List the released variants with their size, context and memory at 4 bit."""
    from bezel.catalog.memory import footprint
    from bezel.catalog.variants import catalogue

    wanted = (family or "").lower()
    variants = [v for v in catalogue() if wanted in v.id.lower() or wanted in v.family.lower()]
    if not variants and not as_json:
        families = ", ".join(dict.fromkeys(v.family for v in catalogue()))
        raise UnknownModelError(f"no variant or family has {family!r} in its name; the families are {families}")
    if as_json:
        print(json.dumps([asdict(v) | {"parameters": v.parameters} for v in variants]))
        return
    width = max(len(v.id) for v in variants)
    for v in variants:
        needed = footprint(v, "Q4_0", min(4096, v.context)).total
        print(
            f"{v.id:<{width}}  {v.parameters / 1e9:5.2f}B  {v.context // 1024:>4}K  "
            f"{options.gigabytes(needed):>9}  {', '.join(v.modalities)}"
        )
