"""Requests other than REGISTER at the I-CSCF (TS 24.229 5.3.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from opencscf.common.actions import Action, Branch, Forward, Question, Report, Respond
from opencscf.common.errors import ParseError, PeerUnavailable
from opencscf.common.events import Started, TimerFired
from opencscf.common.ims.options import answer_for_node
from opencscf.common.sip.message import Request
from opencscf.diameter.cx import LocationInfoAnswer, LocationInfoRequest, ServerCapabilities
from opencscf.diameter.results import Result
from opencscf.icscf.core import ICscf

DOMAIN = "ims.mnc001.mcc001.3gppnetwork.org"
ICSCF = f"<sip:icscf.{DOMAIN};lr>"
SCSCF = f"sip:scscf.{DOMAIN}:6060"
BOB = f"sip:15550000002@{DOMAIN}"

Run = Callable[..., tuple[list[Question[Any]], list[Action]]]


def make_request(
    method: str = "INVITE", uri: str = BOB, *, routes: tuple[str, ...] = (), to_tag: str | None = None
) -> Request:
    return Request.new(
        method,
        uri,
        [
            ("Via", "SIP/2.0/UDP 127.0.1.12:6060;branch=z9hG4bKs1"),
            *(("Route", route) for route in routes),
            ("Max-Forwards", "67"),
            ("From", f"<sip:15550000001@{DOMAIN}>;tag=a"),
            ("To", f"<{BOB}>" + (f";tag={to_tag}" if to_tag else "")),
            ("Call-ID", "call-1"),
            ("CSeq", f"1 {method}"),
        ],
    )


def refused(request: Request, status: int, reason: str, level: str = "info", **fields: str) -> list[Action]:
    about: dict[str, str | int | float | None] = {
        "call_id": "call-1",
        "cseq": "1 INVITE",
        "status": status,
        "reason": reason,
    }
    return [Respond(request, status, reason), Report("refused", {**about, **fields}, level)]


FOUND = LocationInfoAnswer(Result.SUCCESS, SCSCF)
UNKNOWN = LocationInfoAnswer(Result.USER_UNKNOWN)
NOT_STORED = LocationInfoAnswer(Result.SUCCESS_SERVER_NAME_NOT_STORED)


@pytest.mark.parametrize(
    ("lia", "route"),
    [
        pytest.param(FOUND, f"<{SCSCF};lr>", id="IC-07 serving S-CSCF"),
        pytest.param(
            LocationInfoAnswer(Result.SUCCESS, f"scscf.{DOMAIN}"),
            f"<{SCSCF};lr>",
            id="IC-07 name without scheme and port",
        ),
        pytest.param(
            LocationInfoAnswer(Result.SUCCESS, f"{SCSCF};transport=tcp"),
            f"<{SCSCF};transport=tcp;lr>",
            id="IC-07 name with transport",
        ),
        pytest.param(
            LocationInfoAnswer(Result.UNREGISTERED_SERVICE, None, ServerCapabilities(frozenset({2}))),
            f"<sip:scscf2.{DOMAIN}:6060;transport=tcp;lr>",
            id="IC-08 selected by capabilities",
        ),
        pytest.param(
            LocationInfoAnswer(Result.UNREGISTERED_SERVICE), f"<{SCSCF};lr>", id="IC-08 no capabilities needed"
        ),
        pytest.param(
            LocationInfoAnswer(
                Result.SUCCESS_SERVER_NAME_NOT_STORED, None, ServerCapabilities(server_names=(f"sip:x.{DOMAIN}:1",))
            ),
            f"<sip:x.{DOMAIN}:1;lr>",
            id="IC-08 one the HSS asks for",
        ),
    ],
)
def test_sends_to_the_scscf(run: Run, lia: LocationInfoAnswer, route: str) -> None:
    asked, actions = run(make_request(routes=(ICSCF,)), lia)
    expected = make_request()
    expected.prepend("Route", route)
    assert asked == [LocationInfoRequest(BOB)]
    assert actions == [Forward((Branch(expected),))]


@pytest.mark.parametrize(
    ("uri", "impus"),
    [
        pytest.param(BOB, [BOB], id="IC-09 a SIP URI has one form"),
        pytest.param(f"sip:bob@{DOMAIN.upper()}:5060;x=1", [f"sip:bob@{DOMAIN}"], id="IC-07 canonical SIP URI"),
        pytest.param(f"sips:bob@{DOMAIN}", [f"sip:bob@{DOMAIN}"], id="IC-07 SIPS names the same user"),
        pytest.param(
            "tel:+1-555(000)0002",
            ["tel:+15550000002", f"sip:15550000002@{DOMAIN}", "tel:15550000002"],
            id="IC-09 tel URI without visual separators, then its other forms",
        ),
        pytest.param(
            f"sip:+15550000002@{DOMAIN};user=phone",
            ["tel:+15550000002", f"sip:+15550000002@{DOMAIN}", f"sip:15550000002@{DOMAIN}", "tel:15550000002"],
            id="IC-09 user=phone is asked for as tel URI first",
        ),
        pytest.param(
            f"sip:+15550000002@{DOMAIN}",
            [f"sip:+15550000002@{DOMAIN}", "tel:+15550000002", f"sip:15550000002@{DOMAIN}", "tel:15550000002"],
            id="IC-09 a + in the home domain is a number too",
        ),
        pytest.param(
            f"sip:15550000002;phone-context={DOMAIN}@{DOMAIN};user=phone",
            [
                f"tel:15550000002;phone-context={DOMAIN}",
                f"sip:15550000002;phone-context={DOMAIN}@{DOMAIN}",
                f"sip:15550000002@{DOMAIN}",
                "tel:15550000002",
                "tel:+15550000002",
            ],
            id="IC-09 local number with phone-context",
        ),
        pytest.param(
            f"sip:15550000002@{DOMAIN};user=phone",
            [BOB, "tel:15550000002", "tel:+15550000002"],
            id="IC-09 local number without phone-context",
        ),
        pytest.param("tel:*123%23;phone-context=x", None, id="IC-09 malformed number"),
        pytest.param("tel:*123#;phone-context=x", ["tel:*123#;phone-context=x"], id="IC-09 service code"),
        pytest.param("sip:+1555@other.example", ["sip:+1555@other.example"], id="IC-09 a + elsewhere is a name"),
    ],
)
def test_asks_for_the_identity_in_all_its_forms(run: Run, uri: str, impus: list[str] | None) -> None:
    request = make_request(uri=uri)
    if impus is None:
        with pytest.raises(ParseError):
            run(request)
        return
    asked, actions = run(request, *[UNKNOWN] * len(impus))
    assert asked == [LocationInfoRequest(impu) for impu in impus]
    reason = "HSS answers LIR with USER_UNKNOWN (5001)"
    assert actions == refused(request, 404, reason, step="LIR", impu=impus[0])


def test_number_found_in_another_form(run: Run) -> None:
    """IC-09: the Request-URI stays as it was dialled."""
    asked, actions = run(make_request(uri="tel:+15550000002"), NOT_STORED, FOUND)
    expected = make_request(uri="tel:+15550000002")
    expected.prepend("Route", f"<{SCSCF};lr>")
    assert asked == [LocationInfoRequest("tel:+15550000002"), LocationInfoRequest(BOB)]
    assert actions == [Forward((Branch(expected),))]


@pytest.mark.parametrize(
    ("lia", "status", "reason"),
    [
        pytest.param(UNKNOWN, 404, "HSS answers LIR with USER_UNKNOWN (5001)", id="IC-10 unknown"),
        pytest.param(
            LocationInfoAnswer(Result.IDENTITY_NOT_REGISTERED),
            480,
            "HSS answers LIR with IDENTITY_NOT_REGISTERED (5003)",
            id="IC-10 not registered",
        ),
        pytest.param(NOT_STORED, 480, "not registered", id="IC-10 Open5GS 2004 without capabilities"),
        pytest.param(
            LocationInfoAnswer(Result.UNREGISTERED_SERVICE, None, ServerCapabilities(frozenset({9}))),
            480,
            "no S-CSCF for this user",
            id="IC-08 nobody has the capability",
        ),
        pytest.param(
            LocationInfoAnswer(Result.TOO_BUSY), 480, "HSS answers LIR with TOO_BUSY (3004)", id="IC-10 HSS too busy"
        ),
    ],
)
def test_refusal_by_the_hss(run: Run, lia: LocationInfoAnswer, status: int, reason: str) -> None:
    request = make_request()
    _, actions = run(request, lia)
    assert actions == refused(request, status, reason, step="LIR", impu=BOB)


def test_form_that_the_hss_knows_decides(run: Run) -> None:
    """IC-10: 480 for a user who exists, whatever the HSS says of the number's other forms."""
    request = make_request(uri="tel:+15550000002")
    _, actions = run(request, UNKNOWN, NOT_STORED, UNKNOWN)
    assert actions == refused(request, 480, "not registered", step="LIR", impu=BOB)


