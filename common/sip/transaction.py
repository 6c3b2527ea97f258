"""The four transaction machines (RFC 3261 17, corrected by RFC 6026), one class per figure.

A machine is told what happens (`start`, `respond`, `on_...`) and returns what is to be done, in order: it never sends,
waits or looks at a clock. Timers are started but never cancelled; one that outlives its state is ignored. What has no
arm in a machine's `match` is absorbed on purpose. A terminated machine holds no message and ignores every input.

| class                        | figure                 | life                                               |
|------------------------------|------------------------|----------------------------------------------------|
| `InviteClientTransaction`    | 5 and RFC 6026 fig. 4  | Calling, Proceeding, Accepted or Completed         |
| `NonInviteClientTransaction` | 6                      | Trying, Proceeding, Completed                      |
| `InviteServerTransaction`    | 7 and RFC 6026 fig. 5  | Proceeding, Accepted or Completed, Confirmed       |
| `NonInviteServerTransaction` | 8                      | Trying, Proceeding, Completed                      |

Not covered: RFC 4320 (a non-INVITE server that answers too late, provisional responses to non-INVITE requests); the
100 (Trying) after 200 ms, which the transaction user sends with `respond`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, TypeAlias, cast

from opencscf.common.sip.message import Message, Request, Response
from opencscf.common.sip.timers import Timer, TimerValues

MAX_FORWARDS = "70"  # RFC 3261 8.1.1.6


class State(enum.StrEnum):
    """States of all four machines; each uses some of them."""

    CALLING = "calling"
    TRYING = "trying"
    PROCEEDING = "proceeding"
    ACCEPTED = "accepted"
    COMPLETED = "completed"
    CONFIRMED = "confirmed"
    TERMINATED = "terminated"


@dataclass(frozen=True, slots=True)
class Transmit:
    """Send the message: a request to the transaction's next hop, a response to where its request came from."""

    message: Request | Response


@dataclass(frozen=True, slots=True)
class StartTimer:
    """Call `on_timer(timer)` in `delay_s` seconds."""

    timer: Timer
    delay_s: float


@dataclass(frozen=True, slots=True)
class Deliver:
    """Tell the transaction user of a client that this response came."""

    message: Response


@dataclass(frozen=True, slots=True)
class DeliverAck:
    """Tell the transaction user of an INVITE server that an ACK to its 2xx came in the INVITE's own branch.

    Only an element that violates 13.2.2.4 sends one; it is passed on all the same (RFC 6026 7.1).
    """

    message: Request


@dataclass(frozen=True, slots=True)
class TimedOut:
    """Tell the transaction user that no final response came in time, or no ACK at an INVITE server."""


@dataclass(frozen=True, slots=True)
class TransportFailed:
    """Tell the transaction user that a message could not be sent."""


@dataclass(frozen=True, slots=True)
class Terminated:
    """Forget the transaction: always the last output of its life."""


Output: TypeAlias = Transmit | StartTimer | Deliver | DeliverAck | TimedOut | TransportFailed | Terminated

_start = lru_cache(maxsize=256)(StartTimer)  # an interface has some twenty delays, so they are made once
_TIMED_OUT = TimedOut()
_TRANSPORT_FAILED = TransportFailed()
_TERMINATED = Terminated()


class _Transaction:
    """What the machines share: their name, their state and the message that a retransmission repeats."""

    __slots__ = ("_interval_s", "_is_reliable", "_sent", "_timers", "key", "method", "state")

    key: str
    method: str
    state: State
    _sent: Request | Response | None
    _timers: TimerValues
    _is_reliable: bool
    _interval_s: float  # of the next retransmission

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.method} {self.key} {self.state}>"

    def _repeat(self) -> list[Output]:
        return [Transmit(self._sent)] if self._sent is not None else []

    def _end(self, *news: Output) -> list[Output]:
        self.state = State.TERMINATED
        self._sent = None
        return [*news, _TERMINATED]


class _Client(_Transaction):
    """Made when the transaction user sends a request; `key` is the branch of our own Via on it (17.1.3)."""

    __slots__ = ()

    _first_state: ClassVar[State]

    def __init__(self, request: Request, *, key: str, reliable: bool, timers: TimerValues) -> None:
        self.key = key
        self.method = request.method
        self.state = self._first_state
        self._sent = request
        self._timers = timers
        self._is_reliable = reliable
        self._interval_s = timers.t1


class _Server(_Transaction):
    """Made when a request arrives that is in no other transaction; `key` is what finds it again (17.2.3)."""

    __slots__ = ()

    _first_state: ClassVar[State]

    def __init__(self, request: Request, *, reliable: bool, timers: TimerValues) -> None:
        self.key = request.transaction_id
        self.method = request.method
        self.state = self._first_state
        self._sent = None
        self._timers = timers
        self._is_reliable = reliable
        self._interval_s = timers.t1


