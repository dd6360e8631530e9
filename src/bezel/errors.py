"""Every exception that a user of bezel can see.

Each message says what was wrong, where (file, field or argument) and what to do next.
"""

from __future__ import annotations

from typing import Any


class BezelError(Exception):
    """Base of all errors raised on purpose by bezel."""


class InvalidRequestError(BezelError, ValueError):
    """An argument of a call is out of range or contradicts another."""


class ContextLengthError(InvalidRequestError):
    """The prompt (plus the tokens asked for) is longer than the context."""


class UnsupportedInputError(InvalidRequestError):
    """Something is asked of a model, or of the engine that runs it, that it does not take: an image, a parameter."""


class ToolChoiceError(InvalidRequestError):
    """A tool choice names no tool of the request, or cannot be enforced."""


class ToolError(BezelError, ValueError):
    """Something that is offered as a tool cannot be one: no schema can be made of it, or its server does not answer."""


class ConstraintError(InvalidRequestError):
    """A schema, regular expression, grammar or list of choices is wrong, too large or cannot be followed."""


class ConstraintFailedError(BezelError, RuntimeError):
    """No answer that the constraint allows was found. Of one that was whole, the message has the text."""


class UnfinishedSpeechError(InvalidRequestError):
    """A model does not come to an end with a piece of a recording. `heard` (a Transcription): what it wrote before."""

    def __init__(self, message: str, heard: Any = None) -> None:
        super().__init__(message)
        self.heard = heard


class ContentBlockedError(BezelError, PermissionError):
    """A classifier found that a message or an answer violates a policy."""


class UnknownModelError(BezelError, LookupError):
    """A model name that neither the catalogue nor the hub nor the file system knows."""


class ModelFileError(BezelError, ValueError):
    """A weight, tokenizer or configuration file is truncated, corrupt, hostile or contradicts itself."""


class UnsupportedModelError(BezelError, NotImplementedError):
    """A readable model whose architecture or tensor format has no implementation here."""


class DownloadError(BezelError, OSError):
    """A file could not be fetched from the hub."""


class GatedModelError(DownloadError):
    """The hub wants a licence to be accepted, or a token, before it hands out the files."""


class EndpointError(BezelError, OSError):
    """A model behind an address could not be reached, or its server failed."""


class AccessDeniedError(EndpointError):
    """An endpoint does not take the key."""


class OverloadedError(EndpointError):
    """An endpoint has no room for the request now; `retry_after` seconds are what it asks to wait, where it says so."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class EngineError(BezelError, RuntimeError):
    """An engine in a process of its own failed in a way that has no error of ours."""


class EngineLostError(EngineError):
    """The process of an engine ended while it worked on this; another is started. Ask again."""

    retry_after: float = 1.0


class EngineStartingError(EngineError):
    """The process of an engine is being started, which takes `retry_after` seconds or so."""

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class StorageError(BezelError, OSError):
    """A folder cannot be written, or the disk is full."""


class TemplateError(BezelError, ValueError):
    """A chat template is broken, or refuses the messages."""


class KernelLibraryError(BezelError, RuntimeError):
    """The native library is missing or cannot run on this processor."""


class MediaError(BezelError, ValueError):
    """A picture, sound or video that cannot be used; the classes below say why."""


class MediaTooLargeError(MediaError):
    """More bytes, pixels, frames, seconds or channels than the limits allow."""


class UnsupportedMediaError(MediaError):
    """A format that is not read here, or one that needs a library which is not installed."""


class CorruptMediaError(MediaError):
    """A file that is cut off, broken, or made to break its reader."""


class MediaTimeoutError(MediaError):
    """Decoding took longer than the limits allow."""


class MediaSourceError(MediaError):
    """A data URL, path or web address that may not or could not be read."""


class MissingExtraError(BezelError, ImportError):
    """A part of bezel needs packages that are installed on demand."""
