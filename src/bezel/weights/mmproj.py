"""Writes a tower as the GGUF file that llama.cpp calls `mmproj`, which stands beside the text model's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from bezel.errors import InvalidRequestError
from bezel.kernels.formats import quantize as round_rows
from bezel.kernels.interface import F32, U8, Format
from bezel.kernels.reference import Reference
from bezel.models import embedder
from bezel.models.audio import usm
from bezel.models.vision.gemma3 import Config as VisionConfig
from bezel.weights import tower_names
from bezel.weights.audio import SOFT_TOKENS
from bezel.weights.checkpoint import Checkpoint, CheckpointWeights
from bezel.weights.gguf_writer import Kind, TensorHeader, Typed, write_gguf
from bezel.weights.vision import preprocessor_config

_LEVELS = (Format.F16, Format.Q8_0)
_FIELD_TYPES = {Format.F16: 1, Format.Q8_0: 7}
_FINE = ("position_embedding", "mm_input_projection_weight", "embed_audio.embedding.")
"""Matrices that are no products by rows: kept at F16."""
Metadata = dict[str, Typed | str | bool]


def write_mmproj(view: Checkpoint, target: Path, level: Format) -> int:
    """Write the tower `view` (of `weights.vision` or `weights.audio`, from a folder) to `target`; returns its size.

    Matrices are at `level`, F16 or Q8_0; what 32 does not divide, convolutions and tables are F16; vectors are F32 and
    norms hold the whole multiplier. Raises InvalidRequestError for another level or a view that is GGUF already,
    ModelFileError for configs that contradict themselves, StorageError where there is no room.
    """
    if level not in _LEVELS:
        raise InvalidRequestError(f"a tower cannot be written as {level.name}; choose F16 or Q8_0")
    if view.folder is None:
        raise InvalidRequestError(f"{view.path}: is a GGUF file already; give the folder that it was made of")
    sees = any(name.startswith("vision_tower.") for name in view.stored_names)
    headers = {_header(view, name, level, sees): name for name in view.stored_names}
    weights = CheckpointWeights(view, Reference())
    with view.named_in_errors():
        metadata = _of_vision(view) if sees else _of_audio(view)
    general: Metadata = {
        "general.architecture": "clip",
        "general.file_type": Typed(Kind.UINT32, _FIELD_TYPES[level]),
        "general.quantization_version": Typed(Kind.UINT32, 2),
        "clip.has_vision_encoder": sees,
        "clip.has_audio_encoder": not sees,
    }

    def rows_of(header: TensorHeader) -> Iterator[U8]:
        yield _rows(weights, headers[header], header)

    return write_gguf(target, general | metadata, list(headers), rows_of)


def _header(view: Checkpoint, name: str, level: Format, sees: bool) -> TensorHeader:
    shape = view.info(name).shape
    stored = (tower_names.vision_to_gguf if sees else tower_names.audio_to_gguf)(name)
    if len(shape) == 1:
        return TensorHeader(stored, shape, Format.F32)
    product = len(shape) == 2 and shape[1] % level.block_elements == 0 and not any(each in name for each in _FINE)
    return TensorHeader(stored, shape, level if product else Format.F16)


def _rows(weights: CheckpointWeights, name: str, header: TensorHeader) -> U8:
    if len(header.shape) == 1:
        read = weights.norm if name.endswith("soft_emb_norm.weight") else weights.vector
        values: F32 = read(name, header.shape[0])[None]
    else:
        values = weights.array(name, (header.shape[0], int(np.prod(header.shape[1:]))))
    return round_rows(header.format, np.ascontiguousarray(values.reshape(-1, header.shape[-1])))


def _whole(fields: Mapping[str, int]) -> Metadata:
    return {name: Typed(Kind.UINT32, value) for name, value in fields.items()}


def _of_vision(view: Checkpoint) -> Metadata:
    config, pixels = VisionConfig.from_hf(view.config), preprocessor_config(view)
    tower = config.tower
    fields = {
        "image_size": tower.image_size,
        "patch_size": tower.patch_size,
        "embedding_length": tower.hidden_size,
        "feed_forward_length": tower.intermediate_size,
        "block_count": tower.layers,
        "attention.head_count": tower.heads,
        "projection_dim": config.hidden_size,
        "projector.scale_factor": tower.patches_per_side // round(config.tokens**0.5),
    }
    normal = {f"image_{name}": pixels.get(f"image_{name}") or [0.5] * 3 for name in ("mean", "std")}
    return {
        "clip.projector_type": "gemma3",
        "clip.use_gelu": True,
        "clip.vision.attention.layer_norm_epsilon": Typed(Kind.FLOAT32, tower.eps),
        **_whole({f"clip.vision.{name}": value for name, value in fields.items()}),
        **{f"clip.vision.{name}": Typed(Kind.FLOAT32, list(value)) for name, value in normal.items()},
    }


def _of_audio(view: Checkpoint) -> Metadata:
    tower = usm.Config.from_hf(view.config["audio_config"])
    fields = {
        "embedding_length": tower.hidden_size,
        "feed_forward_length": 4 * tower.hidden_size,
        "block_count": tower.layers,
        "attention.head_count": tower.heads,
        "num_mel_bins": tower.bands,
        "projection_dim": embedder.Config.from_hf(view.config, "audio_config").hidden_size,
    }
    return {
        "clip.projector_type": "gemma3na",
        "clip.audio.projector_type": "gemma3na",
        "clip.audio.attention.layer_norm_epsilon": Typed(Kind.FLOAT32, tower.eps),
        **_whole({f"clip.audio.{name}": value for name, value in fields.items()}),
        SOFT_TOKENS: Typed(Kind.UINT32, view.config.get("audio_soft_tokens_per_image", 188)),
    }
