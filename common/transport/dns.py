"""Shell: finds the hops of SIP URIs, and remembers them (RFC 3263 4; the procedure itself is `common/sip/locate.py`).

IP literals, the hosts of the settings, and what DNS has said before are answered at once. For what it has not, there is
one task for each destination, however many requests wait for it, and one question for each record. Answers live as
long as DNS says within bounds; if no server answers, what they last said goes on being used (RFC 8767).
"""

from __future__ import annotations

import asyncio
import math
import random
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, TypeVar

from opencscf.common.errors import PeerUnavailable
from opencscf.common.node.settings import DnsSettings
from opencscf.common.sip.flow import Hop, Transport
from opencscf.common.sip.locate import Answer, Destination, Lookup, Reach, Route, check, fixed_route, locate, numeric
from opencscf.common.transport.dns_client import MAX_TTL_S, DnsClient

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence

    from opencscf.common.sip.headers import Via
    from opencscf.common.sip.locate import Lookups
    from opencscf.common.sip.params import Params
    from opencscf.common.sip.uri import SipUri

MAX_KEPT: Final = 4096  # URIs, destinations and records, of each so many
MAX_KEPT_CHARS: Final = 256  # of a URI
MAX_PENDING: Final = 512  # destinations looked up at the same time
MAX_WAITING: Final = 1024  # requests that wait for one of them
MAX_STALE_S: Final = 86_400.0  # for how long an old answer is better than none
STALE_TTL_S: Final = 30.0  # how long it is used before the servers are asked again (RFC 8767 5)
MAX_AVOIDED: Final = 1024
AVOIDED_S: Final = 30.0  # how long a hop that failed is tried last
LOCALHOST: Final[dict[str, Sequence[str]]] = {"localhost": ("127.0.0.1", "::1")}  # RFC 6761 6.3


class _Kept(NamedTuple):
    """An answer, until when it is good, and until when it is better than none."""

    answer: Answer
    until: float
    stale_until: float


Found: TypeAlias = tuple[Hop, ...] | PeerUnavailable
_Route: TypeAlias = Route | PeerUnavailable
K = TypeVar("K")
T = TypeVar("T")
V = TypeVar("V")


