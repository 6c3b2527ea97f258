"""The four transaction machines (RFC 3261 17, corrected by RFC 6026), one class per figure.

A machine is told what happens (`start`, `respond`, `on_...`) together with its user, the object that does what it
wants, and calls that: it never sends, waits or looks at a clock itself. It has changed its state before it calls, so
that it may be told the next thing meanwhile. It waits for one timer at a time: that of its next retransmission, or
that of its end if this comes first. Timers are started but never cancelled; one that outlives its state is ignored.
What has no arm in a machine's method is absorbed on purpose. A terminated machine holds no message and ignores every
input.

| class                        | figure                 | life                                               |
|------------------------------|------------------------|----------------------------------------------------|
| `InviteClientTransaction`    | 5 and RFC 6026 fig. 4  | Calling, Proceeding, Accepted or Completed         |
| `NonInviteClientTransaction` | 6                      | Trying, Proceeding, Completed                      |
| `InviteServerTransaction`    | 7 and RFC 6026 fig. 5  | Proceeding, Accepted or Completed, Confirmed       |
| `NonInviteServerTransaction` | 8                      | Trying, Proceeding, Completed                      |

Not covered, since the user does it with `respond`: 100 (Trying), and what RFC 4320 says about non-INVITE requests.
"""

from __future__ import annotations

import enum
from typing import ClassVar, Protocol, TypeAlias

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


# The same by short names: looking a member up in its enumeration costs more than all else in an arm.
_CALLING, _TRYING, _PROCEEDING, _ACCEPTED, _COMPLETED, _CONFIRMED, _TERMINATED = State
_A, _B, _D, _E, _F = Timer.A, Timer.B, Timer.D, Timer.E, Timer.F
_G, _H, _I, _J, _K, _L, _M = Timer.G, Timer.H, Timer.I, Timer.J, Timer.K, Timer.L, Timer.M


class TransactionUser(Protocol):
    """What every machine wants of its user, and tells it."""

    def transmit(self, data: bytes, message: Request | Response | None) -> None:
        """Send: a request to the next hop, a response to where its request came from; no `message`: it goes again."""
        ...

    def start_timer(self, timer: Timer, delay_s: float) -> None:
        """Call `on_timer(timer, user)` in `delay_s` seconds."""
        ...

    def timed_out(self) -> None:
        """Hear that no final response came in time, or no ACK at an INVITE server."""
        ...

    def transport_failed(self) -> None:
        """Hear that a message could not be sent."""
        ...

    def terminated(self) -> None:
        """Forget the transaction: always the last call of its life."""
        ...


class ClientUser(TransactionUser, Protocol):
    """The user of a client transaction."""

    def deliver(self, response: Response) -> None:
        """Hear of a response."""
        ...


class ServerUser(TransactionUser, Protocol):
    """The user of a server transaction."""

    def deliver_ack(self, ack: Request) -> None:
        """Hear of an ACK to the 2xx that came in the INVITE's own branch.

        Only an element that violates 13.2.2.4 sends one; it is passed on all the same (RFC 6026 7.1).
        """
        ...


class _Transaction:
    """What the machines share: their name, their state and the octets that a retransmission repeats."""

    __slots__ = ("_interval_s", "_is_reliable", "_left_s", "_sent", "key", "method", "state", "timers")

    key: str
    method: str
    state: State
    timers: TimerValues
    _sent: bytes
    _is_reliable: bool
    _interval_s: float  # until the next retransmission
    _left_s: float  # until the machine gives up, counted from the end of the timer that runs

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.method} {self.key} {self.state}>"

    def _repeat(self, user: TransactionUser) -> None:
        if self._sent:
            user.transmit(self._sent, None)

    def _wait(self, user: TransactionUser, retransmission: Timer, end: Timer) -> None:
        """Start the timer of the next retransmission, or the one that ends the transaction if it ends earlier."""
        if self._is_reliable or self._interval_s >= self._left_s:
            user.start_timer(end, self._left_s)
        else:
            self._left_s -= self._interval_s
            user.start_timer(retransmission, self._interval_s)

    def _end(self, user: TransactionUser) -> None:
        self.state = _TERMINATED
        self._sent = b""
        user.terminated()

    def _time_out(self, user: TransactionUser) -> None:
        self.state = _TERMINATED
        user.timed_out()
        self._end(user)

    def _fail(self, user: TransactionUser) -> None:
        self.state = _TERMINATED
        user.transport_failed()
        self._end(user)


