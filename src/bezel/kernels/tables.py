"""Tables that stay on disk: rows are read when token ids name them. See docs/decisions/006-per-layer-embeddings.md."""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bezel.errors import ModelFileError
from bezel.kernels.caller import Caller
from bezel.kernels.formats import dequantize
from bezel.kernels.interface import F32, I32, U8, Format

I64 = NDArray[np.int64]
HOT_ROWS = 256
"""Rows that were read last and stay in memory, about a megabyte of Gemma 3n's at 4 bits."""


class RowTable:
    """A matrix [rows, columns] that stays in its file from `offset` on, in any format; never mapped, never held whole.

    `pieces` says which columns of the stored rows, which have `stored_columns`, it consists of (default: all); both
    ends of each lie between blocks of the format. The file is opened for the table alone and closed with it.
    ModelFileError where it ends before the table does.
    """

    def __init__(
        self,
        path: Path,
        offset: int,
        format: Format,
        rows: int,
        stored_columns: int,
        pieces: Sequence[range] | None = None,
    ) -> None:
        pieces = [range(stored_columns)] if pieces is None else pieces
        self.path, self.offset, self.format, self.rows = path, offset, format, rows
        self.columns = sum(map(len, pieces))
        self.row_bytes, self.stride = format.row_bytes(self.columns), format.row_bytes(stored_columns)
        edges = [(format.row_bytes(piece.start), format.row_bytes(piece.stop)) for piece in pieces]
        self.pieces: I64 = np.array(edges, np.int64)
        self.file = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self.file)
        if offset < 0 or offset + rows * self.stride > os.fstat(self.file).st_size:
            raise ModelFileError(f"{path}: ends inside a table of {rows} rows; download the file again")
        places = max(1, min(HOT_ROWS, rows))
        self.kept: I32 = np.full(places, -1, np.int32)
        self.hot: U8 = np.zeros((places, self.row_bytes), np.uint8)

    def read(self, ids: I32) -> U8:
        """Rows in their format, uint8 [T, row_bytes]; an id behind the table has row 0, as in Transformers."""
        raw = np.empty((len(ids), self.row_bytes), np.uint8)
        for row, id in zip(raw, ids.tolist(), strict=True):
            place, at = self.offset + (id if id < self.rows else 0) * self.stride, 0
            for start, stop in self.pieces.tolist():
                part = row[at : at + stop - start]
                if os.preadv(self.file, [part.data], place + start) != len(part):
                    raise ModelFileError(f"{self.path}: ends inside a table that is in use; download the file again")
                at += len(part)
        return raw


class TablesReference:
    """The part of `Kernels` that reads tables, in NumPy."""

    def expect_rows(self, table: RowTable, ids: I32) -> None:
        pass

    def read_rows(self, table: RowTable, ids: I32, scale: float) -> F32:
        _check_ids(ids)
        return dequantize(table.format, table.read(ids), table.columns) * np.float32(scale)


class TablesNative(Caller):
    """The part of `Kernels` that reads tables, compiled (native/table.c, native/widen.h)."""

    def expect_rows(self, table: RowTable, ids: I32) -> None:
        self._call("expect_rows", *self._place_of(table, ids))

    def read_rows(self, table: RowTable, ids: I32, scale: float) -> F32:
        room, out = self._empty(-(-len(ids) * table.row_bytes // 4)), self._empty(len(ids), table.columns)
        raw = self._at(room)
        self._call("fetch_rows", *self._place_of(table, ids), self._at(table.hot, np.uint8), raw)
        self._call("widen_rows", table.format.type_id, table.columns, raw, len(ids), scale, self._at(out))
        return out

    def _place_of(self, table: RowTable, ids: I32) -> tuple[int, ...]:
        """Which rows of which file, and which of them are in memory: what both calls begin with."""
        _check_ids(ids)
        file = table.file, table.offset, table.rows, table.stride, self._at(table.pieces, np.int64), len(table.pieces)
        return *file, self._at(ids, np.int32), len(ids), self._at(table.kept, np.int32), len(table.kept)


def _check_ids(ids: I32) -> None:
    if len(ids) and int(ids.min()) < 0:
        raise ValueError(f"a table was asked for row {int(ids.min())}")
