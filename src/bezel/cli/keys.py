"""`bezel keys create|list|revoke|rotate`: who may use the server."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

from bezel.cli import options
from bezel.cli.commands import Argument, Option, command, group
from bezel.cli.extras import explained
from bezel.errors import StorageError

if TYPE_CHECKING:
    from bezel.service.keys import KeyStore

_DAY = 86_400.0
_MOST_DAYS = 36_500
Base = Annotated[str | None, Option("--api-key-db", help="File of the keys; default: that of `bezel serve`.")]
Which = Annotated[str, Argument(help="Id or name of a key.")]


def create(
    name: Annotated[str, Argument(help="Whose key it is.")],
    scope: Annotated[
        list[str] | None,
        Option(
            help="generate, models, tokenize, batches, metrics; may be given several times. Default: the first three."
        ),
    ] = None,
    days: Annotated[
        float | None, Option(min=0.001, max=_MOST_DAYS, help="Days until it expires; default: never.")
    ] = None,
    rate_limit: Annotated[int | None, Option(help="Requests a minute; default: the server's.")] = None,
    token_limit: Annotated[int | None, Option(help="Tokens a minute; default: the server's.")] = None,
    api_key_db: Base = None,
) -> None:
    """Make a key and print it."""
    from bezel.service.keys import DEFAULT_SCOPES

    with _store(api_key_db, new=True) as store:
        expires = None if days is None else time.time() + days * _DAY
        secret, _ = store.create(name, scope or DEFAULT_SCOPES, expires, rate_limit, token_limit)
        print(secret)


def list_(api_key_db: Base = None, as_json: options.Json = False) -> None:
    """What is known of every key; the keys themselves are kept nowhere."""
    with _store(api_key_db) as store:
        keys = store.list()
    if as_json:
        print(json.dumps([asdict(key) for key in keys], ensure_ascii=False))
        return
    for key in keys:
        state = "in use" if key.usable(time.time()) else "revoked" if key.revoked else "expired"
        expires = "never" if key.expires is None else _day(key.expires)
        print(f"{key.id}  {key.name}  {state}  created {_day(key.created)}  expires {expires}  {' '.join(key.scopes)}")


def revoke(which: Which, api_key_db: Base = None) -> None:
    """End a key; running servers refuse it at once."""
    with _store(api_key_db) as store:
        print(f"{store.revoke(which).id} is revoked")


def rotate(
    which: Which,
    grace: Annotated[float, Option(min=0, max=_MOST_DAYS * _DAY, help="Seconds for which the old key goes on.")] = 0.0,
    api_key_db: Base = None,
) -> None:
    """Make a key like another, print it, and end the other."""
    with _store(api_key_db) as store:
        print(store.rotate(which, grace)[0])


@contextmanager
def _store(path: str | None, new: bool = False) -> Iterator[KeyStore]:
    """The keys of a file, which is made where it may be `new`. Raises StorageError."""
    with explained("serve"):
        from pathlib import Path

        from bezel.service.keys import KeyStore
        from bezel.service.settings import ServerSettings
        from bezel.settings import read_settings
    file = Path(read_settings(ServerSettings, "serve", {"api_key_db": path}).api_key_db)
    if not new and not file.exists():
        raise StorageError(f"{file}: does not exist; name another --api-key-db, or make a key with `bezel keys create`")
    store = KeyStore(file)
    try:
        yield store
    finally:
        store.close()


def _day(seconds: float) -> str:
    """A Unix time as a date; as it is, where it has none."""
    try:
        return time.strftime("%Y-%m-%d", time.gmtime(seconds))
    except (OverflowError, ValueError, OSError):
        return f"{seconds:g}"


VERBS = group(
    "keys",
    "API keys of the server. A key is shown once, when it is made.",
    [command("create", create), command("list", list_), command("revoke", revoke), command("rotate", rotate)],
)
