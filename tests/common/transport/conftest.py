"""What the transport tests share: an event loop to run in, an endpoint that remembers, a request, and a DNS server."""

import asyncio
import contextlib
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import pytest
import uvloop

from opencscf.common.errors import ParseError, StartupError
from opencscf.common.node.connection_settings import ConnectionSettings, TlsSettings
from opencscf.common.node.settings import ListenSettings, ListenTransport
from opencscf.common.sip.flow import Flow, Hop
from opencscf.common.sip.message import Message, Request
from opencscf.common.transport.endpoint import SipEndpoint
from opencscf.common.transport.handlers import Handlers
from opencscf.common.transport.icmp import Undelivered

T = TypeVar("T")
Run: TypeAlias = Callable[[Coroutine[Any, Any, T]], T]


class Heard:
    """An endpoint and what it was told."""

    def __init__(self, endpoint: SipEndpoint) -> None:
        self.endpoint = endpoint
        self.received: asyncio.Queue[tuple[Message, Flow]] = asyncio.Queue()
        self.malformed: asyncio.Queue[tuple[bytes, ParseError, Flow]] = asyncio.Queue()
        self.failed: asyncio.Queue[tuple[Hop | Flow, str]] = asyncio.Queue()
        self.lost: asyncio.Queue[tuple[Flow, str]] = asyncio.Queue()
        self.reloaded: asyncio.Queue[StartupError | None] = asyncio.Queue()
        self.undelivered: asyncio.Queue[Undelivered] = asyncio.Queue()
        self.address = endpoint.addresses[0]

    def handlers(self) -> Handlers:
        return Handlers(
            receive=lambda message, flow: self.received.put_nowait((message, flow)),
            malformed=lambda data, error, flow: self.malformed.put_nowait((data, error, flow)),
            failed=lambda target, reason: self.failed.put_nowait((target, reason)),
            lost=lambda flow, reason: self.lost.put_nowait((flow, reason)),
            reloaded=self.reloaded.put_nowait,
            undelivered=self.undelivered.put_nowait,
        )


def open_at_free_ports(settings: list[ListenSettings], **options: Any) -> SipEndpoint:
    """Open an endpoint; the port that is free for UDP may not be for TCP, and then another one is tried."""
    for _ in range(20):
        with contextlib.suppress(StartupError):
            return SipEndpoint(asyncio.get_running_loop(), settings, **options)
    return SipEndpoint(asyncio.get_running_loop(), settings, **options)


@asynccontextmanager
async def listening(
    *addresses: str,
    transports: tuple[ListenTransport, ...] = (ListenTransport.UDP, ListenTransport.TCP),
    connections: ConnectionSettings | None = None,
    tls: TlsSettings | None = None,
    origins: tuple[str, ...] = (),
) -> AsyncIterator[Heard]:
    settings = [ListenSettings(address, 0, transports) for address in addresses or ("127.0.0.1",)]
    heard = Heard(open_at_free_ports(settings, connections=connections, tls=tls, origins=origins))
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


DNS_ZONE = {
    "host-record": [
        "one.ims.test,127.0.5.1,2001:db8::1",
        "two.ims.test,127.0.5.2",
        *[f"big{number}.ims.test,127.0.6.{number}" for number in range(1, 61)],
    ],
    "cname": ["alias.ims.test,one.ims.test"],
    "srv-host": [
        "_sip._udp.ims.test,two.ims.test,5080,20,1",
        "_sip._udp.ims.test,one.ims.test,5070,10,1",
        "_sip._tcp.ims.test,two.ims.test,5090,10,1",
        "_sip._tcp.closed.ims.test",
        *[f"_sip._udp.big.ims.test,big{number}.ims.test,5060,{number}" for number in range(1, 61)],
    ],
    "naptr-record": [
        "ims.test,10,10,s,SIPS+D2T,,_sips._tcp.ims.test",
        "ims.test,30,10,s,SIP+D2T,,_sip._tcp.ims.test",
        "ims.test,20,20,s,SIP+D2U,,_sip._udp.ims.test",
        "naptr.ims.test,10,20,u,E2U+sip,!^.*$!sip:x@ims.test!",
    ],
}


class DnsServer:
    """Debian's dnsmasq: all names under ims.test live 7 seconds, others are refused."""

    def __init__(self, program: str, log: Path) -> None:
        self._log = log
        for _ in range(20):  # the port that is free for UDP may not be for TCP
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                udp.bind(("127.0.0.1", 0))
                self.address: tuple[str, int] = udp.getsockname()
            if self._started(program):
                return
        pytest.fail(log.read_text())

    def _started(self, program: str) -> bool:
        records = [f"--{name}={value}" for name, values in DNS_ZONE.items() for value in values]
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [
                    program, "--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--pid-file=",
                    "--user=", "--log-facility=-", "--log-queries", "--listen-address=127.0.0.1",
                    "--bind-interfaces", f"--port={self.address[1]}", "--auth-server=ns.ims.test,127.0.0.1",
                    "--auth-zone=ims.test", "--auth-soa=1", "--auth-ttl=7", *records,
                ],
                stderr=log,
            )  # fmt: skip
        while self._process.poll() is None:
            if "started, version" in self._log.read_text():  # its sockets were open before
                return True
        return False

    def questions(self) -> list[str]:
        """Every question so far, such as "SRV _sip._udp.ims.test"."""
        lines = [line.partition("auth[")[2].split() for line in self._log.read_text().splitlines()]
        return [f"{words[0].removesuffix(']')} {words[1]}" for words in lines if words]

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


@pytest.fixture
def dns_server(tmp_path: Path) -> Iterator[DnsServer]:
    """A DNS server that knows DNS_ZONE, on loopback."""
    program = shutil.which("dnsmasq", path="/usr/local/sbin:/usr/sbin:/sbin:/usr/bin")
    if program is None:
        pytest.skip("needs dnsmasq")
    server = DnsServer(program, tmp_path / "dnsmasq.log")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def openssl() -> str:
    """The program that makes the certificates; Debian's smallest installation has none, and tests/run adds it."""
    return shutil.which("openssl") or pytest.skip("needs openssl")
