"""Calls, messages and dialogs at the P-CSCF (TS 24.229 5.2.6 to 5.2.8); their media are in test_qos.py."""

from typing import Any, Final

import pytest

from opencscf.common.actions import Branch, Forward, RecordRoute, Relay, Report, Respond, SetTimer
from opencscf.common.errors import ParseError
from opencscf.common.events import Started, TimerFired
from opencscf.common.ims.options import answer_for_node
from opencscf.common.sip.flow import Flow, Transport
from opencscf.pcscf.session import FromUe, TowardsUe
from opencscf.pcscf.state import dialog_token

STORY: Final[dict[str, str | int | float | None]] = {
    "call_id": "call-1",
    "impu": "sip:alice@ims.test",
    "side": "originating",
}
PROXY = ("Route", "<sip:pcscf.ims.test;lr>")


def forward_of(actions: Any) -> Any:
    (forward,) = (action for action in actions if isinstance(action, Forward))
    return forward


def sent_of(actions: Any) -> Any:
    (branch,) = forward_of(actions).branches
    return branch.request


def events_of(actions: Any) -> list[str]:
    return [action.event for action in actions if isinstance(action, Report)]


def refusal(request: Any, status: int, reason: str, *headers: tuple[str, str], impu: str = "sip:alice@ims.test") -> Any:
    host, port = request.flow.remote
    fields = {
        "call_id": request.call_id, "cseq": str(request.cseq), "impu": impu, "peer": f"{host}:{port}",
        "status": status, "reason": reason,
    }  # fmt: skip
    return [Respond(request, status, reason, headers), Report("request-refused", fields, "warning")]


# ---------------------------------------------------------------------- from the UE


def test_message_of_the_ue_goes_to_its_scscf(world: Any) -> None:
    """PT-01 PT-02 PT-03 PT-04 PT-07: the whole of it."""
    world.registered()
    request = world.request("MESSAGE", PROXY, ("Route", world.service_route), ("P-Preferred-Service", "urn:x"))
    actions = world.receive(request)
    sent = sent_of(actions)
    expected = request.copy()
    expected.set("Route", world.service_route)
    expected.append("P-Asserted-Identity", "<sip:alice@ims.test>")
    expected.append("P-Charging-Vector", sent.get("P-Charging-Vector"))
    assert actions == [Forward((Branch(expected),), None, TowardsUe(request))]
    assert sent.get("P-Charging-Vector").endswith(";icid-generated-at=192.0.2.10")


def test_security_agreement_stays_between_ue_and_pcscf(world: Any) -> None:
    """PA-03: outside and within dialogs."""
    token = world.registered().token
    agreement = [("Require", "sec-agree, 100rel"), ("Proxy-Require", "Sec-Agree"), ("Security-Verify", "ipsec-3gpp")]
    for request in (world.request("INVITE", *agreement), world.request("BYE", within(token, "ue"), *agreement, to=TO)):
        sent = sent_of(world.receive(request))
        assert sent.values("Require") == ["100rel"]
        assert not sent.has("Proxy-Require")
        assert not sent.has("Security-Verify")


def test_each_request_has_its_own_icid(world: Any) -> None:
    """PT-04."""
    world.registered()
    vectors = {sent_of(world.receive(world.request("MESSAGE"))).get("P-Charging-Vector") for _ in range(3)}
    assert len(vectors) == 3


@pytest.mark.parametrize(
    ("preferred", "asserted"),
    [
        pytest.param(None, "<sip:alice@ims.test>", id="PT-02 the default identity"),
        pytest.param("<tel:+1-555-510>", "<tel:+1555510>", id="PT-02 the preferred one, as it is registered"),
        pytest.param('"A" <sip:bob@ims.test>', "<sip:alice@ims.test>", id="PT-02 somebody else's"),
        pytest.param("<sip:bob@ims.test>, <tel:+1555510>", "<tel:+1555510>", id="PT-02 the first that is registered"),
    ],
)
def test_identity_is_asserted(world: Any, preferred: str | None, asserted: str) -> None:
    world.registered("alice", ("P-Associated-URI", "<sip:alice@ims.test>, <tel:+1555510>"))
    headers = [("P-Preferred-Identity", preferred)] if preferred else []
    sent = sent_of(world.receive(world.request("MESSAGE", ("P-Asserted-Identity", "<sip:eve@ims.test>"), *headers)))
    assert sent.get_all("P-Asserted-Identity") == [asserted]
    assert not sent.has("P-Preferred-Identity")


