"""Files and batches in SQLite: what was accepted is there after any crash, and a line's result is written once."""

from __future__ import annotations

import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from bezel.errors import StorageError

_TABLES = """
CREATE TABLE IF NOT EXISTS files (
    place INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, owner TEXT NOT NULL, name TEXT NOT NULL,
    purpose TEXT NOT NULL, created INTEGER NOT NULL, size INTEGER NOT NULL, content BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS batches (
    place INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, owner TEXT NOT NULL, endpoint TEXT NOT NULL,
    input TEXT NOT NULL, metadata TEXT NOT NULL, created INTEGER NOT NULL, status TEXT NOT NULL,
    total INTEGER NOT NULL DEFAULT 0, completed INTEGER NOT NULL DEFAULT 0, failed INTEGER NOT NULL DEFAULT 0,
    started INTEGER, cancelling INTEGER, ended INTEGER, output TEXT, failures TEXT, errors TEXT,
    bytes INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS lines (
    batch TEXT NOT NULL, number INTEGER NOT NULL, custom_id TEXT NOT NULL, body BLOB NOT NULL,
    result BLOB, good INTEGER, PRIMARY KEY (batch, number)
) WITHOUT ROWID;
"""
OPEN = ("validating", "in_progress", "cancelling")
"""States of batches that have not ended."""


@dataclass(frozen=True)
class File:
    """What is known of a file; `created` is a Unix time."""

    id: str
    name: str
    purpose: str
    created: int
    size: int


@dataclass(frozen=True)
class Batch:
    """What is known of a batch; times are Unix times. `metadata` and `errors` are JSON."""

    id: str
    owner: str
    endpoint: str
    input: str
    metadata: str
    created: int
    status: str
    total: int
    completed: int
    failed: int
    started: int | None
    cancelling: int | None
    ended: int | None
    output: str | None
    failures: str | None
    errors: str | None


_FILE = ", ".join(field.name for field in fields(File))
_BATCH = ", ".join(field.name for field in fields(Batch))


