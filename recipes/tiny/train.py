"""Trains tiny on generated data; stops and goes on from its last checkpoint.

    python -m recipes.tiny.train RUN_FOLDER --steps 4000
    python -m recipes.tiny.train RUN_FOLDER --steps 2000 --start src/bezel/tiny/tiny.gguf --rate 0.5

The second line begins with an exported model, which may be smaller, at half the learning rate.
Transformers' own Gemma 3 is what is trained, on packed rows: attention stays within an example, the loss falls on
answers only. Matrices learn by Muon, embeddings and norms by AdamW.
"""

import argparse
import json
import random
import re
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch.nn import functional
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

from bezel.kernels.formats import dequantize
from bezel.training.data import rendering
from bezel.training.data.example import Split
from bezel.weights.checkpoint import open_checkpoint
from recipes.tiny import growth
from recipes.tiny import tokenizer as tiny_tokenizer
from recipes.tiny.mix import GENERATORS, token_shares

ROWS, LENGTH, ANSWERS = 12, 512, 3072
WINDOW = 256
PATTERN = ["sliding_attention", "sliding_attention", "full_attention"]
MUON_RATE, ADAM_RATE = 5e-3, 3e-3
WARM_UP_STEPS, CONSTANT_UNTIL = 60, 0.25
CHECKPOINT_SECONDS = 480.0


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
        sliding_window=WINDOW,
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


Strands = tuple[list[int], list[tuple[list[int], list[int]]]]
"""Ids that several questions begin with alike, <bos> in front, and how each goes on: (prompt, answer)."""


def size_of(strands: Strands) -> int:
    """Tokens of an example."""
    return len(strands[0]) + sum(len(prompt) + len(answer) for prompt, answer in strands[1])


@dataclass
class Rows:
    """Packed examples: ids, positions, document and strand numbers [ROWS, LENGTH]; answer places, targets [ANSWERS].

    Strand 0 is what an example's questions share; the others stand beside each other, each right behind it.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    documents: torch.Tensor
    strands: torch.Tensor
    places: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    owners: list[int]

    def masks(self) -> dict[str, torch.Tensor]:
        """True where a row may look: the beginning of its document and its own strand, not ahead, within the window."""
        same = self.documents[:, None, :, None] == self.documents[:, None, None, :]
        key_strand = self.strands[:, None, None, :]
        same &= (key_strand == 0) | (key_strand == self.strands[:, None, :, None])
        distance = self.positions[:, None, :, None] - self.positions[:, None, None, :]
        full = same & (distance >= 0)
        return {"full_attention": full, "sliding_attention": full & (distance < WINDOW)}


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
        while sum(map(size_of, self.pool)) < 1.6 * ROWS * LENGTH:
            example = self.encode(self.random.choices(tasks, weights)[0])
            while size_of(example) > LENGTH and example[1]:
                example[1].pop()
            if example[1]:
                self.pool.append(example)
        self.random.shuffle(self.pool)
        rows, used = pack(self.pool)
        self.pool = [example for index, example in enumerate(self.pool) if index not in used]
        return rows


def pack(examples: list[Strands]) -> tuple[Rows, set[int]]:
    """Best fit, in order, and which examples found room."""
    ids = torch.zeros(ROWS, LENGTH, dtype=torch.long)
    positions, documents, strands = torch.zeros_like(ids), torch.full_like(ids, -1), torch.zeros_like(ids)
    left = [LENGTH] * ROWS
    places: list[int] = []
    targets: list[int] = []
    owners: list[int] = []
    used = set()
    for index, (shared, questions) in enumerate(examples):
        size = size_of((shared, questions))
        rows = [row for row in range(ROWS) if left[row] >= size]
        if not rows or len(places) + sum(len(answer) for _, answer in questions) > ANSWERS:
            continue
        row = min(rows, key=left.__getitem__)
        start = LENGTH - left[row]
        documents[row, start : start + size] = index
        for number, (prompt, answer) in enumerate([(shared, []), *questions]):
            end = start + len(prompt) + len(answer)
            ids[row, start:end] = torch.tensor(prompt + answer)
            strands[row, start:end] = number
            first = 0 if number == 0 else len(shared)
            positions[row, start:end] = torch.arange(first, first + end - start)
            places += range(row * LENGTH + end - len(answer) - 1, row * LENGTH + end - 1)
            targets += answer
            owners += [index] * len(answer)
            start = end
        left[row] -= size
        used.add(index)
    pad = ANSWERS - len(places)
    weights = torch.tensor([1.0] * len(places) + [0.0] * pad)
    places, targets = places + [0] * pad, targets + [0] * pad
    found = Rows(ids, positions, documents, strands, torch.tensor(places), torch.tensor(targets), weights, owners)
    return found, used


class Answers(torch.nn.Module):
    """Gemma 3 with logits at the answers' places only."""

    def __init__(self, model: Gemma3ForCausalLM) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor, positions: torch.Tensor, masks: dict, places: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            hidden = self.model.model(
                input_ids=ids, position_ids=positions, attention_mask=masks, use_cache=False
            ).last_hidden_state
            return self.model.lm_head(hidden.flatten(0, 1)[places])


