"""The loop of a node: actions performed, questions answered, faults contained."""

from collections.abc import Callable
from typing import Any

import pytest

from opencscf.common.actions import (
    Action,
    Branch,
    FinalResponse,
    Forward,
    Outcome,
    Procedure,
    Relay,
    Report,
    Respond,
    Save,
    SetTimer,
    Start,
)
from opencscf.common.errors import ParseError, PeerUnavailable
from opencscf.common.events import Event, RequestReceived, Started, TimerFired
from opencscf.common.ids import Ids
from opencscf.common.node.clock import FakeClock, TimerWheel
from opencscf.common.node.runtime import MAX_WAITING, Due, Reply, Runtime
from opencscf.common.node.way_back import MAX_REMEMBERED
from opencscf.common.sip.exchange import Target
from opencscf.common.sip.flow import Flow, Hop, Transport
from opencscf.common.sip.headers import Via
from opencscf.common.sip.message import Message, Request, Response
from opencscf.common.sip.parser import parse
from opencscf.common.sip.stack import SipStack
from opencscf.common.sip.timers import TimerValues
from opencscf.common.sip.uri import SipUri
from opencscf.common.transport.icmp import Undelivered

UE = Flow(Transport.UDP, ("127.0.1.10", 5060), ("127.0.2.1", 5062))
CORE = Hop(Transport.UDP, "127.0.1.12", 5060)
OTHER = Hop(Transport.UDP, "127.0.1.13", 5060)


def request(method: str = "MESSAGE", number: int = 1) -> Request:
    message = parse(
        f"{method} sip:127.0.1.12 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.2.1:5062;branch=z9hG4bK{number};rport\r\n"
        f"From: <sip:a@ims.test>;tag=a\r\nTo: <sip:b@ims.test>\r\nCall-ID: c{number}\r\nCSeq: 1 {method}\r\n"
        "Content-Length: 0\r\n\r\n".encode()
    )
    assert isinstance(message, Request)
    return message


class World:
    """Everything around a runtime; the core is whatever function the test gives."""

    def __init__(self) -> None:
        self.decide: Callable[[Event], Outcome] = lambda event: []
        self.events: list[Event] = []
        self.sent: list[tuple[Message, Target]] = []
        self.lines: list[tuple[str, str, dict[str, object]]] = []
        self.saves: list[tuple[Save, Reply]] = []
        self.lookups: list[tuple[str, Callable[[tuple[Hop, ...] | PeerUnavailable], None]]] = []
        self.avoided: list[Hop] = []
        self.closed: set[int] = set()  # connections
        self.sent_by: list[str] = []
        self.clock = FakeClock(1000.0)
        wheel: TimerWheel[Due] = TimerWheel(0.1, start=1000.0)
        stack = SipStack(ids=Ids(seed=1), timers=TimerValues(), local_for=lambda target: ("127.0.1.10", 5060))
        self.runtime = Runtime(
            core=self, stack=stack, wire=self, resolver=self, askers={Save: self._save}, wheel=wheel,
            clock=self.clock, log=self,
        )  # fmt: skip

    def on_event(self, event: Event) -> Outcome:
        self.events.append(event)
        return self.decide(event)

    def send(self, data: bytes, target: Target) -> None:
        if data:
            self.sent.append((parse(data), target))

    def is_open(self, flow: Flow) -> bool:
        return flow.connection not in self.closed

    def failed(self, hop: Hop) -> None:
        self.avoided.append(hop)

    def lookup_sent_by(self, via: Via, callback: Callable[[tuple[Hop, ...] | PeerUnavailable], None]) -> None:
        self.sent_by.append(via.sent_by)
        callback((CORE, Hop(Transport.TCP, "127.0.1.13", 5060)) if via.host == "ue.test" else PeerUnavailable("x", "y"))

    def lookup(self, uri: SipUri, callback: Callable[[tuple[Hop, ...] | PeerUnavailable], None]) -> None:
        if uri.host == "slow.test":
            self.lookups.append((uri.host, callback))
        elif uri.host == "pair.test":
            callback((CORE, OTHER))
        elif uri.host == "nowhere.test":
            callback(PeerUnavailable("nowhere.test", "no such name"))
        else:
            callback((Hop(Transport.UDP, uri.host, uri.port or 5060),))

    def event(self, level: str, event: str, **fields: object) -> None:
        self.lines.append((level, event, fields))

    def message(self, direction: str, message: Message, target: Target) -> None:
        pass

    def _save(self, question: Save, reply: Reply) -> None:
        self.saves.append((question, reply))

    def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds * 10)):
            self.clock.advance(0.1)
            self.runtime.tick()

    @property
    def statuses(self) -> list[int]:
        return [message.status for message, _ in self.sent if isinstance(message, Response)]


