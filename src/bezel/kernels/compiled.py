"""The compiled library: finding it, choosing an instruction set, and its functions with what each takes."""

from __future__ import annotations

import ctypes
import os
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from bezel.errors import InvalidRequestError, KernelLibraryError

ABI_VERSION = 15

# The arguments of every call, eight bytes each: P an address, q a whole number, d a float.
SIGNATURES = {
    "store": "qqPqqP",
    "load": "qqPqqqqP",
    "linear": "qqqPPqP",
    "embed": "qqPPqdP",
    "rows": "PPqqP",
    "add": "PPq",
    "rms_norm": "PPqqdPq",
    "norm_rope": "PqPqqqdPPP",
    "write_cache": "PPqPPPPqqqqq",
    "attention": "PqPPPPPqqqqqqqddP",
    "geglu": "PqqP",
    "soft_cap": "Pqd",
    "log_sum_exp": "PqP",
    "largest": "PqqP",
    "masked": "PPqP",
    "read": "Pq",
    "store_columns": "qqqPqqP",
    "sparse_mlp": "PPqqqqPqPdP",
    "cut_geglu": "PPqqdP",
    "widen_rows": "qqPqdP",
    "altup_expand": "PPqqqP",
    "altup_predict": "PPPPqqqqdPP",
    "laurel": "PPPPPPPqqqqdPP",
    "altup_correct": "PPPPPPPqqqqdP",
    "altup_inject": "PPPqqqd",
    "altup_split": "PqqqP",
    "altup_merge": "PPqqqP",
    "gelu_gate": "PPqqqq",
    "norm_heads": "PqPqqqd",
    "layer_norm": "PPPqqdP",
    "add_bias": "PPqqq",
    "full_attention": "PPPqqqqqqdP",
    "depthwise": "PPqqqqqqqqqP",
    "windows": "PPqqqqqqqqqP",
    "norm_gelu": "PPqqd",
    "clip": "PqdP",
    "silu": "Pq",
    "glu": "PqqP",
    "cumulative_norm": "PPqqqdP",
    "causal_conv": "PPqqqP",
    "local_attention": "PPPqqqqPPqqdP",
}
# Those that are the same on every instruction set.
PLAIN_SIGNATURES = {"expect_rows": "qqqqPqPqPq", "fetch_rows": "qqqqPqPqPqPP"}


def _path() -> Path:
    named = os.environ.get("BEZEL_KERNELS_LIBRARY")
    if named:
        return Path(named)
    # A package that is installed for editing lies in two places: its sources, and what was built from them.
    for place in resources.files("bezel.kernels").iterdir():
        if place.name == "bezel_kernels.so":
            return Path(str(place))
    raise KernelLibraryError("the compiled kernels are missing; install bezel with: pip install .")


@cache
def load() -> ctypes.CDLL:
    """The compiled library. KernelLibraryError where it is missing, or was built for another version of bezel."""
    path = _path()
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise KernelLibraryError(f"{path}: cannot be loaded ({error}); build it again with: pip install .") from error
    if library.bezel_abi_version() != ABI_VERSION:
        raise KernelLibraryError(f"{path}: was built for another version of bezel; build it again with: pip install .")
    return library


def instruction_sets() -> tuple[str, ...]:
    """Those that this processor can run, plainest first and best last. KernelLibraryError where nothing is built."""
    library = load()
    library.bezel_instruction_sets.restype = ctypes.c_char_p
    return tuple(library.bezel_instruction_sets().decode().split())


def chosen_set(isa: str | None = None) -> str:
    """`isa`, else $BEZEL_ISA, else the best set. InvalidRequestError where this processor cannot run it."""
    usable = instruction_sets()
    isa = isa or os.environ.get("BEZEL_ISA") or usable[-1]
    if isa not in usable:
        raise InvalidRequestError(f"instruction set {isa!r} cannot be used; this processor runs {', '.join(usable)}")
    return isa


def functions_of(isa: str) -> dict[str, Any]:
    """Every kernel by its name, on one instruction set; each takes its arguments packed as its signature says."""
    library = load()
    functions = {name: getattr(library, f"bezel_{name}_{isa}") for name in SIGNATURES}
    functions |= {name: getattr(library, f"bezel_{name}") for name in PLAIN_SIGNATURES}
    for function in functions.values():
        function.argtypes = (ctypes.c_char_p,)
    return functions