def test_hss_unavailable(run: Run) -> None:
    """IC-10."""
    request = make_request()
    _, actions = run(request, PeerUnavailable("hss.ims", "connection refused"))
    peer = "hss.ims: connection refused"
    assert actions == refused(request, 504, "HSS unavailable", "warning", step="LIR", peer=peer, impu=BOB)


@pytest.mark.parametrize("method", ["INVITE", "MESSAGE", "ACK", "NONSENSE"])
def test_further_route_is_followed(run: Run, method: str) -> None:
    _, actions = run(make_request(method, routes=(ICSCF, "<sip:127.0.9.9;lr>")))
    assert actions == [Forward((Branch(make_request(method, routes=("<sip:127.0.9.9;lr>",))),))]


@pytest.mark.parametrize("method", ["BYE", "ACK"])
def test_request_within_a_dialog_is_not_looked_up(run: Run, method: str) -> None:
    request = make_request(method, "sip:bob@127.0.2.2:5060", routes=(ICSCF,), to_tag="b")
    _, actions = run(request)
    assert actions == [Forward((Branch(make_request(method, "sip:bob@127.0.2.2:5060", to_tag="b")),))]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        pytest.param(make_request("BYE", f"sip:{DOMAIN}", to_tag="b"), 481, id="BYE to the domain"),
        pytest.param(make_request("BYE", "sip:127.0.1.11", to_tag="b"), 481, id="BYE to the node"),
        pytest.param(make_request("BYE", "sip:x@127.0.1.11", to_tag="b"), 481, id="BYE to somebody at the node"),
        pytest.param(make_request("BYE", "tel:+1555", to_tag="b"), 481, id="BYE to a number"),
    ],
)
def test_addressed_to_this_node(run: Run, request_: Request, status: int) -> None:
    _, actions = run(request_)
    assert actions == [Respond(request_, status)]


@pytest.mark.parametrize("uri", [f"sip:icscf.{DOMAIN}", f"sip:{DOMAIN}", "sip:127.0.1.11"])
@pytest.mark.parametrize("method", ["OPTIONS", "INVITE", "NONSENSE"])
def test_node_serves_options_only(run: Run, method: str, uri: str) -> None:
    request = make_request(method, uri)
    _, actions = run(request)
    assert actions == answer_for_node(request)


@pytest.mark.parametrize("uri", ["sip:127.0.1.11", "sip:x@127.0.1.11"])
def test_ack_that_leads_nowhere_is_dropped(run: Run, uri: str) -> None:
    _, actions = run(make_request("ACK", uri, to_tag="b"))
    assert actions == []


def test_other_scheme(run: Run) -> None:
    """The runtime answers the error's status, 416."""
    with pytest.raises(ParseError) as fault:
        run(make_request(uri="urn:service:sos"))
    assert fault.value.status == 416


def test_there_are_no_timers(icscf: ICscf) -> None:
    assert icscf.on_event(Started(0.0)) == icscf.on_event(TimerFired("x", 0.0)) == []
