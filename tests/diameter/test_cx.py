"""Every Cx message has a vector: the AVPs it consists of, in octets (TS 29.229 6.1)."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from opencscf.common.errors import ParseError
from opencscf.common.ims.aka import AuthVector
from opencscf.diameter import cx, dictionary
from opencscf.diameter.codec import Avp, Avps, decode_avps, encode_avps
from opencscf.diameter.cx import (
    ChargingInformation,
    LocationInfoAnswer,
    LocationInfoRequest,
    MultimediaAuthAnswer,
    MultimediaAuthRequest,
    ServerAssignmentAnswer,
    ServerAssignmentRequest,
    ServerAssignmentType,
    ServerCapabilities,
    UserAuthorizationAnswer,
    UserAuthorizationRequest,
    UserAuthorizationType,
)
from opencscf.diameter.results import Result, result_avps

IMPI = "001010000000001@ims.test"
IMPU = "sip:001010000000001@ims.test"
SCSCF = "sip:scscf.ims.test:5060"
VECTOR = AuthVector(bytes(range(16)), bytes(range(16, 32)), b"\x11" * 8, b"\x22" * 16, b"\x33" * 16)


def tgpp(code: int, data: bytes | int | str, *, mandatory: bool = True) -> Avp:
    return Avp(code, octets(data), 10415, mandatory)


def octets(data: bytes | int | str) -> bytes:
    if isinstance(data, int):
        return data.to_bytes(4, "big")
    return data.encode() if isinstance(data, str) else data


SUCCESS = Avp(268, octets(2001))
ITEM = b"".join(
    avp.encode()
    for avp in (
        tgpp(613, 1),
        tgpp(608, "Digest-AKAv1-MD5"),
        tgpp(609, VECTOR.rand + VECTOR.autn),
        tgpp(610, VECTOR.xres),
        tgpp(625, VECTOR.ck),
        tgpp(626, VECTOR.ik),
    )
)
VECTORS: list[tuple[Any, list[Avp]]] = [
    (
        UserAuthorizationRequest(IMPI, IMPU, "ims.test"),
        [Avp(1, IMPI.encode()), tgpp(601, IMPU), tgpp(600, "ims.test"), tgpp(623, 0)],
    ),
    (
        UserAuthorizationRequest(IMPI, IMPU, "ims.test", UserAuthorizationType.DE_REGISTRATION, is_emergency=True),
        [
            Avp(1, IMPI.encode()),
            tgpp(601, IMPU),
            tgpp(600, "ims.test"),
            tgpp(623, 1),
            tgpp(637, 1, mandatory=False),
        ],
    ),
    (
        UserAuthorizationAnswer(Result.FIRST_REGISTRATION, None, ServerCapabilities(frozenset({1, 2}), frozenset({9}))),
        [
            Avp(297, Avp(266, octets(10415)).encode() + Avp(298, octets(2001)).encode()),
            tgpp(603, tgpp(604, 1).encode() + tgpp(604, 2).encode() + tgpp(605, 9).encode()),
        ],
    ),
    (
        UserAuthorizationAnswer(Result.SUBSEQUENT_REGISTRATION, SCSCF),
        [Avp(297, Avp(266, octets(10415)).encode() + Avp(298, octets(2002)).encode()), tgpp(602, SCSCF)],
    ),
    (
        MultimediaAuthRequest(IMPI, IMPU, SCSCF),
        [
            Avp(1, IMPI.encode()),
            tgpp(601, IMPU),
            tgpp(612, tgpp(608, "Digest-AKAv1-MD5").encode()),
            tgpp(607, 1),
            tgpp(602, SCSCF),
        ],
    ),
    (
        MultimediaAuthRequest(IMPI, IMPU, SCSCF, resync=bytes(30)),
        [
            Avp(1, IMPI.encode()),
            tgpp(601, IMPU),
            tgpp(612, tgpp(608, "Digest-AKAv1-MD5").encode() + tgpp(610, bytes(30)).encode()),
            tgpp(607, 1),
            tgpp(602, SCSCF),
        ],
    ),
    (MultimediaAuthAnswer(Result.SUCCESS, (VECTOR,)), [SUCCESS, tgpp(607, 1), tgpp(612, ITEM)]),
    (
        ServerAssignmentRequest(IMPI, IMPU, SCSCF, ServerAssignmentType.REGISTRATION),
        [Avp(1, IMPI.encode()), tgpp(601, IMPU), tgpp(602, SCSCF), tgpp(614, 1), tgpp(624, 0)],
    ),
    (
        ServerAssignmentRequest(None, IMPU, SCSCF, ServerAssignmentType.UNREGISTERED_USER, data_already_available=True),
        [tgpp(601, IMPU), tgpp(602, SCSCF), tgpp(614, 3), tgpp(624, 1)],
    ),
    (
        ServerAssignmentAnswer(Result.SUCCESS, b"<IMSSubscription/>", ChargingInformation(primary_collection="pcrf")),
        [SUCCESS, tgpp(606, b"<IMSSubscription/>"), tgpp(618, tgpp(621, "pcrf").encode())],
    ),
    (LocationInfoRequest(IMPU), [tgpp(601, IMPU)]),
    (LocationInfoRequest(IMPU, is_originating=True), [tgpp(601, IMPU), tgpp(633, 0)]),
    (
        LocationInfoAnswer(Result.SUCCESS, SCSCF, wildcarded_identity="sip:!.*!@ims.test"),
        [SUCCESS, tgpp(602, SCSCF), tgpp(634, "sip:!.*!@ims.test", mandatory=False)],
    ),
]
MESSAGES = [
    value
    for value in vars(cx).values()
    if isinstance(value, type) and value.__module__ == cx.__name__ and hasattr(value, "from_avps")
]


@pytest.mark.parametrize(("message", "avps"), VECTORS, ids=[f"CX-10 {type(m).__name__}" for m, _ in VECTORS])
def test_vectors(message: Any, avps: list[Avp]) -> None:  # each row has its own type
    assert message.encode() == encode_avps(avps)
    assert type(message).from_avps(Avps(message.encode())) == message
    assert type(message).from_avps(avps) == message
    assert type(message).from_avps(avps[::-1]) == message or isinstance(message, ServerCapabilities)


@pytest.mark.parametrize("message", MESSAGES)
def test_every_message_has_a_vector(message: type) -> None:
    assert message in {type(vector) for vector, _ in VECTORS}


@pytest.mark.parametrize(("message", "avps"), VECTORS, ids=[type(m).__name__ for m, _ in VECTORS])
def test_missing_avps_are_named(message: Any, avps: list[Avp]) -> None:  # each row has its own type
    for left_out in range(len(avps)):
        rest = avps[:left_out] + avps[left_out + 1 :]
        try:
            type(message).from_avps(rest)
        except ParseError as error:
            name = dictionary.avp_name(avps[left_out].code, avps[left_out].vendor)
            assert name in error.reason or "Result-Code" in error.reason  # noqa: PT017  # some AVPs are optional


def test_questions_read_their_own_answers() -> None:
    uar = UserAuthorizationRequest(IMPI, IMPU, "ims.test")
    assert uar.read_answer(result_avps(Result.USER_UNKNOWN)) == UserAuthorizationAnswer(Result.USER_UNKNOWN)
    lir = LocationInfoRequest(IMPU)
    assert lir.read_answer(result_avps(Result.USER_UNKNOWN)) == LocationInfoAnswer(Result.USER_UNKNOWN)
    sar = ServerAssignmentRequest(IMPI, IMPU, SCSCF, ServerAssignmentType.REGISTRATION)
    assert sar.read_answer(result_avps(Result.SUCCESS)) == ServerAssignmentAnswer(Result.SUCCESS)
    mar = MultimediaAuthRequest(IMPI, IMPU, SCSCF)
    assert mar.read_answer(result_avps(Result.USER_UNKNOWN)) == MultimediaAuthAnswer(Result.USER_UNKNOWN)


def test_maa_vectors_come_in_the_order_of_their_use() -> None:
    other = dataclasses.replace(VECTOR, rand=b"\x44" * 16)
    avps = decode_avps(MultimediaAuthAnswer(Result.SUCCESS, (VECTOR, other)).encode())
    assert MultimediaAuthAnswer.from_avps(avps[::-1]).vectors == (VECTOR, other)


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        pytest.param([], "MAA without SIP-Authenticate", id="CX-06 no challenge"),
        pytest.param([tgpp(608, "SIP Digest")], "scheme 'SIP Digest'", id="CX-06 another scheme"),
        pytest.param([tgpp(609, bytes(16))], "SIP-Authenticate has 16 octets", id="CX-06 half a challenge"),
        pytest.param([tgpp(609, bytes(32))], "MAA without SIP-Authorization", id="CX-06 no XRES"),
        pytest.param(
            [tgpp(609, bytes(32)), tgpp(610, bytes(8))], "MAA without Confidentiality-Key", id="CX-06 no keys"
        ),
    ],
)
def test_success_without_a_usable_vector_is_no_answer(item: list[Avp], reason: str) -> None:
    with pytest.raises(ParseError, match=reason):
        MultimediaAuthAnswer.from_avps([SUCCESS, dictionary.SIP_AUTH_DATA_ITEM.group(*item)])


def test_success_without_any_item_is_no_answer() -> None:
    with pytest.raises(ParseError, match="MAA without SIP-Auth-Data-Item"):
        MultimediaAuthAnswer.from_avps([SUCCESS])


def test_value_outside_an_enumeration_is_named() -> None:
    avps = list(decode_avps(ServerAssignmentRequest(IMPI, IMPU, SCSCF, ServerAssignmentType.REGISTRATION).encode()))
    avps[3] = dictionary.SERVER_ASSIGNMENT_TYPE.number(99)
    with pytest.raises(ParseError, match="Server-Assignment-Type has no value 99"):
        ServerAssignmentRequest.from_avps(avps)


def test_keys_are_never_shown() -> None:
    shown = repr(MultimediaAuthAnswer(Result.SUCCESS, (VECTOR,)))
    assert repr(VECTOR.rand) in shown
    for key in (VECTOR.xres, VECTOR.ck, VECTOR.ik):
        assert repr(key) not in shown
