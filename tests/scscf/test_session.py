"""Requests other than REGISTER at the S-CSCF (TS 24.229 5.4.3, 5.4.4)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeAlias

import pytest

from opencscf.common.actions import Action, Branch, Forward, RecordRoute, Report, Respond
from opencscf.common.errors import ParseError
from opencscf.common.ims.options import answer_for_node
from opencscf.common.node.settings import LogLevel, LogSettings
from opencscf.common.sip.message import Request
from opencscf.diameter.cx import ServerAssignmentAnswer
from opencscf.diameter.results import Result

Registrar: TypeAlias = Any  # the classes of conftest.py, which cannot be imported
Ue: TypeAlias = Any

ORIG = "<sip:orig@scscf.ims.test:6060;lr>"
TERM = "<sip:scscf.ims.test:6060;lr>"
ICSCF = "<sip:icscf.ims.test:5060;lr>"
PATH = "<sip:token@pcscf.ims.test;lr>"
ALICE = "sip:15550000001@ims.test"
CONTACT = "sip:001010000000001@127.0.2.1:5060"
MO, MT = RecordRoute("mo", "mo"), RecordRoute("mt", "mt")
DONE = ServerAssignmentAnswer(Result.SUCCESS)


def make_request(
    method: str = "INVITE",
    uri: str = "sip:15550000002@ims.test",
    *,
    routes: tuple[str, ...] = (),
    asserted: str | None = f"<{ALICE}>",
    called: str | None = None,
    to_tag: str | None = None,
    event: str | None = None,
) -> Request:
    headers = [
        ("Via", "SIP/2.0/UDP 127.0.1.10:5060;branch=z9hG4bKp1"),
        ("Max-Forwards", "69"),
        ("From", f"<{ALICE}>;tag=a"),
        ("To", "<sip:15550000002@ims.test>" + (f";tag={to_tag}" if to_tag else "")),
        ("Call-ID", "call-1"),
        ("CSeq", f"1 {method}"),
    ]
    if asserted is not None:
        headers.append(("P-Asserted-Identity", asserted))
    if event is not None:
        headers.append(("Event", event))
    if called is not None:
        headers.append(("P-Called-Party-ID", called))
    request = Request.new(method, uri, headers)
    for route in reversed(routes):
        request.prepend("Route", route)
    return request


def refused(request: Request, status: int, reason: str, **more: str) -> list[Action]:
    about = {"call_id": "call-1", "cseq": request.get("CSeq"), "status": status, "reason": reason}
    return [Respond(request, status, reason), Report("refused", {**about, **more})]


def told(case: str, request: Request, **more: str | int) -> list[Action]:
    if request.method != "INVITE":
        return []
    return [Report(case, {"call_id": "call-1", "cseq": "1 INVITE", "to": request.uri, **more})]


@pytest.fixture
def registered(registrar: Registrar, ue: Ue) -> Registrar:
    registrar.register(ue, expires="600")
    return registrar


def test_story_that_nobody_reads_is_not_told(registrar: Registrar, ue: Ue) -> None:
    quiet = type(registrar)(replace(registrar.config, log=LogSettings(LogLevel.WARNING)))
    quiet.register(ue, expires="600")
    for route in (ORIG, TERM):
        _, (action,) = quiet.receive(make_request(uri=ALICE, routes=(route,)))
        assert isinstance(action, Forward)


# ---------------------------------------------------------------------- originating


@pytest.mark.parametrize(
    ("uri", "routes"),
    [
        pytest.param("sip:15550000002@ims.test", (ICSCF,), id="SS-07 home domain goes to the I-CSCF"),
        pytest.param("sip:bob@IMS.TEST;user=phone", (ICSCF,), id="SS-07 home domain in another case"),
        pytest.param("tel:+15550000002", (ICSCF,), id="SS-07 number goes to the I-CSCF"),
        pytest.param("tel:112;phone-context=ims.test", (ICSCF,), id="SS-07 local number goes to the I-CSCF"),
        pytest.param("sip:bob@other.example", (), id="SS-07 another domain goes to its entry point"),
    ],
)
@pytest.mark.parametrize(
    ("method", "record_route"),
    [
        pytest.param("INVITE", MO, id="SS-07 INVITE is record-routed"),
        pytest.param("SUBSCRIBE", MO, id="SS-07 SUBSCRIBE is record-routed"),
        pytest.param("REFER", MO, id="SS-07 REFER is record-routed"),
        pytest.param("MESSAGE", None, id="SS-07 MESSAGE is not"),
        pytest.param("NONSENSE", None, id="unknown method passes"),
    ],
)
def test_originating(
    registered: Registrar, uri: str, routes: tuple[str, ...], method: str, record_route: RecordRoute | None
) -> None:
    """SS-01: the Service-Route is ours and goes."""
    request = make_request(method, uri, routes=(ORIG,))
    asked, actions = registered.receive(request)
    expected = make_request(method, uri, routes=routes)
    assert asked == []
    assert actions == [Forward((Branch(expected),), record_route), *told("originating", request, impu=ALICE)]


@pytest.mark.parametrize(
    ("route", "is_originating"),
    [
        pytest.param(ORIG, True, id="SS-01 Service-Route"),
        pytest.param("<sip:127.0.1.12:6060;lr;orig>", True, id="SS-01 orig parameter"),
        pytest.param(TERM, False, id="SS-01 no mark"),
        pytest.param("<sip:mo@scscf.ims.test:6060;lr>", False, id="SS-01 Record-Route is no Service-Route"),
    ],
)
def test_session_case(registered: Registrar, route: str, *, is_originating: bool) -> None:
    _, actions = registered.receive(make_request(uri=ALICE, routes=(route,)))
    assert actions[1].event == ("originating" if is_originating else "terminating")


def test_further_route_of_an_originating_request_is_followed(registered: Registrar) -> None:
    request = make_request(routes=(ORIG, "<sip:as.ims.test;lr>"))
    _, actions = registered.receive(request)
    expected = make_request(routes=("<sip:as.ims.test;lr>",))
    assert actions == [Forward((Branch(expected),), MO), *told("originating", request, impu=ALICE)]


@pytest.mark.parametrize(
    ("asserted", "impu"),
    [
        pytest.param('"Alice" <sip:15550000001@IMS.test:5060>', ALICE, id="SS-02 SIP URI in canonical form"),
        pytest.param("<tel:+1-555-0000001>, <sip:x@y>", "tel:+15550000001", id="SS-02 the first of two"),
    ],
)
def test_caller_is_served(registered: Registrar, asserted: str, impu: str) -> None:
    request = make_request(routes=(ORIG,), asserted=asserted)
    _, actions = registered.receive(request)
    expected = make_request(routes=(ICSCF,), asserted=asserted)
    assert actions == [Forward((Branch(expected),), MO), *told("originating", request, impu=impu)]


@pytest.mark.parametrize(
    ("asserted", "reason", "impu"),
    [
        pytest.param(None, "no asserted identity", None, id="SS-02 nobody"),
        pytest.param(
            "<sip:bob@ims.test>", "caller is not registered or barred", "sip:bob@ims.test", id="SS-02 unknown"
        ),
        pytest.param(
            "<sip:001010000000001@ims.test>",
            "caller is not registered or barred",
            "sip:001010000000001@ims.test",
            id="SS-02 barred",
        ),
    ],
)
def test_caller_is_not_served(registered: Registrar, asserted: str | None, reason: str, impu: str | None) -> None:
    request = make_request(routes=(ORIG,), asserted=asserted)
    _, actions = registered.receive(request)
    assert actions == refused(request, 403, reason, step="originating", **({"impu": impu} if impu else {}))


def test_caller_whose_registration_has_expired(registered: Registrar) -> None:
    """SS-02."""
    registered.now += 600
    request = make_request(routes=(ORIG,))
    _, actions = registered.receive(request)
    assert actions == refused(request, 403, "caller is not registered or barred", step="originating", impu=ALICE)


def test_other_scheme(registered: Registrar) -> None:
    """The runtime answers the error's status, 416."""
    with pytest.raises(ParseError) as fault:
        registered.receive(make_request(uri="urn:service:sos", routes=(ORIG,)))
    assert fault.value.status == 416


