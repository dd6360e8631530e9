"""What a recorded step tells threads to read ahead."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator

import pytest

from bezel.kernels.tape import READ_AHEAD, Tape

CALL = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p)


def hints(program: bytes) -> Iterator[tuple[int, int]]:
    """Address and bytes that go before each call of a program."""
    at = 0
    while at < len(program):
        arguments, _, address, size = struct.unpack_from("qPPq", program, at)
        yield address, size
        at += 32 + 8 * arguments


def test_the_next_matrix_is_named_while_a_call_runs() -> None:
    programs: list[bytes] = []

    def replay(program: bytes, count: int) -> int:
        programs.append(program)
        return 0 if count == 5 else 1

    function, tape = CALL(lambda _: 0), Tape(replay)
    for arguments, reads in ((b"", (0, 0)), (b"1" * 8, (64, 128)), (b"", (0, 0)), (b"2" * 16, (4096, 10 * READ_AHEAD))):
        tape.add(function, arguments, reads)
    tape.add(function, b"")
    tape.replay()
    assert list(hints(programs[0])) == [(64, 128), (4096, READ_AHEAD), (4096, READ_AHEAD), (0, 0), (0, 0)]


def test_a_step_without_memory_says_so() -> None:
    with pytest.raises(MemoryError):
        Tape(lambda program, count: 1).replay()
