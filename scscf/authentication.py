"""Authentication of a REGISTER with IMS-AKA (TS 24.229 5.4.1.2.1, 5.4.1.2.1A, 5.4.1.2.3A; RFC 3310; TS 33.203 6.1).

Not covered: SIP Digest, AKAv2, several vectors from one MAR.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opencscf.common.actions import Action, Procedure, Report, Respond, SetTimer, Start
from opencscf.common.errors import ParseError, PeerUnavailable
from opencscf.common.ims.refusal import hss_unavailable, refuse_register, story
from opencscf.common.sip import digest
from opencscf.diameter.cx import MultimediaAuthRequest, ServerAssignmentRequest, ServerAssignmentType
from opencscf.diameter.results import Result
from opencscf.scscf.state import PendingAuthentication

if TYPE_CHECKING:
    from opencscf.common.ims.aka import AuthVector
    from opencscf.common.ims.identity import Impi, Impu
    from opencscf.common.ims.register import Register
    from opencscf.scscf.config import ScscfConfig
    from opencscf.scscf.state import ScscfState

REG_AWAIT_AUTH = "reg-await-auth"  # TS 24.229 table 7.8.1; one timer, for the challenge that ends next
AKAV1_MD5 = "AKAv1-MD5"

# What the HSS has decided about the user; all else is its own trouble, and the UE shall try again.
FORBIDDEN = frozenset({
    Result.USER_UNKNOWN, Result.ROAMING_NOT_ALLOWED, Result.IDENTITY_ALREADY_REGISTERED, Result.AUTHORIZATION_REJECTED,
})  # fmt: skip


async def authenticate(register: Register, state: ScscfState, config: ScscfConfig, now: float) -> list[Action] | None:
    """Return None if the user is who the REGISTER claims, else the actions that answer it."""
    pending = state.pending_for(register, now)
    if pending is None:
        if _is_refresh(register, state, now):
            return None
        return await _challenge(register, state, config, now)
    if register.credential("auts"):
        return await _resynchronise(register, pending, state, config, now)
    wrong = _what_is_wrong(register, pending, config.scscf.domain)
    if wrong is None:
        return None
    return await _fail(register, state, config, now, wrong)


def _is_refresh(register: Register, state: ScscfState, now: float) -> bool:
    """Whether the integrity of a registered UE's REGISTER is protected, and it answers no other challenge (5.4.1.2.2).

    Such a UE repeats the nonce of its last authentication, or none. We could challenge it anew; our policy is not to.
    """
    registration = state.registration(register.impi, register.impu)
    if not register.is_protected or registration is None or not registration.live(now):
        return False
    return register.credential("nonce") in {"", registration.nonce}


async def _challenge(
    register: Register,
    state: ScscfState,
    config: ScscfConfig,
    now: float,
    *,
    resync: bytes | None = None,
    resyncs: int = 0,
) -> list[Action]:
    """Get a vector and send it to the UE (5.4.1.2.1, 5.4.1.2.1A)."""
    try:
        maa = await MultimediaAuthRequest(register.impi, register.impu, config.scscf.server_name, resync=resync)
    except PeerUnavailable as fault:
        return hss_unavailable(register, "MAR", fault)
    if not maa.result.is_success:
        return refuse_register(
            register, _mar_status(maa.result, resync), f"HSS answers MAR with {maa.result}", step="MAR"
        )
    if not maa.vectors:
        return refuse_register(register, 504, "HSS gives no authentication vector", level="warning", step="MAR")
    vector = maa.vectors[0]
    nonce = digest.aka_nonce(vector.rand, vector.autn)
    pending = PendingAuthentication(
        register.impi,
        register.impu,
        register.request.call_id,
        nonce,
        vector,
        now + config.registration.await_auth_s,
        resyncs,
    )
    state.await_answer(pending)
    return [
        Respond(register.request, 401, headers=(("WWW-Authenticate", _challenge_text(vector, nonce, config)),)),
        *_await_auth_timer(state, now),
        Report("challenged", story(register.request, impi=register.impi, impu=register.impu, resyncs=resyncs)),
    ]


def _mar_status(result: Result, resync: bytes | None) -> int:
    """Choose the refusal of a MAR.

    A HSS that lost its state (5002) needs the UAR that comes with a new registration, which is what a UE does after
    504 (5.1.1.4.1). One that does not accept AUTS will not accept the next one either.
    """
    if result in FORBIDDEN or (resync is not None and result == Result.AUTH_SCHEME_NOT_SUPPORTED):
        return 403
    return 504 if result in {Result.IDENTITIES_DONT_MATCH, Result.IDENTITY_NOT_REGISTERED} else 480


def _challenge_text(vector: AuthVector, nonce: str, config: ScscfConfig) -> str:
    """Write WWW-Authenticate; ck and ik are for the P-CSCF, which takes them out (7.2A.1)."""
    return (
        f'Digest realm="{config.scscf.domain}", nonce="{nonce}", algorithm={AKAV1_MD5}, qop="auth", '
        f'ck="{vector.ck.hex()}", ik="{vector.ik.hex()}"'
    )


async def _resynchronise(
    register: Register, pending: PendingAuthentication, state: ScscfState, config: ScscfConfig, now: float
) -> list[Action]:
    """Tell the HSS which sequence number the UE expects, and challenge again, but not for ever (5.4.1.2.3A)."""
    resyncs = pending.resyncs + 1
    if resyncs > config.registration.max_resyncs:
        wrong = f"UE still out of sequence after {pending.resyncs} resynchronisations, check SQN and OPc of HSS and SIM"
        return await _fail(register, state, config, now, wrong)
    try:
        auts = digest.parse_auts(register.credential("auts"))
    except ParseError:
        return await _fail(register, state, config, now, "malformed auts")
    state.end_authentication(register.impi, register.impu)
    resync = pending.vector.rand + auts
    return await _challenge(register, state, config, now, resync=resync, resyncs=resyncs)


def _what_is_wrong(register: Register, pending: PendingAuthentication, domain: str) -> str | None:
    """Compare the UE's response with XRES (5.4.1.2.2, RFC 3310 3.3); None if it is right."""
    credentials = register.credentials
    if credentials is None or not credentials.get("response"):
        return "UE rejects the network's authentication, check K and OPc of HSS and SIM"
    if register.credential("realm").lower() != domain.lower():
        return "credentials for another realm"
    if register.credential("algorithm").lower() not in {"", AKAV1_MD5.lower()}:
        return f"credentials with an algorithm other than {AKAV1_MD5}"
    if not digest.verify(credentials, "REGISTER", password=pending.vector.xres, entity_body=register.request.body):
        return "wrong response, check K and OPc of HSS and SIM"
    return None