class BatchStore:
    """One process at a time has a folder open. At most `most` bytes are kept.

    Every method raises StorageError where the folder cannot be used or is full; what it should have done is undone.
    """

    def __init__(self, folder: Path, most: int) -> None:
        self._folder, self._most, self._lock = folder, most, threading.Lock()
        path = folder / "batches.sqlite3"
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # before SQLite makes it readable to all
            self._base = sqlite3.connect(path, timeout=1.0, check_same_thread=False, isolation_level=None)
            # Held until the process ends, however it ends: two servers would do the same lines.
            for pragma in ("locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=FULL"):
                self._base.execute(f"PRAGMA {pragma}").close()
            self._base.executescript(_TABLES).close()
        except (OSError, sqlite3.Error) as error:
            raise StorageError(
                f"{folder}: batches cannot be kept there ({error}); end the other server that does, or name another "
                "--batch-folder"
            ) from None

    def add_file(self, owner: str, name: str, purpose: str, content: bytes) -> File:
        """Keep a file."""
        with self._changing() as base:
            self._check_room(base, len(content))
            return _put_file(base, owner, name, purpose, content)

    def file(self, owner: str, identity: str) -> File | None:
        """A file of an owner."""
        rows = self._rows(f"SELECT {_FILE} FROM files WHERE owner = ? AND id = ?", owner, identity)
        return File(*rows[0]) if rows else None

    def content(self, owner: str, identity: str) -> bytes | None:
        """The bytes of a file."""
        rows = self._rows("SELECT content FROM files WHERE owner = ? AND id = ?", owner, identity)
        return bytes(rows[0][0]) if rows else None

    def files(
        self, owner: str, after: str | None, limit: int, purpose: str | None = None, oldest: bool = False
    ) -> list[File]:
        """The owner's files, the latest or `oldest` first, behind `after`; those of a purpose, where one is named."""
        return [File(*row) for row in self._page("files", _FILE, owner, after, limit, purpose, oldest)]

    def delete_file(self, owner: str, identity: str) -> bool:
        """Whether there was such a file."""
        with self._changing() as base:
            return base.execute("DELETE FROM files WHERE owner = ? AND id = ?", (owner, identity)).rowcount > 0

    def add(self, owner: str, endpoint: str, input_file: str, metadata: str) -> Batch:
        """Keep a batch, to be validated."""
        identity = f"batch_{secrets.token_hex(12)}"
        with self._changing() as base:
            base.execute(
                "INSERT INTO batches (id, owner, endpoint, input, metadata, created, status) "
                "VALUES (?, ?, ?, ?, ?, ?, 'validating')",
                (identity, owner, endpoint, input_file, metadata, int(time.time())),
            )
        return self.named(identity)

    def named(self, identity: str) -> Batch:
        """A batch that there is."""
        return Batch(*self._rows(f"SELECT {_BATCH} FROM batches WHERE id = ?", identity)[0])

    def batch(self, owner: str, identity: str) -> Batch | None:
        """A batch of an owner."""
        rows = self._rows(f"SELECT {_BATCH} FROM batches WHERE owner = ? AND id = ?", owner, identity)
        return Batch(*rows[0]) if rows else None

    def batches(self, owner: str, after: str | None, limit: int) -> list[Batch]:
        """The owner's batches, the latest first, behind `after`."""
        return [Batch(*row) for row in self._page("batches", _BATCH, owner, after, limit)]

    def unfinished(self, owner: str | None = None) -> list[Batch]:
        """Those that have not ended, the oldest first; of all owners where none is named."""
        rows = self._rows(f"SELECT {_BATCH} FROM batches WHERE status IN (?, ?, ?) ORDER BY place", *OPEN)
        return [batch for batch in (Batch(*row) for row in rows) if owner in (None, batch.owner)]

    def begin(self, identity: str, lines: Sequence[tuple[str, bytes]]) -> None:
        """A batch is valid and has these lines, each a custom id and a body."""
        size = sum(len(body) for _, body in lines)
        with self._changing() as base:
            self._check_room(base, size)
            rows = [(identity, number, custom, body) for number, (custom, body) in enumerate(lines)]
            base.executemany("INSERT INTO lines (batch, number, custom_id, body) VALUES (?, ?, ?, ?)", rows)
            base.execute(
                "UPDATE batches SET status = 'in_progress', total = ?, started = ?, bytes = ? "
                "WHERE id = ? AND status = 'validating'",
                (len(lines), int(time.time()), size, identity),
            )

    def pending(self, identity: str) -> list[int]:
        """Numbers of the lines that have no result yet."""
        return [
            row[0]
            for row in self._rows(
                "SELECT number FROM lines WHERE batch = ? AND result IS NULL ORDER BY number", identity
            )
        ]

    def line(self, identity: str, number: int) -> tuple[str, bytes]:
        """Custom id and body of a line."""
        custom, body = self._rows("SELECT custom_id, body FROM lines WHERE batch = ? AND number = ?", identity, number)[
            0
        ]
        return custom, bytes(body)

    def finish(self, identity: str, number: int, result: bytes, good: bool) -> None:
        """Keep the result of a line, unless it has one."""
        with self._changing() as base:
            self._check_room(base, len(result))
            done = base.execute(
                "UPDATE lines SET result = ?, good = ? WHERE batch = ? AND number = ? AND result IS NULL",
                (result, good, identity, number),
            )
            if done.rowcount:
                base.execute(
                    "UPDATE batches SET bytes = bytes + ?, completed = completed + ?, failed = failed + ? WHERE id = ?",
                    (len(result), good, not good, identity),
                )

    def cancel(self, identity: str) -> Batch:
        """Say that no further line shall be begun; a batch that has ended stays as it is."""
        with self._changing() as base:
            base.execute(
                "UPDATE batches SET status = 'cancelling', cancelling = ? "
                "WHERE id = ? AND status IN ('validating', 'in_progress')",
                (int(time.time()), identity),
            )
        return self.named(identity)

    def end(self, identity: str, status: str, errors: str | None = None) -> None:
        """Make files of the results, let go of the lines, and note how the batch ended; all of it or nothing."""
        with self._changing() as base:
            (owner,) = base.execute("SELECT owner FROM batches WHERE id = ?", (identity,)).fetchone()
            made: list[str | None] = []
            for good, kind in ((True, "output"), (False, "errors")):
                rows = base.execute(
                    "SELECT result FROM lines WHERE batch = ? AND good = ? ORDER BY number", (identity, good)
                )
                content = b"".join(bytes(row[0]) + b"\n" for row in rows)
                name = f"{identity}_{kind}.jsonl"
                made.append(_put_file(base, owner, name, "batch_output", content).id if content else None)
            base.execute("DELETE FROM lines WHERE batch = ?", (identity,))
            base.execute(
                "UPDATE batches SET status = ?, ended = ?, output = ?, failures = ?, errors = ?, bytes = 0 "
                "WHERE id = ?",
                (status, int(time.time()), *made, errors, identity),
            )

    def close(self) -> None:
        """Let go of the folder."""
        with self._lock:
            self._base.close()

    def _check_room(self, base: sqlite3.Connection, more: int) -> None:
        sums = "SELECT (SELECT TOTAL(size) FROM files) + (SELECT TOTAL(bytes) FROM batches)"
        (used,) = base.execute(sums).fetchone()
        if used + more > self._most:
            raise StorageError(f"{self._folder}: {self._most:,} bytes are kept at most; delete files")

    def _page(
        self,
        table: str,
        columns: str,
        owner: str,
        after: str | None,
        limit: int,
        purpose: str | None = None,
        oldest: bool = False,
    ) -> Sequence[tuple[Any, ...]]:
        query, values = f"SELECT {columns} FROM {table} WHERE owner = ?", [owner]
        if after:
            query += f" AND place {'>' if oldest else '<'} (SELECT place FROM {table} WHERE owner = ? AND id = ?)"
            values += [owner, after]
        if purpose:
            query += " AND purpose = ?"
            values.append(purpose)
        return self._rows(f"{query} ORDER BY place {'ASC' if oldest else 'DESC'} LIMIT {int(limit)}", *values)

    def _rows(self, query: str, *values: object) -> Sequence[tuple[Any, ...]]:
        try:
            with self._lock, closing(self._base.execute(query, values)) as cursor:
                return cursor.fetchall()
        except sqlite3.Error as error:
            raise StorageError(f"{self._folder}: cannot be read ({error})") from None

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """A transaction."""
        try:
            with self._lock:
                self._base.execute("BEGIN IMMEDIATE")
                try:
                    yield self._base
                    self._base.execute("COMMIT")
                finally:
                    if self._base.in_transaction:
                        self._base.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise StorageError(f"{self._folder}: cannot be written ({error}); free some space") from None


def _put_file(base: sqlite3.Connection, owner: str, name: str, purpose: str, content: bytes) -> File:
    file = File(f"file-{secrets.token_hex(12)}", name, purpose, int(time.time()), len(content))
    base.execute(
        "INSERT INTO files (id, owner, name, purpose, created, size, content) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (file.id, owner, name, purpose, file.created, file.size, content),
    )
    return file
