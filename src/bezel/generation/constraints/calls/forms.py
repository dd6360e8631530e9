"""Which form a dialect's calls have."""

from __future__ import annotations

from bezel.generation.constraints.calls.native import NativeForm
from bezel.generation.constraints.calls.prompted import PromptedForm
from bezel.generation.constraints.compiling import CallForm
from bezel.text.dialects.forms import Native, Prompted


def form_of(dialect: Prompted | Native) -> CallForm:
    """How the models of a dialect write their calls."""
    return NativeForm(dialect.name, dialect.pieces) if isinstance(dialect, Native) else PromptedForm()