async def _fail(register: Register, state: ScscfState, config: ScscfConfig, now: float, wrong: str) -> list[Action]:
    """End the attempt with 403; the HSS shall know if there is no registration that goes on (5.4.1.2.3A)."""
    state.end_authentication(register.impi, register.impu)
    if not _is_registered(state, register.impu, now):
        await tell_hss(register.impi, register.impu, config, ServerAssignmentType.AUTHENTICATION_FAILURE)
    return refuse_register(register, 403, wrong, step="authentication")


async def tell_hss(impi: Impi, impu: Impu, config: ScscfConfig, kind: ServerAssignmentType) -> str:
    """Report the end of a registration or of an attempt; what the HSS says to it changes nothing here."""
    try:
        saa = await ServerAssignmentRequest(impi, impu, config.scscf.server_name, kind)
    except PeerUnavailable as fault:
        return str(fault)
    return str(saa.result)


def on_await_auth_timer(state: ScscfState, config: ScscfConfig, now: float) -> list[Action]:
    """Give up on the challenges that nobody has answered in time (5.4.1.2.3)."""
    state.is_await_auth_timer_set = False
    actions: list[Action] = []
    while (pending := state.oldest_pending()) is not None and pending.expires_at <= now:
        state.end_authentication(pending.impi, pending.impu)
        why = "no answer to the challenge; if the UE got it: check K, OPc and SQN of HSS and SIM"
        actions.append(Report("unauthenticated", {"impi": pending.impi, "impu": pending.impu, "reason": why}))
        if not _is_registered(state, pending.impu, now):
            actions.append(Start(Procedure(pending.impi, _on_timeout(pending, state, config, now))))
    return actions + _await_auth_timer(state, now)


async def _on_timeout(
    pending: PendingAuthentication, state: ScscfState, config: ScscfConfig, now: float
) -> list[Action]:
    has_tried_again = state.is_challenged(pending.impi, pending.impu)  # while this procedure waited
    if not has_tried_again and not _is_registered(state, pending.impu, now):
        await tell_hss(pending.impi, pending.impu, config, ServerAssignmentType.AUTHENTICATION_TIMEOUT)
    return []


def _await_auth_timer(state: ScscfState, now: float) -> list[Action]:
    if state.is_await_auth_timer_set or (oldest := state.oldest_pending()) is None:
        return []
    state.is_await_auth_timer_set = True
    return [SetTimer(REG_AWAIT_AUTH, max(0.0, oldest.expires_at - now))]


def _is_registered(state: ScscfState, impu: Impu, now: float) -> bool:
    return any(registration.live(now) for registration in state.registrations(impu))
