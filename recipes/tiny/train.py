"""Trains tiny on generated data; stops and goes on from its last checkpoint.

    python -m recipes.tiny.train RUN_FOLDER --steps 4000
    python -m recipes.tiny.train RUN_FOLDER --steps 2000 --start src/bezel/tiny/tiny.gguf --rate 0.5

The second line begins with an exported model, which may be smaller, at half the learning rate.
Transformers' own Gemma 3 is what is trained, on packed rows: attention stays within an example, the loss falls on
answers only. Matrices learn by Muon, embeddings and norms by AdamW.
"""

import argparse
import random
import re
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

from bezel.kernels.formats import dequantize
from bezel.training.data import rendering
from bezel.training.data.example import Split
from bezel.weights.checkpoint import open_checkpoint
from recipes.tiny import growth
from recipes.tiny import tokenizer as tiny_tokenizer
from recipes.tiny.mix import GENERATORS, token_shares
from recipes.tiny.packing import Rows, Shape, Strands, pack, size_of
from recipes.tiny.precision import precision
from recipes.tiny.run import Run

SHAPE = Shape(rows=12, length=512, answers=3072, window=256)
PATTERN = ["sliding_attention", "sliding_attention", "full_attention"]


def config(vocabulary: int) -> Gemma3TextConfig:
    """About 8.5 million parameters."""
    return Gemma3TextConfig(
        vocab_size=vocabulary,
        hidden_size=256,
        intermediate_size=896,
        num_hidden_layers=len(PATTERN) * 3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        query_pre_attn_scalar=64,
        sliding_window=SHAPE.window,
        layer_types=PATTERN * 3,
        max_position_embeddings=2048,
        rope_parameters={
            "full_attention": {"rope_type": "default", "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        },
        tie_word_embeddings=True,
        bos_token_id=2,
        eos_token_id=[1, 5],
        pad_token_id=0,
        initializer_range=0.02,
        attn_implementation="sdpa",
    )


class Packer:
    """Draws examples by token share and packs them into rows."""

    def __init__(self, tokenizer: Tokenizer, seed: int) -> None:
        self.tokenizer, self.random = tokenizer, random.Random(seed)
        self.pool: list[Strands] = []
        self.mean = {task: self._mean_length(task) for task in GENERATORS}

    def encode(self, task: str, split: Split = "train", rng: random.Random | None = None) -> Strands:
        """A random example of a task."""
        shared, questions = rendering.strands(GENERATORS[task](rng or self.random, split))

        def ids(text: str) -> list[int]:
            found: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
            return found

        return [2, *ids(shared)], [(ids(prompt), ids(answer)) for prompt, answer in questions]

    def _mean_length(self, task: str) -> float:
        return sum(size_of(self.encode(task)) for _ in range(200)) / 200

    def next(self, done: float) -> Rows:
        shares = token_shares(done)
        tasks, weights = zip(*((task, share / self.mean[task]) for task, share in shares.items()), strict=True)
        while sum(map(size_of, self.pool)) < 1.6 * SHAPE.rows * SHAPE.length:
            example = self.encode(self.random.choices(tasks, weights)[0])
            while size_of(example) > SHAPE.length and example[1]:
                example[1].pop()
            if example[1]:
                self.pool.append(example)
        self.random.shuffle(self.pool)
        rows, used = pack(self.pool, SHAPE)
        self.pool = [example for index, example in enumerate(self.pool) if index not in used]
        return rows


class Answers(torch.nn.Module):
    """Gemma 3 with logits at the answers' places only."""

    def __init__(self, model: Gemma3ForCausalLM) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor, positions: torch.Tensor, masks: dict, places: torch.Tensor) -> torch.Tensor:
        with precision():
            hidden = self.model.model(
                input_ids=ids, position_ids=positions, attention_mask=masks, use_cache=False
            ).last_hidden_state
            return self.model.lm_head(hidden.flatten(0, 1)[places])


@torch.no_grad()
def scores(answers: torch.nn.Module, packer: Packer, count: int = 60) -> dict[str, float]:
    """Share of held-out answers of which every token is the most probable one, per task."""
    found = {}
    for task in GENERATORS:
        rng = random.Random(99)
        examples = [packer.encode(task, "held_out", rng) for _ in range(count)]
        examples = [e for e in examples if size_of(e) <= SHAPE.length]
        right = total = 0
        while examples:
            rows, used = pack(examples, SHAPE)
            wrong = rows.wrong(answers(rows.ids, rows.positions, rows.masks(), rows.places))
            right, total = right + len(used - wrong), total + len(used)
            examples = [e for index, e in enumerate(examples) if index not in used]
        found[task] = round(right / total, 3)
    return found


def load_weights(model: Gemma3ForCausalLM, path: Path) -> None:
    """Take every tensor from a GGUF of this size or a smaller one, widened to float32."""
    checkpoint = open_checkpoint(path)
    origin = growth.sources(checkpoint.config["num_hidden_layers"], model.config.num_hidden_layers, len(PATTERN))
    with torch.no_grad():
        for name, tensor in model.model.named_parameters():
            layer = re.match(r"layers\.(\d+)\.", name)
            source, put_in = origin[int(layer[1])] if layer else (0, False)
            info = checkpoint.info(re.sub(r"^layers\.\d+", f"layers.{source}", name))
            raw = checkpoint.source.read_rows(info.name, 0, 1 if tensor.dim() == 1 else info.shape[0])
            values = torch.from_numpy(dequantize(info.readable(), raw, info.shape[-1])).view(info.shape)
            if put_in and re.search(r"post_(attention|feedforward)_layernorm", name):
                values = values * growth.NEW_LAYER_SHARE
            growth.fill(tensor, values - 1 if tensor.dim() == 1 else values)
    checkpoint.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=4000, help="in all, over every run of this folder")
    parser.add_argument("--start", type=Path, help="a GGUF that an earlier run exported, to begin with its weights")
    parser.add_argument("--rate", type=float, default=1.0, help="factor on the learning rates")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer.load_or_train(options.folder, options.start)
    model = Gemma3ForCausalLM(config(tokenizer.get_vocab_size()))
    torch.nn.init.normal_(model.model.embed_tokens.weight, std=model.config.hidden_size**-0.5)
    if options.start:
        load_weights(model, options.start)
    run = Run(options.folder, model, options.steps, options.rate)
    packer = Packer(tokenizer, seed=run.step)
    compiled = torch.compile(Answers(model))

    def loss_of(done: float) -> torch.Tensor:
        rows = packer.next(done)
        logits = compiled(rows.ids, rows.positions, rows.masks(), rows.places)
        return rows.loss(logits)

    run.learn(loss_of, lambda: scores(compiled, packer))


if __name__ == "__main__":
    main()
