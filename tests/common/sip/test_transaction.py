"""SP-03: the four transaction machines, arm by arm of their figures (RFC 3261 17, RFC 6026)."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencscf.common.sip.message import Request, Response
from opencscf.common.sip.timers import Timer, TimerValues
from opencscf.common.sip.transaction import (
    InviteClientTransaction,
    InviteServerTransaction,
    NonInviteClientTransaction,
    NonInviteServerTransaction,
    State,
    Transaction,
    ack_request,
    cancel_request,
)

LONGER = TimerValues(t1=2.0, t2=16.0, t4=17.0)


@dataclass(frozen=True)
class Transmit:
    data: bytes

    def __init__(self, message: Request | Response | bytes) -> None:
        object.__setattr__(self, "data", bytes(message))


@dataclass(frozen=True)
class StartTimer:
    timer: Timer
    delay_s: float


@dataclass(frozen=True)
class Deliver:
    message: Request | Response


@dataclass(frozen=True)
class TimedOut:
    pass


@dataclass(frozen=True)
class TransportFailed:
    pass


@dataclass(frozen=True)
class Terminated:
    pass


Output: TypeAlias = Transmit | StartTimer | Deliver | TimedOut | TransportFailed | Terminated


class Notes:
    """The user of a machine: it writes down what the machine wants and tells."""

    def __init__(self) -> None:
        self.outputs: list[Output] = []

    def transmit(self, data: bytes, message: Request | Response | None) -> None:
        assert message is None or bytes(message) == data
        self.outputs.append(Transmit(data))

    def start_timer(self, timer: Timer, delay_s: float) -> None:
        self.outputs.append(StartTimer(timer, delay_s))

    def deliver(self, response: Response) -> None:
        self.outputs.append(Deliver(response))

    def deliver_ack(self, ack: Request) -> None:
        self.outputs.append(Deliver(ack))

    def timed_out(self) -> None:
        self.outputs.append(TimedOut())

    def transport_failed(self) -> None:
        self.outputs.append(TransportFailed())

    def terminated(self) -> None:
        self.outputs.append(Terminated())


# An input is applied to a machine; which machine knows it is the table's business.
Input: TypeAlias = Callable[[Any], list[Output]]


def noted(call: Callable[[Notes], None]) -> list[Output]:
    notes = Notes()
    call(notes)
    return notes.outputs


TIMERS = TimerValues()
BRANCH = "z9hG4bK74bf9"


def request(method: str) -> Request:
    headers = [
        ("Via", f"SIP/2.0/UDP 192.0.2.1:5060;branch={BRANCH}"),
        ("Via", "SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKnashds8, SIP/2.0/TCP 192.0.2.8;branch=z9hG4bK87asd"),
        ("Route", "<sip:term@scscf.ims.test;lr>, <sip:edge.ims.test;lr>"),
        ("Route", "<sip:last.ims.test;lr>"),
        ("Max-Forwards", "68"),
        ("From", '"Alice, A." <sip:alice@ims.test>;tag=9fxced76sl'),
        ("To", "<sip:bob@ims.test>"),
        ("Call-ID", "3848276298220188511@ims.test"),
        ("CSeq", f"4711 {method}"),
        ("Contact", "<sip:alice@192.0.2.8>"),
    ]
    return Request.new(method, "sip:bob@192.0.2.7:5080", headers, b"v=0\r\n", "application/sdp")


INVITE = request("INVITE")
MESSAGE = request("MESSAGE")


def answer(asked: Request, status: int) -> Response:
    return Response.to_request(asked, status, to_tag="8321234356")


TRYING_100, RINGING, OK, BUSY, SEE_OTHER = (answer(INVITE, status) for status in (100, 180, 200, 486, 302))
OTHER_OK = Response.to_request(INVITE, 200, to_tag="another-ue")
ACK = ack_request(INVITE, BUSY)
MESSAGE_100, MESSAGE_OK, MESSAGE_404 = (answer(MESSAGE, status) for status in (100, 200, 404))


def start(transaction: Any) -> list[Output]:
    return noted(transaction.start)


def failed(transaction: Any) -> list[Output]:
    return noted(transaction.on_transport_error)


def received(message: Request | Response) -> Input:
    if isinstance(message, Request):
        return lambda transaction: noted(lambda notes: transaction.on_request(message, notes))
    return lambda transaction: noted(lambda notes: transaction.on_response(message, notes))


def responded(response: Response) -> Input:
    return lambda transaction: noted(lambda notes: transaction.respond(response, notes))


def fired(timer: Timer) -> Input:
    return lambda transaction: noted(lambda notes: transaction.on_timer(timer, notes))


def after(transaction: Transaction, inputs: Iterable[Input]) -> Transaction:
    for each in inputs:
        each(transaction)
    return transaction


def invite_client(*inputs: Input, reliable: bool = False) -> Transaction:
    return after(InviteClientTransaction(INVITE, key=BRANCH, reliable=reliable, timers=TIMERS), inputs)


def non_invite_client(*inputs: Input, reliable: bool = False) -> Transaction:
    return after(NonInviteClientTransaction(MESSAGE, key=BRANCH, reliable=reliable, timers=TIMERS), inputs)


def invite_server(*inputs: Input, reliable: bool = False) -> Transaction:
    return after(InviteServerTransaction(INVITE, reliable=reliable, timers=TIMERS), inputs)


def non_invite_server(*inputs: Input, reliable: bool = False) -> Transaction:
    return after(NonInviteServerTransaction(MESSAGE, reliable=reliable, timers=TIMERS), inputs)


def arm(clause: str, before: list[Input], event: Input, outputs: list[Output], state: State) -> Any:
    """Make a row of a machine's table: from the state that `before` leads to, an event, its outputs, the next state."""
    return pytest.param(before, event, outputs, state, id=clause)


