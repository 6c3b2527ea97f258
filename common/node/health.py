"""Shell: GET /health over HTTP/1.1: 200 with a JSON object if its `status` is "ok", else 503 with the same."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import TYPE_CHECKING, Final, cast

import h11

from opencscf.common.errors import StartupError
from opencscf.common.transport.udp import bind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_CONNECTIONS: Final = 64
MAX_HEAD_BYTES: Final = 8192
TIMEOUT_S: Final = 5.0  # for the whole of a connection


class HealthServer:
    """Answers what `status` says; one request per connection."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        address: tuple[str, int],
        status: Callable[[], Mapping[str, object]],
    ) -> None:
        self.status = status
        self.connections: set[asyncio.Transport] = set()
        self._loop = loop
        try:
            self._socket = bind(address, socket.SOCK_STREAM, "tcp")
        except StartupError as error:
            raise StartupError(f"health: {error}") from error
        self.address: tuple[str, int] = self._socket.getsockname()[:2]
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Begin to answer."""
        self._server = await self._loop.create_server(lambda: _Connection(self, self._loop), sock=self._socket)

    def close(self) -> None:
        """Stop answering."""
        if self._server is not None:
            self._server.close()
        self._socket.close()
        for transport in list(self.connections):
            transport.abort()


class _Connection(asyncio.Protocol):
    """One request and its answer."""

    def __init__(self, server: HealthServer, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._loop = loop
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class only looks like one
        if len(self._server.connections) >= MAX_CONNECTIONS:
            self._transport.abort()
            return
        self._server.connections.add(self._transport)
        self._deadline = self._loop.call_later(TIMEOUT_S, self._transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        if self._transport is not None:
            self._server.connections.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        try:
            self._http.receive_data(data)
            event = self._http.next_event()
        except h11.RemoteProtocolError as error:
            self._answer(error.error_status_hint, {"error": str(error)})
            return
        if isinstance(event, h11.Request):
            self._on_request(event)

    def _on_request(self, request: h11.Request) -> None:
        path = request.target.partition(b"?")[0]
        if path != b"/health":
            self._answer(404, {"error": "there is only /health"})
        elif request.method not in {b"GET", b"HEAD"}:
            self._answer(405, {"error": "only GET is allowed"})
        else:
            status = self._server.status()
            self._answer(200 if status.get("status") == "ok" else 503, status)

    def _answer(self, code: int, content: Mapping[str, object]) -> None:
        body = json.dumps(content).encode() + b"\n"
        headers = [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("Connection", "close"),
        ]
        if code == 405:
            headers.append(("Allow", "GET, HEAD"))
        parts = [self._http.send(h11.Response(status_code=code, headers=headers))]
        parts.append(self._http.send(h11.Data(data=body)))  # h11 leaves it out in the answer to HEAD
        parts.append(self._http.send(h11.EndOfMessage()))
        if self._transport is not None:
            self._transport.write(b"".join(part for part in parts if part))
            self._transport.close()
