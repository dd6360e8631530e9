"""What a child process gives up before it reads a byte of anybody's file."""

from __future__ import annotations

import ctypes
import math
import resource
import signal
import sys
from pathlib import Path

from bezel.media.limits import Limits
from bezel.media.protocol import DECODINGS

_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 4, 38


def confine(limits: Limits) -> None:
    """No files, sockets or processes any more; bounded memory and processor time.

    Without a free descriptor nothing can be opened, on disk or on the network. Raises OSError where the system refuses.
    """
    own = _address_space()
    if own is not None:
        _lower(resource.RLIMIT_AS, own + limits.memory + 2 * limits.bytes)
    _lower(resource.RLIMIT_CPU, math.ceil(limits.seconds) * DECODINGS)
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_FSIZE, 0)
    _lower(resource.RLIMIT_NPROC, 0)
    _lower(resource.RLIMIT_NOFILE, 0)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        for option, value in ((_PR_SET_NO_NEW_PRIVS, 1), (_PR_SET_DUMPABLE, 0)):
            if libc.prctl(option, value, 0, 0, 0) != 0:
                raise OSError(ctypes.get_errno(), "prctl")


def allow_time(seconds: float) -> None:
    """End this process with a signal after so much wall-clock or processor time from now, even inside C code."""
    signal.setitimer(signal.ITIMER_REAL, seconds)
    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    soft = math.ceil(used + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _lower(what: int, value: int) -> None:
    hard = resource.getrlimit(what)[1]
    most = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(what, (most, most))


def _address_space() -> int | None:
    """Bytes of it now; None where the system does not say, and where RLIMIT_AS is not enforced either (macOS)."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    except OSError:
        return None
    return pages * resource.getpagesize()
