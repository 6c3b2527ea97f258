"""Shell: a node's process, from its command line to its orderly stop.

A node's `__main__.py` says which settings it has and how its core is built from them:

    def build(config: IcscfConfig, context: Context) -> Node:
        cx = DiameterClient(config.cx, CX, clock=context.clock, log=context.log, trace=context.trace)
        core = ICscf(config, context.own, context.ids)
        return Node(core, {UserAuthorizationRequest: cx.ask}, (Client("cx", cx),))

    def main() -> int:
        return run("icscf", IcscfConfig, build)

Everything is opened before anything is served: a busy port or a damaged file is known before the first message, and
SIP is answered only once the Diameter peers that the node cannot do without are there. The exit status is 0 after an
orderly stop, 1 if the host did not let the node start, 2 if its settings or command line are wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ipaddress
import resource
import signal
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import uvloop

from opencscf.common.actions import Question, Save
from opencscf.common.config import load
from opencscf.common.errors import ConfigError, OpencscfError, PeerUnavailable, StartupError
from opencscf.common.ids import Ids
from opencscf.common.node.clock import TICK_S, Clock, SystemClock, TimerWheel
from opencscf.common.node.garbage import CHECK_S, GarbageCollection
from opencscf.common.node.health import HealthServer
from opencscf.common.node.log import Log
from opencscf.common.node.overload import INTERVAL_S, Begun, Ended, Overload
from opencscf.common.node.runtime import Asker, Due, Reply, Runtime
from opencscf.common.node.settings import NodeSettings
from opencscf.common.node.store import NoStore, SqliteStore, Store
from opencscf.common.node.trace import Trace, host_port
from opencscf.common.sip.flow import Transport
from opencscf.common.sip.proxy import OwnUris
from opencscf.common.sip.stack import SipStack
from opencscf.common.sip.timers import TimerValues
from opencscf.common.transport.dns import Resolver
from opencscf.common.transport.endpoint import SipEndpoint
from opencscf.common.transport.handlers import Handlers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opencscf.common.events import Core
    from opencscf.common.sip.flow import Flow
    from opencscf.common.sip.message import Request

S = TypeVar("S", bound=NodeSettings)

PEERS_AT_START_S: Final = 10.0  # how long a needed peer may take to be there
STOP_S: Final = 5.0  # how long peers may take to let us go
FLUSH_S: Final = 1.0  # how often counted lines and the trace are written


class PeerState(Protocol):
    """How it stands with one peer, in words."""

    @property
    def host(self) -> str:
        """The peer's name."""
        ...

    def __str__(self) -> str: ...


class Peers(Protocol):
    """The peers of one application, such as a `DiameterClient`."""

    @property
    def is_open(self) -> bool:
        """Whether one of them can be asked now."""
        ...

    def start(self) -> None:
        """Begin to connect."""
        ...

    async def wait_open(self, timeout_s: float) -> None:
        """Return once one can be asked, or raise `PeerUnavailable`."""
        ...

    async def stop(self) -> None:
        """Take leave of them."""
        ...

    def peers(self) -> Sequence[PeerState]:
        """Tell how it stands with each."""
        ...


@dataclass(frozen=True, slots=True)
class Client:
    """Peers that a node asks; `name` is their table in the settings.

    Without peers that are `is_needed` the health check fails; `is_awaited` ones must be there before SIP is answered.
    """

    name: str
    peers: Peers
    is_needed: bool = True
    is_awaited: bool = True


@dataclass(frozen=True, slots=True)
class Context:
    """What the process has ready when a node is built."""

    own: OwnUris
    ids: Ids
    clock: Clock
    log: Log
    store: Store

    @property
    def trace(self) -> Callable[..., None] | None:
        """Where Diameter messages are traced (`Trace.write`), if they are."""
        return self.log.trace.write if self.log.trace is not None else None


@dataclass(frozen=True, slots=True)
class UeSide:
    """The side of a P-CSCF on which the UEs are: its timers (TS 24.229 7.7), and which requests come from there."""

    timers: TimerValues
    is_from_ue: Callable[[Request], bool]


@dataclass(frozen=True, slots=True)
class Node:
    """What a node is made of: its core, who answers its questions (`Save` is answered here), and its clients."""

    core: Core
    askers: Mapping[type[Question[Any]], Asker]  # any question's answer type
    clients: tuple[Client, ...] = ()
    status: Callable[[], Mapping[str, object]] = dict  # more lines for the health check
    ue_side: UeSide | None = None


