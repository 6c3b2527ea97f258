"""The end of registrations at the S-CSCF (TS 24.229 5.4.1.4.1, 5.4.1.5)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeAlias

import pytest

from opencscf.common.actions import Action, Report, Respond, SetTimer
from opencscf.common.errors import PeerUnavailable
from opencscf.common.events import TimerFired
from opencscf.common.sip.message import Request
from opencscf.diameter.cx import ServerAssignmentAnswer, ServerAssignmentType
from opencscf.diameter.results import Result

Registrar: TypeAlias = Any  # the classes of conftest.py, which cannot be imported
Ue: TypeAlias = Any

DONE = ServerAssignmentAnswer(Result.SUCCESS)
KEY = "001010000000001@ims.test sip:001010000000001@ims.test"
OTHER = "<sip:001010000000001@127.0.2.9:5060>"
PATH = (("Path", "<sip:token@pcscf.ims.test;lr>"),)


def refresh(ue: Ue, cseq: int, **how: Any) -> Request:
    """A REGISTER that needs no challenge."""
    request: Request = ue.register(cseq, authorization=ue.credentials(integrity_protected="yes"), **how)
    return request


def deregistered(request: Request, ue: Ue, hss: str = "SUCCESS (2001)") -> list[Action]:
    about = {"call_id": request.call_id, "cseq": request.get("CSeq"), "impi": ue.impi, "impu": ue.impu}
    return [Respond(request, 200, headers=PATH), Report("deregistered", {**about, "bindings": 0, "hss": hss})]


def expired(ue: Ue, hss: str = "SUCCESS (2001)") -> list[Action]:
    fields = {"impi": ue.impi, "impu": ue.impu, "bindings": 0, "reason": "expired", "hss": hss}
    return [Report("deregistered", fields)]


def contacts(registrar: Registrar, ue: Ue) -> list[str]:
    registration = registrar.core._state.registration(ue.impi, ue.impu)
    return [binding.contact for binding in registration.bindings] if registration else []


# ---------------------------------------------------------------------- by the user


@pytest.mark.parametrize(
    "how",
    [
        pytest.param({"expires": "0"}, id="SR-15 Expires 0"),
        pytest.param({"contact": "<sip:001010000000001@127.0.2.1:5060>;expires=0"}, id="SR-15 expires parameter"),
        pytest.param({"contact": "*", "expires": "0"}, id="SR-15 asterisk"),
    ],
)
def test_last_contact_goes(registrar: Registrar, ue: Ue, how: dict[str, str]) -> None:
    """SR-15 CX-02."""
    registrar.register(ue)
    request = refresh(ue, 3, **how)
    asked, actions = registrar.receive(request, DONE)
    assert asked == [registrar.sar(ue, ServerAssignmentType.USER_DEREGISTRATION)]
    assert actions == deregistered(request, ue)
    assert contacts(registrar, ue) == []
    assert registrar.stored == {KEY: None}
    assert registrar.core._state.registrations("tel:+15550000001") == ()


def test_nobody_deregisters_somebody_else(registrar: Registrar, ue: Ue) -> None:
    """SR-15: an HSS that looks at the public identity only would forget the one who is registered."""
    registrar.register(ue)
    thief = replace(ue, impi="001010000000666@ims.test", call_id="thief")
    challenge = registrar.challenge(thief, 2)
    request = thief.register(2, authorization=thief.answer(challenge), expires="0")
    asked, actions = registrar.receive(request)
    assert asked == []
    assert actions == deregistered(request, thief, "not asked: another user is registered")
    assert contacts(registrar, ue) == [ue.contact]


def test_deregistration_is_authenticated(registrar: Registrar, ue: Ue) -> None:
    """SR-15: like any other REGISTER."""
    registrar.register(ue)
    challenge = registrar.challenge(ue, 2, cseq=3)
    assert contacts(registrar, ue) == [ue.contact]
    request = ue.register(4, authorization=ue.answer(challenge), expires="0")
    asked, actions = registrar.receive(request, DONE)
    assert asked == [registrar.sar(ue, ServerAssignmentType.USER_DEREGISTRATION)]
    assert actions == deregistered(request, ue)


def test_one_of_two_contacts_goes(registrar: Registrar, ue: Ue) -> None:
    """SR-15: the HSS is not told while a contact is left."""
    registrar.register(ue)
    registrar.receive(refresh(ue, 3, contact=OTHER, expires="700"), DONE)
    request = refresh(ue, 4, expires="0")
    asked, actions = registrar.receive(request)
    assert asked == []
    assert actions[0].headers[:2] == (("Contact", f"{OTHER};expires=700"), *PATH)
    about = {"call_id": "reg-1", "cseq": "4 REGISTER", "impi": ue.impi, "impu": ue.impu}
    assert actions[1:] == [Report("deregistered", {**about, "bindings": 1, "expires_s": 700})]
    assert contacts(registrar, ue) == [OTHER]


def test_contact_that_is_not_bound_goes(registrar: Registrar, ue: Ue) -> None:
    registrar.register(ue)
    asked, actions = registrar.receive(refresh(ue, 3, contact=OTHER, expires="0"))
    assert (asked, actions[0].status, contacts(registrar, ue)) == ([], 200, [ue.contact])


@pytest.mark.parametrize("contact", [pytest.param("own", id="SR-15 a contact"), pytest.param("*", id="SR-15 asterisk")])
def test_deregistration_of_somebody_not_registered(registrar: Registrar, ue: Ue, contact: str) -> None:
    """The HSS may still hold our name: it is told."""
    challenge = registrar.challenge(ue)
    request = ue.register(2, authorization=ue.answer(challenge), expires="0", contact=contact)
    asked, actions = registrar.receive(request, DONE)
    assert asked == [registrar.sar(ue, ServerAssignmentType.USER_DEREGISTRATION)]
    assert actions == deregistered(request, ue)
    assert registrar.stored == {}


@pytest.mark.parametrize(
    ("answer", "hss"),
    [
        (PeerUnavailable("hss.ims.test", "no answer in 4 s"), "hss.ims.test: no answer in 4 s"),
        (ServerAssignmentAnswer(Result.USER_UNKNOWN), "USER_UNKNOWN (5001)"),
    ],
)
def test_hss_does_not_hold_up_a_deregistration(registrar: Registrar, ue: Ue, answer: object, hss: str) -> None:
    registrar.register(ue)
    request = refresh(ue, 3, expires="0")
    _, actions = registrar.receive(request, answer)
    assert actions == deregistered(request, ue, hss)
    assert contacts(registrar, ue) == []


def test_deregistration_leaves_another_ue_with_the_same_identity(registrar: Registrar, ue: Ue, other_ue: Ue) -> None:
    other = replace(other_ue, impu=ue.impu, address="127.0.2.2:5060")
    registrar.register(ue)
    registrar.register(other, 2)
    registrar.receive(refresh(ue, 3, expires="0"), DONE)
    assert (contacts(registrar, ue), contacts(registrar, other)) == ([], [other.contact])


# ---------------------------------------------------------------------- by timer


def test_last_contact_expires(registrar: Registrar, ue: Ue) -> None:
    """SR-16 CX-02."""
    registrar.register(ue, expires="600")
    registrar.now += 600
    asked, actions = registrar.fire(KEY, DONE)
    assert asked == [registrar.sar(ue, ServerAssignmentType.TIMEOUT_DEREGISTRATION)]
    assert actions == expired(ue)
    assert registrar.stored == {KEY: None}
    assert contacts(registrar, ue) == []


def test_hss_does_not_hold_up_expiry(registrar: Registrar, ue: Ue) -> None:
    registrar.register(ue, expires="600")
    registrar.now += 600
    _, actions = registrar.fire(KEY, PeerUnavailable("hss.ims.test", "no answer in 4 s"))
    assert actions == expired(ue, "hss.ims.test: no answer in 4 s")
    assert contacts(registrar, ue) == []


def test_one_of_two_contacts_expires(registrar: Registrar, ue: Ue) -> None:
    registrar.register(ue, expires="1000")
    registrar.receive(refresh(ue, 3, contact=OTHER, expires="600"), DONE)
    registrar.now += 600
    assert registrar.fire(KEY) == ([], [SetTimer(KEY, 400.0)])
    assert contacts(registrar, ue) == [ue.contact]
    assert len(registrar.stored[KEY]["bindings"]) == 1


def test_refreshed_registration_goes_on(registrar: Registrar, ue: Ue) -> None:
    """One timer serves however often the UE refreshes."""
    registrar.register(ue, expires="600")
    for cseq in range(3, 6):
        registrar.now += 100
        _, actions = registrar.receive(refresh(ue, cseq, expires="600"), DONE)
        assert not [action for action in actions if isinstance(action, SetTimer)]
    registrar.now += 300
    assert registrar.fire(KEY) == ([], [SetTimer(KEY, 300.0)])
    registrar.now += 300
    asked, _ = registrar.fire(KEY, DONE)
    assert asked == [registrar.sar(ue, ServerAssignmentType.TIMEOUT_DEREGISTRATION)]


def test_overtaken_timer_is_ignored(registrar: Registrar, ue: Ue) -> None:
    """A shorter registration gets an earlier timer; the later one finds its work done."""
    registrar.register(ue, expires="10000")
    _, actions = registrar.receive(refresh(ue, 3, expires="600"), DONE)
    assert actions[1] == SetTimer(KEY, 600.0)
    registrar.now += 500
    registrar.receive(refresh(ue, 4, expires="20000"), DONE)
    registrar.now += 100
    assert registrar.fire(KEY) == ([], [SetTimer(KEY, 19900.0)])
    registrar.now += 9400
    assert registrar.fire(KEY) == ([], [])
    assert contacts(registrar, ue) == [ue.contact]


def test_timer_of_a_registration_that_is_gone(registrar: Registrar, ue: Ue) -> None:
    registrar.register(ue, expires="600")
    registrar.receive(refresh(ue, 3, expires="0"), DONE)
    registrar.now += 600
    assert registrar.fire(KEY) == ([], [])
    assert registrar.fire("unknown") == ([], [])


@pytest.mark.parametrize("meanwhile", ["refreshed", "deregistered"])
def test_user_is_faster_than_the_procedure(registrar: Registrar, ue: Ue, meanwhile: str) -> None:
    """The procedures of one user wait for each other, so the expiry may find the state changed."""
    registrar.register(ue, expires="600")
    registrar.now += 600
    outcome = registrar.core.on_event(TimerFired(KEY, registrar.now))
    expires = "600" if meanwhile == "refreshed" else "0"
    challenge = registrar.challenge(ue, 2, cseq=3)
    request = ue.register(4, authorization=ue.answer(challenge), expires=expires)
    registrar.receive(request, DONE)
    assert registrar.drive(outcome) == ([], [])
    assert contacts(registrar, ue) == ([ue.contact] if meanwhile == "refreshed" else [])


def test_registration_that_ended_while_the_scscf_was_down(registrar: Registrar, ue: Ue) -> None:
    registrar.register(ue, expires="600")
    registrar.now += 10_000
    assert registrar.start() == [SetTimer(KEY, 0.0)]
    _, actions = registrar.fire(KEY, DONE)
    assert actions == expired(ue)
