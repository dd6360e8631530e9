"""Images and sounds in messages to Gemma 3n: what Transformers makes of the same, and towers that do not stay."""

from __future__ import annotations

import json
import os
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import bezel
from bezel.backends.native import NativeBackend
from bezel.cli.main import app
from bezel.errors import InvalidRequestError, ModelFileError
from bezel.generation.loop import all_logits
from bezel.media.images import Preprocessing, picture_of
from bezel.media.spectrograms import LogMel
from bezel.testing import GEMMA3N, instruction_sets, write_checkpoint

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
soundfile = pytest.importorskip("soundfile")
Image = pytest.importorskip("PIL.Image")
oracles = import_module("tests.parity.timm_without_torchvision")  # skips without timm
pytestmark = pytest.mark.skipif(
    not instruction_sets() and not os.environ.get("CI"), reason="the compiled kernels are not built"
)

VOCABULARY, TEXT, BANDS, SIDE = 336, 304, 16, 64
IMAGE, IMAGE_END, SOUND, SOUND_END = 305, 304, 329, 328  # above the text's ids, as in published models
IMAGES, SOUNDS = 16, 12  # soft tokens
OPTIONS: dict[str, Any] = {"max_tokens": 6, "temperature": 0.0, "speculation": "off"}
SHOWN = {"size": {"height": SIDE, "width": SIDE}, "resample": 2, "do_normalize": False, "feature_size": BANDS}


def config_of() -> dict[str, Any]:
    text = {**GEMMA3N, "vocab_size": VOCABULARY, "vocab_size_per_layer_input": TEXT, "final_logit_softcapping": 3.0}
    return {
        "text_config": {name: value for name, value in text.items() if name != "model_type"},
        "audio_config": {
            "vocab_size": 8, "vocab_offset": 328, "input_feat_size": BANDS, "hidden_size": 32,
            "conf_num_attention_heads": 2, "conf_num_hidden_layers": 2, "sscp_conv_channel_size": (8, 4),
        },
        "vision_config": {"vocab_size": 24, "vocab_offset": TEXT, "model_args": oracles.model_args()},
        "vision_soft_tokens_per_image": IMAGES, "eoi_token_id": IMAGE_END, "image_token_id": IMAGE,
        "audio_soft_tokens_per_image": SOUNDS, "eoa_token_id": SOUND_END, "audio_token_id": SOUND,
    }  # fmt: skip


