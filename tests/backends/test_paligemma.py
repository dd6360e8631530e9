"""PaliGemma behind the API and the command line: whole prefixes in any company, refusals, and objects in pixels."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import bezel
from bezel.backends.native import NativeBackend
from bezel.cli.main import app
from bezel.errors import InvalidRequestError, ModelFileError, UnsupportedInputError, UnsupportedModelError
from bezel.generation.loop import generate
from bezel.kernels.interface import Format
from bezel.models.vision import siglip
from bezel.testing import PALIGEMMA, PALIGEMMA2, instruction_sets, write_checkpoint
from bezel.weights.checkpoint import open_checkpoint
from bezel.weights.quantize import quantize

Image = pytest.importorskip("PIL.Image")
pytestmark = pytest.mark.skipif(
    not instruction_sets() and not os.environ.get("CI"), reason="the compiled kernels are not built"
)


@pytest.fixture(scope="module", params=[PALIGEMMA, PALIGEMMA2], ids=["1", "2"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(
        tmp_path_factory.mktemp("sees"), config=request.param, prefix="language_model.model.", seed=3
    )


@pytest.fixture
def model(folder: Path) -> bezel.Model:
    return bezel.load(str(folder))


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (30, 40, 3), np.uint8)


def asking(text: str, *pictures: Any) -> list[dict[str, Any]]:
    parts = [{"type": "image", "image": image} for image in pictures]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]


def test_an_answer_is_the_greedy_one_of_the_loop(folder: Path, model: bezel.Model) -> None:
    backend = NativeBackend.load(str(folder))
    for messages in (asking("detect cat", picture(1)), asking("x" * 60, picture(2), picture(1))):
        ids, spans = backend._prompt(model.request(messages))
        assert [(span.start, span.end, span.prefix) for span in spans] == [(0, len(ids), True)]
        steps = generate(backend.model, ids, backend.sampling, backend.tokenizer.stop_ids, 12, spans=spans)
        expected = [step.token_id for step in steps]
        found = model.chat(messages, max_tokens=12)
        assert backend.sampling.temperature == 0.0 and found.usage.prompt_tokens == len(ids)
        assert list(found.token_ids) == [token for token in expected if token not in backend.tokenizer.stop_ids]


def test_answers_are_the_same_side_by_side_and_after_each_other(folder: Path, model: bezel.Model) -> None:
    chats = [asking("a", picture(1)), asking("b" * 90, picture(1)), asking("a", picture(2), picture(3))] * 2
    together = bezel.Model(NativeBackend.load(str(folder), sequences=3)).chat_batch(chats, max_tokens=10)
    assert [result.text for result in together] == [model.chat(chat, max_tokens=10).text for chat in chats]


def test_the_same_prompt_is_found_again_and_one_that_begins_alike_is_not(
    model: bezel.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    original = siglip.Siglip.__call__
    monkeypatch.setattr(siglip.Siglip, "__call__", lambda self, pixels: looks.append(1) or original(self, pixels))
    first = model.chat(asking("detect cat", picture(4)), max_tokens=8)
    again = model.chat(asking("detect cat", picture(4)), max_tokens=8)
    assert again.text == first.text and again.usage.cached_tokens >= 64 and first.usage.cached_tokens == 0
    assert model.chat(asking("detect dog", picture(4)), max_tokens=8).usage.cached_tokens == 0
    assert len(looks) == 1, "the soft tokens of an image are kept"


@pytest.mark.parametrize(
    ("messages", "options", "kind", "complaint"),
    [
        ("detect cat", {}, UnsupportedInputError, "has none; send one"),
        ([{"role": "system", "content": "x"}, *asking("y", picture(1))], {}, InvalidRequestError, "does not chat"),
        (asking("y", picture(1)), {"pan_and_scan": True}, InvalidRequestError, "not trained with crops"),
        (asking("y " * 600, picture(1)), {}, InvalidRequestError, "the context holds 512"),
    ],
)
def test_what_paligemma_cannot_do_is_refused(
    model: bezel.Model, messages: Any, options: dict[str, Any], kind: type[Exception], complaint: str
) -> None:
    with pytest.raises(kind, match=complaint):
        model.chat(messages, **options)


def test_folders_that_cannot_be_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="GGUF has no PaliGemma"):
        quantize(open_checkpoint(folder), tmp_path / "m.gguf", Format.Q8_0)
    blind = write_checkpoint(tmp_path / "blind", config=PALIGEMMA["text_config"], prefix="language_model.model.")
    config = json.loads((folder / "config.json").read_text())
    text = json.loads((blind / "config.json").read_text())
    (blind / "config.json").write_text(json.dumps(config | {"text_config": text}))
    with pytest.raises(ModelFileError, match="no image tower"):
        bezel.load(str(blind))
    (blind / "config.json").write_text(json.dumps(config | {"text_config": text | {"model_type": "gemma3_text"}}))
    with pytest.raises(UnsupportedModelError, match="'gemma3_text' is no text half"):
        bezel.load(str(blind))


def test_the_command_line_shows_objects_in_pixels(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "cat.png"
    Image.fromarray(picture(1)).save(file)
    asked = ["run", "-m", str(folder), "--image", str(file), "-n", "3", "--json"]  # too few for a box
    done = CliRunner().invoke(app, [*asked, "detect cat"])
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout.splitlines()[-1])
    assert record["text"] == bezel.load(str(folder)).chat(asking("detect cat", file), max_tokens=3).text
    assert "objects" not in record
    forced = "<loc0256><loc0000><loc0512><loc1023> cat"
    done = CliRunner().invoke(app, [*asked[:-3], "--json", "--choices", forced, "detect cat"])
    record = json.loads(done.stdout.splitlines()[-1])
    assert record["text"] == forced, "places are pieces of the answer's text"
    assert record["objects"] == [{"label": "cat", "box": {"top": 8, "left": 0, "bottom": 15, "right": 40}}]
    refused = CliRunner().invoke(app, [*asked[:-1], "--masks", "vae-oid.npz", "segment cat"])
    assert isinstance(refused.exception, InvalidRequestError) and "--json" in str(refused.exception)


def test_show_reads_the_folder(folder: Path) -> None:
    done = CliRunner().invoke(app, ["show", str(folder), "--json"])
    facts = json.loads(done.stdout)
    assert facts["architecture"] == "paligemma" and facts["layers"] == 2 and facts["context"] == "512 tokens"
    memory = CliRunner().invoke(app, ["show", str(folder), "--memory", "--context", "512", "--json"])
    assert json.loads(memory.stdout)["memory"]["total"] > 0
