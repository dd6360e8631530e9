"""A format is told by content; what is not read is named where it is known."""

from __future__ import annotations

import pytest
from PIL import Image

from bezel.errors import UnsupportedMediaError
from bezel.media.formats import Format, Kind, format_of
from tests.media.samples import encoded, gif, recorded, tone, wav, webp


@pytest.mark.parametrize(
    ("data", "format", "kind"),
    [
        (encoded(Image.new("RGB", (1, 1)), "PNG"), Format.PNG, Kind.PICTURE),
        (encoded(Image.new("RGB", (1, 1)), "JPEG"), Format.JPEG, Kind.PICTURE),
        (encoded(Image.new("RGB", (1, 1)), "BMP"), Format.BMP, Kind.PICTURE),
        (webp(1, 1), Format.WEBP, Kind.PICTURE),
        (gif(1), Format.GIF, Kind.PICTURE),
        (wav(bytes(2)), Format.WAV, Kind.SOUND),
        (recorded(tone(8_000), 8_000, "FLAC", "PCM_16"), Format.FLAC, Kind.SOUND),
        (recorded(tone(8_000), 8_000, "OGG", "OPUS"), Format.OGG, Kind.SOUND),
        (recorded(tone(8_000), 8_000, "MP3", "MPEG_LAYER_III"), Format.MP3, Kind.SOUND),
        (recorded(tone(48_000), 48_000, "MP3", "MPEG_LAYER_III"), Format.MP3, Kind.SOUND),
        (b"ID3\x04" + bytes(20), Format.MP3, Kind.SOUND),
        (b"ID3\x04\x00\x00\x00\x00\x01\x00" + bytes(128) + b"fLaC", Format.FLAC, Kind.SOUND),
        (b"\x00\x00\x00\x1cftypM4A " + bytes(20), Format.MP4, Kind.VIDEO),
        (b"\x00\x00\x00\x14ftypqt  " + bytes(20), Format.MP4, Kind.VIDEO),
        (b"\x1aE\xdf\xa3" + bytes(20), Format.WEBM, Kind.VIDEO),
    ],
)
def test_what_is_read(data: bytes, format: Format, kind: Kind) -> None:
    assert format_of(data) is format and format.kind is kind


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"", "empty"),
        (b"%PDF-1.7", "PDF is not read"),
        (b"II*\0", "TIFF is not read"),
        (b" \r\n<svg>", "SVG, HTML or XML is not read"),
        (b"\xef\xbb\xbf<!DOCTYPE html>", "SVG, HTML or XML is not read"),
        (b"\x00\x00\x00\x1cftypavif", "AVIF is not read"),
        (b"\x00\x00\x00\x1cftypheic", "HEIC is not read"),
        (b"FORM\0\0\0\0AIFF", "AIFF is not read"),
        (b"RIFF\0\0\0\0AVI LIST", "no known picture"),
        (b"\xff\xf1\x50\x80", "no known picture"),
        (b"BM" + b"\x01" * 20, "no known picture"),
        (b"PNG", "no known picture"),
    ],
)
def test_what_is_not_read_is_named(data: bytes, name: str) -> None:
    with pytest.raises(UnsupportedMediaError, match=rf"{name}.*; send PNG, JPEG, WebP, GIF or BMP as a picture, WAV"):
        format_of(data)
