"""What the stack remembers of a request that it received, and what it wants done about it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from opencscf.common.errors import PeerUnavailable
from opencscf.common.sip import proxy
from opencscf.common.sip.flow import Flow, Hop
from opencscf.common.sip.message import Message, Request, Response
from opencscf.common.sip.timers import Timer
from opencscf.common.sip.transaction import ClientTransaction, ServerTransaction

if TYPE_CHECKING:
    from opencscf.common.actions import Forward

Target: TypeAlias = Hop | Flow


class Exchange:
    """A received request and all that became of it: its server transaction and the branches it was forwarded to."""

    __slots__ = (
        "context", "failure", "forward", "is_answered", "is_cancelled", "key", "legs", "mark", "request", "resume",
        "target", "to_tag", "transaction",
    )  # fmt: skip

    def __init__(self, request: Request, transaction: ServerTransaction, target: Target) -> None:
        self.key = transaction.key
        self.request = request
        self.transaction = transaction
        self.target = target
        self.to_tag = ""
        self.mark = ""  # what the branches of a forked request end with (RFC 5393 4.2.1)
        self.is_cancelled = False
        self.is_answered = False  # a final response has been handed to the server transaction
        self.forward: Forward | None = None
        self.context: proxy.ResponseContext | None = None
        self.legs: dict[int, Leg] = {}  # by branch
        self.resume: object = None  # whoever waits for the final response
        self.failure: PeerUnavailable | None = None  # why our own 503 was made

    def release(self) -> None:
        """Let go of what is large once the server transaction has ended: timers still hold the exchange for a while."""
        self.forward = self.context = None
        self.legs.clear()


class Leg:
    """One client transaction of an exchange, or the CANCEL for one."""

    __slots__ = ("branch", "cancelled_at", "exchange", "progress_at", "request", "spare", "target", "transaction")

    def __init__(
        self,
        exchange: Exchange,
        branch: int,
        request: Request,
        transaction: ClientTransaction,
        target: Target,
        now: float,
    ) -> None:
        self.exchange = exchange
        self.spare: Spare | None = None
        self.branch = branch  # -1 for a CANCEL, whose responses nobody waits for
        self.request: Request | None = request  # for a CANCEL; let go of when the transaction ends
        self.transaction = transaction
        self.target = target
        self.progress_at = now  # when Timer C was last set (16.7 step 2)
        self.cancelled_at: float | None = None


class Spare(NamedTuple):
    """What a branch is sent anew from when its target fails: the request as the core gave it, and where else to go."""

    request: Request
    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class Send:
    """Put a message on the wire."""

    message: Message
    target: Target


@dataclass(frozen=True, slots=True)
class StartStackTimer:
    """Call `on_timer(owner, timer, now)` after `delay_s`."""

    owner: Exchange | Leg
    timer: Timer
    delay_s: float


@dataclass(frozen=True, slots=True)
class ToCore:
    """A new request, or an ACK for a 2xx, for the core to decide on."""

    request: Request


@dataclass(frozen=True, slots=True)
class Decide:
    """A response that the core wants to see before it goes back; it is final for the exchange when `is_final`."""

    exchange: Exchange
    response: Response
    is_final: bool


@dataclass(frozen=True, slots=True)
class NextTarget:
    """A target failed, and the request goes to another one (RFC 3263 4.3)."""

    request: Request
    failed: Target
    reason: str
    target: Target


Effect: TypeAlias = Send | StartStackTimer | ToCore | Decide | NextTarget
# The targets of a branch in the order to try them, or why there is none.
Targets: TypeAlias = "tuple[Target, ...] | PeerUnavailable"
