"""Calls of models that are asked in words to write them: Gemma 1 to 3n.

They write what they were asked for, or what they saw in training: {"name": ..., "parameters": {...}}, one or several or
a list of them; [f(a=1), g()]; either in a fence; and FUNCTION_CALL: f(a="b"). A call begins a line, behind a list's
marker at most.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping

from bezel.text.dialects.json_values import JsonReader
from bezel.text.dialects.python_values import PythonReader, identifies
from bezel.text.dialects.reader import END, Control, MalformedError, Reading, ReadingText

_NAMES, _ARGUMENTS, _OTHERS = ("name", "function_name"), ("parameters", "arguments"), ("type", "id")
_TOOL_FENCES = ("tool_code", "tool_call", "tool_calls", "function_call")
_LABEL = "FUNCTION_CALL"


class PromptedReader(JsonReader, PythonReader):
    """Reads calls written as JSON or as in Python, among text.

    `tools`: the names that were declared, with their parameters in order. A name at the beginning of a line is a call
    only if it is one of them; where a form leaves no doubt, other names are calls too, to functions that nobody has.
    None: no name is known. `unclosed`: a list or a fence has not ended as it should, though the calls in it are whole.
    """

    def __init__(self, tools: Mapping[str, list[str]] | None) -> None:
        self._tools = tools
        self.unclosed = False
        super().__init__()

    def _read(self) -> Reading:
        after_call = False
        while True:
            gap, fresh = yield from self._gap(",;" if after_call else "")
            if (yield from self._peek()) == END:
                self._say("" if after_call and not gap.strip() else gap)
                return
            self._mark()
            before, after_call = self.finished, False
            if fresh:
                try:
                    after_call = yield from self._calls()
                except MalformedError as error:
                    if self._open:
                        yield from self._rest()
                        self._break(str(error))
                        return
                    self.unclosed = self.finished > before
                    self._say(("" if self.finished > before else gap) + self._since())
                    gap = ""
            if not after_call:
                self._say(gap)
                yield from self._line()

    def _rest(self) -> Reading:
        while (yield from self._peek()) != END:
            self._taken.append(self._atoms.popleft())

    def _line(self) -> Reading:
        """Says the text up to the end of the line."""
        while True:
            atom = yield from self._peek()
            if atom in ("\n", END):
                return
            self._mark()
            self._say("" if isinstance(self._take(), Control) else atom)

    def _gap(self, separators: str) -> Generator[None, None, tuple[str, bool]]:
        """White space and a list's marker; and whether a call may begin behind them."""
        gap: list[str] = []
        while True:
            self._mark()
            gap.append((yield from self._while(lambda c: c.isspace() or c in separators)))
            atom = yield from self._peek()
            if atom == END or atom not in "-*0123456789":
                return "".join(gap), True
            if atom in "-*":
                gap.append(self._take())
            else:
                gap.append((yield from self._while(lambda c: c in "0123456789")))
                if (yield from self._peek()) not in (".", ")"):
                    return "".join(gap), False
                gap.append(self._take())
            if (yield from self._peek()) != " ":
                return "".join(gap), False

    def _calls(self) -> Generator[None, None, bool]:
        """Reads the calls that begin here; False where none can, MalformedError where they turn out to be none."""
        atom = yield from self._peek()
        if atom == "{":
            yield from self._json_call()
        elif atom == "[":
            yield from self._list()
        elif atom == "`":
            yield from self._fence()
        elif atom.isalpha() or atom == "_":
            yield from self._labelled()
        else:
            return False
        return True

    def _labelled(self) -> Reading:
        """FUNCTION_CALL: f(...), or f(...) where f is declared."""
        word = yield from self._while(identifies)
        if word != _LABEL:
            if self._tools is None or word not in self._tools:
                raise MalformedError("it is no function's name")
            yield from self._python_call(word, True)
            return
        yield from self._expect(":")
        yield from self._spaces()
        yield from self._python_call((yield from self._while(identifies)), True)

    def _fence(self) -> Reading:
        yield from self._expect("```")
        tag = yield from self._while(lambda c: c.isalnum() or c == "_")
        trusted = tag in _TOOL_FENCES
        yield from self._while(lambda c: c in " \t\r")
        yield from self._expect("\n")
        before = self.finished
        while True:
            yield from self._while(lambda c: c.isspace() or c in ",;")
            atom = yield from self._peek()
            if atom == "`" or (atom == END and self.finished > before):
                break
            if atom == "{":
                yield from self._json_call()
            elif atom == "[":
                yield from self._list(trusted)
            else:
                yield from self._python_call((yield from self._while(identifies)), trusted)
        if self.finished == before:
            raise MalformedError("the fence is empty")
        self.unclosed = atom == END
        if atom == "`":
            yield from self._expect("```")

    def _list(self, trusted: bool = False) -> Reading:
        yield from self._expect("[")
        while True:
            yield from self._spaces()
            if (yield from self._peek()) == "{":
                yield from self._json_call()
            else:
                yield from self._python_call((yield from self._while(identifies)), trusted)
            yield from self._spaces()
            if (yield from self._peek()) == "]":
                break
            yield from self._expect(",")
        self._take()

    def _python_call(self, name: str, trusted: bool) -> Reading:
        """The call to `name`, which was read already; it may stand inside print( )."""
        declared = self._tools is not None and name in self._tools
        if not name or not (name[0].isalpha() or name[0] == "_"):
            raise MalformedError("a function's name is missing")
        yield from self._spaces()
        if name == "print" and not declared:
            yield from self._expect("(")
            yield from self._spaces()
            yield from self._python_call((yield from self._while(identifies)), trusted)
            yield from self._spaces()
            yield from self._expect(")")
            return
        names = self._tools[name] if self._tools is not None and declared else None
        yield from self._python_arguments(name, names, trusted or declared)
        self._finish()

    def _json_call(self) -> Reading:
        yield from self._expect("{")
        name: str | None = None
        waiting: list[str] | None = None
        started = more = False
        first = True
        while True:
            yield from self._spaces()
            if first and (yield from self._peek()) == "}":
                raise MalformedError("it is no call")
            key = yield from self._string()
            yield from self._spaces()
            yield from self._expect(":")
            yield from self._spaces()
            if key in _NAMES and name is None:
                name = yield from self._string()
                if waiting is not None:
                    started = True
                    self._start(name)
                    self._add("".join(waiting))
            elif key in _ARGUMENTS and not started and waiting is None:
                if (yield from self._peek()) != "{":
                    raise MalformedError("the arguments are no object")
                started = name is not None
                if name is None:
                    waiting = []
                else:
                    self._start(name)
                add: Callable[[str], object] = self._add if waiting is None else waiting.append
                yield from self._json(add)
            elif first and key not in _OTHERS:
                raise MalformedError("it is no call")
            else:
                more = more or key not in _OTHERS
                yield from self._json(_ignored)
            first = False
            yield from self._spaces()
            if (yield from self._peek()) == "}":
                break
            yield from self._expect(",")
        self._take()
        if not started:
            if name is None or more or (self._tools is not None and name not in self._tools):
                raise MalformedError("it is no call")
            self._start(name)
            self._add("{}")
        self._finish()

    def _string(self) -> ReadingText:
        if (yield from self._peek()) != '"':
            raise MalformedError("a name in quotes is missing")
        parts: list[str] = []
        yield from self._json_string(parts.append)
        found: str = json.loads("".join(parts))
        return found


def _ignored(text: str) -> None:
    """Where values go that say nothing of a call."""
