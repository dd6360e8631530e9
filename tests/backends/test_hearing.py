"""Sounds in messages: what a model with ears is given, and what Transformers makes of the same."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import bezel
from bezel.backends.hearing import longest
from bezel.backends.native import NativeBackend
from bezel.cli.main import app
from bezel.errors import InvalidRequestError, MediaError, UnsupportedInputError
from bezel.generation.loop import all_logits
from bezel.media.spectrograms import LogMel
from bezel.models.audio import usm
from bezel.testing import GEMMA3N, instruction_sets, write_checkpoint
from bezel.weights import embedded

torch = pytest.importorskip("torch")
sounds = pytest.importorskip("tests.parity.test_gemma3n_sounds")
transformers = pytest.importorskip("transformers")
soundfile = pytest.importorskip("soundfile")
modeling = pytest.importorskip("transformers.models.gemma3n.modeling_gemma3n")
pytestmark = pytest.mark.skipif(not instruction_sets(), reason="the compiled kernels are not built")

VOCABULARY, TEXT, TOKENS, BANDS = 336, 304, 12, 16
SOUND, END = 329, 328  # above the text's ids, as in published models
OPTIONS: dict[str, Any] = {"max_tokens": 6, "temperature": 0.0, "speculation": "off"}
QUESTION = {"type": "text", "text": "What is said?"}


@pytest.fixture(scope="module")
def oracle() -> Any:
    text = {**GEMMA3N, "vocab_size": VOCABULARY, "vocab_size_per_layer_input": TEXT}
    text |= {"final_logit_softcapping": 3.0}
    config = transformers.Gemma3nConfig(
        text_config={name: value for name, value in text.items() if name != "model_type"},
        audio_config={
            "vocab_size": 8, "vocab_offset": 328, "input_feat_size": BANDS, "hidden_size": 32,
            "conf_num_attention_heads": 2, "conf_num_hidden_layers": 2, "sscp_conv_channel_size": (8, 4),
        },
        vision_config={"hidden_size": 32, "vocab_size": 24, "vocab_offset": TEXT},
        audio_soft_tokens_per_image=TOKENS, eoa_token_id=END, audio_token_id=SOUND, image_token_id=305,
        attn_implementation="eager",
    )  # fmt: skip
    torch.manual_seed(7)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(modeling, "AutoModel", sounds.Blind)
        model = transformers.Gemma3nForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3)
    return model


@pytest.fixture(scope="module")
def folder(oracle: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_checkpoint(tmp_path_factory.mktemp("hears"), config=GEMMA3N, control=["<start_of_audio>"])
    oracle.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"feature_size": BANDS}))
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> bezel.Model:
    return bezel.load(str(folder), cache="f32")


def noise(seed: int, seconds: float) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(round(16_000 * seconds)) * 0.2).astype(np.float32)


def wav(samples: np.ndarray, rate: int = 16_000) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="FLOAT")
    return file.getvalue()


def asking(source: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "audio", "audio": source}, QUESTION]}]


@pytest.mark.parametrize("seconds", [0.3, 1.7])
def test_logits_behind_a_sound_are_those_of_transformers(folder: Path, oracle: Any, seconds: float) -> None:
    backend = NativeBackend.load(str(folder), cache="f32")
    samples = noise(1, seconds)
    ids, (span,) = backend._prompt(bezel.Model(backend).request(asking(samples)))
    assert span.length == TOKENS + 1 and span.causal
    assert backend.tokenizer.piece(ids[span.start - 1]) == "<start_of_audio>"
    named = list(ids)
    named[span.start : span.end] = [*[SOUND] * TOKENS, END]
    features = torch.tensor(LogMel(feature_size=BANDS)(samples))[None]
    valid = torch.ones(features.shape[:2], dtype=bool)
    with torch.no_grad():
        expected = oracle(torch.tensor([named]), input_features=features, input_features_mask=valid).logits[0].numpy()
    found = all_logits(backend.model, ids, [span])
    assert np.abs(found - expected).max() <= 1e-3 * (expected.max() - expected.min())


def test_a_sound_may_come_as_samples_a_file_a_path_or_as_openai_sends_it(model: bezel.Model, tmp_path: Path) -> None:
    samples = noise(2, 0.5)
    (tmp_path / "note.wav").write_bytes(wav(samples))
    encoded = base64.b64encode(wav(samples)).decode()
    expected = model.chat(asking(samples), **OPTIONS).token_ids
    for source in (wav(samples), str(tmp_path / "note.wav"), f"data:audio/wav;base64,{encoded}"):
        assert model.chat(asking(source), **OPTIONS).token_ids == expected
    part = {"type": "input_audio", "input_audio": {"data": encoded, "format": "wav"}}
    assert model.chat([{"role": "user", "content": [part, QUESTION]}], **OPTIONS).token_ids == expected
    assert model.chat_batch([asking(samples), "hello", asking(noise(3, 0.5))], **OPTIONS)[0].token_ids == expected


def test_what_cannot_be_heard_is_refused_and_nothing_is_cut(model: bezel.Model) -> None:
    with pytest.raises(InvalidRequestError, match=r"31 s long and the model hears 1\.92 s at once"):
        model.chat(asking(noise(4, 31)))
    with pytest.raises(MediaError):
        model.chat(asking(b"no sound"))
    with pytest.raises(InvalidRequestError, match="float32"):
        model.chat(asking(np.zeros(3)))
    writes = bezel.load(str(embedded.writing().model))
    with pytest.raises(UnsupportedInputError, match="is a sound"):
        writes.chat(asking(noise(5, 1)))
    with pytest.raises(UnsupportedInputError, match=r"tiny\.gguf does not hear"):
        writes.transcribe(noise(5, 1))


def test_published_models_hear_30_seconds() -> None:
    assert longest(188, usm.Config.from_hf({}), LogMel()) == 30.0


def test_the_tower_comes_with_the_first_sound_and_goes_when_asked_to(folder: Path) -> None:
    backend = NativeBackend.load(str(folder))
    model, hearing = bezel.Model(backend), backend._senses.hearing
    assert hearing is not None and not hearing.loaded and model._backend.describe()["sounds"]
    first = model.chat(asking(noise(6, 0.4)), **OPTIONS)
    assert hearing.loaded
    model.release_towers()
    assert not hearing.loaded
    assert model.chat(asking(noise(6, 0.4)), **OPTIONS).token_ids == first.token_ids


def test_a_recording_is_written_down_and_translated(model: bezel.Model, folder: Path, tmp_path: Path) -> None:
    samples = np.concatenate([noise(8, 1.4), np.zeros(4000, np.float32), noise(9, 1.2)])
    told: list[Any] = []
    done = model.transcribe(samples, "en", told.append, choices=["one two.", "three."], max_tokens=40)
    assert len(told) == 2 and told[0].end == pytest.approx(1.525, abs=0.1)
    assert done.duration == pytest.approx(2.85) and done.text and done.segments[-1].end == pytest.approx(2.85)
    assert model.translate(wav(noise(10, 1)), "it", choices=["uno."], max_tokens=40).text == "uno."
    (tmp_path / "note.wav").write_bytes(wav(noise(11, 0.5)))
    ran = CliRunner().invoke(app, ["transcribe", str(tmp_path / "note.wav"), "-m", str(folder), "--format", "ass"])
    assert isinstance(ran.exception, InvalidRequestError)
    asked = ["run", "-m", str(folder), "--audio", str(tmp_path / "note.wav"), "--choices", "yes", "Hm?"]
    ran = CliRunner().invoke(app, asked)
    assert ran.exit_code == 0 and ran.stdout.strip() == "yes", ran.exception
