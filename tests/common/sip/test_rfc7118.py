"""The examples of RFC 7118 (clause 8): what a browser says over WebSocket, and a proxy's part in its call."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opencscf.common.actions import Branch, Forward, Outcome, RecordRoute
from opencscf.common.events import Event, RequestReceived
from opencscf.common.sip.flow import Flow, Hop, Transport
from opencscf.common.sip.message import Request, Response
from opencscf.common.sip.parser import parse
from opencscf.common.sip.proxy import OwnUris, strip_own_routes

EXAMPLES = sorted((Path(__file__).parents[2] / "fixtures" / "rfc7118").glob("*.sip"))
BROWSER = Flow(Transport.WSS, ("proxy.example.com", 443), ("198.51.100.7", 50_000), 7)
PHONE = Hop(Transport.UDP, "192.0.2.20", 5060)  # what the fixture's resolver finds
FROM_PHONE = Flow(Transport.UDP, ("proxy.example.com", 5060), ("192.0.2.20", 5060))
OWN = OwnUris.of([("proxy.example.com", 443), ("proxy.example.com", 5060)])


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_each_is_one_message(path: Path) -> None:
    """7118-5: without Content-Length, for the WebSocket message says where it ends."""
    data = path.read_bytes()
    message = parse(data, datagram=False)
    assert bytes(message) == data
    if "over-udp" not in path.stem:
        assert message.via.transport == "WSS"  # 5.1
    assert len(EXAMPLES) == 13


def test_a_browsers_contact(torture: Callable[[str], bytes]) -> None:
    """7118-5.2 and appendix A: a host that does not exist, and the flow by which to reach it all the same."""
    (contact,) = parse(torture("rfc7118/register")).contacts
    assert (contact.sip_uri.host, contact.sip_uri.transport) == ("df7jal23ls0d.invalid", "ws")
    assert (contact.get("reg-id"), contact.get("+sip.instance")) == ("1", "<urn:uuid:f81-7dec-14a06cf1>")


class Sides:
    """Forwards like the proxy of the example: the browser by its flow, the phone by its URI."""

    def __call__(self, event: Event) -> Outcome:
        assert isinstance(event, RequestReceived)
        request = event.request.copy()
        strip_own_routes(request, OWN)
        is_from_browser = event.request.flow == BROWSER
        branch = Branch(request) if is_from_browser else Branch(request, flow=BROWSER)
        return [Forward((branch,), RecordRoute("h7kjh12s", "udp") if request.method == "INVITE" else None)]


@pytest.fixture
def played(proxy: Any) -> Any:
    proxy.decide = Sides()
    proxy.stack._local_for = lambda target: (
        "proxy.example.com",
        443 if target.transport is Transport.WSS else 5060,
    )
    return proxy


def last(played: Any, target: Flow | Hop) -> Any:
    return parse(next(data for data, to in reversed(played.sent) if to == target))


def test_the_call_of_the_example(played: Any, torture: Callable[[str], bytes]) -> None:
    """7118-8.2, F1 to F11: Via and Record-Route on both sides; every answer goes back over the browser's connection."""
    played.receive(torture("rfc7118/invite"), BROWSER)
    assert last(played, BROWSER).start_line == parse(torture("rfc7118/invite-100")).start_line
    invite, example = last(played, PHONE), parse(torture("rfc7118/invite-over-udp"))
    assert [via.split(";")[0].split()[0] for via in invite.values("Via")] == ["SIP/2.0/UDP", "SIP/2.0/WSS"]
    assert [route.sip_uri.transport or "udp" for route in invite.record_routes] == ["udp", "ws"]
    assert [route.sip_uri.transport for route in example.record_routes] == ["udp", "ws"]
    assert invite.record_routes[1].sip_uri.port == 443
    assert invite.contacts == example.contacts
    assert invite.max_forwards == example.max_forwards == 69

    ok = Response.to_request(invite, 200, to_tag="bmqkjhsd", headers=[("Contact", "<sip:bob@203.0.113.22:5060>")])
    for value in invite.get_all("Record-Route"):
        ok.append("Record-Route", value)
    played.receive(bytes(ok), FROM_PHONE)
    answer = last(played, BROWSER)
    assert (answer.status, len(answer.values("Via")), answer.via.transport) == (200, 1, "WSS")
    assert answer.record_routes == invite.record_routes

    played.receive(torture("rfc7118/ack"), BROWSER)
    ack = last(played, PHONE)
    assert (ack.method, ack.routes, ack.max_forwards) == ("ACK", [], 69)

    played.receive(torture("rfc7118/bye-over-udp"), FROM_PHONE)
    bye, example = last(played, BROWSER), parse(torture("rfc7118/bye"))
    assert isinstance(bye, Request)
    assert (bye.start_line, bye.via.transport, bye.via.sent_by) == (example.start_line, "WSS", "proxy.example.com:443")
    assert bye.routes == []
    played.receive(bytes(Response.to_request(bye, 200, to_tag="")), BROWSER)
    assert last(played, FROM_PHONE).status == 200


def test_nobody_waits_for_retransmissions(played: Any, torture: Callable[[str], bytes]) -> None:
    """7118-5: WebSocket is reliable: a final response is sent once, whatever time passes."""
    played.receive(torture("rfc7118/invite"), BROWSER)
    invite = last(played, PHONE)
    played.receive(bytes(Response.to_request(invite, 486, to_tag="b")), FROM_PHONE)
    played.pass_time(20)
    assert [status for status, to in played.answers if to == BROWSER] == [486]
