"""What the stack remembers of a request that it received, and of each request that it sends. Pure.

An `Exchange` is the user of a server transaction, a `Leg` that of a client transaction: what their machine wants goes
on to the `Sink`, what it tells goes to the stack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

from opencscf.common.errors import PeerUnavailable
from opencscf.common.sip.flow import Flow, Hop, Transport
from opencscf.common.sip.timers import Timer

if TYPE_CHECKING:
    from opencscf.common.actions import RecordRoute, ResponseHandler
    from opencscf.common.sip import proxy
    from opencscf.common.sip.message import Message, Request, Response
    from opencscf.common.sip.stack import SipStack
    from opencscf.common.sip.transaction import ClientTransaction, ServerTransaction

Target: TypeAlias = Hop | Flow
# The targets of a branch in the order to try them, or why there is none.
Targets: TypeAlias = "tuple[Target, ...] | PeerUnavailable"

MAX_UDP_BYTES = 65_507  # of payload, in one IPv4 datagram

_UDP, _TIMER_K, _TIMER_L, _TIMER_M = Transport.UDP, Timer.K, Timer.L, Timer.M


class Sink(Protocol):
    """Does what the stack wants, at once; no method raises. The runtime is one, tests have one that takes notes."""

    def send(self, data: bytes, target: Target, message: Message | None) -> None:
        """Put a message on the wire; without `message`, which is what the octets say, it goes again."""
        ...

    def start_timer(self, owner: Exchange | Leg, timer: Timer, delay_s: float) -> None:
        """Call `on_timer(owner, timer, now)` after `delay_s`."""
        ...

    def to_core(self, request: Request) -> None:
        """Let the core decide on a new request, or on an ACK for a 2xx."""
        ...

    def decide(self, exchange: Exchange, response: Response, *, is_final: bool) -> None:
        """Show the core a response that it wants to see before it goes back; `is_final`: it is the last one."""
        ...

    def abandon(self, exchange: Exchange) -> None:
        """Hear that a request has been answered otherwise, while somebody waited for the final response to it."""
        ...

    def next_target(self, request: Request, failed: Target, reason: str, target: Target) -> None:
        """Hear that a target failed, and that the request goes to another one (RFC 3263 4.3)."""
        ...


class Exchange:
    """A received request and all that became of it: its server transaction and the branches it was forwarded to.

    Once it is answered, only the transaction's octets stay, for retransmissions: at a busy node thousands wait so.
    """

    __slots__ = (
        "context", "failure", "handler", "is_answered", "is_cancelled", "is_over", "legs", "mark", "record_route",
        "request", "resume", "stack", "target", "to_tag", "transaction",
    )  # fmt: skip

    def __init__(self, stack: SipStack, request: Request, transaction: ServerTransaction, target: Target) -> None:
        self.stack = stack
        self.request: Request | None = request  # until the final response
        self.transaction = transaction
        self.target = target
        self.to_tag = ""
        self.is_cancelled = False
        self.is_answered = False  # a final response has been handed to the server transaction
        self.is_over = False  # the server transaction has ended
        self.context: proxy.ResponseContext | None = None  # set when it is forwarded, with all below
        self.handler: ResponseHandler | None = None  # the core's, which sees every response first
        self.record_route: RecordRoute | None = None
        self.mark = ""  # what the branches of a forked request end with (RFC 5393 4.2.1)
        self.legs: list[Leg | None] | None = None  # by branch
        self.resume: object = None  # whoever waits for the final response
        self.failure: PeerUnavailable | None = None  # why our own 503 was made

    @property
    def key(self) -> str:
        """The key of the server transaction."""
        return self.transaction.key

    def release(self) -> None:
        """Let go of all that is of no use when nothing but the answer's retransmission is left to do."""
        self.request = self.context = self.handler = self.record_route = self.legs = None
        self.to_tag = ""

    # What the server transaction wants and tells

    def transmit(self, data: bytes, message: Message | None) -> None:
        """Send a response."""
        self.stack.sink.send(data, self.target, message)

    def start_timer(self, timer: Timer, delay_s: float) -> None:
        """Start a timer of the transaction; all of them begin with its final response."""
        if timer is _TIMER_L:
            self.request = None  # what else is here is for further 2xx
        else:
            self.release()
        self.stack.on_answered(self)
        self.stack.sink.start_timer(self, timer, delay_s)
        if self.resume is not None:
            self.stack.sink.abandon(self)

    def deliver_ack(self, ack: Request) -> None:
        """Give the core an ACK to a 2xx."""
        self.stack.sink.to_core(ack)

    def timed_out(self) -> None:
        """Do nothing about an ACK that did not come: the caller has gone."""

    def transport_failed(self) -> None:
        """Do nothing about a response that did not leave: its request will come again."""

    def terminated(self) -> None:
        """Let the stack forget the transaction."""
        self.is_over = True
        self.release()
        self.stack.on_server_end(self)
        if self.resume is not None:
            self.stack.sink.abandon(self)


class Leg:
    """One client transaction of an exchange, or the CANCEL for one, which is of no exchange."""

    __slots__ = (
        "branch", "cancelled_at", "exchange", "is_over", "progress_at", "request", "spare", "stack", "target",
        "transaction",
    )  # fmt: skip

    def __init__(
        self,
        stack: SipStack,
        exchange: Exchange | None,
        branch: int,
        transaction: ClientTransaction,
        target: Target,
        now: float,
    ) -> None:
        self.stack = stack
        self.exchange = exchange  # let go of when the transaction ends
        self.branch = branch
        self.transaction = transaction
        self.target = target
        self.spare: Spare | None = None
        self.request: Request | None = None  # an INVITE, for its CANCEL
        self.progress_at = now  # when Timer C was last set (16.7 step 2)
        self.cancelled_at: float | None = None
        self.is_over = False

    # What the client transaction wants and tells

    def transmit(self, data: bytes, message: Message | None) -> None:
        """Send the request, or an ACK."""
        self.stack.sink.send(data, self.target, message)
        if len(data) > MAX_UDP_BYTES and self.target.transport is _UDP:
            self.stack.on_too_large(self)

    def start_timer(self, timer: Timer, delay_s: float) -> None:
        """Start a timer of the transaction, which ends at once if there is nothing to do until then."""
        if timer is _TIMER_K:  # to absorb responses that come again, as the stack does with any that it does not know
            self.terminated()
            return
        if timer is _TIMER_M:
            self.request = self.spare = None
        self.stack.sink.start_timer(self, timer, delay_s)

    def deliver(self, response: Response) -> None:
        """Give a response to the exchange."""
        if self.exchange is not None:
            self.stack.on_response(self, self.exchange, response)

    def timed_out(self) -> None:
        """Let the exchange go on without an answer."""
        self.stack.give_up(self, 408)

    def transport_failed(self) -> None:
        """Let the exchange go on without an answer."""
        self.stack.give_up(self, 503)

    def terminated(self) -> None:
        """Let the stack forget the transaction."""
        self.is_over = True
        self.stack.on_client_end(self)
        exchange = self.exchange
        if exchange is not None and exchange.legs is not None and exchange.legs[self.branch] is self:
            exchange.legs[self.branch] = None
        self.exchange = self.request = self.spare = None


class Spare(NamedTuple):
    """What a branch is sent anew from when its target fails: the request as the core gave it, and where else to go."""

    request: Request
    targets: tuple[Target, ...]
