"""Small things that every family reads alike from its config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bezel.errors import ModelFileError

_REQUIRED = object()


def field_of(config: Mapping[str, Any], name: str, kind: type[int] | type[float], default: Any = _REQUIRED) -> Any:
    """A positive number from a config; ModelFileError where it is missing, of another type or not positive."""
    value: Any = config.get(name)
    if value is None and default is not _REQUIRED:
        return default
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind or not value > 0:
        raise ModelFileError(f"config: {name} is {value!r}; a positive {kind.__name__} is needed")
    return value


def embedding_scale(config: Mapping[str, Any]) -> float:
    """sqrt(hidden), rounded to bfloat16 where the checkpoint says that it is one, as Transformers does."""
    scale = np.array([field_of(config, "hidden_size", int)], np.float32) ** np.float32(0.5)
    if (config.get("dtype") or config.get("torch_dtype")) == "bfloat16":
        bits = scale.view(np.uint32)
        scale = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16).view(np.float32)
    return float(scale[0])
