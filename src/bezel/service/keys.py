"""API keys in SQLite: 256 random bits each, of which only the SHA-256 is kept."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bezel.errors import InvalidRequestError, StorageError

SCOPES = ("generate", "models", "tokenize", "batches", "metrics")
"""What a key may be good for."""
DEFAULT_SCOPES = ("generate", "models", "tokenize")
PREFIX = "bz-"
_MOST_NAME = 64
_LAST = 253_402_300_799.0
"""The last second of the year 9999: later times have no date."""
_TABLE = """
CREATE TABLE IF NOT EXISTS keys (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, digest BLOB NOT NULL UNIQUE, scopes TEXT NOT NULL, created REAL NOT NULL,
    expires REAL, revoked REAL, rate_limit INTEGER, token_limit INTEGER
)
"""
_Statement = tuple[str, tuple[object, ...]]


@dataclass(frozen=True)
class Key:
    """What is known of a key; times are Unix times. Limits are per minute, None: the server's."""

    id: str
    name: str
    scopes: tuple[str, ...]
    created: float
    expires: float | None = None
    revoked: float | None = None
    rate_limit: int | None = None
    token_limit: int | None = None

    def usable(self, now: float) -> bool:
        """Neither revoked nor expired."""
        return self.revoked is None and (self.expires is None or now < self.expires)


class KeyStore:
    """Keys in a file that several processes may use at once, so that what is revoked is refused at once.

    Raises StorageError where the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # before SQLite makes it readable to all
            self._base = sqlite3.connect(path, timeout=5.0, check_same_thread=False, isolation_level=None)
            with closing(self._base.execute("PRAGMA journal_mode=WAL")):
                self._base.execute(_TABLE).close()
        except (OSError, sqlite3.Error) as error:
            raise StorageError(f"{path}: keys cannot be kept there ({error}); name another --api-key-db") from None

    def create(
        self,
        name: str,
        scopes: Sequence[str] = DEFAULT_SCOPES,
        expires: float | None = None,
        rate_limit: int | None = None,
        token_limit: int | None = None,
    ) -> tuple[str, Key]:
        """A new key and what is known of it. The key itself cannot be shown again.

        Raises InvalidRequestError for a name, scopes or a time that cannot be.
        """
        unknown = sorted(set(scopes) - set(SCOPES))
        if unknown or not scopes:
            raise InvalidRequestError(f"unknown scope {[*unknown, ''][0]!r}; choose from {', '.join(SCOPES)}")
        if not 0 < len(name) <= _MOST_NAME or not name.isprintable():
            raise InvalidRequestError(f"a key's name has 1 to {_MOST_NAME} printable characters")
        for what, limit in (("rate_limit", rate_limit), ("token_limit", token_limit)):
            if limit is not None and not 0 <= limit <= 10**12:
                raise InvalidRequestError(f"{what} is {limit}; it must lie between 0 (none) and 10**12")
        if expires is not None:
            _check_time(expires)
        secret, key, added = _new(name, tuple(scopes), expires, rate_limit, token_limit)
        self._write(added)
        return secret, key

    def find(self, secret: str) -> Key | None:
        """The key that a caller has shown, if it is one and usable."""
        digest = _digest(secret)
        for row in self._read("SELECT * FROM keys WHERE digest = ?", (digest,)):
            key = _key(row)
            if hmac.compare_digest(bytes(row[2]), digest) and key.usable(time.time()):
                return key
        return None

    def usable(self, identity: str) -> Key | None:
        """The key of an id, where it is still usable."""
        keys = [_key(row) for row in self._read("SELECT * FROM keys WHERE id = ?", (identity,))]
        return next((key for key in keys if key.usable(time.time())), None)

    def list(self) -> list[Key]:
        """All keys, the oldest first."""
        return [_key(row) for row in self._read("SELECT * FROM keys ORDER BY created", ())]

    def revoke(self, identity: str) -> Key:
        """End a key, for good. InvalidRequestError where there is none of this id or name that is not ended yet."""
        key = self._named(identity)
        self._write(("UPDATE keys SET revoked = ? WHERE id = ?", (time.time(), key.id)))
        return key

    def rotate(self, identity: str, grace: float = 0.0) -> tuple[str, Key]:
        """A new key like an old one, which ends in `grace` seconds; both or neither.

        Raises as `revoke`, and InvalidRequestError for a grace without an end.
        """
        old, now = self._named(identity), time.time()
        secret, key, added = _new(old.name, old.scopes, old.expires, old.rate_limit, old.token_limit)
        ended: _Statement = ("UPDATE keys SET revoked = ? WHERE id = ?", (now, old.id))
        if grace > 0:
            ends = now + grace
            _check_time(ends)
            ended = ("UPDATE keys SET expires = ? WHERE id = ?", (min(ends, old.expires or ends), old.id))
        self._write(ended, added)
        return secret, key

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._base.close()

    def _named(self, identity: str) -> Key:
        found = [key for key in self.list() if identity in (key.id, key.name) and key.revoked is None]
        if len(found) != 1:
            raise InvalidRequestError(
                f"{len(found)} keys in use are called {identity!r}; give an id that `bezel keys list` shows"
            )
        return found[0]

    def _read(self, query: str, values: tuple[object, ...]) -> Sequence[tuple[Any, ...]]:
        try:
            with self._lock, closing(self._base.execute(query, values)) as cursor:
                return cursor.fetchall()
        except sqlite3.Error as error:
            raise StorageError(f"{self._path}: cannot be read ({error})") from None

    def _write(self, *statements: _Statement) -> None:
        """All of them or none."""
        try:
            with self._lock:
                self._base.execute("BEGIN IMMEDIATE").close()
                try:
                    for query, values in statements:
                        self._base.execute(query, values).close()
                    self._base.execute("COMMIT").close()
                finally:
                    if self._base.in_transaction:
                        self._base.execute("ROLLBACK").close()
        except sqlite3.Error as error:
            raise StorageError(f"{self._path}: cannot be written ({error}); free some space") from None


def _new(
    name: str, scopes: tuple[str, ...], expires: float | None, rate_limit: int | None, token_limit: int | None
) -> tuple[str, Key, _Statement]:
    """A secret, its key, and what keeps it."""
    secret = PREFIX + secrets.token_urlsafe(32)
    key = Key("key_" + secrets.token_hex(6), name, scopes, time.time(), expires, None, rate_limit, token_limit)
    values = (key.id, name, _digest(secret), " ".join(scopes), key.created, expires, rate_limit, token_limit)
    return secret, key, ("INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?, NULL, ?, ?)", values)


def _check_time(expires: float) -> None:
    """SQLite keeps what is not a number as NULL, which is a key that never expires."""
    if not 0 <= expires <= _LAST:
        raise InvalidRequestError(f"a key cannot expire at {expires}; give a Unix time before the year 10000")


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def _key(row: tuple[Any, ...]) -> Key:
    identity, name, _, scopes, *rest = row
    return Key(identity, name, tuple(str(scopes).split()), *rest)
