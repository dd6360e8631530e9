"""tiny-sees: its shape, its tokenizer, and batches of pictures with questions."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional
from transformers import Gemma3Config, Gemma3ForConditionalGeneration

from bezel.media.images import Preprocessing
from bezel.text.soft import ImageForm
from bezel.training.data.example import Split
from bezel.training.data.pictures import asking, printed, topics
from bezel.training.data.pictures.canvas import Drawn
from bezel.training.data.pictures.seen import Seen
from recipes.tiny import positions
from recipes.tiny import tokenizer as tokenizers
from recipes.tiny.packing import Rows, Shape, Strands, pack, size_of
from recipes.tiny.patches import (
    ASKED_OF_MEANINGS,
    EACH,
    LETTERS,
    NOT_ASKED,
    PATCHES,
    SIDE,
    in_rows,
    letters_of,
    meanings_of,
)
from recipes.tiny.precision import precision
from recipes.tiny.prompts import Prompts

SIZE, TOKENS = 256, PATCHES  # pixels of a side, and soft tokens, one for each patch
PICTURES = 16
SHAPE = Shape(rows=16, length=384, answers=1024, window=384)
CONTROL = (*tokenizers.CONTROL, "<image_soft_token>")
PIECES = 640
MEANING_WEIGHT = 0.3
"""Of a question about what a patch stands for, beside letters."""


def config(pieces: int) -> Gemma3Config:
    """About 5 million parameters."""
    text = {
        "vocab_size": pieces,
        "hidden_size": 192,
        "intermediate_size": 416,
        "num_hidden_layers": 5,
        "num_attention_heads": 3,
        "num_key_value_heads": 1,
        "head_dim": 64,
        "query_pre_attn_scalar": 64,
        "sliding_window": SHAPE.window,
        "layer_types": ["sliding_attention", "full_attention"] * 2 + ["full_attention"],
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
    vision = {
        "hidden_size": 192,
        "intermediate_size": 768,
        "num_hidden_layers": 6,
        "num_attention_heads": 3,
        "image_size": SIZE,
        "patch_size": SIZE // SIDE,
        "vision_use_head": False,
    }
    return Gemma3Config(
        text_config=text,
        vision_config=vision,
        mm_tokens_per_image=TOKENS,
        boi_token_index=CONTROL.index("<start_of_image>"),
        eoi_token_index=CONTROL.index("<end_of_image>"),
        image_token_index=CONTROL.index("<image_soft_token>"),
        attn_implementation="eager",
    )


def prompts(folder: Path) -> Prompts:
    """With the run's tokenizer, trained once: on questions without the labels that they name, which are spelled."""
    path = folder / "tokenizer.json"
    if not path.exists():
        rng = random.Random(7)
        texts = []
        for _ in range(20_000):
            form = rng.choice(
                (*asking.HIGHEST, *asking.LOWEST, *asking.VALUE, *asking.SHARE, *asking.TREND, *printed.READ)
            )
            one, counted = rng.choice([*topics.GROUPS]), rng.choice(topics.COUNTED).lower()
            texts.append(
                "user\n" + form.format(one=one, counted=counted, label="") + "\nmodel\nrising\nfalling\nsteady"
            )
        tokenizers.trained_on(texts, PIECES, CONTROL, tokenizers.WITH_SPACES).save(str(path))
    return Prompts(folder, "image", ImageForm(TOKENS).parts(0))


def printed_share(done: float) -> float:
    """Of all pictures: reading comes first, charts take its place."""
    return max(0.4, 0.8 - done)


def draw(rng: random.Random, split: Split, done: float) -> Seen:
    """A picture and its questions."""
    return (printed if rng.random() < printed_share(done) else asking).sample(rng, split)


@dataclass
class Example:
    """A picture as the tower takes it, uint8 [SIZE, SIZE, 3], what its patches show, and questions."""

    picture: np.ndarray
    letters: np.ndarray
    meanings: np.ndarray
    strands: Strands
    task: str


