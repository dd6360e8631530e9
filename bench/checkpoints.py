"""Random checkpoints at true Gemma 3 and 3n shapes, as GGUF files that bezel and llama.cpp both read.

    python bench/checkpoints.py gemma-3-1b-it FILE.gguf
    python bench/checkpoints.py gemma-3n-E2B-it FILE.gguf --level Q4_0

Weights are normal with the spread that keeps activations near one; the tokenizer is 262,144 made-up pieces. Rows are
streamed, so making a 4B file takes little memory. `bezel quantize FILE.gguf OUT.gguf --level Q4_0` writes Q4_0 on every
tensor; llama.cpp's llama-quantize writes its own mixtures. Gemma 3n is written at a level as `bezel quantize` would
write it, with the keys and values that its last layers do not use and llama.cpp wants to see.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np

from bezel.catalog.variants import Shape, find
from bezel.kernels.formats import quantize
from bezel.kernels.interface import U8, Format
from bezel.models.gemma3n import Config
from bezel.weights.gemma3n_files import format_at, shapes, unused_shapes
from bezel.weights.gemma3n_files import metadata as metadata_of_gemma3n
from bezel.weights.gguf_writer import Kind, TensorHeader, Typed, write_gguf
from bezel.weights.names import part_of, to_gguf

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


def gemma3n(shape: Shape) -> Config:
    """The published values of Gemma 3n with a variant's sizes."""
    sizes = {
        "vocab_size": shape.vocabulary,
        "vocab_size_per_layer_input": shape.vocabulary,
        "hidden_size": shape.hidden,
        "hidden_size_per_layer_input": shape.per_layer_size,
        "intermediate_size": shape.ffn,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "num_kv_shared_layers": shape.shared_kv_layers,
        "sliding_window": shape.window,
        "final_logit_softcapping": 30.0,
    }
    return Config.from_hf(sizes)


def tensors_of_gemma3n(shape: Shape, level: Format) -> list[TensorHeader]:
    """Every tensor that `bezel quantize` writes."""
    config = gemma3n(shape)
    found: dict[str, TensorHeader] = {}
    for name, size in (shapes(config) | unused_shapes(config)).items():
        stored = to_gguf("gemma3n", name)
        if part_of(name) is not None:
            size = config.altup_num_inputs - 1, *size
        found[stored] = TensorHeader(stored, size, Format.F32 if len(size) == 1 else format_at(name, level))
    return list(found.values())


def metadata(name: str, shape: Shape) -> dict[str, Typed | str | bool]:
    """The keys that llama.cpp wants of a Gemma 3 or 3n."""
    architecture = "gemma3n" if shape.per_layer_size else "gemma3"
    control = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
    control += ["<start_of_image>", "<end_of_image>", "<start_of_audio>"]
    pieces = control + [f"<0x{byte:02X}>" for byte in range(256)]
    pieces += [f"▁{i}" for i in range(shape.vocabulary - len(pieces))]
    types = [3] * len(control) + [6] * 256 + [1] * (shape.vocabulary - len(control) - 256)
    whole = {
        "context_length": CONTEXT,
        "embedding_length": shape.hidden,
        "block_count": shape.layers,
        "feed_forward_length": shape.ffn,
        "attention.head_count": shape.heads,
        "attention.head_count_kv": shape.kv_heads,
        "attention.key_length": shape.head_dim,
        "attention.value_length": shape.head_dim,
        "attention.sliding_window": shape.window or CONTEXT,
        "attention.sliding_window_pattern": shape.full_every,
    }
    own: dict[str, Typed] = {key: Typed(Kind.UINT32, value) for key, value in whole.items()}
    own |= {
        "attention.layer_norm_rms_epsilon": Typed(Kind.FLOAT32, 1e-6),
        "rope.freq_base": Typed(Kind.FLOAT32, 1e6),
        "rope.freq_base_swa": Typed(Kind.FLOAT32, 1e4),
    }
    if shape.per_layer_size:
        own |= metadata_of_gemma3n(gemma3n(shape))
    return {
        "general.architecture": architecture,
        "general.name": f"{name} random",
        **{f"{architecture}.{key}": value for key, value in own.items()},
        "tokenizer.ggml.bos_token_id": Typed(Kind.UINT32, 2),
        "tokenizer.ggml.eos_token_id": Typed(Kind.UINT32, 1),
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": Typed(Kind.STRING, pieces),
        "tokenizer.ggml.scores": Typed(Kind.FLOAT32, [-float(i) for i in range(shape.vocabulary)]),
        "tokenizer.ggml.token_type": Typed(Kind.INT32, types),
        "tokenizer.ggml.add_space_prefix": False,
    }


def shape_of(name: str) -> Shape:
    """The text model's shape of a variant in the catalogue."""
    shape = find(name).shape
    if shape is None or (shape.full_every != 6 and not shape.per_layer_size):
        raise SystemExit(f"{name} is neither a Gemma 3 nor a Gemma 3n")
    return shape


def write(name: str, target: Path, seed: int = 0, level: Format = Format.BF16) -> int:
    """Write a random checkpoint with the shape of `name` and return its bytes."""
    shape, rng = shape_of(name), np.random.default_rng(seed)
    if not shape.per_layer_size and level is not Format.BF16:
        raise SystemExit("a Gemma 3 is written at BF16; bezel quantize makes other levels of it")
    wanted = tensors_of_gemma3n(shape, level) if shape.per_layer_size else tensors(shape)

    def normal(format: Format, rows: int, columns: int) -> U8:
        return quantize(format, rng.standard_normal((rows, columns), np.float32) * np.float32(columns**-0.5))

    @cache
    def pool(format: Format, columns: int) -> U8:
        """Rows from which the larger matrices of Gemma 3n are cut at random places: drawing all takes minutes."""
        return normal(format, (16 << 20) // columns, columns)

    def rows_of(header: TensorHeader) -> Iterator[U8]:
        if len(header.shape) == 1:
            yield quantize(Format.F32, np.ones((1, header.shape[0]), np.float32))
            return
        columns, left = header.shape[-1], header.rows
        while left:
            count = min(left, max(1, (4 << 20) // columns))
            if shape.per_layer_size:
                rows = pool(header.format, columns)
                first = int(rng.integers(0, len(rows) - count + 1))
                yield rows[first : first + count]
            else:
                yield normal(header.format, count, columns)
            left -= count

    return write_gguf(target, metadata(name, shape), wanted, rows_of)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variant", help="gemma-3-270m-it, gemma-3-1b-it, gemma-3-4b-it, gemma-3n-E2B-it, ...")
    parser.add_argument("file", type=Path)
    parser.add_argument("--level", choices=[f.name for f in (Format.BF16, Format.Q8_0, Format.Q4_0)], default="BF16")
    options = parser.parse_args()
    print(f"{options.file}: {write(options.variant, options.file, level=Format[options.level]) / 1e6:.0f} MB")