@pytest.mark.parametrize("name", ["P-Charging-Function-Addresses", "P-Served-User", "P-Called-Party-ID"])
def test_what_only_the_network_says_is_removed(world: Any, name: str) -> None:
    """PG-01."""
    world.registered()
    assert not sent_of(world.receive(world.request("MESSAGE", (name, "x")))).has(name)


@pytest.mark.parametrize(
    "routes",
    [
        pytest.param(["<sip:orig@scscf.ims.test:5060;lr>"], id="PT-03 the right one"),
        pytest.param([], id="PT-03 none"),
        pytest.param(["<sip:192.0.2.10:5060;lr>"], id="PT-03 only our own"),
        pytest.param(["<sip:evil.test;lr>"], id="PT-03 another one"),
        pytest.param(["<sip:orig@scscf.ims.test:5060;lr>, <sip:evil.test;lr>"], id="PT-03 one more"),
        pytest.param(["<sip:evil.test;lr>, <sip:192.0.2.10;lr>"], id="PT-03 our own is not the first"),
        pytest.param(
            ["<sip:ue.00@192.0.2.10;lr>, <sip:evil.test;lr>"], id="PT-03 a dialog's route outside of a dialog"
        ),
    ],
)
def test_service_route_is_enforced(world: Any, routes: list[str]) -> None:
    world.registered()
    sent = sent_of(world.receive(world.request("MESSAGE", *(("Route", route) for route in routes))))
    assert sent.values("Route") == [world.service_route]


def test_route_that_is_no_sip_uri_is_malformed(world: Any) -> None:
    world.registered()
    with pytest.raises(ParseError):
        world.receive(world.request("MESSAGE", ("Route", "<tel:+1>")))


def test_right_service_route_stays_as_it_was_written(world: Any) -> None:
    """PT-03: equal is what means the same."""
    world.registered()
    sent = sent_of(world.receive(world.request("MESSAGE", ("Route", "<sip:orig@SCSCF.ims.test:5060;lr;x=1>"))))
    assert sent.values("Route") == ["<sip:orig@SCSCF.ims.test:5060;lr;x=1>"]


def test_registrar_without_service_route(world: Any) -> None:
    world.registered("alice", ("Service-Route", ""))
    assert sent_of(world.receive(world.request("MESSAGE"))).values("Route") == ["<sip:icscf.ims.test:5060;lr>"]


@pytest.mark.parametrize("method", ["INVITE", "SUBSCRIBE", "REFER"])
def test_record_route_of_requests_that_form_dialogs(world: Any, method: str) -> None:
    """PT-04."""
    token = world.registered().token
    actions = world.receive(world.request(method))
    assert forward_of(actions).record_route == RecordRoute(f"ue.{dialog_token(token)}", f"net.{dialog_token(token)}")


@pytest.mark.parametrize("method", ["MESSAGE", "OPTIONS", "PUBLISH", "NOTIFY", "UNHEARDOF"])
def test_no_record_route_of_standalone_requests(world: Any, method: str) -> None:
    """PT-07."""
    world.registered()
    assert forward_of(world.receive(world.request(method))).record_route is None


def test_unregistered_ue_is_refused(world: Any) -> None:
    """PT-08."""
    request = world.request("INVITE")
    assert world.receive(request) == refusal(request, 403, "not registered")


