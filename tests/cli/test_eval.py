"""`bezel eval`: which model is asked what."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import pytest
from click.testing import CliRunner

from bezel.cli.eval_ import _parts
from bezel.cli.main import app
from bezel.testing import GEMMA3_VISION, instruction_sets, write_checkpoint
from bezel.training.data import media_by_hand

pytestmark = pytest.mark.skipif(not instruction_sets(), reason="the compiled kernels are not built")


def test_a_model_that_sees_is_asked_about_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = media_by_hand.charts()[:1]
    monkeypatch.setattr(media_by_hand, "charts", lambda: first)
    folder = write_checkpoint(tmp_path, config=GEMMA3_VISION, prefix="language_model.model.")
    done = CliRunner().invoke(app, ["eval", str(folder), "--count", "1", "--json"])
    assert done.exit_code == 0, done.output
    sets = {row["set"]: row for row in json.loads(done.output)}
    assert sets["by hand: charts"]["total"] == 2 and sets["charts, unseen looks and wordings"]["total"] == 1
    assert "sums, known phrasings" not in sets


def test_what_counts_as_right_is_said() -> None:
    said = " ".join(CliRunner().invoke(app, ["eval", "--help"]).output.split())
    for rule in ("a chart's value right within a tenth", "printed text is counted by character", "by word"):
        assert rule in said


def test_tiny_is_every_model_of_the_package_and_another_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _parts("some/model", "tower.gguf") == [("some/model", "tower.gguf")]
    (tmp_path / "tiny").mkdir()
    monkeypatch.setattr(resources, "files", lambda _: tmp_path)
    writes = str(tmp_path / "tiny" / "tiny.gguf")
    assert _parts("tiny", None) == [(writes, None)]
    text = tmp_path / "tiny" / "tiny-hears.gguf"
    text.write_bytes(b"")
    assert _parts("tiny", None) == [(writes, None), (str(text), str(text.with_name("mmproj-tiny-hears.gguf")))]
