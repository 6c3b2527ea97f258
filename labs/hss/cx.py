"""The HSS's side of Cx: UAR, MAR, SAR and LIR (TS 29.228 6.1 and 6.3, TS 29.229 6.1).

Not covered: RTR and PPR, wildcarded identities, several private identities in one subscription, IMS restoration,
roaming and emergency registration restrictions.
"""

from __future__ import annotations

import enum
import hashlib
import sqlite3
from typing import TYPE_CHECKING, Final, TypeVar

from opencscf.common.errors import ParseError
from opencscf.common.ims.aka import AUTS_BYTES, AuthVector, make_vector, next_sqn, resynchronised_sqn, verify_auts
from opencscf.common.ims.milenage import RAND_BYTES
from opencscf.diameter.cx import ServerAssignmentType, UserAuthorizationType
from opencscf.labs import diameter_codec as codec
from opencscf.labs.diameter_codec import Answer, Avp, AvpError, Grammar, Key, Received, ResultCode, make
from opencscf.labs.diameter_peer import Reporter, vendor_specific_application
from opencscf.labs.hss.profile import user_profile
from opencscf.labs.hss.subscription import Subscription, UserState, canonical

if TYPE_CHECKING:
    from collections.abc import Callable

    from opencscf.common.ids import Ids
    from opencscf.labs.hss.config import HssSettings
    from opencscf.labs.hss.database import Database

E = TypeVar("E", bound=enum.IntEnum)

MAX_VECTORS: Final = 5  # in one answer
NO_STATE_MAINTAINED: Final = 1
AKA_SCHEME: Final = "Digest-AKAv1-MD5"
DIGEST_SCHEME: Final = "SIP Digest"
UNKNOWN_SCHEME: Final = "Unknown"  # the HSS chooses, TS 29.228 6.3

PUBLIC_IDENTITY: Final = Key(601, codec.VENDOR_3GPP)
VISITED_NETWORK_IDENTIFIER: Final = Key(600, codec.VENDOR_3GPP)
SERVER_NAME: Final = Key(602, codec.VENDOR_3GPP)
SERVER_CAPABILITIES: Final = Key(603, codec.VENDOR_3GPP)
MANDATORY_CAPABILITY: Final = Key(604, codec.VENDOR_3GPP)
OPTIONAL_CAPABILITY: Final = Key(605, codec.VENDOR_3GPP)
USER_DATA: Final = Key(606, codec.VENDOR_3GPP)
SIP_NUMBER_AUTH_ITEMS: Final = Key(607, codec.VENDOR_3GPP)
SIP_AUTHENTICATION_SCHEME: Final = Key(608, codec.VENDOR_3GPP)
SIP_AUTHENTICATE: Final = Key(609, codec.VENDOR_3GPP)
SIP_AUTHORIZATION: Final = Key(610, codec.VENDOR_3GPP)
SIP_AUTH_DATA_ITEM: Final = Key(612, codec.VENDOR_3GPP)
SIP_ITEM_NUMBER: Final = Key(613, codec.VENDOR_3GPP)
SERVER_ASSIGNMENT_TYPE: Final = Key(614, codec.VENDOR_3GPP)
USER_AUTHORIZATION_TYPE: Final = Key(623, codec.VENDOR_3GPP)
USER_DATA_ALREADY_AVAILABLE: Final = Key(624, codec.VENDOR_3GPP)
CONFIDENTIALITY_KEY: Final = Key(625, codec.VENDOR_3GPP)
INTEGRITY_KEY: Final = Key(626, codec.VENDOR_3GPP)
ORIGINATING_REQUEST: Final = Key(633, codec.VENDOR_3GPP)
SIP_DIGEST_AUTHENTICATE: Final = Key(635, codec.VENDOR_3GPP)
DIGEST_REALM: Final = Key(104)
DIGEST_QOP: Final = Key(110)
DIGEST_ALGORITHM: Final = Key(111)
DIGEST_HA1: Final = Key(121)

