"""Files of every kind, whole, forged and bent, built here."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray
from PIL import Image


def colours(height: int = 37, width: int = 53, channels: int = 3) -> NDArray[np.uint8]:
    """Smooth colours, so that lossy formats stay near them, with no symmetry."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [
        255 * y // height,
        255 * x // width,
        255 * (y + 2 * x) // (height + 2 * width),
        255 * (x * y) // (height * width),
    ]
    return np.stack(planes[:channels], axis=2).astype(np.uint8)


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def tone(rate: int, seconds: float = 0.5, channels: int = 1) -> NDArray[np.float32]:
    """[samples, channels]; each channel has its own pitches."""
    at = np.arange(int(rate * seconds)) / rate
    waves = [
        0.4 * np.sin(2 * np.pi * (300 + 170 * c) * at) + 0.2 * np.sin(2 * np.pi * 1100 * at) for c in range(channels)
    ]
    return np.stack(waves, axis=1).astype(np.float32)


def recorded(samples: NDArray[np.float32], rate: int, format: str, subtype: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=format, subtype=subtype)
    return file.getvalue()


def chunk(name: bytes, body: bytes) -> bytes:
    """Of a PNG."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, *chunks: bytes, depth: int = 8, colour: int = 2, pixels: bytes = b"") -> bytes:
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [chunk(b"IHDR", head), *chunks, chunk(b"IDAT", zlib.compress(pixels, 9)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def gif(frames: int, width: int = 1, height: int = 1, wide: int = 1) -> bytes:
    """Black frames, `wide` pixels each."""
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
    one = b"\x2c" + struct.pack("<HHHHB", 0, 0, wide, 1, 0) + b"\x02\x02\x44\x01\x00"
    return head + one * frames + b"\x3b"


def webp(width: int, height: int, frames: int = 0) -> bytes:
    """Only headers: a canvas, and frames without pixels."""
    canvas = (
        bytes([2 if frames else 0, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    )
    parts = riff(b"VP8X", canvas) + riff(b"ANMF", bytes(16)) * frames
    return b"RIFF" + struct.pack("<I", len(parts) + 4) + b"WEBP" + parts


def riff(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + bytes(len(body) & 1)


def wav(
    samples: bytes, rate: int = 16_000, channels: int = 1, bits: int = 16, code: int = 1, declared: int | None = None
) -> bytes:
    """`declared` bytes of samples, whatever follows."""
    block = channels * bits // 8
    form = struct.pack("<HHIIHH", code, channels & 0xFFFF, rate, rate * block & 0xFFFFFFFF, block & 0xFFFF, bits)
    size = len(samples) if declared is None else declared
    data = b"data" + struct.pack("<I", size) + samples
    body = b"WAVE" + riff(b"fmt ", form) + data
    return b"RIFF" + struct.pack("<I", len(body) & 0xFFFFFFFF) + body
