"""Safetensors folders: what the library writes is read, and what is wrong is named."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from bezel.errors import ModelFileError, UnsupportedModelError
from bezel.kernels.formats import dequantize
from bezel.kernels.interface import Format
from bezel.weights.safetensors import SafetensorsFolder

library = pytest.importorskip("safetensors.numpy")
A = np.arange(12, dtype=np.float32).reshape(4, 3)
B = np.array([1.5, -2], np.float16)


def write(path: Path, header: object, data: bytes = b"") -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def entry(**changes: object) -> dict[str, object]:
    return {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes


def test_rows_come_back_as_written(tmp_path: Path) -> None:
    library.save_file({"a": A, "b": B, "n": np.arange(3)}, tmp_path / "model.safetensors")
    source = SafetensorsFolder.open(tmp_path)
    raw = source.read_rows("a", 1, 2)
    np.testing.assert_array_equal(dequantize(Format.F32, raw, 3), A[1:3])
    np.testing.assert_array_equal(dequantize(Format.F16, source.read_rows("b", 0, 1), 2)[0], B)
    with pytest.raises(UnsupportedModelError, match=r"model\.safetensors: tensor n is stored as I64"):
        source.read_rows("n", 0, 1)
    with pytest.raises(IndexError, match="outside tensor a"):
        source.read_rows("a", 3, 2)
    source.close()


def shards(folder: Path) -> Path:
    library.save_file({"a": A}, folder / "one.safetensors")
    library.save_file({"b": B}, folder / "two.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}))
    return index


def test_shards_are_joined(tmp_path: Path) -> None:
    shards(tmp_path)
    source = SafetensorsFolder.open(tmp_path)
    assert source.tensors["b"].path.name == "two.safetensors"
    assert source.read_rows("a", 0, 4).nbytes == A.nbytes
    source.close()


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    shards(tmp_path)
    (tmp_path / "two.safetensors").unlink()
    with pytest.raises(ModelFileError, match=r"two\.safetensors: this file of the checkpoint is missing"):
        SafetensorsFolder.open(tmp_path)


@pytest.mark.parametrize("shard", ["../one.safetensors", "/etc/passwd", "", ".."])
def test_shards_stay_in_their_folder(tmp_path: Path, shard: str) -> None:
    shards(tmp_path).write_text(json.dumps({"weight_map": {"a": shard}}))
    with pytest.raises(ModelFileError, match="outside the folder"):
        SafetensorsFolder.open(tmp_path)


def test_an_index_that_promises_too_much_is_refused(tmp_path: Path) -> None:
    shards(tmp_path).write_text(json.dumps({"weight_map": {"c": "one.safetensors"}}))
    with pytest.raises(ModelFileError, match=r"tensor c is not in one\.safetensors"):
        SafetensorsFolder.open(tmp_path)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ([], "not an object"),
        (b"{", "not valid JSON"),
        (b'{"x": "\xff"}', "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"x": 1, "x": 2}', "stands twice"),
        ({"x": 7}, "tensor x: its entry"),
        ({"x": entry(dtype="Q9")}, "dtype 'Q9' is unknown"),
        ({"x": entry(dtype=["F32"])}, "is unknown"),
        ({"x": entry(shape=[-2])}, "not lists of sizes"),
        ({"x": entry(shape=[2.0])}, "not lists of sizes"),
        ({"x": entry(shape=[True])}, "not lists of sizes"),
        ({"x": entry(data_offsets=[0])}, "not lists of sizes"),
        ({"x": entry(shape=[1 << 62, 4])}, "do not lie where"),
        ({"x": entry(shape=[3], data_offsets=[0, 12])}, "do not lie where"),
        ({"x": entry(), "y": entry(data_offsets=[0, 8])}, "overlaps another"),
    ],
)
def test_bad_headers_name_what_is_wrong(tmp_path: Path, header: object, message: str) -> None:
    write(tmp_path / "model.safetensors", header, bytes(8))
    with pytest.raises(ModelFileError, match=message):
        SafetensorsFolder.open(tmp_path)


@pytest.mark.parametrize("data", [b"", b"\x01", struct.pack("<Q", 1 << 60), struct.pack("<Q", 9) + b"{}"])
def test_truncated_files_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(data)
    with pytest.raises(ModelFileError, match="does not fit a file"):
        SafetensorsFolder.open(tmp_path)


def test_an_empty_folder_says_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"neither model\.safetensors nor"):
        SafetensorsFolder.open(tmp_path)
