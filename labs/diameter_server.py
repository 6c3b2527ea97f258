"""Shell: the TCP server under the lab's HSS and PCRF. It moves bytes; `diameter_peer` decides."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Final, cast

from opencscf.common.errors import StartupError
from opencscf.common.node.trace import host_port
from opencscf.common.transport.udp import bind
from opencscf.labs.diameter_peer import LocalNode, ServedPeer

if TYPE_CHECKING:
    from opencscf.common.node.clock import Clock

TICK_S: Final = 1.0
MAX_CONNECTIONS: Final = 200
MAX_UNREAD_BYTES: Final = 4 << 20  # a peer that does not read its answers is closed
GOODBYE_S: Final = 1.0  # how long a stop waits for DPAs


class DiameterServer:
    """Accepts peers for one `LocalNode`."""

    def __init__(self, node: LocalNode, clock: Clock) -> None:
        self.node = node
        self.clock = clock
        self.connections: set[_Connection] = set()
        self._all_left = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._ticks: asyncio.TimerHandle | None = None

    async def start(self, address: str, port: int) -> None:
        """Listen, or raise `StartupError`."""
        loop = asyncio.get_running_loop()
        listening = bind((address, port), socket.SOCK_STREAM, "tcp")
        self._server = await loop.create_server(lambda: _Connection(self), sock=listening)
        self._ticks = loop.call_later(TICK_S, self._tick)

    @property
    def port(self) -> int:
        """The port listened on, for tests that let the system choose it."""
        if self._server is None:
            raise StartupError("the server does not listen")
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Take leave of every peer and stop listening."""
        if self._ticks is not None:
            self._ticks.cancel()
        if self._server is not None:
            self._server.close()
        self._all_left.clear()
        for connection in list(self.connections):
            connection.say_goodbye()
        if self.connections:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_left.wait(), GOODBYE_S)
        for connection in list(self.connections):
            connection.abort()

    def left(self, connection: _Connection) -> None:
        """Forget a connection that is gone."""
        self.connections.discard(connection)
        if not self.connections:
            self._all_left.set()

    def _tick(self) -> None:
        for connection in list(self.connections):
            connection.tick()
        self._ticks = asyncio.get_running_loop().call_later(TICK_S, self._tick)


class _Connection(asyncio.Protocol):
    def __init__(self, server: DiameterServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        remote = host_port(self._transport.get_extra_info("peername")[:2])
        self._peer = ServedPeer(self._server.node, remote, self._server.clock.now())
        self._server.connections.add(self)
        if len(self._server.connections) > MAX_CONNECTIONS:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._send(self._peer.receive(data, self._server.clock.now()))

    def connection_lost(self, exc: Exception | None) -> None:
        self._peer.lost("connection closed" if exc is None else str(exc))
        self._server.left(self)

    def tick(self) -> None:
        self._send(self._peer.tick(self._server.clock.now()))

    def say_goodbye(self) -> None:
        self._send(self._peer.disconnect())

    def abort(self) -> None:
        self._transport.abort()

    def _send(self, data: bytes) -> None:
        if data:
            self._transport.write(data)
        if self._peer.is_closing:
            self._transport.close()
        elif self._transport.get_write_buffer_size() > MAX_UNREAD_BYTES:
            self._transport.abort()
