"""What a folder of the sentence-transformers library has beside a model: how rows become an embedding, and prompts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bezel.errors import ModelFileError, UnsupportedModelError
from bezel.kernels.formats import dequantize
from bezel.kernels.interface import F32
from bezel.weights.checkpoint import read_json, read_json_of
from bezel.weights.safetensors import SafetensorsFolder

MODULES = "modules.json"
_KINDS = ("Transformer", "Pooling", "Dense", "Normalize")
_LARGEST = 1 << 16  # rows and columns of a dense layer


def prompts(folder: Path) -> dict[str, str]:
    """What stands in front of a text for each task, by the task's name; empty where the folder says nothing."""
    file = folder / "config_sentence_transformers.json"
    found: Any = read_json(file).get("prompts") if file.exists() else None
    if found is None:
        return {}
    if not isinstance(found, Mapping) or not all(isinstance(text, str) for text in found.values()):
        raise ModelFileError(f"{file}: prompts is no object of texts; download it again")
    return dict(found)


def frames(folder: Path) -> tuple[bool, bool]:
    """Whether <bos> stands before a text, and <eos> behind it, by `tokenizer_config.json`; both where it is silent."""
    file = folder / "tokenizer_config.json"
    config = read_json(file) if file.exists() else {}
    return config.get("add_bos_token") is not False, config.get("add_eos_token") is not False


def dense_layers(folder: Path, hidden: int) -> list[F32]:
    """The matrices float32 [out, in] behind the mean of rows of `hidden` numbers; none where the folder lists none.

    Raises ModelFileError, and UnsupportedModelError for a way to an embedding that is not theirs: a mean, matrices
    without anything between, and unit length.
    """
    file = folder / MODULES
    if not file.exists():
        return []
    found: list[F32] = []
    width = hidden
    for path, kind in _modules(file):
        place = folder / path
        if kind == "Pooling":
            _check_mean(place / "config.json")
        elif kind == "Dense":
            found.append(_dense(place, width))
            width = len(found[-1])
    return found


def _modules(file: Path) -> list[tuple[str, str]]:
    listed: list[Any] = read_json_of(list, file)
    modules = []
    for each in listed:
        path, kind = (each.get("path"), each.get("type")) if isinstance(each, Mapping) else (None, None)
        if not isinstance(path, str) or not isinstance(kind, str):
            raise ModelFileError(f"{file}: a module has no path or type; download it again")
        name = kind.rpartition(".")[2]
        if name not in _KINDS:
            raise UnsupportedModelError(f"{file}: a module of type {kind} is not known; known are {', '.join(_KINDS)}")
        if path and (Path(path).name != path or path == ".."):
            raise ModelFileError(f"{file}: the module {path!r} lies outside of its folder")
        modules.append((path, name))
    return modules


def _check_mean(file: Path) -> None:
    config = read_json(file)
    modes = {name for name, on in config.items() if name.startswith("pooling_mode_") and on is True}
    if modes - {"pooling_mode_mean_tokens"}:
        raise UnsupportedModelError(f"{file}: rows are pooled by {', '.join(sorted(modes))}; known is their mean")


def _dense(folder: Path, width: int) -> F32:
    config = read_json(folder / "config.json")
    activation = config.get("activation_function", "torch.nn.modules.linear.Identity")
    if not str(activation).endswith(".Identity") or config.get("bias"):
        raise UnsupportedModelError(f"{folder / 'config.json'}: a dense layer with a bias or activation is not known")
    source = SafetensorsFolder.open(folder)
    try:
        info = source.tensors.get("linear.weight")
        if info is None or len(info.shape) != 2 or info.shape[1] != width or max(info.shape) > _LARGEST:
            shape = info.shape if info else "no"
            raise ModelFileError(f"{folder}: linear.weight has shape {shape}; it must take rows of {width} numbers")
        raw = source.read_rows("linear.weight", 0, info.shape[0])
        return np.ascontiguousarray(dequantize(info.readable(), raw, width))
    finally:
        source.close()
