"""Gemma 3n's ears against Transformers, float32, random weights: tower, soft tokens, and the ids above the text's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bezel.errors import InvalidRequestError
from bezel.kernels.interface import Format, Kernels
from bezel.kernels.library import Native
from bezel.kernels.reference import Reference
from bezel.models.audio.gemma3n import Gemma3nAudio
from bezel.testing import ArrayWeights, instruction_sets
from bezel.weights.tower_names import audio_from_hugging_face

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
modeling = pytest.importorskip("transformers.models.gemma3n.modeling_gemma3n")

AUDIO = {
    "vocab_size": 8,
    "vocab_offset": 104,
    "input_feat_size": 19,
    "hidden_size": 64,
    "rms_norm_eps": 1e-2,
    "gradient_clipping": 2.0,  # holds most of what is clipped
    "conf_attention_chunk_size": 4,
    "conf_attention_context_left": 6,
    "conf_attention_context_right": 0,
    "conf_attention_logit_cap": 2.0,
    "conf_num_attention_heads": 4,
    "conf_num_hidden_layers": 3,
    "conf_conv_kernel_size": 5,
    "conf_reduction_factor": 4,
    "conf_residual_weight": 0.7,
    "sscp_conv_channel_size": (12, 8),
    "sscp_conv_group_norm_eps": 0.1,
    "sscp_conv_kernel_size": ((3, 3), (3, 3)),
    "sscp_conv_stride_size": ((2, 2), (2, 2)),
}
OTHER_SIZES = {
    "conf_attention_context_right": 3,
    "conf_attention_context_left": 3,
    "conf_reduction_factor": 3,
    "sscp_conv_kernel_size": ((5, 3), (2, 4)),
    "sscp_conv_stride_size": ((3, 1), (2, 2)),
}
TEXT = {"vocab_size": 112, "hidden_size": 48}
KERNELS: dict[str, Kernels] = {"reference": Reference()} | {isa: Native(2, isa) for isa in instruction_sets()}
EVERY_KERNEL = pytest.mark.parametrize("kernels", KERNELS.values(), ids=KERNELS)


class Oracle(torch.nn.Module):
    """The two parts of Transformers' model that hear."""

    def __init__(self, **other: Any) -> None:
        super().__init__()
        self.config = {"audio_config": {**AUDIO, **other}, "text_config": TEXT, "audio_soft_tokens_per_image": 60}
        self.config["eoa_token_id"] = 105
        config = transformers.Gemma3nAudioConfig(**self.config["audio_config"])
        self.audio_tower = modeling.Gemma3nAudioEncoder(config)
        self.embed_audio = modeling.Gemma3nMultimodalEmbedder(config, transformers.Gemma3nTextConfig(hidden_size=48))
        torch.manual_seed(3)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.normal_(0, 0.3)

    def hear(self, features: np.ndarray, frames: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the tower and soft tokens, of which only the valid are kept."""
        padded = torch.arange(len(features))[None] >= (len(features) if frames is None else frames)
        with torch.no_grad():
            found = self.audio_tower(torch.tensor(features)[None], padded, return_dict=True)
            soft = self.embed_audio(inputs_embeds=found.last_hidden_state)
        valid = ~found.audio_mel_mask[0]
        return found.last_hidden_state[0][valid].numpy(), soft[0][valid].numpy()


@pytest.fixture(scope="module")
def oracle() -> Oracle:
    return Oracle().eval()


def audio_of(oracle: Oracle, kernels: Kernels, format: Format = Format.F32) -> Gemma3nAudio:
    state = {f"model.{name}": tensor.numpy() for name, tensor in oracle.state_dict().items()}
    tensors = {name: state[stored] for name, stored in audio_from_hugging_face(state).items()}
    assert len(tensors) == len(state)
    return Gemma3nAudio(oracle.config, ArrayWeights(tensors, kernels, format))


def heard(frames: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(-2, 3, (frames, 19)).astype(np.float32)


def assert_close(found: np.ndarray, expected: np.ndarray, share: float = 1e-3) -> None:
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= share * (expected.max() - expected.min())


# Less than a chunk of attention, one and a row, several, and several strips of the convolutions.
LENGTHS = [1, 2, 5, 13, 16, 17, 18, 63, 128, 130, 700]


@EVERY_KERNEL
@pytest.mark.parametrize("frames", LENGTHS)
def test_rows_and_soft_tokens_are_the_oracles(oracle: Oracle, kernels: Kernels, frames: int) -> None:
    audio, features = audio_of(oracle, kernels), heard(frames)
    rows, soft = oracle.hear(features)
    assert_close(audio.audio_tower(features), rows)
    assert_close(audio(features), soft)
    assert len(soft) == audio.audio_tower.config.rows_out(frames)


@EVERY_KERNEL
@pytest.mark.parametrize(("frames", "own"), [(40, 37), (200, 130), (200, 1), (64, 63)])
def test_what_fills_a_sound_up_is_not_attended_to(oracle: Oracle, kernels: Kernels, frames: int, own: int) -> None:
    audio, features = audio_of(oracle, kernels), heard(frames)
    rows, soft = oracle.hear(features, own)
    assert_close(audio.audio_tower(features, own), rows)
    assert_close(audio(features, own), soft)
    assert len(soft) == audio.audio_tower.config.rows_out(own)


@EVERY_KERNEL
@pytest.mark.parametrize("frames", [9, 100, 500])
def test_other_windows_strides_and_rows_ahead(kernels: Kernels, frames: int) -> None:
    oracle = Oracle(**OTHER_SIZES).eval()
    audio, features = audio_of(oracle, kernels), heard(frames)
    for own in (frames, frames - 5):
        rows, soft = oracle.hear(features, own)
        assert_close(audio.audio_tower(features, own), rows)
        assert_close(audio(features, own), soft)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gradient_clipping", 1e10),
        ("conf_attention_logit_cap", 50.0),
        ("conf_residual_weight", 0.5),
        ("conf_attention_context_left", 7),
        ("conf_attention_context_right", 1),
        ("rms_norm_eps", 1e-6),
        ("sscp_conv_group_norm_eps", 1e-3),
    ],
)
def test_every_mechanism_is_alive_in_these_tests(oracle: Oracle, name: str, value: float) -> None:
    features = heard(63)
    other = Oracle(**{name: value}).eval()
    other.load_state_dict(oracle.state_dict())
    expected = oracle.hear(features)[1]
    assert np.abs(other.hear(features)[1] - expected).max() > 5e-3 * (expected.max() - expected.min())


@EVERY_KERNEL
def test_ids_above_the_texts_have_embeddings_of_their_own_and_fill_up_a_sound(oracle: Oracle, kernels: Kernels) -> None:
    audio, features = audio_of(oracle, kernels), heard(100)
    with torch.no_grad():
        hard = oracle.embed_audio(input_ids=torch.arange(104, 112)[None])[0].numpy()
    assert_close(audio.embed_audio.hard, hard)
    np.testing.assert_array_equal(audio.end, audio.embed_audio.hard[1:2])
    filled, own = audio.filled(features), oracle.hear(features)[1]
    assert filled.shape == (60, 48) and 0 < len(own) < 60
    assert_close(filled, np.concatenate([own, np.repeat(hard[-1:], 60 - len(own), axis=0)]))
    with pytest.raises(InvalidRequestError, match="cut it to parts of 60"):
        audio.filled(heard(1000))


@EVERY_KERNEL
@pytest.mark.parametrize(
    ("format", "share"),
    [(Format.BF16, 0.05), (Format.F16, 5e-3), (Format.Q8_0, 0.08), (Format.Q4_0, 0.5)],
    ids=lambda value: value.name if isinstance(value, Format) else "",
)
def test_a_tower_of_any_format_hears_about_the_same(
    oracle: Oracle, kernels: Kernels, format: Format, share: float
) -> None:
    found, exact = audio_of(oracle, kernels, format)(heard(130)), audio_of(oracle, kernels)(heard(130))
    assert_close(found, exact, share)
    assert np.abs(found - exact).max() > 1e-5 * np.abs(exact).max()


@EVERY_KERNEL
def test_what_is_behind_does_not_change_what_was_heard(oracle: Oracle, kernels: Kernels) -> None:
    tower = audio_of(oracle, kernels).audio_tower
    whole, begin = tower(heard(700)), tower(heard(700)[:390])
    # The last row of the convolutions saw where the sound ends.
    np.testing.assert_array_equal(begin[:-1], whole[: len(begin) - 1])


def test_a_sound_without_frames_has_no_soft_tokens(oracle: Oracle) -> None:
    audio = audio_of(oracle, Reference())
    assert audio(heard(0)).shape == (0, 48) and audio.filled(heard(0)).shape == (60, 48)
    with pytest.raises(ValueError, match="no sound for a tower of 19 bands"):
        audio(np.zeros((10, 20), np.float32))
