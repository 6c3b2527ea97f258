"""Tables of [sip] about connections: [sip.connections], [sip.tls] and [sip.websocket]."""

import enum
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from opencscf.common.config import AtLeast, Fqdn, Matches, Range, Seconds


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """[sip.connections]: limits on each listener's connections, whatever stream transport it speaks."""

    max_connections: Annotated[int, Range(1, 1_000_000)] = 20_000
    max_per_source: Annotated[int, Range(1, 1_000_000)] = 2_000
    handshake_s: Seconds = 4.0
    silent_s: Seconds = 32.0
    message_s: Seconds = 32.0
    idle_s: Seconds = 3700.0  # longer than an hour's registration with its refresh
    ping_s: Seconds = 25.0


class VerifyClient(enum.StrEnum):
    """What is asked of those who connect to us over TLS."""

    NONE = "none"
    OPTIONAL = "optional"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class ServerNameSettings:
    """One [[sip.tls.server_names]]: another certificate, for those who ask for one of these names (SNI)."""

    names: Annotated[tuple[Fqdn, ...], AtLeast(1)]
    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """[sip.tls]: our certificates, in PEM with their chains, and whom we trust."""

    certificate: Path
    key: Path
    ca: Path | None = None
    verify_client: VerifyClient = VerifyClient.NONE
    server_names: tuple[ServerNameSettings, ...] = ()


WebOrigin = Annotated[
    str, Matches(r"\*|null|[a-z][a-z0-9+.-]*://[^\s/A-Z]+", 'a web origin such as "https://phone.example", or "*"')
]


@dataclass(frozen=True, slots=True)
class WebSocketSettings:
    """[sip.websocket]: the web pages whose scripts may connect; clients that are no browsers need not be listed."""

    origins: tuple[WebOrigin, ...] = ()
