"""What is small and would be large is refused within a second and 64 MB, in the child and here."""

from __future__ import annotations

import os
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from bezel.errors import CorruptMediaError, MediaError, MediaTooLargeError, UnsupportedMediaError
from bezel.media.decoding import Decoder
from bezel.media.formats import Kind
from tests.media.samples import chunk, encoded, gif, png, recorded, riff, wav, webp

from PIL import Image  # isort: skip

SECONDS, MEMORY = 1.0, 64 << 20
pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")


def jpeg(width: int, height: int, scans: int = 0) -> bytes:
    """A real head with another size, and as many further scans."""
    data = bytearray(encoded(Image.new("RGB", (16, 16)), "JPEG", progressive=bool(scans)))
    frame = data.index(b"\xff\xc2" if scans else b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data[:-2]) + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" * scans + b"\xff\xd9"


def flac_of_silence(seconds: int) -> bytes:
    return recorded(np.zeros((4_000 * seconds, 1), np.float32), 4_000, "FLAC", "PCM_16")


PICTURES: dict[str, tuple[Callable[[], bytes], type[MediaError]]] = {
    "pixels, PNG": (lambda: png(60_000, 60_000, pixels=bytes(60 << 20)), MediaTooLargeError),
    "pixels, PNG of one colour in bits": (lambda: png(200_000, 200_000, depth=1, colour=0), MediaTooLargeError),
    "width beyond everything, PNG": (lambda: png(0xFFFFFFFF, 0xFFFFFFFF), CorruptMediaError),
    "one long row, PNG": (lambda: png(0x7FFFFFFF, 1), MediaTooLargeError),
    "no pixels, PNG": (lambda: png(0, 5), CorruptMediaError),
    "pixels, JPEG": (lambda: jpeg(65_500, 65_500), MediaTooLargeError),
    "scans, JPEG": (lambda: jpeg(6_000, 6_000, scans=10_000), CorruptMediaError),
    "segments, JPEG": (lambda: b"\xff\xd8" + b"\xff\xfe\0\2" * (8 << 20) + jpeg(9, 9)[2:], CorruptMediaError),
    "padding, JPEG": (lambda: b"\xff\xd8" + b"\xff" * (32 << 20) + jpeg(9, 9)[2:], CorruptMediaError),
    "segments of two scans, JPEG": (lambda: jpeg(9, 9, scans=1)[:-2] + b"\xff\xfe\0\2" * (8 << 20), CorruptMediaError),
    "no end, JPEG": (lambda: jpeg(9, 9)[:-2] + b"\xff" * (32 << 20), CorruptMediaError),
    "pixels, WebP": (lambda: webp(1 << 24, 1 << 24), MediaTooLargeError),
    "canvas of an animated WebP": (lambda: webp(16_383, 16_383, frames=2), MediaTooLargeError),
    "frames, WebP": (lambda: webp(1, 1, frames=1_000_000), MediaTooLargeError),
    "lossless WebP": (lambda: b"RIFF\x1a\0\0\0WEBPVP8L\x0d\0\0\0\x2f" + b"\xff" * 13, MediaTooLargeError),
    "screen, GIF": (lambda: gif(1, 65_535, 65_535), MediaTooLargeError),
    "frame beyond its screen, GIF": (
        lambda: gif(1).replace(b"\x2c" + bytes(4), b"\x2c" + struct.pack("<HH", 65_000, 65_000)),
        MediaTooLargeError,
    ),
    "a million frames, GIF": (lambda: gif(1_000_000), MediaTooLargeError),
    "many large frames, GIF": (lambda: gif(900, 9_000, 9_000 // 2, wide=9_000), MediaTooLargeError),
    "four thousand million frames, PNG": (
        lambda: png(1, 1, chunk(b"acTL", b"\xff\xff\xff\xff\0\0\0\0"), pixels=bytes(4)),
        MediaTooLargeError,
    ),
    "pixels, BMP": (
        lambda: b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 1 << 30, -(1 << 30), 1, 24, 0, 0, 0, 0, 0, 0),
        MediaTooLargeError,
    ),
    "smallest height, BMP": (
        lambda: b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 1, -(1 << 31), 1, 24, 0, 0, 0, 0, 0, 0),
        MediaTooLargeError,
    ),
    "an ICC profile that unfolds": (
        lambda: png(1, 1, chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(48 << 20), 9)), pixels=bytes(4)),
        CorruptMediaError,
    ),
    "text that unfolds": (
        lambda: png(1, 1, chunk(b"zTXt", b"c\0\0" + zlib.compress(bytes(48 << 20), 9)), pixels=bytes(4)),
        CorruptMediaError,
    ),
    "rows that are not there, frames of PNG": (
        lambda: png(
            *(2_000, 2_000, chunk(b"acTL", struct.pack(">II", 9, 0))),
            *[chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 2_000, 2_000, 0, 0, 1, 10, 0, 0))] * 9,
            pixels=bytes(99),
        ),
        CorruptMediaError,
    ),
    "pixels that are not there": (lambda: png(7_000, 7_000, pixels=bytes(100)), CorruptMediaError),
    "SVG": (lambda: b'<svg xmlns="http://www.w3.org/2000/svg" width="9e9" height="9e9"/>', UnsupportedMediaError),
    "SVG that calls itself XML": (lambda: b'\xef\xbb\xbf<?xml version="1.0"?>' + b"<svg/>" * 9, UnsupportedMediaError),
    "entities": (lambda: b'<!DOCTYPE a [<!ENTITY b "bbbb">]>' + b"<a>&b;</a>" * 9, UnsupportedMediaError),
    "PDF with a picture inside": (lambda: b"%PDF-1.7\n" + jpeg(9, 9), UnsupportedMediaError),
    "HTML and GIF": (lambda: b"<html>" + gif(1), UnsupportedMediaError),
    "ZIP and PNG": (lambda: b"PK\x03\x04" + png(1, 1, pixels=bytes(4)), UnsupportedMediaError),
    "script and GIF": (lambda: b"GIF89a=1;alert(1)//" + bytes(50), CorruptMediaError),
    "PostScript": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", UnsupportedMediaError),
    "TIFF": (lambda: b"II*\0\x08\0\0\0" + bytes(99), UnsupportedMediaError),
    "nothing": (lambda: b"", UnsupportedMediaError),
    "a sound": (lambda: wav(bytes(32)), UnsupportedMediaError),
}

