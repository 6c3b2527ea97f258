"""A proxy between two hand-played sides: a whole stack and runtime around a core that forwards everything."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from opencscf.common.actions import Branch, Forward, Outcome
from opencscf.common.errors import ParseError, PeerUnavailable
from opencscf.common.events import Event, RequestReceived
from opencscf.common.ids import Ids
from opencscf.common.node.clock import FakeClock, TimerWheel
from opencscf.common.node.runtime import Due, Runtime
from opencscf.common.sip import headers, params, uri
from opencscf.common.sip.exchange import Target
from opencscf.common.sip.flow import Flow, Hop, Transport
from opencscf.common.sip.headers import Via
from opencscf.common.sip.message import Message, Request, Response
from opencscf.common.sip.parser import parse
from opencscf.common.sip.stack import SipStack
from opencscf.common.sip.timers import TimerValues
from opencscf.common.sip.uri import SipUri

FIXTURES = Path(__file__).parents[2] / "fixtures"
CALLER = Flow(Transport.UDP, ("192.0.2.10", 5060), ("192.0.2.200", 5062))
NEXT = Hop(Transport.UDP, "192.0.2.20", 5060)


def forward_everything(event: Event) -> Outcome:
    """Decide like a proxy without opinions."""
    return [Forward((Branch(event.request.copy()),))] if isinstance(event, RequestReceived) else []


class Proxy:
    """One node as its neighbours see it: datagrams in, messages out; every name resolves to the same next hop."""

    caller, next_hop = CALLER, NEXT

    def __init__(self) -> None:
        self.decide: Callable[[Event], Outcome] = forward_everything
        self.sent: list[tuple[bytes, Target]] = []
        self.lines: list[tuple[str, str, dict[str, object]]] = []
        self.looked_up: list[str] = []
        self.clock = FakeClock(1000.0)
        self.wheel: TimerWheel[Due] = TimerWheel(0.1, start=1000.0)
        self.stack = SipStack(ids=Ids(seed=1), timers=TimerValues(), local_for=lambda target: ("192.0.2.10", 5060))
        self.runtime = Runtime(
            core=self, stack=self.stack, wire=self, resolver=self, askers={}, wheel=self.wheel, clock=self.clock,
            log=self,
        )  # fmt: skip

    def receive(self, data: bytes, flow: Flow = CALLER) -> None:
        """Take a datagram the way the transport does."""
        try:
            message = parse(data)
        except ParseError as error:
            self.runtime.malformed(data, error, flow)
        else:
            self.runtime.receive(message, flow)

    def on_event(self, event: Event) -> Outcome:
        return self.decide(event)

    def send(self, data: bytes, target: Target) -> None:
        self.sent.append((data, target))

    def failed(self, hop: Hop) -> None:
        pass

    def is_open(self, flow: Flow) -> bool:
        return True

    def lookup_sent_by(self, via: Via, callback: Callable[[tuple[Hop, ...] | PeerUnavailable], None]) -> None:
        callback((NEXT,))

    def lookup(self, uri: SipUri, callback: Callable[[tuple[Hop, ...] | PeerUnavailable], None]) -> None:
        self.looked_up.append(str(uri))
        callback((NEXT,))

    def event(self, level: str, event: str, **fields: object) -> None:
        self.lines.append((level, event, fields))

    def message(self, direction: str, message: Message, target: Target) -> None:
        """Trace nothing."""

    def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds * 10)):
            self.clock.advance(0.1)
            self.runtime.tick()

    @property
    def forwarded(self) -> list[Request]:
        """What went on to the next hop."""
        messages = [parse(data) for data, target in self.sent if target == NEXT]
        return [message for message in messages if isinstance(message, Request)]

    @property
    def answers(self) -> list[tuple[int, Target]]:
        """The statuses that went back, 100 left out, and where to."""
        statuses = [(int(data[8:11]), target) for data, target in self.sent if data.startswith(b"SIP/2.0 ")]
        return [(status, target) for status, target in statuses if status != 100]

    @property
    def last_answer(self) -> Response:
        """The last response that went back."""
        message = parse(next(data for data, _ in reversed(self.sent) if data.startswith(b"SIP/2.0 ")))
        assert isinstance(message, Response)
        return message

    @property
    def tracebacks(self) -> list[object]:
        """What was our own fault."""
        return [fields.get("traceback") for level, _, fields in self.lines if level == "error"]


@pytest.fixture
def proxy() -> Proxy:
    return Proxy()


@pytest.fixture
def torture() -> Callable[[str], bytes]:
    """Read a message by the RFC's short name, such as `rfc4475/wsinv`."""
    return lambda name: (FIXTURES / f"{name}.sip").read_bytes()


def _forget_values() -> None:
    for cached in (
        uri._parse_cached,
        headers._parse_via_cached,
        headers._parse_name_addr_cached,
        headers._parse_all_cached,
    ):
        cached.cache_clear()


@pytest.fixture(scope="module", params=["Python", "C"])
def form(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run a module's tests on both forms of what reads values."""
    if params._native is None and request.param == "C":
        pytest.skip("there is no C twin")
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "Python":
            for module, name in (
                (params, "_usual"),
                (uri, "_usual_sip_uri"),
                (headers, "_usual_via"),
                (headers, "_usual_name_addr"),
                (headers, "_usual_auth"),
            ):
                patch.setattr(module, name, getattr(module, f"{name}_in_python"))
            for name, method in zip(("get", "has"), params._METHODS_IN_PYTHON, strict=True):
                patch.setattr(params.Params, name, method)
        _forget_values()
        yield
    _forget_values()
