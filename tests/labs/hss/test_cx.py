"""Cx as the HSS answers it (TS 29.228 6.1, 6.3; TS 29.229 6.1)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from opencscf.common.ims.aka import Agreement, SyncFailure, Usim
from opencscf.diameter.cx import ServerAssignmentType as Sat
from opencscf.labs import diameter_codec as codec
from opencscf.labs.diameter_codec import Avp, Received, ResultCode, make
from opencscf.labs.diameter_peer import result_of
from opencscf.labs.hss import cx
from opencscf.labs.hss.subscription import UserState

if TYPE_CHECKING:
    from collections.abc import Callable

REALM = "ims.mnc001.mcc001.3gppnetwork.org"
IMPI = f"001010000000001@{REALM}"
IMPU = f"sip:001010000000001@{REALM}"
OTHER_IMPU = f"sip:001010000000002@{REALM}"
SCSCF = f"sip:scscf.{REALM}:5060"
OTHER_SCSCF = f"sip:scscf2.{REALM}:5060"
K = bytes.fromhex("fec86ba6eb707ed08905757b1bb44b8f")
OPC = bytes.fromhex("1006020f0a478bf6b699f15c062e42b3")

# What the fixtures of conftest.py give, which cannot be imported from there.
Hss: TypeAlias = Any
MakeHss: TypeAlias = Any

UAR, SAR, LIR, MAR = 300, 301, 302, 303


def _uar(impi: str = IMPI, impu: str = IMPU, kind: int | None = None) -> list[Avp]:
    avps = [make(codec.USER_NAME, impi), make(cx.PUBLIC_IDENTITY, impu)]
    avps.append(make(cx.VISITED_NETWORK_IDENTIFIER, REALM.encode()))
    return avps if kind is None else [*avps, make(cx.USER_AUTHORIZATION_TYPE, kind)]


def _mar(
    scheme: str = "Digest-AKAv1-MD5", *, resync: bytes | None = None, items: int = 1, scscf: str = SCSCF
) -> list[Avp]:
    item = [make(cx.SIP_AUTHENTICATION_SCHEME, scheme)]
    if resync is not None:
        item.append(make(cx.SIP_AUTHORIZATION, resync))
    return [
        make(codec.USER_NAME, IMPI),
        make(cx.PUBLIC_IDENTITY, IMPU),
        make(cx.SIP_NUMBER_AUTH_ITEMS, items),
        make(cx.SIP_AUTH_DATA_ITEM, item),
        make(cx.SERVER_NAME, scscf),
    ]


def _sar(kind: int, *, scscf: str = SCSCF, impus: tuple[str, ...] = (IMPU,), has_data: bool = False) -> list[Avp]:
    return [
        make(codec.USER_NAME, IMPI),
        *(make(cx.PUBLIC_IDENTITY, impu) for impu in impus),
        make(cx.SERVER_NAME, scscf),
        make(cx.SERVER_ASSIGNMENT_TYPE, kind),
        make(cx.USER_DATA_ALREADY_AVAILABLE, int(has_data)),
    ]


def _failed(answer: Received) -> list[int]:
    return [avp.code for group in answer.groups(codec.FAILED_AVP) for avp in group.everything()]


class TestUserAuthorization:
    def test_first_registration(self, hss: Hss) -> None:
        """29.228-6.1.1.1: no S-CSCF is named, and no capability asked for."""
        answer = hss.ask(UAR, *_uar())
        assert result_of(answer) == cx.FIRST_REGISTRATION
        assert answer.first(cx.SERVER_NAME) is None
        assert answer.first(cx.SERVER_CAPABILITIES) is None

    def test_answers_common_avps(self, hss: Hss) -> None:
        """29.229-6.1.2: what every answer has, Session-Id first."""
        answer = hss.ask(UAR, *_uar())
        assert answer.avps[0].code == codec.SESSION_ID.code
        assert [avp.code for avp in answer.avps] == [263, 260, 277, 297, 264, 296]
        assert answer.header.hop_by_hop_identifier == 1
        assert answer.header.end_to_end_identifier == 2
        assert not answer.is_request
        assert not answer.header.is_error

    def test_capabilities_are_offered(self, make_hss: MakeHss) -> None:
        hss = make_hss(f'mandatory_capabilities = [1, 2]\noptional_capabilities = [7]\nserver_names = ["{SCSCF}"]')
        for answer, result in (
            (hss.ask(UAR, *_uar()), cx.FIRST_REGISTRATION),
            (hss.ask(UAR, *_uar(kind=2)), codec.SUCCESS),
        ):
            assert result_of(answer) == result
            (group,) = answer.groups(cx.SERVER_CAPABILITIES)
            assert [codec.number_of(avp) for avp in group.all(cx.MANDATORY_CAPABILITY)] == [1, 2]
            assert group.number(cx.OPTIONAL_CAPABILITY) == 7
            assert group.text(cx.SERVER_NAME) == SCSCF

    @pytest.mark.parametrize(
        ("request_avps", "result"),
        [
            pytest.param(_uar(impi=f"999@{REALM}"), cx.USER_UNKNOWN, id="29.228-6.1.1.1 unknown IMPI"),
            pytest.param(_uar(impu=f"sip:999@{REALM}"), cx.USER_UNKNOWN, id="29.228-6.1.1.1 unknown IMPU"),
            pytest.param(_uar(impu=OTHER_IMPU), cx.IDENTITIES_DONT_MATCH, id="29.228-6.1.1.1 IMPU of another IMPI"),
            pytest.param(_uar(kind=1), cx.IDENTITY_NOT_REGISTERED, id="29.228-6.1.1.1 nothing to deregister"),
            pytest.param(_uar(kind=9), codec.INVALID_AVP_VALUE, id="unknown User-Authorization-Type"),
            pytest.param(_uar()[:2], codec.MISSING_AVP, id="no Visited-Network-Identifier"),
            pytest.param([*_uar(), *_uar()[:1]], codec.AVP_OCCURS_TOO_MANY_TIMES, id="two User-Name"),
        ],
    )
    def test_refusals(self, hss: Hss, request_avps: list[Avp], result: ResultCode) -> None:
        assert result_of(hss.ask(UAR, *request_avps)) == result

    def test_registered_user(self, hss: Hss) -> None:
        hss.ask(SAR, *_sar(Sat.REGISTRATION))
        again, leaving = hss.ask(UAR, *_uar()), hss.ask(UAR, *_uar(kind=1))
        assert result_of(again) == cx.SUBSEQUENT_REGISTRATION
        assert result_of(leaving) == codec.SUCCESS
        assert again.text(cx.SERVER_NAME) == leaving.text(cx.SERVER_NAME) == SCSCF

    def test_user_being_authenticated(self, hss: Hss) -> None:
        """29.228-6.1.1.1: the second REGISTER goes to the S-CSCF that sent the challenge."""
        hss.ask(MAR, *_mar())
        answer = hss.ask(UAR, *_uar())
        assert result_of(answer) == cx.SUBSEQUENT_REGISTRATION
        assert answer.text(cx.SERVER_NAME) == SCSCF

    def test_only_barred_identities(self, hss: Hss) -> None:
        subscription = hss.database.by_impi[IMPI]
        subscription.identities = ()
        assert result_of(hss.ask(UAR, *_uar())) == codec.AUTHORIZATION_REJECTED

    @pytest.mark.parametrize(
        "impu",
        [
            f"sip:15550000001@{REALM}",
            f"sip:+15550000001@{REALM.upper()};user=phone",
            "tel:+15550000001",
            "tel:+1-555-000-0001",
            IMPU,
        ],
    )
    def test_forms_of_an_identity(self, hss: Hss, impu: str) -> None:
        assert result_of(hss.ask(UAR, *_uar(impu=impu))) == cx.FIRST_REGISTRATION


class TestMultimediaAuth:
    def _challenge(self, answer: Received) -> tuple[bytes, bytes]:
        octets = answer.groups(cx.SIP_AUTH_DATA_ITEM)[0].octets(cx.SIP_AUTHENTICATE) or b""
        return octets[:16], octets[16:]

    def test_vector_is_accepted_by_the_usim(self, hss: Hss) -> None:
        """29.228-6.3.1, 29.229-6.3.13."""
        answer = hss.ask(MAR, *_mar())
        assert result_of(answer) == codec.SUCCESS
        assert answer.text(codec.USER_NAME) == IMPI
        assert answer.text(cx.PUBLIC_IDENTITY) == IMPU
        assert answer.number(cx.SIP_NUMBER_AUTH_ITEMS) == 1
        (item,) = answer.groups(cx.SIP_AUTH_DATA_ITEM)
        assert item.number(cx.SIP_ITEM_NUMBER) == 1
        assert item.text(cx.SIP_AUTHENTICATION_SCHEME) == "Digest-AKAv1-MD5"
        agreed = Usim(K, OPC).challenge(*self._challenge(answer))
        assert agreed == Agreement(
            item.octets(cx.SIP_AUTHORIZATION) or b"",
            item.octets(cx.CONFIDENTIALITY_KEY) or b"",
            item.octets(cx.INTEGRITY_KEY) or b"",
        )

    def test_each_vector_is_new(self, hss: Hss) -> None:
        usim = Usim(K, OPC)
        for _ in range(40):  # more than IND has values
            assert isinstance(usim.challenge(*self._challenge(hss.ask(MAR, *_mar()))), Agreement)

    @pytest.mark.parametrize(("wanted", "given"), [(0, 1), (3, 3), (1000, 5)])
    def test_several_vectors(self, hss: Hss, wanted: int, given: int) -> None:
        answer = hss.ask(MAR, *_mar(items=wanted))
        items = answer.groups(cx.SIP_AUTH_DATA_ITEM)
        assert answer.number(cx.SIP_NUMBER_AUTH_ITEMS) == given
        assert [item.number(cx.SIP_ITEM_NUMBER) for item in items] == list(range(1, given + 1))

    def test_resynchronisation(self, hss: Hss) -> None:
        """33.102-6.3.5: a USIM far ahead is asked once, then agrees."""
        usim = Usim(K, OPC, sqn_ms=123456 << 5)
        rand, autn = self._challenge(hss.ask(MAR, *_mar()))
        failure = usim.challenge(rand, autn)
        assert isinstance(failure, SyncFailure)
        answer = hss.ask(MAR, *_mar(resync=rand + failure.auts))
        assert result_of(answer) == codec.SUCCESS
        assert isinstance(usim.challenge(*self._challenge(answer)), Agreement)

    @pytest.mark.parametrize(
        ("resync", "scscf", "result"),
        [
            pytest.param(bytes(30), SCSCF, codec.UNABLE_TO_COMPLY, id="33.102-6.3.5 forged AUTS"),
            pytest.param(bytes(29), SCSCF, codec.INVALID_AVP_VALUE, id="29.229-6.3.11 not RAND and AUTS"),
            pytest.param(bytes(30), OTHER_SCSCF, codec.UNABLE_TO_COMPLY, id="29.228-6.3.1 of another S-CSCF"),
        ],
    )
    def test_refused_resynchronisation(self, hss: Hss, resync: bytes, scscf: str, result: ResultCode) -> None:
        hss.ask(MAR, *_mar())
        sqn = hss.database.by_impi[IMPI].sqn
        assert result_of(hss.ask(MAR, *_mar(resync=resync, scscf=scscf))) == result
        assert hss.database.by_impi[IMPI].sqn == sqn

    @pytest.mark.parametrize("scheme", ["Unknown", "digest-akav1-md5"])
    def test_aka_is_the_choice(self, hss: Hss, scheme: str) -> None:
        (item,) = hss.ask(MAR, *_mar(scheme)).groups(cx.SIP_AUTH_DATA_ITEM)
        assert item.text(cx.SIP_AUTHENTICATION_SCHEME) == "Digest-AKAv1-MD5"

    def test_sip_digest(self, hss: Hss) -> None:
        """29.229-6.3.36 to 6.3.41."""
        (item,) = hss.ask(MAR, *_mar("SIP Digest")).groups(cx.SIP_AUTH_DATA_ITEM)
        (digest,) = item.groups(cx.SIP_DIGEST_AUTHENTICATE)
        assert item.text(cx.SIP_AUTHENTICATION_SCHEME) == "SIP Digest"
        assert digest.text(cx.DIGEST_REALM) == REALM
        assert digest.text(cx.DIGEST_QOP) == "auth"
        expected = hashlib.md5(f"{IMPI}:{REALM}:secret".encode()).hexdigest()  # noqa: S324 RFC 2617
        assert digest.text(cx.DIGEST_HA1) == expected
        assert not item.first(cx.SIP_DIGEST_AUTHENTICATE).is_mandatory

    def test_unknown_scheme(self, hss: Hss) -> None:
        assert result_of(hss.ask(MAR, *_mar("Digest-Foo"))) == cx.AUTH_SCHEME_NOT_SUPPORTED

    def test_numbers_used_up(self, hss: Hss) -> None:
        hss.database.by_impi[IMPI].sqn = (1 << 48) - 1
        assert result_of(hss.ask(MAR, *_mar())) == codec.UNABLE_TO_COMPLY

    def test_no_secret_is_reported(self, hss: Hss) -> None:
        hss.ask(MAR, *_mar())
        shown = repr(hss.reports) + repr(hss.database.by_impi[IMPI])
        for secret in (K, OPC):
            assert repr(secret) not in shown
            assert secret.hex() not in shown
        assert "secret" not in shown


class TestServerAssignment:
    def test_profile(self, hss: Hss) -> None:
        """29.228-6.1.2.1: the S-CSCF gets the implicit registration set, the default identity first."""
        answer = hss.ask(SAR, *_sar(Sat.REGISTRATION))
        assert result_of(answer) == codec.SUCCESS
        assert answer.text(codec.USER_NAME) == IMPI
        profile = (answer.octets(cx.USER_DATA) or b"").decode()
        assert f"<PrivateID>{IMPI}</PrivateID>" in profile
        places = [profile.index(f">{impu}<") for impu in (f"sip:15550000001@{REALM}", "tel:+15550000001", IMPU)]
        assert places == sorted(places)
        assert "<BarringIndication>1<" not in profile

    def test_imsi_identity_can_be_barred(self, make_hss: MakeHss) -> None:
        answer = make_hss("bar_imsi_identity = true").ask(SAR, *_sar(Sat.REGISTRATION))
        assert f"<BarringIndication>1</BarringIndication><Identity>{IMPU}<".encode() in answer.octets(cx.USER_DATA)

    def test_profile_is_not_repeated(self, hss: Hss) -> None:
        answer = hss.ask(SAR, *_sar(Sat.RE_REGISTRATION, has_data=True))
        assert answer.first(cx.USER_DATA) is None

    @pytest.mark.parametrize(
        ("kind", "state", "scscf"),
        [
            pytest.param(Sat.REGISTRATION, UserState.REGISTERED, SCSCF, id="registration"),
            pytest.param(Sat.RE_REGISTRATION, UserState.REGISTERED, SCSCF, id="re-registration"),
            pytest.param(Sat.UNREGISTERED_USER, UserState.UNREGISTERED, SCSCF, id="unregistered user"),
            pytest.param(Sat.NO_ASSIGNMENT, UserState.REGISTERED, SCSCF, id="no assignment"),
            pytest.param(Sat.RESTORATION, UserState.REGISTERED, SCSCF, id="restoration"),
            pytest.param(Sat.TIMEOUT_DEREGISTRATION, UserState.NOT_REGISTERED, "", id="timeout"),
            pytest.param(Sat.USER_DEREGISTRATION, UserState.NOT_REGISTERED, "", id="by the user"),
            pytest.param(Sat.ADMINISTRATIVE_DEREGISTRATION, UserState.NOT_REGISTERED, "", id="by the operator"),
            pytest.param(Sat.DEREGISTRATION_TOO_MUCH_DATA, UserState.NOT_REGISTERED, "", id="too much data"),
            pytest.param(
                Sat.TIMEOUT_DEREGISTRATION_STORE_SERVER_NAME, UserState.UNREGISTERED, SCSCF, id="timeout, name kept"
            ),
            pytest.param(
                Sat.USER_DEREGISTRATION_STORE_SERVER_NAME, UserState.UNREGISTERED, SCSCF, id="by the user, name kept"
            ),
            pytest.param(Sat.AUTHENTICATION_FAILURE, UserState.REGISTERED, SCSCF, id="failed re-authentication"),
            pytest.param(Sat.AUTHENTICATION_TIMEOUT, UserState.REGISTERED, SCSCF, id="re-authentication timed out"),
        ],
    )
    def test_registered_user(self, hss: Hss, kind: int, state: UserState, scscf: str) -> None:
        hss.ask(SAR, *_sar(Sat.REGISTRATION))
        assert result_of(hss.ask(SAR, *_sar(kind))) == codec.SUCCESS
        subscription = hss.database.by_impi[IMPI]
        assert (subscription.state, subscription.server_name) == (state, scscf)

    @pytest.mark.parametrize("kind", [Sat.AUTHENTICATION_FAILURE, Sat.AUTHENTICATION_TIMEOUT])
    def test_failed_registration(self, hss: Hss, kind: int) -> None:
        """29.228-6.1.2.1: the S-CSCF of a registration that never was is forgotten."""
        hss.ask(MAR, *_mar())
        assert result_of(hss.ask(SAR, *_sar(kind))) == codec.SUCCESS
        assert result_of(hss.ask(UAR, *_uar())) == cx.FIRST_REGISTRATION

    @pytest.mark.parametrize(
        ("kind", "result"),
        [
            pytest.param(Sat.REGISTRATION, cx.IDENTITY_ALREADY_REGISTERED, id="29.228-6.1.2.1 registered elsewhere"),
            pytest.param(Sat.UNREGISTERED_USER, cx.IDENTITY_ALREADY_REGISTERED, id="29.228-6.1.2.1 served elsewhere"),
            pytest.param(Sat.NO_ASSIGNMENT, codec.UNABLE_TO_COMPLY, id="29.228-6.1.2.1 not the S-CSCF assigned"),
            pytest.param(Sat.USER_DEREGISTRATION, codec.UNABLE_TO_COMPLY, id="29.228-6.1.2.1 not its user"),
            pytest.param(Sat.PGW_UPDATE, cx.IN_ASSIGNMENT_TYPE, id="29.228-6.1.2.1 a type of SWx"),
            pytest.param(99, codec.INVALID_AVP_VALUE, id="unknown type"),
        ],
    )
    def test_other_scscf(self, hss: Hss, kind: int, result: ResultCode) -> None:
        hss.ask(SAR, *_sar(Sat.REGISTRATION))
        answer = hss.ask(SAR, *_sar(kind, scscf=OTHER_SCSCF))
        assert result_of(answer) == result
        assert hss.database.by_impi[IMPI].server_name == SCSCF
        assert hss.database.by_impi[IMPI].state is UserState.REGISTERED

    def test_deregistration_may_be_repeated(self, hss: Hss) -> None:
        hss.ask(SAR, *_sar(Sat.REGISTRATION))
        for _ in range(2):
            assert result_of(hss.ask(SAR, *_sar(Sat.USER_DEREGISTRATION))) == codec.SUCCESS

    def test_several_identities(self, hss: Hss) -> None:
        both = (IMPU, "tel:+15550000001")
        assert result_of(hss.ask(SAR, *_sar(Sat.REGISTRATION, impus=both))) == codec.AVP_OCCURS_TOO_MANY_TIMES
        hss.ask(SAR, *_sar(Sat.REGISTRATION))
        assert result_of(hss.ask(SAR, *_sar(Sat.USER_DEREGISTRATION, impus=both))) == codec.SUCCESS

    def test_private_identity_alone(self, hss: Hss) -> None:
        hss.ask(SAR, *_sar(Sat.REGISTRATION))
        missing = hss.ask(SAR, *_sar(Sat.REGISTRATION, impus=()))
        assert result_of(missing) == codec.MISSING_AVP
        assert _failed(missing) == [cx.PUBLIC_IDENTITY.code]
        assert result_of(hss.ask(SAR, *_sar(Sat.USER_DEREGISTRATION, impus=()))) == codec.SUCCESS

    def test_no_identity(self, hss: Hss) -> None:
        answer = hss.ask(SAR, *_sar(Sat.USER_DEREGISTRATION, impus=())[1:])
        assert result_of(answer) == codec.MISSING_AVP


class TestLocationInfo:
    def _ask(self, hss: Hss, impu: str = IMPU, *more: Avp) -> Received:
        answer: Received = hss.ask(LIR, make(cx.PUBLIC_IDENTITY, impu), *more)
        return answer

    def test_registered_user(self, hss: Hss) -> None:
        hss.ask(SAR, *_sar(Sat.REGISTRATION))
        answer = self._ask(hss, "tel:+15550000001")
        assert result_of(answer) == codec.SUCCESS
        assert answer.text(cx.SERVER_NAME) == SCSCF

    def test_user_whose_unregistered_state_is_served(self, hss: Hss) -> None:
        hss.ask(SAR, *_sar(Sat.UNREGISTERED_USER))
        assert self._ask(hss).text(cx.SERVER_NAME) == SCSCF

    def test_user_not_registered(self, hss: Hss) -> None:
        assert result_of(self._ask(hss)) == cx.IDENTITY_NOT_REGISTERED

    def test_user_being_authenticated_is_not_registered(self, hss: Hss) -> None:
        hss.ask(MAR, *_mar())
        assert result_of(self._ask(hss)) == cx.IDENTITY_NOT_REGISTERED

    def test_services_of_the_unregistered_state(self, make_hss: MakeHss) -> None:
        hss = make_hss(f'unregistered_services = true\nserver_names = ["{SCSCF}"]')
        answer = self._ask(hss)
        assert result_of(answer) == cx.UNREGISTERED_SERVICE
        assert answer.groups(cx.SERVER_CAPABILITIES)[0].text(cx.SERVER_NAME) == SCSCF

    def test_originating_request(self, hss: Hss) -> None:
        originating = make(cx.ORIGINATING_REQUEST, 0)
        assert result_of(self._ask(hss, IMPU, originating)) == cx.UNREGISTERED_SERVICE

    def test_capabilities_are_wanted(self, hss: Hss) -> None:
        assert result_of(self._ask(hss, IMPU, make(cx.USER_AUTHORIZATION_TYPE, 2))) == codec.SUCCESS

    @pytest.mark.parametrize("impu", ["tel:+999", "sip:nobody@elsewhere.test", "rubbish", "sip:", "", "urn:x"])
    def test_unknown_user(self, hss: Hss, impu: str) -> None:
        assert result_of(self._ask(hss, impu)) == cx.USER_UNKNOWN


@pytest.mark.parametrize(
    ("payload", "result"),
    [
        pytest.param(b"sip:\xff@x", codec.INVALID_AVP_VALUE, id="not UTF-8"),
        pytest.param(b"sip:a\r\n@x", codec.INVALID_AVP_VALUE, id="control characters"),
    ],
)
def test_hostile_text(hss: Hss, payload: bytes, result: ResultCode) -> None:
    answer = hss.ask(LIR, Avp(*cx.PUBLIC_IDENTITY, payload=payload, flags=0x40))
    assert result_of(answer) == result
    assert _failed(answer) == [601]


@pytest.mark.parametrize(
    ("command", "break_avps", "result"),
    [
        pytest.param(UAR, lambda avps: [*avps, Avp(9999, flags=0x40)], codec.AVP_UNSUPPORTED, id="unknown, M bit"),
        pytest.param(UAR, lambda avps: [*avps, Avp(9999)], cx.FIRST_REGISTRATION, id="unknown, no M bit"),
        pytest.param(
            UAR,
            lambda avps: [*avps, Avp(*cx.USER_AUTHORIZATION_TYPE, payload=b"\0", flags=0x40)],
            codec.INVALID_AVP_LENGTH,
            id="number of one octet",
        ),
        pytest.param(
            MAR,
            lambda avps: [
                *avps[:3],
                Avp.from_bytes(bytes.fromhex("00000264c0000014000028af 0000026080ffffff")),
                avps[4],
            ],
            codec.INVALID_AVP_LENGTH,
            id="group with a member that is too long",
        ),
    ],
)
def test_strict_peer(hss: Hss, command: int, break_avps: Callable[[list[Avp]], list[Avp]], result: ResultCode) -> None:
    """RFC 6733 7.1.5"""
    avps = _uar() if command == UAR else _mar()
    assert result_of(hss.ask(command, *break_avps(avps))) == result


@pytest.mark.parametrize(
    ("key", "value", "result"),
    [
        pytest.param(codec.DESTINATION_HOST, b"other.example.org", codec.UNABLE_TO_DELIVER, id="another host"),
        pytest.param(codec.DESTINATION_HOST, f"HSS.{REALM}".encode(), cx.FIRST_REGISTRATION, id="this host"),
    ],
)
def test_destination_host(hss: Hss, key: codec.Key, value: bytes, result: ResultCode) -> None:
    """RFC 6733 6.1.6, 7.1.3"""
    answer = hss.ask(UAR, make(key, value), *_uar())
    assert result_of(answer) == result
    assert answer.header.is_error == result.is_protocol_error


def test_unknown_command(hss: Hss) -> None:
    answer = hss.ask(305)
    assert result_of(answer) == codec.COMMAND_UNSUPPORTED
    assert answer.header.is_error
