"""A Python function as a tool: its schema from type hints and docstring, its arguments from a model's JSON."""

from __future__ import annotations

import importlib.util
import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from bezel.errors import ToolError
from bezel.tools.docstrings import read_docstring
from bezel.tools.forms import Form, Forms, hints_of


@dataclass(frozen=True)
class Tool:
    """Something that a model may call. `parameters` is a JSON Schema of an object; `call` takes such an object.

    `call` may return an awaitable. Raises ValueError for arguments that the schema allows and the function does not.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    call: Callable[[dict[str, Any]], Any]

    @property
    def schema(self) -> dict[str, Any]:
        """OpenAI's tool schema."""
        function = {"name": self.name, "description": self.description, "parameters": dict(self.parameters)}
        return {"type": "function", "function": function}


def tool(function: Callable[..., Any], name: str | None = None, description: str | None = None) -> Tool:
    """A function as a tool.

    Type hints become the schema: str, int, float, bool, Literal, Enum, Optional, list, tuple, set, dict, dataclasses,
    TypedDict, date and time, and pydantic models where pydantic is installed; `Annotated[int, "what it is"]` describes
    a parameter, and so does the docstring (Google's, NumPy's or reST's style). Parameters with defaults are optional.
    Raises ToolError for a parameter without a hint, or with one that JSON has nothing for.
    """
    called = name or str(getattr(function, "__name__", ""))
    if not called.isidentifier():
        raise ToolError(f"{function!r} has no name that a model could call; give one: tool(function, name=...)")
    about, said = read_docstring(function.__doc__)
    hints, forms = hints_of(function, called), Forms()
    properties: dict[str, Any] = {}
    required: list[str] = []
    makes: dict[str, Form] = {}
    parameters = _parameters(function, called)
    for key, parameter in parameters.items():
        if key not in hints:
            raise ToolError(f"{called}: {key} has no type hint; write {key}: str, for example")
        form = makes[key] = forms.of(hints[key], f"{called}.{key}")
        properties[key] = {**form.schema, "description": said[key]} if key in said else form.schema
        if parameter.default is parameter.empty:
            required.append(key)
        else:
            properties[key] = properties[key] | _default(parameter.default)
    schema: dict[str, Any] = {"type": "object", "properties": properties, "required": required}
    schema["additionalProperties"] = False
    if forms.definitions:
        schema["$defs"] = forms.definitions
    return Tool(called, description or about, schema, _caller(function, parameters, makes))


def _parameters(function: Callable[..., Any], called: str) -> dict[str, inspect.Parameter]:
    try:
        parameters = dict(inspect.signature(function).parameters)
    except (TypeError, ValueError) as error:
        raise ToolError(f"{called}: its parameters are not known ({error})") from None
    for key, parameter in parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise ToolError(f"{called}: *{key} takes anything, which no schema can say; name its parameters")
    return parameters


def _default(default: Any) -> dict[str, Any]:
    """The schema's "default", where the value has a form in JSON."""
    try:
        return {} if default is None else {"default": json.loads(json.dumps(getattr(default, "value", default)))}
    except (TypeError, ValueError):
        return {}


def _caller(
    function: Callable[..., Any], parameters: Mapping[str, inspect.Parameter], forms: Mapping[str, Form]
) -> Callable[[dict[str, Any]], Any]:
    def call(arguments: dict[str, Any]) -> Any:
        made = {key: forms[key].make(value) for key, value in arguments.items()}
        first = [key for key, parameter in parameters.items() if parameter.kind is parameter.POSITIONAL_ONLY]
        given = [key for key in first if key in made]
        if given != first[: len(given)]:
            raise ValueError(f"{first[len(given)]} must be given where those behind it are")
        positional = [made.pop(key) for key in given]
        return function(*positional, **made)

    return call


def as_tools(tools: Iterable[Tool | Callable[..., Any]]) -> list[Tool]:
    """Functions and tools as tools. Raises ToolError for two of the same name."""
    found = [one if isinstance(one, Tool) else tool(one) for one in tools]
    names = [one.name for one in found]
    again = next((name for name in names if names.count(name) > 1), None)
    if again is not None:
        raise ToolError(f"two tools are called {again!r}; rename one: tool(function, name=...)")
    return found


def tools_of(path: Path | str) -> list[Tool]:
    """The functions of a Python file, as tools: those of `__all__`, else those that it defines without a leading "_".

    This runs the file. Raises ToolError where it cannot be read, fails, or defines none.
    """
    path = Path(path)
    module = _loaded(path)
    names = getattr(module, "__all__", None)
    if names is None:
        names = [
            name
            for name, value in vars(module).items()
            if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
        ]
    missing = [name for name in names if not hasattr(module, name)]
    if missing:
        raise ToolError(f"{path}: __all__ names {missing[0]!r}, which is not there")
    if not names:
        raise ToolError(f"{path}: defines no function; functions whose names begin with _ do not count")
    return as_tools(getattr(module, name) for name in names)


def _loaded(path: Path) -> ModuleType:
    if not path.is_file():
        raise ToolError(f"{path}: there is no such file")
    spec = importlib.util.spec_from_file_location(f"tools_of_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ToolError(f"{path}: is not a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise ToolError(f"{path}: failed while it was imported ({type(error).__name__}: {error})") from error
    return module
