"""Shell: TLS between the bytes of a connection and its framing (RFC 3261 26.3, RFC 5922), on the ssl module's BIOs.

Done here and not by the event loop, so that a connection counts from its first byte and each failure tells its reason.

Versions below 1.2, compression, renegotiation and session tickets are off: a SIP connection lives for hours, so that a
handshake in full costs little, and each shall be verified against the certificates of its day. Clause numbers below are
of RFC 5922. Not covered: the Common Name as a SIP domain (7.1 allows it for certificates without subjectAltName, RFC
9525 does not), revocation lists, and the extended key usage of RFC 5924.
"""

from __future__ import annotations

import contextlib
import ipaddress
import ssl
from typing import TYPE_CHECKING, Any, Final

from opencscf.common.errors import StartupError
from opencscf.common.node.connection_settings import VerifyClient
from opencscf.common.transport.udp import reason_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from opencscf.common.node.connection_settings import TlsSettings

_CHUNK: Final = 65_536
_VERIFY: Final = {
    VerifyClient.NONE: ssl.CERT_NONE,
    VerifyClient.OPTIONAL: ssl.CERT_OPTIONAL,
    VerifyClient.REQUIRED: ssl.CERT_REQUIRED,
}


class Certificates:
    """A node's certificates and whom it trusts, as the files were when they were last loaded."""

    def __init__(self, settings: TlsSettings) -> None:
        """Load every file, or raise `StartupError` that names it."""
        self._settings = settings
        self._pairs = [(settings.certificate, settings.key)]
        self._pairs += [(one.certificate, one.key) for one in settings.server_names]
        self._stamps = self._look()
        self._server, self._client = self._load()

    def for_client(self) -> TlsSession:
        """Begin with somebody who has connected to us."""
        return TlsSession(self._server, None)

    def for_server(self, name: str) -> TlsSession:
        """Begin with somebody whom we connect to, whose certificate must be for a domain or address."""
        return TlsSession(self._client, name)

    def reload(self) -> bool:
        """Load the files again if any has changed, for connections to come; `StartupError` leaves things as they were.

        Files that cannot be used are not tried again until one of them changes.
        """
        stamps = self._look()
        if stamps == self._stamps:
            return False
        self._stamps = stamps
        self._server, self._client = self._load()
        return True

    def _look(self) -> tuple[tuple[int, int, int] | None, ...]:
        paths = [path for pair in self._pairs for path in pair]
        if self._settings.ca is not None:
            paths.append(self._settings.ca)
        return tuple(map(_stamp, paths))

    def _load(self) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        servers = [self._context(ssl.PROTOCOL_TLS_SERVER, *pair) for pair in self._pairs]
        by_name = {
            name.lower(): context
            for one, context in zip(self._settings.server_names, servers[1:], strict=True)
            for name in one.names
        }
        if by_name:
            servers[0].sni_callback = _chooser(by_name)
        servers[0].verify_mode = _VERIFY[self._settings.verify_client]
        return servers[0], self._context(ssl.PROTOCOL_TLS_CLIENT, *self._pairs[0])

    def _context(self, side: int, certificate: Path, key: Path) -> ssl.SSLContext:
        context = ssl.SSLContext(side)
        context.check_hostname = False  # SIP has rules of its own: `names_of`
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
        if side == ssl.PROTOCOL_TLS_SERVER:
            context.num_tickets = 0
        _read_pair(context, certificate, key)
        self._trust(context, ssl.Purpose.CLIENT_AUTH if side == ssl.PROTOCOL_TLS_SERVER else ssl.Purpose.SERVER_AUTH)
        return context

    def _trust(self, context: ssl.SSLContext, purpose: ssl.Purpose) -> None:
        ca = self._settings.ca
        if ca is None:
            context.load_default_certs(purpose)
            return
        try:
            context.load_verify_locations(ca)
        except ssl.SSLError as error:
            raise StartupError(f"sip.tls: {ca}: no certificates in PEM form") from error
        except OSError as error:
            raise StartupError(f"sip.tls: {ca}: {reason_of(error)}") from error


