"""Grammars are compiled for one vocabulary, once each."""

from __future__ import annotations

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Protocol

from llguidance import LLMatcher

from bezel.errors import ConstraintError
from bezel.generation.constraints.calls.answering import Calls
from bezel.generation.constraints.calls.offers import Offers
from bezel.generation.constraints.gate import Gate
from bezel.generation.constraints.grammar import Grammar, Kind
from bezel.generation.constraints.judging import DocumentJudge, Judge
from bezel.generation.constraints.limits import Limits
from bezel.generation.constraints.matching import Following
from bezel.generation.constraints.negation import escaped
from bezel.generation.constraints.rewriting import Loosening, Rewritten, rewrite
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
    """A grammar that answers can be started from.

    `wider`: in which respects its judge has the last word; `pieces`: the control pieces in it.
    """

    vocabulary: Vocabulary
    limits: Limits
    matcher: LLMatcher
    judge: Judge | None = None
    wider: frozenset[str] = frozenset()
    pieces: tuple[int, ...] = ()

    def start(self) -> Following:
        """A constraint for one answer."""
        matcher, holds = self.matcher.deep_copy(), bool(self.wider)
        return Following(matcher, self.vocabulary, self.judge, self.limits, holds, self.pieces)


class Compiler:
    """Compiles for one vocabulary, and remembers what it compiled within `limits`. May be called from any thread."""

    def __init__(self, vocabulary: Vocabulary, limits: Limits | None = None) -> None:
        self.vocabulary, self.limits = vocabulary, limits or Limits()
        self._compiled: OrderedDict[Grammar, Compiled | Calls] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()
        self._readable = lru_cache(1024)(self._reads)

    def compile(self, grammar: Grammar) -> Compiled:
        """Raises ConstraintError where a grammar is wrong, too large, or can hold for no text."""
        compiled = self._cached(grammar, lambda: _COMPILERS[grammar.kind](self, grammar.source))
        assert isinstance(compiled, Compiled)
        return compiled

    def calls(self, form: CallForm, tools: Sequence[Mapping[str, Any]]) -> Calls:
        """What an answer may be where `tools` (OpenAI's shape) are offered and called in `form`.

        Raises ConstraintError naming the tool whose parameters cannot be followed.
        """
        offers = Offers.of(tools)
        compiled = self._cached(Grammar("calls", f"{form.name} {offers.source()}"), lambda: self._offered(form, offers))
        assert isinstance(compiled, Calls)
        return compiled

    def _offered(self, form: CallForm, offers: Offers) -> Calls:
        try:
            return form.compile(self, offers)
        except ConstraintError:
            for name in offers.parameters:
                try:
                    form.compile(self, offers.only(name))
                except ConstraintError as error:
                    raise ConstraintError(f"tool {name}: {error}") from None
            raise

    def _cached(self, grammar: Grammar, make: Callable[[], Compiled | Calls]) -> Compiled | Calls:
        try:
            size = len(grammar.source.encode())
        except UnicodeEncodeError as error:
            raise ConstraintError(
                f"half a surrogate pair stands in the {grammar.kind} at character {error.start}; send valid Unicode"
            ) from None
        if size > self.limits.source_bytes:
            raise ConstraintError(
                f"the {grammar.kind} has {size} bytes, at most {self.limits.source_bytes} are taken; make it smaller"
            )
        with self._lock:
            found = self._compiled.get(grammar)
            if found is not None:
                self._compiled.move_to_end(grammar)
                return found
        compiled = make()
        with self._lock:
            self._keep(grammar, compiled, size)
        return compiled

    def _keep(self, grammar: Grammar, compiled: Compiled | Calls, size: int) -> None:
        if grammar not in self._compiled:
            self._bytes += size
        self._compiled[grammar] = compiled
        while len(self._compiled) > self.limits.cached or self._bytes > self.limits.cached_bytes:
            oldest, _ = self._compiled.popitem(last=False)
            self._bytes -= len(oldest.source.encode())

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
        judge = DocumentJudge(Gate(schema), self.vocabulary)
        return self.loosened(schema, lambda rewritten: json_form(rewritten.schema), judge)

    def loosened(
        self, schema: Any, form: Callable[[Rewritten], str], judge: Judge, pieces: Sequence[int] = ()
    ) -> Compiled:
        """`schema` as llguidance takes it: what it complains of is left to `judge`, one kind after the other.

        `form` writes a rewritten schema for llguidance. Raises ConstraintError where nothing is left to loosen.
        """
        loosening, ends = Loosening(), time.thread_time() + self.limits.compile_seconds
        ladder = list(_LADDER)
        while True:
            try:
                rewritten = rewrite(schema, loosening, self._readable)
                matcher = self._matcher(form(rewritten))
            except RecursionError:
                raise ConstraintError("the schema is nested too deeply; flatten it or use $ref") from None
            if not matcher.is_error():
                wider = frozenset(rewritten.wider)
                return Compiled(self.vocabulary, self.limits, matcher, judge, wider, tuple(pieces))
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

    def reads(self, expression: str) -> bool:
        """Whether llguidance reads a regular expression, anchored at both ends."""
        return not self._matcher(LLMatcher.grammar_from_regex(expression)).is_error()

    def _reads(self, pattern: str) -> bool:
        """Whether llguidance reads a pattern."""
        if not isinstance(pattern, str):
            return False
        form = LLMatcher.grammar_from_json_schema({"type": "string", "pattern": pattern})
        return not self._matcher(form).is_error()


class CallForm(Protocol):
    """How a model writes its calls."""

    @property
    def name(self) -> str:
        """No two forms share it."""

    def compile(self, compiler: Compiler, offers: Offers) -> Calls:
        """What an answer may be. Raises ConstraintError."""


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


def json_form(schema: Any) -> str:
    """What llguidance is told of JSON documents that may be compact or indented."""
    whole = {"allOf": [schema]} if isinstance(schema, bool) else schema
    return str(LLMatcher.grammar_from_json_schema({**whole, "x-guidance": {"whitespace_pattern": _SPACE}}))


def _first_line(matcher: LLMatcher) -> str:
    lines = matcher.get_error().strip().splitlines()
    return " ".join(line.strip() for line in lines[:3])[:300] if lines else "unknown reason"