@torch.no_grad()
def exact_matches(answers: torch.nn.Module, packer: Packer, count: int = 60) -> dict[str, float]:
    """Share of held-out answers of which every token is the most probable one, per task."""
    found = {}
    for task in GENERATORS:
        rng = random.Random(99)
        examples = [packer.encode(task, "held_out", rng) for _ in range(count)]
        examples = [e for e in examples if size_of(e) <= LENGTH]
        right = total = 0
        while examples:
            rows, used = pack(examples)
            best = answers(rows.ids, rows.positions, rows.masks(), rows.places).argmax(-1)
            wrong = {
                owner for owner, a, b in zip(rows.owners, best.tolist(), rows.targets.tolist(), strict=False) if a != b
            }
            right, total = right + len(used - wrong), total + len(used)
            examples = [e for index, e in enumerate(examples) if index not in used]
        found[task] = round(right / total, 3)
    return found


def rate(step: int, done: float) -> float:
    """Warm-up, constant, linear decay."""
    decay = 1.0 if done < CONSTANT_UNTIL else max(0.02, (1 - done) / (1 - CONSTANT_UNTIL))
    return min(1.0, (step + 1) / WARM_UP_STEPS) * decay


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
    matrices = [p for n, p in model.named_parameters() if p.dim() == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.dim() != 2 or "embed" in n]
    optimisers = [
        torch.optim.Muon(matrices, lr=MUON_RATE, weight_decay=0.02, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=ADAM_RATE, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    step, saved = 0, options.folder / "checkpoint.pt"
    if saved.exists():
        state = torch.load(saved)
        model.load_state_dict(state["model"])
        for optimiser, kept in zip(optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(kept)
        step = state["step"]
    packer = Packer(tokenizer, seed=step)
    answers = Answers(model)
    compiled = torch.compile(answers)
    last_saved, losses = time.monotonic(), []
    while step < options.steps:
        done = step / options.steps
        rows = packer.next(done)
        logits = compiled(rows.ids, rows.positions, rows.masks(), rows.places)
        loss = (functional.cross_entropy(logits.float(), rows.targets, reduction="none") * rows.weights).sum()
        loss = loss / rows.weights.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(others, 1.0)
        for optimiser, base in zip(optimisers, (MUON_RATE, ADAM_RATE), strict=True):
            for group in optimiser.param_groups:
                group["lr"] = base * options.rate * rate(step, done)
            optimiser.step()
            optimiser.zero_grad()
        step += 1
        losses.append(loss.item())
        if time.monotonic() - last_saved > CHECKPOINT_SECONDS or step == options.steps:
            last_saved = time.monotonic()
            state = {"model": model.state_dict(), "optimisers": [o.state_dict() for o in optimisers]}
            torch.save({**state, "step": step}, saved.with_suffix(".new"))
            saved.with_suffix(".new").rename(saved)
            report = {"step": step, "loss": round(sum(losses) / len(losses), 4)}
            print(json.dumps(report | exact_matches(compiled, packer)), flush=True)
            losses = []


if __name__ == "__main__":
    main()
