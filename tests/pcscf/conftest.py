"""One P-CSCF with a UE on one side and the core on the other, both played by hand."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from opencscf.common.actions import Outcome, Procedure, Question, Save
from opencscf.common.config import loads
from opencscf.common.events import RequestReceived
from opencscf.common.ids import Ids
from opencscf.common.sip.flow import Flow, Transport
from opencscf.common.sip.message import Request, Response
from opencscf.common.sip.proxy import OwnUris
from opencscf.pcscf.config import PcscfConfig
from opencscf.pcscf.core import PCscf
from opencscf.pcscf.state import Binding

DOMAIN = "ims.test"
NOW = 1_000_000.0
UE = Flow(Transport.UDP, ("192.0.2.10", 5060), ("192.0.2.101", 5062))
SCSCF = Flow(Transport.UDP, ("192.0.2.10", 5060), ("192.0.2.12", 5060))
SERVICE_ROUTE = "<sip:orig@scscf.ims.test:5060;lr>"

SETTINGS = """
[sip]
listen = [{ address = "192.0.2.10" }]
[pcscf]
visited_network = "visited.test"
icscf = "sip:icscf.ims.test:5060"
max_registrations = 3
max_calls = 3
[rx]
origin_host = "pcscf.ims.test"
origin_realm = "ims.test"
destination_realm = "ims.test"
peers = [{ host = "pcrf.ims.test", address = "192.0.2.15" }]
"""


class World:
    """What the tests of a P-CSCF say to it and get from it."""

    domain, now, ue, scscf, service_route, settings = DOMAIN, NOW, UE, SCSCF, SERVICE_ROUTE, SETTINGS

    def __init__(self, settings: str = SETTINGS, restored: Iterable[tuple[str, dict[str, Any]]] = ()) -> None:
        config = loads(settings, PcscfConfig, Path("pcscf.toml"))
        own = OwnUris.of([("192.0.2.10", 5060), ("pcscf.ims.test", 5060)])
        self.core = PCscf(config, own, Ids(seed=1), restored)
        self.saved: dict[str, dict[str, Any] | None] = {}
        self._branches = 0

    @property
    def registrations(self) -> Any:
        return self.core.state.registrations

    @property
    def calls(self) -> Any:
        return self.core.state.calls

    # ------------------------------------------------------------------ messages

    def request(
        self, method: str, *headers: tuple[str, str], flow: Flow = UE, uri: str = "", user: str = "alice", **more: Any
    ) -> Request:
        """A request as the transport delivers it; headers given here stand in the place of the usual ones."""
        self._branches += 1
        body, content_type = more.get("body", b""), more.get("content_type", "application/sdp")
        default = [
            ("Via", f"SIP/2.0/UDP {flow.remote[0]}:{flow.remote[1]};branch=z9hG4bKt{self._branches}"),
            ("Max-Forwards", "70"),
            ("From", f"<sip:{user}@{DOMAIN}>;tag={more.get('from_tag', 'caller')}"),
            ("To", more.get("to", f"<sip:bob@{DOMAIN}>")),
            ("Call-ID", more.get("call_id", "call-1")),
            ("CSeq", f"1 {method}"),
        ]
        given = {name for name, _ in headers}
        lines = [line for line in default if line[0] not in given] + list(headers)
        request = Request.new(method, uri or f"sip:bob@{DOMAIN}", lines, body, content_type)
        request.flow = flow
        return request

    def register(self, *headers: tuple[str, str], user: str = "alice", expires: int = 3600, **more: Any) -> Request:
        flow = more.pop("flow", UE)
        contact = ("Contact", f"<sip:{user}@{flow.remote[0]}:{flow.remote[1]}>;expires={expires}")
        to = f"<sip:{user}@{DOMAIN}>"
        given = {name for name, _ in headers}
        lines = [*([] if "Contact" in given else [contact]), *headers]
        return self.request("REGISTER", *lines, flow=flow, uri=f"sip:{DOMAIN}", user=user, to=to, **more)

    def credentials(self, user: str = "alice", extra: str = "") -> tuple[str, str]:
        value = f'Digest username="{user}@{DOMAIN}",realm="{DOMAIN}",nonce="",uri="sip:{DOMAIN}",response=""{extra}'
        return "Authorization", value

    def accept(self, register: Request, *headers: tuple[str, str], user: str = "alice") -> Response:
        """The registrar's 200, which lists what the REGISTER asked for."""
        given = {name for name, _ in headers}
        default = [
            ("Contact", register.get("Contact") or ""),
            ("Service-Route", SERVICE_ROUTE),
            ("P-Associated-URI", f"<sip:{user}@{DOMAIN}>, <tel:+1555{sum(user.encode())}>"),
        ]
        lines = [line for line in default if line[0] not in given] + [line for line in headers if line[1]]
        return self.answer(register, 200, *lines, to_tag="registrar")

    def answer(self, request: Request, status: int, *headers: tuple[str, str], **more: Any) -> Response:
        """A response to a request, as it reaches the core with its own Via already taken off."""
        body, reason = more.get("body", b""), more.get("reason", "")
        to_tag = more.get("to_tag", "callee")
        return Response.to_request(
            request, status, reason, to_tag=to_tag, headers=headers, body=body, content_type="application/sdp"
        )

    # ------------------------------------------------------------------ events

    def receive(self, request: Request, now: float = NOW) -> Outcome:
        return self.core.on_event(RequestReceived(request, now))

    def drive(self, outcome: Outcome, *answers: Any) -> tuple[list[Question[Any]], Any]:
        """Run a procedure to its end, giving each question its answer; what is saved is remembered here."""
        assert isinstance(outcome, Procedure)
        asked: list[Question[Any]] = []
        pending = list(answers)
        value: Any = None
        try:
            while True:
                throws = isinstance(value, Exception)
                question = outcome.coroutine.throw(value) if throws else outcome.coroutine.send(value)
                asked.append(question)
                if isinstance(question, Save):
                    assert question.kind == "binding"
                    self.saved[question.key] = question.value
                    value = None
                else:
                    value = pending.pop(0)
        except StopIteration as end:
            assert not pending, f"nobody asked for {pending}"
            return asked, end.value

    def registered(self, user: str = "alice", *headers: tuple[str, str], now: float = NOW, **more: Any) -> Binding:
        """Register a user and return what the P-CSCF keeps of it."""
        register = self.register(self.credentials(user), user=user, call_id=f"register-{user}", **more)
        self.drive(self.receive(register, now), self.accept(register, *headers, user=user))
        (binding,) = self.registrations.of_aor(f"sip:{user}@{DOMAIN}")
        assert isinstance(binding, Binding)
        return binding


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def new_world() -> type[World]:
    """For tests with settings of their own."""
    return World


@pytest.fixture
def settings() -> str:
    return SETTINGS
