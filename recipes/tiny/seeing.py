"""tiny-sees: its shape, its tokenizer, and batches of pictures with questions."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from transformers import Gemma3Config, Gemma3ForConditionalGeneration
from transformers.models.gemma3.modeling_gemma3 import Gemma3TextModel

from bezel.media.images import Preprocessing
from bezel.text.soft import ImageForm
from bezel.training.data.example import Split
from bezel.training.data.pictures import asking, printed, topics
from bezel.training.data.pictures.canvas import Drawn
from bezel.training.data.pictures.seen import Seen
from recipes.tiny import tokenizer as tokenizers
from recipes.tiny.local import begin_local
from recipes.tiny.packing import UNSEEN, Rows, Shape, Strands, pack, size_of
from recipes.tiny.pointing import HEADS, SIGHTS, looked, sights_of, value_of
from recipes.tiny.precision import precision
from recipes.tiny.prompts import Prompts
from recipes.tiny.shown import NOT_ASKED, NOTHING, PATCHES_OF_A_SIDE, TOKENS, Shown, batched, shown_on
from recipes.tiny.told import Heads, Told

SIZE = 256  # pixels of a side
PICTURES = 8
SHAPE = Shape(rows=8, length=448, answers=512, window=448)
CONTROL = (*tokenizers.CONTROL, "<image_soft_token>")
PIECES = 640
CHARTS_WEIGHT = 3.0
"""Of a token of an answer about a chart, which has fewer than one about printed text."""
PRINTED_AT_LEAST = 0.3
"""Of all pictures that are asked about; the others are charts."""
FIRST_LAYERS = 3
"""Of the text model, behind which tokens are asked what they stand for; the others are left to answer with it."""
LEGEND_LAYERS = (1, 2)
"""Of these, in which the first head looks from legends to what they explain."""


def config(pieces: int) -> Gemma3Config:
    """About 5 million parameters."""
    text = {
        "vocab_size": pieces,
        "hidden_size": 192,
        "intermediate_size": 512,
        "num_hidden_layers": 6,
        "num_attention_heads": 3,
        "num_key_value_heads": 1,
        "head_dim": 64,
        "query_pre_attn_scalar": 64,
        "sliding_window": SHAPE.window,
        "layer_types": ["sliding_attention", "full_attention"] * 3,
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
        "intermediate_size": 672,
        "num_hidden_layers": 5,
        "num_attention_heads": 3,
        "image_size": SIZE,
        "patch_size": SIZE // PATCHES_OF_A_SIDE,
        "vision_use_head": False,
    }
    return Gemma3Config(
        text_config=text,
        vision_config=vision,
        mm_tokens_per_image=TOKENS,
        boi_token_index=CONTROL.index("<start_of_image>"),
        eoi_token_index=CONTROL.index("<end_of_image>"),
        image_token_index=CONTROL.index("<image_soft_token>"),
        attn_implementation={"text_config": "eager", "vision_config": "sdpa"},
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


def share_of_printed(done: float, at_first: float) -> float:
    """Of all pictures: reading comes first, charts take its place."""
    return max(PRINTED_AT_LEAST, at_first - done)


def draw(rng: random.Random, split: Split, printed_share: float) -> Seen:
    """A picture and its questions."""
    return (printed if rng.random() < printed_share else asking).sample(rng, split)


@dataclass
class Example:
    """A picture as the tower takes it, uint8 [SIZE, SIZE, 3], what it shows, and questions.

    `sights` is where to look at every piece of their answers, bool [pieces, SIGHTS, TOKENS], and `values` which bin
    they are about, int64 [pieces].
    """

    picture: np.ndarray
    shown: Shown[np.ndarray]
    strands: Strands
    sights: np.ndarray
    values: np.ndarray
    task: str


def example(seen: Seen, prompts: Prompts, rng: random.Random) -> Example:
    """With as many questions as a row has room for."""
    asked = [*seen.asked]
    rng.shuffle(asked)
    shared, questions = prompts.strands([(question.question, question.answer) for question in asked])
    while size_of((shared, questions)) > SHAPE.length and len(questions) > 1:
        questions.pop()
    pieces = ([prompts.tokenizer.decode([each]) for each in answer] for _, answer in questions)
    sights = [sights_of(seen.drawn, each, spelled) for each, spelled in zip(asked, pieces, strict=False)]
    values = [np.full(len(each), value_of(one)) for each, one in zip(sights, asked, strict=False)]
    return Example(
        square_of(seen.drawn),
        shown_on(seen.drawn),
        (shared, questions),
        np.concatenate(sights),
        np.concatenate(values),
        seen.asked[0].task,
    )


def square_of(drawn: Drawn) -> np.ndarray:
    """A picture as the tower takes it, uint8 [SIZE, SIZE, 3]."""
    return Preprocessing(SIZE).square(np.asarray(drawn.image))


@dataclass
class Batch:
    """Rows, and pictures in their documents' order: uint8 [n, SIZE, SIZE, 3], what they show, places of tokens.

    A row has room for one picture, whose first soft token is in column `start`. For each token of an answer: where to
    look, and which bin it is about.
    """

    rows: Rows
    pictures: torch.Tensor
    shown: Shown[torch.Tensor]
    places: torch.Tensor
    start: int
    sights: torch.Tensor
    values: torch.Tensor


def batch_of(examples: list[Example], start: int) -> tuple[Batch, set[int]]:
    """The first that find room; blank pictures fill up to PICTURES, with places behind the rows' end."""
    rows, used = pack([each.strands for each in examples], SHAPE, PICTURES)
    order = sorted(used)
    pictures = np.full((PICTURES, SIZE, SIZE, 3), 255, np.uint8)
    places = torch.arange(PICTURES * TOKENS).view(PICTURES, TOKENS) + SHAPE.rows * SHAPE.length
    documents = rows.documents.flatten()
    sights = torch.zeros(SHAPE.answers, len(SIGHTS), TOKENS, dtype=torch.bool)
    values, answered = torch.full((SHAPE.answers,), NOT_ASKED), 0
    for number, index in enumerate(order):
        pictures[number] = examples[index].picture
        first = int((documents == index).nonzero()[0]) + start
        places[number] = torch.arange(first, first + TOKENS)
        pieces = slice(answered, answered + len(examples[index].sights))
        sights[pieces] = torch.from_numpy(examples[index].sights)
        values[pieces] = torch.from_numpy(examples[index].values)
        rows.weights[pieces] *= 1.0 if examples[index].task == "text" else CHARTS_WEIGHT
        answered = pieces.stop
    shown = batched([examples[index].shown for index in order] + [NOTHING] * (PICTURES - len(order)))
    return Batch(rows, torch.from_numpy(pictures), shown, places.flatten(), start, sights, values), used