@pytest.fixture
def world() -> World:
    return World()


def procedure(world: World, key: str | None, coroutine: Any) -> None:
    """Let the core start `coroutine(request)` for each request."""
    world.decide = lambda event: (
        Procedure(key, coroutine(event.request), event.request) if isinstance(event, RequestReceived) else []
    )


def test_the_core_hears_of_the_start_and_of_its_timers(world: World) -> None:
    world.decide = lambda event: [SetTimer("t", 5.0)] if isinstance(event, Started) else []
    world.runtime.start()
    world.pass_time(4.9)
    assert world.events == [Started(1000.0)]
    world.pass_time(0.3)
    assert isinstance(world.events[-1], TimerFired)
    assert world.events[-1].key == "t"


def test_respond_and_report(world: World) -> None:
    message = request()
    world.decide = lambda event: [Respond(message, 403, "Not you"), Report("refused", {"impu": "sip:a@ims.test"})]
    world.runtime.receive(message, UE)
    assert [(m.start_line, t) for m, t in world.sent] == [("SIP/2.0 403 Not you", UE)]
    assert world.lines == [("info", "refused", {"impu": "sip:a@ims.test"})]


def test_a_procedure_waits_for_its_answer(world: World) -> None:
    async def save_then_answer(message: Request) -> list[Action]:
        await Save("binding", "k", {"a": 1})
        return [Respond(message, 200)]

    procedure(world, "k", save_then_answer)
    world.runtime.receive(request(), UE)
    assert world.statuses == []  # durable before acknowledged
    ((question, reply),) = world.saves
    assert question == Save("binding", "k", {"a": 1})
    reply(None)
    assert world.statuses == [200]


def test_procedures_of_one_key_run_one_after_the_other(world: World) -> None:
    async def save_then_answer(message: Request) -> list[Action]:
        await Save("binding", message.call_id, None)
        return [Respond(message, 200)]

    procedure(world, "k", save_then_answer)
    world.runtime.receive(request(number=1), UE)
    world.runtime.receive(request(number=2), UE)
    assert [save.key for save, _ in world.saves] == ["c1"]
    world.saves[0][1](None)
    assert [save.key for save, _ in world.saves] == ["c1", "c2"]
    world.saves[1][1](None)
    assert world.statuses == [200, 200]


def test_too_many_waiting_procedures_are_refused(world: World) -> None:
    async def wait(message: Request) -> list[Action]:
        await Save("binding", "k", None)
        return [Respond(message, 200)]

    procedure(world, "k", wait)
    for number in range(MAX_WAITING + 2):
        world.runtime.receive(request(number=number), UE)
    assert world.statuses == [503]
    for _, reply in world.saves:  # grows: each answer lets the next one begin
        reply(None)
    assert world.statuses.count(200) == MAX_WAITING + 1


def test_the_final_response_of_a_forwarded_request(world: World) -> None:
    async def ask(message: Request) -> list[Action]:
        response = await FinalResponse(Forward((Branch(message.copy()),)))
        response.set("Service-Route", "<sip:s@ims.test;lr>")
        return [Relay(response)]

    procedure(world, "k", ask)
    world.runtime.receive(request("REGISTER"), UE)
    ((out, target),) = world.sent
    assert target == CORE
    assert isinstance(out, Request)
    world.runtime.receive(
        Response.to_request(out, 200, to_tag="b"), Flow(Transport.UDP, UE.local, ("127.0.1.12", 5060))
    )
    back, target = world.sent[-1]
    assert (back.start_line, back.get("Service-Route"), target) == ("SIP/2.0 200 OK", "<sip:s@ims.test;lr>", UE)


