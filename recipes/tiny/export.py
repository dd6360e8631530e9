"""Writes a training run as a Hugging Face folder, and as the GGUF that the package carries.

python -m recipes.tiny.export RUN_FOLDER OUT_FOLDER
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from transformers import Gemma3ForCausalLM

from bezel.kernels.interface import Format
from bezel.weights.checkpoint import open_checkpoint
from bezel.weights.quantize import quantize
from recipes.tiny import tokenizer as tiny_tokenizer
from recipes.tiny.train import config


def export(run: Path, out: Path) -> None:
    """The folder is float32; tiny.gguf beside it is Q8_0."""
    tokenizer = tiny_tokenizer.load_or_train(run)
    model = Gemma3ForCausalLM(config(tokenizer.get_vocab_size()))
    model.load_state_dict(torch.load(run / "checkpoint.pt")["model"])
    model.generation_config.update(do_sample=False, eos_token_id=[1, 5], bos_token_id=2, pad_token_id=0)
    model.save_pretrained(out)
    shutil.copy(run / "tokenizer.json", out)
    shutil.copy(Path(__file__).with_name("chat_template.jinja"), out)
    (out / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<bos>", "eos_token": "<eos>"}), "utf-8")
    checkpoint = open_checkpoint(out)
    try:
        quantize(checkpoint, out / "tiny.gguf", Format.Q8_0)
    finally:
        checkpoint.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    export(options.run, options.out)
