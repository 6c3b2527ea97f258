"""The joined layers: what a proxy sends for what it receives (RFC 3261 16, 17; RFC 6026; RFC 3581)."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import pytest

from opencscf.common.actions import Branch, Forward, RecordRoute, Respond
from opencscf.common.errors import PeerUnavailable
from opencscf.common.ids import Ids
from opencscf.common.sip.exchange import Exchange, Leg, Target, Targets
from opencscf.common.sip.flow import Flow, Hop, Transport
from opencscf.common.sip.message import Message, Request, Response
from opencscf.common.sip.parser import parse
from opencscf.common.sip.stack import SipStack
from opencscf.common.sip.timers import Timer, TimerValues

UE = Flow(Transport.UDP, ("127.0.1.10", 5060), ("127.0.2.1", 5062))
CORE = Hop(Transport.UDP, "127.0.1.12", 5060)
OTHER = Hop(Transport.UDP, "127.0.1.13", 5060)
TCP6 = Hop(Transport.TCP, "2001:db8::1", 5060)


@dataclass
class Send:
    message: Message
    target: Target


@dataclass
class StartStackTimer:
    owner: Exchange | Leg
    timer: Timer
    delay_s: float


@dataclass
class ToCore:
    request: Request


@dataclass
class Decide:
    exchange: Exchange
    response: Response
    is_final: bool


@dataclass
class NextTarget:
    request: Request
    failed: Target
    reason: str
    target: Target


Effect: TypeAlias = Send | StartStackTimer | ToCore | Decide | NextTarget


class Stack:
    """A stack whose sink writes down what it wants, and returns that from each call."""

    def __init__(self, **parts: Any) -> None:
        parts = {"ids": Ids(seed=1), "timers": TimerValues(), "local_for": local_for, **parts}
        self.stack = SipStack(**parts)
        self.stack.sink = self
        self._effects: list[Effect] = []

    def send(self, data: bytes, target: Target, message: Message | None) -> None:
        assert message is None or bytes(message) == data
        self._effects.append(Send(message or parse(data), target))

    def start_timer(self, owner: Exchange | Leg, timer: Timer, delay_s: float) -> None:
        self._effects.append(StartStackTimer(owner, timer, delay_s))

    def to_core(self, request: Request) -> None:
        self._effects.append(ToCore(request))

    def decide(self, exchange: Exchange, response: Response, *, is_final: bool) -> None:
        self._effects.append(Decide(exchange, response, is_final))

    def abandon(self, exchange: Exchange) -> None:
        raise AssertionError("nobody waits")

    def next_target(self, request: Request, failed: Target, reason: str, target: Target) -> None:
        self._effects.append(NextTarget(request, failed, reason, target))

    def taken(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects

    def receive(self, message: Message, now: float) -> list[Effect]:
        self.stack.receive(message, now)
        return self.taken()

    def respond(self, action: Respond) -> list[Effect]:
        self.stack.respond(action)
        return self.taken()

    def relay(self, response: Response) -> list[Effect]:
        self.stack.relay(response)
        return self.taken()

    def forward(self, forward: Forward, targets: list[Targets], now: float) -> list[Effect]:
        self.stack.forward(forward, targets, now)
        return self.taken()

    def on_timer(self, owner: Exchange | Leg, timer: Timer, now: float) -> list[Effect]:
        self.stack.on_timer(owner, timer, now)
        return self.taken()

    def on_transport_failure(self, target: Target, reason: str) -> list[Effect]:
        self.stack.on_transport_failure(target, reason)
        return self.taken()

    @property
    def server_transactions(self) -> int:
        return self.stack.server_transactions

    @property
    def client_transactions(self) -> int:
        return self.stack.client_transactions

    @property
    def legs(self) -> list[Leg]:
        return list(self.stack._table.clients)


def local_for(target: Target) -> tuple[str, int]:
    return ("2001:db8::10", 5060) if target.is_ipv6 else ("127.0.1.10", 5060)


@pytest.fixture
def stack() -> Stack:
    return Stack()


def request(method: str = "INVITE", *, branch: str = "z9hG4bKue1", rport: bool = True, extra: str = "") -> Request:
    text = (
        f"{method} sip:bob@ims.test SIP/2.0\r\n"
        f"Via: SIP/2.0/UDP 127.0.2.1:5062;branch={branch}{';rport' if rport else ''}\r\n"
        "Max-Forwards: 70\r\nFrom: <sip:alice@ims.test>;tag=a\r\nTo: <sip:bob@ims.test>\r\n"
        f"Call-ID: c1\r\nCSeq: 1 {method}\r\n{extra}Content-Length: 0\r\n\r\n"
    )
    message = parse(text.encode())
    assert isinstance(message, Request)
    message.flow = UE
    return message


def answer(sent: Message, status: int) -> Response:
    assert isinstance(sent, Request)
    return Response.to_request(sent, status, to_tag="b")


def sends(effects: list[Effect]) -> list[tuple[str, Target]]:
    return [(e.message.start_line, e.target) for e in effects if isinstance(e, Send)]


def sent(effects: list[Effect], index: int = 0) -> Message:
    return [e.message for e in effects if isinstance(e, Send)][index]


def forward(received: Request, stack: Stack, *targets: Target, now: float = 0.0) -> list[Effect]:
    branches = tuple(Branch(received.copy()) for _ in targets)
    return stack.forward(Forward(branches), [(target,) for target in targets], now)


def test_an_invite_is_answered_100_at_once_and_its_retransmission_again(stack: Stack) -> None:
    effects = stack.receive(request(), 0.0)
    assert [type(e) for e in effects] == [Send, ToCore]
    assert sends(effects)[0][0].startswith("SIP/2.0 100")
    assert sends(stack.receive(request(), 0.5)) == sends(effects)  # 17.2.1; the core hears it once


def test_via_gets_received_and_rport(stack: Stack) -> None:
    effect = stack.receive(request("OPTIONS"), 0.0)[0]
    assert isinstance(effect, ToCore)
    assert effect.request.via.received == "127.0.2.1"  # SP-10 RFC 3581 4
    assert effect.request.via.rport == 5062


@pytest.mark.parametrize(
    "params",
    [
        ";rport",
        ";rport;x=y",
        ";RPORT",
        ";rport=1",
        ";rport;received=192.0.2.9",
        ';x="a,b;rport";rport',
        ";rportx;rport",
    ],
)
def test_via_gets_received_and_rport_whatever_else_it_has(stack: Stack, params: str) -> None:
    """SP-10 RFC 3581 4."""
    received = parse(bytes(request("OPTIONS")).replace(b";rport", params.encode()))
    received.flow = UE
    stack.receive(received, 0.0)
    via = received.via
    assert (via.received, via.rport, via.branch) == ("127.0.2.1", 5062, "z9hG4bKue1")
    assert str(via).lower().count("rport=") == 1
    assert received.transaction_id == request("OPTIONS").transaction_id


def test_without_rport_the_answer_goes_to_the_sent_by_port(stack: Stack) -> None:
    received = request("OPTIONS", rport=False)
    received.flow = UE._replace(remote=("127.0.2.1", 40000))
    stack.receive(received, 0.0)
    ((_, target),) = sends(stack.respond(Respond(received, 200)))
    assert isinstance(target, Flow)
    assert target.remote == ("127.0.2.1", 5062)  # 18.2.2


def test_forwarding_adds_via_and_counts_down(stack: Stack) -> None:
    received = request("MESSAGE")
    stack.receive(received, 0.0)
    out = sent(forward(received, stack, CORE))
    assert out.max_forwards == 69
    assert (out.via.host, out.via.port, out.via.transport) == ("127.0.1.10", 5060, "UDP")
    assert len(out.values("Via")) == 2
    assert out.via.branch != received.via.branch
    back = stack.receive(answer(out, 200), 0.1)
    assert sends(back) == [("SIP/2.0 200 OK", UE)]
    assert len(sent(back).values("Via")) == 1


@pytest.mark.parametrize(
    ("names", "target", "routes"),
    [
        pytest.param(RecordRoute("mo", "mo"), CORE, ["<sip:mo@127.0.1.10:5060;lr>"], id="16.6-4 one value"),
        pytest.param(
            RecordRoute("ue.t", "net.t"), CORE, ["<sip:net.t@127.0.1.10:5060;lr>", "<sip:ue.t@127.0.1.10:5060;lr>"],
            id="PT-01 two names, two values, the outbound one on top",
        ),
        pytest.param(
            RecordRoute("mo", "mo"), TCP6,
            ["<sip:mo@[2001:db8::10]:5060;transport=tcp;lr>", "<sip:mo@127.0.1.10:5060;lr>"],
            id="5658 two values across transports and families",
        ),
    ],
)  # fmt: skip
def test_record_route(stack: Stack, names: RecordRoute, target: Target, routes: list[str]) -> None:
    received = request()
    stack.receive(received, 0.0)
    action = Forward((Branch(received.copy()),), record_route=names)
    assert sent(stack.forward(action, [(target,)], 0.0)).values("Record-Route") == routes


@pytest.mark.parametrize(
    ("inbound", "target", "uri", "routes"),
    [
        pytest.param(
            Transport.WS, CORE, "sip:bob@ims.test",
            ["<sip:mo@127.0.1.10:5060;lr>", "<sip:mo@127.0.1.10:5060;transport=ws;lr>"], id="7118 WS to UDP",
        ),
        pytest.param(
            Transport.WSS, CORE, "sip:bob@ims.test",
            ["<sip:mo@127.0.1.10:5060;lr>", "<sip:mo@127.0.1.10:5060;transport=ws;lr>"], id="7118 WSS to UDP",
        ),
        pytest.param(
            Transport.TLS, CORE._replace(transport=Transport.TLS), "sip:bob@ims.test",
            ["<sip:mo@127.0.1.10:5060;transport=tls;lr>"], id="16.6-4 a sip URI over TLS",
        ),
        pytest.param(
            Transport.TLS, CORE._replace(transport=Transport.TLS), "sips:bob@ims.test",
            ["<sips:mo@127.0.1.10:5060;lr>"], id="16.6-4 a sips URI",
        ),
        pytest.param(
            Transport.WSS, CORE._replace(transport=Transport.TLS), "SIPS:bob@ims.test",
            ["<sips:mo@127.0.1.10:5060;lr>", "<sips:mo@127.0.1.10:5060;transport=ws;lr>"], id="16.6-4 sips and WSS",
        ),
    ],
)  # fmt: skip
def test_record_route_of_tls_and_websocket(
    stack: Stack, inbound: Transport, target: Hop, uri: str, routes: list[str]
) -> None:
    received = request()
    received.flow = UE._replace(transport=inbound, connection=7)
    stack.receive(received, 0.0)
    out = received.copy()
    out.uri = uri
    forwarded = sent(stack.forward(Forward((Branch(out),), RecordRoute("mo", "mo")), [(target,)], 0.0))
    assert forwarded.values("Record-Route") == routes
    assert forwarded.via.transport == target.transport


def test_parallel_forking_and_cancel_of_the_loser(stack: Stack) -> None:
    received = request()
    stack.receive(received, 0.0)
    effects = forward(received, stack, CORE, OTHER)
    first, second = sent(effects, 0), sent(effects, 1)
    assert sends(stack.receive(answer(first, 180), 0.1)) == [("SIP/2.0 180 Ringing", UE)]
    stack.receive(answer(second, 180), 0.1)
    effects = stack.receive(answer(second, 200), 0.2)
    assert sends(effects) == [("SIP/2.0 200 OK", UE), ("CANCEL sip:bob@ims.test SIP/2.0", CORE)]
    cancel = sent(effects, 1)
    assert cancel.via.branch == first.via.branch  # 9.1
    assert sends(stack.receive(answer(cancel, 200), 0.3)) == []
    assert sends(stack.receive(answer(first, 487), 0.3)) == [("ACK sip:bob@ims.test SIP/2.0", CORE)]


def test_cancel_by_the_caller(stack: Stack) -> None:
    received = request()
    stack.receive(received, 0.0)
    out = sent(forward(received, stack, CORE))
    stack.receive(answer(out, 180), 0.1)
    effects = stack.receive(request("CANCEL"), 0.2)
    assert sends(effects) == [("SIP/2.0 200 OK", UE), ("CANCEL sip:bob@ims.test SIP/2.0", CORE)]
    effects = stack.receive(answer(out, 487), 0.3)
    assert sends(effects) == [
        ("ACK sip:bob@ims.test SIP/2.0", CORE),
        ("SIP/2.0 487 Request Terminated", UE),
    ]


def test_cancel_while_the_core_is_still_deciding(stack: Stack) -> None:
    received = request()
    stack.receive(received, 0.0)
    assert sends(stack.receive(request("CANCEL"), 0.1)) == [("SIP/2.0 200 OK", UE)]
    assert sends(forward(received, stack, CORE)) == [("SIP/2.0 487 Request Terminated", UE)]


def test_cancel_without_invite_is_481(stack: Stack) -> None:
    assert sends(stack.receive(request("CANCEL"), 0.0))[0][0].startswith("SIP/2.0 481")


def test_a_callee_that_never_answers_a_cancel_does_not_hold_the_call(stack: Stack) -> None:
    received = request()
    stack.receive(received, 0.0)
    out = sent(forward(received, stack, CORE))
    stack.receive(answer(out, 180), 0.1)
    effects = stack.receive(request("CANCEL"), 1.0)
    timers = [e for e in effects if isinstance(e, StartStackTimer) and e.timer is Timer.C]
    assert [t.delay_s for t in timers] == [32.0]  # 9.1: 64*T1
    effects = stack.on_timer(timers[0].owner, Timer.C, 33.0)
    assert sends(effects) == [("SIP/2.0 487 Request Terminated", UE)]


def test_timer_c_is_pushed_by_progress_and_then_cancels(stack: Stack) -> None:
    received = request()
    stack.receive(received, 0.0)
    effects = forward(received, stack, CORE)
    out = sent(effects)
    (timer,) = [e for e in effects if isinstance(e, StartStackTimer) and e.timer is Timer.C]
    stack.receive(answer(out, 180), 100.0)
    (again,) = stack.on_timer(timer.owner, Timer.C, 181.0)
    assert isinstance(again, StartStackTimer)
    assert again.delay_s == 100.0  # 16.7 step 2
    assert sends(stack.on_timer(timer.owner, Timer.C, 281.0)) == [("CANCEL sip:bob@ims.test SIP/2.0", CORE)]  # 16.8


def test_a_silent_next_hop_gives_408_to_an_invite(stack: Stack) -> None:
    received = request()
    stack.receive(received, 0.0)
    effects = forward(received, stack, CORE)
    (timer,) = [e for e in effects if isinstance(e, StartStackTimer) and e.timer is Timer.A]
    assert sends(stack.on_timer(timer.owner, Timer.B, 32.0)) == [("SIP/2.0 408 Request Timeout", UE)]
    assert stack.client_transactions == 0


def test_a_silent_next_hop_gives_no_late_408_to_another_method(stack: Stack) -> None:
    """RFC 4320 4.2; the transaction is gone all the same."""
    received = request("MESSAGE")
    stack.receive(received, 0.0)
    effects = forward(received, stack, CORE)
    (timer,) = [e for e in effects if isinstance(e, StartStackTimer) and e.timer is Timer.E]
    assert sends(stack.on_timer(timer.owner, Timer.F, 32.0)) == []
    assert (stack.server_transactions, stack.client_transactions) == (0, 0)


@pytest.mark.parametrize("is_forwarded", [True, False])
def test_a_request_that_waits_for_long_is_answered_100(stack: Stack, *, is_forwarded: bool) -> None:
    """RFC 4320 4.1: once Timer E of its sender has reached T2, and never earlier."""
    received = request("MESSAGE")
    effects = stack.receive(received, 0.0)
    (timer,) = [e for e in effects if isinstance(e, StartStackTimer)]
    assert (timer.timer, timer.delay_s) == (Timer.TRYING, 3.5)
    out = sent(forward(received, stack, CORE)) if is_forwarded else None
    assert sends(stack.on_timer(timer.owner, timer.timer, 3.5)) == [("SIP/2.0 100 Trying", UE)]
    assert sends(stack.receive(request("MESSAGE"), 4.0)) == [("SIP/2.0 100 Trying", UE)]
    effects = stack.receive(answer(out, 200), 5.0) if out else stack.respond(Respond(received, 200))
    assert sends(effects) == [("SIP/2.0 200 OK", UE)]


def test_an_answered_request_gets_no_100(stack: Stack) -> None:
    """RFC 4320 4.1."""
    received = request("MESSAGE")
    effects = stack.receive(received, 0.0)
    (timer,) = [e for e in effects if isinstance(e, StartStackTimer)]
    stack.respond(Respond(received, 200))
    assert stack.on_timer(timer.owner, timer.timer, 3.5) == []


def test_a_fork_shares_the_breadth_and_marks_its_branches(stack: Stack) -> None:
    """SP-02 RFC 5393 5.3.3.2 and 4.2.1."""
    received = request(extra="Max-Breadth: 5\r\n")
    stack.receive(received, 0.0)
    first, second = [e.message for e in forward(received, stack, CORE, OTHER) if isinstance(e, Send)]
    assert [first.get("Max-Breadth"), second.get("Max-Breadth")] == ["3", "2"]
    mark = (first.via.branch or "").rpartition("-")[2]
    assert mark
    assert (second.via.branch or "").endswith(mark)


@pytest.mark.parametrize(("breadth", "branches", "status"), [(1, 2, 440), (0, 1, 440), (61, 2, None)])
def test_a_fork_is_not_wider_than_it_may_be(stack: Stack, breadth: int, branches: int, status: int | None) -> None:
    """SP-02 RFC 5393 5.3.3.2."""
    received = request("MESSAGE", extra=f"Max-Breadth: {breadth}\r\n")
    stack.receive(received, 0.0)
    effects = forward(received, stack, *[CORE, OTHER][:branches])
    assert [text.split()[1] for text, _ in sends(effects) if text.startswith("SIP")] == (
        [str(status)] if status else []
    )


def test_a_forked_request_that_comes_back_unchanged_is_a_loop(stack: Stack) -> None:
    """SP-02 RFC 5393 4.2.2: 482; one that came back with another Request-URI is a spiral and goes on."""
    received = request("MESSAGE")
    stack.receive(received, 0.0)
    out = sent(forward(received, stack, CORE, OTHER))
    for uri, status in ((out.start_line.split()[1], "482"), ("sip:bob@elsewhere.test", None)):
        again = parse(bytes(out))
        assert isinstance(again, Request)
        again.uri = uri
        again.prepend("Via", f"SIP/2.0/UDP 127.0.1.12:5060;branch=z9hG4bKback{status}")
        again.flow = UE
        stack.receive(again, 1.0)
        answers = [text for text, _ in sends(forward(again, stack, CORE, OTHER)) if text.startswith("SIP")]
        assert [text.split()[1] for text in answers] == ([status] if status else [])


def test_an_unreachable_next_hop_gives_500(stack: Stack) -> None:
    received = request("MESSAGE")
    stack.receive(received, 0.0)
    forward(received, stack, CORE)
    ((status, target),) = sends(stack.on_transport_failure(CORE, "connection refused"))
    assert (status.split()[1], target) == ("500", UE)  # 16.7 step 6: 503 is not passed on


@pytest.mark.parametrize("method", ["MESSAGE", "INVITE"])
def test_what_icmp_quotes_has_failed(stack: Stack, method: str) -> None:
    """3261-18.4: a few hundred octets of the request are quoted; the next target is tried at once."""
    received = request(method)
    stack.receive(received, 0.0)
    effects = stack.forward(Forward((Branch(received.copy()),)), [(CORE, OTHER)], 0.0)
    first = bytes(sent(effects))
    leg = stack.stack.find_undelivered(first[:120], ("127.0.1.12", 5060))
    assert leg is not None
    stack.stack.fail(leg, "connection refused")
    effects = stack.taken()
    assert [target for _, target in sends(effects)] == [OTHER]
    assert [effect.failed for effect in effects if isinstance(effect, NextTarget)] == [CORE]
    assert stack.stack.find_undelivered(first, ("127.0.1.12", 5060)) is None


def test_icmp_about_anything_else_is_not_believed(stack: Stack) -> None:
    """Anybody can send it, and a later hop knows the branch of a request that has arrived."""
    received = request("INVITE")
    stack.receive(received, 0.0)
    out = sent(forward(received, stack, CORE))
    data, core = bytes(out), ("127.0.1.12", 5060)
    branch = out.via.branch
    assert branch is not None
    end = data.index(branch.encode()) + len(branch)
    quotes = [
        b"", b"x" * 600, data[:28], data[:end], data[: end - 1] + b"\r\n", data.replace(b"INVITE", b"CANCEL", 1),
        data.replace(branch.encode(), b"z9hG4bK\xff\xfe"), bytes(answer(out, 200)), b"A" * 1280, b"A " * 640,
    ]  # fmt: skip
    for quote in quotes:
        assert stack.stack.find_undelivered(quote, core) is None
    for remote in (("127.0.1.12", 5061), ("127.0.1.13", 5060), ("::1", 5060)):
        assert stack.stack.find_undelivered(data, remote) is None
    assert stack.stack.find_undelivered(data[: end + 2], core) is not None
    stack.receive(answer(out, 100), 1.0)
    assert stack.stack.find_undelivered(data, core) is None


def test_an_ipv6_target_is_known_however_it_is_written(stack: Stack) -> None:
    received = request("MESSAGE")
    stack.receive(received, 0.0)
    out = bytes(sent(forward(received, stack, Hop(Transport.UDP, "2001:DB8:0::1", 5060))))
    assert stack.stack.find_undelivered(out, ("2001:db8::1", 5060)) is not None


def test_how_long_a_next_hop_wants_to_be_left_alone_is_passed_on(stack: Stack) -> None:
    received = request("MESSAGE")
    stack.receive(received, 0.0)
    out = sent(forward(received, stack, CORE))
    busy = answer(out, 503)
    busy.append("Retry-After", "7")
    back = sent(stack.receive(busy, 0.1))
    assert (back.start_line.split()[1], back.get("Retry-After")) == ("500", "7")  # 16.7 step 6


def test_what_is_too_much_is_answered_503_without_state() -> None:
    """RFC 3261 21.5.4: but what is known already goes on."""
    asked: list[Request] = []
    waits: list[int | None] = [None, 7]

    def refuses(new: Request) -> int | None:
        asked.append(new)
        return waits.pop(0)

    stack = Stack(refuses=refuses)
    known, new = request(), request(branch="z9hG4bKue2")
    stack.receive(known, 0.0)
    effects = stack.receive(new, 0.1)
    assert sends(effects) == [("SIP/2.0 503 Service Unavailable", UE)]
    assert sent(effects).get("Retry-After") == "7"
    assert sent(effects).via.rport == 5062
    assert stack.server_transactions == 1
    stack.receive(request(), 0.5)
    assert asked == [known, new]


def test_a_request_too_large_for_a_datagram_ends_alone(stack: Stack) -> None:
    """RFC 3261 21.5.7: others on their way to the same hop can still be answered."""
    small, large = request("MESSAGE"), request("MESSAGE", branch="z9hG4bKue2")
    large.set_body(bytes(65_507), "text/plain")
    stack.receive(small, 0.0)
    stack.receive(large, 0.0)
    forward(small, stack, CORE)
    effects = forward(large, stack, CORE)
    assert [text for text, target in sends(effects) if target == UE] == ["SIP/2.0 513 Message Too Large"]
    assert stack.client_transactions == 1


def test_an_unresolvable_branch_does_not_stop_the_other(stack: Stack) -> None:
    received = request()
    stack.receive(received, 0.0)
    branches = (Branch(received.copy()), Branch(received.copy()))
    effects = stack.forward(Forward(branches), [PeerUnavailable("nowhere.test", "no such name"), (CORE,)], 0.0)
    assert [target for _, target in sends(effects)] == [CORE]
    effects = stack.receive(answer(sent(effects), 486), 0.1)
    assert sends(effects)[1] == ("SIP/2.0 486 Busy Here", UE)


def test_stray_and_late_responses_are_dropped(stack: Stack) -> None:
    received = request("MESSAGE")
    stack.receive(received, 0.0)
    out = sent(forward(received, stack, CORE))
    assert stack.receive(answer(request("MESSAGE", branch="z9hG4bKunknown"), 200), 0.1) == []
    stack.receive(answer(out, 200), 0.1)
    assert sends(stack.receive(answer(out, 200), 0.2)) == []  # 17.1.2.2 Completed absorbs it


def test_a_repeated_2xx_to_invite_passes(stack: Stack) -> None:
    received = request()
    stack.receive(received, 0.0)
    out = sent(forward(received, stack, CORE))
    assert sends(stack.receive(answer(out, 200), 0.1)) == [("SIP/2.0 200 OK", UE)]
    assert sends(stack.receive(answer(out, 200), 0.6)) == [("SIP/2.0 200 OK", UE)]  # RFC 6026 7.2


def test_an_ack_for_a_2xx_is_the_cores_and_forwarded_without_state(stack: Stack) -> None:
    ack = request("ACK", branch="z9hG4bKack")
    assert stack.receive(ack, 0.0) == [ToCore(ack)]
    effects = forward(ack, stack, CORE)
    assert sends(effects) == [("ACK sip:bob@ims.test SIP/2.0", CORE)]
    assert (stack.server_transactions, stack.client_transactions) == (0, 0)


def test_a_stateless_refusal_repeats_its_tag(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """3261-8.2.7: a retransmission gets the same To tag, another request another one."""
    monkeypatch.setattr("opencscf.common.sip.stack.MAX_SERVER_TRANSACTIONS", 0)
    first, again, other = [
        sent(stack.receive(request("MESSAGE", branch=f"z9hG4bK{number}"), 0.0)) for number in (1, 1, 2)
    ]
    assert first.start_line == "SIP/2.0 503 Service Unavailable"
    assert first.get("Retry-After")
    assert first.to_tag == again.to_tag != other.to_tag
    assert sent(Stack(ids=Ids(seed=2)).receive(request("MESSAGE", branch="z9hG4bK1"), 0.0)).to_tag != first.to_tag
    assert (stack.server_transactions, stack.client_transactions) == (0, 0)


def test_a_503_of_our_own_goes_out_as_it_is(stack: Stack) -> None:
    """16.7 step 6 is about one that a next hop sent."""
    received = request("MESSAGE")
    stack.receive(received, 0.0)
    effects = stack.respond(Respond(received, 503, headers=(("Retry-After", "5"),)))
    assert sends(effects) == [("SIP/2.0 503 Service Unavailable", UE)]
    assert sent(effects).get("Retry-After") == "5"


def test_the_oldest_answers_are_forgotten_when_there_are_too_many(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("opencscf.common.sip.stack.MAX_ANSWERED", 2)
    for number in range(3):
        received = request("MESSAGE", branch=f"z9hG4bK{number}")
        stack.receive(received, 0.0)
        stack.respond(Respond(received, 200))
    assert stack.server_transactions == 2
    assert [
        type(stack.receive(request("MESSAGE", branch=f"z9hG4bK{number}"), 1.0)[0]).__name__ for number in range(3)
    ] == ["ToCore", "Send", "Send"]


UE_SIDE = TimerValues(t1=2.0, t2=16.0, t4=17.0)


@pytest.mark.parametrize(
    ("is_from_ue", "target", "delays"),
    [
        pytest.param(True, CORE, [14.0, 0.5, 128.0], id="PZ-01 24.229-7.7 from the UE to the core"),
        pytest.param(False, UE, [3.5, 2.0, 32.0], id="PZ-01 24.229-7.7 from the core to the UE"),
    ],
)
def test_timers_follow_the_side(is_from_ue: bool, target: Target, delays: list[float]) -> None:  # noqa: FBT001
    """Of the 100 and of Timer J towards the sender, and of Timer E towards the next hop."""
    stack = Stack(towards_ue=UE_SIDE, is_from_ue=lambda _: is_from_ue)
    received = request("MESSAGE")
    effects = stack.receive(received, 0.0)
    effects += forward(received, stack, target)
    effects += stack.receive(answer(sent(effects), 200), 0.1)
    assert [e.delay_s for e in effects if isinstance(e, StartStackTimer)] == delays


def test_what_is_over_is_left_alone(stack: Stack) -> None:
    received = request("MESSAGE")
    stack.receive(received, 0.0)
    stack.respond(Respond(received, 200))
    assert stack.respond(Respond(received, 500)) == []
    assert stack.stack.forward(Forward((Branch(received.copy()),)), [(CORE,)], 0.0) is False
    unknown = request("MESSAGE", branch="z9hG4bKunknown")
    assert stack.respond(Respond(unknown, 200)) == []
    assert stack.relay(answer(unknown, 200)) == []


def test_a_branch_that_fails_after_another_one_has_answered_is_no_news(stack: Stack) -> None:
    """16.7 step 5, and nothing of the request is left to answer with."""
    received = request()
    stack.receive(received, 0.0)
    effects = forward(received, stack, CORE, OTHER)
    first = sent(effects, 0)
    assert sends(stack.receive(answer(first, 200), 0.1)) == [("SIP/2.0 200 OK", UE)]
    assert stack.on_transport_failure(OTHER, "connection refused") == []
    assert stack.client_transactions == 1


def test_a_cancel_that_does_not_arrive_is_no_news(stack: Stack) -> None:
    received = request()
    stack.receive(received, 0.0)
    out = sent(forward(received, stack, CORE))
    stack.receive(answer(out, 180), 0.1)
    stack.receive(request("CANCEL"), 0.2)
    assert sends(stack.on_transport_failure(CORE, "connection refused")) == []
    assert [leg.transaction.method for leg in stack.legs] == ["INVITE"]


def test_an_ack_in_the_branch_of_its_invite_reaches_the_core(stack: Stack) -> None:
    """RFC 6026 7.1."""
    received = request()
    stack.receive(received, 0.0)
    stack.respond(Respond(received, 200))
    ack = request("ACK")
    assert stack.receive(ack, 0.1) == [ToCore(ack)]


def test_an_ack_that_leads_nowhere_is_dropped(stack: Stack) -> None:
    ack = request("ACK", branch="z9hG4bKack")
    stack.receive(ack, 0.0)
    assert stack.forward(Forward((Branch(ack.copy()),)), [PeerUnavailable("nowhere.test", "no such name")], 0.0) == []


def test_an_ack_with_no_hop_left_is_dropped(stack: Stack) -> None:
    """16.3 step 3: an ACK is never answered."""
    ack = request("ACK", branch="z9hG4bKack")
    ack.set("Max-Forwards", "0")
    assert stack.receive(ack, 0.0) == []


def test_max_forwards_exhausted(stack: Stack) -> None:
    received = request("MESSAGE")
    received.set("Max-Forwards", "0")
    assert sends(stack.receive(received, 0.0)) == [("SIP/2.0 483 Too Many Hops", UE)]


def test_a_handler_sees_each_response_first(stack: Stack) -> None:
    received = request()
    stack.receive(received, 0.0)
    action = Forward((Branch(received.copy()),), on_response=lambda response, now: [])
    out = sent(stack.forward(action, [(CORE,)], 0.0))
    decisions = [e for e in stack.receive(answer(out, 183), 0.1) if isinstance(e, Decide)]
    assert [(d.response.status, d.is_final) for d in decisions] == [(183, False)]
    assert sends(stack.relay(decisions[0].response)) == [("SIP/2.0 183 Session Progress", UE)]


def test_everything_is_forgotten_in_the_end(stack: Stack) -> None:
    received = request("MESSAGE")
    started = stack.receive(received, 0.0)
    started += forward(received, stack, CORE)
    started += stack.receive(answer(sent(started), 200), 0.1)
    for timer in [e for e in started if isinstance(e, StartStackTimer)]:
        stack.on_timer(timer.owner, timer.timer, 40.0)
    assert (stack.server_transactions, stack.client_transactions) == (0, 0)


def test_ended_exchanges_need_no_garbage_collector(stack: Stack) -> None:
    received = request("MESSAGE")
    started = stack.receive(received, 0.0)
    started += forward(received, stack, CORE)
    (leg,) = stack.legs
    exchange = leg.exchange
    assert exchange is not None
    started += stack.receive(answer(sent(started), 200), 0.1)
    for timer in [e for e in started if isinstance(e, StartStackTimer)]:
        stack.on_timer(timer.owner, timer.timer, 40.0)
    assert (exchange.request, exchange.context, exchange.legs, exchange.handler) == (None, None, None, None)
    assert (leg.exchange, leg.request) == (None, None)


@pytest.mark.parametrize(
    ("octets", "transports"),
    [
        pytest.param(500, ["UDP"], id="SP-04 small: UDP"),
        pytest.param(1300, ["TCP"], id="SP-04 too large for a packet: TCP"),
    ],
)
def test_large_requests_go_over_tcp(octets: int, transports: list[str]) -> None:
    stack = Stack(max_udp_request_bytes=lambda hop: 1300)
    received = request("MESSAGE")
    received.set_body(b"x" * octets, "text/plain")
    stack.receive(received, 0.0)
    effects = forward(received, stack, CORE)
    assert [target.transport for _, target in sends(effects)] == transports
    assert sent(effects).via.transport == transports[0]


def test_a_large_request_goes_over_udp_to_a_peer_without_tcp() -> None:
    """SP-04 RFC 3261 18.1.1: after a reset of the connection attempt."""
    stack = Stack(max_udp_request_bytes=lambda hop: 1300)
    received = request("MESSAGE")
    received.set_body(b"x" * 1300, "text/plain")
    stack.receive(received, 0.0)
    ((_, over_tcp),) = sends(forward(received, stack, CORE))
    effects = stack.on_transport_failure(over_tcp, "connection refused")
    assert [target for _, target in sends(effects)] == [CORE]
    assert sent(effects).via.transport == "UDP"


def test_a_hop_that_cannot_be_connected_to_fails_what_was_on_its_way_there(stack: Stack) -> None:
    """8.1.3.1: and nothing else, however much that is."""
    for number, target in enumerate((TCP6, TCP6, CORE)):
        received = request("MESSAGE", branch=f"z9hG4bK{number}")
        stack.receive(received, 0.0)
        forward(received, stack, target)
    effects = stack.on_transport_failure(TCP6, "connection refused")
    assert [text.split()[1] for text, _ in sends(effects)] == ["500", "500"]
    assert [leg.target for leg in stack.legs] == [CORE]
    assert stack.stack._over_streams == {}
    assert stack.on_transport_failure(TCP6, "connection refused") == []


def test_a_large_request_down_a_known_flow_stays_on_it() -> None:
    stack = Stack(max_udp_request_bytes=lambda hop: 1300)
    received = request("MESSAGE")
    received.set_body(b"x" * 1300, "text/plain")
    stack.receive(received, 0.0)
    ((_, target),) = sends(forward(received, stack, UE))
    assert target == UE


# ---------------------------------------------------------------------- RFC 3263 4.3: the next target


def run_out(stack: Stack, effects: list[Effect]) -> tuple[float, list[Effect]]:
    """Fire the timers of the one request that is on its way until it is given up; return when that was, and its end."""
    waited_s = 0.0
    while True:
        (timer,) = [e for e in effects if isinstance(e, StartStackTimer) and e.timer is not Timer.C]
        waited_s += timer.delay_s
        effects = stack.on_timer(timer.owner, timer.timer, waited_s)
        if timer.timer in {Timer.B, Timer.F}:
            return waited_s, effects


def fork_over(received: Request, stack: Stack, *targets: Target) -> list[Effect]:
    """Forward one branch that has several targets."""
    return stack.forward(Forward((Branch(received.copy()),), RecordRoute("mo", "mo")), [targets], 0.0)


@pytest.mark.parametrize("trouble", ["503", "silence", "transport"])
@pytest.mark.parametrize("method", ["INVITE", "MESSAGE"])
def test_the_next_target_is_tried(stack: Stack, method: str, trouble: str) -> None:
    """SP-07: on 503, timeout and transport error, with one Via, one Record-Route and a line that tells why."""
    received = request(method)
    stack.receive(received, 0.0)
    started = fork_over(received, stack, CORE, OTHER)
    first = sent(started)
    match trouble:
        case "503":
            effects = stack.receive(answer(first, 503), 0.1)
        case "silence":
            waited_s, effects = run_out(stack, started)
            assert waited_s == (4.0 if method == "INVITE" else 10.0)  # not 32 s: the caller would have given up
        case _:
            effects = stack.on_transport_failure(CORE, "connection refused")
    (news,) = [e for e in effects if isinstance(e, NextTarget)]
    assert (news.failed, news.target) == (CORE, OTHER)
    second, target = [(e.message, e.target) for e in effects if isinstance(e, Send)][-1]
    assert target == OTHER
    assert second.via.branch != first.via.branch
    assert len(second.values("Via")) == len(first.values("Via")) == 2
    assert second.values("Record-Route") == first.values("Record-Route")
    assert second.max_forwards == first.max_forwards
    assert sends(stack.receive(answer(second, 200), 5.0)) == [("SIP/2.0 200 OK", UE)]


def test_the_last_target_gets_all_the_time_and_its_failure_is_the_answer(stack: Stack) -> None:
    received = request("MESSAGE")
    stack.receive(received, 0.0)
    fork_over(received, stack, CORE, OTHER)
    effects = stack.on_transport_failure(CORE, "connection refused")
    waited_s, effects = run_out(stack, effects)
    assert waited_s == 32.0
    assert sends(effects) == []  # RFC 4320 4.2
    assert (stack.server_transactions, stack.client_transactions) == (0, 0)


def test_an_answer_other_than_503_is_no_reason_to_try_another(stack: Stack) -> None:
    received = request("MESSAGE")
    stack.receive(received, 0.0)
    out = sent(fork_over(received, stack, CORE, OTHER))
    assert sends(stack.receive(answer(out, 500), 0.1)) == [("SIP/2.0 500 Server Internal Error", UE)]


def test_a_cancelled_call_is_not_tried_elsewhere(stack: Stack) -> None:
    received = request()
    stack.receive(received, 0.0)
    out = sent(fork_over(received, stack, CORE, OTHER))
    stack.receive(answer(out, 100), 0.1)
    stack.receive(request("CANCEL"), 0.2)
    effects = stack.receive(answer(out, 503), 0.3)
    assert [target for text, target in sends(effects) if text.startswith("INVITE")] == []


def test_a_call_that_went_to_the_next_target_can_be_cancelled_there(stack: Stack) -> None:
    received = request()
    stack.receive(received, 0.0)
    out = sent(fork_over(received, stack, CORE, OTHER))
    second = sent(stack.receive(answer(out, 503), 0.1), -1)
    stack.receive(answer(second, 180), 0.2)
    effects = stack.receive(request("CANCEL"), 0.3)
    assert ("CANCEL sip:bob@ims.test SIP/2.0", OTHER) in sends(effects)