CALLING: list[Input] = [start]
INVITE_PROCEEDING = [start, received(RINGING)]
INVITE_COMPLETED = [start, received(BUSY)]
INVITE_ACCEPTED = [start, received(OK)]


@pytest.mark.parametrize(
    ("before", "event", "outputs", "state"),
    [
        arm(
            "17.1.1.2 INVITE is sent, A starts",
            [],
            start,
            [Transmit(INVITE), StartTimer(Timer.A, 0.5)],
            State.CALLING,
        ),
        arm(
            "17.1.1.2 A: INVITE again, interval doubles",
            CALLING,
            fired(Timer.A),
            [Transmit(INVITE), StartTimer(Timer.A, 1.0)],
            State.CALLING,
        ),
        arm("17.1.1.2 B: timeout", CALLING, fired(Timer.B), [TimedOut(), Terminated()], State.TERMINATED),
        arm("17.1.4 transport error in Calling", CALLING, failed, [TransportFailed(), Terminated()], State.TERMINATED),
        arm("17.1.1.2 1xx in Calling", CALLING, received(TRYING_100), [Deliver(TRYING_100)], State.PROCEEDING),
        arm("17.1.1.2 1xx in Proceeding", INVITE_PROCEEDING, received(RINGING), [Deliver(RINGING)], State.PROCEEDING),
        arm("17.1.1.2 no retransmission in Proceeding", INVITE_PROCEEDING, fired(Timer.A), [], State.PROCEEDING),
        arm("17.1.1.2 no timeout in Proceeding", INVITE_PROCEEDING, fired(Timer.B), [], State.PROCEEDING),
        arm("figure 5 nothing was being sent in Proceeding", INVITE_PROCEEDING, failed, [], State.PROCEEDING),
        arm(
            "6026-8.4 2xx in Calling",
            CALLING,
            received(OK),
            [Deliver(OK), StartTimer(Timer.M, 32.0)],
            State.ACCEPTED,
        ),
        arm(
            "6026-8.4 2xx in Proceeding",
            INVITE_PROCEEDING,
            received(OK),
            [Deliver(OK), StartTimer(Timer.M, 32.0)],
            State.ACCEPTED,
        ),
        arm("6026-8.4 2xx again in Accepted", INVITE_ACCEPTED, received(OK), [Deliver(OK)], State.ACCEPTED),
        arm(
            "6026-8.4 forked 2xx in Accepted", INVITE_ACCEPTED, received(OTHER_OK), [Deliver(OTHER_OK)], State.ACCEPTED
        ),
        arm("6026-8.4 1xx in Accepted is absorbed", INVITE_ACCEPTED, received(RINGING), [], State.ACCEPTED),
        arm("6026-8.4 failure in Accepted is absorbed", INVITE_ACCEPTED, received(BUSY), [], State.ACCEPTED),
        arm("6026-8.4 A and B mean nothing in Accepted", INVITE_ACCEPTED, fired(Timer.B), [], State.ACCEPTED),
        arm("6026-8.4 M: end", INVITE_ACCEPTED, fired(Timer.M), [Terminated()], State.TERMINATED),
        arm(
            "17.1.1.2 failure in Calling is acknowledged",
            CALLING,
            received(BUSY),
            [Transmit(ACK), Deliver(BUSY), StartTimer(Timer.D, 32.0)],
            State.COMPLETED,
        ),
        arm(
            "17.1.1.2 redirection in Proceeding is acknowledged",
            INVITE_PROCEEDING,
            received(SEE_OTHER),
            [Transmit(ack_request(INVITE, SEE_OTHER)), Deliver(SEE_OTHER), StartTimer(Timer.D, 32.0)],
            State.COMPLETED,
        ),
        arm("17.1.1.2 failure again: ACK again", INVITE_COMPLETED, received(BUSY), [Transmit(ACK)], State.COMPLETED),
        arm("17.1.1.2 1xx in Completed is absorbed", INVITE_COMPLETED, received(RINGING), [], State.COMPLETED),
        arm("17.1.1.2 2xx in Completed is absorbed", INVITE_COMPLETED, received(OK), [], State.COMPLETED),
        arm("17.1.1.2 A means nothing in Completed", INVITE_COMPLETED, fired(Timer.A), [], State.COMPLETED),
        arm("17.1.4 ACK did not leave", INVITE_COMPLETED, failed, [TransportFailed(), Terminated()], State.TERMINATED),
        arm("17.1.1.2 D: end", INVITE_COMPLETED, fired(Timer.D), [Terminated()], State.TERMINATED),
    ],
)
def test_invite_client(before: list[Input], event: Input, outputs: list[Output], state: State) -> None:
    """RFC 3261 figure 5, RFC 6026 figure 4."""
    transaction = invite_client(*before)
    assert (event(transaction), transaction.state) == (outputs, state)


