"""Requests as bytes on a connection, right or wrong, and what comes back."""

from __future__ import annotations

import http.client
import socket
from dataclasses import dataclass


@dataclass(frozen=True)
class Asked:
    """A request as it goes over the wire. With `last` nothing more is sent on the connection."""

    data: bytes
    method: str = "POST"
    last: bool = False


@dataclass(frozen=True)
class Answered:
    """Status 0 where the connection was closed without an answer."""

    status: int
    ours: bool = False
    """Whether it came from the application, not from the HTTP library in front of it."""
    body: bytes = b""


class Wire:
    """One connection at a time, made anew when it is closed. TimeoutError where nothing comes for `seconds`."""

    def __init__(self, port: int, seconds: float = 60.0) -> None:
        self._port, self._seconds = port, seconds
        self._socket: socket.socket | None = None

    def ask(self, asked: Asked) -> Answered:
        """Send a request and read its answer."""
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), self._seconds)
        try:
            self._socket.sendall(asked.data)
            if asked.last:
                self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # refused before all of it was read: the answer may be there all the same
        response = http.client.HTTPResponse(self._socket, method=asked.method)
        try:
            response.begin()
            body = response.read()
        except TimeoutError:
            raise
        except (http.client.HTTPException, OSError):
            self.close()
            return Answered(0)
        if asked.last or response.will_close:
            self.close()
        return Answered(response.status, response.getheader("x-request-id") is not None, body)

    def close(self) -> None:
        """Let go of the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
