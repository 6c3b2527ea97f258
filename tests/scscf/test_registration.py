"""Registration after authentication at the S-CSCF (TS 24.229 5.4.1.2.2, 5.4.1.2.2F, 5.4.1.2.3)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from opencscf.common.actions import Action, Report, Respond, Save, SetTimer
from opencscf.common.errors import ParseError, PeerUnavailable
from opencscf.common.sip.message import Request, Response
from opencscf.diameter.cx import (
    ChargingInformation,
    ServerAssignmentAnswer,
    ServerAssignmentRequest,
    ServerAssignmentType,
)
from opencscf.diameter.results import Result
from opencscf.scscf.config import RegistrationTable

Registrar: TypeAlias = Any  # the classes of conftest.py, which cannot be imported
Ue: TypeAlias = Any

PROFILE = (Path(__file__).parent / "profiles" / "lab.xml").read_bytes()
SAA = ServerAssignmentAnswer(Result.SUCCESS, PROFILE)
DONE = ServerAssignmentAnswer(Result.SUCCESS)
KEY = "001010000000001@ims.test sip:001010000000001@ims.test"
PATH = "<sip:token@pcscf.ims.test;lr>"
OUTBOUND_PATH = ("<sip:token@pcscf.ims.test;lr;ob>",)
TAIL = (
    ("Service-Route", "<sip:orig@scscf.ims.test:6060;lr>"),
    ("P-Associated-URI", "<sip:15550000001@ims.test>, <tel:+1-555-000-0001>"),
)


def accepted(
    request: Request, ue: Ue, *contacts: str, path: tuple[str, ...] = (PATH,), timer_s: float | None = 600_000.0
) -> list[Action]:
    """What the S-CSCF does when the contacts of the request are registered."""
    headers = (*(("Contact", contact) for contact in contacts), *(("Path", hop) for hop in path), *TAIL)
    about = {"call_id": request.call_id, "cseq": request.get("CSeq"), "impi": ue.impi, "impu": ue.impu}
    expires_s = max(int(contact.rpartition("=")[2]) for contact in contacts)
    timers = [] if timer_s is None else [SetTimer(KEY, timer_s)]
    return [
        Respond(request, 200, headers=headers),
        *timers,
        Report("registered", {**about, "bindings": len(contacts), "expires_s": expires_s}),
    ]


def refused(
    request: Request,
    ue: Ue,
    status: int,
    reason: str,
    step: str,
    level: str = "info",
    headers: tuple[tuple[str, str], ...] = (),
    **more: str,
) -> list[Action]:
    about = {"call_id": request.call_id, "cseq": request.get("CSeq"), "status": status, "reason": reason, "step": step}
    return [
        Respond(request, status, reason, headers),
        Report("refused", {**about, "impi": ue.impi, "impu": ue.impu, **more}, level),
    ]


def refresh(ue: Ue, cseq: int, **how: Any) -> Request:
    """A REGISTER that needs no challenge."""
    request: Request = ue.register(cseq, authorization=ue.credentials(integrity_protected="yes"), **how)
    return request


def contacts(registrar: Registrar, ue: Ue) -> list[str]:
    registration = registrar.core._state.registration(ue.impi, ue.impu)
    return [binding.contact for binding in registration.live(registrar.now)] if registration else []


# ---------------------------------------------------------------------- registration


def test_registration(registrar: Registrar, ue: Ue) -> None:
    """SR-06 SR-07 SR-09 SR-10 CX-02 CX-08."""
    request = ue.register(2, authorization=ue.answer(registrar.challenge(ue)))
    asked, actions = registrar.receive(request, SAA)
    assert asked == [registrar.sar(ue, ServerAssignmentType.REGISTRATION)]
    assert actions == accepted(request, ue, f"{ue.contact};expires=600000")


def test_registration_is_durable_before_it_is_acknowledged(registrar: Registrar, ue: Ue) -> None:
    """Nobody is told, and nothing is remembered, before the record is on disk."""
    from opencscf.common.events import RequestReceived  # noqa: PLC0415  only here is the order of questions looked at

    request = ue.register(2, authorization=ue.answer(registrar.challenge(ue)))
    coroutine = registrar.core.on_event(RequestReceived(request, registrar.now)).coroutine
    coroutine.send(None)
    save = coroutine.send(SAA)
    assert isinstance(save, Save)
    assert (save.kind, save.key) == ("registration", KEY)
    assert contacts(registrar, ue) == []
    with pytest.raises(PeerUnavailable):
        coroutine.throw(PeerUnavailable("store", "disk full"))
    assert contacts(registrar, ue) == []


def test_any_identity_of_the_implicit_set_is_registered(registrar: Registrar, ue: Ue) -> None:
    """CX-08: a REGISTER for another identity of the set is a re-registration."""
    registrar.register(ue)
    alias = replace(ue, impu="sip:15550000001@ims.test", call_id="reg-2")
    request = refresh(alias, 1)
    asked, actions = registrar.receive(request, DONE)
    assert asked == [registrar.sar(alias, ServerAssignmentType.RE_REGISTRATION, has_data=True)]
    assert actions == accepted(request, alias, f"{ue.contact};expires=600000", timer_s=None)


def test_profile_of_a_reregistration_is_taken(registrar: Registrar, ue: Ue) -> None:
    """SR-06: PyHSS always sends it."""
    registrar.register(ue)
    profile = PROFILE.replace(b"tel:+1-555-000-0001", b"tel:+1-555-000-0009")
    _, actions = registrar.receive(refresh(ue, 3), ServerAssignmentAnswer(Result.SUCCESS, profile))
    assert ("P-Associated-URI", "<sip:15550000001@ims.test>, <tel:+1-555-000-0009>") in actions[0].headers
    state = registrar.core._state
    assert state.registrations("tel:+15550000009")
    assert not state.registrations("tel:+15550000001")


def test_what_the_registration_holds(registrar: Registrar, ue: Ue) -> None:
    """SR-06 SR-07: feature tags as they came, Path, visited network, charging functions."""
    contact = f'"Al, ice" <sip:{ue.user}@{ue.address};ob>;+sip.instance="<urn:uuid:1>";audio;q=0.5;expires=700'
    request = ue.register(
        2, authorization=ue.answer(registrar.challenge(ue)), contact=contact, path=("<sip:a@p1;lr>", "<sip:p2;lr>")
    )
    charging = ChargingInformation(primary_collection="pcrf")
    _, actions = registrar.receive(request, ServerAssignmentAnswer(Result.SUCCESS, PROFILE, charging))
    shown = f'"Al, ice" <sip:{ue.user}@{ue.address};ob>;+sip.instance="<urn:uuid:1>";audio;q=0.5;expires=700'
    assert actions == accepted(request, ue, shown, path=("<sip:a@p1;lr>", "<sip:p2;lr>"), timer_s=700.0)
    registration = registrar.core._state.registration(ue.impi, ue.impu)
    assert (registration.charging, registration.visited_network) == (charging, "ims.test")
    (binding,) = registration.bindings
    assert binding.path == ("<sip:a@p1;lr>", "<sip:p2;lr>")
    assert binding.expires_at == registrar.now + 700


# ---------------------------------------------------------------------- expiry


@pytest.mark.parametrize(
    ("contact", "expires", "granted_s"),
    [
        pytest.param("own", "600", 600, id="SR-07 as asked for"),
        pytest.param("<sip:001010000000001@127.0.2.1:5060>;expires=700", "600", 700, id="SR-07 contact's own"),
        pytest.param("own", None, 600_000, id="SR-07 default"),
        pytest.param("own", "4294967295", 600_000, id="SR-07 not more than the maximum"),
        pytest.param("own", "60", 60, id="SR-11 just long enough"),
        pytest.param("own", "soon", 3600, id="SR-07 malformed counts as an hour"),
    ],
)
def test_expiry(registrar: Registrar, ue: Ue, contact: str, expires: str | None, granted_s: int) -> None:
    actions = registrar.register(ue, contact=contact, expires=expires)
    assert actions[0].headers[0] == ("Contact", f"{ue.contact};expires={granted_s}")
    assert actions[1] == SetTimer(KEY, float(granted_s))


@pytest.mark.parametrize("contact", ["own", "<sip:x@127.0.2.1>;expires=59"])
def test_too_short_expiry(registrar: Registrar, ue: Ue, contact: str) -> None:
    """SR-11: and the challenge stays good for an attempt with more time."""
    challenge = registrar.challenge(ue)
    request = ue.register(2, authorization=ue.answer(challenge), contact=contact, expires="59")
    asked, actions = registrar.receive(request)
    assert asked == []
    assert actions == refused(request, ue, 423, "expires below 60 s", "contacts", headers=(("Min-Expires", "60"),))
    request = ue.register(3, authorization=ue.answer(challenge, nc="00000001"), expires="60")
    _, actions = registrar.receive(request, SAA)
    assert actions == accepted(request, ue, f"{ue.contact};expires=60", timer_s=60.0)


def test_an_hour_is_never_too_short(registrar: Registrar, config: Any, ue: Ue) -> None:
    """RFC 3261 10.3 step 7: whatever the operator wants."""
    strict = type(registrar)(replace(config, registration=RegistrationTable(min_expires_s=7200)))
    answer, *_ = strict.register(ue, expires="3600")
    assert (answer.status, answer.headers[0]) == (200, ("Contact", f"{ue.contact};expires=3600"))
    refusal, *_ = strict.receive(
        ue.register(3, authorization=ue.credentials(integrity_protected="yes"), expires="3599")
    )[1]
    assert (refusal.status, refusal.headers) == (423, (("Min-Expires", "7200"),))


# ---------------------------------------------------------------------- the HSS refuses


@pytest.mark.parametrize(
    ("saa", "status", "reason"),
    [
        pytest.param(
            ServerAssignmentAnswer(Result.USER_UNKNOWN),
            403,
            "HSS answers SAR with USER_UNKNOWN (5001)",
            id="SR-11 unknown",
        ),
        pytest.param(
            ServerAssignmentAnswer(Result.IDENTITY_ALREADY_REGISTERED),
            403,
            "HSS answers SAR with IDENTITY_ALREADY_REGISTERED (5005)",
            id="SR-11 PyHSS on an unknown user",
        ),
        pytest.param(
            ServerAssignmentAnswer(Result.IDENTITIES_DONT_MATCH),
            504,
            "HSS answers SAR with IDENTITIES_DONT_MATCH (5002)",
            id="SR-11 HSS that lost its state, the UE shall register anew",
        ),
        pytest.param(
            ServerAssignmentAnswer(Result.UNABLE_TO_COMPLY),
            480,
            "HSS answers SAR with UNABLE_TO_COMPLY (5012)",
            id="SR-11 HSS in trouble",
        ),
    ],
)
def test_hss_refuses(registrar: Registrar, ue: Ue, saa: ServerAssignmentAnswer, status: int, reason: str) -> None:
    """SR-11: no binding."""
    request = ue.register(2, authorization=ue.answer(registrar.challenge(ue)))
    _, actions = registrar.receive(request, saa)
    assert actions == refused(request, ue, status, reason, "SAR")
    assert contacts(registrar, ue) == []
    assert registrar.stored == {}


@pytest.mark.parametrize(
    ("user_data", "reason"),
    [
        pytest.param(None, "HSS gives no user profile", id="SR-11 no profile"),
        pytest.param(b"<IMSSubscription/>", "user profile without a usable PublicIdentity", id="SR-11 empty profile"),
    ],
)
def test_no_usable_profile(registrar: Registrar, ue: Ue, user_data: bytes | None, reason: str) -> None:
    request = ue.register(2, authorization=ue.answer(registrar.challenge(ue)))
    _, actions = registrar.receive(request, ServerAssignmentAnswer(Result.SUCCESS, user_data))
    assert actions == refused(request, ue, 500, reason, "SAA", "warning")
    assert contacts(registrar, ue) == []


def test_only_barred_identities(registrar: Registrar, ue: Ue) -> None:
    """SR-10: nobody could be called, so this is a fault of provisioning; the HSS forgets the assignment."""
    profile = PROFILE.replace(b">false<", b">1<")
    profile = profile.replace(
        b"<PublicIdentity><Identity>", b"<PublicIdentity><BarringIndication>1</BarringIndication><Identity>"
    )
    request = ue.register(2, authorization=ue.answer(registrar.challenge(ue)))
    asked, actions = registrar.receive(request, ServerAssignmentAnswer(Result.SUCCESS, profile), DONE)
    assert asked[1] == registrar.sar(ue, ServerAssignmentType.ADMINISTRATIVE_DEREGISTRATION)
    assert actions == refused(request, ue, 403, "all public identities of the user are barred", "SAA")
    assert contacts(registrar, ue) == []


def test_hss_unavailable(registrar: Registrar, ue: Ue) -> None:
    request = ue.register(2, authorization=ue.answer(registrar.challenge(ue)))
    _, actions = registrar.receive(request, PeerUnavailable("hss.ims.test", "connection lost"))
    peer = "hss.ims.test: connection lost"
    assert actions == refused(request, ue, 504, "HSS unavailable", "SAR", "warning", peer=peer)
    assert contacts(registrar, ue) == []


@pytest.mark.parametrize(
    ("result", "survives"),
    [
        pytest.param(Result.IDENTITIES_DONT_MATCH, False, id="CX-11 HSS has lost the user"),
        pytest.param(Result.IDENTITY_NOT_REGISTERED, False, id="CX-11 HSS does not hold the user registered"),
        pytest.param(Result.USER_UNKNOWN, False, id="CX-11 HSS has removed the user"),
        pytest.param(Result.TOO_BUSY, True, id="CX-11 HSS too busy"),
    ],
)
def test_registration_that_the_hss_does_not_confirm(
    registrar: Registrar, ue: Ue, result: Result, *, survives: bool
) -> None:
    registrar.register(ue)
    registrar.receive(refresh(ue, 3), ServerAssignmentAnswer(result))
    assert contacts(registrar, ue) == ([ue.contact] if survives else [])
    assert (registrar.stored[KEY] is not None) is survives


def test_registration_starts_anew_after_the_hss_lost_it(registrar: Registrar, ue: Ue) -> None:
    """Open5GS after a restart: the profile is asked for again."""
    registrar.register(ue)
    registrar.receive(refresh(ue, 3), ServerAssignmentAnswer(Result.IDENTITIES_DONT_MATCH))
    request = ue.register(5, authorization=ue.answer(registrar.challenge(ue, 2, cseq=4)))
    asked, actions = registrar.receive(request, SAA)
    assert asked == [registrar.sar(ue, ServerAssignmentType.REGISTRATION)]
    assert actions == accepted(request, ue, f"{ue.contact};expires=600000", timer_s=None)


def test_record_route_has_no_meaning_for_a_registrar(registrar: Registrar, ue: Ue) -> None:
    """RFC 3261 10.3: it is ignored, and not in the response."""
    registrar.register(ue)
    request = refresh(ue, 3, headers=(("Record-Route", "<sip:proxy.test;lr>"),))
    _, actions = registrar.receive(request, DONE)
    assert actions == accepted(request, ue, f"{ue.contact};expires=600000", timer_s=None)
    assert not Response.to_request(request, 200, to_tag="s").has("Record-Route")


def test_a_copy_on_another_path(registrar: Registrar, ue: Ue) -> None:
    """RFC 3261 8.2.2.2: it costs no second challenge, which would make the first one void."""
    challenge = registrar.challenge(ue)
    copy = ue.register(1)
    copy.set("Via", "SIP/2.0/UDP 127.0.1.11:5060;branch=z9hG4bKanother")
    asked, actions = registrar.receive(copy)
    assert asked == []
    assert actions == refused(copy, ue, 482, "", "merging")
    _, actions = registrar.receive(ue.register(2, authorization=ue.answer(challenge)), SAA)
    assert isinstance(actions[0], Respond)
    assert actions[0].status == 200


@pytest.mark.parametrize(
    ("disposition", "is_refused"),
    [
        pytest.param("render", True, id="8.2.3 10.3 a registrar takes no body"),
        pytest.param("render;handling=optional", False, id="20.11 it need not look"),
    ],
)
def test_a_register_with_a_body(registrar: Registrar, ue: Ue, disposition: str, *, is_refused: bool) -> None:
    registrar.register(ue)
    request = refresh(ue, 3, headers=(("Content-Disposition", disposition),))
    request.set_body(b"hello", "text/plain")
    if is_refused:
        asked, actions = registrar.receive(request)
        assert asked == []
        assert actions == refused(request, ue, 415, "", "body", headers=(("Accept", ""),))
    else:
        _, actions = registrar.receive(request, DONE)
        assert actions == accepted(request, ue, f"{ue.contact};expires=600000", timer_s=None)


# ---------------------------------------------------------------------- contacts

OTHER = "<sip:001010000000001@127.0.2.9:5060>"


def with_instance(address: str, instance: str = "1", reg_id: str = "") -> str:
    return f'<sip:001010000000001@{address}>;+sip.instance="<urn:uuid:{instance}>"' + reg_id


@pytest.mark.parametrize(
    ("first", "second", "bound"),
    [
        pytest.param("own", OTHER, ["own", OTHER], id="SR-07 several contacts"),
        pytest.param("own", "<SIP:001010000000001@127.0.2.1:5060>", None, id="SR-07 equal URI takes its place"),
        pytest.param("own", "<sip:001010000000001@127.0.2.1:5060>;q=0.1", None, id="SR-07 parameters are replaced"),
        pytest.param("own", "<sip:001010000000001@127.0.2.1>", ["own", "same"], id="SR-07 no port is not port 5060"),
        pytest.param(
            with_instance("127.0.2.1"), with_instance("127.0.2.9"), None, id="SR-07 same instance at a new address"
        ),
        pytest.param(
            with_instance("127.0.2.1"),
            with_instance("127.0.2.9", "2"),
            ["first", "same"],
            id="SR-07 another instance at another address",
        ),
        pytest.param(
            with_instance("127.0.2.1", reg_id=";reg-id=1"),
            with_instance("127.0.2.9", reg_id=";reg-id=1"),
            None,
            id="SR-07 same flow of the same instance",
        ),
        pytest.param(
            with_instance("127.0.2.1", reg_id=";reg-id=1"),
            with_instance("127.0.2.9", reg_id=";reg-id=2"),
            ["first", "same"],
            id="SR-07 another flow of the same instance",
        ),
    ],
)
def test_second_contact(registrar: Registrar, ue: Ue, first: str, second: str, bound: list[str] | None) -> None:
    registrar.register(ue, contact=first, path=OUTBOUND_PATH)
    registrar.receive(refresh(ue, 3, contact=second, path=OUTBOUND_PATH), DONE)
    names = {"own": ue.contact, "first": first, "same": second}
    found = contacts(registrar, ue)
    if bound is None:
        assert [contact.lower() for contact in found] == [second.lower()]
    else:
        assert found == [names.get(name, name) for name in bound]


FLOW = with_instance("127.0.2.1", reg_id=";reg-id=1")


@pytest.mark.parametrize(
    ("contact", "path", "supported", "status", "bound", "required"),
    [
        pytest.param(FLOW, OUTBOUND_PATH, "path, outbound", 200, FLOW, ["outbound"], id="5626-6 a flow"),
        pytest.param(FLOW, OUTBOUND_PATH, "path", 200, FLOW, [], id="5626-6 a UE that does not say so is not told"),
        pytest.param(
            FLOW,
            (PATH,),
            "outbound",
            439,
            None,
            [],
            id="5626-6 439 when the first hop keeps no flow, and the UE wants one",
        ),
        pytest.param(FLOW, (), "outbound", 439, None, [], id="5626-6 439 without Path"),
        pytest.param(
            FLOW,
            ("<sip:ibcf.ims.test;lr;ob>", PATH),
            "outbound",
            439,
            None,
            [],
            id="5626-6 only the first hop counts",
        ),
        pytest.param(FLOW, (PATH,), "path", 200, with_instance("127.0.2.1"), [], id="5626-6 reg-id is ignored"),
        pytest.param(
            "<sip:a@127.0.2.1>;reg-id=1",
            OUTBOUND_PATH,
            "outbound",
            200,
            "<sip:a@127.0.2.1>",
            [],
            id="5626-6 reg-id without an instance is ignored",
        ),
        pytest.param(
            f"{FLOW}, <sip:b@127.0.2.1>", OUTBOUND_PATH, "outbound", 400, None, [], id="5626-6 a flow comes alone"
        ),
        pytest.param(
            f"{FLOW}, <sip:b@127.0.2.1>;expires=0",
            OUTBOUND_PATH,
            "outbound",
            200,
            FLOW,
            ["outbound"],
            id="5626-6 but may take others away",
        ),
    ],
)
def test_outbound(
    registrar: Registrar,
    ue: Ue,
    contact: str,
    path: tuple[str, ...],
    supported: str,
    status: int,
    bound: str | None,
    required: list[str],
) -> None:
    authorization = ue.answer(registrar.challenge(ue))
    request = ue.register(
        2, authorization=authorization, contact=contact, path=path, headers=(("Supported", supported),)
    )
    _, answer = registrar.receive(request, *([SAA] if status == 200 else []))
    assert answer[0].status == status
    assert contacts(registrar, ue) == ([bound] if bound else [])
    assert [value for name, value in answer[0].headers if name == "Require"] == required


def test_two_flows_of_one_ue_may_have_one_address(registrar: Registrar, ue: Ue) -> None:
    """RFC 5626 6: a flow is known by instance and reg-id, not by its URI."""
    second = FLOW.replace("reg-id=1", "reg-id=2")
    registrar.register(ue, contact=FLOW, path=OUTBOUND_PATH)
    registrar.receive(refresh(ue, 3, contact=second, path=OUTBOUND_PATH), DONE)
    assert contacts(registrar, ue) == [FLOW, second]
    registrar.receive(refresh(ue, 4, contact=FLOW + ";expires=0", path=OUTBOUND_PATH))
    assert contacts(registrar, ue) == [second]


def test_all_contacts_are_listed(registrar: Registrar, ue: Ue) -> None:
    """SR-09: each with what is left of its time."""
    registrar.register(ue)
    registrar.now += 1000
    request = refresh(ue, 3, contact=OTHER, expires="700")
    _, actions = registrar.receive(request, DONE)
    expected = (("Contact", f"{ue.contact};expires=599000"), ("Contact", f"{OTHER};expires=700"), ("Path", PATH), *TAIL)
    assert actions[0] == Respond(request, 200, headers=expected)
    assert actions[1] == SetTimer(KEY, 700.0)


def test_contacts_of_ues_that_share_an_identity(registrar: Registrar, ue: Ue, other_ue: Ue) -> None:
    """SR-09: all bindings of the public identity are listed, each UE has a registration of its own."""
    other = replace(other_ue, impu=ue.impu, address="127.0.2.2:5060")
    registrar.register(ue)
    actions = registrar.register(other, 2)
    listed = [value for name, value in actions[0].headers if name == "Contact"]
    assert listed == [f"{ue.contact};expires=600000", f"{other.contact};expires=600000"]
    assert len(registrar.core._state.registrations(ue.impu)) == 2


def test_oldest_contact_makes_room(registrar: Registrar, ue: Ue) -> None:
    """A UE that changed its address again and again without a word leaves contacts behind; three are kept here."""
    registrar.register(ue)
    for number in range(3, 6):
        registrar.now += 1
        registrar.receive(refresh(ue, number, contact=f"<sip:x@127.0.3.{number}>"), DONE)
    assert contacts(registrar, ue) == ["<sip:x@127.0.3.3>", "<sip:x@127.0.3.4>", "<sip:x@127.0.3.5>"]


@pytest.mark.parametrize(
    ("how", "status", "reason"),
    [
        pytest.param({"contact": "*"}, 400, "Contact * without Expires 0", id="10.3-6 asterisk without Expires 0"),
        pytest.param(
            {"contact": "*", "expires": None}, 400, "Contact * without Expires 0", id="10.3-6 asterisk without Expires"
        ),
        pytest.param(
            {"contact": "<sip:a@b>,<sip:b@b>,<sip:c@b>,<sip:d@b>"}, 403, "more than 3 contacts", id="too many contacts"
        ),
    ],
)
def test_contacts_that_are_not_taken(
    registrar: Registrar, ue: Ue, how: dict[str, str], status: int, reason: str
) -> None:
    registrar.register(ue)
    request = refresh(ue, 3, **how)
    asked, actions = registrar.receive(request)
    assert asked == []
    assert actions == refused(request, ue, status, reason, "contacts")
    assert contacts(registrar, ue) == [ue.contact]


@pytest.mark.parametrize("contact", ["tel:+1555", "*, <sip:a@b>", "<<>>"])
def test_malformed_contact(registrar: Registrar, ue: Ue, contact: str) -> None:
    """The runtime answers the error's status."""
    registrar.register(ue)
    with pytest.raises(ParseError):
        registrar.receive(refresh(ue, 3, contact=contact), DONE)
    assert contacts(registrar, ue) == [ue.contact]


