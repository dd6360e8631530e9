"""Five hundred ways to write an address that is none of the internet's, and a canary that must stay silent."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from bezel.errors import MediaSourceError
from bezel.media import web
from bezel.media.addresses import is_public, parse_url
from bezel.media.fetching import Sources, fetch

PORTS = frozenset({80, 443})


class Canary:
    """A server on loopback that counts who comes, and a count of every address that this process tries to reach."""

    def __init__(self) -> None:
        self.tried: list[object] = []
        self.watching = False
        self.visits = 0
        self._sockets = [socket.create_server(("127.0.0.1", 0))]
        self.port = self._sockets[0].getsockname()[1]
        if socket.has_ipv6:
            with contextlib.suppress(OSError):
                self._sockets.append(socket.create_server(("::1", self.port), family=socket.AF_INET6))
        for one in self._sockets:
            threading.Thread(target=self._accept, args=(one,), daemon=True).start()

    def _accept(self, server: socket.socket) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            self.visits += 1
            connection.close()

    def close(self) -> None:
        for one in self._sockets:
            one.close()


@pytest.fixture(scope="module")
def canary() -> Iterator[Canary]:
    one = Canary()

    def audit(event: str, details: tuple[object, ...]) -> None:
        if event == "socket.connect" and one.watching:
            one.tried.append(details[1])

    sys.addaudithook(audit)
    yield one
    one.close()


NAMES = {
    "localhost": ["127.0.0.1"],
    "localtest.me": ["127.0.0.1"],
    "127.0.0.1.nip.io": ["127.0.0.1"],
    "www.localhost": ["127.0.0.1"],
    "six.example": ["::1"],
    "both.example": ["93.184.215.14", "127.0.0.1"],
    "last.example": ["2606:2800:21f::1", "::ffff:127.0.0.1"],
    "metadata.google.internal": ["169.254.169.254"],
    "private.example": ["10.1.2.3"],
    "carrier.example": ["100.64.0.1"],
    "scoped.example": ["fe80::1%lo"],
    "mapped.example": ["::ffff:10.0.0.1"],
    "nat64.example": ["64:ff9b::7f00:1"],
    "everything.example": ["0.0.0.0"],
    "wide.example": ["::"],
}


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    """NAMES, and numbers as the C library reads them (short, octal and hexadecimal ones too); nothing else."""

    def ask(host: str, port: int, **rest: object) -> list[tuple[object, ...]]:
        found = NAMES.get(host.rstrip(".").lower())
        if found is None:
            try:
                found = [socket.inet_ntoa(socket.inet_aton(host))]
            except OSError:
                raise socket.gaierror(host) from None
        return [(None, None, None, "", (address, port)) for address in found]

    monkeypatch.setattr(web.socket, "getaddrinfo", ask)


def spellings(address: str) -> list[str]:
    """Of an IPv4 address, as some reader takes them."""
    a, b, c, d = map(int, address.split("."))
    whole, low = int(ip_address(address)), c << 8 | d
    hosts = [
        address,
        f"{whole}",
        f"{whole:#x}",
        f"{whole:#o}".replace("0o", "0"),
        f"{whole + (1 << 32)}",
        f"{a}.{b << 16 | low}",
        f"{a}.{b}.{low}",
        f"{a:#x}.{b:#x}.{c:#x}.{d:#x}",
        f"{a:#x}.{b}.{c}.{d}",
        f"0{a:o}.0{b:o}.0{c:o}.0{d:o}",
        f"0{a:o}.{b}.{c}.{d}",
        f"00000{a:o}.{b}.{c}.{d}",
        f"{a:03d}.{b:03d}.{c:03d}.{d:03d}",
        f"{a}.{b}.{c}.{d}.",
        f"{a}.{b}.{c}.{d}..",
        f".{address}",
        f"{a}..{b}.{c}.{d}",
        f"{a + 256}.{b}.{c}.{d}",
        f"{a}%2e{b}%2e{c}%2e{d}",
        f"%3{a // 100}{str(a)[1:]}.{b}.{c}.{d}",
        address.replace(".", "\u3002"),
        address.replace(".", "\uff0e"),
        "".join(chr(0x2460 + int(digit) - 1) if digit in "123456789" else digit for digit in address),
        "".join(chr(0xFF10 + int(digit)) if digit.isdigit() else digit for digit in address),
        "".join(chr(0x1D7D8 + int(digit)) if digit.isdigit() else digit for digit in address),
        f"[::ffff:{address}]",
        f"[::ffff:{a << 8 | b:x}:{low:x}]",
        f"[::{address}]",
        f"[64:ff9b::{address}]",
        f"[64:ff9b:1::{address}]",
        f"[2002:{a << 8 | b:x}:{low:x}::1]",
        f"[2001:0:{a << 8 | b:x}:{low:x}::1]",
        f"[2001::{~(a << 8 | b) & 0xFFFF:x}:{~low & 0xFFFF:x}]",
        f"[fe80::5efe:{address}]",
        f"[{address}]",
        f"user@{address}",
        f"user:password@{address}",
        f"example.com@{address}",
        f"{address}@",
        f"example.com:80@{address}",
        f"{address}\\@example.com",
        f"example.com\\@{address}",
        f"{address} ",
        f"\t{address}",
        f"{address}\n",
        f"{address}\0.example.com",
        f"-{address}",
    ]
    return hosts


OTHERS = [
    *("localhost", "LOCALHOST", "localhost.", "loca%6chost", "localtest.me", "127.0.0.1.nip.io", "www.localhost"),
    *("\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3", "local\u00adhost", "l\u043ecalhost", "localhost\u3002"),
    *("six.example", "both.example", "last.example", "metadata.google.internal", "private.example", "carrier.example"),
    *("scoped.example", "mapped.example", "nat64.example", "everything.example", "wide.example", "nowhere.example"),
    *(
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::]",
        "[::1%25lo]",
        "[fe80::1]",
        "[fe80::1%25lo]",
        "[fc00::1]",
        "[fd00:ec2::254]",
    ),
    *(
        "[ff02::1]",
        "[ff0e::1]",
        "[2001:db8::1]",
        "[3fff::1]",
        "[100::1]",
        "[5f00::1]",
        "[fec0::1]",
        "[::1",
        "::1]",
        "::1",
    ),
    *("[::1]x", "[::1].example.com", "[[::1]]", "[v1.x]", "", "0", "1", "0x", "0x0", "a" * 64, "a." * 130 + "com", "*"),
]
SPECIAL = [
    "127.0.0.1",
    "127.8.9.10",
    "10.0.0.1",
    "169.254.169.254",
    "192.168.1.1",
    "172.31.0.9",
    "100.100.100.200",
    "0.0.0.0",
]
SCHEMES = [
    *(
        "file:///etc/passwd",
        "FILE:///etc/passwd",
        "ftp://127.0.0.1/",
        "gopher://127.0.0.1:{port}/_GET",
        "dict://127.0.0.1/",
    ),
    *(
        "ldap://127.0.0.1/",
        "jar:http://127.0.0.1!/",
        "javascript:alert(1)",
        "unix:/run/docker.sock",
        "smb://127.0.0.1/a",
    ),
    *("http:127.0.0.1:{port}", "http:/127.0.0.1:{port}", "http:///127.0.0.1:{port}", "http:////127.0.0.1:{port}"),
    *(
        "http://127.0.0.1:{port}:80/",
        "http://127.0.0.1:{port}x/",
        "http://127.0.0.1:0{port}/",
        "http://127.0.0.1:+{port}/",
    ),
    *(
        "http://127.0.0.1:/",
        "http://:{port}/",
        "http://",
        "https://",
        "http://?",
        "http://#@127.0.0.1/",
        "//127.0.0.1:{port}/",
    ),
    *("http://example.com:22/", "http://example.com:6379/", "https://example.com:8080/", "http://example.com:0/"),
    *("http://example.com:65616/", "http://example.com:-1/", "http://1.1.1.1 &@127.0.0.1:{port}# @3.3.3.3/"),
    *(
        "http://127.0.0.1:{port}\\@example.com/",
        "http://example.com\r\nHost: 127.0.0.1/",
        "http://127.1.1.1:80\\@127.2.2.2/",
    ),
]


def tricks(port: int) -> list[str]:
    hosts = [host for address in SPECIAL for host in spellings(address)] + OTHERS
    urls = [f"http://{host}:{port}/a.png" for host in hosts]
    urls += [f"https://{host}:{port}/a.png" for address in SPECIAL[:2] for host in spellings(address)]
    return urls + [url.replace("{port}", str(port)) for url in SCHEMES]


@pytest.mark.usefixtures("resolver")
def test_no_trick_reaches_anything(canary: Canary) -> None:
    """Ports are opened for all of them, so that addresses alone must hold."""
    sources = Sources(web=True, ports=frozenset({80, 443, canary.port}), seconds=5)
    urls = tricks(canary.port)
    assert len(set(urls)) >= 500
    canary.tried.clear()
    canary.watching = True
    wrong = []
    for url in urls:
        try:
            fetch(url, sources)
        except MediaSourceError:
            continue
        except Exception as error:
            wrong.append((url, error))
            continue
        wrong.append((url, None))
    canary.watching = False
    assert wrong == []
    assert canary.tried == [] and canary.visits == 0


@pytest.mark.usefixtures("resolver")
def test_the_canary_sings_where_the_check_is_left_out(canary: Canary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "is_public", lambda address: True)
    canary.watching = True
    for url in (f"http://127.0.0.1:{canary.port}/", f"http://localtest.me:{canary.port}/"):
        with pytest.raises(MediaSourceError):
            fetch(url, Sources(web=True, ports=frozenset({canary.port})))
    canary.watching = False
    assert len(canary.tried) == 2 and canary.visits == 2
    canary.visits = 0


PUBLIC = """
1.1.1.1 8.8.8.8 93.184.215.14 172.32.0.1 172.15.255.255 100.63.255.255 100.128.0.0 223.255.255.255
2606:4700::1111 2a00:1450:4001::1 2620:0:2d0::1 64:ff9b::808:808
"""


@pytest.mark.parametrize("text", PUBLIC.split())
def test_addresses_of_the_internet(text: str) -> None:
    assert is_public(ip_address(text))


SPECIAL_KINDS = """
0.1.2.3 10.255.255.255 100.64.0.0 100.127.255.255 127.255.255.255 169.254.0.1 172.16.0.1
172.31.255.255 192.0.0.8 192.0.2.1 192.88.99.1 192.168.0.0 198.18.0.1 198.19.255.255 198.51.100.1
203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 :: ::1 ::ffff:8.8.8.8 ::8.8.8.8
fc00::1 fe80::1 fe80::1%eth0 ff02::1 2001::1 2001:db8::1 2002:808:808::1 64:ff9b::a00:1 64:ff9b:1::1
3fff::1
"""


@pytest.mark.parametrize("text", SPECIAL_KINDS.split())
def test_other_addresses(text: str) -> None:
    assert not is_public(ip_address(text))


def test_plain_addresses_are_taken_apart() -> None:
    place = parse_url("HTTPS://Example.COM/a%20b/c.png?x=1&y=%2F#part", PORTS)
    assert (place.secure, place.host, place.port, place.target) == (True, "example.com", 443, "/a%20b/c.png?x=1&y=%2F")
    assert place.host_header == "example.com" and place.literal is None
    assert parse_url("http://xn--bcher-kva.example", PORTS).target == "/"
    assert parse_url("http://example.com:443/", PORTS).host_header == "example.com:443"
    assert parse_url("http://[2606:4700::1111]:80/", PORTS).host_header == "[2606:4700::1111]"
    assert str(parse_url("http://1.1.1.1/", PORTS).literal) == "1.1.1.1"
