"""Shell: which hop a SIP URI leads to (RFC 3263 4).

IP literals and the hosts of the settings are answered at once, other names by the system's resolver, whose answers are
kept for a short while. Not covered: NAPTR and SRV records (RFC 3263 4.1, 4.2) and SIPS. So the transport is the URI's
own or UDP, and the port the URI's own or 5060.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias

from opencscf.common.errors import PeerUnavailable
from opencscf.common.sip.flow import Hop, Transport

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from opencscf.common.sip.uri import SipUri

DEFAULT_PORT: Final = 5060
TIMEOUT_S: Final = 4.0
KEPT_S: Final = 30.0  # the system's resolver does not tell the record's own time to live
KEPT_FAILURE_S: Final = 2.0
MAX_KEPT: Final = 4096
MAX_PENDING: Final = 512  # names looked up at the same time

_TRANSPORTS: Final = {"udp": Transport.UDP, "tcp": Transport.TCP}

Found: TypeAlias = tuple[Hop, ...] | PeerUnavailable
_Addresses: TypeAlias = tuple[str, ...] | PeerUnavailable


class Resolver:
    """Finds the hops of URIs, of the IP versions that the node listens on."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, hosts: Mapping[str, str], *, ip_versions: Collection[int] = (4, 6)
    ) -> None:
        self._loop = loop
        self._hosts = {_comparable(name): address for name, address in hosts.items()}
        self._ip_versions = frozenset(ip_versions)
        self._kept: dict[str, tuple[float, _Addresses]] = {}  # by name: good until, answer
        self._pending: dict[str, list[Callable[[_Addresses], None]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def lookup(self, uri: SipUri, callback: Callable[[Found], None]) -> None:
        """Call back with at least one hop or the reason why there is none, at once if it is known."""
        host = uri.maddr or uri.host
        transport = _TRANSPORTS.get(uri.transport or "udp")
        if uri.scheme == "sips":
            callback(PeerUnavailable(host, "TLS is not supported"))
        elif transport is None:
            callback(PeerUnavailable(host, f"transport {uri.transport} is not supported"))
        else:
            name, port = _comparable(host), uri.port or DEFAULT_PORT
            known = self._known(name)
            if known is not None:
                callback(_hops(transport, known, port))
            else:
                self._look_up(name, lambda found: callback(_hops(transport, found, port)))

    async def close(self) -> None:
        """Drop what is being looked up; its callbacks are not called."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _look_up(self, name: str, callback: Callable[[_Addresses], None]) -> None:
        if name in self._pending:
            self._pending[name].append(callback)
        elif len(self._pending) >= MAX_PENDING:
            callback(PeerUnavailable(name, "too many names are being looked up"))
        else:
            self._pending[name] = [callback]
            task = self._loop.create_task(self._ask(name))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _known(self, name: str) -> _Addresses | None:
        address = self._hosts.get(name, name)
        if _is_literal(address):
            if (6 if ":" in address else 4) in self._ip_versions:
                return (address,)
            return PeerUnavailable(name, "no listener of its IP version")
        kept = self._kept.get(name)
        if kept is None or kept[0] <= self._loop.time():
            return None
        return kept[1]

    async def _ask(self, name: str) -> None:
        found: _Addresses
        try:
            async with asyncio.timeout(TIMEOUT_S):
                answers = await self._loop.getaddrinfo(name, None, type=socket.SOCK_DGRAM)
            addresses = dict.fromkeys(str(address[0]) for *_, address in answers)  # in their order, each once
            wanted = [address for address in addresses if (6 if ":" in address else 4) in self._ip_versions]
            found = tuple(wanted) or PeerUnavailable(name, "no address of an IP version that we listen on")
        except TimeoutError:
            found = PeerUnavailable(name, f"DNS did not answer in {TIMEOUT_S:g} s")
        except OSError as error:
            found = PeerUnavailable(name, f"not found in DNS: {error.strerror or error}")
        except UnicodeError:
            found = PeerUnavailable(name, "not a host name")
        self._keep(name, found)
        for callback in self._pending.pop(name):
            self._loop.call_soon(callback, found)  # a fault in one does not keep the others waiting

    def _keep(self, name: str, found: _Addresses) -> None:
        if len(self._kept) >= MAX_KEPT:
            self._kept.clear()
        seconds = KEPT_FAILURE_S if isinstance(found, PeerUnavailable) else KEPT_S
        self._kept[name] = (self._loop.time() + seconds, found)


def _hops(transport: Transport, found: _Addresses, port: int) -> Found:
    if isinstance(found, PeerUnavailable):
        return found
    return tuple([Hop(transport, address, port) for address in found])


def _comparable(host: str) -> str:
    return host.lower().removesuffix(".")


@lru_cache(MAX_KEPT)  # the same few neighbours and the UEs
def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
