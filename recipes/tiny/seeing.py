"""tiny-sees: its shape, its tokenizer, and batches of pictures with questions."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional
from transformers import Gemma3Config, Gemma3ForConditionalGeneration

from bezel.media.images import Preprocessing
from bezel.text.soft import ImageForm
from bezel.training.data.example import Split
from bezel.training.data.pictures import asking, pages, printed, topics
from bezel.training.data.pictures.canvas import Drawn
from bezel.training.data.pictures.seen import Seen
from recipes.tiny import tokenizer as tokenizers
from recipes.tiny.packing import Rows, Shape, Strands, pack, size_of
from recipes.tiny.precision import precision
from recipes.tiny.prompts import Prompts

SIZE, PATCH, SIDE = 256, 16, 16  # pixels, and soft tokens a side, one for each patch
TOKENS = SIDE * SIDE
PICTURES = 16
SHAPE = Shape(rows=16, length=384, answers=1024, window=384)
CONTROL = (*tokenizers.CONTROL, "<image_soft_token>")
PIECES = 640
LETTERS = list(pages.LETTERS)
EACH = 4
"""A soft token is asked for so many letters at most."""
PAGE, PARTS_OF_A_PAGE = 320, 10
"""Pixels of a side of a page of text, and how many parts of SIZE pixels are learned from."""
UNSEEN = -1e4
"""Added to a score, it leaves nothing of a weight."""
Part = tuple[float, float, float]
"""Of a picture: the left edge, the top and the side, as shares of it."""
WHOLE: Part = (0.0, 0.0, 1.0)


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
        "patch_size": PATCH,
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


def letters_of(drawn: Drawn, part: Part = WHOLE) -> np.ndarray:
    """Which letters stand in each soft token of a part of a picture: int64 [TOKENS, EACH], 0 for none."""
    left, top, share = part
    found, used = np.zeros((SIDE, SIDE, EACH), np.int64), np.zeros((SIDE, SIDE), int)
    for glyph in drawn.glyphs:
        row, column = (int((at - first) / share * SIDE // 1) for at, first in ((glyph.y, top), (glyph.x, left)))
        if not (0 <= row < SIDE and 0 <= column < SIDE):
            continue
        if glyph.character in LETTERS and used[row, column] < EACH:
            found[row, column, used[row, column]] = 1 + LETTERS.index(glyph.character)
            used[row, column] += 1
    return found.reshape(TOKENS, EACH)


def to_read(rng: random.Random) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pictures to learn reading from, uint8 [SIZE, SIZE, 3], and letters: mostly parts of pages full of text."""
    while True:
        if rng.random() < 0.5:
            drawn = rng.choice((asking, asking, printed)).sample(rng, "train").drawn
            yield square_of(drawn), letters_of(drawn)
            continue
        drawn = pages.page(rng, "train")
        whole = Preprocessing(PAGE).square(np.asarray(drawn.image))
        for _ in range(PARTS_OF_A_PAGE):
            x, y = rng.randint(0, PAGE - SIZE), rng.randint(0, PAGE - SIZE)
            yield whole[y : y + SIZE, x : x + SIZE], letters_of(drawn, (x / PAGE, y / PAGE, SIZE / PAGE))


@dataclass
class Example:
    """A picture as the tower takes it, uint8 [SIZE, SIZE, 3], its letters, and questions."""

    picture: np.ndarray
    letters: np.ndarray
    strands: Strands
    task: str


def example(seen: Seen, prompts: Prompts, rng: random.Random) -> Example:
    """With as many questions as a row has room for."""
    asked = [(question.question, question.answer) for question in seen.asked]
    rng.shuffle(asked)
    strands = prompts.strands(asked)
    while size_of(strands) > SHAPE.length and len(strands[1]) > 1:
        strands[1].pop()
    return Example(square_of(seen.drawn), letters_of(seen.drawn), strands, seen.asked[0].task)


def square_of(drawn: Drawn) -> np.ndarray:
    """A picture as the tower takes it, uint8 [SIZE, SIZE, 3]."""
    return Preprocessing(SIZE).square(np.asarray(drawn.image))


@dataclass
class Batch:
    """Rows, and the pictures in the order of their documents: uint8 [n, SIZE, SIZE, 3], letters, places of tokens."""

    rows: Rows
    pictures: torch.Tensor
    letters: torch.Tensor
    places: torch.Tensor