@pytest.fixture(scope="module")
def oracle() -> Any:
    torch.manual_seed(10)
    with pytest.MonkeyPatch.context() as patch:
        oracles.seeing(patch)
        config = transformers.Gemma3nConfig(**config_of(), attn_implementation="eager")
        model = transformers.Gemma3nForConditionalGeneration(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(0, parameter[0].numel() ** -0.5 if parameter.dim() == 4 and "vision" in name else 0.3)
    return model


@pytest.fixture(scope="module")
def folder(oracle: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from safetensors.torch import save_file

    control = ["<start_of_audio>", "<start_of_image>"]
    folder = write_checkpoint(tmp_path_factory.mktemp("senses"), config=GEMMA3N, control=control, vocabulary=VOCABULARY)
    save_file({name: tensor.contiguous() for name, tensor in _once(oracle).items()}, folder / "model.safetensors")
    whole = config_of() | {"model_type": "gemma3n"}
    whole["text_config"] = whole["text_config"] | {"model_type": "gemma3n_text"}
    (folder / "config.json").write_text(json.dumps(whole))
    (folder / "preprocessor_config.json").write_text(json.dumps(SHOWN))
    return folder


def _once(oracle: Any) -> dict[str, Any]:
    """Without the head, which is the embedding."""
    return {name: tensor for name, tensor in oracle.state_dict().items() if name != "lm_head.weight"}


def noise(seed: int, seconds: float = 0.6) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(round(16_000 * seconds)) * 0.2).astype(np.float32)


def picture(seed: int, width: int = 40, height: int = 30) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def asking(*parts: Any) -> list[dict[str, Any]]:
    """Text, pictures [height, width, 3] and sounds [samples]."""
    content: list[dict[str, Any]] = []
    for part in parts:
        if isinstance(part, str):
            content.append({"type": "text", "text": part})
        else:
            kind = "image" if part.ndim == 3 else "audio"
            content.append({"type": kind, kind: part})
    return [{"role": "user", "content": content}]


ORDERS: list[tuple[Any, ...]] = [
    (picture(1), "what?"),
    ("a", noise(2), picture(3), "b", picture(4, 90, 20), "c"),
    (picture(5), noise(6), "d"),
]


@pytest.mark.parametrize("parts", ORDERS, ids=["image", "sound between images", "image, sound"])
def test_logits_of_messages_with_images_and_sounds_are_transformers(
    folder: Path, oracle: Any, parts: tuple[Any, ...]
) -> None:
    backend = NativeBackend.load(str(folder), cache="f32")
    ids, spans = backend._prompt(bezel.Model(backend).request(asking(*parts)))
    shown = [part for part in parts if not isinstance(part, str)]
    assert [span.length for span in spans] == [(IMAGES if part.ndim == 3 else SOUNDS) + 1 for part in shown]
    assert all(span.causal for span in spans)
    named = list(ids)
    for span, part in zip(spans, shown, strict=True):
        seen = part.ndim == 3
        piece = "<start_of_image>" if seen else "<start_of_audio>"
        assert backend.tokenizer.piece(ids[span.start - 1]) == piece
        named[span.start : span.end] = [IMAGE] * IMAGES + [IMAGE_END] if seen else [SOUND] * SOUNDS + [SOUND_END]
    given: dict[str, Any] = {}
    preprocessing = Preprocessing.of_gemma3n(SHOWN)
    pixels = [preprocessing.pixels(preprocessing.square(picture_of(part))) for part in shown if part.ndim == 3]
    given["pixel_values"] = torch.tensor(np.stack(pixels)).permute(0, 3, 1, 2)
    features = [LogMel(feature_size=BANDS)(part) for part in shown if part.ndim == 1]
    if features:
        given["input_features"] = torch.tensor(np.stack(features))
        given["input_features_mask"] = torch.ones(given["input_features"].shape[:2], dtype=bool)
    with torch.no_grad():
        expected = oracle(torch.tensor([named]), **given).logits[0].numpy()
    found = all_logits(backend.model, ids, spans)
    assert np.abs(found - expected).max() <= 1e-3 * np.ptp(expected)


def test_towers_that_do_not_stay_answer_the_same_and_are_gone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    messages = asking("a", noise(7), picture(8), picture(9), "b")
    kept = bezel.load(str(folder))
    expected = kept.chat(messages, **OPTIONS).token_ids
    assert kept._backend._senses.vision.loaded and kept._backend._senses.hearing.loaded
    backend = NativeBackend.load(str(folder), keep_towers=False)
    assert bezel.Model(backend).chat(messages, **OPTIONS).token_ids == expected
    assert not backend._senses.vision.loaded and not backend._senses.hearing.loaded
    # What was seen is kept: no tower is built for it again.
    monkeypatch.setattr(backend._senses.vision, "_build", None)
    assert bezel.Model(backend).chat(messages, **OPTIONS).token_ids == expected
    assert NativeBackend.load(str(folder), profile="edge", size="96,64,96,128")._senses.vision._stays is False


def test_a_block_that_is_missing_ends_a_request_and_none_beside_it(folder: Path, tmp_path: Path, oracle: Any) -> None:
    from safetensors.torch import save_file

    broken = tmp_path / "broken"
    broken.mkdir()
    for file in folder.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    there = {name: tensor for name, tensor in _once(oracle).items() if "blocks.2.2.attn.query" not in name}
    save_file(there, broken / "model.safetensors")
    for keep in (True, False):
        model = bezel.load(str(broken), keep_towers=keep)
        with pytest.raises(
            ModelFileError, match=r"broken: tensor .*blocks\.2\.2\.attn\.query\.proj\.weight is missing"
        ):
            model.chat(asking(picture(1), "x"), **OPTIONS)
        assert model.chat("hello", **OPTIONS).token_ids


def test_crops_are_refused_when_asked_for_and_an_image_that_is_long_is_shown_whole(folder: Path) -> None:
    model = bezel.load(str(folder))
    long = asking(picture(1, 900, 100), "x")
    assert len(model._backend._prompt(model.request(long))[1]) == 1
    detailed = [{"role": "user", "content": [{"type": "image", "image": picture(1, 900, 100), "detail": "high"}]}]
    assert len(model._backend._prompt(model.request(detailed))[1]) == 1
    with pytest.raises(InvalidRequestError, match="not trained with crops"):
        model.chat(long, pan_and_scan=True, **OPTIONS)


def test_a_size_that_the_tower_does_not_pool_is_refused(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    wrong = SHOWN | {"size": {"height": 96, "width": 96}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(wrong))
    with pytest.raises(ModelFileError, match="multiple of 64"):
        bezel.load(str(tmp_path))


def test_the_command_line_takes_images_and_sounds_together(folder: Path, tmp_path: Path) -> None:
    Image.fromarray(picture(11)).save(tmp_path / "seen.png")
    soundfile.write(tmp_path / "heard.wav", noise(12), 16_000)
    asked = ["run", "-m", str(folder), "--image", str(tmp_path / "seen.png"), "--audio", str(tmp_path / "heard.wav")]
    ran = CliRunner().invoke(app, [*asked, "--choices", "yes", "Hm?"])
    assert ran.exit_code == 0 and ran.stdout.strip() == "yes", ran.exception