@pytest.mark.parametrize("uri", ["urn:service:sos", "URN:service:sos.police"])
def test_emergency_call_is_refused_in_plain_words(world: Any, uri: str) -> None:
    """PS-02: whether the UE is registered or not; the phone tries another way then."""
    world.registered()
    for flow in (world.ue, EVE):
        request = world.request("INVITE", uri=uri, flow=flow)
        assert world.receive(request) == refusal(request, 403, "emergency calls are not served here")


def test_deregistered_ue_is_refused(world: Any) -> None:
    """PT-08."""
    world.registered()
    register = world.register(world.credentials(), expires=0)
    world.drive(world.receive(register), world.accept(register, ("Contact", "")))
    request = world.request("MESSAGE")
    assert world.receive(request) == refusal(request, 403, "not registered")


def test_many_users_on_one_flow_are_told_apart(world: Any) -> None:
    """PT-02 PT-08."""
    world.registered("alice")
    world.registered("bob")
    assert (
        sent_of(world.receive(world.request("MESSAGE", user="bob"))).get("P-Asserted-Identity") == "<sip:bob@ims.test>"
    )
    stranger = world.request("MESSAGE", user="carol")
    assert world.receive(stranger) == refusal(stranger, 403, "not registered", impu="sip:carol@ims.test")


def test_dialog_that_does_not_lead_through_here_is_refused(world: Any) -> None:
    """PT-06."""
    world.registered()
    request = world.request("BYE", to="<sip:bob@ims.test>;tag=callee")
    assert world.receive(request) == refusal(request, 481, "a dialog whose route does not lead through here")


@pytest.mark.parametrize("headers", [[], [PROXY]])
def test_keep_alive_is_answered(world: Any, headers: list[tuple[str, str]]) -> None:
    request = world.request("OPTIONS", *headers, uri="sip:192.0.2.10")
    assert world.receive(request) == answer_for_node(request)


@pytest.mark.parametrize("method", ["INVITE", "UNHEARDOF"])
def test_node_serves_options_only(world: Any, method: str) -> None:
    """RFC 3261 8.2.1: 405, whoever asks."""
    request = world.request(method, uri="sip:192.0.2.10")
    assert world.receive(request) == answer_for_node(request)


def test_options_to_somebody_else_is_no_keep_alive(world: Any) -> None:
    for uri in ("tel:+15550001", "urn:service:counseling", "sip:192.0.2.66"):
        request = world.request("OPTIONS", uri=uri)
        assert world.receive(request) == refusal(request, 403, "not registered")
    request = world.request("OPTIONS", ("Route", "<sip:evil.test;lr>"), uri="sip:192.0.2.10")
    assert world.receive(request) == refusal(request, 403, "not registered")


def test_room_for_calls_ends(world: Any) -> None:
    token = world.registered().token
    for number in range(3):
        request = world.request("INVITE", call_id=f"c{number}")
        forward_of(world.receive(request)).on_response(world.answer(request, 180), world.now)
    for request in (world.request("INVITE"), world.request("INVITE", path(token), flow=world.scscf)):
        assert world.receive(request) == refusal(request, 503, "too many calls", ("Retry-After", "10"))
    assert events_of(world.receive(world.request("MESSAGE"))) == []


# ---------------------------------------------------------------------- responses to the UE


@pytest.mark.parametrize(
    ("privacy", "shown"),
    [pytest.param("id", False, id="PT-12 hidden"), pytest.param("none", True, id="PT-12 shown")],
)
def test_responses_to_the_ue(world: Any, privacy: str, *, shown: bool) -> None:
    """PG-01 PT-12."""
    world.registered()
    request = world.request("MESSAGE")
    handler = forward_of(world.receive(request)).on_response
    identity = [("P-Asserted-Identity", "<sip:bob@ims.test>")]
    common = [("Privacy", privacy)]
    response = world.answer(request, 200, *identity, *common, ("P-Charging-Vector", "icid-value=1"))
    expected = world.answer(request, 200, *(identity if shown else []), *common)
    assert handler(response, world.now) == [Relay(expected)]


