"""Images in messages: opened, seen, found again, refused; and the tower that comes and goes."""

from __future__ import annotations

import base64
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import bezel
from bezel.api import LOCAL
from bezel.backends.interface import Request
from bezel.backends.native import NativeBackend
from bezel.backends.sources import opened_image
from bezel.backends.towers import KEPT
from bezel.cli.main import app
from bezel.errors import (
    ContextLengthError,
    InvalidRequestError,
    MediaError,
    MediaSourceError,
    ModelFileError,
    UnsupportedInputError,
    UnsupportedModelError,
)
from bezel.generation.loop import generate
from bezel.generation.sampling import Sampling
from bezel.kernels.interface import Format
from bezel.media.fetching import Sources
from bezel.models.vision import siglip
from bezel.testing import GEMMA3_VISION, instruction_sets, vision_tensors, write_checkpoint, write_mmproj
from bezel.weights.checkpoint import open_checkpoint
from bezel.weights.memory import predicted, tower_bytes
from bezel.weights.vision import vision_of

Image = pytest.importorskip("PIL.Image")
pytestmark = pytest.mark.skipif(
    not instruction_sets() and not os.environ.get("CI"), reason="the compiled kernels are not built"
)
OPTIONS: dict[str, Any] = {"max_tokens": 12, "temperature": 0.0, "speculation": "off"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("sees"), config=GEMMA3_VISION, prefix="language_model.model.")


@pytest.fixture
def model(folder: Path) -> bezel.Model:
    return bezel.load(str(folder))


def picture(seed: int, width: int = 40, height: int = 30) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def file_of(array: np.ndarray, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind)
    return file.getvalue()


def asking(*parts: Any) -> list[dict[str, Any]]:
    content = [
        {"type": "text", "text": part} if isinstance(part, str) else {"type": "image", "image": part} for part in parts
    ]
    return [{"role": "user", "content": content}]


def test_an_answer_is_that_of_the_loop_over_the_towers_soft_tokens(folder: Path, model: bezel.Model) -> None:
    messages = asking("a", picture(1), "b", picture(2), "c")
    backend = NativeBackend.load(str(folder))
    ids, spans = backend._prompt(model.request(messages))
    assert [span.length for span in spans] == [16, 16] and ids == model.prompt_ids(messages)
    steps = list(generate(backend.model, ids, Sampling(temperature=0), backend.tokenizer.stop_ids, 12, spans=spans))
    found = model.chat(messages, **OPTIONS)
    assert found.token_ids == tuple(step.token_id for step in steps if step.token_id not in backend.tokenizer.stop_ids)
    assert found.usage.prompt_tokens == len(ids)
    other = model.chat(asking("a", picture(3), "b", picture(2), "c"), logprobs=0, **OPTIONS)
    same = model.chat(messages, logprobs=0, **OPTIONS)
    assert [each.logprob for each in other.logprobs] != [each.logprob for each in same.logprobs]


def test_answers_are_the_same_side_by_side(model: bezel.Model) -> None:
    chats = [asking(picture(4), "x"), "words alone", asking("y", picture(4), picture(5)), asking(picture(4), "x")]
    together = model.chat_batch(chats, **OPTIONS)
    assert [result.text for result in together] == [model.chat(chat, **OPTIONS).text for chat in chats]