class TlsSession:
    """One connection's TLS: bytes in, text out, and the other way round."""

    __slots__ = ("_incoming", "_outgoing", "_ssl", "_wanted", "fault", "is_open", "is_over")

    def __init__(self, context: ssl.SSLContext, wanted: str | None) -> None:
        """Take what the peer's certificate must be for, or None if the peer has connected to us."""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._wanted = wanted
        self.fault = ""  # why it is over, "" if in peace
        self.is_open = False  # the handshake is done
        self.is_over = False
        name = wanted if wanted and not _is_address(wanted) else None
        is_server = wanted is None
        try:
            self._ssl = context.wrap_bio(self._incoming, self._outgoing, server_side=is_server, server_hostname=name)
        except ValueError:  # such as a label of 64 letters
            self._fail(f"{name} is not a host name")
            return
        if not is_server:
            self._shake_hands()

    def feed(self, data: bytes) -> bytes:
        """Take what was received and return the text in it."""
        if self.is_over:
            return b""
        self._incoming.write(data)
        if not self.is_open:
            self._shake_hands()
        text = bytearray()
        while self.is_open and not self.is_over:
            try:
                chunk = self._ssl.read(_CHUNK)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                chunk = b""
            except ssl.SSLError as error:
                self._fail(_why(error))
                break
            if not chunk:  # the peer has taken leave
                self.is_over = True
            text += chunk
        return bytes(text)

    def seal(self, text: bytes) -> None:
        """Take a text to send; once over, it is dropped."""
        rest = memoryview(text)
        while rest and not self.is_over:
            try:
                rest = rest[self._ssl.write(rest) :]
            except ssl.SSLError as error:
                self._fail(_why(error))

    def output(self) -> bytes:
        """Return the bytes that wait to be sent."""
        return self._outgoing.read()

    def end(self) -> None:
        """Take leave."""
        if self.is_open and not self.fault:
            with contextlib.suppress(ssl.SSLError):
                self._ssl.unwrap()  # does not wait: that the peer's leave has not come is an error that we pass over

    def _shake_hands(self) -> None:
        try:
            self._ssl.do_handshake()
        except ssl.SSLWantReadError:
            return
        except ssl.SSLError as error:
            self._fail(_why(error))
            return
        if self._wanted is not None and not (names := names_of(self._ssl.getpeercert() or {})).covers(self._wanted):
            self._fail(f"its certificate is for {names}, not for {self._wanted}")
            return
        self.is_open = True

    def _fail(self, reason: str) -> None:
        self.fault = f"TLS: {reason}"
        self.is_over = True


class Names:
    """What a certificate is for: SIP domains, and addresses."""

    __slots__ = ("_addresses", "_domains")

    def __init__(self, domains: list[str], addresses: list[str]) -> None:
        self._domains = [_comparable(domain) for domain in domains]
        self._addresses = addresses

    def covers(self, wanted: str) -> bool:
        """Compare with a domain as a whole, so that a wildcard is none (7.2), or with an address by value."""
        if _is_address(wanted):
            address = ipaddress.ip_address(wanted)
            return any(_is_address(one) and ipaddress.ip_address(one) == address for one in self._addresses)
        return _comparable(wanted) in self._domains

    def __str__(self) -> str:
        return " ".join([*self._domains, *self._addresses]) or "nobody"


def names_of(certificate: Mapping[str, Any]) -> Names:  # as the ssl module gives it
    """Read the SIP domains of a certificate: its SIP URIs without a user, and its DNS names (7.1)."""
    domains: list[str] = []
    addresses: list[str] = []
    for kind, value in certificate.get("subjectAltName", ()):
        if kind == "DNS":
            domains.append(value)
        elif kind == "IP Address":
            addresses.append(value.strip())
        elif kind == "URI":
            scheme, _, host = value.partition(":")
            if scheme.lower() == "sip" and "@" not in host:
                domains.append(host)
    return Names(domains, addresses)


def _chooser(by_name: Mapping[str, ssl.SSLContext]) -> Any:  # the ssl module's own type for it has Any
    def choose(session: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        context = by_name.get(_comparable(name or ""))
        if context is not None:
            session.context = context

    return choose


def _read_pair(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    for path in (certificate, key):
        try:
            path.read_bytes()  # the ssl module would not say which of the two is missing
        except OSError as error:
            raise StartupError(f"sip.tls: {path}: {reason_of(error)}") from error
    try:
        context.load_cert_chain(certificate, key, password=str)  # "" for a key that has one: nobody is there to ask
    except (ssl.SSLError, OSError, ValueError) as error:
        raise StartupError(f"sip.tls: {certificate} and {key} cannot be used: {_why(error)}") from error


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return str(error) or type(error).__name__


def _comparable(name: str) -> str:
    return name.lower().removesuffix(".")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