def test_503_of_the_core_is_not_ours(world: Any) -> None:
    """RFC 3261 16.7 step 6: the UE would think that we cannot serve it."""
    world.registered()
    request = world.request("MESSAGE")
    handler = forward_of(world.receive(request)).on_response
    assert handler(world.answer(request, 503), world.now) == [Respond(request, 500, "Next Hop Unavailable")]
    wait = ("Retry-After", "7")
    assert handler(world.answer(request, 503, wait), world.now) == [
        Respond(request, 500, "Next Hop Unavailable", (wait,))
    ]


# ---------------------------------------------------------------------- to the UE


def path(token: str) -> tuple[str, str]:
    return "Route", f"<sip:{token}@192.0.2.10:5060;lr>"


def test_message_to_the_ue_goes_down_its_flow(world: Any) -> None:
    """PT-01 PT-09 PT-10 PG-01: the whole of it."""
    binding = world.registered()
    called = ("P-Called-Party-ID", "<tel:+1555510>")
    request = world.request(
        "MESSAGE", path(binding.token), called, ("P-Charging-Vector", "icid-value=1"),
        ("P-Asserted-Identity", "<sip:bob@ims.test>"), flow=world.scscf, user="bob",
    )  # fmt: skip
    expected = request.copy()
    expected.remove("Route")
    expected.remove("P-Charging-Vector")
    handler = FromUe(request, "tel:+1555510")
    assert world.receive(request) == [Forward((Branch(expected, flow=world.ue),), None, handler)]


def test_ue_that_registered_from_another_port(world: Any) -> None:
    """PT-09: requests go to where its Contact says that it listens, outside and within dialogs."""
    flow = world.ue._replace(remote=("192.0.2.101", 40000))
    register = world.register(world.credentials(), ("Contact", "<sip:192.0.2.101:5060>;expires=600"), flow=flow)
    world.drive(world.receive(register), world.accept(register))
    (token,) = (binding.token for binding in world.registrations)
    for request in (
        world.request("INVITE", path(token), flow=world.scscf),
        world.request("BYE", within(token, "net"), to=TO, flow=world.scscf),
    ):
        (branch,) = forward_of(world.receive(request)).branches
        assert branch.flow.remote == ("192.0.2.101", 5060)


@pytest.mark.parametrize("method", ["INVITE", "SUBSCRIBE", "REFER"])
def test_record_route_towards_the_ue(world: Any, method: str) -> None:
    """PT-09."""
    token = world.registered().token
    actions = world.receive(world.request(method, path(token), flow=world.scscf))
    assert forward_of(actions).record_route == RecordRoute(f"net.{dialog_token(token)}", f"ue.{dialog_token(token)}")


def test_record_route_does_not_tell_the_path(world: Any) -> None:
    """PT-01: the other UE sees Record-Route, and must not be able to send requests past its own network with it."""
    token = world.registered().token
    request = world.request("INVITE", path(dialog_token(token)), flow=world.scscf)
    assert world.receive(request) == refusal(request, 404, "no registration for this Path")
    assert token not in str(forward_of(world.receive(world.request("INVITE"))).record_route)


def test_unknown_path_token(world: Any) -> None:
    """PT-01."""
    request = world.request("INVITE", path("0123456789"), flow=world.scscf)
    assert world.receive(request) == refusal(request, 404, "no registration for this Path")


def test_ue_cannot_use_the_path_of_another_one(world: Any) -> None:
    """PT-01: a token that somebody saw in a Record-Route is of no use to him."""
    token = world.registered().token
    eve = Flow(Transport.UDP, world.ue.local, ("192.0.2.66", 5060))
    world.registered("eve", flow=eve)
    request = world.request("MESSAGE", path(token), flow=eve, user="eve")
    reason = "a UE does not use the Path of another one"
    assert world.receive(request) == refusal(request, 403, reason, impu="sip:eve@ims.test")