@pytest.mark.parametrize("host", ["nowhere.test", "127.0.1.12"])
def test_an_unreachable_hop_is_raised_at_the_await(world: World, host: str) -> None:
    async def ask(message: Request) -> list[Action]:
        try:
            response = await FinalResponse(Forward((Branch(message.copy()),)))
        except PeerUnavailable as fault:
            return [Respond(message, 504, fault.reason)]
        return [Relay(response)]

    procedure(world, "k", ask)
    message = request("REGISTER")
    message.uri = f"sip:{host}"
    world.runtime.receive(message, UE)
    if host == "127.0.1.12":
        world.runtime.failed(CORE, "connection refused")
    assert world.statuses == [504]


@pytest.mark.parametrize(
    ("uri", "status"), [pytest.param("isbn:2983792873", 416, id="scheme"), pytest.param("sip:@", 400, id="malformed")]
)
def test_a_request_that_leads_nowhere_is_answered(world: World, uri: str, status: int) -> None:
    """RFC 4475 3.3.2: the fault shows only when the actions are performed, outside of any procedure."""
    world.decide = lambda event: (
        [Forward((Branch(event.request.copy()),))] if isinstance(event, RequestReceived) else []
    )
    message = request()
    message.uri = uri
    world.runtime.receive(message, UE)
    assert world.statuses == [status]
    world.pass_time(33)
    assert (world.runtime._stack.server_transactions, world.runtime._resolving) == (0, set())


@pytest.mark.parametrize("method", ["INVITE", "MESSAGE"])
def test_a_request_that_fits_into_no_datagram_is_a_513(world: World, method: str) -> None:
    """RFC 3261 18.1.1, 21.5.7: it was as large as UDP takes, and then came our Via."""
    world.decide = lambda event: (
        [Forward((Branch(event.request.copy()),))] if isinstance(event, RequestReceived) else []
    )
    message = request(method)
    message.set_body(bytes(65_507 - len(bytes(message))), "text/plain")
    world.runtime.receive(message, UE)
    assert [status for status in world.statuses if status != 100] == [513]
    world.pass_time(33)
    assert [status for status in world.statuses if status != 100][:1] == [513]
    assert world.runtime._stack.client_transactions == 0
    assert ("warning", "too-large") in [line[:2] for line in world.lines]


def test_a_silent_hop_is_a_408(world: World) -> None:
    seen: list[int] = []

    async def ask(message: Request) -> list[Action]:
        response = await FinalResponse(Forward((Branch(message.copy()),)))
        seen.append(response.status)
        return [Relay(response)]

    procedure(world, "k", ask)
    world.runtime.receive(request("REGISTER"), UE)
    world.pass_time(33)
    assert seen == [408]
    assert world.statuses == [100]  # RFC 4320 4.2: no 408, since the sender has given up as well


@pytest.mark.parametrize("method", ["INVITE", "MESSAGE"])
def test_a_request_that_is_over_when_it_is_to_be_forwarded(world: World, method: str) -> None:
    """9.2: a CANCEL came while the procedure was at work; for another method its caller has gone."""
    seen: list[object] = []

    async def ask(message: Request) -> list[Action]:
        await Save("binding", "k", None)
        try:
            response = await FinalResponse(Forward((Branch(message.copy()),)))
        except PeerUnavailable as fault:
            seen.append(fault.reason)
            return []
        seen.append(response.status)
        return [Relay(response)]

    procedure(world, "k", ask)
    message = request(method)
    world.runtime.receive(message, UE)
    if method == "INVITE":
        cancel = parse(bytes(message).replace(b"INVITE", b"CANCEL"))
        world.runtime.receive(cancel, UE)
    else:
        world.runtime._stack.respond(Respond(message, 500))
    world.saves[0][1](None)
    assert seen == ([487] if method == "INVITE" else ["its transaction has ended"])
    assert [status for status in world.statuses if status != 100] == ([200, 487] if method == "INVITE" else [500])