class Batches(torch.utils.data.IterableDataset):
    """Endless, from step `first` of `steps`; for a process beside the one that learns.

    `printed_at_first` is the share of printed text at step 0.
    """

    def __init__(self, folder: Path, first: int, steps: int, printed_at_first: float) -> None:
        self._folder, self._first, self._steps, self._printed = folder, first, steps, printed_at_first

    def __iter__(self) -> Iterator[Batch]:
        torch.set_num_threads(1)
        asked, rng = prompts(self._folder), random.Random(self._first)
        pool: list[Example] = []
        step = self._first
        while True:
            share = share_of_printed(step / self._steps, self._printed)
            while len(pool) < PICTURES + 8:
                pool.append(example(draw(rng, "train", share), asked, rng))
            rng.shuffle(pool)
            batch, used = batch_of(pool, asked.start)
            pool = [each for index, each in enumerate(pool) if index not in used]
            step += 1
            yield batch


class Answered(NamedTuple):
    """Logits of answers [answers, pieces], what pictures show, and where heads look, by layer.

    `values` are logits of the bin that an answer is about, [answers, BINS].
    """

    logits: torch.Tensor
    told: Told
    looks: dict[int, torch.Tensor]
    values: torch.Tensor


class Sees(torch.nn.Module):
    """Gemma 3 with logits at the answers' places, and heads that tell what pictures show."""

    def __init__(self, pieces: int) -> None:
        super().__init__()
        self.model = Gemma3ForConditionalGeneration(config(pieces))
        hidden = self.model.config.text_config.hidden_size
        embedding = self.model.get_input_embeddings().weight
        projection = self.model.model.multi_modal_projector.mm_input_projection_weight
        for weight in (embedding, projection):
            torch.nn.init.normal_(weight, std=hidden**-0.5)
        begin_local(self.model.model.vision_tower, PATCHES_OF_A_SIDE)
        self.heads = Heads(self.model.config.vision_config.hidden_size, hidden)

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
        start: int,
        tower_learns: bool = True,
    ) -> Answered:
        with precision():
            patches, soft = self._look_at(pictures, tower_learns)
            embedded = self.model.get_input_embeddings()(ids)
            flat_soft = soft.flatten(0, 1).to(embedded.dtype)
            beyond = torch.zeros_like(flat_soft)
            flat = torch.cat([embedded.flatten(0, 1), beyond]).index_copy(0, places, flat_soft)
            layers = self._text.layers
            weights: dict[int, torch.Tensor] = {}
            row = flat[: ids.numel()].view_as(embedded)
            hidden = self._through(layers[:FIRST_LAYERS], row, positions, masks, weights)
            at_pictures = torch.cat([hidden.flatten(0, 1), beyond.to(hidden.dtype)])[places].view_as(soft)
            hidden = self._through(layers[FIRST_LAYERS:-1], hidden, positions, masks, weights)
            values = self.heads.values(hidden.flatten(0, 1)[answers])
            hidden = self._text.norm(self._through(layers[-1:], hidden, positions, masks))
            told = self.heads(
                patches, at_pictures, tuple(_among(weights[layer], places, start) for layer in LEGEND_LAYERS)
            )
            looks = {layer: looked(weights[layer], answers, start) for layer in HEADS}
            return Answered(self.model.lm_head(hidden.flatten(0, 1)[answers]), told, looks, values)

    def read(self, pictures: torch.Tensor, beginning: torch.Tensor) -> Told:
        """What pictures show alone, behind ids [n] that every prompt begins with; nothing is asked."""
        with precision():
            told: Told = self.heads(*self.seen(pictures, beginning))
            return told

    def seen(
        self, pictures: torch.Tensor, beginning: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, tuple[torch.Tensor, ...]]:
        """Of `read`: patches, tokens behind the first layers, and where heads look from legends."""
        with precision():
            patches, soft = self._look_at(pictures)
            before = self.model.get_input_embeddings()(beginning).expand(len(pictures), -1, -1)
            row = torch.cat([before, soft.to(before.dtype)], 1)
            length, seen = row.shape[1], torch.ones(row.shape[1], row.shape[1]).tril()
            seen[len(beginning) :] = 1
            both = ((1 - seen) * UNSEEN).expand(len(pictures), 1, -1, -1)
            masks = {"full_attention": both, "sliding_attention": both}
            layers, weights = self._text.layers[:FIRST_LAYERS], dict[int, torch.Tensor]()
            hidden = self._through(layers, row, torch.arange(length).expand(len(pictures), -1), masks, weights)
            at_soft = slice(len(beginning), None)
            looks = tuple(weights[layer][:, 0, at_soft, at_soft] for layer in LEGEND_LAYERS)
            return patches, hidden[:, at_soft], looks

    def spell(self, pictures: torch.Tensor) -> torch.Tensor:
        """Logits of the letters that patches show, [n, PATCHES, EACH_PATCH, letters], of every quarter by itself.

        That is half as much work, and a letter needs no more.
        """
        with precision():
            tower, side = self.model.model.vision_tower, PATCHES_OF_A_SIDE // 2
            begun = tower.embeddings(_pixels(pictures))
            quarters = begun.view(-1, 2, side, 2, side, begun.shape[-1]).transpose(2, 3).flatten(3, 4).flatten(0, 2)
            for layer in tower.encoder.layers:
                quarters = layer(quarters, None)
            whole = quarters.view(-1, 2, 2, side, side, begun.shape[-1]).transpose(2, 3).reshape(begun.shape)
            return self.heads.by_patch(tower.post_layernorm(whole))

    @property
    def _text(self) -> Gemma3TextModel:
        found: Gemma3TextModel = self.model.model.language_model
        return found

    def _through(
        self,
        layers: torch.nn.ModuleList,
        hidden: torch.Tensor,
        positions: torch.Tensor,
        masks: dict[str, torch.Tensor],
        weights: dict[int, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Some layers of the text model: Transformers' own forward gives no way to look between them.

        `weights` takes those of each layer, [rows, heads, length, length].
        """
        turns = {kind: self._text.rotary_emb(hidden, positions, kind) for kind in masks}
        for layer in layers:
            index = layer.self_attn.layer_idx
            kind = self._text.config.layer_types[index]
            normed = layer.input_layernorm(hidden)
            attended, found = layer.self_attn(normed, turns[kind], masks[kind], position_ids=positions)
            if weights is not None:
                weights[index] = found
            hidden = hidden + layer.post_attention_layernorm(attended)
            mixed = layer.mlp(layer.pre_feedforward_layernorm(hidden))
            hidden = hidden + layer.post_feedforward_layernorm(mixed)
        return hidden

    def _look_at(self, pictures: torch.Tensor, tower_learns: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
        """Patches [n, PATCHES, width] and soft tokens [n, TOKENS, hidden]."""
        with torch.set_grad_enabled(tower_learns and torch.is_grad_enabled()):
            patches = self.model.model.vision_tower(pixel_values=_pixels(pictures)).last_hidden_state
        return patches, self.model.model.multi_modal_projector(patches)


def _among(weights: torch.Tensor, places: torch.Tensor, start: int) -> torch.Tensor:
    """What the first head gives soft tokens of soft tokens, [PICTURES, TOKENS, TOKENS]; `places` of all of them.

    Blank pictures, whose places are behind the rows' end, get some row's.
    """
    rows = (places.view(-1, TOKENS)[:, 0] // weights.shape[-1]).clamp(max=len(weights) - 1)
    at_soft = slice(start, start + TOKENS)
    return weights[:, 0, at_soft, at_soft].index_select(0, rows)


def _pixels(pictures: torch.Tensor) -> torch.Tensor:
    """As the tower takes them, [n, 3, SIZE, SIZE], -1 to 1."""
    return (pictures.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5


def masks(batch: Batch) -> dict[str, torch.Tensor]:
    """The rows' masks, with every token of a picture seen by all of it."""
    found = batch.rows.masks()
    soft = batch.rows.ids == CONTROL.index("<image_soft_token>")
    documents = batch.rows.documents
    both = (soft[:, :, None] & soft[:, None, :] & (documents[:, :, None] == documents[:, None, :]))[:, None]
    return {kind: mask | both for kind, mask in found.items()}