@pytest.mark.parametrize(
    ("called", "asserted"),
    [
        pytest.param("<tel:+1555510>", "<tel:+1555510>", id="PT-10 by the identity that was called"),
        pytest.param(
            "<sip:eve@ims.test>", "<sip:alice@ims.test>", id="PT-10 not by an identity that is not the user's"
        ),
        pytest.param(None, "<sip:alice@ims.test>", id="PT-10 by the default identity"),
    ],
)
@pytest.mark.parametrize("status", [180, 200])
def test_responses_of_the_ue_are_asserted(world: Any, called: str | None, asserted: str, status: int) -> None:
    token = world.registered().token
    headers = [("P-Called-Party-ID", called)] if called else []
    request = world.request("MESSAGE", path(token), *headers, flow=world.scscf)
    handler = forward_of(world.receive(request)).on_response
    lies = [("P-Asserted-Identity", "<sip:eve@ims.test>"), ("P-Charging-Vector", "icid-value=9")]
    response = world.answer(request, status, *lies, ("P-Preferred-Identity", "<sip:alice@ims.test>"))
    expected = world.answer(request, status)
    expected.append("P-Asserted-Identity", asserted)
    assert handler(response, world.now) == [Relay(expected)]


def test_a_flow_that_is_gone(world: Any) -> None:
    """RFC 5626 5.3.1: another flow of the same UE may still do."""
    gone = world.request("INVITE", ("Route", "<sip:gone@192.0.2.10;lr;ob>"), flow=world.scscf)
    assert world.receive(gone) == refusal(gone, 430, "no registration for this Path")
    token = world.registered().token
    invite = world.request("INVITE", ("Route", f"<sip:{token}@192.0.2.10;lr;ob>"), flow=world.scscf)
    handler = forward_of(world.receive(invite)).on_response
    assert handler(world.answer(invite, 503), world.now)[0] == Respond(invite, 430)


@pytest.mark.parametrize("status", [100, 302, 404, 603])
def test_other_responses_of_the_ue_assert_nothing(world: Any, status: int) -> None:
    """PT-10 PG-01."""
    token = world.registered().token
    request = world.request("MESSAGE", path(token), flow=world.scscf)
    handler = forward_of(world.receive(request)).on_response
    response = world.answer(request, status, ("P-Asserted-Identity", "<sip:eve@ims.test>"))
    assert handler(response, world.now) == [Relay(world.answer(request, status))]


def test_ue_that_cannot_be_reached(world: Any) -> None:
    """PT-11: there is no other way to it."""
    token = world.registered().token
    request = world.request("MESSAGE", path(token), flow=world.scscf)
    handler = forward_of(world.receive(request)).on_response
    assert handler(world.answer(request, 503), world.now) == [Respond(request, 480)]


# ---------------------------------------------------------------------- within dialogs

TO = "<sip:bob@ims.test>;tag=callee"


def within(token: str, side: str) -> tuple[str, str]:
    token = dialog_token(token)
    first, second = ("ue", "net") if side == "ue" else ("net", "ue")
    further = ", <sip:scscf.ims.test;lr>" if side == "ue" else ""
    return "Route", f"<sip:{first}.{token}@192.0.2.10:5060;lr>, <sip:{second}.{token}@192.0.2.10:5060;lr>{further}"


@pytest.mark.parametrize("method", ["INVITE", "UPDATE", "PRACK", "BYE", "INFO", "MESSAGE", "SUBSCRIBE", "NOTIFY"])
def test_request_of_the_ue_within_a_dialog(world: Any, method: str) -> None:
    """PT-06 PG-01: by the dialog's route, without what a UE cannot say."""
    token = world.registered().token
    lies = [("P-Asserted-Identity", "<sip:eve@ims.test>"), ("P-Preferred-Identity", "<sip:eve@ims.test>")]
    request = world.request(method, within(token, "ue"), *lies, to=TO)
    expected = world.request(method, ("Route", "<sip:scscf.ims.test;lr>"), ("Via", request.get("Via")), to=TO)
    actions = world.receive(request)
    sent = sent_of(actions)
    assert sorted(bytes(sent).split(b"\r\n")) == sorted(bytes(expected).split(b"\r\n"))
    assert actions == [Forward((Branch(sent),), None, TowardsUe(request))]


