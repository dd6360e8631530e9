"""Trains tiny-sees on generated pictures; stops and goes on from its last checkpoint.

    python -m recipes.tiny.train_sees RUN_FOLDER --steps 3000
    python -m recipes.tiny.train_sees RUN_FOLDER --steps 3000 --start tiny-sees.gguf mmproj-tiny-sees.gguf \\
        --rate 0.4 --letters-alone 0 --reading-alone 0 --printed-at-first 0.3

The second command begins with an exported model that reads already, at lower rates; what tells letters and values is
learned anew, at first alone.

Pictures are drawn by processes of their own while the last ones are learned from. There is a second task, to tell what
patches and soft tokens show: letters, and in charts the rank and the value that a bar, a slice, a label or a mark
stands for. That teaches to read long before answers would. At first letters are learned alone, mostly from pages full
of text, which show ten times as many as a picture that is asked about; then all that is shown, mostly by charts.
"""

import argparse
import json
import random
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from bezel.training.data.pictures import asking, printed
from bezel.training.data.pictures.seen import Seen
from bezel.training.scores import distance
from recipes.tiny import positions, seeing
from recipes.tiny import tokenizer as tokenizers
from recipes.tiny.looking import looked_right
from recipes.tiny.packing import added
from recipes.tiny.pointing import pointed_right, pointing_loss
from recipes.tiny.precision import precision
from recipes.tiny.reading import FEW_CHARTS, MANY_CHARTS, Pages, Shows
from recipes.tiny.run import ADAM_RATE, Run
from recipes.tiny.shown import MEANINGS, NOT_ASKED, PATCHES_OF_A_SIDE, in_rows
from recipes.tiny.starting import take_sight
from recipes.tiny.told import Told, meaning_loss, rows_read, spelling_loss

PLACED_FOR = 0.15
"""For this share of all steps the place of a letter is asked for, less and less, by patches and then by tokens."""
READ_AGAIN = 8
"""Later, too, one of so many steps is reading alone."""

TOWER_EVERY = 2
"""At one of so many steps the tower learns, too: that is half the work of a step with questions."""
HEADS_ALONE = 150
"""Steps in which an exported model stays as it is, while what tells letters and values is learned."""

TOLD_WEIGHT = 0.3
"""Of what is told of pictures, and of the value that is asked for, beside the answers."""
POINTING_WEIGHT = 0.2
"""Of each head that is told where to look, beside the answers."""


@torch.no_grad()
def scores(model: torch.nn.Module, folder: Path, count: int = 120) -> dict[str, float]:
    """Held-out answers of which every token is the most probable one, by task, and what is told of pictures.

    A height is right within a twentieth of the axis, a value and an axis' end within a tenth.
    """
    rng, asked = random.Random(99), seeing.prompts(folder)
    examples = []
    for number in range(count):
        seen = (printed if number % 4 == 0 else asking).sample(rng, "held_out")
        examples.append(seeing.example(Seen(seen.drawn, seen.asked[:1]), asked, rng))
    right: dict[str, list[bool]] = defaultdict(list)
    while examples:
        batch, used = seeing.batch_of(examples, asked.start)
        logits, told, looks, values = run_on(model, batch)
        asked_for = (batch.values != NOT_ASKED) & batch.rows.first_of_answers()
        right["value asked for"] += ((values.argmax(-1) - batch.values).abs() <= 1)[asked_for].tolist()
        for name, found in pointed_right(looks, batch.sights).items():
            right[name] += found
        wrong = batch.rows.wrong(logits)
        for name, logits, wanted in (
            ("letters", told.by_token, batch.shown.by_token),
            ("letters by patch", told.by_patch, batch.shown.by_patch),
        ):
            for found, row in zip(rows_read(logits), in_rows(wanted).tolist(), strict=True):
                letters = [letter for letter in row if letter]
                errors = min(len(letters), distance(found, letters))
                right[name] += [False] * errors + [True] * (len(letters) - errors)
        for layer, weights in zip(seeing.LEGEND_LAYERS, told.looks, strict=True):
            right[f"legend by {layer}"] += looked_right(weights, batch.shown.explained)
        for name, logits, wanted in zip(MEANINGS, told.meanings, batch.shown.meanings.unbind(-1), strict=True):
            off = (logits.argmax(-1) - wanted).abs()[wanted != NOT_ASKED]
            right[name] += (off <= (name != "rank")).tolist()
        for index in used:
            right[examples[index].task].append(index not in wrong)
        examples = [each for index, each in enumerate(examples) if index not in used]
    return {task: round(sum(found) / len(found), 3) for task, found in sorted(right.items())}