def test_an_image_is_found_again_in_the_next_turn_and_another_is_not(
    model: bezel.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    original = siglip.Siglip.__call__
    monkeypatch.setattr(siglip.Siglip, "__call__", lambda self, pixels: looks.append(1) or original(self, pixels))
    first = asking("a question that fills a block of its own", picture(6), "then more")
    answer = model.chat(first, **OPTIONS)
    turns = [*first, {"role": "assistant", "content": answer.text}, {"role": "user", "content": "and?"}]
    again = model.chat(turns, **OPTIONS)
    assert again.usage.cached_tokens >= answer.usage.prompt_tokens - 32 and len(looks) == 1
    changed = model.chat(asking("a question that fills a block of its own", picture(7), "then more"), **OPTIONS)
    assert changed.usage.cached_tokens == 32 and len(looks) == 2


def test_the_tower_is_read_with_the_first_image_and_can_be_put_away(folder: Path) -> None:
    backend = NativeBackend.load(str(folder))
    model, vision = bezel.Model(backend), backend._senses.vision
    assert vision is not None
    model.chat("words alone", **OPTIONS)
    assert not vision.loaded
    seen = model.chat(asking(picture(8), "x"), **OPTIONS)
    assert vision.loaded
    model.release_towers()
    assert not vision.loaded
    assert model.chat(asking(picture(8), "x"), **OPTIONS).text == seen.text
    model.release_towers()
    assert model.chat(asking("other", picture(8)), **OPTIONS).usage.completion_tokens > 0 and vision.loaded


@pytest.mark.parametrize("keep", [True, False])
def test_however_many_images_each_is_looked_at_once(folder: Path, keep: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than the soft tokens that are kept between requests."""
    looks: list[int] = []
    original = siglip.Siglip.__call__
    monkeypatch.setattr(siglip.Siglip, "__call__", lambda self, pixels: looks.append(1) or original(self, pixels))
    many = KEPT + 2
    backend = NativeBackend.load(str(folder), keep_towers=keep)
    model, vision = bezel.Model(backend), backend._senses.vision
    assert vision is not None
    model.chat(asking(*map(picture, range(many)), "x"), **OPTIONS)
    assert len(looks) == many
    assert vision.loaded is keep
    with pytest.raises(ContextLengthError):
        model.chat(asking(*map(picture, range(100, 200)), "x"), **OPTIONS)
    assert len(looks) == many, "what is too long is refused before it is looked at"


def test_every_way_to_send_an_image_shows_the_same(tmp_path: Path) -> None:
    array = picture(9)
    (tmp_path / "p.bmp").write_bytes(file_of(array, "BMP"))
    url = "data:image/png;base64," + base64.b64encode(file_of(array)).decode()
    for source in (array, Image.fromarray(array), file_of(array), url, tmp_path / "p.bmp", str(tmp_path / "p.bmp")):
        np.testing.assert_array_equal(opened_image(source, LOCAL), array)


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("nowhere.png", "cannot be read"),
        ("https://example.com/a.png", "not fetched"),
        ("data:image/png,abc", "data:TYPE;base64"),
        (b"GIF89a", "cut off"),
        (file_of(picture(1))[:60], "cut off"),
        (b"<svg/>", "is not read"),
        (7, "a PIL image or a uint8 array"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_is_no_image_is_refused(model: bezel.Model, source: Any, complaint: str) -> None:
    with pytest.raises((MediaError, InvalidRequestError), match=complaint):
        model.chat([{"role": "user", "content": [{"type": "image", "image": source}]}])


def test_a_request_reads_no_paths_unless_it_is_told_to(model: bezel.Model, tmp_path: Path) -> None:
    (tmp_path / "p.png").write_bytes(file_of(picture(9)))
    messages = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": str(tmp_path / "p.png")}}]}]
    assert model.chat(messages, **OPTIONS).usage.prompt_tokens
    with pytest.raises(MediaSourceError, match="paths are not read here"):
        list(model._backend.stream(Request(messages=messages)))
    with pytest.raises(MediaSourceError, match="paths are not read here"):
        model.chat(messages, sources=Sources(), **OPTIONS)


def test_long_images_are_cropped_where_that_is_asked_for_or_due(model: bezel.Model) -> None:
    def images(seed: int, width: int, height: int, detail: str = "auto", **options: Any) -> int:
        part = {"type": "image_url", "image_url": {"url": "x", "detail": detail}}
        messages = [
            {"role": "user", "content": [part | {"image_url": {"url": _url(seed, width, height), "detail": detail}}]}
        ]
        return len(model._backend._prompt(model.request(messages, **options))[1])

    assert images(1, 300, 300) == 1
    assert images(1, 520, 400) == 3  # large beside a tower of 32 pixels
    assert images(1, 520, 400, "low") == 1
    assert images(1, 520, 400, pan_and_scan=False) == 1
    assert images(1, 1100, 260) == 5
    assert images(1, 60, 40, "high") == 1  # crops would be smaller than 256 pixels


def _url(seed: int, width: int, height: int) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(file_of(picture(seed, width, height), "JPEG")).decode()


def test_a_model_without_a_tower_says_so(tmp_path: Path) -> None:
    blind = bezel.load(str(write_checkpoint(tmp_path)))
    assert blind.describe()["images"] is False
    with pytest.raises(UnsupportedInputError, match="image tower"):
        blind.chat(asking(picture(1), "x"))
    blind.release_towers()


def test_a_tower_of_another_size_is_refused_where_it_is_named_and_else_not_taken(folder: Path, tmp_path: Path) -> None:
    from bezel.weights.checkpoint import open_checkpoint
    from bezel.weights.quantize import quantize

    quantize(open_checkpoint(folder), tmp_path / "m.gguf", Format.Q8_0)
    other = write_mmproj(tmp_path / "mmproj.gguf", vision_tensors(folder), projection_dim=96)
    with pytest.raises(ModelFileError, match="another size"):
        bezel.load(str(tmp_path / "m.gguf"), mmproj=str(other))
    assert bezel.load(str(tmp_path / "m.gguf")).describe()["images"] is False
    write_mmproj(tmp_path / "z-mmproj.gguf", vision_tensors(folder))
    assert bezel.load(str(tmp_path / "m.gguf")).describe()["images"] is True


def test_levels_reach_the_tower(folder: Path) -> None:
    for level, expected in (
        ("balanced", Format.Q8_0),
        ("maximum_efficiency", Format.Q8_0),
        ("performance", Format.BF16),
    ):
        backend = NativeBackend.load(str(folder), level=level)
        bezel.Model(backend).chat(asking(picture(1), "x"), **OPTIONS)
        assert backend._senses.vision is not None and backend._senses.vision._model is not None
        assert backend._senses.vision._model.vision_tower.layers[0].mlp.fc2.matrix.format is expected


def test_a_tower_beside_a_rounded_model_gets_eight_bits_unless_it_was_rounded_itself(
    folder: Path, tmp_path: Path
) -> None:
    from bezel.weights.checkpoint import open_checkpoint
    from bezel.weights.quantize import quantize

    quantize(open_checkpoint(folder), tmp_path / "m.gguf", Format.Q4_0)
    for number, (stored, expected) in enumerate(((Format.F16, Format.Q8_0), (Format.Q4_0, Format.Q4_0))):
        mmproj = write_mmproj(tmp_path / f"mmproj-{number}.gguf", vision_tensors(folder), format=stored)
        backend = NativeBackend.load(str(tmp_path / "m.gguf"), mmproj=str(mmproj))
        bezel.Model(backend).chat(asking(picture(1), "x"), **OPTIONS)
        assert backend._senses.vision is not None and backend._senses.vision._model is not None
        assert backend._senses.vision._model.vision_tower.layers[1].self_attn.qkv.matrix.format is expected


def test_a_tower_that_cannot_be_read_ends_its_own_request_alone(folder: Path, tmp_path: Path) -> None:
    from bezel.weights.checkpoint import open_checkpoint
    from bezel.weights.quantize import quantize

    quantize(open_checkpoint(folder), tmp_path / "m.gguf", Format.Q8_0)
    tensors = vision_tensors(folder)
    del tensors["vision_tower.vision_model.encoder.layers.1.mlp.fc2.bias"]
    write_mmproj(tmp_path / "mmproj.gguf", tensors)
    model = bezel.load(str(tmp_path / "m.gguf"))
    running = model.stream("words alone", max_tokens=40, temperature=0.0)
    next(running)
    with pytest.raises(ModelFileError, match=r"layers\.1\.mlp\.fc2\.bias is missing"):
        model.chat(asking(picture(1), "x"))
    assert "".join(running)


def test_the_command_line_shows_images(folder: Path, model: bezel.Model, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(file_of(picture(1)))
    (tmp_path / "b.jpg").write_bytes(file_of(picture(2), "JPEG"))
    images = [str(tmp_path / "a.png"), str(tmp_path / "b.jpg")]
    options = ["--image", images[0], "--image", images[1], "-n", "6", "-t", "0", "--json"]
    done = CliRunner().invoke(app, ["run", "-m", str(folder), *options, "compare", "them"])
    assert done.exit_code == 0, done.output
    expected = model.chat(asking(*map(Path, images), "compare them"), max_tokens=6, temperature=0.0)
    assert json.loads(done.stdout.splitlines()[-1])["text"] == expected.text


def test_a_budget_counts_the_tower(folder: Path) -> None:
    view = vision_of(open_checkpoint(folder))
    assert view is not None
    tower = sum(view.info(name).nbytes for name in view.stored_names)
    assert tower_bytes(view, Format.F32) == tower_bytes(view, None) == tower
    assert tower_bytes(view, Format.Q4_0) == tower_bytes(view, Format.Q8_0) < 0.4 * tower
    alone = predicted(open_checkpoint(folder), Format.BF16, 512).total
    with pytest.raises(InvalidRequestError, match="fits in"):
        NativeBackend.load(str(folder), "performance", 512, fit=alone + tower // 4)
    backend = NativeBackend.load(str(folder), "performance", 512, fit=alone + tower)
    assert backend.why is not None and backend._senses is not None
    assert backend._senses.vision is not None and backend._senses.vision._stays


def test_a_budget_for_a_config_without_its_type_is_refused(folder: Path, tmp_path: Path) -> None:
    broken = write_checkpoint(tmp_path / "broken", config=GEMMA3_VISION, prefix="language_model.model.")
    config = json.loads((folder / "config.json").read_text())
    del config["model_type"]
    (broken / "config.json").write_text(json.dumps(config))
    for budget in (None, 2**30):
        with pytest.raises((UnsupportedModelError, ModelFileError), match="model_type"):
            NativeBackend.load(str(broken), fit=budget)
