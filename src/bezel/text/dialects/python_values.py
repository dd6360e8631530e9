"""Calls and literals in Python's syntax, turned into JSON as they are read. Nothing is evaluated."""

from __future__ import annotations

import json
import re

from bezel.text.dialects.reader import Control, MalformedError, Reader, Reading, ReadingText, Sink, deeper, inside

_INTEGER = re.compile(r"[+-]?(0|[1-9](_?[0-9])*)")
_FLOAT = re.compile(
    r"[+-]?([0-9](_?[0-9])*\.([0-9](_?[0-9])*)?|\.[0-9](_?[0-9])*|[0-9](_?[0-9])*(?=[eE]))([eE][+-]?[0-9]+)?"
)
_WORDS = {"True": "true", "False": "false", "None": "null", "true": "true", "false": "false", "null": "null"}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "\\": "\\", "'": "'", '"': '"'}
_HEXADECIMAL = {"x": 2, "u": 4, "U": 8}
_NUMBER_CHARACTERS = frozenset("+-._0123456789eE")
_CLOSING = {"[": "]", "(": ")", "{": "}"}


def identifies(character: str) -> bool:
    """Whether a character may stand in a function's name."""
    return character.isalnum() or character in "_.-"


class PythonReader(Reader):
    """Reads `name="a", other=[1, 2]`."""

    def _python_arguments(self, name: str, names: list[str] | None, surely: bool) -> Reading:
        """Arguments up to ")", which is taken, as those of a call to `name`, which is started here.

        `names` are the parameters in order, for arguments without a name; None where they are unknown. Unless
        `surely`, a call without any named argument is none. Raises MalformedError.
        """
        yield from self._expect("(")
        found: list[str] = []
        positional = 0
        started = False
        while True:
            yield from self._spaces()
            atom = yield from self._peek()
            if atom == ")":
                break
            word = yield from self._while(lambda character: character.isalnum() or character == "_")
            yield from self._spaces()
            named = word and not word[0].isdigit() and (yield from self._peek()) == "="
            if not named:
                prose = word and not started and word not in _WORDS and not word[0].isdigit()
                if names is None or positional >= len(names) or prose:
                    raise MalformedError("an argument has no name")
                key, positional = names[positional], positional + 1
            else:
                key = word
                self._take()
            if key in found:
                raise MalformedError(f"{key} is given twice")
            if not started:
                started = True
                self._start(name)
            self._add(("," if found else "{") + json.dumps(key, ensure_ascii=False) + ":")
            found.append(key)
            yield from self._python(self._add, "" if named else word)
            yield from self._spaces()
            atom = yield from self._peek()
            if atom == ",":
                self._take()
            elif atom != ")":
                raise MalformedError("',' or ')' is missing")
        self._take()
        if not started:
            if not surely:
                raise MalformedError("it may be no call")
            self._start(name)
        self._add("}" if found else "{}")

    def _python(self, out: Sink, begun: str = "", depth: int = 0) -> Reading:
        """One literal, of which the word `begun` was read already. Raises MalformedError."""
        if not begun:
            yield from self._spaces()
        atom = yield from self._peek()
        if begun or atom.isalnum() or (atom and atom in "_+-."):
            out((yield from self._python_word(begun)))
        elif atom == "'" or atom == '"':
            yield from self._python_string(out)
        elif atom in _CLOSING and not isinstance(atom, Control):
            yield from self._python_items(out, deeper(depth))
        else:
            raise MalformedError(f"{atom!r} is no value" if atom else "a value is missing")

    def _python_word(self, begun: str) -> ReadingText:
        word = begun + (
            yield from self._while(lambda character: character.isalnum() or character in _NUMBER_CHARACTERS)
        )
        if word in _WORDS:
            return _WORDS[word]
        try:
            if _INTEGER.fullmatch(word):
                return str(int(word))
            if _FLOAT.fullmatch(word):
                return json.dumps(float(word), allow_nan=False)
        except ValueError:
            raise MalformedError(f"{word[:40]!r} is too large a number") from None
        raise MalformedError(f"{word[:40]!r} is no value")

    def _python_items(self, out: Sink, depth: int) -> Reading:
        opening = self._take()
        closing = _CLOSING[opening]
        out("{" if opening == "{" else "[")
        count, comma = 0, True
        while True:
            yield from self._spaces()
            atom = yield from self._peek()
            if atom == closing and not isinstance(atom, Control):
                break
            if not comma:
                raise MalformedError(f"',' or {closing!r} is missing")
            out("," if count else "")
            if opening == "{":
                if atom != "'" and atom != '"':
                    raise MalformedError("a name in quotes is missing")
                yield from self._python_string(out)
                yield from self._spaces()
                yield from self._expect(":")
                out(":")
            yield from self._python(out, "", depth)
            count += 1
            yield from self._spaces()
            comma = (yield from self._peek()) == ","
            if comma:
                self._take()
        self._take()
        if opening == "(" and count == 1 and not comma:
            raise MalformedError("parentheses around a value are no literal")
        out("}" if opening == "{" else "]")

    def _python_string(self, out: Sink) -> Reading:
        quote = self._take()
        triple = False
        if (yield from self._peek()) == quote:
            self._take()
            if (yield from self._peek()) != quote:
                out('""')
                return
            self._take()
            triple = True
        out('"')
        closing = 0
        while True:
            atom = yield from self._peek()
            if atom == "" or isinstance(atom, Control) or (atom == "\n" and not triple):
                raise MalformedError("a text has no closing quote")
            self._take()
            if atom == quote:
                closing += 1
                if closing == (3 if triple else 1):
                    break
                continue
            out(inside(quote * closing))
            closing = 0
            out(inside((yield from self._python_escape())) if atom == "\\" else inside(atom))
        out('"')

    def _python_escape(self) -> ReadingText:
        atom = yield from self._peek()
        if atom == "" or isinstance(atom, Control):
            raise MalformedError("a text has no closing quote")
        self._take()
        if atom == "\n":
            return ""
        if atom in _ESCAPES:
            return _ESCAPES[atom]
        if atom in _HEXADECIMAL:
            digits = ""
            while len(digits) < _HEXADECIMAL[atom]:
                digit = yield from self._peek()
                if digit == "" or digit not in "0123456789abcdefABCDEF":
                    raise MalformedError(f"'\\{atom}' needs {_HEXADECIMAL[atom]} hexadecimal digits")
                digits += self._take()
            if int(digits, 16) > 0x10FFFF or 0xD800 <= int(digits, 16) < 0xE000:
                raise MalformedError(f"'\\{atom}{digits}' is no character")
            return chr(int(digits, 16))
        return "\\" + atom