def run_on(model: torch.nn.Module, batch: seeing.Batch, tower_learns: bool = True) -> seeing.Answered:
    """What a model, which may be compiled, finds of a batch."""
    rows, masks = batch.rows, added(seeing.masks(batch))
    found: seeing.Answered = model(
        batch.pictures, batch.places, rows.ids, rows.positions, masks, rows.places, batch.start, tower_learns
    )
    return found


def learn_heads(model: seeing.Sees, drawn: Iterator[Shows], beginning: torch.Tensor) -> None:
    """What tells letters and values, from what a model sees that stays as it is."""
    learner = torch.optim.AdamW(model.heads.parameters(), lr=ADAM_RATE, weight_decay=0.0)
    for step in range(HEADS_ALONE):
        pictures, shown = next(drawn)
        with torch.no_grad():
            seen = model.seen(pictures, beginning)
        with precision():
            told: Told = model.heads(*seen)
        loss = told.loss(shown, placed=max(0.0, 1 - 2 * step / HEADS_ALONE))
        loss.backward()
        learner.step()
        learner.zero_grad()
    print(json.dumps({"heads alone": round(loss.item(), 4)}), flush=True)


def _beside(drawn: torch.utils.data.IterableDataset) -> Iterator[Any]:
    """Drawn by a process beside this one."""
    return iter(torch.utils.data.DataLoader(drawn, batch_size=None, num_workers=1, prefetch_factor=6))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=3000, help="in all, over every run of this folder")
    parser.add_argument("--rate", type=float, default=1.0, help="factor on the learning rates")
    parser.add_argument("--start", type=Path, nargs=2, help="the two files of an exported model, to begin with them")
    parser.add_argument("--letters-alone", type=float, default=0.45, help="the share of steps for the tower alone")
    parser.add_argument("--reading-alone", type=float, default=0.7, help="the share of steps before anything is asked")
    parser.add_argument("--printed-at-first", type=float, default=0.8, help="the share of text among what is asked")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    if options.start:
        known = tokenizers.of_gguf(options.start[0], seeing.CONTROL, tokenizers.WITH_SPACES)
        known.save(str(options.folder / "tokenizer.json"))
    model = seeing.Sees(len(seeing.prompts(options.folder).tokenizer))
    if options.start:
        take_sight(model.model.model, *options.start)
    positions.split(model.positions, PATCHES_OF_A_SIDE)
    run = Run(options.folder, model, options.steps, options.rate)
    pages = _beside(Pages(run.step, FEW_CHARTS))
    charts = _beside(Pages(run.step, MANY_CHARTS))
    batches = _beside(seeing.Batches(options.folder, run.step, options.steps, options.printed_at_first))
    compiled, read, spell = (torch.compile(each) for each in (model, model.read, model.spell))
    asked = seeing.prompts(options.folder)
    beginning = torch.tensor(asked.shared[: asked.start])
    if options.start and not run.step:
        learn_heads(model, charts, beginning)

    def loss_of(done: float) -> torch.Tensor:
        begun = 0.0 if done < options.letters_alone else options.letters_alone
        placed = 0.0 if options.start else max(0.0, 1 - (done - begun) / PLACED_FOR)
        if done < options.letters_alone:
            pictures, shown = next(pages)
            return spelling_loss(spell(pictures), shown.by_patch, placed)
        if done < options.reading_alone or run.step % READ_AGAIN == 0:
            pictures, shown = next(charts)
            told: Told = read(pictures, beginning)
            return told.loss(shown, placed)
        batch = next(batches)
        answered = run_on(compiled, batch, run.step % TOWER_EVERY == 0)
        looking = pointing_loss(answered.looks, batch.sights)
        told_of = answered.told.loss(batch.shown, placed) + meaning_loss(answered.values, batch.values)
        return batch.rows.loss(answered.logits) + POINTING_WEIGHT * looking + TOLD_WEIGHT * told_of

    run.learn(loss_of, lambda: scores(compiled, options.folder))


if __name__ == "__main__":
    main()
