"""Grammars are compiled for one vocabulary, once each."""

from __future__ import annotations

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from llguidance import LLMatcher

from bezel.errors import ConstraintError
from bezel.generation.constraints.gate import Gate
from bezel.generation.constraints.grammar import Grammar, Kind
from bezel.generation.constraints.limits import Limits
from bezel.generation.constraints.matching import Following
from bezel.generation.constraints.negation import escaped
from bezel.generation.constraints.rewriting import Loosening, rewrite
from bezel.generation.constraints.vocabulary import Vocabulary

# White space between the parts of a document: one space, or a line break and what a person would indent by.
_SPACE = r"( |\n {0,40}|\n\t{0,10})"
# What to leave to the validator, by what llguidance says of a schema; then what is left to try, one after the other.
_COMPLAINTS = {
    "min/maxProperties": "counts",
    "patternProperty": "names",
    "lookarounds": "patterns",
    "regex": "patterns",
    "circular references": "siblings",
    "intersection stack": "siblings",
    "schema too large": "conditions",
    "Unsatisfiable": "conditions",
}
_LADDER = ("conditions", "counts", "patterns", "names", "siblings", "strings", "shape")


@dataclass(frozen=True)
class Compiled:
    """A grammar that answers can be started from. `wider`: in which respects its validator has the last word."""

    vocabulary: Vocabulary
    limits: Limits
    matcher: LLMatcher
    gate: Gate | None = None
    wider: frozenset[str] = frozenset()

    def start(self) -> Following:
        """A constraint for one answer."""
        return Following(self.matcher.deep_copy(), self.vocabulary, self.gate, self.limits, bool(self.wider))


class Compiler:
    """Compiles for one vocabulary, and remembers what it compiled within `limits`. May be called from any thread."""

    def __init__(self, vocabulary: Vocabulary, limits: Limits | None = None) -> None:
        self.vocabulary, self.limits = vocabulary, limits or Limits()
        self._compiled: OrderedDict[Grammar, Compiled] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()
        self._readable = lru_cache(1024)(self._reads)

    def compile(self, grammar: Grammar) -> Compiled:
        """Raises ConstraintError where a grammar is wrong, too large, or can hold for no text."""
        size = len(grammar.source.encode("utf-8", errors="surrogatepass"))
        if size > self.limits.source_bytes:
            raise ConstraintError(
                f"the {grammar.kind} has {size} bytes, at most {self.limits.source_bytes} are taken; make it smaller"
            )
        with self._lock:
            found = self._compiled.get(grammar)
            if found is not None:
                self._compiled.move_to_end(grammar)
                return found
        compiled = _COMPILERS[grammar.kind](self, grammar.source)
        with self._lock:
            self._keep(grammar, compiled, size)
        return compiled

    def _keep(self, grammar: Grammar, compiled: Compiled, size: int) -> None:
        if grammar not in self._compiled:
            self._bytes += size
        self._compiled[grammar] = compiled
        while len(self._compiled) > self.limits.cached or self._bytes > self.limits.cached_bytes:
            oldest, _ = self._compiled.popitem(last=False)
            self._bytes -= len(oldest.source.encode("utf-8", errors="surrogatepass"))

    def _matcher(self, form: str) -> LLMatcher:
        return LLMatcher(self.vocabulary.native, form, log_level=0, limits=self.limits.parser)

    def _plain(self, kind: str, form: str) -> Compiled:
        matcher = self._matcher(form)
        if matcher.is_error():
            raise ConstraintError(f"the {kind} cannot be followed: {_first_line(matcher)}")
        return Compiled(self.vocabulary, self.limits, matcher)

    def _regex(self, source: str) -> Compiled:
        return self._plain("regular expression", LLMatcher.grammar_from_regex(source))

    def _lark(self, source: str) -> Compiled:
        return self._plain("grammar", LLMatcher.grammar_from_lark(source))

    def _choices(self, source: str) -> Compiled:
        texts = ("".join(map(escaped, text)) for text in json.loads(source))
        return self._plain("list of choices", LLMatcher.grammar_from_regex("|".join(texts)))

    def _schema(self, source: str) -> Compiled:
        schema = _parsed(source, self.limits.depth)
        gate = Gate(schema)
        loosening, ends = Loosening(), time.thread_time() + self.limits.compile_seconds
        ladder = list(_LADDER)
        while True:
            try:
                rewritten = rewrite(schema, loosening, self._readable)
            except RecursionError:
                raise ConstraintError("the schema is nested too deeply; flatten it or use $ref") from None
            matcher = self._matcher(LLMatcher.grammar_from_json_schema(_spaced(rewritten.schema)))
            if not matcher.is_error():
                return Compiled(self.vocabulary, self.limits, matcher, gate, frozenset(rewritten.wider))
            complaint = _first_line(matcher)
            if not ladder:
                raise ConstraintError(f"the schema cannot be followed: {complaint}")
            if time.thread_time() > ends:
                raise ConstraintError(
                    f"the schema took more than {self.limits.compile_seconds} seconds to compile ({complaint}); "
                    "simplify it"
                )
            named = (step for words, step in _COMPLAINTS.items() if words in complaint and step in ladder)
            step = next(named, ladder[0])
            ladder.remove(step)
            loosening = replace(loosening, **{step: True})

    def _reads(self, pattern: str) -> bool:
        """Whether llguidance reads a pattern."""
        if not isinstance(pattern, str):
            return False
        form = LLMatcher.grammar_from_json_schema({"type": "string", "pattern": pattern})
        return not self._matcher(form).is_error()


_COMPILERS: dict[Kind, Callable[[Compiler, str], Compiled]] = {
    "schema": Compiler._schema,
    "regex": Compiler._regex,
    "lark": Compiler._lark,
    "choices": Compiler._choices,
}


def _parsed(source: str, deepest: int) -> Any:
    try:
        schema = json.loads(source)
    except (ValueError, RecursionError) as error:
        raise ConstraintError(f"the schema is not JSON ({error})") from None
    if isinstance(schema, bool):
        return schema
    if not isinstance(schema, dict):
        raise ConstraintError("the schema must be a JSON object, true or false")
    level: list[Any] = [schema]
    for _ in range(deepest):
        children = (child for node in level for child in (node.values() if isinstance(node, dict) else node))
        level = [child for child in children if isinstance(child, dict | list)]
        if not level:
            return schema
    raise ConstraintError(f"the schema is nested more than {deepest} deep; flatten it or use $ref")


def _spaced(schema: Any) -> Any:
    whole = {"allOf": [schema]} if isinstance(schema, bool) else schema
    return {**whole, "x-guidance": {"whitespace_pattern": _SPACE}}


def _first_line(matcher: LLMatcher) -> str:
    lines = matcher.get_error().strip().splitlines()
    return " ".join(line.strip() for line in lines[:3])[:300] if lines else "unknown reason"