TRYING: list[Input] = [start]
PROCEEDING = [start, received(MESSAGE_100)]
COMPLETED = [start, received(MESSAGE_OK)]


@pytest.mark.parametrize(
    ("before", "event", "outputs", "state"),
    [
        arm(
            "17.1.2.2 request is sent, E starts",
            [],
            start,
            [Transmit(MESSAGE), StartTimer(Timer.E, 0.5)],
            State.TRYING,
        ),
        arm(
            "17.1.2.2 E in Trying: again, interval doubles",
            TRYING,
            fired(Timer.E),
            [Transmit(MESSAGE), StartTimer(Timer.E, 1.0)],
            State.TRYING,
        ),
        arm(
            "17.1.2.2 E in Trying: interval is at most T2",
            [start, *[fired(Timer.E)] * 3],
            fired(Timer.E),
            [Transmit(MESSAGE), StartTimer(Timer.E, 4.0)],
            State.TRYING,
        ),
        arm("17.1.2.2 F in Trying", TRYING, fired(Timer.F), [TimedOut(), Terminated()], State.TERMINATED),
        arm("17.1.4 transport error in Trying", TRYING, failed, [TransportFailed(), Terminated()], State.TERMINATED),
        arm("17.1.2.2 1xx in Trying", TRYING, received(MESSAGE_100), [Deliver(MESSAGE_100)], State.PROCEEDING),
        arm(
            "17.1.2.2 final response in Trying",
            TRYING,
            received(MESSAGE_OK),
            [Deliver(MESSAGE_OK), StartTimer(Timer.K, 5.0)],
            State.COMPLETED,
        ),
        arm(
            "17.1.2.2 E in Proceeding: again, interval is T2",
            PROCEEDING,
            fired(Timer.E),
            [Transmit(MESSAGE), StartTimer(Timer.E, 4.0)],
            State.PROCEEDING,
        ),
        arm("17.1.2.2 F in Proceeding", PROCEEDING, fired(Timer.F), [TimedOut(), Terminated()], State.TERMINATED),
        arm(
            "17.1.4 transport error in Proceeding",
            PROCEEDING,
            failed,
            [TransportFailed(), Terminated()],
            State.TERMINATED,
        ),
        arm("17.1.2.2 1xx in Proceeding", PROCEEDING, received(MESSAGE_100), [Deliver(MESSAGE_100)], State.PROCEEDING),
        arm(
            "17.1.2.2 final response in Proceeding",
            PROCEEDING,
            received(MESSAGE_404),
            [Deliver(MESSAGE_404), StartTimer(Timer.K, 5.0)],
            State.COMPLETED,
        ),
        arm("17.1.2.2 response again in Completed", COMPLETED, received(MESSAGE_OK), [], State.COMPLETED),
        arm("17.1.2.2 E means nothing in Completed", COMPLETED, fired(Timer.E), [], State.COMPLETED),
        arm("17.1.2.2 F means nothing in Completed", COMPLETED, fired(Timer.F), [], State.COMPLETED),
        arm("figure 6 nothing is being sent in Completed", COMPLETED, failed, [], State.COMPLETED),
        arm("17.1.2.2 K: end", COMPLETED, fired(Timer.K), [Terminated()], State.TERMINATED),
    ],
)
def test_non_invite_client(before: list[Input], event: Input, outputs: list[Output], state: State) -> None:
    """RFC 3261 figure 6."""
    transaction = non_invite_client(*before)
    assert (event(transaction), transaction.state) == (outputs, state)