@pytest.mark.parametrize(
    "how", [pytest.param({}, id="10.3-7 refresh"), pytest.param({"contact": "*", "expires": "0"}, id="10.3-6 asterisk")]
)
def test_overtaken_register(registrar: Registrar, ue: Ue, how: dict[str, str]) -> None:
    registrar.register(ue, cseq=10)
    registrar.now += 10  # sooner it is a copy that came by another way
    request = refresh(ue, 11, **how)
    asked, actions = registrar.receive(request)
    assert asked == []
    assert actions == refused(request, ue, 500, "CSeq is not above 11, which was seen before", "contacts")
    request = refresh(ue, 3)
    request.set("Call-ID", "after-a-restart-of-the-ue")
    _, actions = registrar.receive(request, DONE)
    assert actions == accepted(request, ue, f"{ue.contact};expires=600000", timer_s=None)


def test_query(registrar: Registrar, ue: Ue) -> None:
    """10.3-8: a REGISTER without Contact changes nothing and lists all."""
    registrar.register(ue)
    request = refresh(ue, 3, contact=None, expires=None)
    asked, actions = registrar.receive(request)
    headers = (("Contact", f"{ue.contact};expires=600000"), ("Path", PATH), *TAIL)
    assert (asked, actions) == ([], [Respond(request, 200, headers=headers)])


