"""The Python of docs/media.md works."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.media.samples import colours, encoded, recorded, tone

PAGE = Path(__file__).parents[2] / "docs" / "media.md"


def test_the_code_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("chart.png").write_bytes(encoded(Image.fromarray(colours()), "PNG"))
    Path("note.ogg").write_bytes(recorded(tone(48_000, 1.0), 48_000, "OGG", "OPUS"))
    shades = [Image.new("RGB", (4, 4), (n, n, n)) for n in (0, 90, 180, 250)]
    Path("steps.gif").write_bytes(encoded(shades[0], "GIF", save_all=True, append_images=shades[1:], duration=500))
    names: dict[str, object] = {}
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    exec(compile(code, "media.md", "exec"), names)
    assert np.array_equal(names["picture"], colours()) and np.array_equal(names["small"], colours())
    assert np.shape(names["sound"]) == (16_000,)
    assert len(names["frames"].pictures) == 4  # type: ignore[attr-defined]
