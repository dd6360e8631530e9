"""Averages what a run has learned with the weights that it began with.

    python -m recipes.tiny.average RUN_FOLDER START.gguf OUT_FOLDER --share 0.7

OUT_FOLDER is a run's folder like RUN_FOLDER, to be exported: 0.7 of each weight is the run's, the rest is the start's.
Both must be of one shape. Averaged weights often err less than either's (Wortsman et al. 2022).
"""

import argparse
import shutil
from pathlib import Path

import torch
from transformers import Gemma3ForCausalLM

from recipes.tiny import tokenizer as tiny_tokenizer
from recipes.tiny.train import config, load_weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("start", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--share", type=float, default=0.7, help="of the run's weights, 0 to 1")
    options = parser.parse_args()
    tokenizer = tiny_tokenizer.load_or_train(options.run, options.start)
    start = Gemma3ForCausalLM(config(tokenizer.get_vocab_size()))
    load_weights(start, options.start)
    before, state = start.state_dict(), torch.load(options.run / "checkpoint.pt")
    state["model"] = {
        name: torch.lerp(before[name], learned, options.share) for name, learned in state["model"].items()
    }
    options.out.mkdir(parents=True, exist_ok=True)
    shutil.copy(options.run / "tokenizer.json", options.out)
    torch.save(state, options.out / "checkpoint.pt")


if __name__ == "__main__":
    main()
