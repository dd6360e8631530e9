"""tiny-hears: its shape, its tokenizer, and batches of recordings with what is asked about them."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch.nn import functional
from transformers import AutoModel, Gemma3nConfig, Gemma3nForConditionalGeneration
from transformers.models.gemma3n import modeling_gemma3n

from bezel.speech import question_of
from bezel.text.soft import EndedForm
from bezel.training.data.speech import phrases
from bezel.training.scores import spoken_form
from recipes.tiny import sounds
from recipes.tiny import tokenizer as tokenizers
from recipes.tiny.packing import Rows, Shape, Strands, pack
from recipes.tiny.precision import precision
from recipes.tiny.prompts import Prompts
from recipes.tiny.sounds import Recording

TOKENS = 48
"""Soft tokens of a sound, however short it is: 7.68 s, though training hears less."""
FRAMES = sounds.FRAMES
SOUNDS = 24
SHAPE = Shape(rows=8, length=384, answers=1024, window=256)
CONTROL = (*tokenizers.CONTROL, "<start_of_audio>", "<audio_soft_token>")
PIECES = 768
LAYERS = ["sliding_attention", "sliding_attention", "full_attention"] * 2


def config(pieces: int) -> Gemma3nConfig:
    """About 5 million parameters, with every mechanism of the family alive."""
    text = {
        "vocab_size": pieces,
        "vocab_size_per_layer_input": pieces,
        "hidden_size": 192,
        "intermediate_size": 320,
        "num_hidden_layers": len(LAYERS),
        "num_attention_heads": 3,
        "num_key_value_heads": 1,
        "head_dim": 64,
        "sliding_window": SHAPE.window,
        "layer_types": LAYERS,
        "num_kv_shared_layers": 2,
        "activation_sparsity_pattern": [0.8, 0.8, 0.0, 0.0, 0.0, 0.0],
        "hidden_size_per_layer_input": 32,
        "laurel_rank": 32,
        "final_logit_softcapping": 30.0,
        "max_position_embeddings": 1024,
        "rope_parameters": {
            "full_attention": {"rope_type": "default", "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        },
        "tie_word_embeddings": True,
        "bos_token_id": 2,
        "eos_token_id": [1, 5],
        "pad_token_id": 0,
    }
    audio = {
        "vocab_size": 2,
        "vocab_offset": pieces,
        "hidden_size": 128,
        "conf_num_attention_heads": 4,
        "conf_num_hidden_layers": 6,
        "sscp_conv_channel_size": (32, 16),
    }
    return Gemma3nConfig(
        text_config=text,
        audio_config=audio,
        vision_config={"hidden_size": 32, "vocab_size": 1, "vocab_offset": pieces},
        audio_soft_tokens_per_image=TOKENS,
        boa_token_id=CONTROL.index("<start_of_audio>"),
        eoa_token_id=pieces,
        audio_token_id=CONTROL.index("<audio_soft_token>"),
        attn_implementation="eager",
    )


class _Blind:
    """Makes every tower but the one for images, which is another library's and has nothing to do here."""

    @staticmethod
    def from_config(config: Any) -> torch.nn.Module:
        return torch.nn.Identity() if "vision" in config.model_type else AutoModel.from_config(config)


def blind_model(pieces: int) -> Gemma3nForConditionalGeneration:
    """Transformers' Gemma 3n without eyes."""
    with mock.patch.object(modeling_gemma3n, "AutoModel", _Blind):
        return Gemma3nForConditionalGeneration(config(pieces))


def prompts(folder: Path) -> Prompts:
    """With the run's tokenizer, trained once on phrases and questions."""
    path = folder / "tokenizer.json"
    if not path.exists():
        rng = random.Random(7)
        texts = [phrases.sample(rng, "train").text for _ in range(20_000)]
        asked = [question_of(language, into) for language in (None, *phrases.LANGUAGES) for into in (None, "en")]
        texts += [f"user\n{question}\nmodel\n" for question in asked * 200]
        tokenizers.trained_on(texts, PIECES, CONTROL, tokenizers.WITH_SPACES).save(str(path))
    return Prompts(folder, "audio", EndedForm.of_sound(TOKENS + 1).parts())


