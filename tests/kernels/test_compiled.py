"""Which instruction set is taken."""

from __future__ import annotations

import os

import pytest

from bezel.errors import InvalidRequestError
from bezel.kernels import compiled
from bezel.kernels.library import Native
from bezel.testing import instruction_sets

SETS = instruction_sets()
pytestmark = pytest.mark.skipif(not SETS and not os.environ.get("CI"), reason="the compiled kernels are not built")


def test_the_environment_forces_an_instruction_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for isa in SETS:
        monkeypatch.setenv("BEZEL_ISA", isa)
        assert Native().isa == isa
    monkeypatch.setenv("BEZEL_ISA", "avx9000")
    with pytest.raises(InvalidRequestError, match="avx9000"):
        Native()


def test_the_best_set_is_taken_unless_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BEZEL_ISA", raising=False)
    assert compiled.chosen_set() == compiled.instruction_sets()[-1]
    assert compiled.chosen_set("portable") == "portable" == compiled.instruction_sets()[0]
    assert set(compiled.functions_of("portable")) == {*compiled.SIGNATURES, *compiled.PLAIN_SIGNATURES}
