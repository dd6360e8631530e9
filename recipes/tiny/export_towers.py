"""Writes tiny-sees or tiny-hears as a Hugging Face folder, and as the two GGUF files that the package carries.

    python -m recipes.tiny.export_towers sees RUN_FOLDER OUT_FOLDER
    python -m recipes.tiny.export_towers hears RUN_FOLDER OUT_FOLDER

The head that helped the tower to learn stays behind.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch

from bezel.kernels.interface import Format
from bezel.weights.audio import audio_of
from bezel.weights.checkpoint import open_checkpoint
from bezel.weights.mmproj import write_mmproj
from bezel.weights.quantize import quantize
from bezel.weights.vision import vision_of
from recipes.tiny import hearing, positions, seeing, shown


def export(kind: str, run: Path, out: Path) -> tuple[Path, Path]:
    """The folder is float32; beside it are the text model and the tower, at Q8_0."""
    recipe, model_of = (seeing, seeing.Sees) if kind == "sees" else (hearing, hearing.Hears)
    trained = model_of(len(recipe.prompts(run).tokenizer))
    if kind == "sees":
        positions.split(trained.positions, shown.PATCHES_OF_A_SIDE)
    trained.load_state_dict(torch.load(run / "checkpoint.pt")["model"])
    if kind == "sees":
        positions.join(trained.positions)
    model = trained.model
    model.generation_config.update(do_sample=False, eos_token_id=[1, 5], bos_token_id=2, pad_token_id=0)
    model.save_pretrained(out)
    shutil.copy(run / "tokenizer.json", out)
    (out / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<bos>", "eos_token": "<eos>"}), "utf-8")
    text, tower = out / f"tiny-{kind}.gguf", out / f"mmproj-tiny-{kind}.gguf"
    checkpoint = open_checkpoint(out)
    try:
        quantize(checkpoint, text, Format.Q8_0)
        view = vision_of(checkpoint) if kind == "sees" else audio_of(checkpoint)
        assert view is not None
        write_mmproj(view, tower, Format.Q8_0)
    finally:
        checkpoint.close()
    return text, tower


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["sees", "hears"])
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    for file in export(options.kind, options.run, options.out):
        print(f"{file}: {file.stat().st_size / 1e6:.2f} MB")
