"""Shell: asks the peers of one application, on asyncio or uvloop.

One ticker serves all deadlines of a client, to a tenth of a second.

Not covered: SCTP and TLS, accepting connections, sending a question again to another peer (T bit), redirects.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any, TypeVar

from opencscf.common.errors import PeerUnavailable
from opencscf.common.node.clock import Clock
from opencscf.diameter import dictionary
from opencscf.diameter.codec import PROXIABLE, REQUEST, encode_avps, encode_header
from opencscf.diameter.dictionary import Application
from opencscf.diameter.peer import Identifiers, LocalNode
from opencscf.diameter.peer_connection import (
    DiameterQuestion,
    Log,
    OnRequest,
    PeerConnection,
    PeerStatus,
    Respond,
    Tracer,
    application_avps,
)
from opencscf.diameter.settings import DiameterSettings

__all__ = ["DiameterClient", "DiameterQuestion", "Log", "OnRequest", "PeerStatus", "Respond", "Tracer"]

TICK_S = 0.1
MAX_IN_FLIGHT = 10_000  # questions of one client that wait for their answers

_FLAGS = REQUEST | PROXIABLE  # of every question
_SESSION_ID = dictionary.SESSION_ID

A = TypeVar("A")


class DiameterClient:
    """Asks the peers of one application; made and used inside a running event loop."""

    def __init__(
        self,
        settings: DiameterSettings,
        application: Application,
        *,
        clock: Clock,
        log: Log,
        on_state: Callable[[PeerStatus], None] | None = None,
        on_request: OnRequest | None = None,
        trace: Tracer | None = None,
    ) -> None:
        self.settings = settings
        self.application = application
        self.node = LocalNode(settings.origin_host, settings.origin_realm, application)
        self.clock = clock
        self.log = log
        self.trace = trace
        self.on_request = on_request
        self.in_flight = 0
        self._on_state = on_state
        started = int(clock.now())
        # RFC 6733 3: the low bits of the time, then random ones, so that a restart does not repeat them.
        self.identifiers = Identifiers((started & 0xFFF) << 20 | random.getrandbits(20))  # no secret
        self._session_prefix = f"{settings.origin_host};{started & 0xFFFFFFFF};%d".encode()
        self._common_avps = encode_avps(
            [
                *application_avps(application),
                *self.node.origin(),
                dictionary.DESTINATION_REALM.text(settings.destination_realm),
            ]
        )
        self._peers = tuple(PeerConnection(self, peer) for peer in settings.peers)
        self._ticker: asyncio.TimerHandle | None = None
        self._waiting_for_open: list[asyncio.Future[None]] = []

    def start(self) -> None:
        """Begin to connect to every peer, and keep at it."""
        self._tick()

    async def wait_open(self, timeout_s: float) -> None:
        """Wait until a peer can be asked; raise `PeerUnavailable` with every peer's reason if that takes too long."""
        if self.is_open:
            return
        opened = asyncio.get_running_loop().create_future()
        self._waiting_for_open.append(opened)
        try:
            await asyncio.wait_for(opened, timeout_s)
        except TimeoutError:
            raise self._unavailable() from None

    async def stop(self) -> None:
        """Take leave of every peer and close; what still waits for an answer is told so."""
        now = self.clock.now()
        for peer in self._peers:
            peer.perform(peer.machine.stop(now))
        await asyncio.gather(*(peer.closed.wait() for peer in self._peers))
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None

    def ask(self, question: DiameterQuestion[A], reply: Callable[[A | PeerUnavailable], None]) -> None:
        """Send a question; `reply` is called once, and at once if the question cannot be sent."""
        peer = self._best_peer()
        if peer is None:
            reply(self._unavailable())
        elif self.in_flight >= MAX_IN_FLIGHT:
            reply(PeerUnavailable(peer.name, f"overloaded, {self.in_flight} requests wait for their answers"))
        else:
            peer.ask(question, reply)

    @property
    def is_open(self) -> bool:
        """Whether a question can be asked now."""
        return self._best_peer() is not None

    def peers(self) -> tuple[PeerStatus, ...]:
        """Tell how it stands with every peer."""
        return tuple(peer.status() for peer in self._peers)

    def encode(self, question: DiameterQuestion[Any], number: int) -> bytes:
        """Write the whole request, Session-Id first."""
        own = question.session_id
        session = _SESSION_ID.write_text(own) if own else _SESSION_ID.write_octets(self._session_prefix % number)
        body = session + self._common_avps + question.encode()
        return encode_header(question.command, self.application, _FLAGS, number, number, len(body)) + body

    def on_peer_state(self, status: PeerStatus) -> None:
        """Pass on a peer's change, and wake who waits for an open one."""
        if status.is_open:
            for opened in self._waiting_for_open:
                if not opened.done():
                    opened.set_result(None)
            self._waiting_for_open.clear()
        if self._on_state is not None:
            self._on_state(status)

    def _best_peer(self) -> PeerConnection | None:
        """Choose the first of the best peers that are open."""
        best, best_rank = None, 99
        for peer in self._peers:
            rank = peer.rank
            if rank == 0:
                return peer
            if rank is not None and rank < best_rank:
                best, best_rank = peer, rank
        return best

    def _unavailable(self) -> PeerUnavailable:
        if len(self._peers) == 1:
            peer = self._peers[0]
            return PeerUnavailable(peer.name, peer.why_not)
        reasons = "; ".join(f"{peer.name}: {peer.why_not}" for peer in self._peers)
        return PeerUnavailable(f"all {len(self._peers)} peers", reasons)

    def _tick(self) -> None:
        self._ticker = asyncio.get_running_loop().call_later(TICK_S, self._tick)
        now = self.clock.now()
        for peer in self._peers:
            peer.on_tick(now)
