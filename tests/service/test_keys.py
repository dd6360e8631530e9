"""API keys: shown once, kept as digests, ended at once."""

from __future__ import annotations

import base64
import math
import sqlite3
import stat
import time
from pathlib import Path

import pytest

from bezel.errors import InvalidRequestError, StorageError
from bezel.service.keys import KeyStore


@pytest.fixture
def store(tmp_path: Path) -> KeyStore:
    return KeyStore(tmp_path / "keys.sqlite3")


def test_a_key_is_found_and_not_kept(store: KeyStore, tmp_path: Path) -> None:
    secret, key = store.create("team", ("models", "generate"), rate_limit=5)
    assert secret.startswith("bz-") and len(base64.urlsafe_b64decode(secret[3:] + "=")) == 32
    assert store.find(secret) == key and key.scopes == ("models", "generate") and key.rate_limit == 5
    for wrong in (secret[:-1], secret + "x", secret.upper(), "", "bz-", secret[3:], "\udcff"):
        assert store.find(wrong) is None
    store.close()
    files = list(tmp_path.iterdir())
    assert files and all(secret.encode() not in file.read_bytes() for file in files)
    assert all(secret[3:].encode() not in file.read_bytes() for file in files)
    assert stat.S_IMODE((tmp_path / "keys.sqlite3").stat().st_mode) == 0o600


def test_two_keys_differ(store: KeyStore) -> None:
    assert len({store.create("a")[0] for _ in range(20)}) == 20


def test_expiry_and_revocation(store: KeyStore) -> None:
    assert store.find(store.create("a", expires=time.time() - 1)[0]) is None
    secret, key = store.create("b", expires=time.time() + 60)
    assert store.find(secret) == key
    assert store.revoke("b").id == key.id
    assert store.find(secret) is None
    with pytest.raises(InvalidRequestError, match="0 keys in use are called 'b'"):
        store.revoke("b")


def test_rotation_keeps_what_a_key_may(store: KeyStore) -> None:
    old, before = store.create("a", ("metrics",), token_limit=9)
    new, after = store.rotate("a")
    assert store.find(old) is None and store.find(new) == after
    assert (after.name, after.scopes, after.token_limit) == ("a", ("metrics",), 9) and after.id != before.id
    newer, _ = store.rotate(after.id, grace=60)
    assert store.find(new) is not None and store.find(newer) is not None
    store.rotate(after.id, grace=0)
    assert store.find(new) is None


def test_grace_never_lengthens_a_life(store: KeyStore) -> None:
    soon = time.time() + 1
    _, key = store.create("a", expires=soon)
    store.rotate(key.id, grace=3600)
    assert [one.expires for one in store.list() if one.id == key.id] == [soon]


def test_a_name_that_two_keys_have_is_not_enough(store: KeyStore) -> None:
    store.create("a")
    _, key = store.create("a")
    with pytest.raises(InvalidRequestError, match="2 keys in use"):
        store.revoke("a")
    assert store.revoke(key.id).id == key.id


def test_names_scopes_and_limits_are_checked(store: KeyStore) -> None:
    for name in ("", "x" * 65, "a\nb", "\u202e"):
        with pytest.raises(InvalidRequestError, match="printable"):
            store.create(name)
    for scopes in ((), ("open",), ("models", "all")):
        with pytest.raises(InvalidRequestError, match="unknown scope"):
            store.create("a", scopes)
    with pytest.raises(InvalidRequestError, match="token_limit"):
        store.create("a", token_limit=-1)


def test_another_process_sees_a_change_at_once(store: KeyStore, tmp_path: Path) -> None:
    other = KeyStore(tmp_path / "keys.sqlite3")
    secret, key = other.create("a")
    assert store.find(secret) == key
    store.revoke(key.id)
    assert other.find(secret) is None
    base = sqlite3.connect(tmp_path / "keys.sqlite3")
    assert base.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    base.close()


def test_a_file_that_is_none_is_explained(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a database, but long enough to be looked at as one" * 20)
    for path in (tmp_path / "text", tmp_path):
        with pytest.raises(StorageError, match="--api-key-db"):
            KeyStore(path)


def test_a_full_disk_loses_no_key(store: KeyStore) -> None:
    kept = [store.create("a"), store.create("b")]
    pages = store._base.execute("PRAGMA page_count").fetchone()[0]
    store._base.execute(f"PRAGMA max_page_count = {pages}").close()
    with pytest.raises(StorageError, match="free some space"):
        for number in range(1000):
            kept.append(store.create(f"n{number}"))
    with pytest.raises(StorageError, match="cannot be written"):
        for _ in range(1000):
            secret, key = store.rotate("a")
            kept[0] = (secret, key)
    assert [store.find(secret) for secret, _ in kept] == [key for _, key in kept]
    assert sum(key.name == "a" and key.revoked is None for key in store.list()) == 1, "rotated wholly or not at all"
    store._base.execute("PRAGMA max_page_count = 100000").close()
    secret, key = store.rotate("a")
    assert store.find(secret) == key and store.find(kept[0][0]) is None


def test_a_key_expires_at_a_time_that_has_a_date_or_never(store: KeyStore) -> None:
    for expires in (math.nan, math.inf, -math.inf, -1.0, 1e17):
        with pytest.raises(InvalidRequestError, match="cannot expire"):
            store.create("a", expires=expires)
    secret, _ = store.create("a")
    for grace in (math.inf, 1e17):
        with pytest.raises(InvalidRequestError, match="cannot expire"):
            store.rotate("a", grace)
    assert store.find(secret) is not None and len(store.list()) == 1
