"""Rows of a table that stays on disk, in every format, whoever reads them."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest

from bezel.errors import ModelFileError
from bezel.kernels.formats import dequantize, quantize
from bezel.kernels.interface import Format
from bezel.kernels.library import Native
from bezel.kernels.reference import Reference
from bezel.kernels.tables import HOT_ROWS, RowTable
from bezel.testing import instruction_sets

SETS = instruction_sets()
KERNELS = [Reference(), *(Native(2, isa) for isa in SETS)]
EVERY_KERNEL = pytest.mark.parametrize("kernels", KERNELS, ids=["reference", *SETS])
COLUMNS, OFFSET = 512, 37


def raw_rows(format: Format, rows: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    if format in (Format.Q5_0, Format.Q4_K, Format.Q5_K, Format.Q6_K):
        blocks = rng.integers(0, 256, (rows * COLUMNS // format.block_elements, format.block_bytes), np.uint8)
        for offset in {Format.Q5_0: (0,), Format.Q6_K: (208,)}.get(format, (0, 2)):
            blocks[:, offset : offset + 2] = rng.random((len(blocks), 1)).astype(np.float16).view(np.uint8)
        return blocks.reshape(rows, -1)
    return quantize(format, rng.standard_normal((rows, COLUMNS)).astype(np.float32))


def written(path: Path, raw: np.ndarray) -> Path:
    path.write_bytes(bytes(OFFSET) + raw.tobytes())
    return path


@EVERY_KERNEL
@pytest.mark.parametrize("format", list(Format))
def test_rows_are_those_of_the_file(tmp_path: Path, kernels: Reference | Native, format: Format) -> None:
    rows = HOT_ROWS + 40  # so that rows share places in memory
    raw = raw_rows(format, rows)
    table = RowTable(written(tmp_path / "t", raw), OFFSET, format, rows, COLUMNS)
    wide = dequantize(format, raw, COLUMNS) * np.float32(1.5)
    rng = np.random.default_rng(2)
    for count in (1, 7, 300, 0):
        ids = rng.choice([0, 3, HOT_ROWS + 3, rows - 1, rows, rows + 9], count).astype(np.int32)
        kernels.expect_rows(table, ids)
        np.testing.assert_array_equal(kernels.read_rows(table, ids, 1.5), wide[np.where(ids < rows, ids, 0)])
    with pytest.raises(ValueError, match="row -1"):
        kernels.read_rows(table, np.array([-1], np.int32), 1.0)


@EVERY_KERNEL
@pytest.mark.parametrize("format", [Format.BF16, Format.Q4_0])
def test_a_table_may_be_some_columns_of_what_is_stored(
    tmp_path: Path, kernels: Reference | Native, format: Format
) -> None:
    raw, pieces = raw_rows(format, 9), [range(0, 32), range(96, 160), range(480, 512)]
    table = RowTable(written(tmp_path / "t", raw), OFFSET, format, 9, COLUMNS, pieces)
    columns = np.concatenate([np.array(piece) for piece in pieces])
    ids = np.array([8, 0, 4], np.int32)
    wanted = dequantize(format, raw, COLUMNS)[ids][:, columns]
    np.testing.assert_array_equal(kernels.read_rows(table, ids, 1.0), wanted)


@EVERY_KERNEL
def test_a_file_that_has_shrunk_is_noticed(tmp_path: Path, kernels: Reference | Native) -> None:
    path = written(tmp_path / "t", raw_rows(Format.F16, 9))
    table = RowTable(path, OFFSET, Format.F16, 9, COLUMNS)
    os.truncate(path, path.stat().st_size - 1)
    kernels.read_rows(table, np.array([7], np.int32), 1.0)
    with pytest.raises(ModelFileError, match=r"download|load"):
        kernels.read_rows(table, np.array([8], np.int32), 1.0)
    with pytest.raises(ModelFileError, match="ends inside a table of 9 rows"):
        RowTable(path, OFFSET, Format.F16, 9, COLUMNS)


@pytest.mark.skipif(not SETS, reason="the compiled kernels are not built")
def test_a_replay_reads_the_rows_of_its_own_ids(tmp_path: Path) -> None:
    raw, kernels = raw_rows(Format.Q8_0, 20), Native(1)
    path = written(tmp_path / "t", raw)
    table, ids = RowTable(path, OFFSET, Format.Q8_0, 20, COLUMNS), np.array([3, 4], np.int32)
    with kernels.record() as tape:
        rows = kernels.read_rows(table, ids, 1.0)
    ids[:] = 19, 0
    tape.replay()
    np.testing.assert_array_equal(rows, dequantize(Format.Q8_0, raw[[19, 0]], COLUMNS))
    os.truncate(path, OFFSET)
    ids[:] = 5
    with pytest.raises(ModelFileError, match="changed"):
        tape.replay()


@pytest.mark.skipif(not SETS, reason="the compiled kernels are not built")
def test_threads_may_read_one_table_at_once(tmp_path: Path) -> None:
    rows = 4 * HOT_ROWS
    raw, kernels, wrong = raw_rows(Format.F32, rows), Native(1), []
    table = RowTable(written(tmp_path / "t", raw), OFFSET, Format.F32, rows, COLUMNS)
    wide = dequantize(Format.F32, raw, COLUMNS)

    def read(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(200):
            ids = (rng.integers(0, 4, 8) * HOT_ROWS + rng.integers(0, 3, 8)).astype(np.int32)
            if not np.array_equal(kernels.read_rows(table, ids, 1.0), wide[ids]):
                wrong.append(ids)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_table_closes_its_file(tmp_path: Path) -> None:
    table = RowTable(written(tmp_path / "t", raw_rows(Format.F16, 2)), OFFSET, Format.F16, 2, COLUMNS)
    file = table.file
    os.fstat(file)
    del table
    with pytest.raises(OSError):
        os.fstat(file)