def example(seen: Seen, prompts: Prompts, rng: random.Random) -> Example:
    """With as many questions as a row has room for."""
    asked = [(question.question, question.answer) for question in seen.asked]
    rng.shuffle(asked)
    strands = prompts.strands(asked)
    while size_of(strands) > SHAPE.length and len(strands[1]) > 1:
        strands[1].pop()
    drawn = seen.drawn
    return Example(square_of(drawn), letters_of(drawn), meanings_of(drawn), strands, seen.asked[0].task)


def square_of(drawn: Drawn) -> np.ndarray:
    """A picture as the tower takes it, uint8 [SIZE, SIZE, 3]."""
    return Preprocessing(SIZE).square(np.asarray(drawn.image))


@dataclass
class Batch:
    """Rows, and pictures in their documents' order: uint8 [n, SIZE, SIZE, 3], what they show, places of tokens."""

    rows: Rows
    pictures: torch.Tensor
    letters: torch.Tensor
    meanings: torch.Tensor
    places: torch.Tensor


def batch_of(examples: list[Example], start: int) -> tuple[Batch, set[int]]:
    """The first that find room; blank pictures fill up to PICTURES, with places behind the rows' end."""
    rows, used = pack([each.strands for each in examples], SHAPE, PICTURES)
    order = sorted(used)
    pictures = np.full((PICTURES, SIZE, SIZE, 3), 255, np.uint8)
    letters = np.zeros((PICTURES, TOKENS, EACH), np.int64)
    meanings = np.full((PICTURES, TOKENS, len(ASKED_OF_MEANINGS)), NOT_ASKED, np.int64)
    places = torch.arange(PICTURES * TOKENS).view(PICTURES, TOKENS) + SHAPE.rows * SHAPE.length
    documents = rows.documents.flatten()
    for number, index in enumerate(order):
        chosen = examples[index]
        pictures[number], letters[number], meanings[number] = chosen.picture, chosen.letters, chosen.meanings
        first = int((documents == index).nonzero()[0]) + start
        places[number] = torch.arange(first, first + TOKENS)
    tensors = [torch.from_numpy(array) for array in (pictures, letters, meanings)]
    return Batch(rows, *tensors, places.flatten()), used


class Batches(torch.utils.data.IterableDataset):
    """Endless, from step `first` of `steps`; for a process beside the one that learns."""

    def __init__(self, folder: Path, first: int, steps: int) -> None:
        self._folder, self._first, self._steps = folder, first, steps

    def __iter__(self) -> Iterator[Batch]:
        torch.set_num_threads(1)
        asked, rng = prompts(self._folder), random.Random(self._first)
        pool: list[Example] = []
        step = self._first
        while True:
            while len(pool) < PICTURES + 8:
                pool.append(example(draw(rng, "train", step / self._steps), asked, rng))
            rng.shuffle(pool)
            batch, used = batch_of(pool, asked.start)
            pool = [each for index, each in enumerate(pool) if index not in used]
            step += 1
            yield batch


@dataclass
class Told:
    """Logits of what soft tokens show, [n, TOKENS, ...]: letters [EACH, letters], and for each question of meanings."""

    letters: torch.Tensor
    meanings: tuple[torch.Tensor, ...]

    def loss(self, letters: torch.Tensor, meanings: torch.Tensor) -> torch.Tensor:
        """Of letters [n, TOKENS, EACH], a letter; and of meanings [n, TOKENS, 3], a patch."""
        found = self._spelling_loss(letters)
        for logits, wanted in zip(self.meanings, meanings.unbind(-1), strict=True):
            each = functional.cross_entropy(
                logits.float().flatten(0, 1), wanted.flatten(), ignore_index=NOT_ASKED, reduction="sum"
            )
            found = found + MEANING_WEIGHT * each / (wanted != NOT_ASKED).sum().clamp(min=1)
        return found

    def _spelling_loss(self, letters: torch.Tensor) -> torch.Tensor:
        """Connectionist temporal classification (Graves et al. 2006) of each row of patches.

        A letter on the border of two patches may be told by either. Rows with more letters than that can tell are left
        out.
        """
        rows, odds = in_rows(letters), in_rows(self.letters.float().log_softmax(-1)).transpose(0, 1)
        lengths = (rows > 0).sum(1)
        given = torch.full_like(lengths, rows.shape[1])
        each = functional.ctc_loss(odds, rows[rows > 0], given, lengths, reduction="none", zero_infinity=True)
        return each.sum() / lengths.sum().clamp(min=1)

    def rows_read(self) -> list[list[int]]:
        """The letters of each row of patches of each picture, as the most probable ones tell them."""
        best = in_rows(self.letters.argmax(-1)).tolist()
        return [[letter for letter, _ in groupby(row) if letter] for row in best]