# Experimental-Result-Code, TS 29.229 6.2
FIRST_REGISTRATION: Final = ResultCode(2001, codec.VENDOR_3GPP)
SUBSEQUENT_REGISTRATION: Final = ResultCode(2002, codec.VENDOR_3GPP)
UNREGISTERED_SERVICE: Final = ResultCode(2003, codec.VENDOR_3GPP)
USER_UNKNOWN: Final = ResultCode(5001, codec.VENDOR_3GPP)
IDENTITIES_DONT_MATCH: Final = ResultCode(5002, codec.VENDOR_3GPP)
IDENTITY_NOT_REGISTERED: Final = ResultCode(5003, codec.VENDOR_3GPP)
IDENTITY_ALREADY_REGISTERED: Final = ResultCode(5005, codec.VENDOR_3GPP)
AUTH_SCHEME_NOT_SUPPORTED: Final = ResultCode(5006, codec.VENDOR_3GPP)
IN_ASSIGNMENT_TYPE: Final = ResultCode(5007, codec.VENDOR_3GPP)


_COMMON: Final = (
    codec.SESSION_ID,
    codec.VENDOR_SPECIFIC_APPLICATION_ID,
    codec.AUTH_SESSION_STATE,
    codec.ORIGIN_HOST,
    codec.ORIGIN_REALM,
    codec.DESTINATION_REALM,
)


def _grammar(name: str, required: tuple[Key, ...], single: tuple[Key, ...] = ()) -> Grammar:
    return Grammar(name, (*_COMMON, *required), frozenset({*_COMMON, *required, codec.DESTINATION_HOST, *single}))


GRAMMARS: Final = {
    300: _grammar("UAR", (codec.USER_NAME, PUBLIC_IDENTITY, VISITED_NETWORK_IDENTIFIER), (USER_AUTHORIZATION_TYPE,)),
    301: _grammar("SAR", (SERVER_NAME, SERVER_ASSIGNMENT_TYPE, USER_DATA_ALREADY_AVAILABLE), (codec.USER_NAME,)),
    302: _grammar("LIR", (PUBLIC_IDENTITY,), (ORIGINATING_REQUEST, USER_AUTHORIZATION_TYPE)),
    303: _grammar("MAR", (codec.USER_NAME, PUBLIC_IDENTITY, SIP_AUTH_DATA_ITEM, SIP_NUMBER_AUTH_ITEMS, SERVER_NAME)),
}


class Refused(Exception):  # noqa: N818 a refusal is an answer, not an error
    """The request is answered with this result and these AVPs."""

    def __init__(self, result: ResultCode, *avps: Avp) -> None:
        super().__init__(f"{result.code}")
        self.answer = Answer(result, avps)


