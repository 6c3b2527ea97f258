"""Responses whose connection is gone (RFC 3261 18.2.2, RFC 3263 5).

They go over a new one to the address that their request came from, and if that fails to where the sent-by of its Via
leads. That a response has arrived is not told, so one is remembered for as long as its transaction would live.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final

from opencscf.common.errors import PeerUnavailable
from opencscf.common.sip.locate import response_hop

if TYPE_CHECKING:
    from opencscf.common.node.clock import Clock
    from opencscf.common.node.runtime import Resolver, Wire
    from opencscf.common.sip.flow import Flow, Hop
    from opencscf.common.sip.headers import Via
    from opencscf.common.sip.message import Response

REMEMBERED_S: Final = 32.0  # 64*T1
MAX_REMEMBERED: Final = 1024


class _Journey:
    """A response on its way, and where else it may go."""

    __slots__ = ("data", "hop", "others", "until", "via")

    def __init__(self, data: bytes, via: Via, hop: Hop, until: float) -> None:
        self.data = data
        self.via = via
        self.hop = hop
        self.others: tuple[Hop, ...] | None = None  # None: the sent-by has not been looked up yet
        self.until = until


class WayBack:
    """Finds other ways for responses."""

    def __init__(self, wire: Wire, resolver: Resolver, clock: Clock) -> None:
        self._wire = wire
        self._resolver = resolver
        self._clock = clock
        self._journeys: deque[_Journey] = deque()

    def __len__(self) -> int:
        return len(self._journeys)

    def send(self, data: bytes, response: Response, flow: Flow) -> None:
        """Send a response whose connection is gone."""
        now = self._clock.now()
        while self._journeys and (self._journeys[0].until <= now or len(self._journeys) >= MAX_REMEMBERED):
            self._journeys.popleft()
        hop = response_hop(response.via, flow)
        if hop is None:
            return
        self._journeys.append(_Journey(data, response.via, hop, now + REMEMBERED_S))
        self._wire.send(data, hop)

    def failed(self, hop: Hop) -> None:
        """Send what was on its way to a hop to the next one."""
        for journey in [journey for journey in self._journeys if journey.hop == hop]:
            if journey.others is None:
                self._resolver.lookup_sent_by(journey.via, partial(self._found, journey))
            else:
                self._go_on(journey)

    def _found(self, journey: _Journey, found: tuple[Hop, ...] | PeerUnavailable) -> None:
        hops = () if isinstance(found, PeerUnavailable) else found
        journey.others = tuple(hop for hop in hops if hop != journey.hop)
        self._go_on(journey)

    def _go_on(self, journey: _Journey) -> None:
        if journey.others:
            journey.hop, *others = journey.others
            journey.others = tuple(others)
            self._wire.send(journey.data, journey.hop)
        elif journey in self._journeys:
            self._journeys.remove(journey)
