"""Small models with random weights, for tests and demonstrations only."""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bezel.engine.blocks import Blocks
from bezel.errors import KernelLibraryError, ModelFileError
from bezel.generation.constraints.interface import Constraint
from bezel.kernels import compiled, library
from bezel.kernels.formats import quantize
from bezel.kernels.interface import F32, Access, Format, Kernels
from bezel.kernels.tables import RowTable
from bezel.models.interface import Part
from bezel.testing.counter import CounterBackend as CounterBackend
from bezel.text.tokenizer import Tokenizer
from bezel.weights.quantize import tensor_shapes


def instruction_sets() -> list[str]:
    """Those to test: all that this machine's compiled kernels can use, or $BEZEL_ISA's alone; none where not built."""
    try:
        return [library.Native().isa] if os.environ.get("BEZEL_ISA") else list(compiled.instruction_sets())
    except KernelLibraryError:
        return []


CONTROL_PIECES = ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>")


def byte_tokenizer(*more: str) -> Tokenizer:
    """Gemma's control pieces, `more` of them, and one piece a byte."""
    control = [*CONTROL_PIECES, *more]
    pieces = [*control, *(f"<0x{byte:02X}>" for byte in range(256)), "▁"]
    fields = {
        "model": "llama",
        "tokens": pieces,
        "scores": [0.0] * len(pieces),
        "token_type": [3] * len(control) + [6] * 256 + [1],
        "bos_token_id": 2,
        "eos_token_id": 1,
    }
    return Tokenizer.from_gguf({f"tokenizer.ggml.{name}": value for name, value in fields.items()}, "bytes")


def byte_tokens(text: str) -> list[int]:
    """`text` in the tokens of `byte_tokenizer()`."""
    first = len(CONTROL_PIECES)
    return [first + 256 if byte == 32 else first + byte for byte in text.encode()]


