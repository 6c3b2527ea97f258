"""Where messages go to and come from: a hop is an address to send to, a flow is a path that already exists.

Tuples, because one is made for every datagram received.
"""

from __future__ import annotations

import enum
import ipaddress
from typing import NamedTuple


class Transport(enum.StrEnum):
    """Transports by their name in Via (RFC 3261 20.42, RFC 7118 5.2)."""

    UDP = "UDP"
    TCP = "TCP"
    TLS = "TLS"
    WS = "WS"
    WSS = "WSS"

    @property
    def is_reliable(self) -> bool:
        """Whether the transport itself retransmits, so that the transactions need not."""
        return self is not Transport.UDP

    @property
    def is_secured(self) -> bool:
        """Whether the transport runs over TLS."""
        return self is Transport.TLS or self is Transport.WSS


class Hop(NamedTuple):
    """An address to send to: `host` is an IP literal without brackets.

    `name` is set for TLS only: the domain, in lower case, that the peer's certificate must be for (RFC 5922 7). It
    counts in comparisons, since a connection that was verified for one domain is none to another; without it, the
    certificate must be for the address.
    """

    transport: Transport
    host: str
    port: int
    name: str = ""

    def __str__(self) -> str:
        return _text(self.transport, self.host, self.port)

    @property
    def is_ipv6(self) -> bool:
        """Whether the address is one of IPv6."""
        return ":" in self.host


class Flow(NamedTuple):
    """The path a message arrived on, good for sending back on it.

    `connection` numbers a stream connection within this process and is 0 for UDP. `local` and `remote` are
    (IP literal without brackets, port).
    """

    transport: Transport
    local: tuple[str, int]
    remote: tuple[str, int]
    connection: int = 0

    def __str__(self) -> str:
        return _text(self.transport, *self.remote)

    @property
    def hop(self) -> Hop:
        """The address at the flow's other end."""
        return Hop(self.transport, *self.remote)

    @property
    def is_ipv6(self) -> bool:
        """Whether the flow runs over IPv6."""
        return ":" in self.remote[0]


def is_towards(target: Hop | Flow, remote: tuple[str, int]) -> bool:
    """Whether a target is at an address, however that is written."""
    host, port = target.remote if isinstance(target, Flow) else (target.host, target.port)
    if port != remote[1]:
        return False
    return host == remote[0] or ipaddress.ip_address(host) == ipaddress.ip_address(remote[0])


def _text(transport: Transport, host: str, port: int) -> str:
    """Write an address the way people do: IPv6 in brackets, the transport behind."""
    return f"[{host}]:{port}/{transport.lower()}" if ":" in host else f"{host}:{port}/{transport.lower()}"
