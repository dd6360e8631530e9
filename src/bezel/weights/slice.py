"""MatFormer: a smaller Gemma 3n out of a larger one, as a view of its checkpoint that copies nothing.

A narrow feed-forward is the first columns of the wide one (MatFormer, Devvrit et al. 2023); a layer that is left out
takes its part of the per-layer embeddings and of their projection along.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from bezel.catalog.slices import widths_of
from bezel.errors import InvalidRequestError, ModelFileError, UnsupportedModelError
from bezel.kernels.interface import U8
from bezel.kernels.tables import RowTable
from bezel.weights.checkpoint import Checkpoint
from bezel.weights.source import TensorInfo, TensorSource

_MODEL_TYPES = ("gemma3n", "gemma3n_text")
MOST_LAYERS = 1024
_SPARSE_LAYERS, _SPARSITY = 10, 0.95
"""Where a config says nothing: how many layers have a sparse gate, and how sparse it is."""

Spans = tuple[range, ...]


@dataclass(frozen=True)
class Layers:
    """What a Gemma 3n config says of each layer; `shared` of the last reuse the keys and values of earlier ones."""

    widths: tuple[int, ...]
    kinds: tuple[str, ...]
    sparsity: tuple[float, ...]
    shared: int
    per_layer_size: int

    @classmethod
    def from_hf(cls, text: Mapping[str, Any]) -> Layers:
        """Read a text config, with Transformers' defaults. ModelFileError where lists and counts contradict."""

        def whole(name: str, default: int) -> int:
            value = text.get(name, default)
            if type(value) is not int or value < 0:
                raise ModelFileError(f"config: {name} is {value!r}; a whole number is needed")
            return value

        def each(name: str, kind: type, default: Sequence[Any]) -> tuple[Any, ...]:
            value = text.get(name)
            value = list(default) if value is None else value
            if not isinstance(value, Sequence) or len(value) != count or not all(isinstance(v, kind) for v in value):
                raise ModelFileError(f"config: {name} does not name {count} values, one a layer")
            return tuple(value)

        count = whole("num_hidden_layers", 35)
        if not 1 <= count <= MOST_LAYERS:
            raise ModelFileError(f"config: num_hidden_layers is {count}; 1 to {MOST_LAYERS} are possible")
        width = text.get("intermediate_size", 16384)
        widths = [width] * count if isinstance(width, int) else width
        sparse = _SPARSE_LAYERS if count > _SPARSE_LAYERS else 0
        found = cls(
            each("intermediate_size", int, ()) if not isinstance(width, int) else tuple(widths),
            each("layer_types", str, ["full_attention" if i % 5 == 4 else "sliding_attention" for i in range(count)]),
            each("activation_sparsity_pattern", int | float, [_SPARSITY] * sparse + [0.0] * (count - sparse)),  # type: ignore[arg-type]
            whole("num_kv_shared_layers", 15),
            whole("hidden_size_per_layer_input", 256),
        )
        if found.shared > count:
            raise ModelFileError(f"config: num_kv_shared_layers is {found.shared}, of {count} layers")
        return found