class InviteClientTransaction(_Client):
    """Figure 5 of RFC 3261 with the Accepted state of RFC 6026 (8.4)."""

    __slots__ = ()

    _first_state = State.CALLING

    def start(self) -> list[Output]:
        """Send the INVITE (17.1.1.2)."""
        outputs = self._repeat()
        if not self._is_reliable:
            outputs.append(_start(Timer.A, self._interval_s))
        outputs.append(_start(Timer.B, self._timers.timer_b))
        return outputs

    def on_timer(self, timer: Timer) -> list[Output]:
        """Retransmit, give up, or end the wait for retransmissions."""
        match self.state, timer:
            case State.CALLING, Timer.A:
                self._interval_s *= 2
                return [*self._repeat(), _start(Timer.A, self._interval_s)]
            case State.CALLING, Timer.B:
                return self._end(_TIMED_OUT)
            case (State.COMPLETED, Timer.D) | (State.ACCEPTED, Timer.M):
                return self._end()
        return []

    def on_response(self, response: Response) -> list[Output]:
        """Pass a response up; acknowledge a failure each time it comes."""
        match self.state, response.status // 100:
            case State.CALLING | State.PROCEEDING, 1:
                self.state = State.PROCEEDING
                return [Deliver(response)]
            case State.CALLING | State.PROCEEDING, 2:
                self.state = State.ACCEPTED
                self._sent = None
                return [Deliver(response), _start(Timer.M, self._timers.timer_m)]
            case State.CALLING | State.PROCEEDING, 3 | 4 | 5 | 6:
                return self._complete(response)
            case State.COMPLETED, 3 | 4 | 5 | 6:
                return self._repeat()
            case State.ACCEPTED, 2:
                return [Deliver(response)]
        return []

    def on_transport_error(self) -> list[Output]:
        """Tell the transaction user that the INVITE or the ACK did not leave (17.1.4)."""
        match self.state:
            case State.CALLING | State.COMPLETED:
                return self._end(_TRANSPORT_FAILED)
        return []

    def _complete(self, failure: Response) -> list[Output]:
        invite = cast("Request", self._sent)  # the INVITE, until Accepted or Completed
        self.state = State.COMPLETED
        self._sent = ack_request(invite, failure)
        acknowledged: list[Output] = [Transmit(self._sent), Deliver(failure)]
        if self._is_reliable:
            return self._end(*acknowledged)
        return [*acknowledged, _start(Timer.D, self._timers.timer_d)]


class NonInviteClientTransaction(_Client):
    """Figure 6 of RFC 3261."""

    __slots__ = ()

    _first_state = State.TRYING

    def start(self) -> list[Output]:
        """Send the request (17.1.2.2)."""
        outputs = self._repeat()
        if not self._is_reliable:
            outputs.append(_start(Timer.E, self._interval_s))
        outputs.append(_start(Timer.F, self._timers.timer_f))
        return outputs

    def on_timer(self, timer: Timer) -> list[Output]:
        """Retransmit, give up, or end the wait for retransmissions."""
        match self.state, timer:
            case State.TRYING, Timer.E:
                self._interval_s = min(2 * self._interval_s, self._timers.t2)
                return [*self._repeat(), _start(Timer.E, self._interval_s)]
            case State.PROCEEDING, Timer.E:
                return [*self._repeat(), _start(Timer.E, self._timers.t2)]
            case State.TRYING | State.PROCEEDING, Timer.F:
                return self._end(_TIMED_OUT)
            case State.COMPLETED, Timer.K:
                return self._end()
        return []

    def on_response(self, response: Response) -> list[Output]:
        """Pass a response up, a final one only once."""
        match self.state, response.status // 100:
            case State.TRYING | State.PROCEEDING, 1:
                self.state = State.PROCEEDING
                return [Deliver(response)]
            case State.TRYING | State.PROCEEDING, 2 | 3 | 4 | 5 | 6:
                if self._is_reliable:
                    return self._end(Deliver(response))
                self.state = State.COMPLETED
                self._sent = None
                return [Deliver(response), _start(Timer.K, self._timers.timer_k)]
        return []

    def on_transport_error(self) -> list[Output]:
        """Tell the transaction user that the request did not leave (17.1.4)."""
        match self.state:
            case State.TRYING | State.PROCEEDING:
                return self._end(_TRANSPORT_FAILED)
        return []


