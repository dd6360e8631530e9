"""How much a constraint may cost, to compile and to follow."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from llguidance import LLParserLimits


@dataclass(frozen=True)
class Limits:
    """Budgets. Where one is spent a typed error says which.

    source_bytes: of a schema, regular expression, grammar or list of choices.
    depth: of a schema's nesting.
    compile_seconds: of processor time between attempts to compile a schema; one attempt ends by `lexer_fuel` and
    `grammar_size`.
    lexer_fuel, step_fuel, step_items, lexer_states, grammar_size: llguidance's own, of which the second and third
    are a step's.
    refusals: how often a whole document may be refused by its validator and be taken back.
    cached, cached_bytes: compiled constraints that are kept, and the bytes of their sources.
    """

    source_bytes: int = 4 << 20
    depth: int = 200
    compile_seconds: float = 2.0
    lexer_fuel: int = 2_000_000
    step_fuel: int = 500_000
    step_items: int = 100_000
    lexer_states: int = 100_000
    grammar_size: int = 500_000
    refusals: int = 64
    cached: int = 128
    cached_bytes: int = 16 << 20

    @cached_property
    def parser(self) -> LLParserLimits:
        """What llguidance is told."""
        return LLParserLimits(
            initial_lexer_fuel=self.lexer_fuel,
            step_lexer_fuel=self.step_fuel,
            step_max_items=self.step_items,
            max_lexer_states=self.lexer_states,
            max_grammar_size=self.grammar_size,
            verbose_errors=False,
        )