SERVER_RANG = [responded(RINGING)]
SERVER_ACCEPTED = [responded(OK)]
SERVER_COMPLETED = [responded(BUSY)]
SERVER_CONFIRMED = [responded(BUSY), received(ACK)]


@pytest.mark.parametrize(
    ("before", "event", "outputs", "state"),
    [
        arm("17.2.1 INVITE again before any response", [], received(INVITE), [], State.PROCEEDING),
        arm("17.2.1 1xx from the user", [], responded(TRYING_100), [Transmit(TRYING_100)], State.PROCEEDING),
        arm("17.2.1 INVITE again: last 1xx", SERVER_RANG, received(INVITE), [Transmit(RINGING)], State.PROCEEDING),
        arm("17.2.1 ACK in Proceeding is absorbed", SERVER_RANG, received(ACK), [], State.PROCEEDING),
        arm("6026-8.8 error in Proceeding: stay", SERVER_RANG, failed, [TransportFailed()], State.PROCEEDING),
        arm(
            "17.2.1 failure from the user",
            SERVER_RANG,
            responded(BUSY),
            [Transmit(BUSY), StartTimer(Timer.G, 0.5)],
            State.COMPLETED,
        ),
        arm("17.2.1 INVITE again in Completed", SERVER_COMPLETED, received(INVITE), [Transmit(BUSY)], State.COMPLETED),
        arm("17.2.1 other final response in Completed", SERVER_COMPLETED, responded(OK), [], State.COMPLETED),
        arm("17.2.1 1xx in Completed", SERVER_COMPLETED, responded(RINGING), [], State.COMPLETED),
        arm(
            "17.2.1 G: again, interval doubles",
            SERVER_COMPLETED,
            fired(Timer.G),
            [Transmit(BUSY), StartTimer(Timer.G, 1.0)],
            State.COMPLETED,
        ),
        arm(
            "17.2.1 G: interval is at most T2",
            [*SERVER_COMPLETED, *[fired(Timer.G)] * 3],
            fired(Timer.G),
            [Transmit(BUSY), StartTimer(Timer.G, 4.0)],
            State.COMPLETED,
        ),
        arm("17.2.1 H: no ACK came", SERVER_COMPLETED, fired(Timer.H), [TimedOut(), Terminated()], State.TERMINATED),
        arm("6026-8.8 error in Completed: stay", SERVER_COMPLETED, failed, [TransportFailed()], State.COMPLETED),
        arm("17.2.1 ACK", SERVER_COMPLETED, received(ACK), [StartTimer(Timer.I, 5.0)], State.CONFIRMED),
        arm("17.2.1 ACK again in Confirmed", SERVER_CONFIRMED, received(ACK), [], State.CONFIRMED),
        arm("17.2.1 INVITE again in Confirmed", SERVER_CONFIRMED, received(INVITE), [], State.CONFIRMED),
        arm("17.2.1 G means nothing in Confirmed", SERVER_CONFIRMED, fired(Timer.G), [], State.CONFIRMED),
        arm("17.2.1 H means nothing in Confirmed", SERVER_CONFIRMED, fired(Timer.H), [], State.CONFIRMED),
        arm("figure 7 nothing is being sent in Confirmed", SERVER_CONFIRMED, failed, [], State.CONFIRMED),
        arm("17.2.1 I: end", SERVER_CONFIRMED, fired(Timer.I), [Terminated()], State.TERMINATED),
        arm(
            "6026-8.7 2xx from the user",
            SERVER_RANG,
            responded(OK),
            [Transmit(OK), StartTimer(Timer.L, 32.0)],
            State.ACCEPTED,
        ),
        arm("6026-8.7 INVITE again in Accepted is absorbed", SERVER_ACCEPTED, received(INVITE), [], State.ACCEPTED),
        arm("6026-8.7 2xx again from the user", SERVER_ACCEPTED, responded(OK), [Transmit(OK)], State.ACCEPTED),
        arm("6026-8.7 forked 2xx", SERVER_ACCEPTED, responded(OTHER_OK), [Transmit(OTHER_OK)], State.ACCEPTED),
        arm("6026-8.7 failure after a 2xx", SERVER_ACCEPTED, responded(BUSY), [], State.ACCEPTED),
        arm("6026-8.7 1xx after a 2xx", SERVER_ACCEPTED, responded(RINGING), [], State.ACCEPTED),
        arm("6026-7.1 ACK in Accepted", SERVER_ACCEPTED, received(ACK), [Deliver(ACK)], State.ACCEPTED),
        arm("6026-8.8 error in Accepted: stay", SERVER_ACCEPTED, failed, [TransportFailed()], State.ACCEPTED),
        arm("6026-8.7 L: end", SERVER_ACCEPTED, fired(Timer.L), [Terminated()], State.TERMINATED),
    ],
)
def test_invite_server(before: list[Input], event: Input, outputs: list[Output], state: State) -> None:
    """RFC 3261 figure 7, RFC 6026 figure 5."""
    transaction = invite_server(*before)
    assert (event(transaction), transaction.state) == (outputs, state)