def alphabet() -> str:
    """Every letter that phrases are spelled with, and the space."""
    rows = [
        *phrases.GREETINGS,
        *phrases.WHOLE,
        *phrases.OPEN,
        *(row for rows in phrases.SLOTS.values() for row in rows),
    ]
    return "".join(sorted({letter for row in rows for text in row for letter in spoken_form(text)} | {" "}))


ALPHABET = alphabet()


def asked_about(phrase: phrases.Phrase, rng: random.Random) -> list[tuple[str, str]]:
    """To write it down and to translate it, with its language named or not."""
    language = phrase.language if rng.random() < 0.5 else None
    return [(question_of(language), phrase.text), (question_of(language, "en"), phrase.english)]


@dataclass
class Batch:
    """Rows, and recordings in the order of their documents.

    `bands` float32 [n, frames, 128] with 0 behind the end, `frames` [n]; `places` of soft tokens and of the piece that
    ends a sound; `letters` [n, most] and how many there are [n].
    """

    rows: Rows
    bands: torch.Tensor
    frames: torch.Tensor
    places: torch.Tensor
    letters: torch.Tensor
    spelled: torch.Tensor


def batch_of(
    recordings: Sequence[Recording], strands: list[Strands], start: int, rng: random.Random | None = None
) -> tuple[Batch, set[int]]:
    """The first that find room; silence fills up to SOUNDS. With `rng` loudness changes and parts are missing."""
    rows, used = pack(strands, SHAPE, SOUNDS)
    order = sorted(used)
    bands = np.zeros((SOUNDS, FRAMES, 128), np.float32)
    frames = np.full(SOUNDS, 16, np.int64)
    letters, spelled = np.zeros((SOUNDS, 96), np.int64), np.zeros(SOUNDS, np.int64)
    places = torch.arange(SOUNDS * (TOKENS + 1)).view(SOUNDS, -1) + SHAPE.rows * SHAPE.length
    documents = rows.documents.flatten()
    for number, index in enumerate(order):
        recording = recordings[index]
        frames[number] = len(recording.frames)
        bands[number, : frames[number]] = recording.frames
        if rng is not None:
            _disturb(bands[number, : frames[number]], rng)
        text = [1 + ALPHABET.index(letter) for letter in spoken_form(recording.phrase.text)][:96]
        letters[number, : len(text)], spelled[number] = text, len(text)
        first = int((documents == index).nonzero()[0]) + start
        places[number] = torch.arange(first, first + TOKENS + 1)
    tensors = [torch.from_numpy(array) for array in (bands, frames)]
    spelling = [torch.from_numpy(array) for array in (letters, spelled)]
    return Batch(rows, *tensors, places.flatten(), *spelling), used


def _disturb(bands: np.ndarray, rng: random.Random) -> None:
    """In place: another loudness, and up to two gaps in time and in frequency (Park et al. 2019, SpecAugment)."""
    floor = np.float32(np.log(1e-5))
    np.maximum(bands + np.float32(rng.uniform(-1, 1)), floor, out=bands)
    mean = bands.mean()
    for axis, widest in ((0, 12), (0, 12), (1, 16), (1, 16)):
        width = rng.randint(0, widest)
        first = rng.randrange(max(1, bands.shape[axis] - width))
        gap = slice(first, first + width)
        bands[(gap, slice(None)) if axis == 0 else (slice(None), gap)] = mean


