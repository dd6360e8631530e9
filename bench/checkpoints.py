"""Random checkpoints at true Gemma 3 shapes, as BF16 GGUF files that bezel and llama.cpp both read.

    python bench/checkpoints.py gemma-3-1b-it FILE.gguf

Weights are normal with the spread that keeps activations near one; the tokenizer is 262,144 made-up pieces. Rows are
streamed, so making a 4B file takes little memory. `bezel quantize FILE.gguf OUT.gguf --level Q4_0` writes Q4_0 on every
tensor; llama.cpp's llama-quantize writes its own mixtures.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bezel.catalog.variants import Shape, find
from bezel.kernels.formats import quantize
from bezel.kernels.interface import U8, Format
from bezel.weights.gguf_writer import Kind, TensorHeader, Typed, write_gguf

CONTEXT = 32768


def tensors(shape: Shape) -> list[TensorHeader]:
    """Every tensor of the text model, under GGUF's names."""
    head, queries, keys = shape.head_dim, shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    layer: dict[str, tuple[int, ...]] = {
        "attn_norm": (shape.hidden,),
        "attn_q": (queries, shape.hidden),
        "attn_k": (keys, shape.hidden),
        "attn_v": (keys, shape.hidden),
        "attn_q_norm": (head,),
        "attn_k_norm": (head,),
        "attn_output": (shape.hidden, queries),
        "post_attention_norm": (shape.hidden,),
        "ffn_norm": (shape.hidden,),
        "ffn_gate": (shape.ffn, shape.hidden),
        "ffn_up": (shape.ffn, shape.hidden),
        "ffn_down": (shape.hidden, shape.ffn),
        "post_ffw_norm": (shape.hidden,),
    }
    found = {"token_embd": (shape.vocabulary, shape.hidden), "output_norm": (shape.hidden,)}
    found |= {f"blk.{i}.{name}": size for i in range(shape.layers) for name, size in layer.items()}
    return [
        TensorHeader(f"{name}.weight", size, Format.F32 if len(size) == 1 else Format.BF16)
        for name, size in found.items()
    ]


def metadata(name: str, shape: Shape) -> dict[str, Typed | str | bool]:
    """The keys that llama.cpp wants of a Gemma 3."""
    control = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
    pieces = control + [f"<0x{byte:02X}>" for byte in range(256)]
    pieces += [f"▁{i}" for i in range(shape.vocabulary - len(pieces))]
    types = [3] * len(control) + [6] * 256 + [1] * (shape.vocabulary - len(control) - 256)
    whole = {
        "gemma3.context_length": CONTEXT,
        "gemma3.embedding_length": shape.hidden,
        "gemma3.block_count": shape.layers,
        "gemma3.feed_forward_length": shape.ffn,
        "gemma3.attention.head_count": shape.heads,
        "gemma3.attention.head_count_kv": shape.kv_heads,
        "gemma3.attention.key_length": shape.head_dim,
        "gemma3.attention.value_length": shape.head_dim,
        "gemma3.attention.sliding_window": shape.window or CONTEXT,
        "gemma3.attention.sliding_window_pattern": shape.full_every,
        "tokenizer.ggml.bos_token_id": 2,
        "tokenizer.ggml.eos_token_id": 1,
    }
    return {
        "general.architecture": "gemma3",
        "general.name": f"{name} random",
        **{key: Typed(Kind.UINT32, value) for key, value in whole.items()},
        "gemma3.attention.layer_norm_rms_epsilon": Typed(Kind.FLOAT32, 1e-6),
        "gemma3.rope.freq_base": Typed(Kind.FLOAT32, 1e6),
        "gemma3.rope.freq_base_swa": Typed(Kind.FLOAT32, 1e4),
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": Typed(Kind.STRING, pieces),
        "tokenizer.ggml.scores": Typed(Kind.FLOAT32, [-float(i) for i in range(shape.vocabulary)]),
        "tokenizer.ggml.token_type": Typed(Kind.INT32, types),
        "tokenizer.ggml.add_space_prefix": False,
    }


def shape_of(name: str) -> Shape:
    """The text model's shape of a variant in the catalogue."""
    shape = find(name).shape
    if shape is None or shape.full_every != 6:
        raise SystemExit(f"{name} is not a Gemma 3")
    return shape


def write(name: str, target: Path, seed: int = 0) -> int:
    """Write a random checkpoint with the shape of `name` and return its bytes."""
    shape, rng = shape_of(name), np.random.default_rng(seed)

    def rows_of(header: TensorHeader) -> Iterator[U8]:
        if len(header.shape) == 1:
            yield quantize(Format.F32, np.ones((1, header.shape[0]), np.float32))
            return
        rows, columns = header.shape
        step = max(1, (8 << 20) // columns)
        for first in range(0, rows, step):
            values = rng.standard_normal((min(step, rows - first), columns), np.float32)
            yield quantize(header.format, values * np.float32(columns**-0.5))

    return write_gguf(target, metadata(name, shape), tensors(shape), rows_of)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variant", help="gemma-3-270m-it, gemma-3-1b-it or gemma-3-4b-it")
    parser.add_argument("file", type=Path)
    options = parser.parse_args()
    print(f"{options.file}: {write(options.variant, options.file) / 1e6:.0f} MB")
