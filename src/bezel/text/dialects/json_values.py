"""JSON values, passed on as they are read."""

from __future__ import annotations

import re

from bezel.text.dialects.reader import Control, MalformedError, Reader, Reading, ReadingText, Sink, deeper, inside

_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_ESCAPES = '"\\/bfnrt'
_LITERAL = frozenset("+-.0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


class JsonReader(Reader):
    """Reads JSON. A line break inside a string, which models write and JSON forbids, is passed on escaped."""

    def _json(self, out: Sink, depth: int = 0) -> Reading:
        """One value, written to `out` without spaces. Raises MalformedError."""
        yield from self._spaces()
        atom = yield from self._peek()
        if atom == '"':
            yield from self._json_string(out)
        elif atom == "{":
            yield from self._json_items(out, "}", deeper(depth))
        elif atom == "[":
            yield from self._json_items(out, "]", deeper(depth))
        else:
            literal = yield from self._while(_LITERAL.__contains__)
            if literal not in ("true", "false", "null") and not _NUMBER.fullmatch(literal):
                raise MalformedError(f"{(literal or atom)!r} is no value" if literal or atom else "a value is missing")
            out(literal)

    def _json_items(self, out: Sink, closing: str, depth: int) -> Reading:
        out(self._take())
        first = True
        while True:
            yield from self._spaces()
            atom = yield from self._peek()
            if atom == closing and first:
                break
            if closing == "}":
                if atom != '"':
                    raise MalformedError("a name in quotes is missing")
                yield from self._json_string(out)
                yield from self._spaces()
                yield from self._expect(":")
                out(":")
            yield from self._json(out, depth)
            first = False
            yield from self._spaces()
            atom = yield from self._peek()
            if atom == ",":
                out(self._take())
            elif atom == closing:
                break
            else:
                raise MalformedError(f"',' or {closing!r} is missing")
        out(self._take())

    def _json_string(self, out: Sink) -> Reading:
        out(self._take())
        while True:
            atom = yield from self._peek()
            if atom == "" or isinstance(atom, Control):
                raise MalformedError("a text has no closing quote")
            self._take()
            if atom == '"':
                break
            out((yield from self._escape()) if atom == "\\" else inside(atom))
        out('"')

    def _escape(self) -> ReadingText:
        atom = yield from self._peek()
        if atom == "" or atom not in _ESCAPES + "u":
            raise MalformedError(f"'\\{atom}' is no escape")
        self._take()
        if atom != "u":
            return "\\" + atom
        digits = ""
        while len(digits) < 4:
            digit = yield from self._peek()
            if digit == "" or digit not in "0123456789abcdefABCDEF":
                raise MalformedError("'\\u' needs four hexadecimal digits")
            digits += self._take()
        return f"\\u{digits}"
