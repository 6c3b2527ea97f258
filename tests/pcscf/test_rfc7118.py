"""A browser at the P-CSCF: its registration and calls to it (RFC 7118 8.1, RFC 5626 5)."""

from pathlib import Path
from typing import Any

from opencscf.common.actions import FinalResponse, Forward
from opencscf.common.sip.flow import Flow, Transport
from opencscf.common.sip.message import Request
from opencscf.common.sip.parser import parse

BROWSER = Flow(Transport.WSS, ("192.0.2.10", 443), ("198.51.100.7", 50_000), 7)
REGISTER = (Path(__file__).parents[1] / "fixtures" / "rfc7118" / "register.sip").read_bytes()
CONTACT = "sip:alice@df7jal23ls0d.invalid;transport=ws"


def registered(world: Any) -> Any:
    """Register the browser of the example, and return what went to its home and what is kept."""
    register = parse(REGISTER)
    assert isinstance(register, Request)
    register.flow = BROWSER
    ok = world.accept(register, ("Contact", f"<{CONTACT}>;reg-id=1;expires=3600"), ("P-Associated-URI", ""))
    asked, _ = world.drive(world.receive(register), ok)
    (question,) = (question for question in asked if isinstance(question, FinalResponse))
    (binding,) = world.registrations.of_aor("sip:alice@example.com")
    return question.forward.branches[0].request, binding


def test_its_registration_names_a_flow_that_we_keep(world: Any) -> None:
    """RFC 5626 5.1: Path leads here over a transport that the core has, and says so with ob."""
    sent, binding = registered(world)
    (path,) = sent.path
    assert path.sip_uri.params.has("ob")
    assert path.sip_uri.transport is None
    assert path.sip_uri.user == binding.token
    assert sent.contacts[0].uri == CONTACT, "no Contact is ever rewritten"


def test_calls_go_down_its_connection(world: Any) -> None:
    """RFC 7118 appendix A, RFC 5626 5.3.1: nobody looks for the host in its Contact."""
    _, binding = registered(world)
    route = ("Route", f"<sip:{binding.token}@192.0.2.10;lr;ob>")
    invite = world.request("INVITE", route, flow=world.scscf, uri=CONTACT)
    forward = next(action for action in world.receive(invite) if isinstance(action, Forward))
    (branch,) = forward.branches
    assert (branch.flow, branch.request.uri) == (BROWSER, CONTACT)


def test_its_requests_are_known_by_their_connection(world: Any) -> None:
    """RFC 5626 5.3.2: From may say anything, or nothing."""
    registered(world)
    message = world.request("MESSAGE", ("From", '"?" <sip:anonymous@anonymous.invalid>;tag=x'), flow=BROWSER)
    (forward,) = world.receive(message)
    assert forward.branches[0].request.get("P-Asserted-Identity") == "<sip:alice@example.com>"