@pytest.mark.parametrize("method", ["INVITE", "BYE", "NOTIFY"])
def test_request_to_the_ue_within_a_dialog(world: Any, method: str) -> None:
    """PT-01 PG-01."""
    token = world.registered().token
    request = world.request(
        method, within(token, "net"), ("P-Charging-Vector", "icid-value=1"), to=TO, flow=world.scscf
    )
    actions = world.receive(request)
    sent = sent_of(actions)
    assert not sent.has("Route")
    assert not sent.has("P-Charging-Vector")
    assert actions == [Forward((Branch(sent, flow=world.ue),), None, FromUe(request))]
    answer = world.answer(request, 200, ("P-Asserted-Identity", "<sip:eve@ims.test>"))
    assert actions[0].on_response(answer, world.now) == [Relay(world.answer(request, 200))]


@pytest.mark.parametrize("side", ["ue", "net"])
def test_ack_is_passed_without_waiting_for_an_answer(world: Any, side: str) -> None:
    token = world.registered().token
    flow = world.ue if side == "ue" else world.scscf
    actions = world.receive(world.request("ACK", within(token, side), to=TO, flow=flow))
    assert actions == [Forward((Branch(sent_of(actions), flow=None if side == "ue" else world.ue),))]


EVE = Flow(Transport.UDP, ("192.0.2.10", 5060), ("192.0.2.66", 5060))


@pytest.mark.parametrize("method", ["BYE", "INVITE"])
def test_stranger_in_a_dialog(world: Any, method: str) -> None:
    """PT-06."""
    token = world.registered().token
    request = world.request(method, within(token, "ue"), to=TO, flow=EVE)
    assert world.receive(request) == refusal(request, 403, "not a party of the dialog")


def test_party_of_the_dialog_with_a_new_connection(world: Any) -> None:
    """PT-06: TCP was opened anew."""
    token = world.registered().token
    flow = Flow(Transport.TCP, world.ue.local, ("192.0.2.101", 40000), connection=3)
    assert sent_of(world.receive(world.request("INFO", within(token, "ue"), to=TO, flow=flow)))


def test_ue_on_the_core_side_of_a_dialog(world: Any) -> None:
    """PT-01 PT-06."""
    token = world.registered().token
    world.registered("eve", flow=EVE)
    request = world.request("BYE", within(token, "net"), to=TO, flow=EVE)
    assert world.receive(request) == refusal(request, 403, "a UE does not use the core's side of a dialog")


@pytest.mark.parametrize("side", ["ue", "net"])
def test_dialog_of_a_registration_that_is_over(world: Any, side: str) -> None:
    request = world.request("BYE", within("gone", side), to=TO)
    reason = "the registration that the dialog was made with is over"
    assert world.receive(request) == refusal(request, 481, reason)


@pytest.mark.parametrize("side", ["ue", "net"])
def test_call_that_outlives_its_registration_can_be_hung_up(world: Any, side: str) -> None:
    """PC-02 PC-03: for some time, so that the other side hears of its end; nothing else can be done with it."""
    binding = world.registered()
    invite = world.request("INVITE")
    forward_of(world.receive(invite)).on_response(world.answer(invite, 200), world.now)
    register = world.register(world.credentials(), expires=0)
    _, actions = world.drive(world.receive(register), world.accept(register))
    (timer,) = (action for action in actions if isinstance(action, SetTimer))
    flow = world.ue if side == "ue" else world.scscf
    assert sent_of(world.receive(world.request("BYE", within(binding.token, side), to=TO, flow=flow)))
    reason = "the registration that the dialog was made with is over"
    update = world.request("UPDATE", within(binding.token, side), to=TO, flow=flow)
    assert world.receive(update) == refusal(update, 481, reason)
    stranger = world.request("BYE", within(binding.token, "ue"), to=TO, flow=EVE)
    assert world.receive(stranger) == refusal(stranger, 403, "not a party of the dialog")
    assert world.core.on_event(TimerFired(timer.key, world.now + timer.delay_s)) == []
    late = world.request("BYE", within(binding.token, side), to=TO, flow=flow)
    assert world.receive(late) == refusal(late, 481, reason)