@pytest.mark.parametrize("transport", [Transport.UDP, Transport.TCP])
def test_a_procedure_does_not_wait_for_a_request_that_was_answered_otherwise(
    world: World, transport: Transport
) -> None:
    """Or its key would be taken for ever."""
    seen: list[str] = []

    def fail(response: Response, now: float) -> Outcome:
        raise ZeroDivisionError

    async def ask(message: Request) -> list[Action]:
        try:
            await FinalResponse(Forward((Branch(message.copy()),), on_response=fail))
        except PeerUnavailable as fault:
            seen.append(fault.reason)
        return []

    procedure(world, "k", ask)
    world.runtime.receive(request("INVITE"), UE._replace(transport=transport))
    out = world.sent[-1][0]
    assert isinstance(out, Request)
    world.runtime.receive(Response.to_request(out, 183, to_tag="b"), UE)
    assert seen == ["its transaction has ended"]
    assert world.statuses == [100, 500]
    assert world.runtime._waiting == {}


def test_branches_with_and_without_a_flow(world: World) -> None:
    """They wait for each other."""
    flow = UE._replace(remote=("127.0.2.9", 5060))
    message = request()
    message.uri = "sip:slow.test"
    world.decide = lambda event: (
        [Forward((Branch(event.request.copy(), flow), Branch(event.request.copy())))]
        if isinstance(event, RequestReceived)
        else []
    )
    world.runtime.receive(message, UE)
    assert world.sent == []
    world.lookups[0][1]((CORE,))
    assert [target for _, target in world.sent] == [flow, CORE]
    world.decide = lambda event: (
        [Forward((Branch(event.request.copy(), flow), Branch(event.request.copy(), UE)))]
        if isinstance(event, RequestReceived)
        else []
    )
    world.runtime.receive(request(number=2), UE)
    assert [target for _, target in world.sent[2:]] == [flow, UE]


def test_a_slow_lookup_does_not_count_as_unanswered(world: World) -> None:
    async def go(message: Request) -> list[Action]:
        return [Forward((Branch(message.copy()),))]

    procedure(world, "k", go)
    message = request()
    message.uri = "sip:slow.test"
    world.runtime.receive(message, UE)
    assert world.sent == []
    world.lookups[0][1]((CORE,))
    assert [target for _, target in world.sent] == [CORE]


def test_responses_keep_their_order_behind_a_procedure(world: World) -> None:
    async def authorise(response: Response) -> list[Action]:
        await Save("rx", str(response.status), None)
        return [Relay(response)]

    def on_response(response: Response, now: float) -> Outcome:
        if response.status == 183:
            return Procedure("dialog", authorise(response))
        return [Relay(response)]

    world.decide = lambda event: (
        [Forward((Branch(event.request.copy()),), on_response=on_response)]
        if isinstance(event, RequestReceived)
        else []
    )
    world.runtime.receive(request("INVITE"), UE)
    out = world.sent[-1][0]
    assert isinstance(out, Request)
    for status in (183, 180, 200):
        world.runtime.receive(Response.to_request(out, status, to_tag="b"), UE)
    assert world.statuses == [100]
    world.saves[0][1](None)
    assert world.statuses == [100, 183, 180, 200]