SERVER_TRIED = [responded(MESSAGE_100)]
SERVER_ANSWERED = [responded(MESSAGE_OK)]


@pytest.mark.parametrize(
    ("before", "event", "outputs", "state"),
    [
        arm("17.2.2 request again in Trying", [], received(MESSAGE), [], State.TRYING),
        arm("figure 8 nothing was being sent in Trying", [], failed, [], State.TRYING),
        arm("17.2.2 1xx from the user", [], responded(MESSAGE_100), [Transmit(MESSAGE_100)], State.PROCEEDING),
        arm(
            "17.2.2 final response in Trying",
            [],
            responded(MESSAGE_OK),
            [Transmit(MESSAGE_OK), StartTimer(Timer.J, 32.0)],
            State.COMPLETED,
        ),
        arm(
            "17.2.2 request again in Proceeding",
            SERVER_TRIED,
            received(MESSAGE),
            [Transmit(MESSAGE_100)],
            State.PROCEEDING,
        ),
        arm("17.2.2 1xx again", SERVER_TRIED, responded(MESSAGE_100), [Transmit(MESSAGE_100)], State.PROCEEDING),
        arm("17.2.4 error in Proceeding", SERVER_TRIED, failed, [TransportFailed(), Terminated()], State.TERMINATED),
        arm(
            "17.2.2 final response in Proceeding",
            SERVER_TRIED,
            responded(MESSAGE_404),
            [Transmit(MESSAGE_404), StartTimer(Timer.J, 32.0)],
            State.COMPLETED,
        ),
        arm(
            "17.2.2 request again in Completed",
            SERVER_ANSWERED,
            received(MESSAGE),
            [Transmit(MESSAGE_OK)],
            State.COMPLETED,
        ),
        arm("17.2.2 other final response", SERVER_ANSWERED, responded(MESSAGE_404), [], State.COMPLETED),
        arm("17.2.2 1xx in Completed", SERVER_ANSWERED, responded(MESSAGE_100), [], State.COMPLETED),
        arm("17.2.4 error in Completed", SERVER_ANSWERED, failed, [TransportFailed(), Terminated()], State.TERMINATED),
        arm("17.2.2 J: end", SERVER_ANSWERED, fired(Timer.J), [Terminated()], State.TERMINATED),
    ],
)
def test_non_invite_server(before: list[Input], event: Input, outputs: list[Output], state: State) -> None:
    """RFC 3261 figure 8."""
    transaction = non_invite_server(*before)
    assert (event(transaction), transaction.state) == (outputs, state)