class InviteServerTransaction(_Server):
    """Figure 7 of RFC 3261 with the Accepted state of RFC 6026 (8.7)."""

    __slots__ = ()

    _first_state = State.PROCEEDING

    def on_request(self, request: Request) -> list[Output]:
        """Answer a retransmission of the INVITE with the last response; take in the ACK (17.2.1)."""
        match self.state, request.method:
            case State.PROCEEDING | State.COMPLETED, "INVITE":
                return self._repeat()
            case State.COMPLETED, "ACK":
                if self._is_reliable:
                    return self._end()
                self.state = State.CONFIRMED
                self._sent = None
                return [_start(Timer.I, self._timers.timer_i)]
            case State.ACCEPTED, "ACK":
                return [DeliverAck(request)]
        return []

    def respond(self, response: Response) -> list[Output]:
        """Send the transaction user's response; every 2xx, but nothing else after the first final one."""
        match self.state, response.status // 100:
            case State.PROCEEDING, 1:
                self._sent = response
                return [Transmit(response)]
            case State.PROCEEDING, 3 | 4 | 5 | 6:
                return self._complete(response)
            case State.PROCEEDING, 2:
                self.state = State.ACCEPTED
                self._sent = None  # the transaction user alone retransmits a 2xx, 13.3.1.4
                return [Transmit(response), _start(Timer.L, self._timers.timer_l)]
            case State.ACCEPTED, 2:
                return [Transmit(response)]
        return []

    def on_timer(self, timer: Timer) -> list[Output]:
        """Retransmit the failure, give up, or end the wait for retransmissions."""
        match self.state, timer:
            case State.COMPLETED, Timer.G:
                self._interval_s = min(2 * self._interval_s, self._timers.t2)
                return [*self._repeat(), _start(Timer.G, self._interval_s)]
            case State.COMPLETED, Timer.H:
                return self._end(_TIMED_OUT)
            case (State.CONFIRMED, Timer.I) | (State.ACCEPTED, Timer.L):
                return self._end()
        return []

    def on_transport_error(self) -> list[Output]:
        """Tell the transaction user and stay: a retransmission may get through (RFC 6026 8.8)."""
        match self.state:
            case State.PROCEEDING | State.COMPLETED | State.ACCEPTED:
                return [_TRANSPORT_FAILED]
        return []

    def _complete(self, failure: Response) -> list[Output]:
        self.state = State.COMPLETED
        self._sent = failure
        outputs = self._repeat()
        if not self._is_reliable:
            outputs.append(_start(Timer.G, self._interval_s))
        outputs.append(_start(Timer.H, self._timers.timer_h))
        return outputs


class NonInviteServerTransaction(_Server):
    """Figure 8 of RFC 3261. Until the final response no timer runs."""

    __slots__ = ()

    _first_state = State.TRYING

    def on_request(self, request: Request) -> list[Output]:
        """Answer a retransmission with the last response (17.2.2)."""
        match self.state:
            case State.PROCEEDING | State.COMPLETED:
                return self._repeat()
        return []

    def respond(self, response: Response) -> list[Output]:
        """Send the transaction user's response; nothing after the first final one."""
        match self.state, response.status // 100:
            case State.TRYING | State.PROCEEDING, 1:
                self.state = State.PROCEEDING
                self._sent = response
                return [Transmit(response)]
            case State.TRYING | State.PROCEEDING, 2 | 3 | 4 | 5 | 6:
                if self._is_reliable:
                    return self._end(Transmit(response))
                self.state = State.COMPLETED
                self._sent = response
                return [Transmit(response), _start(Timer.J, self._timers.timer_j)]
        return []

    def on_timer(self, timer: Timer) -> list[Output]:
        """End the wait for retransmissions."""
        match self.state, timer:
            case State.COMPLETED, Timer.J:
                return self._end()
        return []

    def on_transport_error(self) -> list[Output]:
        """Tell the transaction user that a response did not leave (17.2.4)."""
        match self.state:
            case State.PROCEEDING | State.COMPLETED:
                return self._end(_TRANSPORT_FAILED)
        return []


ClientTransaction: TypeAlias = InviteClientTransaction | NonInviteClientTransaction
ServerTransaction: TypeAlias = InviteServerTransaction | NonInviteServerTransaction
Transaction: TypeAlias = ClientTransaction | ServerTransaction


def ack_request(invite: Request, failure: Response) -> Request:
    """Build the ACK to a final response other than 2xx, in the INVITE's own transaction (17.1.1.3)."""
    return _sibling(invite, "ACK", to_of=failure)


def cancel_request(invite: Request) -> Request:
    """Build the CANCEL of an INVITE as it was sent, our own Via on top (9.1)."""
    return _sibling(invite, "CANCEL", to_of=invite)


def _sibling(invite: Request, method: str, *, to_of: Message) -> Request:
    """Build a request that takes the INVITE's path to the next hop: its Request-URI, topmost Via and Route."""
    headers = [
        ("Via", str(invite.via)),  # the others are the peer's, and may be malformed
        *_copied(invite, "Route"),
        ("Max-Forwards", MAX_FORWARDS),
        *_copied(invite, "From"),
        *_copied(to_of, "To"),
        *_copied(invite, "Call-ID"),
        ("CSeq", f"{invite.cseq.number} {method}"),
    ]
    return Request.new(method, invite.uri, headers)


def _copied(message: Message, name: str) -> list[tuple[str, str]]:
    return [(name, value) for value in message.get_all(name)]
