"""What the transport tests share: an event loop to run in, an endpoint that remembers, and a request to send."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias, TypeVar

import pytest
import uvloop

from opencscf.common.errors import ParseError, StartupError
from opencscf.common.node.settings import ListenSettings, ListenTransport
from opencscf.common.sip.flow import Flow, Hop
from opencscf.common.sip.message import Message, Request
from opencscf.common.transport.endpoint import Handlers, SipEndpoint

T = TypeVar("T")
Run: TypeAlias = Callable[[Coroutine[Any, Any, T]], T]


class Heard:
    """An endpoint and what it was told."""

    def __init__(self, endpoint: SipEndpoint) -> None:
        self.endpoint = endpoint
        self.received: asyncio.Queue[tuple[Message, Flow]] = asyncio.Queue()
        self.malformed: asyncio.Queue[tuple[bytes, ParseError, Flow]] = asyncio.Queue()
        self.failed: asyncio.Queue[tuple[Hop | Flow, str]] = asyncio.Queue()
        self.address = endpoint.addresses[0]

    def handlers(self) -> Handlers:
        return Handlers(
            receive=lambda message, flow: self.received.put_nowait((message, flow)),
            malformed=lambda data, error, flow: self.malformed.put_nowait((data, error, flow)),
            failed=lambda target, reason: self.failed.put_nowait((target, reason)),
        )


def open_at_free_ports(settings: list[ListenSettings]) -> SipEndpoint:
    """Open an endpoint; the port that is free for UDP may not be for TCP, and then another one is tried."""
    for _ in range(20):
        with contextlib.suppress(StartupError):
            return SipEndpoint(asyncio.get_running_loop(), settings)
    return SipEndpoint(asyncio.get_running_loop(), settings)


@asynccontextmanager
async def listening(*addresses: str, transports: tuple[ListenTransport, ...] | None = None) -> AsyncIterator[Heard]:
    chosen = transports or (ListenTransport.UDP, ListenTransport.TCP)
    settings = [ListenSettings(address, 0, chosen) for address in addresses or ("127.0.0.1",)]
    heard = Heard(open_at_free_ports(settings))
    await heard.endpoint.start(heard.handlers())
    try:
        yield heard
    finally:
        await heard.endpoint.close()


@pytest.fixture
def listen() -> Callable[..., AbstractAsyncContextManager[Heard]]:
    """Open an endpoint on loopback addresses, at free ports."""
    return listening


@pytest.fixture
def run() -> Run[Any]:
    """Run a coroutine on the nodes' kind of loop, and give up on it after a few seconds."""

    def run_it(coroutine: Coroutine[Any, Any, T]) -> T:
        async def limited() -> T:
            async with asyncio.timeout(10):
                return await coroutine

        return uvloop.run(limited())

    return run_it


@pytest.fixture
def options() -> Request:
    return Request.new(
        "OPTIONS",
        "sip:ims.test",
        [
            ("Via", "SIP/2.0/UDP 127.0.2.1:5070;branch=z9hG4bK1"),
            ("Max-Forwards", "70"),
            ("From", "<sip:alice@ims.test>;tag=1"),
            ("To", "<sip:alice@ims.test>"),
            ("Call-ID", "a84b4c76"),
            ("CSeq", "2 OPTIONS"),
        ],
    )