class CxApplication:
    """Answers Cx requests out of the database."""

    application_id = codec.CX_APPLICATION
    product_name = "OpenCSCF lab HSS"
    grammars = GRAMMARS
    answer_avps = (
        vendor_specific_application(codec.CX_APPLICATION),
        make(codec.AUTH_SESSION_STATE, NO_STATE_MAINTAINED),
    )

    def __init__(self, settings: HssSettings, database: Database, ids: Ids, report: Reporter) -> None:
        self._settings = settings
        self._database = database
        self._ids = ids
        self._report = report
        self._procedures: dict[int, Callable[[Received], Answer]] = {
            300: self._on_user_authorization,
            301: self._on_server_assignment,
            302: self._on_location_info,
            303: self._on_multimedia_auth,
        }

    def answer(self, request: Received) -> Answer:
        """Answer one request."""
        try:
            answer = self._procedures[request.command](request)
        except Refused as refusal:
            answer = refusal.answer
        except sqlite3.Error as error:
            self._report.event("error", "database-failed", reason=str(error))
            answer = Answer(codec.UNABLE_TO_COMPLY)
        self._report.event(
            "debug",
            GRAMMARS[request.command].name.lower(),
            peer=request.text(codec.ORIGIN_HOST),
            impi=request.text(codec.USER_NAME),
            impu=request.text(PUBLIC_IDENTITY),
            code=answer.result.code,
        )
        return answer

    def commit(self) -> bool:
        """Commit the registrations of a batch of requests before their answers leave."""
        try:
            self._database.commit()
        except sqlite3.Error as error:
            self._report.event("error", "database-failed", reason=str(error))
            return False
        return True

    def _on_user_authorization(self, request: Received) -> Answer:
        """May this user register, and which S-CSCF serves them (TS 29.228 6.1.1.1)."""
        subscription = self._subscription(request)
        if not subscription.is_registrable:
            return Answer(codec.AUTHORIZATION_REJECTED)
        wanted = _enumerated(
            request, USER_AUTHORIZATION_TYPE, UserAuthorizationType, UserAuthorizationType.REGISTRATION
        )
        if wanted is UserAuthorizationType.REGISTRATION_AND_CAPABILITIES:
            return Answer(codec.SUCCESS, self._capabilities())
        if wanted is UserAuthorizationType.DE_REGISTRATION:
            if subscription.state is UserState.NOT_REGISTERED:
                return Answer(IDENTITY_NOT_REGISTERED)
            return Answer(codec.SUCCESS, (_server_name(subscription),))
        if subscription.server_name:  # assigned, or busy authenticating the user
            return Answer(SUBSEQUENT_REGISTRATION, (_server_name(subscription),))
        return Answer(FIRST_REGISTRATION, self._capabilities())

    def _on_multimedia_auth(self, request: Received) -> Answer:
        """Hand out authentication data, and note the S-CSCF that asked for it (TS 29.228 6.3.1)."""
        subscription = self._subscription(request)
        item = request.groups(SIP_AUTH_DATA_ITEM)[0]
        scheme = item.text(SIP_AUTHENTICATION_SCHEME) or UNKNOWN_SCHEME
        server_name = request.text(SERVER_NAME) or ""
        if scheme.casefold() in {AKA_SCHEME.casefold(), UNKNOWN_SCHEME.casefold()}:
            wanted = max(1, min(request.number(SIP_NUMBER_AUTH_ITEMS) or 1, MAX_VECTORS))
            items = self._aka_items(subscription, item.octets(SIP_AUTHORIZATION), server_name, wanted)
        elif scheme.casefold() == DIGEST_SCHEME.casefold() and subscription.password:
            items = [self._digest_item(subscription)]
        else:
            return Answer(AUTH_SCHEME_NOT_SUPPORTED)
        if subscription.server_name != server_name or (
            subscription.state is not UserState.REGISTERED and not subscription.is_auth_pending
        ):
            subscription.server_name = server_name
            subscription.is_auth_pending = True
            self._database.save(subscription)
        identities = (request.first(codec.USER_NAME), request.first(PUBLIC_IDENTITY))
        return Answer(codec.SUCCESS, (*identities, make(SIP_NUMBER_AUTH_ITEMS, len(items)), *items))

    def _aka_items(self, subscription: Subscription, resync: bytes | None, server_name: str, wanted: int) -> list[Avp]:
        """Make vectors that were never used, after a resynchronisation if the UE asked for one."""
        if resync is not None:
            if subscription.server_name != server_name:
                raise Refused(codec.UNABLE_TO_COMPLY)
            self._resynchronise(subscription, resync)
        items = []
        for number in range(1, wanted + 1):
            try:
                sqn = next_sqn(subscription.sqn)
            except ParseError as error:
                self._report.event("error", "sqn-used-up", impi=subscription.impi)
                raise Refused(codec.UNABLE_TO_COMPLY) from error
            self._database.use_sqn(subscription, sqn)
            vector = self._vector(subscription, sqn)
            members = [
                make(SIP_ITEM_NUMBER, number),
                make(SIP_AUTHENTICATION_SCHEME, AKA_SCHEME),
                make(SIP_AUTHENTICATE, vector.rand + vector.autn),
                make(SIP_AUTHORIZATION, vector.xres),
                make(CONFIDENTIALITY_KEY, vector.ck),
                make(INTEGRITY_KEY, vector.ik),
            ]
            items.append(make(SIP_AUTH_DATA_ITEM, members))
        return items

    def _vector(self, subscription: Subscription, sqn: int) -> AuthVector:
        """Make a vector of a fresh RAND, drawn again if RES must not hold a zero octet."""
        while True:
            rand = self._ids.octets(RAND_BYTES)
            vector = make_vector(subscription.k, subscription.opc, sqn, subscription.amf, rand)
            if not (self._settings.hss.avoid_zero_octet_in_res and 0 in vector.xres):
                return vector

    def _resynchronise(self, subscription: Subscription, resync: bytes) -> None:
        """Take over the UE's sequence number if its AUTS is genuine (TS 33.102 6.3.5)."""
        if len(resync) != RAND_BYTES + AUTS_BYTES:
            raise AvpError(codec.INVALID_AVP_VALUE, "SIP-Authorization is not RAND and AUTS")
        sqn_ms = verify_auts(subscription.k, subscription.opc, resync[:RAND_BYTES], resync[RAND_BYTES:])
        if sqn_ms is None:
            self._report.event("warning", "resync-refused", impi=subscription.impi, reason="MAC-S is wrong")
            raise Refused(codec.UNABLE_TO_COMPLY)
        sqn = resynchronised_sqn(subscription.sqn, sqn_ms)
        if sqn != subscription.sqn:
            self._database.reserve_from(subscription, sqn)
            subscription.sqn = sqn
        self._report.event("info", "resynchronised", impi=subscription.impi)

    def _digest_item(self, subscription: Subscription) -> Avp:
        """Make what SIP Digest needs (TS 29.229 6.3.36)."""
        realm = self._settings.domain
        # RFC 2617 knows MD5 only, and so does a softphone
        ha1 = hashlib.md5(f"{subscription.impi}:{realm}:{subscription.password}".encode(), usedforsecurity=False)
        digest = [
            make(DIGEST_REALM, realm),
            make(DIGEST_ALGORITHM, "MD5"),
            make(DIGEST_QOP, "auth"),
            make(DIGEST_HA1, ha1.hexdigest()),
        ]
        members = [
            make(SIP_ITEM_NUMBER, 1),
            make(SIP_AUTHENTICATION_SCHEME, DIGEST_SCHEME),
            make(SIP_DIGEST_AUTHENTICATE, digest, mandatory=False),
        ]
        return make(SIP_AUTH_DATA_ITEM, members)

    def _on_server_assignment(self, request: Received) -> Answer:
        """Note which S-CSCF serves the user in which state, and give it the profile (TS 29.228 6.1.2.1)."""
        kind = _enumerated(request, SERVER_ASSIGNMENT_TYPE, ServerAssignmentType, None)
        subscription = self._assigned_subscription(request, kind)
        server_name = request.text(SERVER_NAME) or ""
        match kind:
            case ServerAssignmentType.REGISTRATION | ServerAssignmentType.RE_REGISTRATION:
                self._assign(subscription, server_name, UserState.REGISTERED)
            case ServerAssignmentType.UNREGISTERED_USER:
                self._assign(subscription, server_name, UserState.UNREGISTERED)
            case ServerAssignmentType.NO_ASSIGNMENT | ServerAssignmentType.RESTORATION:
                if subscription.server_name != server_name:
                    raise Refused(codec.UNABLE_TO_COMPLY)
            case ServerAssignmentType.AUTHENTICATION_FAILURE | ServerAssignmentType.AUTHENTICATION_TIMEOUT:
                _refuse_other_servers(subscription, server_name)
                self._end_authentication(subscription)
                return Answer(codec.SUCCESS, _user_name(request))
            case (
                ServerAssignmentType.TIMEOUT_DEREGISTRATION_STORE_SERVER_NAME
                | ServerAssignmentType.USER_DEREGISTRATION_STORE_SERVER_NAME
            ):
                _refuse_other_servers(subscription, server_name)
                self._store(subscription, server_name, UserState.UNREGISTERED)
                return Answer(codec.SUCCESS, _user_name(request))
            case ServerAssignmentType.AAA_USER_DATA_REQUEST | ServerAssignmentType.PGW_UPDATE:  # of SWx, not of Cx
                return Answer(IN_ASSIGNMENT_TYPE)
            case _:  # the deregistrations
                _refuse_other_servers(subscription, server_name)
                self._store(subscription, "", UserState.NOT_REGISTERED)
                return Answer(codec.SUCCESS, _user_name(request))
        profile: tuple[Avp, ...] = ()
        if request.number(USER_DATA_ALREADY_AVAILABLE) == 0:
            profile = (make(USER_DATA, user_profile(subscription)),)
        return Answer(codec.SUCCESS, (make(codec.USER_NAME, subscription.impi), *profile))

    def _assigned_subscription(self, request: Received, kind: ServerAssignmentType) -> Subscription:
        """Find whom a SAR is about: deregistrations may name several identities, or the private one only."""
        identities = request.all(PUBLIC_IDENTITY)
        names_one = kind in {
            ServerAssignmentType.NO_ASSIGNMENT,
            ServerAssignmentType.REGISTRATION,
            ServerAssignmentType.RE_REGISTRATION,
            ServerAssignmentType.UNREGISTERED_USER,
        }
        if names_one and len(identities) > 1:
            raise AvpError(codec.AVP_OCCURS_TOO_MANY_TIMES, "several Public-Identity in an assignment", identities[1])
        if not identities and (names_one or request.first(codec.USER_NAME) is None):
            raise codec.missing(PUBLIC_IDENTITY)
        return self._subscription(request)

    def _assign(self, subscription: Subscription, server_name: str, state: UserState) -> None:
        if subscription.state is not UserState.NOT_REGISTERED and subscription.server_name != server_name:
            raise Refused(IDENTITY_ALREADY_REGISTERED, _server_name(subscription))
        self._store(subscription, server_name, state)

    def _end_authentication(self, subscription: Subscription) -> None:
        """Forget the S-CSCF of a registration that failed; one that stands is not touched."""
        if subscription.state is UserState.NOT_REGISTERED:
            self._store(subscription, "", UserState.NOT_REGISTERED)
        else:
            self._store(subscription, subscription.server_name, subscription.state)

    def _store(self, subscription: Subscription, server_name: str, state: UserState) -> None:
        before = (subscription.server_name, subscription.state, subscription.is_auth_pending)
        subscription.server_name = server_name
        subscription.state = state
        subscription.is_auth_pending = False
        if before != (server_name, state, False):
            self._database.save(subscription)

    def _on_location_info(self, request: Received) -> Answer:
        """Find the S-CSCF of the user of a call (TS 29.228 6.1.4.1)."""
        subscription = self._subscription(request)
        wanted = _enumerated(
            request, USER_AUTHORIZATION_TYPE, UserAuthorizationType, UserAuthorizationType.REGISTRATION
        )
        if wanted is UserAuthorizationType.REGISTRATION_AND_CAPABILITIES:
            return Answer(codec.SUCCESS, self._capabilities())
        if subscription.state is not UserState.NOT_REGISTERED:
            return Answer(codec.SUCCESS, (_server_name(subscription),))
        if self._settings.hss.unregistered_services or request.number(ORIGINATING_REQUEST) == 0:
            return Answer(UNREGISTERED_SERVICE, self._capabilities())
        return Answer(IDENTITY_NOT_REGISTERED)

    def _subscription(self, request: Received) -> Subscription:
        """Find the subscriber of the identities in a request, which must all be known and belong together."""
        impi = request.text(codec.USER_NAME)
        found = [self._database.by_impu.get(canonical(codec.text_of(avp))) for avp in request.all(PUBLIC_IDENTITY)]
        if impi is not None:
            found.append(self._database.by_impi.get(impi))
        subscription = found[0]
        if subscription is None or None in found:
            raise Refused(USER_UNKNOWN)
        if any(other is not subscription for other in found):
            raise Refused(IDENTITIES_DONT_MATCH)
        return subscription

    def _capabilities(self) -> tuple[Avp, ...]:
        """Make Server-Capabilities, or nothing if any S-CSCF will do (TS 29.228 6.7)."""
        table = self._settings.hss
        members = [make(MANDATORY_CAPABILITY, number) for number in table.mandatory_capabilities]
        members += [make(OPTIONAL_CAPABILITY, number) for number in table.optional_capabilities]
        members += [make(SERVER_NAME, name) for name in table.server_names]
        return (make(SERVER_CAPABILITIES, members),) if members else ()


def _server_name(subscription: Subscription) -> Avp:
    return make(SERVER_NAME, subscription.server_name)


def _user_name(request: Received) -> tuple[Avp, ...]:
    return tuple(request.all(codec.USER_NAME))


def _refuse_other_servers(subscription: Subscription, server_name: str) -> None:
    """Let nobody end what another S-CSCF serves; what has ended already may be ended again."""
    if subscription.server_name not in {"", server_name}:
        raise Refused(codec.UNABLE_TO_COMPLY)


def _enumerated(request: Received, key: Key, kind: type[E], default: E | None) -> E:
    number = request.number(key)
    if number is None and default is not None:
        return default
    try:
        return kind(-1 if number is None else number)
    except ValueError:
        avp = request.first(key)
        raise AvpError(codec.INVALID_AVP_VALUE, f"{kind.__name__} has no value {number}", avp) from None