def test_query_of_somebody_not_registered(registrar: Registrar, ue: Ue) -> None:
    request = ue.register(2, authorization=ue.answer(registrar.challenge(ue)), contact=None)
    asked, actions = registrar.receive(request)
    assert (asked, actions) == ([], [Respond(request, 200, headers=(("Path", PATH),))])


def test_unknown_extension_is_required(registrar: Registrar, ue: Ue) -> None:
    """RFC 3261 8.2.2.3."""
    request = ue.register()
    request.set("Require", "path, gruu, Sec-Agree, xyz")
    asked, actions = registrar.receive(request)
    assert asked == []
    assert actions == refused(request, ue, 420, "", "Require", headers=(("Unsupported", "gruu, xyz"),))


# ---------------------------------------------------------------------- restart


def test_registrations_survive_a_restart(registrar: Registrar, ue: Ue) -> None:
    """What was saved is JSON, and enough to go on as if nothing had happened."""
    registrar.register(ue, contact=f'{ue.contact};+sip.instance="<urn:uuid:1>"', expires="600")
    before = registrar.core._state.registration(ue.impi, ue.impu)
    registrar.stored = json.loads(json.dumps(registrar.stored))
    registrar.now += 100
    assert registrar.start() == [SetTimer(KEY, 500.0)]
    assert registrar.core._state.registration(ue.impi, "tel:+15550000001") == before
    _, actions = registrar.receive(refresh(ue, 3, expires="600"), DONE)
    assert actions[0].status == 200