# ---------------------------------------------------------------------- terminating


@pytest.mark.parametrize(
    ("uri", "impu"),
    [
        pytest.param(ALICE, ALICE, id="SS-10 SIP URI"),
        pytest.param("sip:15550000001@IMS.test:5060;x=y", ALICE, id="SS-10 SIP URI in canonical form"),
        pytest.param("sips:15550000001@ims.test", ALICE, id="SS-10 SIPS URI of the same user"),
        pytest.param("tel:+1-555-0000001", "tel:+15550000001", id="SS-10 tel URI"),
        pytest.param("sip:+15550000001@ims.test;user=phone", "tel:+15550000001", id="SS-10 user=phone"),
        pytest.param("tel:15550000001;phone-context=ims.test", ALICE, id="SS-10 number in another form"),
    ],
)
@pytest.mark.parametrize(
    ("method", "record_route"),
    [
        pytest.param("INVITE", MT, id="SS-07 INVITE is record-routed"),
        pytest.param("MESSAGE", None, id="SS-07 MESSAGE is not"),
    ],
)
def test_terminating(registered: Registrar, uri: str, impu: str, method: str, record_route: RecordRoute | None) -> None:
    """SS-10: contact, Path and P-Called-Party-ID."""
    request = make_request(method, uri, routes=(TERM,), called="<sip:forged@x>")
    asked, actions = registered.receive(request)
    expected = make_request(method, CONTACT, called=f"<{uri}>")
    expected.prepend("Route", PATH)
    assert asked == []
    assert actions == [
        Forward((Branch(expected),), record_route),
        *told("terminating", request, impu=impu, contacts=1),
    ]