def test_user_hangs_up_from_a_new_address(world: Any) -> None:
    """PT-06: a UE whose address has changed registers anew, and ends the calls it had."""
    binding = world.registered()
    invite = world.request("INVITE")
    forward_of(world.receive(invite)).on_response(world.answer(invite, 200), world.now)
    moved = world.ue._replace(remote=("192.0.2.107", 5062))
    register = world.register(world.credentials(), flow=moved)
    world.drive(world.receive(register), world.accept(register))
    assert sent_of(world.receive(world.request("BYE", within(binding.token, "ue"), to=TO, flow=moved)))


def test_call_answered_after_its_registration_ended(world: Any) -> None:
    """RX-02: nothing is kept of it, for nobody could end it."""
    world.registered()
    invite = world.request("INVITE", body=b"v=0\r\n")
    handler = forward_of(world.receive(invite)).on_response
    register = world.register(world.credentials(), expires=0)
    world.drive(world.receive(register), world.accept(register))
    answer = world.answer(invite, 200, body=b"v=0\r\n")
    assert handler(answer, world.now) == [Relay(answer)]
    assert len(world.calls) == 0


def test_core_side_of_a_dialog_without_a_dialog(world: Any) -> None:
    """PT-01: only the Path leads an initial request to a UE."""
    token = world.registered().token
    request = world.request("INVITE", within(token, "net"), flow=world.scscf)
    assert world.receive(request) == refusal(request, 404, "no registration for this Path")


@pytest.mark.parametrize(
    "route",
    [
        pytest.param([], id="no route"),
        pytest.param([within("gone", "ue")], id="registration over"),
        pytest.param([path("gone")], id="unknown Path"),
    ],
)
def test_nothing_answers_an_ack(world: Any, route: list[tuple[str, str]]) -> None:
    assert world.receive(world.request("ACK", *route, to=TO)) == []


def test_ack_outside_of_a_dialog_goes_nowhere(world: Any) -> None:
    token = world.registered().token
    assert world.receive(world.request("ACK")) == []
    assert world.receive(world.request("ACK", path(token), flow=world.scscf)) == []


# ---------------------------------------------------------------------- the story of a call


def test_story_that_nobody_reads_is_not_told(new_world: Any, settings: str) -> None:
    world = new_world(f'{settings}[log]\nlevel = "warning"\n')
    token = world.registered().token
    invite = world.request("INVITE", to="<sip:bob@ims.test>")
    actions = world.receive(invite)
    ok = world.answer(invite, 200)
    assert forward_of(actions).on_response(ok, world.now) == [Relay(ok)]
    ended = world.receive(world.request("BYE", within(token, "ue"), to=TO))
    assert events_of(actions) == events_of(ended) == []
    assert len(world.calls) == 0
    assert events_of(world.receive(world.request("INVITE", to="<urn:service:sos>", uri="urn:service:sos"))) == [
        "request-refused"
    ]


def test_story_of_a_call(world: Any) -> None:
    """PC-03: started, answered, ended; nothing is left."""
    token = world.registered().token
    invite = world.request("INVITE", to="<sip:bob@ims.test>")
    actions = world.receive(invite)
    assert actions[1:] == [Report("call-started", {**STORY, "cseq": "1 INVITE", "to": "sip:bob@ims.test"})]
    handler = forward_of(actions).on_response
    assert len(world.calls) == 0, "what nobody has answered cannot leak"
    ringing, ok = world.answer(invite, 180), world.answer(invite, 200)
    assert handler(ringing, world.now) == [Relay(ringing)]
    assert len(world.calls) == 1
    assert handler(ok, world.now + 5) == [Relay(ok), Report("call-answered", STORY)]
    assert handler(ok, world.now + 6) == [Relay(ok)], "another leg of a forked call answers too"
    assert handler.back.request is None, "whoever waits for such an answer keeps no request"
    bye = world.request("BYE", within(token, "ue"), to=TO)
    actions = world.receive(bye, world.now + 65)
    assert actions[1:] == [Report("call-ended", {**STORY, "by": "ue", "lasted_s": 60.0})]
    assert len(world.calls) == 0
    assert events_of(world.receive(world.request("BYE", within(token, "ue"), to=TO))) == []


