"""Any checkpoint to a standard GGUF at one level, row chunk by row chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bezel.errors import InvalidRequestError, ModelFileError, UnsupportedModelError
from bezel.kernels.formats import dequantize
from bezel.kernels.formats import quantize as round_rows
from bezel.kernels.interface import U8, Format
from bezel.models import gemma, gemma2, gemma3, gemma3n
from bezel.weights import gemma3n_files
from bezel.weights.checkpoint import Checkpoint
from bezel.weights.companions import SAMPLING_KEYS, recommended_sampling
from bezel.weights.configs import config_from_gguf
from bezel.weights.gguf_tokenizer import tokenizer_metadata
from bezel.weights.gguf_writer import Kind, TensorHeader, Typed, typed, write_gguf
from bezel.weights.names import part_of, to_gguf

Config = gemma.Config | gemma2.Config | gemma3.Config | gemma3n.Config
Progress = Callable[[int, int], None]

_FAMILIES: Mapping[str, tuple[str, type[Config]]] = {
    "gemma": ("gemma", gemma.Config),
    "gemma2": ("gemma2", gemma2.Config),
    "gemma3_text": ("gemma3", gemma3.Config),
    "gemma3": ("gemma3", gemma3.Config),
    "gemma3n_text": ("gemma3n", gemma3n.Config),
    "gemma3n": ("gemma3n", gemma3n.Config),
}
# llama.cpp's numbers for "mostly this format".
_FILE_TYPES = {Format.F32: 0, Format.Q4_0: 2, Format.Q8_0: 7, Format.BF16: 32}
_WHOLE = (Format.F32, Format.F16, Format.BF16)
_CHUNK_BYTES = 8 << 20


def quantize(checkpoint: Checkpoint, target: Path, level: Format, progress: Progress | None = None) -> int:
    """Write `checkpoint` to the GGUF file `target` with its matrices at `level`; returns the file's size.

    `level` is Q4_0, Q8_0, BF16 or F32. Norms are F32 and hold the whole multiplier; a matrix whose rows 32 does not
    divide stays F16 at Q4_0 and Q8_0, as llama.cpp does it. What mixes Gemma 3n's streams is Q8_0 at Q4_0, or F32.
    `progress(done, total)` counts bytes of tensors.
    Raises InvalidRequestError for another level or weights that are rounded already, StorageError,
    ModelFileError, and UnsupportedModelError for what GGUF cannot express. No partial file stays.
    """
    if level not in _FILE_TYPES:
        raise InvalidRequestError(f"{level.name} cannot be written; choose {', '.join(f.name for f in _FILE_TYPES)}")
    sources = {info.path.resolve() for info in checkpoint.source.tensors.values()}
    if target.resolve() in sources:
        raise InvalidRequestError(f"{target}: is being read; choose another name for the result")
    architecture, config = _config(checkpoint)
    canonical = _tensors(checkpoint, architecture, config, level)
    total = sum(header.nbytes for header in canonical)
    done = 0

    def rows_of(header: TensorHeader) -> Iterator[U8]:
        nonlocal done
        for raw in _rows(checkpoint, canonical[header], header):
            yield raw
            done += raw.nbytes
            if progress is not None:
                progress(done, total)

    return write_gguf(target, _metadata(checkpoint, architecture, config, level), list(canonical), rows_of)


def _tensors(checkpoint: Checkpoint, architecture: str, config: Config, level: Format) -> dict[TensorHeader, list[str]]:
    """Every tensor of the result, with the canonical names of the matrices that it consists of."""
    shapes, unused = _shapes(config), {}
    if isinstance(config, gemma3n.Config):
        unused = gemma3n_files.unused_shapes(config)
    found: dict[str, tuple[tuple[int, ...], Format, list[str]]] = {}
    for name, shape in (shapes | unused).items():
        stored = name in shapes or name in checkpoint.stored_names
        if stored and checkpoint.info(name).shape != shape:
            have = checkpoint.info(name).shape
            raise ModelFileError(f"{checkpoint.path}: {name} has shape {have}; the config asks for {shape}")
        format = _format(checkpoint, name, level) if stored else _format_of(name, shape, level)
        if name == gemma3n_files.TABLE:
            shape = max(shape[0], config.vocab_size), shape[1]
        _, _, parts = found.setdefault(to_gguf(architecture, name), (shape, format, []))
        parts.append(name)
    return {
        TensorHeader(stored, shape if part_of(parts[0]) is None else (len(parts), *shape), format): parts
        for stored, (shape, format, parts) in found.items()
    }


def _config(checkpoint: Checkpoint) -> tuple[str, Config]:
    model_type = checkpoint.config.get("model_type")
    if model_type == "paligemma":
        raise UnsupportedModelError(
            f"{checkpoint.path}: GGUF has no PaliGemma, and llama.cpp runs none; load the folder with a level instead"
        )
    if not isinstance(model_type, str) or model_type not in _FAMILIES:
        known = ", ".join(_FAMILIES)
        raise UnsupportedModelError(f"{checkpoint.path}: model_type {model_type!r} is not supported; known: {known}")
    architecture, family = _FAMILIES[model_type]
    with checkpoint.named_in_errors():
        config = family.from_hf(checkpoint.config.get("text_config", checkpoint.config))
    if not config.tied and architecture not in ("gemma3", "gemma3n"):
        raise UnsupportedModelError(
            f"{checkpoint.path}: GGUF's {architecture} has no output matrix of its own; tie the embeddings"
        )
    return architecture, config


def _layer_count(config: Config) -> int:
    return config.layers if isinstance(config, gemma.Config) else len(config.sliding)


def tensor_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Canonical tensor name -> shape, of all that a model with this Hugging Face text config reads."""
    return _shapes(_FAMILIES[config["model_type"]][1].from_hf(config))


