"""Which blocks a MobileNetV5 is made of: Gemma 3n's own, or what a config tells timm to build instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any

from bezel.errors import ModelFileError, UnsupportedModelError

ARCHITECTURE = "mobilenetv5_300m_enc"
WIDTH = 2048
"""Channels that every MobileNetV5 encoder ends in."""
DIVISOR = 8
"""Of every count of channels."""


@dataclass(frozen=True)
class Edge:
    """An edge residual: a whole convolution that widens, and a product that narrows again."""

    channels: int
    expansion: int = 4
    kernel: int = 3
    stride: int = 1


@dataclass(frozen=True)
class Inverted:
    """A universal inverted residual: depthwise convolutions of size `start` and `middle`, 0 where there is none."""

    channels: int
    expansion: int
    start: int = 0
    middle: int = 0
    stride: int = 1


@dataclass(frozen=True)
class Attending:
    """Multi-query attention; keys and values are of every `reduction`-th place, each way, where that is over 1."""

    channels: int
    heads: int
    head_dim: int
    reduction: int = 1
    kernel: int = 3
    stride: int = 1


Block = Edge | Inverted | Attending


def _attended(count: int, attending: Attending) -> tuple[Block, ...]:
    return tuple(chain.from_iterable(repeat((attending, Inverted(attending.channels, 2)), count)))


@dataclass(frozen=True)
class Layout:
    """The stem's channels, the blocks by stages, the stages whose ends are fused, and the fused image's side.

    The first block of every stage halves the image.
    """

    stem: int = 64
    stages: tuple[tuple[Block, ...], ...] = (
        (Edge(128, stride=2), Edge(128), Edge(128)),
        (Inverted(256, 6, 3, 5, stride=2), *(Inverted(256, 4, start) for start in (5, 3, 5, 3))),
        (
            Inverted(640, 6, 5, 5, stride=2),
            *repeat(Inverted(640, 4, 5), 7),
            Inverted(640, 1),
            *_attended(14, Attending(640, 12, 64, reduction=2)),
        ),
        (Inverted(1280, 6, 5, 5, stride=2), *_attended(19, Attending(1280, 16, 96))),
    )
    fused: tuple[int, ...] = (2, 3)
    side: int = 16

    @classmethod
    def from_hf(cls, config: Mapping[str, Any]) -> Layout:
        """Read a `vision_config`: its `architecture`, and what `model_args` tells timm, in timm's names.

        Raises ModelFileError for what cannot be, UnsupportedModelError for what timm could build and this does not.
        """
        if (found := config.get("architecture", ARCHITECTURE)) != ARCHITECTURE:
            raise UnsupportedModelError(f"config: image towers of the architecture {found!r} are unknown here")
        given = config.get("model_args") or {}
        if not isinstance(given, Mapping) or not given.keys() <= _READERS.keys():
            raise UnsupportedModelError(f"config: model_args {given!r} are not understood; known are {list(_READERS)}")
        given = {"msfa_indices": (-2, -1), **given}
        layout = cls(**{field: read(given[name]) for name, (field, read) in _READERS.items() if name in given})
        places = [place if place >= 0 else place + len(layout.stages) for place in layout.fused]
        if not places or sorted({*places}) != places or not 0 <= places[0] <= places[-1] < len(layout.stages):
            raise ModelFileError(f"config: stages {list(layout.fused)} of {len(layout.stages)} cannot be fused so")
        return cls(layout.stem, layout.stages, tuple(places), layout.side)


_KINDS: dict[str, tuple[type[Block], dict[str, str]]] = {
    "er": (Edge, {"exp_ratio": "expansion", "exp_kernel_size": "kernel"}),
    "uir": (Inverted, {"exp_ratio": "expansion", "dw_kernel_size_start": "start", "dw_kernel_size_mid": "middle"}),
    "mqa": (
        Attending,
        {"num_heads": "heads", "key_dim": "head_dim", "kv_stride": "reduction", "dw_kernel_size": "kernel"},
    ),
}
_SHARED = {"out_chs": "channels", "stride": "stride"}
_USUAL = {"act_layer": None, "pw_kernel_size": 1, "force_in_chs": 0, "se_ratio": 0, "noskip": False}
_USUAL |= {"dw_kernel_size_end": 0}


def _stages(given: Any) -> tuple[tuple[Block, ...], ...]:
    if not isinstance(given, Sequence) or not 1 <= len(given) <= 4 or not all(given):
        raise ModelFileError("config: block_args holds no 1 to 4 stages of blocks")
    stages = tuple(tuple(map(_block, stage)) for stage in given)
    if any([block.stride for block in stage] != [2] + [1] * (len(stage) - 1) for stage in stages):
        raise UnsupportedModelError("config: block_args has a stage that is not halved by its first block alone")
    return stages


def _block(given: Any) -> Block:
    name = given.get("block_type") if isinstance(given, Mapping) else None
    if name not in _KINDS:
        raise UnsupportedModelError(f"config: a block {given!r} is unknown; known are {', '.join(_KINDS)}")
    kind, own = _KINDS[name]
    fields = own | _SHARED
    rest = {field: value for field, value in given.items() if field not in fields and field != "block_type"}
    usual = _USUAL | {"value_dim": given.get("key_dim")}
    if odd := [field for field, value in rest.items() if field not in usual or value != usual[field]]:
        raise UnsupportedModelError(f"config: {odd[0]} {rest[odd[0]]!r} of a block {name} is unknown")
    values = {ours: given.get(theirs) for theirs, ours in fields.items()}
    least = {"start": 0, "middle": 0}
    for field, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
            raise ModelFileError(f"config: {field} of a block {name} is {value!r}; a whole number is due")
        if value < least.get(field, 1) or (field == "channels" and value % DIVISOR):
            raise ModelFileError(f"config: {field} of a block {name} cannot be {value!r}")
    return kind(**{field: int(value) for field, value in values.items()})


def _count(value: Any) -> int:
    if type(value) is not int or value < 1:
        raise ModelFileError(f"config: model_args has {value!r} where a positive whole number is due")
    return value


def _fused(value: Any) -> tuple[int, ...]:
    if not isinstance(value, Sequence) or not all(type(place) is int and place for place in value):
        raise ModelFileError(f"config: msfa_indices is {value!r}; numbers of stages are due, from 1 or from the end")
    return tuple(place - 1 if place > 0 else place for place in value)


_READERS: dict[str, tuple[str, Any]] = {
    "block_args": ("stages", _stages),
    "stem_size": ("stem", _count),
    "msfa_indices": ("fused", _fused),
    "msfa_output_resolution": ("side", _count),
}