@pytest.mark.parametrize(
    ("transaction", "event", "outputs"),
    [
        pytest.param(
            invite_client(reliable=True),
            start,
            [Transmit(INVITE), StartTimer(Timer.B, 32.0)],
            id="17.1.1.2 no Timer A",
        ),
        pytest.param(
            invite_client(start, reliable=True),
            received(BUSY),
            [Transmit(ACK), Deliver(BUSY), Terminated()],
            id="17.1.1.2 Timer D is zero",
        ),
        pytest.param(
            invite_client(start, reliable=True),
            received(OK),
            [Deliver(OK), StartTimer(Timer.M, 32.0)],
            id="6026-8.4 Timer M all the same",
        ),
        pytest.param(
            non_invite_client(reliable=True),
            start,
            [Transmit(MESSAGE), StartTimer(Timer.F, 32.0)],
            id="17.1.2.2 no Timer E",
        ),
        pytest.param(
            non_invite_client(start, reliable=True),
            received(MESSAGE_OK),
            [Deliver(MESSAGE_OK), Terminated()],
            id="17.1.2.2 Timer K is zero",
        ),
        pytest.param(
            invite_server(reliable=True),
            responded(BUSY),
            [Transmit(BUSY), StartTimer(Timer.H, 32.0)],
            id="17.2.1 no Timer G, but Timer H",
        ),
        pytest.param(
            invite_server(responded(BUSY), reliable=True),
            received(ACK),
            [Terminated()],
            id="17.2.1 Timer I is zero",
        ),
        pytest.param(
            invite_server(reliable=True),
            responded(OK),
            [Transmit(OK), StartTimer(Timer.L, 32.0)],
            id="6026-8.7 Timer L all the same",
        ),
        pytest.param(
            non_invite_server(reliable=True),
            responded(MESSAGE_OK),
            [Transmit(MESSAGE_OK), Terminated()],
            id="17.2.2 Timer J is zero",
        ),
    ],
)
def test_reliable_transport(transaction: Transaction, event: Input, outputs: list[Output]) -> None:
    assert event(transaction) == outputs


class Wire:
    """Runs a machine on a clock of its own and notes when it did what."""

    def __init__(self, transaction: Transaction) -> None:
        self.transaction = transaction
        self.now = 0.0
        self.sent_at: list[float] = []
        self.done: list[tuple[float, Output]] = []
        self._order = count()
        self._due: list[tuple[float, int, Timer]] = []

    def do(self, event: Input) -> None:
        for output in event(self.transaction):
            match output:
                case StartTimer(timer, delay_s):
                    heapq.heappush(self._due, (self.now + delay_s, next(self._order), timer))
                case Transmit():
                    self.sent_at.append(self.now)
                case _:
                    self.done.append((self.now, output))

    def run(self, until: float = 1e9) -> None:
        while self._due and self._due[0][0] <= until:
            self.now, _, timer = heapq.heappop(self._due)
            self.do(fired(timer))
        self.now = until


