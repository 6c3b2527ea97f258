"""What a core may be told. `now` is in seconds since the epoch and never runs backwards."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Protocol, TypeAlias

from opencscf.common.actions import Outcome
from opencscf.common.sip.message import Request
from opencscf.common.values import value


@value
class Started:
    """The node runs: the time has come to set the timers of what was restored from the store."""

    now: float


@value
class RequestReceived:
    """A request that is no retransmission, no CANCEL and no ACK to a failure: those the transactions absorb."""

    request: Request
    now: float


@value
class TimerFired:
    """A timer that the core set with `SetTimer` has ended."""

    key: Hashable
    now: float


Event: TypeAlias = Started | RequestReceived | TimerFired


class Core(Protocol):
    """A node's procedures, seen from the runtime."""

    def on_event(self, event: Event) -> Outcome:
        """Decide what happens; never waits, never touches the world."""
