"""What a file is, by its first bytes; names and declared types are never asked."""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum, IntEnum

from bezel.errors import UnsupportedMediaError

LOOKED_AT = 64


class Kind(Enum):
    """Which libraries decode a format; each kind has child processes of its own."""

    PICTURE = "picture"
    SOUND = "sound"
    VIDEO = "video"


class Format(IntEnum):
    """Numbered for the protocol between parent and child."""

    PNG = 1
    JPEG = 2
    WEBP = 3
    GIF = 4
    BMP = 5
    WAV = 16
    FLAC = 17
    OGG = 18
    MP3 = 19
    MP4 = 32
    WEBM = 33

    @property
    def kind(self) -> Kind:
        return Kind.PICTURE if self < Format.WAV else Kind.SOUND if self < Format.MP4 else Kind.VIDEO


PICTURES = "PNG, JPEG, WebP, GIF or BMP"
SOUNDS = "WAV, FLAC, OGG (Vorbis, Opus) or MP3, and with bezel[av] M4A, MP4 or WebM"
VIDEOS = "MP4, MOV or WebM"

_HEADS = {
    b"\x89PNG\r\n\x1a\n": Format.PNG,
    b"\xff\xd8\xff": Format.JPEG,
    b"GIF87a": Format.GIF,
    b"GIF89a": Format.GIF,
    b"fLaC": Format.FLAC,
    b"OggS": Format.OGG,
    b"ID3": Format.MP3,
    b"\x1aE\xdf\xa3": Format.WEBM,
}

# Formats that people send and that are not read, so that the error can name them.
_OTHERS = {
    b"%PDF": "PDF",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"8BPS": "Photoshop",
    b"FORM": "AIFF",
    b"\x00\x00\x01\x00": "Windows icon",
    b"PK\x03\x04": "ZIP (or an office document)",
    b"\x1f\x8b": "gzip",
    b"\x00\x00\x00\x0cjP": "JPEG 2000",
    b"\xff\x0a": "JPEG XL",
    b"#!AMR": "AMR",
    b"0&\xb2u": "WMA",
}
_STILLS_IN_MP4 = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIC", b"msf1": "HEIC"}


def format_of(data: bytes) -> Format:
    """The format that the first bytes of `data` declare. Raises UnsupportedMediaError, naming what is read."""
    head = bytes(data[:LOOKED_AT])
    if head.startswith(b"ID3") and data[_behind_tag(head) :][:4] == b"fLaC":
        return Format.FLAC
    for start, format in _HEADS.items():
        if head.startswith(start):
            return format
    if head[:4] == b"RIFF" and head[8:12] in (b"WAVE", b"WEBP"):
        return Format.WAV if head[8:12] == b"WAVE" else Format.WEBP
    if head[:2] == b"BM" and head[6:10] == b"\x00\x00\x00\x00":
        return Format.BMP
    if head[4:8] == b"ftyp" and head[8:12] not in _STILLS_IN_MP4:
        return Format.MP4
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2 and head[1] & 0x18 != 0x08:  # layer III
        return Format.MP3
    raise UnsupportedMediaError(f"{_guess(head)}; send {PICTURES} as a picture, {SOUNDS} as sound, {VIDEOS} as video")


def format_among(data: bytes, kinds: Collection[Kind], accepted: str) -> Format:
    """The format of `data`, which must be of one of the kinds. UnsupportedMediaError, naming what is `accepted`."""
    format = format_of(data)
    if format.kind not in kinds:
        raise UnsupportedMediaError(f"this is a {format.name} file; send {accepted} here")
    return format


def _behind_tag(head: bytes) -> int:
    """Where an ID3 tag ends that a file begins with."""
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    return 10 + size


def _guess(head: bytes) -> str:
    if not head:
        return "the file is empty"
    names = [name for start, name in _OTHERS.items() if head.startswith(start)]
    if head[4:8] == b"ftyp":
        names.append(_STILLS_IN_MP4[head[8:12]])
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not names and text.startswith(b"<"):
        names.append("SVG, HTML or XML")
    return f"{names[0]} is not read" if names else "the first bytes are of no known picture, sound or video"
