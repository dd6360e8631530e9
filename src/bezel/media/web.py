"""A file from the web: every address is checked before it is asked, after every redirect, and one deadline holds."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from urllib.parse import urljoin

from bezel.errors import MediaSourceError, MediaTimeoutError, MediaTooLargeError
from bezel.media.addresses import Address, Place, is_public, parse_url
from bezel.media.fetching import Sources

_BLOCK = 1 << 16
_REDIRECTS = (301, 302, 303, 307, 308)


class Fetch:
    """One fetch from the web with its deadline, over as many redirects as are allowed."""

    def __init__(self, sources: Sources, most: int) -> None:
        self._sources, self._most = sources, most
        self._ends = time.monotonic() + sources.seconds

    def get(self, url: str) -> bytes:
        """The body. Raises MediaSourceError, MediaTooLargeError and MediaTimeoutError."""
        place = parse_url(url, self._sources.ports)
        for _ in range(self._sources.redirects + 1):
            found = self._get(place)
            if isinstance(found, bytes):
                return found
            try:
                url = urljoin(url, found)
            except ValueError:
                raise MediaSourceError(f"{place.host}: leads to an address that cannot be read") from None
            was_secure, place = place.secure, parse_url(url, self._sources.ports)
            if was_secure and not place.secure:
                raise MediaSourceError(f"{place.host}: a redirect from https to http is not followed")
        raise MediaSourceError(f"{place.host}: more than {self._sources.redirects} redirects; name the last address")

    def _get(self, place: Place) -> bytes | str:
        """The body, or where a redirect leads. The connection goes to an address that was checked, and to no other."""
        addresses = [place.literal] if place.literal else self._resolve(place)
        for address in addresses:
            if not is_public(address):
                raise MediaSourceError(
                    f"{place.host}: not an address of the public internet; it is not asked for files"
                )
        with self._explained(place), self._connected(place, addresses) as speaks:
            connection = _Pinned(place, speaks)
            connection.request(
                "GET",
                place.target,
                headers={"Host": place.host_header, "Accept-Encoding": "identity", "User-Agent": "bezel"},
            )
            with connection.getresponse() as response:
                if response.status in _REDIRECTS:
                    return response.getheader("Location") or ""
                return self._body(place, response)

    def _body(self, place: Place, response: http.client.HTTPResponse) -> bytes:
        if response.status != 200:
            raise MediaSourceError(f"{place.host}: answered {response.status}; is the address right, and open to all?")
        if response.getheader("Content-Encoding", "identity").lower() != "identity":
            raise MediaSourceError(f"{place.host}: sends compressed bytes that were not asked for")
        length = response.length
        body = bytearray()
        while len(body) <= self._most and (length is None or length <= self._most):
            block = response.read(min(_BLOCK, self._most + 1 - len(body)))
            self._left()  # a connection that was cut looks like one that ended
            if not block:
                break
            body += block
        else:
            raise MediaTooLargeError(f"{place.host}: more than the {self._most:,} bytes that are read at most")
        if length is not None and len(body) < length:
            raise MediaSourceError(f"{place.host}: the connection ended before the file did; try again")
        return bytes(body)

    def _resolve(self, place: Place) -> list[Address]:
        """Every address of a name. The system's resolver has no time limit of its own, so it runs on a thread."""
        found: list[str] = []

        def ask() -> None:
            with suppress(OSError, UnicodeError):
                infos = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
                found.extend(str(info[4][0]) for info in infos)

        thread = threading.Thread(target=ask, name="resolver", daemon=True)
        thread.start()
        thread.join(self._left())
        if not found:
            raise MediaSourceError(f"{place.host}: no address found; is the name right?")
        return [ip_address(text) for text in dict.fromkeys(found)]

    @contextmanager
    def _connected(self, place: Place, addresses: list[Address]) -> Iterator[socket.socket]:
        """A connection, with TLS for the name of the host, to the first address that answers.

        It is cut when time is up, whatever waits for it: a peer may send a byte now and then, for ever.
        """
        with self._dialled(place, addresses) as raw:
            if ip_address(raw.getpeername()[0]) not in addresses:
                raise MediaSourceError(f"{place.host}: another address answered")
            name = str(place.literal or place.host)
            context = ssl.create_default_context() if place.secure else None
            speaks = context.wrap_socket(raw, server_hostname=name, do_handshake_on_connect=False) if context else raw
            with speaks:
                timer = threading.Timer(self._left(), _cut, (speaks,))
                timer.daemon = True
                timer.start()
                try:
                    if isinstance(speaks, ssl.SSLSocket):
                        speaks.do_handshake()
                    yield speaks
                finally:
                    timer.cancel()

    def _dialled(self, place: Place, addresses: list[Address]) -> socket.socket:
        for address in addresses:
            raw = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_STREAM)
            try:
                raw.settimeout(self._left())
                raw.connect((str(address), place.port))
                return raw
            except OSError:
                raw.close()
        raise MediaSourceError(f"{place.host}: no connection; try again or send the file itself")

    @contextmanager
    def _explained(self, place: Place) -> Iterator[None]:
        try:
            yield
        except ssl.SSLError as error:
            raise MediaSourceError(f"{place.host}: no trusted connection ({error.reason or 'TLS failed'})") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            if isinstance(error, MediaSourceError | MediaTooLargeError | MediaTimeoutError):
                raise
            self._left()
            raise MediaSourceError(f"{place.host}: the answer cannot be read; try again") from None

    def _left(self) -> float:
        left = self._ends - time.monotonic()
        if left <= 0:
            raise MediaTimeoutError(f"the file did not arrive within {self._sources.seconds:g} s")
        return left


class _Pinned(http.client.HTTPConnection):
    """HTTP over a socket that is connected already. It knows no proxies and no cookies."""

    def __init__(self, place: Place, speaks: socket.socket) -> None:
        super().__init__(place.host, place.port)
        self.sock = speaks

    def connect(self) -> None:
        raise http.client.NotConnected


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)  # of the socket itself: TLS would say goodbye first
