"""libsndfile decodes sounds, block by block."""

from __future__ import annotations

import io
from collections.abc import Callable

import soundfile

from bezel.media.child.containers import whole
from bezel.media.child.mp3 import recordings
from bezel.media.child.resampling import Output, Resampler, check_sound
from bezel.media.formats import Format
from bezel.media.limits import Limits
from bezel.media.protocol import Failure, RefusedError, Request

_BLOCK = 1 << 16
_UNKNOWN = 1 << 62  # samples; libsndfile says 2**63 - 1
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
    output = Output(request.rate, limits, send)
    try:
        for recording in recordings(data) if format is Format.MP3 else [whole(format, data)]:
            with soundfile.SoundFile(io.BytesIO(recording)) as file:
                if file.format not in _NAMES[format] or file.subtype not in _ENCODINGS[format]:
                    raise RefusedError(Failure.ENCODING)
                check_sound(file.samplerate, file.channels, limits)
                if _known_frames(file) > output.seconds_left * file.samplerate:
                    raise RefusedError(Failure.AUDIO_SECONDS)
                # Without this SoundFile seeks after every block, which in MP3 libsndfile does wrongly.
                file._info.seekable = 0
                _read(file, format, Resampler(file.samplerate, output))
    except (soundfile.SoundFileError, RuntimeError, ValueError, OSError):
        raise RefusedError(Failure.CORRUPT) from None
    output.end()


def _known_frames(file: soundfile.SoundFile) -> int:
    """Samples of each channel that the header says; 0 where it does not, as of FLAC that was written to a pipe."""
    return int(file.frames) if file.frames < _UNKNOWN else 0


def _read(file: soundfile.SoundFile, format: Format, resampler: Resampler) -> None:
    frames = 0
    while len(block := file.read(_BLOCK, dtype="float32", always_2d=True)):
        frames += len(block)
        resampler.add(block)
    if format is not Format.MP3 and frames < _known_frames(file):  # of MP3 libsndfile only guesses the length
        raise RefusedError(Failure.TRUNCATED)
    resampler.end()