@dataclass(frozen=True)
class Slice:
    """The FFN width of each layer of the model that is cut; 0 where the layer is left out."""

    widths: tuple[int, ...]

    @cached_property
    def layers(self) -> tuple[int, ...]:
        """The layers that are kept, as the whole model counts them."""
        return tuple(layer for layer, width in enumerate(self.widths) if width)

    @classmethod
    def of(cls, size: str | Sequence[int], layers: Layers) -> Slice:
        """The slice that `size` (see `catalog.slices.widths_of`) cuts out of a model with these layers.

        A model that has the size already is kept whole. InvalidRequestError where it cannot be cut so.
        """
        widths = widths_of(size)
        if isinstance(size, str) and tuple(width for width in widths if width) == layers.widths:
            widths = layers.widths
        count = len(layers.widths)
        if len(widths) != count:
            raise InvalidRequestError(
                f"size {size!r} is for {len(widths)} layers and the model has {count}; published sizes are cut from E4B"
            )
        for layer, (width, most) in enumerate(zip(widths, layers.widths, strict=True)):
            if width > most:
                raise InvalidRequestError(f"size {size!r}: layer {layer} has an FFN of {most}, not {width}")
        found = cls(widths)
        if not found.layers:
            raise InvalidRequestError(f"size {size!r} keeps no layer; keep one at least")
        own = {layers.kinds[layer] for layer in found.layers if layer < count - layers.shared}
        lost = next((layer for layer in found.layers if layers.kinds[layer] not in own), None)
        if lost is not None:
            raise InvalidRequestError(
                f"size {size!r}: layer {lost} reuses the keys and values of an earlier {layers.kinds[lost]} layer, "
                "and none is kept; keep one"
            )
        return found

    def config(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The Hugging Face config of the slice, from the whole model's (a multimodal one's or a text one's)."""
        text = config.get("text_config", config)
        whole, kept = Layers.from_hf(text), self.layers
        changed = dict(text) | {
            "num_hidden_layers": len(kept),
            "intermediate_size": [self.widths[layer] for layer in kept],
            "layer_types": [whole.kinds[layer] for layer in kept],
            "activation_sparsity_pattern": [whole.sparsity[layer] for layer in kept],
            "num_kv_shared_layers": sum(layer >= len(whole.widths) - whole.shared for layer in kept),
        }
        return dict(config) | {"text_config": changed} if "text_config" in config else changed

    def spans(self, name: str, size: int) -> tuple[Spans | None, Spans | None]:
        """Rows and columns that are left of a tensor under its canonical name; None where all are.

        `size` is the length of the per-layer embeddings.
        """
        match = re.fullmatch(r"layers\.(\d+)\.mlp\.(gate|up|down)_proj\.weight", name)
        if match:
            first = (range(self.widths[int(match[1])]),)
            return (None, first) if match[2] == "down" else (first, None)
        if name not in ("embed_tokens_per_layer.weight", "per_layer_model_projection.weight"):
            return None, None
        parts = _joined([range(layer * size, (layer + 1) * size) for layer in self.layers])
        return (None, parts) if name.startswith("embed") else (parts, None)


def _joined(spans: Sequence[range]) -> Spans:
    found: list[range] = []
    for span in spans:
        if found and found[-1].stop == span.start:
            found[-1] = range(found[-1].start, span.stop)
        else:
            found.append(span)
    return tuple(found)


def sliced(checkpoint: Checkpoint, size: str | Sequence[int]) -> Checkpoint:
    """A view of `checkpoint` that reads as the smaller model of that size: see `Slice.of`.

    Closing either closes both. Raises InvalidRequestError for a size that cannot be cut, or a column inside a block
    of a quantised format; UnsupportedModelError for another family; ModelFileError.
    """
    model_type = checkpoint.config.get("model_type")
    if model_type not in _MODEL_TYPES:
        raise UnsupportedModelError(f"{checkpoint.path}: only Gemma 3n can be cut to a size, not {model_type!r}")
    with checkpoint.named_in_errors():
        layers = Layers.from_hf(checkpoint.config.get("text_config", checkpoint.config))
    cut = Slice.of(size, layers)
    if cut.widths == layers.widths:
        return checkpoint
    parts = _parts(checkpoint, cut, layers)
    new_names = {part.stored: name for name, part in parts.items()}
    stored_names = {
        _renumbered(canonical, cut): new_names[stored]
        for canonical, stored in checkpoint.stored_names.items()
        if stored in new_names
    }
    return replace(
        checkpoint,
        config=cut.config(checkpoint.config),
        source=SlicedSource(checkpoint.source, parts),
        stored_names=stored_names,
        metadata=_metadata(checkpoint, cut) if checkpoint.metadata else {},
    )


_LAYER = re.compile(r"((?:language_model\.model\.|model\.language_model\.|model\.|)layers\.|blk\.)(\d+)(\..*)")


def _renumbered(name: str, cut: Slice) -> str:
    """The name of a layer's tensor in the slice; "" where the layer is left out; other names as they are."""
    match = _LAYER.fullmatch(name)
    if match is None:
        return name
    layer = int(match[2])
    return f"{match[1]}{cut.layers.index(layer)}{match[3]}" if layer in cut.layers else ""


@dataclass(frozen=True)
class Part:
    """What is left of a stored tensor; None stands for all rows, or columns."""

    stored: str
    rows: Spans | None = None
    columns: Spans | None = None


def _parts(checkpoint: Checkpoint, cut: Slice, layers: Layers) -> dict[str, Part]:
    """New name -> part, in the order in which the tensors lie in the files; towers are kept whole."""
    canonical = {stored: name for name, stored in checkpoint.stored_names.items()}
    whole, size = Slice(layers.widths), layers.per_layer_size
    parts = {}
    for info in sorted(checkpoint.source.tensors.values(), key=lambda info: (info.path, info.offset)):
        name = _renumbered(info.name, cut)
        if not name:
            continue
        kept = cut.spans(canonical.get(info.name, ""), size)
        for axis, spans in enumerate(whole.spans(canonical.get(info.name, ""), size)):
            if spans is not None and (len(info.shape) != 2 or info.shape[axis] != spans[-1].stop):
                raise ModelFileError(
                    f"{checkpoint.path}: {info.name} has shape {info.shape}; the config promises {spans[-1].stop} "
                    f"{('rows', 'columns')[axis]}"
                )
        _check_blocks(info, kept[1] or ())
        parts[name] = Part(info.name, *kept)
    return parts


def _check_blocks(info: TensorInfo, columns: Spans) -> None:
    block = info.readable().block_elements if columns else 1
    inside = next((edge for span in columns for edge in (span.start, span.stop) if edge % block), None)
    if inside is not None:
        raise InvalidRequestError(
            f"{info.name} is stored as {info.type_name}, in blocks of {block}; column {inside} lies inside one: "
            f"choose widths that {block} divides, or cut the weights before they are quantised"
        )


def _metadata(checkpoint: Checkpoint, cut: Slice) -> dict[str, Any]:
    """GGUF metadata of the slice: counts, and every list that has a value for each layer."""
    found = dict(checkpoint.metadata)
    architecture, config = found["general.architecture"], cut.config(checkpoint.config)
    found.pop("general.size_label", None)
    for key, value in checkpoint.metadata.items():
        listed = key.startswith(f"{architecture}.") and isinstance(value, Sequence) and not isinstance(value, str)
        if listed and len(value) == len(cut.widths):
            kept = [value[layer] for layer in cut.layers]
            found[key] = kept if isinstance(value, list) else type(value)(value.typecode, kept)
    widths = config["intermediate_size"]
    found[f"{architecture}.feed_forward_length"] = widths[0] if len(set(widths)) == 1 else widths
    found[f"{architecture}.block_count"] = len(widths)
    found[f"{architecture}.attention.shared_kv_layers"] = config["num_kv_shared_layers"]
    found[f"{architecture}.attention.sliding_window_pattern"] = [
        kind == "sliding_attention" for kind in config["layer_types"]
    ]
    return found


class SlicedSource:
    """A `TensorSource` of parts of another's tensors; the infos of those that are cut tell no offset to read at."""

    def __init__(self, source: TensorSource, parts: Mapping[str, Part]) -> None:
        self._source, self._parts = source, parts
        self._tensors = {name: _info(name, source.tensors[part.stored], part) for name, part in parts.items()}

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        return self._tensors

    def read_rows(self, name: str, first: int, count: int) -> U8:
        """See `TensorSource.read_rows`."""
        part, info = self._parts[name], self._tensors[name]
        if part.rows is None:
            raw = self._source.read_rows(part.stored, first, count)
        else:
            if first < 0 or count < 0 or first + count > info.shape[0]:
                raise IndexError(f"rows {first} to {first + count - 1} lie outside tensor {name}")
            pieces = [
                self._source.read_rows(part.stored, span.start, len(span)) for span in _within(part.rows, first, count)
            ]
            raw = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        if part.columns is None:
            return raw
        format = info.readable()
        edges = [(format.row_bytes(span.start), format.row_bytes(span.stop)) for span in part.columns]
        return np.concatenate([raw[:, start:stop] for start, stop in edges], axis=1)

    def read_bytes(self, name: str, first: int, count: int) -> bytes:
        """See `TensorSource.read_bytes`; only of tensors that are whole."""
        part = self._parts[name]
        if part.rows is not None or part.columns is not None:
            raise ValueError(f"tensor {name} is cut; read its rows")
        return self._source.read_bytes(part.stored, first, count)

    def place(self, name: str) -> tuple[int, int] | None:
        """See `TensorSource.place`."""
        part, info = self._parts[name], self._tensors[name]
        whole = self._source.place(part.stored)
        if whole is None or part.columns is not None or (part.rows is not None and len(part.rows) > 1):
            return None
        first = part.rows[0].start if part.rows else 0
        return whole[0], whole[1] + first * info.readable().row_bytes(info.columns)

    def table(self, name: str) -> RowTable:
        """See `TensorSource.table`."""
        part = self._parts[name]
        if part.rows is not None:
            raise ValueError(f"tensor {name} is cut by rows; a table is cut by columns alone")
        whole = self._source.tensors[part.stored]
        return RowTable(whole.path, whole.offset, whole.readable(), whole.shape[0], whole.columns, part.columns)

    def expect(self, name: str) -> None:
        """See `TensorSource.expect`."""
        self._source.expect(self._parts[name].stored)

    def close(self) -> None:
        self._source.close()


def _within(spans: Spans, first: int, count: int) -> Spans:
    """The part of `spans`, counted through, from `first` on."""
    found = []
    for span in spans:
        piece = span[max(0, first) : max(0, first + count)]
        if piece:
            found.append(piece)
        first -= len(span)
    return tuple(found) or (spans[0][:0],)


def _info(name: str, whole: TensorInfo, part: Part) -> TensorInfo:
    if part.rows is None and part.columns is None:
        return replace(whole, name=name)
    rows, columns = (
        whole.shape[axis] if spans is None else sum(map(len, spans))
        for axis, spans in enumerate((part.rows, part.columns))
    )
    return replace(
        whole, name=name, shape=(rows, columns), offset=-1, nbytes=rows * whole.readable().row_bytes(columns)
    )