def run(name: str, schema: type[S], build: Callable[[S, Context], Node], arguments: Sequence[str] | None = None) -> int:
    """Run a node until a signal stops it, and return its exit status; every fault is one line on stderr."""
    parser = argparse.ArgumentParser(prog=name, description=f"Run this host's {_title(name)} until a signal stops it.")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the node's settings, in TOML")
    parser.add_argument("--check-config", action="store_true", help="only tell what is wrong with the settings")
    options = parser.parse_args(arguments)
    try:
        settings = load(options.config, schema)
        if not options.check_config:
            _raise_file_limit()
            uvloop.run(_serve_until_signal(name, settings, build))
    except ConfigError as error:
        sys.stderr.writelines(f"{fault}\n" for fault in error.faults)
        return 2
    except OpencscfError as error:
        sys.stderr.write(f"{name}: {error}\n")
        return 1
    except KeyboardInterrupt:  # before the signal's handler was there
        return 130
    return 0


def _title(name: str) -> str:
    """Write a node's name the way 3GPP does: P-CSCF."""
    return f"{name[0]}-{name[1:]}".upper()


async def _serve_until_signal(name: str, settings: S, build: Callable[[S, Context], Node]) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await serve(name, settings, build, stopped)


async def serve(name: str, settings: S, build: Callable[[S, Context], Node], stopped: asyncio.Event) -> None:
    """Run a node in this loop until `stopped` is set; `StartupError` if it cannot run."""
    loop = asyncio.get_running_loop()
    clock = SystemClock()
    log = Log(name, clock, settings.log.level, later=loop.call_soon)
    loop.set_exception_handler(lambda _, context: _on_fault(log, context))
    async with contextlib.AsyncExitStack() as closing:
        closing.callback(log.close)
        endpoint = _open_endpoint(loop, settings)
        closing.push_async_callback(endpoint.close)
        if settings.log.trace is not None:
            log.trace = Trace(settings.log.trace, name, clock, endpoint.local_for)
        store = _open_store(loop, settings)
        closing.push_async_callback(store.close)
        context = Context(_own_uris(settings, endpoint), Ids(), clock, log, store)
        node = build(settings, context)
        health = _Health(name, node, endpoint, clock)
        if settings.health.port:
            server = HealthServer(loop, (settings.health.address, settings.health.port), health.status)
            closing.callback(server.close)
            await server.start()
        for client in node.clients:
            client.peers.start()
            closing.push_async_callback(_stop, client.peers)
        await _wait_for_peers(node.clients, stopped)
        if stopped.is_set():
            return
        await _serve_sip(settings, node, context, endpoint, health, stopped)


async def _serve_sip(
    settings: NodeSettings, node: Node, context: Context, endpoint: SipEndpoint, health: _Health, stopped: asyncio.Event
) -> None:
    """Join the core to the world, and take part in it until `stopped` is set."""
    loop, log, timers, ue_side = asyncio.get_running_loop(), context.log, settings.sip.timers, node.ue_side
    resolver = Resolver(
        loop,
        settings.sip.hosts,
        ip_versions=endpoint.ip_versions,
        transports={Transport(name.upper()) for listener in settings.sip.listen for name in listener.transports},
        settings=settings.dns,
    )
    overload = Overload(settings.overload, context.clock.now())
    stack = SipStack(
        ids=context.ids,
        timers=TimerValues(t1=timers.t1_s, t2=timers.t2_s, t4=timers.t4_s, timer_c=timers.timer_c_s),
        towards_ue=ue_side.timers if ue_side is not None else None,
        is_from_ue=ue_side.is_from_ue if ue_side is not None else None,
        local_for=endpoint.local_for,
        max_udp_request_bytes=endpoint.max_udp_request_bytes if settings.sip.large_requests_over_tcp else None,
        refuses=overload.refuses,
    )
    wheel: TimerWheel[Due] = TimerWheel(start=context.clock.now())
    runtime = Runtime(
        core=node.core,
        stack=stack,
        wire=endpoint,
        resolver=resolver,
        askers={Save: _asker_of(context.store), **node.askers},
        wheel=wheel,
        clock=context.clock,
        log=log,
    )
    ticker = _Every(loop, TICK_S, runtime.tick)
    flusher = _Every(loop, FLUSH_S, log.flush)
    watcher = _Every(loop, INTERVAL_S, lambda: _watch(overload, context.clock.now(), log))
    runtime.start()
    listening = _Listening(log)
    await endpoint.start(
        Handlers(
            receive=runtime.receive,
            malformed=runtime.malformed,
            failed=runtime.failed,
            lost=listening.lost,
            reloaded=listening.reloaded,
            delayed=overload.note_delay,
            undelivered=runtime.undelivered,
        )
    )
    health.stack, health.overload = stack, overload
    garbage = GarbageCollection()
    garbage.hold_off()
    collector = _Every(loop, CHECK_S, garbage.check)
    log.info("ready", sip=",".join(host_port(address) for address in endpoint.addresses))
    await stopped.wait()
    log.info("stopping")
    for repeated in (ticker, flusher, watcher, collector):
        repeated.cancel()
    garbage.resume()
    await endpoint.close()  # first, so that nothing new begins while the peers are taken leave of
    await resolver.close()