@pytest.mark.parametrize(
    ("fault", "status", "level"),
    [
        pytest.param(ParseError("two CSeq", status=400), 400, "warning", id="the peer's bytes"),
        pytest.param(PeerUnavailable("hss", "no answer"), 504, "warning", id="a peer, unforeseen"),
        pytest.param(ZeroDivisionError("ours"), 500, "error", id="ours"),
    ],
)
@pytest.mark.parametrize("where", ["core", "procedure", "after the answer"])
def test_a_fault_ends_one_transaction(world: World, fault: Exception, status: int, level: str, where: str) -> None:
    async def fail(message: Request) -> list[Action]:
        if where == "after the answer":
            await Save("binding", "k", None)
        raise fault

    def decide(event: Event) -> Outcome:
        assert isinstance(event, RequestReceived)
        if where == "core":
            raise fault
        return Procedure("k", fail(event.request), event.request)

    world.decide = decide
    world.runtime.receive(request(), UE)
    if where == "after the answer":
        world.saves[0][1](None)
    assert world.statuses == [status]
    assert [line[0] for line in world.lines] == [level]
    world.decide = lambda event: [Respond(event.request, 200)] if isinstance(event, RequestReceived) else []
    world.runtime.receive(request(number=2), UE)
    assert world.statuses == [status, 200]  # everybody else lives on


def test_a_procedure_that_forgets_to_answer_is_our_fault(world: World) -> None:
    async def forget(message: Request) -> list[Action]:
        return []

    procedure(world, None, forget)
    world.runtime.receive(request(), UE)
    assert world.statuses == [500]
    assert world.lines[0][:2] == ("error", "unanswered")


def test_start_begins_a_procedure_that_nobody_waits_for(world: World) -> None:
    async def end_session() -> list[Action]:
        await Save("rx", "s", None)
        return [Report("released")]

    world.decide = lambda event: (
        [Respond(event.request, 200), Start(Procedure("s", end_session()))]
        if isinstance(event, RequestReceived)
        else []
    )
    world.runtime.receive(request("BYE"), UE)
    assert world.statuses == [200]
    world.saves[0][1](None)
    assert [line[1] for line in world.lines] == ["released"]


def test_malformed_bytes_are_answered_if_they_can_be(world: World) -> None:
    data = bytes(request()).replace(b"CSeq: 1 MESSAGE", b"CSeq: 1 BYE")
    with pytest.raises(ParseError) as raised:
        parse(data)
    world.runtime.malformed(data, raised.value, UE)
    assert world.statuses == [400]
    world.runtime.malformed(b"\x00\x01", ParseError("no SIP"), UE)
    assert world.statuses == [400]
    assert [line[1] for line in world.lines] == ["malformed", "malformed"]


@pytest.mark.parametrize(
    "header",
    [
        pytest.param("Via: SIP/2.0/UDP 127.0.2.1:5x;branch=z9hG4bK1", id="a Via that leads nowhere"),
        pytest.param("Max-Forwards: many", id="a header field that the stack reads itself"),
    ],
)
def test_malformed_headers_that_the_parser_lets_through(world: World, header: str) -> None:
    text = bytes(request()).decode()
    if header.startswith("Via"):
        text = text.replace(text.split("\r\n")[1], header)
    else:
        text = text.replace("Content-Length", f"{header}\r\nContent-Length")
    world.runtime.receive(parse(text.encode()), UE)
    assert (world.statuses, world.sent[0][1]) == ([400], UE)
    assert [line[:2] for line in world.lines] == [("warning", "malformed")]
    world.runtime.receive(request(number=2), UE)
    assert len(world.events) == 1  # the next one reaches the core


def test_the_next_hop_is_tried_and_one_line_tells_why(world: World) -> None:
    """RFC 3263 4.3."""
    message = request()
    message.uri = "sip:pair.test"
    world.decide = lambda event: (
        [Forward((Branch(event.request.copy()),))] if isinstance(event, RequestReceived) else []
    )
    world.runtime.receive(message, UE)
    world.runtime.failed(CORE, "connection refused")
    assert [target for _, target in world.sent] == [CORE, OTHER]
    assert world.avoided == [CORE]
    level, event, fields = world.lines[-1]
    assert (level, event) == ("warning", "next-target")
    assert (fields["peer"], fields["next"]) == ("127.0.1.12:5060/udp", "127.0.1.13:5060/udp")
    assert fields["reason"] == "cannot be reached"


