"""libsndfile decodes sounds, block by block."""

from __future__ import annotations

import io
from collections.abc import Callable

import soundfile

from bezel.media.child.containers import whole
from bezel.media.child.resampling import Resampler, check_sound
from bezel.media.formats import Format
from bezel.media.limits import Limits
from bezel.media.protocol import Failure, RefusedError, Request

_BLOCK = 1 << 16
_ENCODINGS = {
    Format.WAV: {"PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"},
    Format.FLAC: {"PCM_S8", "PCM_16", "PCM_24"},
    Format.OGG: {"VORBIS", "OPUS"},
    Format.MP3: {"MPEG_LAYER_III"},
}
_NAMES = {Format.WAV: {"WAV", "WAVEX"}, Format.FLAC: {"FLAC"}, Format.OGG: {"OGG"}, Format.MP3: {"MP3", "MPEG"}}


def decode(request: Request, data: bytes, limits: Limits, send: Callable[[bytes], None]) -> None:
    """SOUND parts of `request.rate`. Raises RefusedError."""
    format = Format(request.format)
    data = whole(format, data)
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            if file.format not in _NAMES[format] or file.subtype not in _ENCODINGS[format]:
                raise RefusedError(Failure.ENCODING)
            check_sound(file.samplerate, file.channels, limits)
            if file.frames > limits.audio_seconds * file.samplerate:
                raise RefusedError(Failure.AUDIO_SECONDS)
            # Without this SoundFile seeks after every block, which in MP3 libsndfile does wrongly.
            file._info.seekable = 0
            _read(file, format, Resampler(file.samplerate, request.rate, limits, send))
    except (soundfile.SoundFileError, RuntimeError, ValueError, OSError):
        raise RefusedError(Failure.CORRUPT) from None


def _read(file: soundfile.SoundFile, format: Format, resampler: Resampler) -> None:
    frames = 0
    while len(block := file.read(_BLOCK, dtype="float32", always_2d=True)):
        frames += len(block)
        resampler.add(block)
    if format is not Format.MP3 and frames < file.frames:  # of MP3 libsndfile only guesses the length
        raise RefusedError(Failure.TRUNCATED)
    resampler.end()
