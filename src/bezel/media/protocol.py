"""What parent and child say to each other: fixed records, followed by raw bytes whose number the record states.

A request is the file. Answers are pictures (rows of RGB) and sounds (float32 samples) in any number, then END; or
FAILURE, which voids what came before. Text never crosses: a failure is a number and two numbers of detail.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

REQUEST = struct.Struct("<4sBxxxIdQ")  # "BZRQ", format, sample rate, pictures a second, bytes that follow
ANSWER = struct.Struct("<4sBBxxIIQd")  # "BZAN", tag, code or orientation, two numbers, bytes that follow, seconds
ASKS, SAYS = b"BZRQ", b"BZAN"
READY = b"BZOK"
DECODINGS = 64  # files that one child reads before another takes its place; its processor time is limited as a whole
IDLE_SECONDS = 60.0  # after which a child without work ends
STILL = -1.0  # instead of pictures a second: one picture, which must be the only one
EVERY = 0.0  # all frames


class Tag(IntEnum):
    END = 0
    PICTURE = 1  # height, width; orientation as in EXIF
    SOUND = 2  # any number of parts
    FAILURE = 3


class Failure(IntEnum):
    """Why a file is refused. The two numbers of an answer are its detail where it says so."""

    CORRUPT = 1
    TRUNCATED = 2
    PIXELS = 3  # width, height
    FRAMES = 4  # frames, pixels of each
    AUDIO_SECONDS = 5
    CHANNELS = 6  # channels
    RATE = 7  # samples a second
    MEMORY = 8
    ANIMATED = 9  # frames
    ENCODING = 10
    SEVERAL_STREAMS = 11
    NO_SAMPLES = 12
    BAD_SAMPLES = 13
    NO_PICTURES = 14
    NO_SOUND = 15
    ENCRYPTED = 16


class RefusedError(Exception):
    """Raised in the child, told to the parent."""

    def __init__(self, failure: Failure, first: int = 0, second: int = 0) -> None:
        super().__init__(failure.name, first, second)
        self.failure, self.first, self.second = failure, first, second


@dataclass(frozen=True)
class Request:
    """`pictures` a second of a video, STILL or EVERY; `rate` of the sound wanted in Hz, 0 for none."""

    format: int
    rate: int
    pictures: float
    size: int

    def pack(self) -> bytes:
        return REQUEST.pack(ASKS, self.format, self.rate, self.pictures, self.size)

    @classmethod
    def unpack(cls, record: bytes) -> Request:
        asks, format, rate, pictures, size = REQUEST.unpack(record)
        if asks != ASKS:
            raise ValueError("not a request")
        return cls(format, rate, pictures, size)


@dataclass(frozen=True)
class Answer:
    """Of a picture: height, width, orientation and when it is shown; of a failure: its code and numbers."""

    tag: int
    code: int = 0
    first: int = 0
    second: int = 0
    size: int = 0
    seconds: float = 0.0

    def pack(self) -> bytes:
        return ANSWER.pack(SAYS, self.tag, self.code, self.first, self.second, self.size, self.seconds)

    @classmethod
    def unpack(cls, record: bytes) -> Answer:
        says, *fields = ANSWER.unpack(record)
        if says != SAYS:
            raise ValueError("not an answer")
        return cls(*fields)