class Batches(torch.utils.data.IterableDataset):
    """Endless; for a process beside the one that learns. Recordings that are made meanwhile are taken in."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder, self._seed = folder, seed

    def __iter__(self) -> Iterator[Batch]:
        torch.set_num_threads(1)
        asked, rng = prompts(self._folder), random.Random(self._seed)
        known: set[str] = set()
        made: list[Recording] = []
        while True:
            made += sounds.load(self._folder / "sounds", "train", known)
            if not made:
                raise FileNotFoundError(f"{self._folder}/sounds is empty; run python -m recipes.tiny.sounds first")
            rng.shuffle(made)
            waiting: list[Recording] = []
            for recording in made:
                waiting.append(recording)
                if len(waiting) == SOUNDS:
                    strands = [asked.strands(asked_about(each.phrase, rng)) for each in waiting]
                    batch, used = batch_of(waiting, strands, asked.start, rng)
                    waiting = [each for index, each in enumerate(waiting) if index not in used]
                    yield batch


class Hears(torch.nn.Module):
    """Gemma 3n with logits at the answers' places, and a head that spells along with the conformer."""

    def __init__(self, pieces: int) -> None:
        super().__init__()
        self.model = blind_model(pieces)
        text = self.model.config.text_config
        language = self.model.model.language_model
        torch.nn.init.normal_(language.embed_tokens.weight, std=text.hidden_size**-0.5)
        self.spelling_head = torch.nn.Linear(self.model.config.audio_config.hidden_size, len(ALPHABET) + 1)

    def forward(
        self,
        bands: torch.Tensor,
        frames: torch.Tensor,
        places: torch.Tensor,
        ids: torch.Tensor,
        positions: torch.Tensor,
        masks: dict[str, torch.Tensor],
        answers: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits of answers [answers, pieces], and of letters [n, conformer's rows, letters + 1]; 0 is none."""
        model = self.model.model
        with precision():
            rows = self._conformer(bands, frames)
            soft = model.embed_audio(inputs_embeds=rows[:, ::4])
            heard = torch.arange(soft.shape[1])[None, :] < ((frames + 15) // 16)[:, None]
            ids_behind = torch.tensor([[model.embed_audio.vocab_offset, model.embed_audio.vocab_offset + 1]])
            end, filler = model.embed_audio(input_ids=ids_behind)[0]
            soft = torch.where(heard[:, :, None], soft, filler)
            behind = filler.expand(len(soft), TOKENS - soft.shape[1], -1)
            soft = torch.cat([soft, behind, end.expand(len(soft), 1, -1)], 1).flatten(0, 1)
            embedded = model.language_model.embed_tokens(ids)
            soft = soft.to(embedded.dtype)
            flat = torch.cat([embedded.flatten(0, 1), torch.zeros_like(soft)]).index_copy(0, places, soft)
            hidden = model.language_model(
                inputs_embeds=flat[: ids.numel()].view_as(embedded),
                per_layer_inputs=model.language_model.get_per_layer_inputs(self._text_ids(ids)),
                position_ids=positions,
                attention_mask=masks,
                use_cache=False,
            ).last_hidden_state
            logits = self.model.lm_head(hidden.flatten(0, 1)[answers])
            cap = self.model.config.text_config.final_logit_softcapping
            return torch.tanh(logits / cap) * cap, self.spelling_head(rows)

    def listen(self, bands: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        """Logits of letters alone; the text model has no part in it."""
        with precision():
            return self.spelling_head(self._conformer(bands, frames))

    @staticmethod
    def _text_ids(ids: torch.Tensor) -> torch.Tensor:
        """Soft tokens have the per-layer inputs of padding."""
        return torch.where(ids == CONTROL.index("<audio_soft_token>"), 0, ids)

    def _conformer(self, bands: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        """The tower's rows before every fourth is kept, [n, FRAMES / 4, width]."""
        tower = self.model.model.audio_tower
        rows = tower.subsample_conv_projection(bands)
        padding = torch.arange(rows.shape[1])[None, :] * 4 >= frames[:, None]
        for block in tower.conformer:
            rows = block(rows, padding)
        return rows

    @staticmethod
    def spelling_loss(spelled: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Connectionist temporal classification (Graves et al. 2006) of what is said, a letter at a time."""
        odds = spelled.float().log_softmax(-1).transpose(0, 1)
        heard = batch.spelled > 0
        each = functional.ctc_loss(
            odds[:, heard],
            batch.letters[heard],
            (batch.frames[heard] + 3) // 4,
            batch.spelled[heard],
            reduction="none",
            zero_infinity=True,
        )
        return (each / batch.spelled[heard]).mean()
