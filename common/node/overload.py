"""When a node has more to do than it can, which requests it refuses, so that the others end well (RFC 6357, 7339).

What is measured is how long datagrams waited before they were read, and how late the loop was, since nobody knows when
the bytes of a stream came; the least of two intervals, so that a burst which is soon worked off is no overload (as
CoDel, RFC 8289). A controller (as PIE, RFC 8033) turns that into the share of new work to refuse, which keeps the wait
at its target: smoothly, since to refuse all and then nothing would waste half of the capacity. What goes on is never
refused: responses, retransmissions, requests within a dialog, ACK, CANCEL; nor emergency calls (RFC 5031) and what is
marked as important (RFC 4412). A REGISTER that answers a challenge has been paid for already, and is refused only when
that of the others is not enough. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from opencscf.common.errors import ParseError

if TYPE_CHECKING:
    from opencscf.common.node.settings import OverloadSettings
    from opencscf.common.sip.message import Request

INTERVAL_S: Final = 0.1
MAX_EXCESS: Final = 5.0  # of the wait beyond its target, in targets: more says nothing new
REACTION: Final = 0.2  # share refused at once per target of excess
LEARNING_PER_S: Final = 0.05  # share refused more each second per target of excess
RECOVERY_S: Final = 1.0  # in which the share falls to a third, when messages wait less than half the target
NEGLIGIBLE: Final = 0.01  # a share below this is none
SEVERE: Final = 0.9  # the share of other new work beyond which answers to challenges are refused too
CALM_S: Final = 10.0  # without a refusal, until an overload is over

_NEVER: Final = frozenset({"ACK", "CANCEL", "PRACK", "BYE"})
_EMERGENCY: Final = "urn:service:sos"  # RFC 5031 4.2, with its sub-services


class Begun(NamedTuple):
    """An overload has begun."""

    delay_s: float


class Ended(NamedTuple):
    """An overload is over."""

    seconds: float
    refused: int
    admitted: int


class Overload:
    """Decides whether a request that is new work is taken on."""

    def __init__(self, settings: OverloadSettings, now: float) -> None:
        """Begin without an overload."""
        self.refused = 0  # since the start, as is the next
        self.overloads = 0
        self.delay_s = 0.0  # the least wait of the last two intervals
        self.share = 0.0  # of new work that is refused
        self._settings = settings
        self._learned = 0.0  # the part of the share that lasts
        self._waits: list[float] = []
        self._updated_at = now
        self._waited_s = 0.0  # the least wait of the last interval
        self._lag_s = 0.0  # by which the last update came late
        self._refusing_at: float | None = None  # in this overload, last; None: there is none
        self._begun_at = now
        self._refused_before = 0
        self._admitted = 0  # in this overload
        self._debt = 0.0  # of refusals; spreads them evenly

    def note_delay(self, delay_s: float) -> None:
        """Take how long the oldest of the messages just read has waited."""
        self._waits.append(delay_s)

    def update(self, now: float) -> Begun | Ended | None:
        """Draw the conclusions of an interval; call it about every `INTERVAL_S`."""
        elapsed_s, self._updated_at = max(0.0, now - self._updated_at), now
        lag_s = max(0.0, elapsed_s - INTERVAL_S)
        waited_s = min(self._waits, default=0.0)
        self.delay_s = max(min(waited_s, self._waited_s), min(lag_s, self._lag_s))  # a single stall is no overload
        self._waited_s, self._lag_s = waited_s, lag_s
        self._waits.clear()
        if self._settings.enabled:
            self._adapt(min(elapsed_s, 10 * INTERVAL_S))
        return self._news(now)

    def refuses(self, request: Request) -> int | None:
        """Say after how many seconds a request that belongs to no transaction may come again; None if it is let in."""
        if not self.share:
            return None
        rank = _rank(request)
        if rank is None:
            return None
        share = self.share if rank == 0 else max(0.0, (self.share - SEVERE) / (1 - SEVERE))
        self._debt += share
        if self._debt < 1:
            self._admitted += 1
            return None
        self._debt -= 1
        self.refused += 1
        at_least = self._settings.retry_after_s
        return at_least + self.refused % (at_least + 1)

    def counters(self) -> dict[str, object]:
        """Tell an operator how it stands."""
        return {
            "overloads": self.overloads,
            "refused": self.refused,
            "refusing": round(self.share, 2),
            "delay_ms": round(self.delay_s * 1000, 1),
        }

    def _adapt(self, elapsed_s: float) -> None:
        target_s = self._settings.target_delay_s
        excess = min(MAX_EXCESS, (self.delay_s - target_s) / target_s)
        if excess < -0.5:
            self._learned *= max(0.0, 1 - elapsed_s / RECOVERY_S)
        self._learned = min(1.0, max(0.0, self._learned + LEARNING_PER_S * excess * elapsed_s))
        share = min(1.0, self._learned + REACTION * max(0.0, excess))
        self.share = share if share >= NEGLIGIBLE else 0.0

    def _news(self, now: float) -> Begun | Ended | None:
        if self._refusing_at is None:
            if not self.share:
                return None
            self._refusing_at = self._begun_at = now
            self._refused_before, self._admitted = self.refused, 0
            self.overloads += 1
            return Begun(self.delay_s)
        if self.share:
            self._refusing_at = now
        elif now - self._refusing_at >= CALM_S:
            seconds = self._refusing_at - self._begun_at
            self._refusing_at = None
            return Ended(seconds, self.refused - self._refused_before, self._admitted)
        return None


def _rank(request: Request) -> int | None:
    """Say how welcome new work is: 1 more than 0, and None is what must not be refused."""
    if request.method in _NEVER or request.uri[: len(_EMERGENCY)].lower() == _EMERGENCY:
        return None
    if request.has("Resource-Priority"):
        return None
    try:
        if request.to_tag is not None:
            return None
    except ParseError:
        return 0
    return 1 if request.method == "REGISTER" and _answers_challenge(request) else 0


def _answers_challenge(register: Request) -> bool:
    credentials = register.get("Authorization")
    if credentials is None:
        return False
    _, found, value = credentials.partition('response="')
    return bool(found) and not value.startswith('"')
