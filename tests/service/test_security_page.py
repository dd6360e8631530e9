"""docs/security.md names tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_every_test_that_the_page_names_is_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", (ROOT / "docs/security.md").read_text("utf-8"))
    assert len(named) > 30
    missing = [(path, name) for path, name in named if f"def {name}(" not in (ROOT / path).read_text("utf-8") and name]
    assert missing == []