def test_all_contacts_ring(registered: Registrar, ue: Ue, other_ue: Ue) -> None:
    """SS-11: at once if their q is the same, each along its own Path; also those of another UE with this identity."""
    credentials = ue.credentials(integrity_protected="yes")
    second = "<sip:second@127.0.2.3:5060;method=BYE;ob?Subject=x>;q=1.0"
    registered.receive(
        ue.register(3, authorization=credentials, contact=second, path=("<sip:a@p1;lr>", "<sip:p2;lr>")), DONE
    )
    third = replace(other_ue, impu=ue.impu, address="127.0.2.2:5060")
    registered.register(third, 2, path=())
    request = make_request(uri=ALICE, routes=(TERM,), called="<sip:forged@x>")
    _, actions = registered.receive(request)
    called = f"<{ALICE}>"
    branches = (
        Branch(make_request(uri=CONTACT, called=called)),
        Branch(make_request(uri="sip:second@127.0.2.3:5060;ob", called=called)),
        Branch(make_request(uri="sip:001010000000001@127.0.2.2:5060", called=called)),
    )
    branches[0].request.prepend("Route", PATH)
    branches[1].request.prepend("Route", "<sip:p2;lr>")
    branches[1].request.prepend("Route", "<sip:a@p1;lr>")
    assert actions == [Forward(branches, MT), *told("terminating", request, impu=ALICE, contacts=3)]


UE = "001010000000001"  # whose q is lower