def _shapes(config: Config) -> dict[str, tuple[int, ...]]:
    """Canonical tensor name -> shape, of all that the architecture holds."""
    if isinstance(config, gemma3n.Config):
        return gemma3n_files.shapes(config)
    hidden, inner, head = config.hidden_size, config.intermediate_size, config.head_dim
    queries, keys = config.heads * head, config.kv_heads * head
    layer: dict[str, tuple[int, ...]] = {
        "input_layernorm": (hidden,),
        "self_attn.q_proj": (queries, hidden),
        "self_attn.k_proj": (keys, hidden),
        "self_attn.v_proj": (keys, hidden),
        "self_attn.o_proj": (hidden, queries),
        "post_attention_layernorm": (hidden,),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }
    if not isinstance(config, gemma.Config):
        layer |= {"pre_feedforward_layernorm": (hidden,), "post_feedforward_layernorm": (hidden,)}
    if isinstance(config, gemma3.Config):
        layer |= {"self_attn.q_norm": (head,), "self_attn.k_norm": (head,)}
    shapes: dict[str, tuple[int, ...]] = {"embed_tokens.weight": (config.vocab_size, hidden), "norm.weight": (hidden,)}
    if not config.tied:
        shapes["lm_head.weight"] = (config.vocab_size, hidden)
    for i in range(_layer_count(config)):
        shapes |= {f"layers.{i}.{name}.weight": shape for name, shape in layer.items()}
    return shapes


def _format(checkpoint: Checkpoint, name: str, level: Format) -> Format:
    info = checkpoint.info(name)
    target = _format_of(name, info.shape, level)
    if len(info.shape) == 1:
        return target
    if info.readable() not in _WHOLE and info.format is not target:
        raise InvalidRequestError(
            f"{checkpoint.path}: {info.name} is stored as {info.type_name} and cannot become {target.name} "
            "without a second loss; start from BF16 weights"
        )
    return target


def _format_of(name: str, shape: tuple[int, ...], level: Format) -> Format:
    if len(shape) == 1:
        return Format.F32
    level = gemma3n_files.format_at(name, level)
    return Format.F16 if shape[-1] % level.block_elements else level


def _rows(checkpoint: Checkpoint, names: list[str], header: TensorHeader) -> Iterator[U8]:
    """The rows of a tensor: of its matrices one after the other, and what the source lacks filled up.

    A row behind the end of Gemma 3n's table is its first, as Transformers reads it; what nothing reads is 0.
    """
    left = header.rows
    for name in names:
        if name in checkpoint.stored_names:
            for raw in _stored_rows(checkpoint, name, header.format):
                yield raw
                left -= len(raw)
    if left:
        filling = np.zeros((1, header.row_bytes), np.uint8)
        if names == [gemma3n_files.TABLE]:
            filling = next(_stored_rows(checkpoint, names[0], header.format))[:1]
        for _ in range(left):
            yield filling


