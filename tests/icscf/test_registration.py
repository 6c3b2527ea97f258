"""REGISTER at the I-CSCF (TS 24.229 5.3.1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from opencscf.common.actions import Action, Branch, FinalResponse, Forward, Question, Relay, Report, Respond
from opencscf.common.errors import ParseError, PeerUnavailable
from opencscf.common.sip.message import Request, Response
from opencscf.diameter.cx import (
    ServerCapabilities,
    UserAuthorizationAnswer,
    UserAuthorizationRequest,
    UserAuthorizationType,
)
from opencscf.diameter.results import Result

DOMAIN = "ims.mnc001.mcc001.3gppnetwork.org"
IMPI = f"001010000000001@{DOMAIN}"
IMPU = f"sip:001010000000001@{DOMAIN}"
SCSCF = f"sip:scscf.{DOMAIN}:6060"
SCSCF2 = f"sip:scscf2.{DOMAIN}:6060;transport=tcp"
AUTHORIZATION = f'Digest username="{IMPI}",realm="{DOMAIN}",uri="sip:{DOMAIN}",nonce="",response=""'

Run = Callable[..., tuple[list[Question[Any]], list[Action]]]


def make_register(
    *,
    to: str = f"<{IMPU}>",
    contact: str | None = "<sip:001010000000001@127.0.2.1:5060>",
    expires: str | None = "600000",
    authorization: str | None = AUTHORIZATION,
    visited: str | None = f'"{DOMAIN}"',
    routes: tuple[str, ...] = (),
) -> Request:
    headers = [
        ("Via", "SIP/2.0/UDP 127.0.1.10:5060;branch=z9hG4bKp1"),
        *(("Route", route) for route in routes),
        ("Max-Forwards", "69"),
        ("From", f"{to};tag=ue1"),
        ("To", to),
        ("Call-ID", "reg-1"),
        ("CSeq", "1 REGISTER"),
        ("Path", "<sip:token@127.0.1.10:5060;lr>"),
    ]
    if contact:
        headers.append(("Contact", contact))
    if expires:
        headers.append(("Expires", expires))
    if authorization:
        headers.append(("Authorization", authorization))
    if visited:
        headers.append(("P-Visited-Network-ID", visited))
    return Request.new("REGISTER", f"sip:{DOMAIN}", headers)


def sent_to(request: Request, scscf: str) -> FinalResponse:
    """The forwarding of a REGISTER to an S-CSCF."""
    copy = request.copy()
    copy.uri = scscf
    return FinalResponse(Forward((Branch(copy),)))


def answered(request: Request, status: int) -> Response:
    return Response.to_request(request, status, to_tag="s1")


def uar(kind: UserAuthorizationType = UserAuthorizationType.REGISTRATION) -> UserAuthorizationRequest:
    return UserAuthorizationRequest(IMPI, IMPU, DOMAIN, kind)


def refused(request: Request, status: int, reason: str, level: str = "info", **fields: str) -> list[Action]:
    about: dict[str, str | int | float | None] = {
        "call_id": "reg-1",
        "cseq": "1 REGISTER",
        "status": status,
        "reason": reason,
    }
    return [Respond(request, status, reason), Report("refused", {**about, **fields}, level)]


WHO = {"impi": IMPI, "impu": IMPU}
UNAVAILABLE = PeerUnavailable("hss.ims", "no answer in 4 s")
TO_SCSCF = UserAuthorizationAnswer(Result.SUBSEQUENT_REGISTRATION, SCSCF)


@pytest.mark.parametrize(
    ("uaa", "scscf"),
    [
        pytest.param(
            UserAuthorizationAnswer(Result.SUBSEQUENT_REGISTRATION, SCSCF), SCSCF, id="IC-01 S-CSCF named by the HSS"
        ),
        pytest.param(UserAuthorizationAnswer(Result.SUCCESS, SCSCF), SCSCF, id="IC-01 plain success, as for type 1"),
        pytest.param(
            UserAuthorizationAnswer(Result.FIRST_REGISTRATION),
            SCSCF,
            id="IC-01 Open5GS names nobody, first one is taken",
        ),
        pytest.param(
            UserAuthorizationAnswer(Result.FIRST_REGISTRATION, None, ServerCapabilities(frozenset({2}))),
            SCSCF2,
            id="IC-03 only the second one has the mandatory capability",
        ),
        pytest.param(
            UserAuthorizationAnswer(Result.FIRST_REGISTRATION, f"other.{DOMAIN}:7070"),
            f"sip:other.{DOMAIN}:7070",
            id="IC-02 Server-Name without scheme, with port",
        ),
        pytest.param(
            UserAuthorizationAnswer(Result.FIRST_REGISTRATION, f"sip:scscf2.{DOMAIN}"),
            SCSCF2,
            id="IC-02 Server-Name without port of an S-CSCF we know",
        ),
        pytest.param(
            UserAuthorizationAnswer(Result.FIRST_REGISTRATION, "sip:elsewhere.example;transport=tcp"),
            "sip:elsewhere.example;transport=tcp",
            id="IC-02 Server-Name with transport of one we do not know",
        ),
    ],
)
def test_forwards_to_the_scscf(run: Run, uaa: UserAuthorizationAnswer, scscf: str) -> None:
    register = make_register()
    response = answered(register, 401)
    asked, actions = run(register, uaa, response)
    assert asked == [uar(), sent_to(register, scscf)]
    assert actions == [Relay(response)]


@pytest.mark.parametrize(
    ("register", "question"),
    [
        pytest.param(make_register(), uar(), id="IC-01 private identity from Authorization"),
        pytest.param(make_register(authorization=None), uar(), id="IC-01 private identity derived from To"),
        pytest.param(make_register(authorization='Basic username="x"'), uar(), id="IC-01 credentials of another kind"),
        pytest.param(
            make_register(visited='"Visited, network"'),
            UserAuthorizationRequest(IMPI, IMPU, "Visited, network"),
            id="IC-01 quoted visited network",
        ),
        pytest.param(
            make_register(visited="other.net;x=1, second.net"),
            UserAuthorizationRequest(IMPI, IMPU, "other.net"),
            id="IC-01 visited network as a token, first of two",
        ),
        pytest.param(make_register(visited=None), uar(), id="IC-01 without visited network the home network"),
        pytest.param(
            make_register(to=f"<sip:001010000000001@{DOMAIN.upper()}:5060;x=y>"), uar(), id="IC-01 To in canonical form"
        ),
        pytest.param(make_register(expires="0"), uar(UserAuthorizationType.DE_REGISTRATION), id="CX-01 Expires 0"),
        pytest.param(
            make_register(expires="0", contact="*"), uar(UserAuthorizationType.DE_REGISTRATION), id="CX-01 asterisk"
        ),
        pytest.param(
            make_register(contact="<sip:a@127.0.2.1>;expires=0"),
            uar(UserAuthorizationType.DE_REGISTRATION),
            id="CX-01 contact with expires 0",
        ),
        pytest.param(
            make_register(expires="0", contact="<sip:a@127.0.2.1>;expires=600"),
            uar(),
            id="CX-01 contact's expires outranks Expires",
        ),
        pytest.param(
            make_register(contact="<sip:a@127.0.2.1>;expires=0, <sip:b@127.0.2.1>"), uar(), id="CX-01 one contact stays"
        ),
        pytest.param(make_register(expires="0", contact=None), uar(), id="CX-01 a query deregisters nobody"),
    ],
)
def test_asks_the_hss(run: Run, register: Request, question: UserAuthorizationRequest) -> None:
    asked, _ = run(register, TO_SCSCF, answered(register, 401))
    assert asked[0] == question


@pytest.mark.parametrize(
    ("result", "status"),
    [
        pytest.param(Result.USER_UNKNOWN, 403, id="IC-04 unknown user"),
        pytest.param(Result.IDENTITIES_DONT_MATCH, 403, id="IC-04 identities do not match"),
        pytest.param(Result.ROAMING_NOT_ALLOWED, 403, id="IC-04 roaming not allowed"),
        pytest.param(Result.AUTHORIZATION_REJECTED, 403, id="IC-04 authorization rejected"),
        pytest.param(Result.IDENTITY_NOT_REGISTERED, 403, id="IC-04 deregistration of somebody not registered"),
        pytest.param(Result.IDENTITY_ALREADY_REGISTERED, 403, id="IC-04 Open5GS on a User-Name without digits"),
        pytest.param(Result.TOO_BUSY, 480, id="IC-05 HSS too busy"),
        pytest.param(Result.UNABLE_TO_DELIVER, 480, id="IC-05 not delivered"),
        pytest.param(Result.UNABLE_TO_COMPLY, 480, id="IC-05 HSS unable to comply"),
        pytest.param(Result(5001), 480, id="IC-05 CX-11 base 5001 is not experimental 5001"),
        pytest.param(Result(5999, 10415), 480, id="IC-05 CX-11 unknown code"),
    ],
)
def test_refusal_by_the_hss(run: Run, result: Result, status: int) -> None:
    register = make_register()
    _, actions = run(register, UserAuthorizationAnswer(result))
    assert actions == refused(register, status, f"HSS answers UAR with {result}", step="UAR", **WHO)


def test_hss_unavailable(run: Run) -> None:
    """IC-05."""
    register = make_register()
    _, actions = run(register, UNAVAILABLE)
    assert actions == refused(
        register, 504, "HSS unavailable", "warning", step="UAR", peer="hss.ims: no answer in 4 s", **WHO
    )


@pytest.mark.parametrize(
    "uaa",
    [
        pytest.param(
            UserAuthorizationAnswer(Result.FIRST_REGISTRATION, None, ServerCapabilities(frozenset({3}))),
            id="IC-03 nobody has the capability",
        ),
        pytest.param(UserAuthorizationAnswer(Result.FIRST_REGISTRATION, "not a name"), id="IC-01 unusable name"),
    ],
)
def test_no_scscf_fits(run: Run, uaa: UserAuthorizationAnswer) -> None:
    register = make_register()
    _, actions = run(register, uaa)
    reason = "no S-CSCF has the capabilities the HSS asks for"
    assert actions == refused(register, 600, reason, "warning", step="selection", **WHO)


@pytest.mark.parametrize(
    "silence",
    [
        pytest.param(answered(make_register(), 408), id="IC-06 no answer"),
        pytest.param(answered(make_register(), 480), id="IC-06 480"),
        pytest.param(answered(make_register(), 305), id="IC-06 3xx"),
        pytest.param(PeerUnavailable("scscf", "connection refused"), id="IC-06 unreachable"),
    ],
)
def test_another_scscf_takes_over(run: Run, silence: Response | PeerUnavailable) -> None:
    register = make_register()
    response = answered(register, 401)
    asked, actions = run(register, TO_SCSCF, silence, TO_SCSCF, response)
    assert asked == [
        uar(),
        sent_to(register, SCSCF),
        uar(UserAuthorizationType.REGISTRATION_AND_CAPABILITIES),
        sent_to(register, SCSCF2),
    ]
    assert actions == [Relay(response)]


def test_chosen_scscf_is_replaced_without_asking_again(run: Run) -> None:
    """IC-06: the capabilities are known already."""
    register = make_register()
    response = answered(register, 401)
    asked, actions = run(
        register, UserAuthorizationAnswer(Result.FIRST_REGISTRATION), answered(register, 408), response
    )
    assert asked == [uar(), sent_to(register, SCSCF), sent_to(register, SCSCF2)]
    assert actions == [Relay(response)]


@pytest.mark.parametrize(
    ("first", "why"),
    [
        pytest.param(answered(make_register(), 408), "408 Request Timeout", id="IC-06 silent"),
        pytest.param(answered(make_register(), 480), "480 Temporarily Unavailable", id="IC-06 its own trouble"),
    ],
)
def test_no_scscf_is_left(run: Run, first: Response, why: str) -> None:
    """IC-06: 504, and the operator reads what each one said."""
    register = make_register()
    _, actions = run(register, TO_SCSCF, first, TO_SCSCF, PeerUnavailable("scscf2", "refused"))
    peers = f"scscf.{DOMAIN}:6060: {why}; scscf2.{DOMAIN}:6060: refused"
    reason = "no S-CSCF takes the REGISTER"
    assert actions == refused(register, 504, reason, "warning", step="forward", peer=peers, **WHO)


def test_hss_fails_while_another_scscf_is_sought(run: Run) -> None:
    """IC-05 IC-06."""
    register = make_register()
    _, actions = run(register, TO_SCSCF, answered(register, 408), UNAVAILABLE)
    assert actions == refused(
        register, 504, "HSS unavailable", "warning", step="UAR", peer="hss.ims: no answer in 4 s", **WHO
    )


def test_deregistration_goes_to_no_other_scscf(run: Run) -> None:
    """IC-06 is for registrations: another S-CSCF has nothing to take away."""
    register = make_register(expires="0")
    _, actions = run(register, TO_SCSCF, answered(register, 408))
    peer = f"scscf.{DOMAIN}:6060: 408 Request Timeout"
    reason = "no S-CSCF takes the REGISTER"
    assert actions == refused(register, 504, reason, "warning", step="forward", peer=peer, **WHO)


@pytest.mark.parametrize("status", [200, 401, 403, 423, 500, 504])
def test_scscf_decides(run: Run, status: int) -> None:
    """IC-02: what the S-CSCF answers goes back as it is."""
    register = make_register()
    response = answered(register, status)
    _, actions = run(register, TO_SCSCF, response)
    assert actions == [Relay(response)]


def test_own_route_is_taken_off(run: Run) -> None:
    register = make_register(routes=(f"<sip:icscf.{DOMAIN};lr>",))
    asked, _ = run(register, TO_SCSCF, answered(register, 401))
    assert asked[1] == sent_to(make_register(), SCSCF)


def test_further_route_is_followed(run: Run) -> None:
    register = make_register(routes=(f"<sip:icscf.{DOMAIN};lr>", "<sip:127.0.9.9;lr>"))
    _, actions = run(register)
    assert actions == [Forward((Branch(make_register(routes=("<sip:127.0.9.9;lr>",))),))]


@pytest.mark.parametrize(
    "register",
    [
        pytest.param(
            make_register(to="<tel:+15550000001>", authorization=None), id="To from which no identity derives"
        ),
        pytest.param(make_register(authorization="Digest ,,"), id="malformed Authorization"),
        pytest.param(make_register(contact="<<>>"), id="malformed Contact"),
    ],
)
def test_malformed(run: Run, register: Request) -> None:
    """The runtime answers the error's status."""
    with pytest.raises(ParseError) as fault:
        run(register)
    assert fault.value.status == 400


def test_every_challenge_and_token_passes(run: Run) -> None:
    """RFC 8760 2.4, RFC 8898 2.1: whose order and schemes are between UE and registrar."""
    register = make_register(authorization="Bearer dGhlIHRva2Vu.eyJ==")
    register.append("Authorization", AUTHORIZATION)
    challenge = answered(register, 401)
    challenge.append("WWW-Authenticate", 'Digest realm="r", nonce="1", algorithm=SHA-256')
    challenge.append("WWW-Authenticate", 'Bearer authz_server="https://as.ims.test"')
    challenge.append("WWW-Authenticate", 'Digest realm="r", nonce="2", algorithm=MD5')
    uaa = UserAuthorizationAnswer(Result.SUCCESS, server_name=SCSCF)
    asked, actions = run(register, uaa, challenge)
    assert asked == [uar(), sent_to(register, SCSCF)]
    assert actions == [Relay(challenge)]
