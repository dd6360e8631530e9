"""Writes docs/reference from the code: `python scripts/reference.py`; with --check, fails where it is out of date."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bezel.cli.main import app

FOLDER = Path(__file__).parent.parent / "docs" / "reference"
NOTE = "<!-- Written by scripts/reference.py; change the code and run it again. -->\n"
PUBLIC = {
    "bezel.api": ("load", "Model"),
    "bezel.backends.bench": ("Bench",),
    "bezel.backends.interface": ("Result", "Usage", "TokenLogprob", "Delta", "Finish"),
    "bezel.engine.scheduler": ("Statistics",),
    "bezel.text.calls": ("Call", "CallStarted", "CallDelta", "CallFinished", "CallBroken"),
    "bezel.text.tools": ("NamedTool",),
    "bezel.tools.tool": ("tool", "tools_of", "Tool"),
    "bezel.tools.running": ("ToolRun",),
    "bezel.tools.loop": ("Transcript", "Round"),
    "bezel.tools.mcp": ("mcp_tools",),
    "bezel.prompts.instructions": ("answering", "instructions"),
    "bezel.prompts.cultures": ("register_culture", "load_cultures", "Culture"),
    "bezel.prompts.languages": ("multilingual",),
    "bezel.prompts.images": ("analysis", "comparison"),
    "bezel.prompts.functions": ("function_calling",),
    "bezel.generation.sampling": ("Sampling",),
    "bezel.catalog.advisor": ("advise", "Advice"),
    "bezel.catalog.hardware": ("MemoryUse",),
    "bezel.catalog.memory": ("footprint", "Footprint"),
    "bezel.catalog.variants": ("find", "nearest", "Variant"),
    "bezel.media.decoding": (
        "decode_image",
        "decode_frames",
        "decode_audio",
        "decode_video",
        "Decoder",
        "Frames",
        "Video",
    ),
    "bezel.media.limits": ("Limits",),
    "bezel.media.fetching": ("fetch", "Sources"),
    "bezel.objects": ("objects_in", "Found"),
    "bezel.weights.quantize": ("quantize",),
    "bezel.weights.slice_files": ("write_slice",),
}


def cli() -> str:
    """Every verb with its arguments and options."""
    root: Any = app
    parts = [f"{NOTE}\n# The command line\n\n{inspect.cleandoc(root.help)} `bezel VERB --help` prints each part."]
    for name, command in _verbs(root):
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        usage = " ".join(["bezel", name, "[OPTIONS]", *map(_placeholder, arguments)])
        rows = [f"| `{' '.join(p.opts)}` | {_cell(p)} |" for p in command.params if p.param_type_name == "option"]
        rows = [f"| `{_placeholder(a)}` | {_cell(a)} |" for a in arguments] + rows
        table = "\n".join(["| | |", "|---|---|", *rows])
        parts.append(f"## bezel {name}\n\n{inspect.cleandoc(command.help)}\n\n```\n{usage}\n```\n\n{table}")
    return "\n\n".join(parts) + "\n"


def _verbs(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """Every command with its whole name, those of groups too."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _verbs(command, f"{before}{name} ")
        else:
            yield before + name, command


def _placeholder(argument: Any) -> str:
    name = argument.name.upper()
    return (name if argument.required else f"[{name}]") + ("..." if argument.nargs == -1 else "")


def _cell(parameter: Any) -> str:
    text = (parameter.help or "").replace("|", "\\|")
    default = parameter.default
    if isinstance(default, str | int | float) and not isinstance(default, bool):
        text += f" Default: `{default}`."
    return text + (f" Also read from `{parameter.envvar}`." if parameter.envvar else "")


def python() -> str:
    """Every public name with its signature and docstring."""
    parts = [f"{NOTE}\n# The Python API\n\n`import bezel` offers `load`, `Model` and `advise`; the rest is imported."]
    for module, names in PUBLIC.items():
        parts += [_entry(module, getattr(importlib.import_module(module), name)) for name in names]
    parts.append("## Errors\n\n`bezel.errors`: all derive from `BezelError`.")
    found = vars(importlib.import_module("bezel.errors")).values()
    errors = [error for error in found if inspect.isclass(error) and issubclass(error, Exception)]
    parts.append("\n".join(f"- `{error.__name__}`: {inspect.getdoc(error)}" for error in errors))
    return "\n\n".join(parts) + "\n"


def _entry(module: str, item: Any) -> str:
    if not inspect.isclass(item):
        return f"## {module}.{item.__name__}\n\n{_callable(item)}"
    parts = [f"## {module}.{item.__name__}\n\n{inspect.getdoc(item)}"]
    if dataclasses.is_dataclass(item):
        parts.append("\n".join(_field(field) for field in dataclasses.fields(item)))
    parts += [f"### {name}\n\n{_callable(member)}" for name, member in _members(item)]
    return "\n\n".join(parts)


def _field(field: dataclasses.Field[Any]) -> str:
    default = "" if field.default is dataclasses.MISSING else f" = {field.default!r}"
    return f"- `{field.name}: {field.type}{default}`"


def _members(item: type) -> Iterator[tuple[str, Any]]:
    for name, member in vars(item).items():
        if not name.startswith("_") and (inspect.isfunction(member) or isinstance(member, property)):
            yield name, member


def _callable(item: Any) -> str:
    if isinstance(item, property):
        returns = inspect.signature(item.fget).return_annotation  # type: ignore[arg-type]
        return f"Property: `{returns}`.\n\n{inspect.getdoc(item) or ''}".strip()
    signature = re.sub(r"(: |-> )'([^']*)'", r"\1\2", str(inspect.signature(item)))
    return f"```python\n{item.__name__}{signature}\n```\n\n{inspect.getdoc(item) or ''}".strip()


def pages() -> dict[Path, str]:
    """The files of docs/reference and what they should hold."""
    return {FOLDER / "cli.md": cli(), FOLDER / "python.md": python()}


if __name__ == "__main__":
    for path, text in pages().items():
        if "--check" not in sys.argv:
            path.write_text(text, "utf-8")
        elif not path.exists() or path.read_text("utf-8") != text:
            sys.exit(f"{path} is out of date; run: python scripts/reference.py")
