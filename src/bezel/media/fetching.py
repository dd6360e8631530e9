"""The bytes of a picture, sound or video from a data URL, a path or a web address, each only where it is allowed."""

from __future__ import annotations

import binascii
import errno
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from bezel.errors import InvalidRequestError, MediaSourceError, MediaTooLargeError
from bezel.media.limits import Limits

_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")
_SCHEME = re.compile(r"data(?=:)|[a-z][a-z0-9+.-]+(?=://)", re.IGNORECASE)
_SHOWN = 100  # characters of a path in an error


@dataclass(frozen=True)
class Sources:
    """What a source may be besides a data URL. A library reads its user's files; a server reads nobody's.

    Raises InvalidRequestError for numbers out of range.
    """

    files: bool = False
    web: bool = False
    ports: frozenset[int] = frozenset({80, 443})
    redirects: int = 3
    seconds: float = 10.0
    """For name, connection, redirects and body together."""

    def __post_init__(self) -> None:
        if not 0 <= self.redirects <= 10 or not 0 < self.seconds <= 600:
            raise InvalidRequestError("sources: redirects must be 0 to 10, seconds more than 0 and at most 600")


def fetch(source: str | Path, sources: Sources, limits: Limits | None = None) -> bytes:
    """The bytes that `source` names, at most `limits.bytes`.

    A Path is a path; a string is a data URL, a web address, or else a path, which may hold colons. Raises
    MediaSourceError for what is not allowed or cannot be read, MediaTooLargeError and MediaTimeoutError.
    """
    most = (limits or Limits()).bytes
    if isinstance(source, Path):
        return _file(source, sources, most)
    found = _SCHEME.match(source[:64])
    scheme = found[0].lower() if found else ""
    if scheme == "data":
        return _data_url(source, most)
    if scheme in ("http", "https"):
        if not sources.web:
            raise MediaSourceError("web addresses are not fetched here; send the file itself, as a data URL")
        from bezel.media.web import Fetch  # HTTP and TLS are 5 MB that most processes never need

        return Fetch(sources, most).get(source)
    if scheme:
        raise MediaSourceError(f"{scheme}: addresses are not read; send a data URL with base64")
    return _file(Path(source), sources, most)


def _data_url(url: str, most: int) -> bytes:
    """`data:TYPE;base64,DATA`. The type is not believed; base64 must be padded and free of anything else."""
    head, comma, text = url[: 1 << 10].partition(",")
    text = url[len(head) + 1 :]
    if not comma or not head.lower().endswith(";base64"):
        raise MediaSourceError("write a data URL as data:TYPE;base64,DATA")
    if len(text) // 4 * 3 - text.endswith("=") - text.endswith("==") > most:
        raise MediaTooLargeError(f"the data URL holds more than the {most:,} bytes that are read at most")
    if not text or len(text) % 4 or not _BASE64.fullmatch(text):
        raise MediaSourceError("the data URL is no base64 with padding and without spaces; encode it again")
    return binascii.a2b_base64(text)


def _file(path: Path, sources: Sources, most: int) -> bytes:
    """A regular file. Devices, pipes and folders are refused without waiting for them."""
    if not sources.files:
        raise MediaSourceError("paths are not read here; send the file itself, as a data URL")
    shown = str(path) if len(str(path)) <= _SHOWN else f"{str(path)[:_SHOWN]}..."
    try:
        data = _read(path.expanduser(), most + 1)
    except (OSError, ValueError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            reason = "too long for a path; write base64 as data:TYPE;base64,DATA"
        raise MediaSourceError(f"{shown}: cannot be read ({reason})") from None
    if data is None:
        raise MediaSourceError(f"{shown}: not a file; name a picture, sound or video")
    if len(data) > most:
        raise MediaTooLargeError(f"{shown}: more than the {most:,} bytes that are read at most")
    return data


def _read(path: Path, most: int) -> bytes | None:
    """The first bytes of a regular file, None of anything else. Raises OSError."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return None
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read(most)
    finally:
        os.close(handle)
