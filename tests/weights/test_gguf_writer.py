"""GGUF files written here: both readers give back what went in, and no failure leaves a file behind."""

import errno
import os
from array import array
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bezel.errors import InvalidRequestError, StorageError
from bezel.kernels.formats import dequantize, quantize
from bezel.kernels.interface import Format
from bezel.weights.gguf import GGUFFile
from bezel.weights.gguf_writer import Kind, TensorHeader, Typed, write_gguf

gguf = pytest.importorskip("gguf")
RANGES = {kind: (0, 256 ** (1 << i) - 1) for i, kind in enumerate((Kind.UINT8, Kind.UINT16, Kind.UINT32, Kind.UINT64))}
RANGES |= {
    kind: (-(256 ** (1 << i)) // 2, 256 ** (1 << i) // 2 - 1)
    for i, kind in enumerate((Kind.INT8, Kind.INT16, Kind.INT32, Kind.INT64))
}
ITEMS: dict[Kind, st.SearchStrategy[Any]] = {kind: st.integers(*bounds) for kind, bounds in RANGES.items()} | {
    Kind.FLOAT32: st.floats(width=32, allow_nan=False),
    Kind.FLOAT64: st.floats(allow_nan=False),
    Kind.BOOL: st.booleans(),
    Kind.STRING: st.text(max_size=20),
}
VALUES = st.sampled_from(Kind).flatmap(
    lambda kind: st.one_of(ITEMS[kind], st.lists(ITEMS[kind], min_size=1, max_size=9)).map(lambda v: Typed(kind, v))
)
FORMATS = st.sampled_from([Format.F32, Format.F16, Format.BF16, Format.Q4_0, Format.Q8_0])
NAMES = st.text("abcxyz._0123456789", min_size=1, max_size=30)
SHAPES = st.tuples(st.lists(st.integers(1, 5), max_size=2), st.sampled_from([32, 64, 96])).map(lambda s: (*s[0], s[1]))


def data_of(header: TensorHeader) -> np.ndarray:
    seed = int.from_bytes(header.name.encode()[:8], "little")
    values = np.random.default_rng(seed).normal(0, 1, (header.rows, header.shape[-1])).astype(np.float32)
    return quantize(header.format, values)


def in_chunks(header: TensorHeader) -> Iterator[np.ndarray]:
    data = data_of(header)
    for first in range(0, len(data), 2):
        yield data[first : first + 2]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(NAMES.map("m.{}".format), VALUES, max_size=6),
    st.dictionaries(NAMES, st.tuples(SHAPES, FORMATS), max_size=4),
)
def test_both_readers_give_back_what_was_written(
    tmp_path: Path, metadata: dict[str, Typed], tensors: dict[str, tuple[tuple[int, ...], Format]]
) -> None:
    path = tmp_path / "m.gguf"
    headers = [TensorHeader(name, shape, format) for name, (shape, format) in tensors.items()]
    size = write_gguf(path, {"general.architecture": "gemma3", "flag": True, **metadata}, headers, in_chunks)
    assert path.stat().st_size == size
    ours = GGUFFile.open(path)
    read = {key: list(value) if isinstance(value, array) else value for key, value in ours.metadata.items()}
    assert read == {"general.architecture": "gemma3", "flag": True} | {
        key: typed.value for key, typed in metadata.items()
    }
    assert list(ours.tensors) == list(tensors)
    for header in headers:
        info = ours.tensors[header.name]
        assert (info.shape, info.format) == (header.shape, header.format)
        np.testing.assert_array_equal(ours.read_rows(header.name, 0, header.rows), data_of(header))
    ours.close()
    theirs = gguf.GGUFReader(path)
    for key, typed in metadata.items():
        field = theirs.fields[key]
        assert field.types[-1] == typed.kind and field.contents() == typed.value
    for header, tensor in zip(headers, theirs.tensors, strict=True):
        assert tensor.name == header.name and tuple(tensor.shape)[::-1] == header.shape
        wide = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(header.rows, -1)
        np.testing.assert_array_equal(wide, dequantize(header.format, data_of(header), header.shape[-1]))


HEADER = TensorHeader("t", (6, 32), Format.Q8_0)


@pytest.mark.parametrize(
    "value", [Typed(Kind.UINT8, 256), Typed(Kind.INT32, [1, 1 << 40]), Typed(Kind.STRING, [3]), Typed(Kind.BOOL, 1), 7]
)
def test_metadata_that_do_not_fit_are_named(tmp_path: Path, value: Any) -> None:
    with pytest.raises(InvalidRequestError, match=r"m\.gguf: metadata some\.key"):
        write_gguf(tmp_path / "m.gguf", {"some.key": value}, [], in_chunks)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "headers", [[HEADER, HEADER], [TensorHeader("n" * 64, (32,), Format.F32)], [TensorHeader("n", (), Format.F32)]]
)
def test_headers_that_llama_cpp_could_not_hold_are_refused(tmp_path: Path, headers: list[TensorHeader]) -> None:
    with pytest.raises(InvalidRequestError, match="cannot be written"):
        write_gguf(tmp_path / "m.gguf", {}, headers, in_chunks)


@pytest.mark.parametrize("rows", [5, 7])
def test_too_few_or_too_many_rows_leave_nothing(tmp_path: Path, rows: int) -> None:
    with pytest.raises(ValueError, match=r"t: .*rows"):
        write_gguf(tmp_path / "m.gguf", {}, [HEADER], lambda _: [np.zeros((rows, 34), np.uint8)])
    assert not list(tmp_path.iterdir())


def test_a_failure_keeps_the_file_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"before")

    def stops(header: TensorHeader) -> Iterator[np.ndarray]:
        yield data_of(header)[:2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_gguf(path, {}, [HEADER], stops)
    assert path.read_bytes() == b"before" and list(tmp_path.iterdir()) == [path]


def test_a_disk_that_fills_up_is_named_and_cleaned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int, data: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StorageError, match=r"m\.gguf: \d+ bytes .*No space left.*another folder"):
        write_gguf(tmp_path / "m.gguf", {}, [HEADER], in_chunks)
    assert not list(tmp_path.iterdir())


def test_room_is_checked_before_the_first_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=100))
    with pytest.raises(StorageError, match=r"\d+ bytes cannot be written \(100 bytes are free\)"):
        write_gguf(tmp_path / "m.gguf", {}, [HEADER], lambda _: pytest.fail("no row is asked for"))
    assert not list(tmp_path.iterdir())


def test_folders_that_cannot_be_written_say_why(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="create the folder"):
        write_gguf(tmp_path / "none" / "m.gguf", {}, [HEADER], in_chunks)
    (tmp_path / "m.gguf").mkdir()
    with pytest.raises(StorageError, match="a folder has this name"):
        write_gguf(tmp_path / "m.gguf", {}, [HEADER], in_chunks)


def test_short_writes_are_carried_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: write(handle, data[:7]))
    write_gguf(tmp_path / "m.gguf", {}, [HEADER], in_chunks)
    file = GGUFFile.open(tmp_path / "m.gguf")
    np.testing.assert_array_equal(file.read_rows("t", 0, 6), data_of(HEADER))
    file.close()