@pytest.mark.parametrize(
    ("headers", "ringing"),
    [
        pytest.param([], ["desk mobile", UE], id="3261-16.6 by q"),
        pytest.param(
            [("Accept-Contact", '*;mobility="mobile";require;explicit')], ["mobile", UE], id="3841-7.2 the mobile phone"
        ),
        pytest.param([("Reject-Contact", "*;video")], ["mobile", UE], id="3841-7.2 no video phone"),
        pytest.param([("Request-Disposition", "parallel")], [f"desk mobile {UE}"], id="3841-9.1 all at once"),
        pytest.param([("Request-Disposition", "sequential")], ["desk", "mobile", UE], id="3841-9.1 one by one"),
        pytest.param(
            [("Request-Disposition", "sequential"), ("Accept-Contact", '*;mobility="mobile"')],
            ["mobile", "desk", UE],
            id="3841-9.1 one by one, by q and then as the caller wants",
        ),
        pytest.param([("Request-Disposition", "no-fork")], ["desk"], id="3841-9.1 the best contact only"),
        pytest.param(
            [("Request-Disposition", "redirect, recurse, queue")], ["desk mobile", UE], id="3841-9.1 not done"
        ),
        pytest.param(
            [("Request-Disposition", "no-fork"), ("Accept-Contact", '*;mobility="mobile"')],
            ["mobile"],
            id="3841-9.1 the best is whom the caller wants",
        ),
    ],
)
def test_who_rings_and_who_after_them(
    registered: Registrar, ue: Ue, headers: list[tuple[str, str]], ringing: list[str]
) -> None:
    """RFC 3840: a REGISTER tells what a contact can do; one that says nothing is never passed over."""
    contacts = (
        '<sip:desk@127.0.2.2>;video;mobility="fixed"',
        f"{ue.contact};q=0.5",
        '<sip:mobile@127.0.2.3>;mobility="mobile";q=1',
    )
    credentials = ue.credentials(integrity_protected="yes")
    registered.receive(ue.register(3, authorization=credentials, contact=", ".join(contacts)), DONE)
    request = make_request(uri=ALICE, routes=(TERM,))
    for name, value in headers:
        request.append(name, value)
    _, actions = registered.receive(request)
    forward = actions[0]
    turns = [forward.branches, *(forward.on_response.waiting if forward.on_response is not None else [])]
    assert [" ".join([branch.request.request_uri.user for branch in turn]) for turn in turns] == ringing


def test_callee_without_what_the_caller_wants(registered: Registrar, ue: Ue) -> None:
    """RFC 3841 7.2.4: that is the caller's choice, and 480 tells no more."""
    credentials = ue.credentials(integrity_protected="yes")
    registered.receive(ue.register(3, authorization=credentials, contact=f"{ue.contact};audio"), DONE)
    request = make_request(uri=ALICE, routes=(TERM,))
    request.append("Accept-Contact", "*;video;require;explicit")
    _, actions = registered.receive(request)
    reason = "caller wants none of callee's contacts"
    assert actions == refused(request, 480, reason, step="terminating", impu=ALICE)


def test_expired_contact_does_not_ring(registered: Registrar, ue: Ue) -> None:
    """Not even before its timer has fired."""
    credentials = ue.credentials(integrity_protected="yes")
    registered.receive(ue.register(3, authorization=credentials, contact="<sip:b@127.0.2.3>", expires="700"), DONE)
    registered.now += 650
    _, actions = registered.receive(make_request(uri=ALICE, routes=(TERM,)))
    assert [branch.request.uri for branch in actions[0].branches] == ["sip:b@127.0.2.3"]
    registered.now += 50
    request = make_request(uri=ALICE, routes=(TERM,))
    _, actions = registered.receive(request)
    assert actions == refused(request, 480, "callee's registration has expired", step="terminating", impu=ALICE)


@pytest.mark.parametrize(
    ("uri", "status", "reason", "impu"),
    [
        pytest.param(
            "sip:bob@ims.test", 480, "callee is not registered", "sip:bob@ims.test", id="SS-09 HSS sent it, nobody here"
        ),
        pytest.param("tel:+1999", 480, "callee is not registered", "tel:+1999", id="SS-09 number of nobody"),
        pytest.param(
            "sip:001010000000001@ims.test",
            404,
            "callee's identity is barred",
            "sip:001010000000001@ims.test",
            id="SS-08 barred",
        ),
    ],
)
def test_callee_is_not_served(registered: Registrar, uri: str, status: int, reason: str, impu: str) -> None:
    request = make_request(uri=uri, routes=(TERM,))
    _, actions = registered.receive(request)
    assert actions == refused(request, status, reason, step="terminating", impu=impu)


def test_further_route_of_another_request_is_followed(registered: Registrar) -> None:
    _, actions = registered.receive(make_request(uri=ALICE, routes=(TERM, "<sip:as.ims.test;lr>")))
    assert actions == [Forward((Branch(make_request(uri=ALICE, routes=("<sip:as.ims.test;lr>",))),))]