SOUNDS: dict[str, tuple[Callable[[], bytes], type[MediaError]]] = {
    "rate of 4 GHz": (lambda: wav(bytes(32_000), rate=0xFFFFFFFF), MediaError),
    "one sample a second": (lambda: wav(bytes(32_000), rate=1), UnsupportedMediaError),
    "channels": (lambda: wav(bytes(32_000), channels=65_535), MediaError),
    "hours of silence, FLAC": (lambda: flac_of_silence(3_700), MediaTooLargeError),
    "hours of one byte, WAV": (lambda: wav(bytes(4_001 * 3_700), rate=4_000, bits=8), MediaTooLargeError),
    "length beyond the file": (lambda: wav(bytes(32), declared=0x7FFFEFFF), CorruptMediaError),
    "chunks without end": (lambda: b"RIFF\xff\xff\xff\xffWAVE" + riff(b"junk", b"") * 100_000, CorruptMediaError),
    "bits": (lambda: wav(bytes(32_000), bits=65_528), MediaError),
    "pages without end, OGG": (lambda: b"OggS" + bytes(23) * 100_000, CorruptMediaError),
    "MP3 of tags": (lambda: b"ID3\x04\0\0\0\0\0\0" * 100_000, CorruptMediaError),
    "a picture": (lambda: gif(1), UnsupportedMediaError),
    "a playlist": (lambda: b"#EXTM3U\nhttp://127.0.0.1/a.ts\n", UnsupportedMediaError),
}


Read = Callable[[bytes], object]


def peak(process: int | str) -> int:
    """Bytes that a process had in memory at most since it was last asked."""
    folder = Path(f"/proc/{process}")
    line = next(line for line in (folder / "status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) << 10


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    one = Decoder()
    yield one
    one.close()


def refused(decoder: Decoder, kind: Kind, read: Read, data: bytes, error: type[MediaError]) -> None:
    ready = encoded(Image.new("RGB", (1, 1)), "PNG") if kind is Kind.PICTURE else wav(bytes(32))
    read(ready)
    (child,) = [one for one in decoder._idle if one.kind is kind]
    for process in (child.process_id, os.getpid()):
        Path(f"/proc/{process}/clear_refs").write_text("5")
    before = [peak(child.process_id), peak("self")]
    began = time.perf_counter()
    with pytest.raises(error) as caught:
        read(data)
    took = time.perf_counter() - began
    assert type(caught.value) is error or error is MediaError
    assert child in decoder._idle, "the child ended"
    grown = [peak(child.process_id) - before[0], peak("self") - before[1]]
    assert took < SECONDS and max(grown) < MEMORY, (took, grown)
    read(ready)


@pytest.mark.parametrize("name", PICTURES)
def test_pictures(decoder: Decoder, name: str) -> None:
    make, error = PICTURES[name]
    refused(decoder, Kind.PICTURE, decoder.frames if "frames" in name else decoder.image, make(), error)


@pytest.mark.parametrize("name", SOUNDS)
def test_sounds(decoder: Decoder, name: str) -> None:
    make, error = SOUNDS[name]
    refused(decoder, Kind.SOUND, decoder.audio, make(), error)