def run(transaction: Transaction, event: Input) -> Wire:
    wire = Wire(transaction)
    wire.do(event)
    wire.run()
    return wire


NON_INVITE_SCHEDULE = [0.0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
GAVE_UP = [(32.0, TimedOut()), (32.0, Terminated())]


def test_invite_is_sent_seven_times_in_32_s() -> None:
    """RFC 3261 17.1.1.2."""
    wire = run(invite_client(), start)
    assert (wire.sent_at, wire.done) == ([0.0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5], GAVE_UP)


def test_non_invite_request_is_sent_eleven_times_in_32_s() -> None:
    """RFC 3261 17.1.2.2."""
    wire = run(non_invite_client(), start)
    assert (wire.sent_at, wire.done) == (NON_INVITE_SCHEDULE, GAVE_UP)


def test_non_invite_request_goes_out_every_t2_after_a_provisional_response() -> None:
    """RFC 3261 17.1.2.2: the Timer E that runs goes on, the next ones last T2."""
    wire = Wire(non_invite_client())
    wire.do(start)
    wire.run(until=0.7)
    wire.do(received(MESSAGE_100))
    wire.run()
    assert wire.sent_at == [0.0, 0.5, 1.5, 5.5, 9.5, 13.5, 17.5, 21.5, 25.5, 29.5]
    assert wire.done == [(0.7, Deliver(MESSAGE_100)), *GAVE_UP]


def test_failure_is_sent_eleven_times_in_32_s_without_ack() -> None:
    """RFC 3261 17.2.1."""
    wire = run(invite_server(), responded(BUSY))
    assert (wire.sent_at, wire.done) == (NON_INVITE_SCHEDULE, GAVE_UP)


def test_failure_is_not_sent_again_after_the_ack() -> None:
    wire = Wire(invite_server())
    wire.do(responded(BUSY))
    wire.run(until=2.0)
    wire.do(received(ACK))
    wire.run()
    assert (wire.sent_at, wire.done) == ([0.0, 0.5, 1.5], [(7.0, Terminated())])


def test_schedule_towards_the_ue() -> None:
    """TS 24.229 7.7: T1 2 s and T2 16 s spread the same eleven messages over 128 s."""
    wire = run(NonInviteClientTransaction(MESSAGE, key=BRANCH, reliable=False, timers=LONGER), start)
    assert wire.sent_at == [4 * at for at in NON_INVITE_SCHEDULE]
    assert wire.done == [(128.0, TimedOut()), (128.0, Terminated())]


def test_ack_is_built_from_the_invite_as_it_was_sent() -> None:
    """RFC 3261 17.1.1.3."""
    assert ack_request(INVITE, BUSY) == Request.new(
        "ACK",
        "sip:bob@192.0.2.7:5080",
        [
            ("Via", f"SIP/2.0/UDP 192.0.2.1:5060;branch={BRANCH}"),
            ("Route", "<sip:term@scscf.ims.test;lr>, <sip:edge.ims.test;lr>"),
            ("Route", "<sip:last.ims.test;lr>"),
            ("Max-Forwards", "70"),
            ("From", '"Alice, A." <sip:alice@ims.test>;tag=9fxced76sl'),
            ("To", "<sip:bob@ims.test>;tag=8321234356"),
            ("Call-ID", "3848276298220188511@ims.test"),
            ("CSeq", "4711 ACK"),
        ],
    )


def test_cancel_is_built_from_the_invite_as_it_was_sent() -> None:
    """RFC 3261 9.1: the To is the INVITE's own."""
    assert cancel_request(INVITE) == Request.new(
        "CANCEL",
        "sip:bob@192.0.2.7:5080",
        [
            ("Via", f"SIP/2.0/UDP 192.0.2.1:5060;branch={BRANCH}"),
            ("Route", "<sip:term@scscf.ims.test;lr>, <sip:edge.ims.test;lr>"),
            ("Route", "<sip:last.ims.test;lr>"),
            ("Max-Forwards", "70"),
            ("From", '"Alice, A." <sip:alice@ims.test>;tag=9fxced76sl'),
            ("To", "<sip:bob@ims.test>"),
            ("Call-ID", "3848276298220188511@ims.test"),
            ("CSeq", "4711 CANCEL"),
        ],
    )


CLIENT_INPUTS = [
    *(fired(timer) for timer in Timer),
    *(received(answer(INVITE, status)) for status in (100, 183, 200, 302, 404, 503, 603)),
    failed,
]
SERVER_INPUTS = [
    *(fired(timer) for timer in Timer),
    *(responded(answer(INVITE, status)) for status in (100, 183, 200, 302, 404, 503, 603)),
    *(received(message) for message in (INVITE, ACK, MESSAGE)),
    failed,
]
ANSWERED = answer(INVITE, 500)


@given(
    make=st.sampled_from([invite_client, non_invite_client]),
    reliable=st.booleans(),
    inputs=st.lists(st.sampled_from(CLIENT_INPUTS), max_size=12),
)
def test_every_client_ends_once_its_timers_have_fired(
    *, make: Callable[..., Transaction], reliable: bool, inputs: list[Input]
) -> None:
    ends_once(make(reliable=reliable), [start, *inputs, received(ANSWERED)], CLIENT_INPUTS)


@given(
    make=st.sampled_from([invite_server, non_invite_server]),
    reliable=st.booleans(),
    inputs=st.lists(st.sampled_from(SERVER_INPUTS), max_size=12),
)
def test_every_server_ends_once_its_timers_have_fired(
    *, make: Callable[..., Transaction], reliable: bool, inputs: list[Input]
) -> None:
    ends_once(make(reliable=reliable), [*inputs, responded(ANSWERED)], SERVER_INPUTS)


def ends_once(transaction: Transaction, inputs: list[Input], afterwards: list[Input]) -> None:
    """Check that `Terminated` comes once, as the last output, and that nothing is held or done after it."""
    wire = Wire(transaction)
    for each in inputs:
        wire.do(each)
    wire.run()
    assert [output for _, output in wire.done].count(Terminated()) == 1
    assert wire.done[-1][1] == Terminated()
    assert transaction.state is State.TERMINATED
    assert transaction._sent == b""
    assert [each(transaction) for each in afterwards] == [[]] * len(afterwards)


@pytest.mark.parametrize(
    "transaction",
    [
        pytest.param(invite_client(*INVITE_ACCEPTED), id="INVITE client, Accepted"),
        pytest.param(non_invite_client(*COMPLETED), id="non-INVITE client, Completed"),
        pytest.param(invite_server(responded(RINGING), responded(OK)), id="INVITE server, Accepted"),
        pytest.param(invite_server(*SERVER_CONFIRMED), id="INVITE server, Confirmed"),
    ],
)
def test_nothing_is_held_that_is_not_sent_again(transaction: Transaction) -> None:
    """These states last up to 64*T1, and at a busy node thousands of transactions are in them."""
    assert transaction._sent == b""
    assert getattr(transaction, "_request", None) is None


def test_repr_names_the_transaction() -> None:
    assert repr(invite_client(start)) == f"<InviteClientTransaction INVITE {BRANCH} calling>"


def test_malformed_via_of_an_earlier_hop_does_not_keep_a_failure_from_its_ack() -> None:
    """Or the transaction would be left in Completed without a timer, for ever."""
    invite = INVITE.copy()
    invite.append("Via", 'SIP/2.0/UDP a.example<;x="')
    transaction = InviteClientTransaction(invite, key="k", reliable=False, timers=TimerValues())
    start(transaction)
    assert received(BUSY)(transaction) == [Transmit(ACK), Deliver(BUSY), StartTimer(Timer.D, 32.0)]
    assert cancel_request(invite) == cancel_request(INVITE)
