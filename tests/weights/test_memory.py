"""Loading holds the packed weights and little else: peaks of fresh processes, on a file of about 50 MB."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bezel.kernels.interface import U8, Format
from bezel.weights.gguf_writer import Kind, TensorHeader, Typed, write_gguf

HIDDEN, FFN, HEADS, HEAD_DIM, LAYERS, VOCABULARY, CONTEXT = 512, 4096, 4, 128, 7, 4096, 256
READ_PEAK = """
import sys
from bezel.backends.interface import Request
from bezel.backends.native import NativeBackend
backend = NativeBackend.load(sys.argv[1], threads=1)
list(backend.stream(Request(prompt=[2, 10], max_tokens=1)))
print(next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def peak_of(path: Path) -> int:
    run = subprocess.run([sys.executable, "-c", READ_PEAK, str(path)], capture_output=True, text=True, check=True)
    return int(run.stdout)


def write(path: Path, layers: int) -> int:
    """A random Gemma 3 with `layers` layers and Q8_0 matrices; returns its bytes."""
    shapes = {
        "attn_norm": (HIDDEN,),
        "attn_q": (HEADS * HEAD_DIM, HIDDEN),
        "attn_k": (HEAD_DIM, HIDDEN),
        "attn_v": (HEAD_DIM, HIDDEN),
        "attn_q_norm": (HEAD_DIM,),
        "attn_k_norm": (HEAD_DIM,),
        "attn_output": (HIDDEN, HEADS * HEAD_DIM),
        "post_attention_norm": (HIDDEN,),
        "ffn_norm": (HIDDEN,),
        "ffn_gate": (FFN, HIDDEN),
        "ffn_up": (FFN, HIDDEN),
        "ffn_down": (HIDDEN, FFN),
        "post_ffw_norm": (HIDDEN,),
    }
    found: dict[str, tuple[int, ...]] = {"token_embd": (VOCABULARY, HIDDEN), "output_norm": (HIDDEN,)}
    found |= {f"blk.{layer}.{name}": shape for layer in range(layers) for name, shape in shapes.items()}
    headers = [
        TensorHeader(f"{name}.weight", shape, Format.F32 if len(shape) == 1 else Format.Q8_0)
        for name, shape in found.items()
    ]
    control = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
    pieces = [*control, *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += [f"▁{number}" for number in range(VOCABULARY - len(pieces))]
    sizes = {
        "context_length": CONTEXT,
        "embedding_length": HIDDEN,
        "block_count": layers,
        "feed_forward_length": FFN,
        "attention.head_count": HEADS,
        "attention.head_count_kv": 1,
        "attention.key_length": HEAD_DIM,
        "attention.value_length": HEAD_DIM,
        "attention.sliding_window": 64,
    }
    metadata: dict[str, Typed | str | bool] = {
        "general.architecture": "gemma3",
        **{f"gemma3.{name}": Typed(Kind.UINT32, size) for name, size in sizes.items()},
        "gemma3.attention.layer_norm_rms_epsilon": Typed(Kind.FLOAT32, 1e-6),
        "gemma3.rope.freq_base": Typed(Kind.FLOAT32, 1e6),
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": Typed(Kind.STRING, pieces),
        "tokenizer.ggml.scores": Typed(Kind.FLOAT32, [0.0] * VOCABULARY),
        "tokenizer.ggml.token_type": Typed(Kind.INT32, [3] * 6 + [6] * 256 + [1] * (VOCABULARY - 262)),
    }
    rng = np.random.default_rng(0)

    def rows_of(header: TensorHeader) -> Iterator[U8]:
        rows = 1 if len(header.shape) == 1 else header.shape[0]
        yield rng.integers(0, 60, (rows, header.row_bytes), np.uint8)

    return write_gguf(path, metadata, headers, rows_of)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peaks are read from /proc")
def test_the_peak_grows_with_the_file_and_a_tenth_at_most(tmp_path: Path) -> None:
    """Against a file of one layer, which has the same interpreter, vocabulary and tables."""
    small, large = write(tmp_path / "small.gguf", 1), write(tmp_path / "large.gguf", LAYERS)
    assert large > 50 << 20
    cache = (LAYERS - 1) * 2 * CONTEXT * HEAD_DIM * 4
    growth = peak_of(tmp_path / "large.gguf") - peak_of(tmp_path / "small.gguf")
    assert 0.9 * (large - small) < growth < 1.1 * (large - small) + cache
