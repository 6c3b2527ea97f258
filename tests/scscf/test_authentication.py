"""Authentication of REGISTER at the S-CSCF (TS 24.229 5.4.1.2)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeAlias

import pytest

from opencscf.common.actions import Action, Procedure, Report, Respond, SetTimer, Start
from opencscf.common.errors import PeerUnavailable
from opencscf.common.events import TimerFired
from opencscf.common.ims.aka import AuthVector
from opencscf.common.sip import digest
from opencscf.common.sip.headers import Challenge
from opencscf.common.sip.message import Request
from opencscf.diameter.cx import MultimediaAuthAnswer, ServerAssignmentAnswer, ServerAssignmentType
from opencscf.diameter.results import Result
from opencscf.scscf import state

# The classes of conftest.py, which cannot be imported; mypy knows what matters of them.
Registrar: TypeAlias = Any
Ue: TypeAlias = Any

AUTS = bytes(range(14))
DONE = ServerAssignmentAnswer(Result.SUCCESS)
UNAVAILABLE = PeerUnavailable("hss.ims.test", "no answer in 4 s")
TIMER = "reg-await-auth"

WRONG_RESPONSE = "wrong response, check K and OPc of HSS and SIM"
REJECTED = "UE rejects the network's authentication, check K and OPc of HSS and SIM"


def vector(number: int = 1) -> AuthVector:
    octets = [bytes([number + part]) * 16 for part in (0x10, 0x20, 0x30, 0x40)]
    return AuthVector(octets[0], octets[1], bytes([0x00, 0x5B, 0xFF, number] * 2), octets[2], octets[3])


def maa(number: int = 1) -> MultimediaAuthAnswer:
    return MultimediaAuthAnswer(Result.SUCCESS, (vector(number),))


def challenged(request: Request, ue: Ue, number: int = 1, resyncs: int = 0, *timers: Action) -> list[Action]:
    """What the S-CSCF does to challenge."""
    nonce = digest.aka_nonce(vector(number).rand, vector(number).autn)
    challenge = (
        f'Digest realm="ims.test",nonce="{nonce}",algorithm=AKAv1-MD5,qop="auth",'
        f'ck="{vector(number).ck.hex()}",ik="{vector(number).ik.hex()}"'
    )
    about = {"call_id": request.call_id, "cseq": request.get("CSeq"), "impi": ue.impi, "impu": ue.impu}
    return [
        Respond(request, 401, headers=(("WWW-Authenticate", str(Challenge.parse(challenge))),)),
        *timers,
        Report("challenged", {**about, "resyncs": resyncs}),
    ]


def refused(
    request: Request, ue: Ue, status: int, reason: str, step: str = "authentication", level: str = "info", **more: str
) -> list[Action]:
    about = {"call_id": request.call_id, "cseq": request.get("CSeq"), "status": status, "reason": reason, "step": step}
    return [
        Respond(request, status, reason),
        Report("refused", {**about, "impi": ue.impi, "impu": ue.impu, **more}, level),
    ]


def is_challenge(actions: list[Action]) -> bool:
    return isinstance(actions[0], Respond) and actions[0].status == 401


def is_accepted(actions: list[Action]) -> bool:
    return isinstance(actions[0], Respond) and actions[0].status == 200


# ---------------------------------------------------------------------- challenge


def test_initial_register_is_challenged(registrar: Registrar, ue: Ue) -> None:
    """SR-02 SR-03 CX-06: an empty response beside an empty nonce is no answer to anything (SR-14)."""
    request = ue.register()
    asked, actions = registrar.receive(request, maa())
    assert asked == [registrar.mar(ue)]
    assert actions == challenged(request, ue, 1, 0, SetTimer(TIMER, 240.0))


def test_register_without_credentials_is_challenged(registrar: Registrar, ue: Ue) -> None:
    """SR-02: the private identity is derived from To."""
    request = ue.register(authorization=None)
    asked, actions = registrar.receive(request, maa())
    assert asked == [registrar.mar(ue)]
    assert is_challenge(actions)


def test_keys_are_shown_nowhere_but_in_the_challenge(registrar: Registrar, ue: Ue) -> None:
    _, actions = registrar.receive(ue.register(), maa())
    shown = repr(registrar.core._state._pending) + repr(actions[1:])
    secrets = (vector().xres, vector().ck, vector().ik)
    assert not any(secret.hex() in shown or repr(secret) in shown for secret in secrets)


@pytest.mark.parametrize(
    "credentials",
    [
        pytest.param({"nonce": "AAAA", "response": "0" * 32}, id="SR-02 nonce that we never gave"),
        pytest.param({"nonce": "AAAA", "response": ""}, id="SR-02 unknown nonce and empty response"),
        pytest.param({"nonce": "AAAA", "auts": "AAAA", "response": ""}, id="SR-02 auts for an unknown nonce"),
        pytest.param({"integrity_protected": "yes"}, id="SR-05 protected, but not registered"),
        pytest.param({"integrity_protected": "absent"}, id="SR-01 not marked at all"),
    ],
)
def test_what_answers_no_challenge_is_challenged(registrar: Registrar, ue: Ue, credentials: dict[str, str]) -> None:
    _, actions = registrar.receive(ue.register(authorization=ue.credentials(**credentials)), maa())
    assert is_challenge(actions)


def test_new_register_restarts_the_procedure(registrar: Registrar, ue: Ue) -> None:
    """SR-02: the answer to the first challenge is worth nothing any more."""
    first = registrar.challenge(ue)
    second = registrar.challenge(ue, 2, cseq=2)
    _, actions = registrar.receive(ue.register(3, authorization=ue.answer(first)), maa(3))
    assert is_challenge(actions)
    _, actions = registrar.receive(ue.register(4, authorization=ue.answer(second)), maa(4))
    assert is_challenge(actions)  # the third challenge has taken the second one's place


@pytest.mark.parametrize(
    ("maa_", "status", "reason"),
    [
        pytest.param(
            MultimediaAuthAnswer(Result.USER_UNKNOWN),
            403,
            "HSS answers MAR with USER_UNKNOWN (5001)",
            id="SR-02 unknown",
        ),
        pytest.param(
            MultimediaAuthAnswer(Result.IDENTITIES_DONT_MATCH),
            504,
            "HSS answers MAR with IDENTITIES_DONT_MATCH (5002)",
            id="SR-02 HSS that lost its state, the UE shall register anew",
        ),
        pytest.param(
            MultimediaAuthAnswer(Result.AUTH_SCHEME_NOT_SUPPORTED),
            480,
            "HSS answers MAR with AUTH_SCHEME_NOT_SUPPORTED (5006)",
            id="CX-11 scheme not supported",
        ),
        pytest.param(
            MultimediaAuthAnswer(Result.TOO_BUSY), 480, "HSS answers MAR with TOO_BUSY (3004)", id="CX-11 too busy"
        ),
    ],
)
def test_hss_gives_no_vector(
    registrar: Registrar, ue: Ue, maa_: MultimediaAuthAnswer, status: int, reason: str
) -> None:
    request = ue.register()
    _, actions = registrar.receive(request, maa_)
    assert actions == refused(request, ue, status, reason, "MAR")


def test_hss_gives_success_without_vector(registrar: Registrar, ue: Ue) -> None:
    request = ue.register()
    _, actions = registrar.receive(request, MultimediaAuthAnswer(Result.SUCCESS))
    assert actions == refused(request, ue, 504, "HSS gives no authentication vector", "MAR", "warning")


def test_hss_unavailable(registrar: Registrar, ue: Ue) -> None:
    request = ue.register()
    _, actions = registrar.receive(request, UNAVAILABLE)
    peer = "hss.ims.test: no answer in 4 s"
    assert actions == refused(request, ue, 504, "HSS unavailable", "MAR", "warning", peer=peer)


# ---------------------------------------------------------------------- response


@pytest.mark.parametrize("qop", ["auth", "auth-int", ""], ids=lambda qop: f"SR-05 qop {qop or 'absent'}")
def test_right_response(registrar: Registrar, ue: Ue, qop: str) -> None:
    answer = ue.answer(registrar.challenge(ue), qop=qop)
    _, actions = registrar.receive(ue.register(2, authorization=answer), registrar_saa())
    assert is_accepted(actions)


def registrar_saa() -> ServerAssignmentAnswer:
    profile = b"""<IMSSubscription><ServiceProfile><PublicIdentity><Identity>sip:001010000000001@ims.test</Identity>
    </PublicIdentity></ServiceProfile></IMSSubscription>"""
    return ServerAssignmentAnswer(Result.SUCCESS, profile)


@pytest.mark.parametrize(
    "params",
    [
        pytest.param({"integrity_protected": "yes"}, id="SR-05 SR-16 over the security association"),
        pytest.param({"algorithm": "absent"}, id="SR-05 algorithm left out"),
        pytest.param({"algorithm": "akav1-md5"}, id="SR-05 algorithm in another case"),
        pytest.param({"realm": "IMS.test"}, id="SR-05 realm in another case is hashed as it is"),
    ],
)
def test_right_response_written_otherwise(registrar: Registrar, ue: Ue, params: dict[str, str]) -> None:
    challenge = registrar.challenge(ue)
    answer = ue.answer(challenge, **params)
    if "realm" in params:
        nonce = digest.aka_nonce(challenge.rand, challenge.autn)
        response = digest.response(
            username=ue.impi,
            realm=params["realm"],
            nonce=nonce,
            uri="sip:ims.test",
            method="REGISTER",
            password=challenge.xres,
        )
        answer = ue.credentials(realm=params["realm"], nonce=nonce, response=response)
    _, actions = registrar.receive(ue.register(2, authorization=answer), registrar_saa())
    assert is_accepted(actions)


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        pytest.param({"res": b"wrong"}, WRONG_RESPONSE, id="SR-12 wrong RES"),
        pytest.param({"response": "0" * 32}, WRONG_RESPONSE, id="SR-12 wrong hash"),
        pytest.param({"qop": "auth", "cnonce": "other"}, WRONG_RESPONSE, id="SR-12 other cnonce than was hashed"),
        pytest.param({"qop": "auth", "nc": "absent"}, WRONG_RESPONSE, id="SR-12 qop without nc"),
        pytest.param({"response": ""}, REJECTED, id="SR-14 empty response without auts"),
        pytest.param({"response": "absent"}, REJECTED, id="SR-14 no response without auts"),
        pytest.param({"response": "", "auts": ""}, REJECTED, id="SR-14 empty auts"),
        pytest.param({"realm": "other.test"}, "credentials for another realm", id="SR-05 another realm"),
        pytest.param({"realm": "absent"}, "credentials for another realm", id="SR-05 no realm"),
        pytest.param(
            {"algorithm": "MD5"}, "credentials with an algorithm other than AKAv1-MD5", id="SR-05 another algorithm"
        ),
        pytest.param({"response": "", "auts": "AAAA"}, "malformed auts", id="SR-13 auts too short"),
        pytest.param({"response": "", "auts": "!!"}, "malformed auts", id="SR-13 auts that is no base64"),
    ],
)
def test_wrong_response(registrar: Registrar, ue: Ue, params: dict[str, Any], reason: str) -> None:
    """SR-12: the HSS is told that there is no registration."""
    request = ue.register(2, authorization=ue.answer(registrar.challenge(ue), **params))
    asked, actions = registrar.receive(request, DONE)
    assert asked == [registrar.sar(ue, ServerAssignmentType.AUTHENTICATION_FAILURE)]
    assert actions == refused(request, ue, 403, reason)


def test_failure_ends_the_attempt(registrar: Registrar, ue: Ue) -> None:
    """SR-12 SR-14: a right response comes too late."""
    challenge = registrar.challenge(ue)
    registrar.receive(ue.register(2, authorization=ue.answer(challenge, res=b"wrong")), DONE)
    _, actions = registrar.receive(ue.register(3, authorization=ue.answer(challenge)), maa(2))
    assert is_challenge(actions)


def test_existing_registration_survives_a_wrong_response(registrar: Registrar, ue: Ue) -> None:
    """SR-12: the HSS is not told."""
    registrar.register(ue)
    request = ue.register(4, authorization=ue.answer(registrar.challenge(ue, 2, cseq=3), res=b"wrong"))
    asked, actions = registrar.receive(request)
    assert asked == []
    assert actions == refused(request, ue, 403, WRONG_RESPONSE)
    assert registrar.core._state.registration(ue.impi, ue.impu) is not None


def test_silent_hss_does_not_keep_the_ue_from_its_403(registrar: Registrar, ue: Ue) -> None:
    request = ue.register(2, authorization=ue.answer(registrar.challenge(ue), res=b"wrong"))
    _, actions = registrar.receive(request, UNAVAILABLE)
    assert actions == refused(request, ue, 403, WRONG_RESPONSE)


@pytest.mark.parametrize("late", ["another Call-ID", "after reg-await-auth"])
def test_right_response_at_the_wrong_place(registrar: Registrar, ue: Ue, late: str) -> None:
    """SR-05."""
    answer = ue.answer(registrar.challenge(ue))
    request = ue.register(2, authorization=answer)
    if late == "another Call-ID":
        request.set("Call-ID", "reg-other")
    else:
        registrar.now += 240.0
    _, actions = registrar.receive(request, maa(2))
    assert is_challenge(actions)


def test_restart_of_the_scscf_loses_challenges(registrar: Registrar, ue: Ue) -> None:
    """The UE is challenged anew."""
    answer = ue.answer(registrar.challenge(ue))
    registrar.start()
    _, actions = registrar.receive(ue.register(2, authorization=answer), maa(2))
    assert is_challenge(actions)


def test_challenges_of_users_do_not_mix(registrar: Registrar, ue: Ue, other_ue: Ue) -> None:
    challenge = registrar.challenge(ue)
    request = other_ue.register(2, authorization=other_ue.answer(challenge))
    request.set("Call-ID", ue.call_id)
    _, actions = registrar.receive(request, maa(2))
    assert is_challenge(actions)


# ---------------------------------------------------------------------- refresh


@pytest.mark.parametrize(
    "repeats_nonce", [pytest.param(True, id="SR-05 last nonce"), pytest.param(False, id="SR-05 no nonce")]
)
def test_protected_refresh_is_not_challenged(registrar: Registrar, ue: Ue, *, repeats_nonce: bool) -> None:
    registrar.register(ue)
    credentials = ue.credentials(integrity_protected="yes")
    if repeats_nonce:
        credentials = ue.answer(vector(), integrity_protected="yes")
    asked, actions = registrar.receive(ue.register(3, authorization=credentials), DONE)
    assert asked == [registrar.sar(ue, ServerAssignmentType.RE_REGISTRATION, has_data=True)]
    assert is_accepted(actions)


@pytest.mark.parametrize(
    "params",
    [
        pytest.param({"integrity_protected": "no"}, id="SR-05 not protected"),
        pytest.param({"integrity_protected": "absent"}, id="SR-05 not marked"),
        pytest.param({"integrity_protected": "tls-yes"}, id="SR-16 TLS is not AKA"),
        pytest.param({"integrity_protected": "yes", "nonce": "AAAA"}, id="SR-05 protected, but for an unknown nonce"),
    ],
)
def test_other_reregistration_is_challenged(registrar: Registrar, ue: Ue, params: dict[str, str]) -> None:
    registrar.register(ue)
    _, actions = registrar.receive(ue.register(3, authorization=ue.credentials(**params)), maa(2))
    assert is_challenge(actions)


def test_unquoted_mark(registrar: Registrar, ue: Ue) -> None:
    """SR-16."""
    registrar.register(ue)
    credentials = ue.credentials(integrity_protected="absent") + ",integrity-protected=yes"
    _, actions = registrar.receive(ue.register(3, authorization=credentials), DONE)
    assert is_accepted(actions)


def test_protected_register_after_expiry_is_challenged(registrar: Registrar, ue: Ue) -> None:
    registrar.register(ue, expires="600")
    registrar.now += 600
    _, actions = registrar.receive(ue.register(3, authorization=ue.credentials(integrity_protected="yes")), maa(2))
    assert is_challenge(actions)


# ---------------------------------------------------------------------- resynchronisation


def resync(ue: Ue, challenge: AuthVector, cseq: int) -> Request:
    auts = digest.format_auts(AUTS)
    request: Request = ue.register(cseq, authorization=ue.answer(challenge, res=b"", auts=auts))
    return request


def test_resynchronisation(registrar: Registrar, ue: Ue) -> None:
    """SR-13 CX-06."""
    request = resync(ue, registrar.challenge(ue), 2)
    asked, actions = registrar.receive(request, maa(2))
    assert asked == [registrar.mar(ue, vector().rand + AUTS)]
    assert actions == challenged(request, ue, 2, 1)
    _, actions = registrar.receive(ue.register(3, authorization=ue.answer(vector(2))), registrar_saa())
    assert is_accepted(actions)


def test_endless_resynchronisation_is_stopped(registrar: Registrar, ue: Ue) -> None:
    """SR-13: two rounds, then 403."""
    registrar.challenge(ue)
    for number in (1, 2):
        _, actions = registrar.receive(resync(ue, vector(number), number + 1), maa(number + 1))
        assert is_challenge(actions)
    request = resync(ue, vector(3), 4)
    asked, actions = registrar.receive(request, DONE)
    assert asked == [registrar.sar(ue, ServerAssignmentType.AUTHENTICATION_FAILURE)]
    reason = "UE still out of sequence after 2 resynchronisations, check SQN and OPc of HSS and SIM"
    assert actions == refused(request, ue, 403, reason)


@pytest.mark.parametrize(
    ("result", "status"),
    [
        pytest.param(Result.AUTH_SCHEME_NOT_SUPPORTED, 403, id="SR-13 Open5GS on a wrong MAC-S"),
        pytest.param(Result.UNABLE_TO_COMPLY, 480, id="SR-13 HSS in trouble"),
    ],
)
def test_hss_refuses_resynchronisation(registrar: Registrar, ue: Ue, result: Result, status: int) -> None:
    request = resync(ue, registrar.challenge(ue), 2)
    _, actions = registrar.receive(request, MultimediaAuthAnswer(result))
    assert actions == refused(request, ue, status, f"HSS answers MAR with {result}", "MAR")


# ---------------------------------------------------------------------- reg-await-auth

UNANSWERED = "no answer to the challenge; if the UE got it: check K, OPc and SQN of HSS and SIM"


def timed_out(ue: Ue) -> list[Action]:
    return [Report("unauthenticated", {"impi": ue.impi, "impu": ue.impu, "reason": UNANSWERED})]


def test_unanswered_challenges(registrar: Registrar, ue: Ue, other_ue: Ue) -> None:
    """SR-02: one timer serves all challenges; the HSS hears of each."""
    registrar.challenge(ue)
    registrar.now += 10
    _, actions = registrar.receive(other_ue.register(), maa(2))
    assert actions == challenged(other_ue.register(), other_ue, 2)
    registrar.now += 230
    actions = registrar.core.on_event(TimerFired(TIMER, registrar.now))
    assert isinstance(actions[1], Start)
    procedure = actions[1].procedure
    assert actions == [*timed_out(ue), Start(Procedure(ue.impi, procedure.coroutine)), SetTimer(TIMER, 10.0)]
    asked, actions = registrar.drive(procedure, UNAVAILABLE)
    assert asked == [registrar.sar(ue, ServerAssignmentType.AUTHENTICATION_TIMEOUT)]
    assert actions == []


def test_timer_after_the_answer(registrar: Registrar, ue: Ue) -> None:
    registrar.register(ue)
    registrar.now += 240
    assert registrar.fire(TIMER) == ([], [])
    _, actions = registrar.receive(ue.register(5), maa(2))
    assert actions == challenged(ue.register(5), ue, 2, 0, SetTimer(TIMER, 240.0))


def test_registered_user_who_does_not_answer_stays_registered(registrar: Registrar, ue: Ue) -> None:
    registrar.register(ue)
    registrar.challenge(ue, 2, cseq=3)
    registrar.now += 240
    assert registrar.fire(TIMER) == ([], timed_out(ue))


def test_user_who_tries_again_meanwhile(registrar: Registrar, ue: Ue) -> None:
    """The HSS is not told while another challenge is open."""
    registrar.challenge(ue)
    registrar.now += 240
    actions = registrar.core.on_event(TimerFired(TIMER, registrar.now))
    registrar.challenge(ue, 2, cseq=2)
    assert registrar.drive(actions[1].procedure) == ([], [])


def test_room_for_challenges_ends(registrar: Registrar, ue: Ue, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody can ask for a challenge: the oldest one gives way when there are too many."""
    monkeypatch.setattr(state, "MAX_PENDING", 2)
    for number in (1, 2, 3):
        registrar.challenge(replace(ue, impu=f"sip:{number}@ims.test", call_id=f"reg-{number}"), number)
    pending = registrar.core._state._pending
    assert [impu for _, impu in pending] == ["sip:2@ims.test", "sip:3@ims.test"]
