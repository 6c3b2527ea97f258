"""Shell: SIP over UDP (RFC 3261 18): a socket read until it is empty, and a sender that never waits.

A plain socket under the loop's `add_reader`, because that costs less per datagram than a `DatagramProtocol` and lets us
count what the kernel drops. Clause numbers below are of RFC 3261.
"""

from __future__ import annotations

import errno
import socket
import struct
from typing import TYPE_CHECKING, Final

from opencscf.common.errors import ParseError, StartupError
from opencscf.common.sip.flow import Flow, Transport
from opencscf.common.sip.parser import parse
from opencscf.common.transport.stun import MAX_FIRST_OCTET, binding_response

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from opencscf.common.sip.message import Message

BUFFER_BYTES: Final = 4 << 20  # a burst of some thousand messages; the kernel gives what it allows
MAX_DATAGRAM_BYTES: Final = 65_535
LISTEN_BACKLOG: Final = 1024
MAX_BATCH: Final = 64  # datagrams in a row before the loop's other work has its turn

_SO_MEMINFO: Final = 55  # these three from Linux asm-generic/socket.h; missing in the socket module
_SO_SNDBUFFORCE: Final = 32
_SO_RCVBUFFORCE: Final = 33
_MEMINFO_DROPS: Final = 8  # Linux sock_diag.h: SK_MEMINFO_DROPS, the last of nine counters


class UdpListener:
    """One bound UDP socket: received messages go to `receive`, what cannot be parsed to `malformed`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        address: tuple[str, int],
        receive: Callable[[Message, Flow], None],
        malformed: Callable[[bytes, ParseError, Flow], None],
    ) -> None:
        self.transport = Transport.UDP
        self._loop = loop
        self._receive = receive
        self._malformed = malformed
        self._socket = bind(address, socket.SOCK_DGRAM, "udp")
        _enlarge_buffers(self._socket)
        host, port = self._socket.getsockname()[:2]
        self.address: tuple[str, int] = (host, port)
        self.is_ipv6 = ":" in host
        self.received = 0
        self.sent = 0
        self.send_drops = 0  # the send buffer was full; SIP retransmits

    def start(self) -> None:
        """Begin to receive."""
        self._loop.add_reader(self._socket.fileno(), self._on_readable)

    def send(self, data: bytes, remote: tuple[str, int]) -> str | None:
        """Send a datagram; return why it cannot be delivered, if that is known at once (18.4)."""
        try:
            self._socket.sendto(data, remote)
        except (BlockingIOError, InterruptedError):
            self.send_drops += 1
        except (OSError, OverflowError) as error:
            return reason_of(error)
        else:
            self.sent += 1
        return None

    def close(self) -> None:
        """Stop receiving and free the port."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()

    abandon = close  # before it was started

    @property
    def receive_drops(self) -> int:
        """How many datagrams the kernel dropped because we were slow (Linux; 0 elsewhere)."""
        try:
            counters = self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 4 * (_MEMINFO_DROPS + 1))
            return int(struct.unpack("9I", counters)[_MEMINFO_DROPS])
        except (OSError, struct.error):
            return 0

    def _on_readable(self) -> None:
        receive_from, local = self._socket.recvfrom, self.address
        for _ in range(MAX_BATCH):
            try:
                data, remote = receive_from(MAX_DATAGRAM_BYTES)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                continue  # the news of an earlier datagram's fate; Timers B and F tell the same
            self.received += 1
            if len(data) < 5 and not data.strip(b"\r\n\0"):
                continue  # a keep-alive (RFC 5626 3.5.1 gives UDP others, but UEs send these)
            if data[0] <= MAX_FIRST_OCTET:
                self._answer_stun(data, (remote[0], remote[1]))
                continue
            flow = Flow(Transport.UDP, local, (remote[0], remote[1]))
            try:
                message = parse(data)
            except ParseError as error:
                self._malformed(data, error, flow)
            else:
                self._receive(message, flow)
            if self._socket.fileno() < 0:
                return  # closed meanwhile

    def _answer_stun(self, data: bytes, remote: tuple[str, int]) -> None:
        if (answer := binding_response(data, remote)) is not None:
            self.send(answer, remote)


def _enlarge_buffers(opened: socket.socket) -> None:
    """Ask for large buffers: beyond the host's limit if we may, else as much as it gives."""
    for forced, usual in ((_SO_RCVBUFFORCE, socket.SO_RCVBUF), (_SO_SNDBUFFORCE, socket.SO_SNDBUF)):
        try:
            opened.setsockopt(socket.SOL_SOCKET, forced, BUFFER_BYTES)
        except OSError:
            opened.setsockopt(socket.SOL_SOCKET, usual, BUFFER_BYTES)


def bind(address: tuple[str, int], kind: socket.SocketKind, protocol: str) -> socket.socket:
    """Return a non-blocking socket bound to an address, or raise `StartupError` that says which and why."""
    host, port = address
    shown = f"[{host}]:{port}/{protocol}" if ":" in host else f"{host}:{port}/{protocol}"
    try:
        bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
    except OSError as error:
        raise StartupError(f"{shown} cannot be opened: {reason_of(error)}") from error
    try:
        bound.setblocking(False)
        if ":" in host:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind is socket.SOCK_STREAM:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        if kind is socket.SOCK_STREAM:
            bound.listen(LISTEN_BACKLOG)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise StartupError(f"{shown} is in use by another process") from error
        raise StartupError(f"{shown} cannot be opened: {reason_of(error)}") from error
    return bound


def reason_of(error: Exception) -> str:
    """Say in a few words what the system said."""
    if not isinstance(error, OSError):
        return str(error) or type(error).__name__
    if error.errno == errno.EADDRNOTAVAIL:
        return "this host does not have the address"
    return (error.strerror or str(error) or type(error).__name__).lower()