class _Client(_Transaction):
    """Made when the transaction user sends a request; `key` is the branch of our own Via on it (17.1.3)."""

    __slots__ = ("_request",)

    _first_state: ClassVar[State]
    _request: Request | None  # until it has been sent; an INVITE until it needs no ACK any more

    def __init__(self, request: Request, *, key: str, reliable: bool, timers: TimerValues) -> None:
        self.key = key
        self.method = request.method
        self.state = self._first_state
        self._request = request
        self._sent = b""
        self.timers = timers
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
        self._sent = b""
        self.timers = timers
        self._is_reliable = reliable


class InviteClientTransaction(_Client):
    """Figure 5 of RFC 3261 with the Accepted state of RFC 6026 (8.4)."""

    __slots__ = ()

    _first_state = State.CALLING

    def start(self, user: ClientUser) -> None:
        """Send the INVITE (17.1.1.2)."""
        assert self._request is not None  # noqa: S101  it has just been made
        self._left_s = self.timers.timer_b
        self._sent = bytes(self._request)
        user.transmit(self._sent, self._request)
        self._wait(user, _A, _B)

    def on_timer(self, timer: Timer, user: ClientUser) -> None:
        """Retransmit, give up, or end the wait for retransmissions."""
        state = self.state
        if state is _CALLING and timer is _A:
            self._interval_s *= 2
            self._repeat(user)
            self._wait(user, _A, _B)
        elif state is _CALLING and timer is _B:
            self._request = None
            self._time_out(user)
        elif (state is _COMPLETED and timer is _D) or (state is _ACCEPTED and timer is _M):
            self._end(user)

    def on_response(self, response: Response, user: ClientUser) -> None:
        """Pass a response up; acknowledge a failure each time it comes."""
        state, status = self.state, response.status
        if state is _CALLING or state is _PROCEEDING:
            if status < 200:
                self.state = _PROCEEDING
                self._sent = b""
                user.deliver(response)
            elif status < 300:
                self.state = _ACCEPTED
                self._request = None
                self._sent = b""
                user.deliver(response)
                user.start_timer(_M, self.timers.timer_m)
            else:
                self._complete(response, user)
        elif state is _COMPLETED and status >= 300:
            self._repeat(user)
        elif state is _ACCEPTED and 200 <= status < 300:
            user.deliver(response)

    def on_transport_error(self, user: ClientUser) -> None:
        """Tell the transaction user that the INVITE or the ACK did not leave (17.1.4)."""
        if self.state is _CALLING or self.state is _COMPLETED:
            self._request = None
            self._fail(user)

    def _complete(self, failure: Response, user: ClientUser) -> None:
        invite, self._request = self._request, None
        assert invite is not None  # noqa: S101  until Accepted or Completed
        ack = ack_request(invite, failure)
        self.state = _COMPLETED
        self._sent = bytes(ack)
        user.transmit(self._sent, ack)
        if self._is_reliable:
            self.state = _TERMINATED
            user.deliver(failure)
            self._end(user)
        else:
            user.deliver(failure)
            user.start_timer(_D, self.timers.timer_d)


class NonInviteClientTransaction(_Client):
    """Figure 6 of RFC 3261."""

    __slots__ = ()

    _first_state = State.TRYING

    def start(self, user: ClientUser) -> None:
        """Send the request (17.1.2.2)."""
        request, self._request = self._request, None
        assert request is not None  # noqa: S101  it has just been made
        self._left_s = self.timers.timer_f
        self._sent = bytes(request)
        user.transmit(self._sent, request)
        self._wait(user, _E, _F)

    def on_timer(self, timer: Timer, user: ClientUser) -> None:
        """Retransmit, give up, or end the wait for retransmissions."""
        state = self.state
        if state is _TRYING and timer is _E:
            self._interval_s = min(2 * self._interval_s, self.timers.t2)
            self._repeat(user)
            self._wait(user, _E, _F)
        elif state is _PROCEEDING and timer is _E:
            self._interval_s = self.timers.t2
            self._repeat(user)
            self._wait(user, _E, _F)
        elif (state is _TRYING or state is _PROCEEDING) and timer is _F:
            self._time_out(user)
        elif state is _COMPLETED and timer is _K:
            self._end(user)

    def on_response(self, response: Response, user: ClientUser) -> None:
        """Pass a response up, a final one only once."""
        if self.state is not _TRYING and self.state is not _PROCEEDING:
            return
        if response.status < 200:
            self.state = _PROCEEDING
            user.deliver(response)
        elif self._is_reliable:
            self.state = _TERMINATED
            user.deliver(response)
            self._end(user)
        else:
            self.state = _COMPLETED
            self._sent = b""
            user.deliver(response)
            user.start_timer(_K, self.timers.timer_k)

    def on_transport_error(self, user: ClientUser) -> None:
        """Tell the transaction user that the request did not leave (17.1.4)."""
        if self.state is _TRYING or self.state is _PROCEEDING:
            self._fail(user)


