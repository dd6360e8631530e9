"""What each key has used, kept beside the keys."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import astuple, dataclass
from pathlib import Path

from bezel.errors import StorageError

_TABLE = """
CREATE TABLE IF NOT EXISTS usage (
    key_id TEXT NOT NULL, day TEXT NOT NULL, requests INTEGER NOT NULL, errors INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL,
    PRIMARY KEY (key_id, day)
)
"""
_ADD = """
INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key_id, day) DO UPDATE SET
    requests = requests + excluded.requests, errors = errors + excluded.errors,
    prompt_tokens = prompt_tokens + excluded.prompt_tokens, cached_tokens = cached_tokens + excluded.cached_tokens,
    completion_tokens = completion_tokens + excluded.completion_tokens
"""
_SUMS = """
SELECT key_id, sum(requests), sum(errors), sum(prompt_tokens), sum(cached_tokens), sum(completion_tokens)
FROM usage WHERE day >= ? GROUP BY key_id ORDER BY sum(prompt_tokens) + sum(completion_tokens) DESC
"""


@dataclass(frozen=True)
class Usage:
    """Requests, those of them that got an error, and tokens."""

    requests: int = 0
    errors: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(one + two for one, two in zip(astuple(self), astuple(other), strict=True)))


class UsageStore:
    """Sums by key and day (UTC), in a file that several servers may share.

    What is added is held until `flush`, and where that fails until the next one: a full disk costs no request.
    StorageError where the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._lock, self._writing = path, threading.Lock(), threading.Lock()
        self._held: dict[tuple[str, str], Usage] = {}
        try:
            self._base = sqlite3.connect(path, timeout=5.0, check_same_thread=False, isolation_level=None)
            self._base.execute(_TABLE).close()
        except sqlite3.Error as error:
            raise StorageError(f"{path}: usage cannot be kept there ({error}); name another --api-key-db") from None

    def add(self, key_id: str, used: Usage) -> None:
        """Count for a key, today."""
        place = (key_id, time.strftime("%Y-%m-%d", time.gmtime()))
        with self._lock:
            self._held[place] = self._held.get(place, Usage()) + used

    def flush(self) -> None:
        """Write what is held. StorageError where the file cannot be written; then it is still held."""
        with self._writing:
            with self._lock:
                held, self._held = self._held, {}
            try:
                self._write([(*place, *astuple(used)) for place, used in held.items()])
            except sqlite3.Error as error:
                with self._lock:
                    for place, used in held.items():
                        self._held[place] = self._held.get(place, Usage()) + used
                raise StorageError(f"{self._path}: usage cannot be written ({error})") from None

    def by_key(self, since: str = "") -> dict[str, Usage]:
        """Of every key from a day on ("2026-01-31"), who used most tokens first; what is held is written before.

        StorageError where the file cannot be read or written.
        """
        self.flush()
        try:
            with self._writing, closing(self._base.execute(_SUMS, (since,))) as cursor:
                return {key_id: Usage(*sums) for key_id, *sums in cursor.fetchall()}
        except sqlite3.Error as error:
            raise StorageError(f"{self._path}: usage cannot be read ({error})") from None

    def close(self) -> None:
        """Write what is held and let go of the file. StorageError as `flush`."""
        try:
            self.flush()
        finally:
            self._base.close()

    def _write(self, rows: Sequence[tuple[object, ...]]) -> None:
        if not rows:
            return
        self._base.execute("BEGIN IMMEDIATE").close()
        try:
            self._base.executemany(_ADD, rows).close()
            self._base.execute("COMMIT").close()
        except sqlite3.Error:
            if self._base.in_transaction:
                self._base.execute("ROLLBACK").close()
            raise
