"""Trains tiny-hears on recordings that `recipes.tiny.sounds` made; stops and goes on from its last checkpoint.

    python -m recipes.tiny.sounds RUN_FOLDER --count 16000
    python -m recipes.tiny.train_hears RUN_FOLDER --steps 4000
    python -m recipes.tiny.train_hears RUN_FOLDER --steps 4000 --start tiny-hears.gguf mmproj-tiny-hears.gguf \\
        --rate 0.3 --listening-alone 0

The third command begins with an exported model that hears already, at a third of the rates; the head for spelling is
learned anew. The conformer has a second task, to spell along, which teaches it to hear long before answers would: at
first it learns that alone.
"""

import argparse
import random
from pathlib import Path

import torch

from recipes.tiny import hearing, sounds
from recipes.tiny import tokenizer as tokenizers
from recipes.tiny.packing import added
from recipes.tiny.run import Run
from recipes.tiny.starting import take_hearing


@torch.no_grad()
def scores(model: torch.nn.Module, folder: Path, count: int = 96) -> dict[str, float]:
    """Answers about held-out voices of which every token is the most probable one, and the loss of spelling."""
    rng, asked = random.Random(99), hearing.prompts(folder)
    waiting = sounds.load(folder / "sounds", "held_out")[:count]
    report = {}
    for task in ("transcribed", "translated"):
        place = 0 if task == "transcribed" else 1
        left, right, losses = list(waiting), 0, []
        while left:
            part = left[: hearing.SOUNDS]
            strands = [asked.strands(hearing.asked_about(each.phrase, rng)[place : place + 1]) for each in part]
            batch, used = hearing.batch_of(part, strands, asked.start)
            logits, spelled = run_on(model, batch)
            right += len(used - batch.rows.wrong(logits))
            losses.append(hearing.Hears.spelling_loss(spelled, batch).item())
            left = [each for index, each in enumerate(left) if index not in used]
        report[task] = round(right / len(waiting), 3)
        report["spelling"] = round(sum(losses) / len(losses), 3)
    return report


def run_on(model: torch.nn.Module, batch: hearing.Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of answers, and of letters."""
    rows = batch.rows
    return model(batch.bands, batch.frames, batch.places, rows.ids, rows.positions, added(rows.masks()), rows.places)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=4000, help="in all, over every run of this folder")
    parser.add_argument("--rate", type=float, default=1.0, help="factor on the learning rates")
    parser.add_argument("--start", type=Path, nargs=2, help="the two files of an exported model, to begin with them")
    parser.add_argument("--listening-alone", type=float, default=0.4, help="the share of steps that spell alone")
    options = parser.parse_args()
    torch.manual_seed(0)
    if options.start:
        known = tokenizers.of_gguf(options.start[0], hearing.CONTROL, tokenizers.WITH_SPACES)
        known.save(str(options.folder / "tokenizer.json"))
    model = hearing.Hears(len(hearing.prompts(options.folder).tokenizer))
    if options.start:
        take_hearing(model.model.model, *options.start)
    run = Run(options.folder, model, options.steps, options.rate)
    heard = hearing.Batches(options.folder, run.step)
    batches = iter(torch.utils.data.DataLoader(heard, batch_size=None, num_workers=1, prefetch_factor=6))
    compiled, listen = torch.compile(model), torch.compile(model.listen)

    def loss_of(done: float) -> torch.Tensor:
        batch = next(batches)
        if done < options.listening_alone:
            return model.spelling_loss(listen(batch.bands, batch.frames), batch)
        logits, spelled = run_on(compiled, batch)
        return batch.rows.loss(logits) + 0.5 * model.spelling_loss(spelled, batch)

    run.learn(loss_of, lambda: scores(compiled, options.folder))


if __name__ == "__main__":
    main()