def test_what_icmp_tells_leads_to_the_next_hop(world: World) -> None:
    """RFC 3261 18.4: at once, with one line about each; what was forged or comes again does nothing."""
    message = request()
    message.uri = "sip:pair.test"
    world.decide = lambda event: (
        [Forward((Branch(event.request.copy()),))] if isinstance(event, RequestReceived) else []
    )
    world.runtime.receive(message, UE)
    quote = bytes(world.sent[0][0])
    world.runtime.undelivered(Undelivered(quote.replace(b"branch=", b"branch=z"), (CORE.host, CORE.port), "forged"))
    assert (world.lines, len(world.sent)) == ([], 1)
    for _ in range(2):
        world.runtime.undelivered(Undelivered(quote[:300], (CORE.host, CORE.port), "connection refused"))
    assert [target for _, target in world.sent] == [CORE, OTHER]
    assert world.avoided == [CORE]
    assert [event for _, event, _ in world.lines] == ["unreachable", "next-target"]
    assert world.lines[0][2] == {"peer": "127.0.1.12:5060/udp", "reason": "connection refused"}


# ---------------------------------------------------------------------- responses whose connection is gone

OVER_TCP = UE._replace(transport=Transport.TCP, remote=("127.0.2.1", 40000), connection=7)


def over_tcp(sent_by: str) -> Request:
    message = parse(bytes(request()).replace(b"UDP 127.0.2.1:5062", f"TCP {sent_by}".encode()))
    assert isinstance(message, Request)
    return message


def ask_over_tcp(world: World, sent_by: str, flow: Flow = OVER_TCP) -> None:
    """Answer 200 to a request whose connection closes meanwhile."""
    message = over_tcp(sent_by)
    world.decide = lambda event: []
    world.runtime.receive(message, flow)
    world.closed.add(7)
    world.decide = lambda event: [Respond(message, 200)]
    world.runtime.receive(request(number=2), UE)  # what makes the core answer


@pytest.mark.parametrize(
    ("sent_by", "port"),
    [
        pytest.param("127.0.2.1:5070", 5070, id="3261-18.2.2 the sent-by port"),
        pytest.param("ue.test", 5060, id="3261-18.2.2 the default port"),
    ],
)
def test_a_response_whose_connection_is_gone_takes_a_new_one(world: World, sent_by: str, port: int) -> None:
    ask_over_tcp(world, sent_by)
    assert [target for _, target in world.sent] == [Hop(Transport.TCP, "127.0.2.1", port)]
    assert (world.statuses, world.sent_by) == ([200], [])


def test_a_response_that_cannot_go_there_goes_where_its_sent_by_leads(world: World) -> None:
    """RFC 3263 5, one address after the other."""
    ask_over_tcp(world, "ue.test")
    for _ in range(3):
        target = world.sent[-1][1]
        assert isinstance(target, Hop)
        world.runtime.failed(target, "connection refused")
    assert world.sent_by == ["ue.test"]
    assert [target for _, target in world.sent] == [
        Hop(Transport.TCP, "127.0.2.1", 5060),
        CORE,
        Hop(Transport.TCP, "127.0.1.13", 5060),
    ]
    assert len(world.runtime._way_back) == 0


def test_a_response_that_can_go_nowhere_is_given_up(world: World) -> None:
    ask_over_tcp(world, "nowhere.test")
    world.runtime.failed(Hop(Transport.TCP, "127.0.2.1", 5060), "connection refused")
    assert (world.statuses, len(world.runtime._way_back)) == ([200], 0)


def test_a_response_to_a_closed_websocket_is_dropped(world: World) -> None:
    """RFC 7118 5: only the client opens connections."""
    ask_over_tcp(world, "ue.invalid", OVER_TCP._replace(transport=Transport.WS))
    assert world.sent == []


def test_the_responses_remembered_are_bounded(world: World) -> None:
    way_back, response = world.runtime._way_back, Response.to_request(over_tcp("ue.test"), 200, to_tag="b")
    for _ in range(MAX_REMEMBERED + 5):
        way_back.send(b"", response, OVER_TCP)
    assert len(way_back) == MAX_REMEMBERED
    world.clock.advance(33)
    way_back.send(b"", response, OVER_TCP)
    assert len(way_back) == 1
