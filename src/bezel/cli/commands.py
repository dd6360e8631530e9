"""Verbs are functions whose signatures say what a command line may give; click reads it.

    def run(prompt: Annotated[str, Argument(help="...")], seed: Annotated[int, Option(help="...")] = 0) -> None:

An option is named like its parameter unless it says otherwise. One of type bool is a flag; a list is an option that may
be given several times, or all arguments that are left.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

import click

WIDTH = 110  # columns of help, on terminals that have as many


@dataclass(frozen=True)
class Argument:
    """A parameter that is given by its place."""

    help: str


class Option:
    """A parameter that is given by name: `names` as they are typed, `envvar` where it is read from, too.

    A number is at least `min`, or `above` it, and at most `max`; none is infinite or not a number.
    """

    def __init__(
        self,
        *names: str,
        help: str,
        envvar: str | None = None,
        min: float | None = None,
        above: float | None = None,
        max: float | None = None,
    ) -> None:
        self.names, self.help, self.envvar = names, help, envvar
        self.range = {"min": min if above is None else above, "max": max, "min_open": above is not None}


def command(name: str, verb: Callable[..., None]) -> click.Command:
    """A verb by the name that it has on the command line. Its docstring is the help."""
    hints, signature = get_type_hints(verb, include_extras=True), inspect.signature(verb).parameters
    parameters = [_parameter(each, hints[each.name]) for each in signature.values()]

    def called(**given: Any) -> None:
        verb(**{name: _as_list(value, signature[name]) for name, value in given.items()})

    return click.Command(name, callback=called, params=parameters, help=inspect.getdoc(verb))


def group(name: str, help: str, commands: Sequence[click.Command]) -> click.Group:
    """Verbs under one name, in the order given."""
    return _InOrder(name, commands, help=help, no_args_is_help=True, context_settings={"max_content_width": WIDTH})


class _InOrder(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


def _parameter(parameter: inspect.Parameter, hint: Any) -> click.Parameter:
    annotated, what = get_args(hint)
    kind = next((each for each in _alternatives(annotated) if each is not NoneType), str)
    several = get_origin(kind) is list
    if several:
        [kind] = get_args(kind)
    required = parameter.default is inspect.Parameter.empty
    settings: dict[str, Any] = {"type": _type(kind, what), "required": required}
    if not required:
        settings["default"] = parameter.default
    if kind is float:
        settings["callback"] = _finite
    if isinstance(what, Argument):
        return click.Argument([parameter.name], nargs=-1 if several else 1, help=what.help, **settings)
    spelled = "--" + parameter.name.replace("_", "-")
    names = what.names or (f"{spelled}/--no-{spelled[2:]}" if kind is bool else spelled,)
    if kind is bool:
        settings |= {"is_flag": True, "type": None}
    return click.Option(
        [parameter.name, *names],
        help=what.help,
        envvar=what.envvar,
        multiple=several,
        show_default=kind is not bool,
        show_envvar=True,
        **settings,
    )


def _finite(ctx: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    """Not a number lies in every range, since it compares with none of its ends."""
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"{value} is no number to go by.", ctx, parameter)
    return value


def _as_list(value: Any, parameter: inspect.Parameter) -> Any:
    """click gives several values as a tuple, an empty one where nothing was given."""
    if not isinstance(value, tuple):
        return value
    return list(value) or parameter.default


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if isinstance(hint, UnionType) else (hint,)


def _type(kind: type, what: Argument | Option) -> Any:
    if isinstance(what, Option) and (what.range["min"], what.range["max"]) != (None, None):
        return (click.IntRange if kind is int else click.FloatRange)(**what.range)  # type: ignore[arg-type]
    return click.Path(path_type=Path) if kind is Path else kind