class InviteServerTransaction(_Server):
    """Figure 7 of RFC 3261 with the Accepted state of RFC 6026 (8.7)."""

    __slots__ = ()

    _first_state = State.PROCEEDING

    def on_request(self, request: Request, user: ServerUser) -> None:
        """Answer a retransmission of the INVITE with the last response; take in the ACK (17.2.1)."""
        state = self.state
        if request.method == "INVITE":
            if state is _PROCEEDING or state is _COMPLETED:
                self._repeat(user)
        elif request.method == "ACK":
            if state is _COMPLETED:
                self._confirm(user)
            elif state is _ACCEPTED:
                user.deliver_ack(request)

    def respond(self, response: Response, user: ServerUser) -> None:
        """Send the transaction user's response; every 2xx, but nothing else after the first final one."""
        state, status = self.state, response.status
        if state is _PROCEEDING:
            data = bytes(response)
            if status < 200:
                self._sent = data
                user.transmit(data, response)
            elif status < 300:
                self.state = _ACCEPTED
                self._sent = b""  # the transaction user alone retransmits a 2xx, 13.3.1.4
                user.transmit(data, response)
                user.start_timer(_L, self.timers.timer_l)
            else:
                self.state = _COMPLETED
                self._sent = data
                self._interval_s, self._left_s = self.timers.t1, self.timers.timer_h
                user.transmit(data, response)
                self._wait(user, _G, _H)
        elif state is _ACCEPTED and 200 <= status < 300:
            user.transmit(bytes(response), response)

    def on_timer(self, timer: Timer, user: ServerUser) -> None:
        """Retransmit the failure, give up, or end the wait for retransmissions."""
        state = self.state
        if state is _COMPLETED and timer is _G:
            self._interval_s = min(2 * self._interval_s, self.timers.t2)
            self._repeat(user)
            self._wait(user, _G, _H)
        elif state is _COMPLETED and timer is _H:
            self._time_out(user)
        elif (state is _CONFIRMED and timer is _I) or (state is _ACCEPTED and timer is _L):
            self._end(user)

    def on_transport_error(self, user: ServerUser) -> None:
        """Tell the transaction user and stay: a retransmission may get through (RFC 6026 8.8)."""
        if self.state is _PROCEEDING or self.state is _COMPLETED or self.state is _ACCEPTED:
            user.transport_failed()

    def _confirm(self, user: ServerUser) -> None:
        if self._is_reliable:
            self._end(user)
        else:
            self.state = _CONFIRMED
            self._sent = b""
            user.start_timer(_I, self.timers.timer_i)


class NonInviteServerTransaction(_Server):
    """Figure 8 of RFC 3261. Until the final response no timer runs."""

    __slots__ = ()

    _first_state = State.TRYING

    def on_request(self, request: Request, user: ServerUser) -> None:
        """Answer a retransmission with the last response (17.2.2)."""
        if self.state is _PROCEEDING or self.state is _COMPLETED:
            self._repeat(user)

    def respond(self, response: Response, user: ServerUser) -> None:
        """Send the transaction user's response; nothing after the first final one."""
        if self.state is not _TRYING and self.state is not _PROCEEDING:
            return
        self._sent = data = bytes(response)
        if response.status < 200:
            self.state = _PROCEEDING
            user.transmit(data, response)
        elif self._is_reliable:
            self.state = _TERMINATED
            user.transmit(data, response)
            self._end(user)
        else:
            self.state = _COMPLETED
            user.transmit(data, response)
            user.start_timer(_J, self.timers.timer_j)

    def on_timer(self, timer: Timer, user: ServerUser) -> None:
        """End the wait for retransmissions."""
        if self.state is _COMPLETED and timer is _J:
            self._end(user)

    def on_transport_error(self, user: ServerUser) -> None:
        """Tell the transaction user that a response did not leave (17.2.4)."""
        if self.state is _PROCEEDING or self.state is _COMPLETED:
            self._fail(user)


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
