import asyncio
import json
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from opencscf.common.errors import StartupError
from opencscf.common.node import health
from opencscf.common.node.health import HealthServer

OK: dict[str, object] = {"node": "scscf", "status": "ok", "peers": {"hss.ims.test": "open"}}


def serving(status: dict[str, object], use: Callable[[HealthServer], Coroutine[Any, Any, None]]) -> None:
    async def scenario() -> None:
        server = HealthServer(asyncio.get_running_loop(), ("127.0.0.1", 0), lambda: status)
        await server.start()
        try:
            async with asyncio.timeout(10):
                await use(server)
        finally:
            server.close()

    uvloop.run(scenario())


async def ask(server: HealthServer, request: bytes) -> tuple[str, bytes]:
    """Return the head and the body of the answer; the server closes."""
    reader, writer = await asyncio.open_connection(*server.address)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.decode(), body


@pytest.mark.parametrize(("status", "code"), [("ok", 200), ("degraded", 503)])
def test_status_is_json_and_its_code_tells_enough(status: str, code: int) -> None:
    content = OK | {"status": status}

    async def use(server: HealthServer) -> None:
        head, body = await ask(server, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert head.startswith(f"HTTP/1.1 {code} ")
        assert json.loads(body) == content
        assert f"content-length: {len(body)}" in head.lower()

    serving(content, use)


@pytest.mark.parametrize(
    ("request_text", "code"),
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 404, id="another path"),
        pytest.param(b"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx", 405, id="another method"),
        pytest.param(b"GET /health HTTP/1.1\r\n\r\n", 400, id="no Host"),
        pytest.param(b"OPTIONS sip:x SIP/2.0\r\n\r\n", 400, id="another protocol"),
        pytest.param(b"\xff\xfe\r\n\r\n", 400, id="no text"),
        pytest.param(b"GET /health HTTP/1.1\r\nX: " + b"y" * 20_000, 431, id="too large"),
        pytest.param(b"GET /health HTTP/1.0\r\n\r\n", 200, id="HTTP/1.0"),
        pytest.param(b"GET /health?verbose=1 HTTP/1.1\r\nHost: x\r\n\r\n", 200, id="with a query"),
    ],
)
def test_other_requests_get_their_code(request_text: bytes, code: int) -> None:
    async def use(server: HealthServer) -> None:
        assert (await ask(server, request_text))[0].startswith(f"HTTP/1.1 {code} ")

    serving(OK, use)


def test_head_has_no_body() -> None:
    async def use(server: HealthServer) -> None:
        assert (await ask(server, b"HEAD /health HTTP/1.1\r\nHost: x\r\n\r\n"))[1] == b""

    serving(OK, use)


def test_a_request_may_come_in_pieces() -> None:
    async def use(server: HealthServer) -> None:
        reader, writer = await asyncio.open_connection(*server.address)
        for byte in b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n":
            writer.write(bytes([byte]))
            await writer.drain()
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        writer.close()

    serving(OK, use)


def test_who_asks_nothing_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "TIMEOUT_S", 0.05)

    async def use(server: HealthServer) -> None:
        assert await ask(server, b"GET /hea") == ("", b"")

    serving(OK, use)


def test_connections_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "MAX_CONNECTIONS", 1)

    async def use(server: HealthServer) -> None:
        _, first = await asyncio.open_connection(*server.address)
        reader, second = await asyncio.open_connection(*server.address)
        assert await reader.read() == b""
        first.close()
        second.close()

    serving(OK, use)


def test_a_busy_port_is_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = taken.getsockname()

        async def scenario() -> None:
            HealthServer(asyncio.get_running_loop(), address, lambda: OK)

        with pytest.raises(StartupError, match=rf"^health: 127\.0\.0\.1:{address[1]}/tcp is in use by another process"):
            asyncio.run(scenario())
