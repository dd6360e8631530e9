"""timm, the oracle of MobileNetV5, imported where torchvision is not: of that it wants at import a few names alone.

Importing this skips a test where timm is not installed.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import pytest
import torch  # noqa: F401  (before anything stands in for what it may look for)

_MODULES = ("", ".datasets", ".ops", ".ops.misc", ".transforms", ".transforms.functional")


class _Modes:
    """Of interpolation."""

    NEAREST, BILINEAR, BICUBIC, BOX, HAMMING, LANCZOS = range(6)


def _named(name: str) -> type:
    if name.startswith("__"):
        raise AttributeError(name)
    return type(name, (), {})


def _stubs() -> dict[str, ModuleType]:
    """Modules in which every name is a class of its own: no tower here is made of any."""
    found: dict[str, Any] = {f"torchvision{name}": ModuleType(f"torchvision{name}") for name in _MODULES}
    for name, module in found.items():
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(found[parent], child, module)
        module.__getattr__ = _named
    found["torchvision.transforms.functional"].InterpolationMode = _Modes
    return found


if find_spec("timm") is None:
    pytest.skip("timm is not installed", allow_module_level=True)
_absent = _stubs() if find_spec("torchvision") is None else {}
sys.modules.update(_absent)
try:
    import timm
    import timm.models.mobilenetv5
    from timm.models._efficientnet_builder import decode_arch_def
finally:
    for _name in _absent:
        del sys.modules[_name]

__all__ = ["TINY", "decode_arch_def", "model_args", "seeing", "timm"]


def seeing(patch: pytest.MonkeyPatch) -> None:
    """Let Transformers use timm, which it does not where torchvision is not."""
    from transformers.models.gemma3n import configuration_gemma3n
    from transformers.models.timm_wrapper import modeling_timm_wrapper

    patch.setattr(modeling_timm_wrapper, "timm", timm, raising=False)
    for module in (configuration_gemma3n, modeling_timm_wrapper):
        patch.setattr(module, "requires_backends", lambda *_: None)


TINY = [
    ["er_r1_k3_s2_e4_c16", "er_r1_k3_s1_e2_c16"],
    ["uir_r1_a3_k5_s2_e6_c32", "uir_r1_a5_k0_s1_e4_c32"],
    ["uir_r1_a5_k5_s2_e4_c64", "uir_r1_a0_k0_s1_e1_c64", "mqa_r1_k3_h3_v2_s1_d32_c64", "uir_r1_a0_k3_s1_e2_c64"],
    ["uir_r1_a3_k0_s2_e2_c96", "mqa_r1_k3_h2_s1_d64_c96", "uir_r1_a0_k0_s1_e2_c96"],
]
"""A tower with every mechanism of the true one: both residuals with and without what they may have, keys of all places
and of fewer, strides of 2 in either convolution, and two scales to fuse."""


def model_args(side: int = 4) -> dict[str, Any]:
    """What makes timm build the tiny tower, with side * side places at its end; timm uses it up."""
    return {"block_args": decode_arch_def(TINY), "stem_size": 24, "msfa_output_resolution": side}
