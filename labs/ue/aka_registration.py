"""Registration of a UE with IMS-AKA (TS 24.229 5.1.1, TS 33.203 6.1, RFC 3310).

Not covered: security agreement. The UE asks for none, and the P-CSCF of the lab lets it in without.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from opencscf.common.errors import ParseError
from opencscf.common.ims.aka import Agreement, MacFailure, SyncFailure
from opencscf.common.node.trace import host_port
from opencscf.common.sip import digest
from opencscf.common.sip.headers import Challenge, Credentials, NameAddr
from opencscf.labs.ue.endpoint import StepError
from opencscf.labs.ue.ue import ALLOW, MMTEL

if TYPE_CHECKING:
    from opencscf.common.sip.message import Request, Response
    from opencscf.labs.ue.ue import Ue

EXPIRES_S = 600_000  # what a UE asks for (5.1.1.2.1)
MAX_CHALLENGES = 4  # a resynchronisation needs two; more than this is a loop, not a registration


async def register(ue: Ue, *, expires_s: int = EXPIRES_S) -> None:
    """Register, or re-register if registered already; keep what the network says in its 200 (OK)."""
    response = await _register(ue, expires_s)
    registration = ue.registration
    registration.service_route = tuple(response.values("Service-Route"))
    registration.associated_uris = tuple(address.uri for address in _addresses(response, "P-Associated-URI"))
    registration.expires_s = _granted_s(ue, response)
    if not registration.is_active:
        raise StepError(f"{ue.name}: the 200 to REGISTER does not list {ue.contact} with a lifetime")


async def deregister(ue: Ue) -> None:
    """End the registration (5.1.1.6)."""
    await _register(ue, expires_s=0)
    ue.registration.expires_s = 0
    ue.registration.service_route = ()


async def _register(ue: Ue, expires_s: int) -> Response:
    """Send REGISTER and answer challenges until the network is content."""
    step = "REGISTER" if expires_s else "de-REGISTER"
    authorization = _empty_credentials(ue)
    for _ in range(MAX_CHALLENGES):
        request = _register_request(ue, expires_s, authorization)
        response = await ue.endpoint.ask(request, ue.pcscf, patience_s=ue.patience_s, step=step)
        if response.status != 401:
            ue.expect(response, step, 200)
            return response
        authorization = _answer_challenge(ue, response)
    raise StepError(f"{ue.name}: {step} was challenged {MAX_CHALLENGES} times and never accepted")


def _register_request(ue: Ue, expires_s: int, authorization: Credentials) -> Request:
    registration = ue.registration
    registration.cseq += 1
    contact = f'<{ue.contact}>;expires={expires_s};+g.3gpp.icsi-ref="{MMTEL}"'
    headers = [
        ("From", f"<{ue.impu}>;tag={registration.from_tag}"),
        ("To", f"<{ue.impu}>"),
        ("Call-ID", registration.call_id),
        ("CSeq", f"{registration.cseq} REGISTER"),
        ("Contact", contact),
        ("Authorization", str(authorization)),
        ("Expires", str(expires_s)),
        ("Supported", "path"),
        ("Allow", ALLOW),
        ("User-Agent", "OpenCSCF-lab-UE"),
    ]
    return ue.new_request("REGISTER", _registrar(ue), headers)


def _registrar(ue: Ue) -> str:
    return f"sip:{ue.sim.domain}"


def _empty_credentials(ue: Ue) -> Credentials:
    """Say who asks before there is a challenge (5.1.1.2.2)."""
    uri = _registrar(ue)
    return Credentials("Digest", {"username": ue.impi, "realm": ue.sim.domain, "nonce": "", "uri": uri, "response": ""})


def _answer_challenge(ue: Ue, response: Response) -> Credentials:
    """Let the USIM judge the challenge: RES if it accepts, AUTS if the sequence number is not fresh (RFC 3310 3)."""
    challenge = _challenge(ue, response)
    nonce = challenge.get("nonce") or ""
    try:
        rand, autn = digest.parse_aka_nonce(nonce)
    except ParseError as error:
        raise StepError(f"{ue.name}: the challenge's nonce is no RAND and AUTN: {error}") from error
    match ue.usim.challenge(rand, autn):
        case Agreement(res=res):
            return _credentials(ue, challenge, res)
        case SyncFailure(auts=auts):
            answer = _credentials(ue, challenge, b"")
            return answer.with_params(auts=digest.format_auts(auts))
        case MacFailure():
            raise StepError(
                f"{ue.name}: the network's challenge is not made with this SIM's key; check K and OP or OPc"
            )


def _challenge(ue: Ue, response: Response) -> Challenge:
    challenges = [Challenge.parse(text) for text in response.get_all("WWW-Authenticate")]
    challenge = digest.preferred(challenges, ["AKAv1-MD5"])
    if challenge is None:
        raise StepError(f"{ue.name}: the 401 to REGISTER has no challenge with AKAv1-MD5")
    return challenge


def _credentials(ue: Ue, challenge: Challenge, password: bytes) -> Credentials:
    params = {
        "username": str(ue.impi),
        "realm": challenge.get("realm") or "",
        "nonce": challenge.get("nonce") or "",
        "uri": _registrar(ue),
        "algorithm": "AKAv1-MD5",
    }
    if "auth" in [option.strip() for option in (challenge.get("qop") or "").split(",")]:
        params |= {"qop": "auth", "nc": "00000001", "cnonce": secrets.token_hex(8)}
    if challenge.get("opaque") is not None:
        params["opaque"] = challenge.get("opaque") or ""
    params["response"] = digest.response(
        username=params["username"],
        realm=params["realm"],
        nonce=params["nonce"],
        uri=params["uri"],
        method="REGISTER",
        password=password,
        qop=params.get("qop", ""),
        nc=params.get("nc", ""),
        cnonce=params.get("cnonce", ""),
        algorithm=params["algorithm"],
    )
    return Credentials("Digest", params)


def _granted_s(ue: Ue, response: Response) -> int:
    """Find how long our own contact is registered for; `expires` of the contact counts before Expires."""
    for contact in response.contacts:
        if contact.sip_uri.user == ue.sim.imsi and host_port(ue.endpoint.local) in contact.uri:
            return contact.expires if contact.expires is not None else response.expires or 0
    return 0


def _addresses(response: Response, name: str) -> list[NameAddr]:
    return [NameAddr.parse(value) for value in response.values(name)]
