"""FFmpeg, through PyAV, decodes the frames and the sound of videos, and sound in video containers."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import Any

import av
import av.subtitles.stream  # PyAV imports it when a file is opened, which is too late in a confined child
import numpy as np

from bezel.media.child.containers import whole
from bezel.media.child.resampling import Resampler, check_sound
from bezel.media.formats import Format
from bezel.media.limits import Limits
from bezel.media.protocol import STILL, Answer, Failure, RefusedError, Request, Tag

Send = Callable[[bytes], None]

_DEMUXERS = {Format.MP4: "mov", Format.WEBM: "matroska"}
_PICTURES = {"h264", "hevc", "vp8", "vp9", "av1", "libdav1d", "libvpx", "libvpx-vp9", "mpeg4"}
_SOUNDS = {"aac", "mp3", "mp3float", "opus", "libopus", "vorbis", "flac", "alac", "pcm_s16le", "pcm_s16be"}
_TURNED = {0: 1, 90: 8, 180: 3, -180: 3, -90: 6, 270: 6}  # degrees against the clock that a frame is turned by: EXIF's

av.logging.set_level(None)


def decode(request: Request, data: bytes, limits: Limits, send: Send) -> None:
    """PICTURE answers at `request.pictures` a second (none for STILL), SOUND answers at `request.rate`."""
    format = Format(request.format)
    data = whole(format, data)
    try:
        if request.pictures != STILL:
            with _opened(data, format) as container:
                _decode_pictures(container, request.pictures, limits, send)
        with _opened(data, format) as container:
            if container.streams.audio or request.pictures == STILL:
                _decode_sound(container, request.rate, limits, send)
    except (av.FFmpegError, ValueError, OSError, LookupError, TypeError, OverflowError):
        raise RefusedError(Failure.CORRUPT) from None


def _opened(data: bytes, format: Format) -> Any:
    options = {"enable_drefs": "0", "use_absolute_path": "0"} if format is Format.MP4 else {}
    return av.open(io.BytesIO(data), format=_DEMUXERS[format], container_options=options)


def _stream(container: Any, kind: str, names: set[str], missing: Failure) -> Any:
    """The first stream of a kind, set to decode on one thread and to stop at the first error."""
    streams = getattr(container.streams, kind)
    if not streams:
        raise RefusedError(missing)
    stream = streams[0]
    if stream.codec_context is None or stream.codec_context.name not in names:
        raise RefusedError(Failure.ENCODING)
    stream.codec_context.thread_count = 1
    stream.codec_context.thread_type = "NONE"
    stream.codec_context.options = {"err_detect": "crccheck+bitstream+buffer+explode"}
    return stream


def _seconds(stream: Any) -> float:
    return float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0


def _decode_pictures(container: Any, per_second: float, limits: Limits, send: Send) -> None:
    stream = _stream(container, "video", _PICTURES, Failure.NO_PICTURES)
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > limits.pixels:
        raise RefusedError(Failure.PIXELS, width, height)
    if _seconds(stream) > limits.audio_seconds:
        raise RefusedError(Failure.AUDIO_SECONDS)
    began: float | None = None
    due = sent = pixels = 0
    for frame in container.decode(stream):
        at = float(frame.time or 0.0)
        began = at if began is None else began
        at -= began
        if at > limits.audio_seconds:
            raise RefusedError(Failure.AUDIO_SECONDS)
        if sent and at * per_second < due:
            continue
        sent, pixels, due = sent + 1, pixels + frame.width * frame.height, math.floor(at * per_second) + 1
        if sent > limits.frames or pixels > limits.pixels:
            raise RefusedError(Failure.FRAMES, sent, frame.width * frame.height)
        _send_frame(frame, at, send)
    if not sent:
        raise RefusedError(Failure.NO_PICTURES)


def _send_frame(frame: Any, seconds: float, send: Send) -> None:
    rows = np.ascontiguousarray(frame.to_ndarray(format="rgb24"))
    orientation = _TURNED.get(round(frame.rotation), 1)
    send(Answer(Tag.PICTURE, orientation, rows.shape[0], rows.shape[1], rows.nbytes, seconds).pack())
    send(rows.tobytes())


def _decode_sound(container: Any, rate: int, limits: Limits, send: Send) -> None:
    stream = _stream(container, "audio", _SOUNDS, Failure.NO_SOUND)
    if _seconds(stream) > limits.audio_seconds:
        raise RefusedError(Failure.AUDIO_SECONDS)
    resampler, opened = None, (0, 0)
    planar = av.AudioResampler(format="fltp")
    for frame in container.decode(stream):
        found = (frame.sample_rate, frame.layout.nb_channels)
        if resampler is None:
            check_sound(*found, limits)
            resampler, opened = Resampler(frame.sample_rate, rate, limits, send), found
        if found != opened:
            raise RefusedError(Failure.SEVERAL_STREAMS)
        for floats in planar.resample(frame):
            resampler.add(np.asarray(floats.to_ndarray(), np.float32).T)
    if resampler is None:
        raise RefusedError(Failure.NO_SAMPLES)
    resampler.end()