def batch_of(examples: list[Example], start: int) -> tuple[Batch, set[int]]:
    """The first that find room; blank pictures fill up to PICTURES, with places behind the rows' end."""
    rows, used = pack([each.strands for each in examples], SHAPE, PICTURES)
    order = sorted(used)
    pictures = np.full((PICTURES, SIZE, SIZE, 3), 255, np.uint8)
    letters = np.zeros((PICTURES, TOKENS, EACH), np.int64)
    places = torch.arange(PICTURES * TOKENS).view(PICTURES, TOKENS) + SHAPE.rows * SHAPE.length
    documents = rows.documents.flatten()
    for number, index in enumerate(order):
        pictures[number], letters[number] = examples[index].picture, examples[index].letters
        first = int((documents == index).nonzero()[0]) + start
        places[number] = torch.arange(first, first + TOKENS)
    return Batch(rows, torch.from_numpy(pictures), torch.from_numpy(letters), places.flatten()), used


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


class Letters(torch.utils.data.IterableDataset):
    """Endless (uint8 [PICTURES, SIZE, SIZE, 3], letters [PICTURES, TOKENS, EACH]) to learn reading from."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        torch.set_num_threads(1)
        rng = random.Random(self._seed)
        pool, made = list[tuple[np.ndarray, np.ndarray]](), to_read(rng)
        while True:
            pool += islice(made, 8 * PICTURES - len(pool))  # so that parts of a page come apart
            rng.shuffle(pool)
            pictures, letters = zip(*(pool.pop() for _ in range(PICTURES)), strict=True)
            yield torch.from_numpy(np.stack(pictures)), torch.from_numpy(np.stack(letters))


class Sees(torch.nn.Module):
    """Gemma 3 with logits at the answers' places, and a head that spells what each soft token shows."""

    def __init__(self, pieces: int) -> None:
        super().__init__()
        self.model = Gemma3ForConditionalGeneration(config(pieces))
        hidden = self.model.config.text_config.hidden_size
        embedding = self.model.get_input_embeddings().weight
        projection = self.model.model.multi_modal_projector.mm_input_projection_weight
        for weight in (embedding, projection):
            torch.nn.init.normal_(weight, std=hidden**-0.5)
        self.spelling_head = torch.nn.Linear(hidden, EACH * (len(LETTERS) + 1))
        weights = torch.full((len(LETTERS) + 1,), 1.0)
        weights[0] = 0.05
        self.register_buffer("_weights", weights, persistent=False)

    def forward(
        self,
        pictures: torch.Tensor,
        places: torch.Tensor,
        ids: torch.Tensor,
        positions: torch.Tensor,
        masks: dict[str, torch.Tensor],
        answers: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits of answers [answers, pieces], and of letters [n, TOKENS, EACH, letters]."""
        with precision():
            soft = self._soft(pictures)
            embedded = self.model.get_input_embeddings()(ids)
            flat_soft = soft.flatten(0, 1).to(embedded.dtype)
            flat = torch.cat([embedded.flatten(0, 1), torch.zeros_like(flat_soft)]).index_copy(0, places, flat_soft)
            embedded = flat[: ids.numel()].view_as(embedded)
            hidden = self.model.model.language_model(
                inputs_embeds=embedded, position_ids=positions, attention_mask=masks, use_cache=False
            ).last_hidden_state
            return self.model.lm_head(hidden.flatten(0, 1)[answers]), self._spelled_by(soft)

    def read(self, pictures: torch.Tensor) -> torch.Tensor:
        """Logits of letters alone; the text model has no part in it."""
        with precision():
            return self._spelled_by(self._soft(pictures))

    def _soft(self, pictures: torch.Tensor) -> torch.Tensor:
        """Soft tokens, [n, TOKENS, hidden]."""
        pixels = (pictures.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
        rows = self.model.model.vision_tower(pixel_values=pixels).last_hidden_state
        soft: torch.Tensor = self.model.model.multi_modal_projector(rows)
        return soft

    def _spelled_by(self, soft: torch.Tensor) -> torch.Tensor:
        spelled: torch.Tensor = self.spelling_head(soft).unflatten(-1, (EACH, -1))
        return spelled

    def spelling_loss(self, spelled: torch.Tensor, letters: torch.Tensor) -> torch.Tensor:
        """Cross-entropy; that there is no letter is said so often that it counts a twentieth."""
        return functional.cross_entropy(spelled.float().flatten(0, 2), letters.flatten(), self._weights)


def masks(batch: Batch) -> dict[str, torch.Tensor]:
    """What is added to scores: the rows' masks, with every token of a picture seen by all of it."""
    found = batch.rows.masks()
    soft = batch.rows.ids == CONTROL.index("<image_soft_token>")
    documents = batch.rows.documents
    both = (soft[:, :, None] & soft[:, None, :] & (documents[:, :, None] == documents[:, None, :]))[:, None]
    return {kind: torch.where(mask | both, 0.0, UNSEEN) for kind, mask in found.items()}
