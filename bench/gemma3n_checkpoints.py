"""Random Gemma 3n checkpoints at true shapes, as Hugging Face folders that bezel and Transformers both read.

    python -m bench.gemma3n_checkpoints gemma-3n-E4B-it FOLDER

BF16, sharded, text part alone. Weights have the spread that keeps activations near one; they are cut from a pool of
normal numbers at random places, so a file of 14 GB is written as fast as the disk takes it, in little memory. The
tokenizer is 262,400 made-up pieces. Prints the most memory that was held.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bezel.catalog.hardware import memory_use
from bezel.catalog.variants import Shape, find
from bezel.kernels.formats import quantize
from bezel.kernels.interface import U8, Format
from bezel.weights.quantize import tensor_shapes
from bezel.weights.safetensors_writer import StoredTensor, write_safetensors, write_text
from bezel.weights.storage import folder_when_whole

LAUREL_RANK, STREAMS, SPARSE_LAYERS = 64, 4, 10
POOL, CHUNK = 1 << 22, 1 << 21


def config(shape: Shape, context: int = 32768) -> dict[str, object]:
    """A text config with the published values."""
    return {
        "model_type": "gemma3n_text",
        "architectures": ["Gemma3nForCausalLM"],
        "dtype": "bfloat16",
        "vocab_size": shape.vocabulary,
        "vocab_size_per_layer_input": shape.per_layer_vocabulary,
        "hidden_size": shape.hidden,
        "hidden_size_per_layer_input": shape.per_layer_size,
        "intermediate_size": [shape.ffn] * shape.layers,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "layer_types": [
            "full_attention" if (i + 1) % shape.full_every == 0 else "sliding_attention" for i in range(shape.layers)
        ],
        "activation_sparsity_pattern": ([0.95] * SPARSE_LAYERS + [0.0] * shape.layers)[: shape.layers],
        "num_kv_shared_layers": shape.shared_kv_layers,
        "sliding_window": shape.window,
        "max_position_embeddings": context,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1e6,
        "rope_local_base_freq": 1e4,
        "final_logit_softcapping": 30.0,
        "hidden_activation": "gelu_pytorch_tanh",
        "laurel_rank": LAUREL_RANK,
        "altup_num_inputs": STREAMS,
        "altup_active_idx": 0,
        "altup_coef_clip": 120.0,
        "altup_correct_scale": True,
        "tie_word_embeddings": True,
        "bos_token_id": 2,
        "eos_token_id": 1,
        "pad_token_id": 0,
    }


def tensors(shape: Shape) -> list[StoredTensor]:
    """Every tensor of the text model; layers that share keys and values have none, as in Transformers' own files."""
    return [StoredTensor.of(f"model.{name}", "BF16", sizes) for name, sizes in tensor_shapes(config(shape)).items()]


def tokenizer(pieces: int) -> str:
    """A tokenizer.json of control pieces, bytes, and made-up pieces without merges."""
    control = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
    names = [*control, *(f"<0x{byte:02X}>" for byte in range(256)), "▁"]
    names += [f"▁{i}" for i in range(pieces - len(names))]
    added = [{"id": i, "content": piece, "special": True} for i, piece in enumerate(control)]
    model = {"type": "BPE", "byte_fallback": True, "vocab": {p: i for i, p in enumerate(names)}, "merges": []}
    normalizer = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    return json.dumps({"added_tokens": added, "normalizer": normalizer, "model": model}, ensure_ascii=False)


def write(shape: Shape, target: Path, seed: int = 0, context: int = 32768) -> int:
    """Write a random checkpoint of that shape and return its bytes of tensors."""
    rng = np.random.default_rng(seed)
    pool = rng.standard_normal(POOL + CHUNK, np.float32)
    wanted = tensors(shape)

    def chunks_of(tensor: StoredTensor) -> Iterator[U8]:
        spread = np.float32(tensor.shape[-1] ** -0.5)
        left = int(np.prod(tensor.shape))
        while left:
            count = min(CHUNK, left)
            start = int(rng.integers(0, POOL))
            values = pool[None, start : start + count]
            values = np.float32(1) + np.float32(0.1) * values if len(tensor.shape) == 1 else values * spread
            yield quantize(Format.BF16, values)
            left -= count

    with folder_when_whole(target, sum(tensor.nbytes for tensor in wanted)) as folder:
        write_text(folder / "config.json", json.dumps(config(shape, context), indent=2))
        write_text(folder / "generation_config.json", json.dumps({"eos_token_id": [1, 5]}))
        write_text(folder / "tokenizer.json", tokenizer(shape.vocabulary))
        return write_safetensors(folder, wanted, chunks_of)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variant", help="gemma-3n-E2B-it or gemma-3n-E4B-it")
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    shape = find(options.variant).shape
    if shape is None or not shape.per_layer_size:
        raise SystemExit(f"{options.variant} is not a Gemma 3n")
    began = time.perf_counter()
    size = write(shape, options.folder)
    print(
        f"{options.folder}: {size / 1e9:.2f} GB in {time.perf_counter() - began:.0f} s, "
        f"{memory_use().peak / 2**20:.0f} MiB at most"
    )