def test_unreadable_record_is_reported(registrar: Registrar, ue: Ue) -> None:
    registrar.register(ue)
    good = registrar.stored[KEY]
    bad = {
        "empty": {},
        "no profile": {**good, "profile": None},
        "no URI": {**good, "profile": [["x y", False]]},
        "no binding": {**good, "bindings": [{"contact": "<sip:a@b>", "path": []}]},
        "no contact": {**good, "bindings": [{**good["bindings"][0], "contact": "<<"}]},
    }
    registrar.stored.update(bad)
    reports = [Report("unreadable", {"kind": "registration", "key": key}, "error") for key in bad]
    assert registrar.start() == [*reports, SetTimer(KEY, 600_000.0)]
    assert contacts(registrar, ue) == [ue.contact]


def test_charging_functions_survive_a_restart(registrar: Registrar, ue: Ue) -> None:
    """SR-06."""
    charging = ChargingInformation("ecf", None, "ccf")
    request = ue.register(2, authorization=ue.answer(registrar.challenge(ue)))
    registrar.receive(request, ServerAssignmentAnswer(Result.SUCCESS, PROFILE, charging))
    registrar.start()
    assert registrar.core._state.registration(ue.impi, ue.impu).charging == charging


def test_profile_of_somebody_else_registers_nobody(registrar: Registrar, ue: Ue) -> None:
    """5.4.1.2.2: there are HSSs that do not compare the identities; a SIM is good for its own ones only."""
    thief = replace(ue, impi="001010000000666@ims.test")
    challenge = registrar.challenge(thief)
    request = thief.register(2, authorization=thief.answer(challenge))
    asked, actions = registrar.receive(request, ServerAssignmentAnswer(Result.SUCCESS, PROFILE))
    assert [type(question) for question in asked] == [ServerAssignmentRequest], "nothing is saved"
    assert actions[0] == Respond(request, 403, "HSS gives the profile of another private identity")
    assert actions[1].fields["impi"] == thief.impi


def test_profile_that_writes_the_realm_otherwise(registrar: Registrar, ue: Ue) -> None:
    """HSSs derive the realm of PrivateID from the IMSI, whatever realm the UE has."""
    challenge = registrar.challenge(ue)
    other = PROFILE.replace(b"<PrivateID>001010000000001@ims.test", b"<PrivateID>001010000000001@ims.mnc001.test")
    request = ue.register(2, authorization=ue.answer(challenge))
    _, actions = registrar.receive(request, ServerAssignmentAnswer(Result.SUCCESS, other))
    assert actions[0].status == 200
