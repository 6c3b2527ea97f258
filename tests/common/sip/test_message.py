"""Messages: reading, editing and answering them (RFC 3261 7, 8.2.6, 17.2.3)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from opencscf.common.errors import ParseError
from opencscf.common.sip.flow import Flow, Transport
from opencscf.common.sip.headers import CSeq, NameAddr, Params, Via
from opencscf.common.sip.message import REASONS, Message, Request, Response
from opencscf.common.sip.parser import parse
from opencscf.common.sip.uri import SipUri, TelUri

FIXTURES = Path(__file__).parents[2] / "fixtures"

BASE = (
    ("Via", "SIP/2.0/UDP a.example;branch=z9hG4bK1"),
    ("From", "<sip:a@a.example>;tag=1"),
    ("To", "<sip:b@b.example>"),
    ("Call-ID", "c@a.example"),
    ("CSeq", "7 OPTIONS"),
)


def fixture(name: str) -> Message:
    return parse((FIXTURES / name).read_bytes())


def request(*headers: tuple[str, str], method: str = "OPTIONS", body: bytes = b"", content_type: str = "") -> Request:
    return Request.new(method, "sip:b@b.example", (*BASE, *headers), body, content_type)


def head(message: Message) -> list[str]:
    return bytes(message).decode().partition("\r\n\r\n")[0].split("\r\n")


# Reading


def test_folded_lines_compact_forms_any_case_and_comma_lists() -> None:
    """SP-01: RFC 3261 7.3.1 and 7.3.3."""
    invite = fixture("invite-folded-and-compact.sip")
    assert isinstance(invite, Request)
    assert (invite.method, invite.uri) == ("INVITE", "sip:bob;ext=2?a@b.example")
    assert invite.via == Via("TCP", "first.example", None, Params([("branch", "z9hG4bK1")]))
    assert [str(Via.parse(via)) for via in invite.values("Via")] == [
        "SIP/2.0/TCP first.example;branch=z9hG4bK1",
        "SIP/2.0/UDP [2001:db8::9]:5061;received=[2001:db8::A]",
        "SIP/2.0/UDP third.example;branch=z9hG4bK3",
    ]
    assert invite.from_ == NameAddr("sip:alice@a.example", 'A "B, C" <not a URI>', Params([("tag", "88")]))
    assert (invite.to, invite.to_tag, invite.from_tag) == (NameAddr("sip:bob@b.example"), None, "88")
    assert invite.cseq == CSeq(7, "INVITE")
    assert invite.max_forwards == 70
    assert [(contact.uri, contact.q, contact.expires) for contact in invite.contacts] == [
        ("sip:a,b@c.example;x=1", 0.7, None),
        ("sip:d@e.example", 1.0, 60),
    ]
    assert invite.values("Supported") == ["timer", "100rel"]
    assert invite.get("Supported") == "timer, 100rel"
    assert invite.get("x-unknown") == ""
    assert invite.values("X-Unknown") == []
    assert invite.content_type == "text/plain"
    assert invite.body == b"body"


def test_names_are_long_forms_in_any_case() -> None:
    message = request(("Route", "<sip:r1>, <sip:r2>"), ("route", "<sip:r3>"))
    assert message.get("ROUTE") == message.get("Route") == "<sip:r1>, <sip:r2>"
    assert message.get_all("route") == ["<sip:r1>, <sip:r2>", "<sip:r3>"]
    assert [route.uri for route in message.routes] == ["sip:r1", "sip:r2", "sip:r3"]
    assert message.has("rOuTe")
    assert not message.has("Path")
    assert message.get("Path") is None
    assert message.get_all("Path") == []


def test_lists_of_addresses() -> None:
    ok = fixture("200-with-service-route.sip")
    domain = "ims.mnc001.mcc001.3gppnetwork.org"
    assert [route.uri for route in ok.service_route] == [f"sip:orig@scscf.{domain}:5060;lr", f"sip:second.{domain};lr"]
    assert [path.uri for path in ok.path] == [f"sip:token@pcscf.{domain}:5060;lr;ob"]
    assert ok.record_routes == []
    assert ok.routes == []
    ok.path.clear()
    assert len(ok.path) == 1, "a caller's list is its own"


def test_contact_star() -> None:
    """RFC 3261 10.2.2."""
    star = request(("Contact", "*"))
    assert (star.is_contact_star, star.contacts) == (True, [])
    assert not request().is_contact_star


@pytest.mark.parametrize(
    ("name", "value", "attribute", "expected"),
    [
        pytest.param("Expires", "3600", "expires", 3600, id="20.19 Expires"),
        pytest.param("Expires", "soon", "expires", 3600, id="20.19 malformed Expires"),
        pytest.param("Max-Forwards", "0", "max_forwards", 0, id="20.22 Max-Forwards"),
        pytest.param(
            "Content-Type", "Application / SDP ;x=y", "content_type", "application/sdp", id="20.15 Content-Type"
        ),
    ],
)
def test_single_values(name: str, value: str, attribute: str, expected: object) -> None:
    assert getattr(request((name, value)), attribute) == expected


def test_what_is_absent() -> None:
    message = request()
    assert (message.expires, message.max_forwards, message.content_type, message.contacts) == (None, None, "", [])


@pytest.mark.parametrize(
    ("name", "value", "attribute"),
    [
        ("Via", "junk", "via"),
        ("From", "junk", "from_"),
        ("To", "<sip:a", "to"),
        ("Call-ID", "a b", "call_id"),
        ("Call-ID", "", "call_id"),
        ("CSeq", "x INVITE", "cseq"),
        ("Max-Forwards", "256", "max_forwards"),
        ("Max-Forwards", "-1", "max_forwards"),
        ("Content-Type", "sdp", "content_type"),
        ("Contact", '"<sip:a>', "contacts"),
        ("Route", "<sip:a>,,<sip:b>", "routes"),
    ],
)
def test_malformed_values(name: str, value: str, attribute: str) -> None:
    message = request()
    message.set(name, value)
    with pytest.raises(ParseError) as caught:
        getattr(message, attribute)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("name", "attribute"),
    [("Via", "via"), ("From", "from_"), ("To", "to"), ("Call-ID", "call_id"), ("CSeq", "cseq")],
)
def test_mandatory_values_that_are_absent(name: str, attribute: str) -> None:
    message = request()
    message.remove(name)
    with pytest.raises(ParseError):
        getattr(message, attribute)


def test_request_uri() -> None:
    assert request().request_uri == SipUri("sip", "b", None, "b.example")
    message = request()
    message.uri = "tel:+1"
    assert message.request_uri == TelUri("+1")
    assert head(message)[0] == "OPTIONS tel:+1 SIP/2.0"
    message.uri = "urn:service:sos"
    with pytest.raises(ParseError) as caught:
        _ = message.request_uri
    assert caught.value.status == 416


# Editing


def test_set() -> None:
    message = request(("Route", "<sip:1>"), ("X", "x"), ("Route", "<sip:2>"), ("Route", "<sip:3>"))
    assert len(message.routes) == 3
    message.set("route", "<sip:4>")
    message.set("Y", "y")
    assert head(message)[6:] == ["route: <sip:4>", "X: x", "Content-Length: 0", "Y: y"]
    assert [route.uri for route in message.routes] == ["sip:4"]


def test_prepend_and_append() -> None:
    message = request(("Route", "<sip:1>"), ("X", "x"))
    message.prepend("Via", "SIP/2.0/TCP b.example")
    message.prepend("Record-Route", "<sip:rr>")
    message.append("Route", "<sip:2>")
    message.append("Z", "z")
    assert message.via.host == "b.example"
    assert head(message)[1:4] == [
        "Record-Route: <sip:rr>",
        "Via: SIP/2.0/TCP b.example",
        "Via: SIP/2.0/UDP a.example;branch=z9hG4bK1",
    ]
    assert head(message)[-5:] == ["Route: <sip:1>", "Route: <sip:2>", "X: x", "Content-Length: 0", "Z: z"]


def test_remove() -> None:
    message = request(("Route", "<sip:1>"), ("X", "x"), ("Route", "<sip:2>"))
    message.remove("ROUTE")
    message.remove("Path")
    assert message.routes == []
    assert head(message)[6:] == ["X: x", "Content-Length: 0"]


def test_first_value_of_a_list() -> None:
    message = request(("Route", '"a, b" <sip:1>, <sip:2>'), ("Route", "<sip:3>"))
    message.replace_first_value("Route", "<sip:0>")
    assert message.get_all("Route") == ["<sip:0>, <sip:2>", "<sip:3>"]
    for left in (["<sip:2>", "<sip:3>"], ["<sip:3>"], [], []):
        message.remove_first_value("Route")
        assert message.get_all("Route") == left
    message.replace_first_value("Route", "<sip:0>")
    assert not message.has("Route")


def test_first_value_keeps_the_name_as_it_was_written() -> None:
    message = fixture("invite-folded-and-compact.sip")
    message.remove_first_value("Via")
    message.remove_first_value("Via")
    assert head(message)[1] == "VIA: SIP/2.0/UDP third.example;branch=z9hG4bK3"


def test_body_and_content_length() -> None:
    message = request(body=b"old", content_type="text/plain")
    assert head(message)[-2:] == ["Content-Type: text/plain", "Content-Length: 3"]
    message.set_body(b"body", "application/sdp")
    assert head(message)[-2:] == ["Content-Type: application/sdp", "Content-Length: 4"]
    assert bytes(message).endswith(b"\r\n\r\nbody")
    message.set_body(b"", "")
    assert head(message)[-1:] == ["Content-Length: 0"]
    assert message.content_type == ""


EDITS: list[Callable[[Message], None]] = [
    lambda message: message.set("X", "x"),
    lambda message: message.remove("Max-Forwards"),
    lambda message: message.set_body(b"b", "a/b"),
]


@pytest.mark.parametrize("edit", EDITS, ids=["set", "remove", "set_body"])
def test_an_edited_message_always_has_a_right_content_length(edit: Callable[[Message], None]) -> None:
    data = b"\r\n".join([*bytes(fixture("ack-to-failure.sip")).split(b"\r\n")[:-3], b"", b"xyz"])
    message = parse(data)
    assert bytes(message) == data
    edit(message)
    assert message.get("Content-Length") == str(len(message.body))


def test_content_length_cannot_be_made_wrong() -> None:
    message = request(("Content-Length", "9"), body=b"abc", content_type="a/b")
    message.set("Content-Length", "7")
    assert message.get_all("Content-Length") == ["3"]
    message.remove("Content-Length")
    assert message.get_all("Content-Length") == ["3"]
    message.append("l", "8")
    assert message.get_all("Content-Length") == ["3"]


@pytest.mark.parametrize("value", ["a\r\nInjected: yes", "a\nb", "a\rb"])
def test_nobody_writes_header_fields_through_a_value(value: str) -> None:
    message = request(("Route", "<sip:1>"))
    for edit in (message.set, message.prepend, message.append, message.replace_first_value):
        with pytest.raises(ValueError, match="line end"):
            edit("Route", value)
    with pytest.raises(ValueError, match="line end"):
        message.uri = value
    with pytest.raises(ValueError, match="line end"):
        Response.new(200, value, BASE)
    with pytest.raises(ValueError, match="token"):
        Request.new("BAD METHOD", "sip:a", BASE)


def test_a_copy_is_of_its_own() -> None:
    original = fixture("invite-from-ue.sip")
    original.flow = Flow(Transport.UDP, ("::1", 1), ("::2", 2))
    assert isinstance(original, Request)
    before = bytes(original)
    assert original.via.host == "2001:db8::5555"
    copy = original.copy()
    assert copy == original
    assert copy.flow == original.flow
    copy.set("Via", "SIP/2.0/UDP other")
    copy.uri = "sip:c"
    copy.set_body(b"", "")
    assert copy.via.host == "other"
    assert original.via.host == "2001:db8::5555"
    assert bytes(original) == before
    assert copy != original
    response = Response.new(200, "", BASE).copy()
    assert (response.status, response.reason) == (200, "OK")


def test_messages_are_equal_by_what_is_on_the_wire() -> None:
    message = request()
    assert message == parse(bytes(message))
    assert message != request(("X", "x"))
    assert message != "message"
    assert message.start_line == "OPTIONS sip:b@b.example SIP/2.0"
    assert repr(message) == "<OPTIONS sip:b@b.example SIP/2.0>"


# Answering


def test_answer_copies_what_it_has_to() -> None:
    """RFC 3261 8.2.6.2; SP-01: Via values keep their order."""
    invite = fixture("invite-folded-and-compact.sip")
    assert isinstance(invite, Request)
    answer = Response.to_request(
        invite, 404, to_tag="99", headers=[("Server", "x")], body=b"why", content_type="text/plain"
    )
    assert head(answer)[0] == "SIP/2.0 404 Not Found"
    assert answer.get_all("Via") == invite.get_all("Via")
    assert (answer.from_, answer.call_id, answer.cseq) == (invite.from_, invite.call_id, invite.cseq)
    assert answer.to == NameAddr("sip:bob@b.example", "", Params([("tag", "99")]))
    assert answer.body == b"why"
    assert head(answer)[-3:] == ["Server: x", "Content-Type: text/plain", "Content-Length: 3"]
    assert parse(bytes(answer)) == answer


def test_answer_keeps_a_tag() -> None:
    inside = request()
    inside.set("To", "<sip:b>;tag=old")
    assert Response.to_request(inside, 200, to_tag="new").to_tag == "old"


def test_trying_has_timestamp_and_no_tag() -> None:
    """RFC 3261 8.2.6.1."""
    invite = request(("Timestamp", "54"))
    trying = Response.to_request(invite, 100, "Wait", to_tag="new")
    assert (trying.to_tag, trying.get("Timestamp"), trying.reason) == (None, "54", "Wait")
    assert Response.to_request(invite, 180, to_tag="new").get("Timestamp") is None


def test_even_a_malformed_to_is_answered() -> None:
    broken = request()
    broken.set("To", '"b <sip:b>')
    assert Response.to_request(broken, 400, to_tag="t").get("To") == '"b <sip:b>;tag=t'


def test_reason_phrases() -> None:
    assert Response.new(299, "", BASE).reason == ""
    assert head(Response.new(299, "", BASE))[0] == "SIP/2.0 299 "
    assert REASONS[494] == "Security Agreement Required"


# Transactions


def test_transaction_of_request_and_response_is_the_same() -> None:
    """RFC 3261 17.2.3: branch, sent-by and method."""
    message = request()
    answer = Response.to_request(message, 200, to_tag="2")
    answer.replace_first_value("Via", str(answer.via.with_params(received="192.0.2.1", rport=5)))
    assert message.transaction_id == answer.transaction_id == "z9hG4bK1|a.example:5060|OPTIONS"


@pytest.mark.parametrize("branch", ["z9hG4bK9", "9"])
def test_ack_and_cancel_find_their_invite(branch: str) -> None:
    """RFC 3261 9.2 and 17.2.3; without the magic cookie as in RFC 2543."""
    invite, ack, cancel, bye = (request(method=method) for method in ("INVITE", "ACK", "CANCEL", "BYE"))
    for message in (invite, ack, cancel, bye):
        message.set("Via", f"SIP/2.0/UDP A.example:5060;branch={branch}")
        message.set("CSeq", f"7 {message.method}")
    ack.set("To", "<sip:b@b.example>;tag=2")
    assert ack.transaction_id == invite.transaction_id == cancel.invite_transaction_id == ack.invite_transaction_id
    assert len({invite.transaction_id, cancel.transaction_id, bye.transaction_id}) == 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("Via", "SIP/2.0/UDP a.example;branch=z9hG4bK2", id="branch"),
        pytest.param("Via", "SIP/2.0/UDP b.example;branch=z9hG4bK1", id="sent-by host"),
        pytest.param("Via", "SIP/2.0/UDP a.example:5062;branch=z9hG4bK1", id="sent-by port"),
        pytest.param("CSeq", "7 INFO", id="method"),
    ],
)
def test_other_transactions(name: str, value: str) -> None:
    other = request()
    other.set(name, value)
    assert other.transaction_id != request().transaction_id


@pytest.mark.parametrize("via", ["SIP/2.0/UDP a.example", "SIP/2.0/UDP a.example;branch=z9hG4bK"])
@pytest.mark.parametrize(("name", "value"), [("From", "<sip:a>;tag=2"), ("Call-ID", "d"), ("CSeq", "8 OPTIONS")])
def test_other_transactions_without_branch(name: str, value: str, via: str) -> None:
    """RFC 4475 3.2.1: the bare magic cookie is no better than none."""
    one, other = request(), request()
    one.set("Via", via)
    other.set("Via", via)
    other.set(name, value)
    assert one.transaction_id != other.transaction_id


def test_several_names_are_removed_at_once() -> None:
    message = Request.new("MESSAGE", "sip:b@ims.test", [("Via", "v"), ("Route", "r1"), ("Path", "p"), ("route", "r2")])
    message.remove_all(frozenset({"route", "path", "expires"}))
    assert [name for name in ("Via", "Route", "Path") if message.has(name)] == ["Via"]


def test_the_transaction_id_follows_edits() -> None:
    message = Request.new(
        "BYE",
        "sip:b@ims.test",
        [("Via", "SIP/2.0/UDP h;branch=z9hG4bK1"), ("From", "<sip:a@h>"), ("Call-ID", "c"), ("CSeq", "1 BYE")],
    )
    before = message.transaction_id
    message.prepend("Via", "SIP/2.0/UDP h;branch=z9hG4bK2")
    assert message.transaction_id == before.replace("bK1", "bK2")
    message.remove_first_value("Via")
    assert message.transaction_id == before