class _Health:
    """What the health check tells; `stack` and `overload` are there once SIP is served."""

    def __init__(self, name: str, node: Node, endpoint: SipEndpoint, clock: Clock) -> None:
        self.stack: SipStack | None = None
        self.overload: Overload | None = None
        self._name = name
        self._node = node
        self._endpoint = endpoint
        self._clock = clock
        self._started = clock.now()

    def status(self) -> dict[str, object]:
        clients = self._node.clients
        is_ok = self.stack is not None and all(client.peers.is_open for client in clients if client.is_needed)
        lines: dict[str, object] = {
            "node": self._name,
            "status": "ok" if is_ok else "degraded",
            "peers": {peer.host: str(peer) for client in clients for peer in client.peers.peers()},
            "uptime_s": round(self._clock.now() - self._started, 1),
            "wire": self._endpoint.counters(),
        }
        if self.stack is not None:
            server, client = self.stack.server_transactions, self.stack.client_transactions
            lines["transactions"] = {"server": server, "client": client}
        if self.overload is not None:
            lines["overload"] = self.overload.counters()
        return {**lines, **self._node.status()}


class _Listening:
    """Tells an operator what happens to connections and certificates."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def lost(self, flow: Flow, reason: str) -> None:
        peer = f"{host_port(flow.remote)}/{flow.transport.lower()}"
        self._log.warning("connection-lost", peer=peer, reason=reason)

    def reloaded(self, fault: StartupError | None) -> None:
        if fault is None:
            self._log.info("certificates-reloaded")
        else:
            self._log.warning("certificates-unusable", reason=str(fault))


class _Every:
    """Calls a function again and again, however long each call takes and whatever it raises."""

    def __init__(self, loop: asyncio.AbstractEventLoop, period_s: float, call: Callable[[], None]) -> None:
        self._loop = loop
        self._period_s = period_s
        self._call = call
        self._next = loop.time() + period_s
        self._handle = loop.call_at(self._next, self._run)

    def cancel(self) -> None:
        self._handle.cancel()

    def _run(self) -> None:
        self._next = max(self._next + self._period_s, self._loop.time())
        self._handle = self._loop.call_at(self._next, self._run)
        self._call()


def _watch(overload: Overload, now: float, log: Log) -> None:
    """See whether there is too much to do, and tell when that begins and ends."""
    news = overload.update(now)
    if isinstance(news, Begun):
        log.warning("overload-begins", delay_ms=round(news.delay_s * 1000))
    elif isinstance(news, Ended):
        log.info("overload-ends", seconds=round(news.seconds, 1), refused=news.refused, admitted=news.admitted)


async def _wait_for_peers(clients: Sequence[Client], stopped: asyncio.Event) -> None:
    """Wait until every peer that must be there is there, unless the node is stopped before."""
    opening = asyncio.ensure_future(_wait_for_each(clients))
    stopping = asyncio.ensure_future(stopped.wait())
    await asyncio.wait((opening, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if opening.done():
        opening.result()
    else:
        opening.cancel()


async def _wait_for_each(clients: Sequence[Client]) -> None:
    for client in clients:
        if client.is_awaited:
            try:
                await client.peers.wait_open(PEERS_AT_START_S)
            except PeerUnavailable as error:
                raise StartupError(f"{client.name}: no peer can be asked: {error}") from error


async def _stop(peers: Peers) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(STOP_S):
            await peers.stop()


def _open_endpoint(loop: asyncio.AbstractEventLoop, settings: NodeSettings) -> SipEndpoint:
    sip = settings.sip
    return SipEndpoint(loop, sip.listen, connections=sip.connections, tls=sip.tls, origins=sip.websocket.origins)


def _open_store(loop: asyncio.AbstractEventLoop, settings: NodeSettings) -> Store:
    return SqliteStore(loop, settings.store.path) if settings.store.path is not None else NoStore()


def _asker_of(store: Store) -> Asker:
    def save(question: Save, reply: Reply) -> None:
        store.save(question.kind, question.key, question.value, reply)

    return save


def _own_uris(settings: NodeSettings, endpoint: SipEndpoint) -> OwnUris:
    """Take the listeners' addresses, and the names that [sip.hosts] gives to them."""
    named = [
        (name, port)
        for name, addresses in settings.sip.hosts.items()
        for address in addresses
        for host, port in endpoint.addresses
        if ipaddress.ip_address(host) == ipaddress.ip_address(address)
    ]
    return OwnUris.of([*endpoint.addresses, *named])


def _on_fault(log: Log, context: Mapping[str, Any]) -> None:  # asyncio's own dictionary
    error = context.get("exception")
    text = "".join(traceback.format_exception(error)) if isinstance(error, BaseException) else None
    log.error("fault", what=context.get("message"), traceback=text)


def _raise_file_limit() -> None:
    """Let every TCP connection have a file descriptor, as many as the host allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
