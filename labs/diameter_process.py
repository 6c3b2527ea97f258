"""Shell: the process around the lab's HSS and PCRF: arguments, settings, log, health check, orderly stop."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import uvloop

from opencscf.common.errors import ConfigError, StartupError
from opencscf.common.node.clock import SystemClock
from opencscf.common.node.health import HealthServer
from opencscf.common.node.log import Log
from opencscf.labs.diameter_peer import Application, LocalNode
from opencscf.labs.diameter_server import DiameterServer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opencscf.common.node.settings import HealthSettings, LogLevel

S = TypeVar("S", bound="Settings")

LOG_FLUSH_S: Final = 1.0


class LogTable(Protocol):
    """How much is logged."""

    @property
    def level(self) -> LogLevel:
        """The least level of lines on stderr."""
        ...


class Settings(Protocol):
    """What the settings of both processes have."""

    @property
    def health(self) -> HealthSettings:
        """Where to answer health checks."""
        ...

    @property
    def log(self) -> LogTable:
        """What to log."""
        ...


class Identity(Protocol):
    """Who the process is on the Diameter side, and where."""

    @property
    def address(self) -> str:
        """Where to listen."""
        ...

    @property
    def port(self) -> int:
        """Where to listen."""
        ...

    @property
    def origin_host(self) -> str:
        """The Diameter identity."""
        ...

    @property
    def origin_realm(self) -> str:
        """The realm served."""
        ...


@dataclass(frozen=True, slots=True)
class Service:
    """What a process serves once its settings are read."""

    identity: Identity
    application: Application
    status: Callable[[], dict[str, object]]  # more lines for the health check
    close: Callable[[], None]


def run(
    name: str, load: Callable[[Path], S], build: Callable[[S, Log], Service], arguments: Sequence[str] | None = None
) -> int:
    """Run a process until a signal stops it, and return its exit status; every fault is one line."""
    parser = argparse.ArgumentParser(prog=name)
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="its settings, in TOML")
    parser.add_argument("--check-config", action="store_true", help="only say what is wrong with the settings")
    options = parser.parse_args(arguments)
    try:
        settings = load(options.config)
        if options.check_config:
            return 0
        uvloop.run(_serve(name, settings, build))
    except ConfigError as error:
        for fault in error.faults:
            print(fault, file=sys.stderr)
        return 2
    except StartupError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(name: str, settings: S, build: Callable[[S, Log], Service]) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    clock = SystemClock()
    log = Log(name, clock, settings.log.level)
    service = build(settings, log)
    identity = service.identity
    node = LocalNode(
        service.application,
        origin_host=identity.origin_host,
        origin_realm=identity.origin_realm,
        address=identity.address,
        report=log,
    )
    server = DiameterServer(node, clock)
    await server.start(identity.address, identity.port)
    health = await _serve_health(name, settings.health, service, server)
    gc.collect()
    gc.freeze()  # thousands of subscribers need not be looked at again and again
    log.info("ready", address=identity.address, port=server.port, origin_host=identity.origin_host)
    while not stopped.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopped.wait(), LOG_FLUSH_S)
        log.flush()
    log.info("stopping")
    if health is not None:
        health.close()
    await server.close()
    service.close()
    log.close()


async def _serve_health(
    name: str, settings: HealthSettings, service: Service, server: DiameterServer
) -> HealthServer | None:
    if settings.port == 0:
        return None
    node = server.node
    started_at = server.clock.now()

    def status() -> dict[str, object]:
        return {
            "node": name,
            "status": "ok",
            "peers": {host: peer.remote for host, peer in sorted(node.peers.items())},
            "uptime_s": round(server.clock.now() - started_at, 1),
            "answers": dict(sorted(node.results.items())),
            **service.status(),
        }

    health = HealthServer(asyncio.get_running_loop(), (settings.address, settings.port), status)
    await health.start()
    return health