class Resolver:
    """Finds the hops of URIs, of the transports and IP versions that the node listens on."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        hosts: Mapping[str, Sequence[str]],
        *,
        ip_versions: Collection[int] = (4, 6),
        transports: Collection[Transport] = (Transport.UDP, Transport.TCP),
        settings: DnsSettings | None = None,
        uniform: Callable[[], float] = random.random,
        now: Callable[[], float] | None = None,
    ) -> None:
        """Take the names that need no DNS; `uniform` gives numbers in [0, 1), `now` seconds (the loop's, if None)."""
        self._loop = loop
        self._now = now or loop.time
        self._hosts = LOCALHOST | {name.lower().removesuffix("."): addresses for name, addresses in hosts.items()}
        self._reach = Reach(frozenset(transports), frozenset(ip_versions))
        self._uniform = uniform
        self._client = DnsClient(settings or DnsSettings())
        self._known: dict[tuple[str, str, int | None, Params], tuple[float, _Route]] = {}  # of URIs; good until
        self._routes: dict[Destination, tuple[float, _Route]] = {}  # good until
        self._answers: dict[Lookup, _Kept] = {}
        self._avoided: dict[Hop, float] = {}  # until then, in this order
        self._pending: dict[Destination, list[Callable[[Found], None]]] = {}
        self._asking: dict[Lookup, asyncio.Task[_Kept]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()  # of any result

    def lookup(self, uri: SipUri, callback: Callable[[Found], None]) -> None:
        """Call back with all hops in the order to try them, or the reason why there is none; at once if it is known."""
        known = self._known.get((uri.scheme, uri.host, uri.port, uri.params))
        if known is None or known[0] <= self._now():
            found = self._find(Destination.of(uri), callback)
            if found is not None and _length(uri) <= MAX_KEPT_CHARS:
                _keep(self._known, (uri.scheme, uri.host, uri.port, uri.params), found, MAX_KEPT)
        else:
            callback(self._hops(known[1]))

    def lookup_sent_by(self, via: Via, callback: Callable[[Found], None]) -> None:
        """Do the same for a response that cannot go back where its request came from (RFC 3263 5)."""
        self._find(Destination.of_sent_by(via), callback)

    def failed(self, hop: Hop) -> None:
        """Try a hop last for a while, wherever there are others (RFC 3263 4.3)."""
        _keep(self._avoided, hop, self._now() + AVOIDED_S, MAX_AVOIDED)

    async def close(self) -> None:
        """Drop what is being looked up; its callbacks are not called."""
        self._pending.clear()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # ------------------------------------------------------------------ what is known

    def _find(self, destination: Destination, callback: Callable[[Found], None]) -> tuple[float, _Route] | None:
        """Answer from the settings or from what DNS said, and return that; else ask DNS."""
        found = self._fixed_route(destination) or self._routes.get(destination)
        if found is None or found[0] <= self._now():
            self._look_up(destination, callback)
            return None
        callback(self._hops(found[1]))
        return found

    def _fixed_route(self, destination: Destination) -> tuple[float, _Route] | None:
        address = numeric(destination.host)
        addresses = (address,) if address else self._hosts.get(destination.host)
        try:
            if addresses is not None:
                return math.inf, fixed_route(destination, addresses, self._reach)
            check(destination, self._reach)
        except PeerUnavailable as fault:
            return math.inf, fault
        return None

    def _hops(self, route: _Route) -> Found:
        if isinstance(route, PeerUnavailable):
            return PeerUnavailable(route.peer, route.reason)  # a new one, since raising it leaves a traceback in it
        hops = route.hops(self._uniform)
        return self._in_hope(hops) if self._avoided and len(hops) > 1 else hops

    def _in_hope(self, hops: tuple[Hop, ...]) -> tuple[Hop, ...]:
        """Put the hops that failed a short while ago behind the others."""
        now = self._now()
        while self._avoided and (oldest := next(iter(self._avoided))) and self._avoided[oldest] <= now:
            del self._avoided[oldest]
        return tuple(sorted(hops, key=self._avoided.__contains__))

    # ------------------------------------------------------------------ what must be asked

    def _look_up(self, destination: Destination, callback: Callable[[Found], None]) -> None:
        waiting = self._pending.get(destination)
        if waiting is not None and len(waiting) < MAX_WAITING:
            waiting.append(callback)
        elif waiting is not None:
            callback(PeerUnavailable(destination.host, "too many requests wait for DNS"))
        elif len(self._pending) >= MAX_PENDING:
            callback(PeerUnavailable(destination.host, "too many names are being looked up"))
        else:
            self._pending[destination] = [callback]
            self._start(self._locate(destination)).add_done_callback(partial(self._located, destination))

    def _start(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _located(self, destination: Destination, task: asyncio.Task[_Route]) -> None:
        """Tell those who wait."""
        route: _Route = PeerUnavailable(destination.host, "the lookup ended early")
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._loop.call_exception_handler({"message": "locating a SIP server", "exception": error})
        elif not task.cancelled():
            route = task.result()
        for callback in self._pending.pop(destination, ()):
            self._loop.call_soon(callback, self._hops(route))  # a fault in one does not keep the others waiting

    async def _locate(self, destination: Destination) -> _Route:
        """Lead the procedure with the answers to its questions, and keep its outcome while all of them are good."""
        procedure = locate(destination, self._reach)
        until = [self._now() + MAX_TTL_S]
        answers: tuple[Answer, ...] | None = None
        route: _Route
        try:
            while True:
                lookups: Lookups = procedure.send(answers)
                answered = await asyncio.gather(*[self._ask(lookup) for lookup in lookups.lookups])
                until += [kept.until for kept in answered]
                answers = tuple([kept.answer for kept in answered])
        except StopIteration as end:
            route = end.value
        except PeerUnavailable as fault:
            route = fault
        _keep(self._routes, destination, (min(until), route), MAX_KEPT)
        return route

    async def _ask(self, lookup: Lookup) -> _Kept:
        kept = self._answers.get(lookup)
        if kept is not None and kept.until > self._now():
            return kept
        task = self._asking.get(lookup)
        if task is None:
            task = self._asking[lookup] = self._start(self._ask_servers(lookup))
            task.add_done_callback(lambda _: self._asking.pop(lookup))
        return await asyncio.shield(task)  # others may wait for it too

    async def _ask_servers(self, lookup: Lookup) -> _Kept:
        answer, ttl_s = await self._client.ask(lookup)
        now = self._now()
        kept = _Kept(answer, now + ttl_s, now + ttl_s + MAX_STALE_S)
        old = self._answers.get(lookup)
        if answer.is_failure and old is not None and old.answer.records and now < old.stale_until:
            kept = old._replace(until=now + STALE_TTL_S)
        _keep(self._answers, lookup, kept, MAX_KEPT)
        return kept


def _length(uri: SipUri) -> int:
    """Return how much of a URI is kept, in characters."""
    return len(uri.host) + sum([len(name) + len(value or "") for name, value in uri.params])


def _keep(table: dict[K, V], key: K, value: V, limit: int) -> None:
    """Put a value in as the youngest; if there are too many, the oldest goes."""
    table.pop(key, None)
    if len(table) >= limit:
        del table[next(iter(table))]
    table[key] = value
