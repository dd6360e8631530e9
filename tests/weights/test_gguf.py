"""GGUF files: what the gguf package writes is read, and what is wrong is named."""

import struct
from pathlib import Path

import numpy as np
import pytest

from bezel.errors import BezelError, ModelFileError, UnsupportedModelError
from bezel.kernels.formats import quantize
from bezel.kernels.interface import Format
from bezel.weights.gguf import GGUFFile

gguf = pytest.importorskip("gguf")
WEIGHTS = np.random.default_rng(0).normal(0, 1, (6, 64)).astype(np.float32)


def write(path: Path, name: str = "blk.0.attn_q.weight", format: Format = Format.Q8_0) -> Path:
    writer = gguf.GGUFWriter(path, "gemma3")
    writer.add_block_count(3)
    writer.add_token_list(["<bos>", "é", "日本"])
    writer.add_token_scores([0.0, -1.5, 2.0])
    writer.add_array("flags", [True, False])
    writer.add_bool("add", True)
    writer.add_float64("d", 0.1)
    raw = quantize(format, WEIGHTS)
    writer.add_tensor(name, raw, raw_dtype=gguf.GGMLQuantizationType[format.name])
    writer.add_tensor("norm", WEIGHTS[0])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("format", [Format.Q8_0, Format.Q4_0, Format.BF16, Format.F16])
def test_metadata_and_rows_come_back_as_written(tmp_path: Path, format: Format) -> None:
    file = GGUFFile.open(write(tmp_path / "m.gguf", format=format))
    assert file.metadata["gemma3.block_count"] == 3
    assert file.metadata["tokenizer.ggml.tokens"] == ["<bos>", "é", "日本"]
    assert list(file.metadata["tokenizer.ggml.scores"]) == [0.0, -1.5, 2.0]
    assert file.metadata["flags"] == [True, False] and file.metadata["add"] is True
    assert file.metadata["d"] == 0.1
    info = file.tensors["blk.0.attn_q.weight"]
    assert (info.shape, info.format) == ((6, 64), format)
    np.testing.assert_array_equal(file.read_rows(info.name, 2, 3), quantize(format, WEIGHTS[2:5]))
    np.testing.assert_array_equal(file.read_rows("norm", 0, 1), quantize(Format.F32, WEIGHTS[:1]))
    file.close()


def test_shards_are_found_beside_the_one_named(tmp_path: Path) -> None:
    for i in (1, 2):
        write(tmp_path / f"m-0000{i}-of-00002.gguf", f"t{i}")
    with pytest.raises(ModelFileError, match="tensor norm stands twice"):
        GGUFFile.open(tmp_path / "m-00002-of-00002.gguf")
    (tmp_path / "m-00001-of-00002.gguf").unlink()
    with pytest.raises(ModelFileError, match=r"m-00001-of-00002\.gguf: this file of the checkpoint is missing"):
        GGUFFile.open(tmp_path / "m-00002-of-00002.gguf")


def string(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def header(tensors: int = 0, keys: int = 0, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, keys)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "magic number"),
        (b"PK\x03\x04", "not a GGUF file"),
        (header(version=9), "version 9"),
        (header(keys=1), "a metadata key needs 8 bytes"),
        (header(keys=1) + struct.pack("<Q", 1 << 62), "are allowed"),
        (header(keys=1) + string(b"\xff"), "not UTF-8"),
        (header(keys=1) + string(b"k") + struct.pack("<I", 99), "unknown type 99"),
        (header(keys=1) + string(b"k") + struct.pack("<IIQ", 9, 8, 1 << 60), "promises"),
        (header(keys=1) + string(b"k") + struct.pack("<IIQ", 9, 4, 1 << 60), "are left"),
        (header(keys=1) + string(b"k") + struct.pack("<IIQ", 9, 9, 1), "cannot be"),
        (header(keys=1) + string(b"k") + struct.pack("<IB", 7, 3), "neither true nor false"),
        (header(keys=2) + 2 * (string(b"k") + struct.pack("<IB", 0, 3)), "stands twice"),
        (header(1) + string(b"t") + struct.pack("<I", 7), "7 dimensions"),
        (header(1) + string(b"t") + struct.pack("<IQQQIQ", 3, 1 << 62, 1 << 62, 1 << 62, 0, 0), "ends behind"),
        (header(1) + string(b"t") + struct.pack("<IQIQ", 1, 4, 0, 1 << 63), "ends behind"),
        (header(1) + string(b"t") + struct.pack("<IQIQ", 1, 33, 8, 0), "Q8_0 blocks"),
    ],
)
def test_hostile_headers_name_what_is_wrong(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(data)
    with pytest.raises(BezelError, match=message) as caught:
        GGUFFile.open(path)
    assert "m.gguf" in str(caught.value)


def test_overlapping_tensors_are_refused(tmp_path: Path) -> None:
    tensor = struct.pack("<IQIQ", 1, 4, 0, 0)
    (tmp_path / "m.gguf").write_bytes(header(2) + string(b"a") + tensor + string(b"b") + tensor + bytes(200))
    with pytest.raises(ModelFileError, match="overlaps"):
        GGUFFile.open(tmp_path / "m.gguf")


def test_a_type_without_a_reader_is_refused_when_read(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(header(1) + string(b"t") + struct.pack("<IQIQ", 1, 256, 16, 0) + bytes(500))
    file = GGUFFile.open(tmp_path / "m.gguf")
    with pytest.raises(UnsupportedModelError, match="tensor t is stored as type 16"):
        file.read_rows("t", 0, 1)