# ---------------------------------------------------------------------- the reg event package (5.4.2.1.1)


@pytest.mark.parametrize(
    ("route", "uri", "step"),
    [
        pytest.param(ORIG, ALICE, "originating", id="SE-01 a phone subscribes right after its registration"),
        pytest.param(ORIG, "tel:+15550000001", "originating", id="SE-01 by its number"),
        pytest.param(ORIG, "sip:001010000000001@ims.test", "originating", id="SE-01 by its barred identity"),
        pytest.param(TERM, ALICE, "terminating", id="SE-01 another node subscribes"),
    ],
)
def test_subscription_to_reg_is_for_the_scscf_itself(registered: Registrar, route: str, uri: str, step: str) -> None:
    """SE-01: it is no request to the user's contacts, one of which may have sent it."""
    request = make_request("SUBSCRIBE", uri, routes=(route,), event="reg;id=1")
    _, actions = registered.receive(request)
    assert [type(action) for action in actions] == [Respond, Report]
    assert actions[0] == Respond(request, 489, "no reg event notifier yet")
    assert actions[1].fields["step"] == step


@pytest.mark.parametrize(
    ("uri", "event"),
    [
        pytest.param(ALICE, "presence", id="another package"),
        pytest.param("sip:15550000002@ims.test", "reg", id="another user's state"),
    ],
)
def test_other_subscriptions_go_on(registered: Registrar, uri: str, event: str) -> None:
    request = make_request("SUBSCRIBE", uri, routes=(ORIG,), event=event)
    _, actions = registered.receive(request)
    assert actions == [Forward((Branch(make_request("SUBSCRIBE", uri, routes=(ICSCF,), event=event)),), MO)]


# ---------------------------------------------------------------------- subsequent


@pytest.mark.parametrize("method", ["BYE", "UPDATE", "INVITE", "ACK"])
@pytest.mark.parametrize(
    ("routes", "left"),
    [
        pytest.param(
            ("<sip:mo@scscf.ims.test:6060;lr>", "<sip:mt@scscf.ims.test:6060;lr>", PATH), (PATH,), id="SS-13 both sides"
        ),
        pytest.param(("<sip:mt@127.0.1.12:6060;lr>",), (), id="SS-13 last hop"),
        pytest.param((ORIG,), (), id="SS-13 no session case within a dialog"),
    ],
)
def test_subsequent_request(registered: Registrar, method: str, routes: tuple[str, ...], left: tuple[str, ...]) -> None:
    """SS-13: by Route only, no matter who is registered."""
    _, actions = registered.receive(make_request(method, CONTACT, routes=routes, to_tag="b", asserted=None))
    assert actions == [Forward((Branch(make_request(method, CONTACT, routes=left, to_tag="b", asserted=None)),))]


@pytest.mark.parametrize(
    ("request_", "actions"),
    [
        pytest.param(make_request("BYE", "sip:scscf.ims.test:6060", to_tag="b"), 481, id="BYE to the node"),
        pytest.param(make_request("BYE", "tel:+1999", to_tag="b"), 481, id="BYE that leads nowhere"),
        pytest.param(make_request("ACK", "sip:scscf.ims.test:6060", to_tag="b"), None, id="ACK to the node"),
    ],
)
def test_addressed_to_this_node(registered: Registrar, request_: Request, actions: int | None) -> None:
    expected = [] if actions is None else [Respond(request_, actions)]
    assert registered.receive(request_) == ([], expected)


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(make_request("OPTIONS", "sip:scscf.ims.test:6060"), id="OPTIONS to the node"),
        pytest.param(make_request("OPTIONS", "sip:127.0.1.12:6060", routes=(TERM,)), id="OPTIONS along our Route"),
        pytest.param(make_request("INVITE", "sip:scscf.ims.test:6060"), id="INVITE to the node"),
        pytest.param(make_request("NONSENSE", "sip:scscf.ims.test:6060"), id="an unknown method"),
    ],
)
def test_node_serves_options_only(registered: Registrar, request_: Request) -> None:
    assert registered.receive(request_) == ([], answer_for_node(request_))
