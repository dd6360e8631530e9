"""What an opened checkpoint will need in memory: its tensors, as kernels keep them, in the catalogue's arithmetic."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from bezel.catalog.memory import Footprint, predict
from bezel.catalog.variants import Shape
from bezel.errors import ModelFileError
from bezel.kernels.interface import Format
from bezel.kernels.layout import packed
from bezel.kernels.tables import HOT_ROWS
from bezel.models.leaves import field_of
from bezel.weights.checkpoint import WHOLE_FORMATS, Checkpoint, target_format
from bezel.weights.slice import MOST_LAYERS

ON_DISK = "embed_tokens_per_layer.weight"
"""The table that is read row by row."""
_PER_ROW = 256  # elements, of which every format has whole blocks
_TEXT = re.compile(r"(layers\.\d+\.|embed_tokens|norm\.|per_layer_|altup_).*|lm_head\.weight")
_FUSED = {"q_proj": "qkv", "k_proj": "qkv", "v_proj": "qkv", "gate_proj": "gate_up", "up_proj": "gate_up"}


def predicted(checkpoint: Checkpoint, level: Format | None, context: int, cache: Format = Format.F16) -> Footprint:
    """Peak bytes of a process that answers one sequence of `context` tokens with this checkpoint's text model.

    `level` as in `CheckpointWeights`. Raises ModelFileError, UnsupportedModelError, and InvalidRequestError for weights
    that cannot become `level`.
    """
    with checkpoint.named_in_errors():
        shape = shape_of(checkpoint)
    table = checkpoint.stored_names.get(ON_DISK)
    on_disk = rows = 0
    if table:
        info = checkpoint.source.tensors[table]
        on_disk, rows = info.nbytes, min(HOT_ROWS, info.shape[0]) * info.readable().row_bytes(info.columns)
    element = cache.row_bytes(cache.block_elements) / cache.block_elements
    return predict(shape, resident_bytes(checkpoint, level), context, element, on_disk=on_disk, rows=rows)


def shape_of(checkpoint: Checkpoint) -> Shape:
    """The size of the text model that a checkpoint's config describes."""
    config = checkpoint.config.get("text_config", checkpoint.config)
    layers, head = field_of(config, "num_hidden_layers", int), field_of(config, "head_dim", int, 256)
    if layers > MOST_LAYERS:
        raise ModelFileError(f"config: num_hidden_layers is {layers}; 1 to {MOST_LAYERS} are possible")
    width: Any = config.get("intermediate_size")
    widths = tuple(width) if isinstance(width, Sequence) else (field_of(config, "intermediate_size", int),) * layers
    window = config.get("sliding_window")
    kinds = config.get("layer_types")
    if kinds is None:
        every = config.get("sliding_window_pattern") or {"gemma2": 2, "gemma3n_text": 5}.get(config["model_type"], 6)
        kinds = ["full_attention" if (i + 1) % every == 0 else "sliding_attention" for i in range(layers)]
    if len(widths) != layers or len(kinds) != layers or not all(type(width) is int for width in widths):
        raise ModelFileError(f"config: intermediate_size and layer_types do not fit {layers} layers")
    return Shape(
        layers=layers,
        hidden=field_of(config, "hidden_size", int),
        ffn=max(widths),
        heads=field_of(config, "num_attention_heads", int),
        kv_heads=field_of(config, "num_key_value_heads", int),
        head_dim=head,
        vocabulary=field_of(config, "vocab_size", int),
        window=window if isinstance(window, int) else None,
        shared_kv_layers=int(config.get("num_kv_shared_layers") or 0),
        per_layer_vocabulary=int(config.get("vocab_size_per_layer_input") or 0),
        per_layer_size=int(config.get("hidden_size_per_layer_input") or 0),
        widths=widths,
        full=tuple(kind == "full_attention" for kind in kinds),
    )


def tower_level(view: Checkpoint, level: Format | None) -> Format | None:
    """What a tower is kept at where `level` is asked for: of 4 bits 8; None, as stored, for one that was rounded."""
    whole = all(view.info(name).format in WHOLE_FORMATS for name in view.stored_names)
    return None if not whole else Format.Q8_0 if level is Format.Q4_0 else level


def tower_bytes(view: Checkpoint, level: Format | None) -> int:
    """Bytes of a tower that is kept at `level`, None as it is stored, within a few hundredths."""
    kept = tower_level(view, level)
    total = 0
    for name in view.stored_names:
        info = view.info(name)
        if kept is None or len(info.shape) == 1:
            total += info.nbytes
        else:
            total += info.nbytes * kept.row_bytes(_PER_ROW) // info.readable().row_bytes(_PER_ROW)
    return total


def resident_bytes(checkpoint: Checkpoint, level: Format | None) -> int:
    """Bytes of the text model's matrices and norms as they will be kept, without the per-layer table and towers."""
    shape = shape_of(checkpoint)
    owners = shape.layers - shape.shared_kv_layers
    groups: dict[str, list[str]] = {}
    for name in checkpoint.stored_names:
        if name == ON_DISK or not _TEXT.fullmatch(name):
            continue
        match = re.fullmatch(r"(layers\.(\d+)\.\w+\.)(\w+)\.weight", name)
        if match and int(match[2]) >= owners and match[3] in ("k_proj", "v_proj", "k_norm"):
            continue
        groups.setdefault(match[1] + _FUSED.get(match[3], match[3]) if match else name, []).append(name)
    total = 0
    for group in groups.values():
        infos = [checkpoint.info(name) for name in group]
        rows = sum(info.nbytes // max(1, info.readable().row_bytes(info.columns)) for info in infos)
        if len(infos[0].shape) < 2 or ".altup." in group[0]:  # vectors and tiny matrices become float32
            total += 4 * rows * infos[0].columns
        else:
            total += packed(target_format(checkpoint, group[0], infos, level), rows, infos[0].columns)[-1]
    return total
