"""What the library finds on processors that this machine is not: needs a cross compiler and qemu-user."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bezel.kernels import library


@pytest.mark.parametrize(
    ("processor", "sets"), [("cortex-a72", b"portable"), ("cortex-a76", b"portable neon"), ("max", b"portable neon")]
)
def test_aarch64_sets_are_found_by_what_the_processor_has(emulated: Any, processor: str, sets: bytes) -> None:
    assert emulated(processor).sets == sets


def test_a_kernel_that_writes_behind_a_buffer_is_found_out(emulated: Any) -> None:
    process, x = emulated("max"), np.ones(16, np.float32)
    process.note(x.ctypes.data, 32)
    call = library.struct.Struct("PPq").pack(x.ctypes.data, x.ctypes.data, 16)
    with pytest.raises(AssertionError, match="behind a buffer"):
        process.bezel_add_neon(call)
