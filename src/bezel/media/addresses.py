"""Which hosts and addresses of the internet may be asked for a file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network
from urllib.parse import urlsplit

from bezel.errors import MediaSourceError

Address = IPv4Address | IPv6Address

# IANA's registries of special addresses (RFC 6890 and what followed), and multicast. Our own list, since that of
# Python's ipaddress differs from release to release.
_SPECIAL_4 = [
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",  # carriers' NAT
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local, and the metadata services of clouds
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
]
_GLOBAL_6 = IPv6Network("2000::/3")
_SPECIAL_6 = [
    IPv6Network(network)
    for network in (
        "2001::/23",  # Teredo and other protocols
        "2001:db8::/32",
        "2002::/16",  # 6to4 holds an IPv4 address
        "2620:4f:8000::/48",
        "3fff::/20",
    )
]
_NAT64 = IPv6Network("64:ff9b::/96")  # how an IPv6-only network reaches IPv4
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_URL = re.compile(r"[!-~]+")
_BRACKETED = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::[0-9]+)?")
_NUMERIC = re.compile(r"(0[xX][0-9A-Fa-f]*|[0-9]+)")


def is_public(address: Address) -> bool:
    """Whether an address is somebody's on the internet, neither of this machine or network nor a way around that."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _SPECIAL_4)
    if address in _NAT64:
        return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
    # Mapped and compatible IPv4, loopback, private, link-local and multicast all lie outside 2000::/3; so do scopes.
    return address in _GLOBAL_6 and address.scope_id is None and not any(address in network for network in _SPECIAL_6)


@dataclass(frozen=True)
class Place:
    """A web address taken apart. `literal` where the host is an address, not a name."""

    secure: bool
    host: str
    port: int
    target: str
    literal: Address | None

    @property
    def host_header(self) -> str:
        host = f"[{self.host}]" if isinstance(self.literal, IPv6Address) else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"


def parse_url(url: str, ports: frozenset[int]) -> Place:
    """A web address in its plain form; whatever two readers could understand differently is refused.

    Raises MediaSourceError for other schemes and ports than `ports`, user names, and hosts that are not ASCII, end in a
    dot, or write an IPv4 address in any way but four decimal numbers.
    """
    if not _URL.fullmatch(url) or "\\" in url:
        raise MediaSourceError("the web address has spaces, backslashes or characters outside ASCII; encode them")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise MediaSourceError("the web address cannot be read; write https://host/path") from None
    if parts.scheme not in ("http", "https"):
        raise MediaSourceError(f"{parts.scheme or 'no scheme'}: only http and https addresses are fetched")
    secure = parts.scheme == "https"
    authority = parts.netloc
    if "@" in authority or "%" in authority or not authority or authority.endswith(":"):
        raise MediaSourceError(
            "the web address has a user name, an encoded host or an empty part; write https://host/path"
        )
    port = (443 if secure else 80) if port is None else port
    if port not in ports:
        raise MediaSourceError(f"port {port} is not asked for files; allowed are {sorted(ports)}")
    host, literal = _host(authority)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Place(secure, host, port, target, literal)


def _host(authority: str) -> tuple[str, Address | None]:
    if authority.startswith("["):
        bracketed = _BRACKETED.fullmatch(authority)
        inside = bracketed[1] if bracketed else ""
        try:
            return inside, IPv6Address(inside)
        except AddressValueError:
            raise MediaSourceError("the IPv6 address in the web address cannot be read") from None
    host = authority.partition(":")[0].lower()
    labels = host.split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise MediaSourceError("the host of the web address is not a plain name; write it as DNS has it (xn--...)")
    if _NUMERIC.fullmatch(labels[-1]):
        try:
            return host, IPv4Address(host)
        except AddressValueError:
            raise MediaSourceError("write IPv4 addresses as four decimal numbers without leading zeros") from None
    return host, None