def accepts(constraint: Constraint, text: str) -> bool:
    """Whether a constraint over `byte_tokenizer()` allows every byte of a text and its end, for good."""
    return all(
        bool(int(constraint.mask()[token // 32]) >> token % 32 & 1) and not constraint.accept(token)
        for token in [*byte_tokens(text), CONTROL_PIECES.index("<eos>")]
    )


class ArrayWeights:
    """The `Weights` of arrays in memory: canonical names to float32, norms as the kernels multiply by them."""

    def __init__(self, tensors: Mapping[str, F32], kernels: Kernels, format: Format = Format.F32) -> None:
        self.kernels = kernels
        self._tensors = tensors
        self._format = format

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def _tensor(self, name: str) -> F32:
        if name not in self._tensors:
            raise ModelFileError(f"tensor {name} is missing")
        return self._tensors[name]

    def matrix(
        self,
        *names: str,
        shape: tuple[int, int],
        access: Access = Access.WHOLE,
        transposed: bool = False,
        padded: bool = False,
    ) -> Any:
        """See `models.interface.Weights.matrix`."""
        stacked = np.concatenate([self._tensor(name) for name in names])
        stacked = stacked.T if transposed else stacked.reshape(len(stacked), -1)
        if padded:
            stacked = np.pad(stacked, [(0, wanted - have) for wanted, have in zip(shape, stacked.shape, strict=True)])
        if stacked.shape != shape:
            raise ModelFileError(f"{' + '.join(names)} has shape {stacked.shape}; the config asks for {shape}")
        format = Format.F16 if shape[1] % self._format.block_elements else self._format
        packed = self.kernels.allocate(format, *shape, access)
        self.kernels.store_rows(packed, 0, quantize(format, stacked))
        return packed

    def in_turn(self, builders: Sequence[Callable[[], Part]]) -> Iterable[Part]:
        """See `models.interface.Weights.in_turn`; all are kept."""
        return [build() for build in builders]

    def norm(self, name: str, size: int) -> F32:
        """See `models.interface.Weights.norm`."""
        return self._shaped(name, (size,))

    def vector(self, name: str, size: int) -> F32:
        """See `models.interface.Weights.vector`."""
        return self._shaped(name, (size,))

    def array(self, name: str, shape: tuple[int, int]) -> F32:
        """See `models.interface.Weights.array`."""
        tensor = self._tensor(name)
        if tensor.ndim < 3:
            return self._shaped(name, shape)
        return ArrayWeights({name: tensor.reshape(len(tensor), -1)}, self.kernels).array(name, shape)

    def table(self, name: str, shape: tuple[int, int]) -> RowTable:
        """See `models.interface.Weights.table`; the file is gone when the table is."""
        raw = quantize(self._format, self._shaped(name, shape))
        with tempfile.NamedTemporaryFile() as file:
            file.write(raw.tobytes())
            file.flush()
            return RowTable(Path(file.name), 0, self._format, *shape)

    def _shaped(self, name: str, shape: tuple[int, ...]) -> F32:
        tensor = self._tensor(name)
        if tensor.shape != shape:
            raise ModelFileError(f"{name} has shape {tensor.shape}; the config asks for {shape}")
        return tensor


GEMMA3 = {
    "model_type": "gemma3_text",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "query_pre_attn_scalar": 32,
    "sliding_window": 16,
    "layer_types": ["sliding_attention", "full_attention"],
    "max_position_embeddings": 512,
}
GEMMA3N = GEMMA3 | {
    "model_type": "gemma3n_text",
    "num_hidden_layers": 4,
    "intermediate_size": [96, 64, 96, 128],
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "num_kv_shared_layers": 2,
    "activation_sparsity_pattern": [0.9, 0.8, 0.0, 0.7],
    "vocab_size_per_layer_input": 280,
    "hidden_size_per_layer_input": 32,
    "laurel_rank": 32,
    "final_logit_softcapping": 30.0,
}
GEMMA3_VISION = {
    "model_type": "gemma3",
    "text_config": GEMMA3,
    "vision_config": {
        "model_type": "siglip_vision_model",
        "hidden_size": 32,
        "intermediate_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 4,
    },
    "mm_tokens_per_image": 16,
}
GEMMA1 = {
    "model_type": "gemma",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "max_position_embeddings": 512,
}
GEMMA2 = GEMMA3 | {"model_type": "gemma2", "attn_logit_softcapping": 5.0, "final_logit_softcapping": 3.0}
PALIGEMMA = {"model_type": "paligemma", "text_config": GEMMA1, "vision_config": GEMMA3_VISION["vision_config"]}
PALIGEMMA2 = PALIGEMMA | {"text_config": GEMMA2}
"""Configs of tiny models in which every mechanism of their family is alive."""

IMAGE_PIECES = ("<start_of_image>", "<end_of_image>", "<image_soft_token>")
PALIGEMMA_PIECES = ("<image>", *(f"<loc{i:04d}>" for i in range(1024)), *(f"<seg{i:03d}>" for i in range(128)))


def vision_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Tensor name -> shape, of the image tower and projector of a Gemma 3 or PaliGemma of this config."""
    tower = config["vision_config"]
    hidden, inner, patch = tower["hidden_size"], tower["intermediate_size"], tower["patch_size"]
    found: dict[str, tuple[int, ...]] = {
        "vision_tower.vision_model.embeddings.patch_embedding.weight": (hidden, 3, patch, patch),
        "vision_tower.vision_model.embeddings.patch_embedding.bias": (hidden,),
        "vision_tower.vision_model.embeddings.position_embedding.weight": (
            (tower["image_size"] // patch) ** 2,
            hidden,
        ),
    }
    width = config["text_config"]["hidden_size"]
    if config["model_type"] == "paligemma":
        found |= {
            f"multi_modal_projector.linear.{kind}": (width, hidden)[:n] for kind, n in (("weight", 2), ("bias", 1))
        }
    else:
        found["multi_modal_projector.mm_input_projection_weight"] = (hidden, width)
        found["multi_modal_projector.mm_soft_emb_norm.weight"] = (hidden,)
    linear = {f"self_attn.{part}": (hidden, hidden) for part in ("q_proj", "k_proj", "v_proj", "out_proj")}
    linear |= {"mlp.fc1": (inner, hidden), "mlp.fc2": (hidden, inner)}
    vectors = {name: shape[:1] for name, shape in linear.items()}
    norms = ["vision_tower.vision_model.post_layernorm"]
    for layer in range(tower["num_hidden_layers"]):
        prefix = f"vision_tower.vision_model.encoder.layers.{layer}."
        found |= {f"{prefix}{name}.weight": shape for name, shape in linear.items()}
        found |= {f"{prefix}{name}.bias": shape for name, shape in vectors.items()}
        norms += [f"{prefix}layer_norm{number}" for number in (1, 2)]
    return found | {f"{name}.{kind}": (hidden,) for name in norms for kind in ("weight", "bias")}


def write_checkpoint(
    folder: Path,
    seed: int = 0,
    vocabulary: int = 0,
    config: Mapping[str, Any] = GEMMA3,
    prefix: str = "model.",
    control: Sequence[str] = (),
) -> Path:
    """A Hugging Face folder of a random model (GEMMA3, GEMMA3_VISION, PALIGEMMA, ...) over bytes and control pieces.

    `vocabulary`: pieces at least; unused ones are added. `prefix` stands before the text model's tensors. `control`:
    pieces beside the usual ones.
    """
    sees = "vision_config" in config
    shown = PALIGEMMA_PIECES if config["model_type"] == "paligemma" else IMAGE_PIECES
    special = [*CONTROL_PIECES, *control, *(shown if sees else ())]
    pieces = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *"abcdefghijklmnopqrstuvwxyz"]
    pieces += [f"<unused{number}>" for number in range(vocabulary - len(pieces))]
    text_config = {**config.get("text_config", config), "vocab_size": len(pieces)}
    config = {**config, "text_config": text_config} if sees else text_config
    shapes = {prefix + name: shape for name, shape in tensor_shapes(text_config).items()}
    rng = np.random.default_rng(seed)
    header: dict[str, Any] = {}
    data = b""
    for name, shape in (shapes | vision_shapes(config) if sees else shapes).items():
        raw = (rng.standard_normal(shape) * 0.1).astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, 5]}))
    tokenizer = {
        "added_tokens": [{"id": i, "content": piece, "special": True} for i, piece in enumerate(special)],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        "model": {"type": "BPE", "byte_fallback": True, "vocab": {p: i for i, p in enumerate(pieces)}, "merges": []},
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return folder


_MMPROJ_NAMES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v"}
_MMPROJ_NAMES |= {"self_attn.out_proj": "attn_out", "layer_norm1": "ln1", "layer_norm2": "ln2"}
_MMPROJ_NAMES |= {"mlp.fc1": "ffn_up", "mlp.fc2": "ffn_down", "encoder.layers.": "blk.", "post_layernorm": "post_ln"}
_MMPROJ_NAMES |= {"embeddings.patch_embedding": "patch_embd", "embeddings.position_embedding": "position_embd"}
_MMPROJ_NAMES |= {
    "vision_tower.vision_model.": "v.",
    "multi_modal_projector.mm_input_projection_weight": "mm.input_projection.weight",
}
_MMPROJ_NAMES |= {"multi_modal_projector.mm_soft_emb_norm": "mm.soft_emb_norm"}


def vision_tensors(folder: Path) -> dict[str, F32]:
    """The tensors of the tower and projector of a folder that `write_checkpoint` wrote."""
    from safetensors.numpy import load_file

    stored = load_file(folder / "model.safetensors")
    return {name: array for name, array in stored.items() if name.startswith(("vision_tower.", "multi_modal_"))}


def write_mmproj(
    path: Path, tensors: Mapping[str, F32], swapped: bool = False, format: Format = Format.F16, **changes: int
) -> Path:
    """Such tensors in the file that llama.cpp's converters make of them, by the `gguf` library.

    `swapped`: with the feed-forward's names of the first converter. `changes`: to the sizes in its metadata.
    """
    import gguf

    writer = gguf.GGUFWriter(path, "clip")
    fields = {"image_size": 32, "patch_size": 4, "embedding_length": 32, "feed_forward_length": 40, "block_count": 2}
    fields |= {"attention.head_count": 2, "projection_dim": 64} | changes
    for name, value in fields.items():
        writer.add_uint32(f"clip.vision.{name}", value)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-6)
    writer.add_string("clip.projector_type", "gemma3")
    writer.add_array("clip.vision.image_mean", [0.25, 0.5, 0.5])
    writer.add_uint32("clip.vision.projector.scale_factor", 2)
    for name, array in tensors.items():
        for long, short in _MMPROJ_NAMES.items():
            name = name.replace(long, short)
        if swapped:
            name = name.replace("ffn_up", "ffn_x").replace("ffn_down", "ffn_up").replace("ffn_x", "ffn_down")
        if array.ndim == 1:
            writer.add_tensor(name, array + 1 if "soft_emb_norm" in name else array)
        elif array.ndim == 2 and array.shape[1] % format.block_elements == 0 and "position" not in name:
            kind = gguf.GGMLQuantizationType(format.type_id)
            writer.add_tensor(name, quantize(format, np.ascontiguousarray(array)), raw_dtype=kind)
        else:
            writer.add_tensor(name, array.astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def check_blocks(blocks: Blocks) -> None:
    """AssertionError unless every block is free, cached or held, is counted right, and is found where it is said."""
    for window, group in blocks.groups.items():
        tables = [held.tables[window].tolist() for held in blocks._held.values()]
        holders = Counter(block for table in tables for block in table if block >= 0)
        assert {block: count for block, count in enumerate(group.references) if count} == holders
        free = [*group.emptied, *range(group.used, group.count)]
        everything = sorted([*free, *group.cached, *holders])
        assert everything == list(range(group.count)), f"group {window}: blocks lost or in two places"
        assert all(group.prefixes[block] is None for block in free)
        assert all(group.prefixes[block] is not None for block in group.cached)
        for block, prefix in enumerate(group.prefixes):
            assert prefix is None or prefix.blocks[window] == block
    nodes = list(blocks._root.children.values())
    while nodes:
        node = nodes.pop()
        assert node.blocks, "a prefix without blocks is left in the tree"
        assert all(blocks.groups[window].prefixes[block] is node for window, block in node.blocks.items())
        nodes += node.children.values()