class Sees(torch.nn.Module):
    """Gemma 3 with logits at the answers' places, and heads that tell what each soft token shows."""

    def __init__(self, pieces: int) -> None:
        super().__init__()
        self.model = Gemma3ForConditionalGeneration(config(pieces))
        hidden = self.model.config.text_config.hidden_size
        embedding = self.model.get_input_embeddings().weight
        projection = self.model.model.multi_modal_projector.mm_input_projection_weight
        for weight in (embedding, projection):
            torch.nn.init.normal_(weight, std=hidden**-0.5)
        positions.begin(self.positions, SIDE)
        self.spelling_head = torch.nn.Linear(hidden, EACH * (len(LETTERS) + 1))
        self.meaning_head = torch.nn.Linear(hidden, sum(ASKED_OF_MEANINGS))

    @property
    def positions(self) -> torch.nn.Embedding:
        """Of the tower's patches."""
        found: torch.nn.Embedding = self.model.model.vision_tower.embeddings.position_embedding
        return found

    def forward(
        self,
        pictures: torch.Tensor,
        places: torch.Tensor,
        ids: torch.Tensor,
        positions: torch.Tensor,
        masks: dict[str, torch.Tensor],
        answers: torch.Tensor,
    ) -> tuple[torch.Tensor, Told]:
        """Logits of answers [answers, pieces], and of what soft tokens show."""
        with precision():
            soft = self._soft(pictures)
            embedded = self.model.get_input_embeddings()(ids)
            flat_soft = soft.flatten(0, 1).to(embedded.dtype)
            flat = torch.cat([embedded.flatten(0, 1), torch.zeros_like(flat_soft)]).index_copy(0, places, flat_soft)
            embedded = flat[: ids.numel()].view_as(embedded)
            hidden = self.model.model.language_model(
                inputs_embeds=embedded, position_ids=positions, attention_mask=masks, use_cache=False
            ).last_hidden_state
            return self.model.lm_head(hidden.flatten(0, 1)[answers]), self._told_by(soft)

    def read(self, pictures: torch.Tensor) -> Told:
        """What soft tokens show alone; the text model has no part in it."""
        with precision():
            return self._told_by(self._soft(pictures))

    def _soft(self, pictures: torch.Tensor) -> torch.Tensor:
        """Soft tokens, [n, TOKENS, hidden]."""
        pixels = (pictures.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
        rows = self.model.model.vision_tower(pixel_values=pixels).last_hidden_state
        soft: torch.Tensor = self.model.model.multi_modal_projector(rows)
        return soft

    def _told_by(self, soft: torch.Tensor) -> Told:
        meanings = self.meaning_head(soft).split(list(ASKED_OF_MEANINGS), -1)
        return Told(self.spelling_head(soft).unflatten(-1, (EACH, -1)), meanings)


def masks(batch: Batch) -> dict[str, torch.Tensor]:
    """The rows' masks, with every token of a picture seen by all of it."""
    found = batch.rows.masks()
    soft = batch.rows.ids == CONTROL.index("<image_soft_token>")
    documents = batch.rows.documents
    both = (soft[:, :, None] & soft[:, None, :] & (documents[:, :, None] == documents[:, None, :]))[:, None]
    return {kind: mask | both for kind, mask in found.items()}