def _stored_rows(checkpoint: Checkpoint, name: str, target: Format) -> Iterator[U8]:
    info = checkpoint.info(name)
    count = 1 if len(info.shape) == 1 else info.shape[0]
    step = max(1, _CHUNK_BYTES // (4 * info.columns))
    add_one = len(info.shape) == 1 and checkpoint.norms_lack_one
    for first in range(0, count, step):
        raw = checkpoint.source.read_rows(info.name, info.first_row + first, min(step, count - first))
        if add_one or info.format is not target:
            values = dequantize(info.readable(), raw, info.columns)
            raw = round_rows(target, values + np.float32(1) if add_one else values)
        yield raw


def _metadata(
    checkpoint: Checkpoint, architecture: str, config: Config, level: Format
) -> dict[str, Typed | str | bool]:
    stored = checkpoint.metadata.get("general.name")
    metadata: dict[str, Typed | str | bool] = {
        "general.architecture": architecture,
        "general.name": stored if isinstance(stored, str) else checkpoint.path.resolve().stem,
        "general.file_type": Typed(Kind.UINT32, _FILE_TYPES[level]),
        "general.quantization_version": Typed(Kind.UINT32, 2),
    }
    metadata |= {f"{architecture}.{key}": value for key, value in _architecture_metadata(config).items()}
    _check_query_scale(checkpoint, config, metadata)
    for name, value in recommended_sampling(checkpoint).items():
        kind = Kind.INT32 if name == "top_k" else Kind.FLOAT32
        metadata[SAMPLING_KEYS[name]] = Typed(kind, int(value) if name == "top_k" else float(value))
    if checkpoint.folder is not None:
        return metadata | tokenizer_metadata(checkpoint.folder, config.vocab_size)
    passed = {key: value for key, value in checkpoint.metadata.items() if key.startswith("tokenizer.")}
    return metadata | {key: typed(value) for key, value in passed.items()}


def _architecture_metadata(config: Config) -> dict[str, Typed | str | bool]:
    def whole(value: int) -> Typed:
        return Typed(Kind.UINT32, value)

    def real(value: float) -> Typed:
        return Typed(Kind.FLOAT32, value)

    metadata: dict[str, Typed | str | bool] = {
        "vocab_size": whole(config.vocab_size),
        "context_length": whole(config.context),
        "embedding_length": whole(config.hidden_size),
        "block_count": whole(_layer_count(config)),
        "attention.head_count": whole(config.heads),
        "attention.head_count_kv": whole(config.kv_heads),
        "attention.key_length": whole(config.head_dim),
        "attention.value_length": whole(config.head_dim),
        "attention.layer_norm_rms_epsilon": real(config.eps),
        "rope.freq_base": real(config.rope_theta),
    }
    if isinstance(config, gemma3n.Config):
        metadata |= gemma3n_files.metadata(config)
        if config.final_soft_cap is not None:
            metadata["final_logit_softcapping"] = real(config.final_soft_cap)
        return metadata
    metadata["feed_forward_length"] = whole(config.intermediate_size)
    if isinstance(config, gemma.Config):
        return metadata
    metadata["attention.sliding_window"] = whole(config.window)
    metadata["attention.sliding_window_pattern"] = _sliding_pattern(config.sliding)
    if isinstance(config, gemma2.Config):
        metadata["attn_logit_softcapping"] = real(config.attention_soft_cap)
    else:
        metadata["rope.freq_base_swa"] = real(config.rope_local_theta)
        if config.rope_factor != 1:
            metadata |= {"rope.scaling.type": "linear", "rope.scaling.factor": real(config.rope_factor)}
    if config.final_soft_cap is not None:
        metadata["final_logit_softcapping"] = real(config.final_soft_cap)
    return metadata


def _sliding_pattern(sliding: tuple[bool, ...]) -> Typed:
    """The period whose last layer is full, or one flag a layer where there is none."""
    for period in range(1, len(sliding) + 2):
        if all(slides == (i % period < period - 1) for i, slides in enumerate(sliding)):
            return Typed(Kind.UINT32, period)
    return Typed(Kind.BOOL, list(sliding))


def _check_query_scale(checkpoint: Checkpoint, config: Config, metadata: Mapping[str, Typed | str | bool]) -> None:
    """GGUF does not hold the query scale: readers derive it, so it must be what they derive."""
    if isinstance(config, gemma.Config | gemma3n.Config):
        return
    plain = {key: value.value if isinstance(value, Typed) else value for key, value in metadata.items()}
    derived = config_from_gguf(plain, str(checkpoint.path))["query_pre_attn_scalar"]
    if not np.isclose(config.query_scale, derived**-0.5, rtol=1e-9):
        raise UnsupportedModelError(
            f"{checkpoint.path}: query_pre_attn_scalar is {config.query_scale**-2:g}; GGUF readers take {derived} "
            "for this shape and no key says otherwise"
        )