def test_peer_ends_a_call_to_the_ue(world: Any) -> None:
    """PC-03."""
    token = world.registered().token
    invite = world.request("INVITE", path(token), flow=world.scscf, user="bob")
    handler = forward_of(world.receive(invite)).on_response
    handler(world.answer(invite, 200), world.now)
    bye = world.request("BYE", within(token, "net"), to=TO, flow=world.scscf, user="bob")
    story = {**STORY, "side": "terminating"}
    assert world.receive(bye, world.now + 1)[1:] == [Report("call-ended", {**story, "by": "peer", "lasted_s": 1.0})]
    assert len(world.calls) == 0


@pytest.mark.parametrize("status", [404, 486, 487, 603])
def test_failed_call(world: Any, status: int) -> None:
    """PC-03: 487 is what a CANCEL leads to."""
    world.registered()
    invite = world.request("INVITE")
    handler = forward_of(world.receive(invite)).on_response
    handler(world.answer(invite, 180), world.now)
    failure = world.answer(invite, status, reason="Gone")
    assert handler(failure, world.now) == [
        Relay(failure),
        Report("call-failed", {**STORY, "status": status, "reason": "Gone"}),
    ]
    assert len(world.calls) == 0
    handler(world.answer(invite, 200), world.now)
    assert len(world.calls) == 0, "what comes too late does not bring it back"


@pytest.mark.parametrize("method", ["INFO", "MESSAGE", "NOTIFY", "REFER"])
def test_other_requests_do_not_change_the_call(world: Any, method: str) -> None:
    token = world.registered().token
    invite = world.request("INVITE")
    forward_of(world.receive(invite)).on_response(world.answer(invite, 200), world.now)
    actions = world.receive(world.request(method, within(token, "ue"), to=TO))
    assert [type(action) for action in actions] == [Forward]
    assert len(world.calls) == 1


def test_failed_reinvite_does_not_end_the_call(world: Any) -> None:
    """RFC 3261 14.1."""
    token = world.registered().token
    invite = world.request("INVITE")
    forward_of(world.receive(invite)).on_response(world.answer(invite, 200), world.now)
    again = world.request("INVITE", within(token, "ue"), to=TO)
    refused = world.answer(again, 488)
    assert forward_of(world.receive(again)).on_response(refused, world.now) == [Relay(refused)]
    assert len(world.calls) == 1


def test_call_ends_with_its_registration(world: Any) -> None:
    """PR-06 PC-03."""
    binding = world.registered()
    invite = world.request("INVITE")
    forward_of(world.receive(invite)).on_response(world.answer(invite, 200), world.now)
    timer, _ = world.core.on_event(Started(world.now))
    _, actions = world.drive(world.core.on_event(TimerFired(timer.key, binding.expires_at)))
    assert events_of(actions) == ["registration-expired", "call-ended"]
    assert actions[1].fields["reason"] == "registration-expired"
    assert len(world.calls) == 0


def test_call_that_fails_after_its_registration_ended(world: Any) -> None:
    """PC-03: its end is told once."""
    world.registered()
    invite = world.request("INVITE")
    handler = forward_of(world.receive(invite)).on_response
    handler(world.answer(invite, 180), world.now)
    register = world.register(world.credentials(), expires=0)
    world.drive(world.receive(register), world.accept(register))
    failure = world.answer(invite, 480)
    assert handler(failure, world.now) == [Relay(failure)]
