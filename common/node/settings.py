"""The tables of every node's TOML file: [sip], [dns], [health], [log], [overload], [store].

Defaults open nothing but loopback.
"""

import enum
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Protocol

from opencscf.common.config import AtLeast, IpAddress, OrOne, Port, PortOrOff, Range, Seconds, SpecificIpAddress
from opencscf.common.errors import ConfigError
from opencscf.common.node.connection_settings import ConnectionSettings, TlsSettings, WebSocketSettings


class ListenTransport(enum.StrEnum):
    """What a SIP listener can speak."""

    UDP = "udp"
    TCP = "tcp"
    TLS = "tls"
    WS = "ws"
    WSS = "wss"

    @property
    def is_secured(self) -> bool:
        """Whether it needs certificates."""
        return self in {ListenTransport.TLS, ListenTransport.WSS}


@dataclass(frozen=True, slots=True)
class ListenSettings:
    """One [[sip.listen]]: an address and port to receive SIP on, which also goes into Via."""

    address: SpecificIpAddress
    port: Port = 5060
    transports: Annotated[tuple[ListenTransport, ...], AtLeast(1)] = (ListenTransport.UDP, ListenTransport.TCP)

    @property
    def is_for_browsers(self) -> bool:
        """Whether nobody can be reached here who is no WebSocket client."""
        return set(self.transports) <= {ListenTransport.WS, ListenTransport.WSS}

    def __post_init__(self) -> None:
        """Refuse transports that would need the same TCP port."""
        streams = [f'"{transport}"' for transport in self.transports if transport is not ListenTransport.UDP]
        if len(streams) > 1:
            raise ConfigError(f"transports: {' and '.join(streams)} cannot share a port: each needs a [[sip.listen]]")


@dataclass(frozen=True, slots=True)
class SipTimerSettings:
    """[sip.timers]: what the timers of RFC 3261 table 4 are derived from, and Timer C (16.6 step 11)."""

    t1_s: Seconds = 0.5
    t2_s: Seconds = 4.0
    t4_s: Seconds = 5.0
    timer_c_s: Seconds = 181.0


@dataclass(frozen=True, slots=True)
class SipSettings:
    """[sip]: where to listen, and names that need no DNS ([sip.hosts], name = IP address or a list to try in turn)."""

    listen: Annotated[tuple[ListenSettings, ...], AtLeast(1)]
    hosts: dict[str, Annotated[tuple[IpAddress, ...], AtLeast(1), OrOne()]] = field(default_factory=dict)
    large_requests_over_tcp: bool = True  # those within 200 octets of the path's MTU (RFC 3261 18.1.1)
    timers: SipTimerSettings = SipTimerSettings()
    connections: ConnectionSettings = field(default_factory=ConnectionSettings)
    websocket: WebSocketSettings = field(default_factory=WebSocketSettings)
    tls: TlsSettings | None = None

    def __post_init__(self) -> None:
        """Demand certificates where they are needed, and a way for others to reach us."""
        secured = [transport for one in self.listen for transport in one.transports if transport.is_secured]
        if secured and self.tls is None:
            raise ConfigError(f'tls: missing table, expected certificate and key for "{secured[0]}"')
        if all(one.is_for_browsers for one in self.listen):
            raise ConfigError(
                'listen: expected one with "udp", "tcp" or "tls" too, since no node connects to a WebSocket'
            )


@dataclass(frozen=True, slots=True)
class DnsServerSettings:
    """One [[dns.servers]]: a recursive server, or one that knows all names that we need."""

    address: SpecificIpAddress
    port: Port = 53


@dataclass(frozen=True, slots=True)
class DnsSettings:
    """[dns]: whom to ask for names that are not in [sip.hosts]; without servers, those of /etc/resolv.conf."""

    servers: tuple[DnsServerSettings, ...] = ()
    timeout_s: Seconds = 4.0


@dataclass(frozen=True, slots=True)
class HealthSettings:
    """[health]: where GET /health is answered; port 0 is nowhere."""

    address: IpAddress = "127.0.0.1"
    port: PortOrOff = 0


class LogLevel(enum.StrEnum):
    """From how much on a line is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class LogSettings:
    """[log]: the least level of lines on stderr, and the file that gets a line of JSON for every message, if any."""

    level: LogLevel = LogLevel.INFO
    trace: Path | None = None

    @property
    def tells_stories(self) -> bool:
        """Whether lines of level info are written; a core need not tell what nobody reads, call by call."""
        return self.level is LogLevel.INFO or self.level is LogLevel.DEBUG


@dataclass(frozen=True, slots=True)
class OverloadSettings:
    """[overload]: how long messages may wait to be read before new work is refused, and when that may come again."""

    enabled: bool = True
    target_delay_s: Annotated[float, Range(0.01, 5.0)] = 0.05
    retry_after_s: Annotated[int, Range(1, 3600)] = 5  # to twice that, so that not all come back at once


@dataclass(frozen=True, slots=True)
class InnerOverloadSettings(OverloadSettings):
    """[overload] of a node behind a P-CSCF, which refuses first: what is refused later has cost others their work."""

    target_delay_s: Annotated[float, Range(0.01, 5.0)] = 0.15


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """[store]: the file that survives a restart; without one, nothing does."""

    path: Path | None = None


class NodeSettings(Protocol):
    """What is common to every node's settings."""

    @property
    def sip(self) -> SipSettings:
        """Where to receive SIP."""
        ...

    @property
    def dns(self) -> DnsSettings:
        """Whom to ask for names."""
        ...

    @property
    def health(self) -> HealthSettings:
        """Where to answer health checks."""
        ...

    @property
    def log(self) -> LogSettings:
        """What to log."""
        ...

    @property
    def overload(self) -> OverloadSettings:
        """How much to take on."""
        ...

    @property
    def store(self) -> StoreSettings:
        """Where to keep what must survive."""
        ...
