"""`native`: the compiled kernels on each instruction set, those of aarch64 in a process under qemu-user."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bezel.kernels import compiled, library
from bezel.kernels.library import Native
from bezel.testing import instruction_sets

COMPILER, EMULATOR = "aarch64-linux-gnu-gcc", "qemu-aarch64"
FLAGS = ["-std=gnu11", "-O3", "-Wall", "-Wextra", "-Werror", "-Wno-psabi", "-ffp-contract=off"]
SOURCES = Path(library.__file__).parent / "native"
DRIVER = Path(__file__).with_name("native_driver.c")
CAN_EMULATE = bool(shutil.which(COMPILER) and shutil.which(EMULATOR))
# Sets on the oldest processor that has them, where any later instruction is illegal, and on one that has everything.
EMULATED = [("portable", "cortex-a72"), ("neon", "cortex-a76"), ("neon", "max")] if CAN_EMULATE else []
VALUE, BUFFER, AGAIN, TABLE = range(4)
OVERRUN, UNKNOWN = -1, -2


def build_driver(folder: Path) -> Path:
    """Compiles the kernels and their driver for aarch64, once for the sources as they are."""
    names = [f"bezel_{name}_{isa}" for isa in ("portable", "neon") for name in compiled.SIGNATURES]
    declared = "".join(f"int {name}(const Slot *);\n" for name in names)
    listed = "".join(f'    {{"{name}", {name}}},\n' for name in names)
    entry = "const char *name; int (*call)(const Slot *);"
    functions = f"{declared}static const struct {{ {entry} }} functions[] = {{\n{listed}}};\n"
    sources = [*sorted(SOURCES.iterdir()), DRIVER]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources) + functions.encode()).hexdigest()[:16]
    driver = folder / f"driver-{digest}"
    if not driver.exists():
        work = folder / f"{digest}-{os.getpid()}"
        work.mkdir()
        (work / "functions.h").write_text(functions)
        command = [COMPILER, *FLAGS, "-I", str(SOURCES), "-I", str(work)]

        def compile_one(path: Path) -> str:
            object_file = str(work / f"{path.stem}.o")
            subprocess.run([*command, "-c", str(path), "-o", object_file], check=True)
            return object_file

        with ThreadPoolExecutor() as pool:
            objects = list(pool.map(compile_one, [path for path in sources if path.suffix == ".c"]))
        subprocess.run([*command, "-static", *objects, "-o", str(work / "driver"), "-lpthread", "-lm"], check=True)
        (work / "driver").replace(driver)
        shutil.rmtree(work)
    return driver


class Emulated:
    """Stands in for the loaded library: its functions run in a process for another processor.

    `note` is told of every array whose address a kernel will get, since an address alone has no size.
    """

    def __init__(self, driver: Path, processor: str) -> None:
        command = [EMULATOR, "-cpu", processor, str(driver)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._sizes: dict[int, tuple[int, bool]] = {0: (0, False)}
        self.sets = self._read(64).rstrip(b"\0")

    def note(self, address: int, size: int, is_table: bool = False) -> None:
        self._sizes[address] = (size, is_table)

    def bezel_set_threads(self, wanted: int) -> int:
        return self._exchange("bezel_set_threads", [struct.pack("<qq", VALUE, wanted)], [])

    def __getattr__(self, name: str) -> Any:
        if name == "bezel_instruction_sets":
            return partial(lambda: self.sets)  # a partial takes attributes, as functions of ctypes do
        return partial(self._call, name)

    def _call(self, name: str, packed: bytes) -> int:
        codes = compiled.SIGNATURES[name.removeprefix("bezel_").rpartition("_")[0]]
        parts: list[bytes] = []
        buffers: dict[int, int] = {}
        for i, code in enumerate(codes):
            field = packed[8 * i : 8 * i + 8]
            address = int.from_bytes(field, "little") if code == "P" else 0
            size, is_table = self._sizes[address]
            if not address:
                parts.append(struct.pack("<q", VALUE) + field)
            elif is_table:
                tables = np.frombuffer(ctypes.string_at(address, size), np.uint64)
                parts.append(struct.pack("<qq", TABLE, len(tables)))
                parts += [self._buffer(int(table)) for table in tables]
            elif address in buffers:
                parts.append(struct.pack("<qq", AGAIN, buffers[address]))
            else:
                buffers[address] = i
                parts.append(struct.pack("<q", BUFFER) + self._buffer(address))
        return self._exchange(name, parts, list(buffers), len(codes))

    def _buffer(self, address: int) -> bytes:
        size, _ = self._sizes[address]
        return struct.pack("<q", size) + ctypes.string_at(address, size)

    def _exchange(self, name: str, parts: list[bytes], results: list[int], count: int = 1) -> int:
        assert self._process.stdin is not None
        self._process.stdin.write(struct.pack("<48sq", name.encode(), count) + b"".join(parts))
        self._process.stdin.flush()
        (result,) = struct.unpack("<q", self._read(8))
        for address in results:
            size, _ = self._sizes[address]
            ctypes.memmove(address, self._read(size), size)
        assert result not in (OVERRUN, UNKNOWN), f"{name} wrote behind a buffer, or does not exist"
        return int(result)

    def _read(self, size: int) -> bytes:
        assert self._process.stdout is not None
        data = self._process.stdout.read(size)
        assert len(data) == size, f"the emulated process ended with {self._process.poll()}"
        return data

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture(scope="session")
def emulated(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Emulated]]:
    """The kernels in a process for a named processor of qemu's, one process each."""
    if not CAN_EMULATE:
        pytest.skip(f"{COMPILER} and {EMULATOR} are not both here")
    driver = cache(lambda: build_driver(request.config.cache.mkdir("aarch64")))
    started: dict[str, Emulated] = {}

    def start(processor: str) -> Emulated:
        if processor not in started:
            started[processor] = Emulated(driver(), processor)
        return started[processor]

    yield start
    for process in started.values():
        process.close()


HERE: list[tuple[str, str | None]] = [(isa, None) for isa in instruction_sets()]
SETS = [*HERE, *(EMULATED if HERE and not os.environ.get("BEZEL_ISA") else [])]


@pytest.fixture(
    params=SETS or [("missing", None)],
    ids=lambda of: of[0] if of[1] is None else f"{of[0]} on {of[1]}",
)
def native(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Native]:
    """native(threads=None) -> Native, on one instruction set. Without an emulator those of this machine are tested."""
    isa, processor = request.param
    if processor is not None:
        run_elsewhere(request.getfixturevalue("emulated")(processor), monkeypatch)
    return partial(Native, isa=isa)


def run_elsewhere(process: Emulated, monkeypatch: pytest.MonkeyPatch) -> None:
    address_of, strided_of = library._address, library._strided

    def address(array: Any, dtype: Any = np.float32) -> int:
        at = address_of(array, dtype)
        process.note(at, array.nbytes, dtype is np.uint64)
        return at

    def strided(array: Any) -> tuple[int, int]:
        at, stride = strided_of(array)
        process.note(at, 4 * (stride * (len(array) - 1) + array.shape[1] * array.shape[2]))
        return at, stride

    monkeypatch.setattr(compiled, "load", lambda: process)
    monkeypatch.setattr(library, "_address", address)
    monkeypatch.setattr(library, "_strided", strided)
