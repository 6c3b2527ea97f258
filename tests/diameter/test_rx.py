"""Every Rx message has a vector: the AVPs it consists of, in octets (TS 29.214 5.3, 5.6)."""

from __future__ import annotations

from typing import Any

import pytest

from opencscf.common.errors import ParseError
from opencscf.common.ids import Ids
from opencscf.diameter import dictionary, rx
from opencscf.diameter.codec import Avp, Avps, decode_avps, encode_avps
from opencscf.diameter.results import Result, result_avps
from opencscf.diameter.rx import (
    SIGNALLING_COMPONENT,
    AaAnswer,
    AaRequest,
    FlowStatus,
    FlowUsage,
    MediaComponent,
    MediaSubComponent,
    MediaType,
    SessionTerminationAnswer,
    SessionTerminationRequest,
    SpecificAction,
    TerminationCause,
)

SESSION = "pcscf.ims.test;1;2"
SUBSCRIPTION = "sip:001010000000001@ims.test"
UPLINK = "permit in 17 from 10.45.0.2 50000 to 203.0.113.9 40000"
DOWNLINK = "permit out 17 from 203.0.113.9 40000 to 10.45.0.2 50000"
AUDIO = MediaComponent(
    1,
    MediaType.AUDIO,
    (MediaSubComponent(1, (UPLINK, DOWNLINK)), MediaSubComponent(2, (UPLINK,), FlowUsage.RTCP, FlowStatus.ENABLED)),
    49_000,
    49_001,
    FlowStatus.ENABLED,
    2_400,
    600,
    ("uplink\noffer\nm=audio 50000 RTP/AVP 97\n",),
)


def tgpp(code: int, *data: bytes | int | str | Avp, mandatory: bool = True) -> Avp:
    return Avp(code, b"".join(map(octets, data)), 10415, mandatory)


def octets(data: bytes | int | str | Avp) -> bytes:
    match data:
        case Avp():
            return data.encode()
        case int():
            return data.to_bytes(4, "big")
        case str():
            return data.encode()
    return data


def subscription(kind: int, data: str) -> Avp:
    return Avp(443, Avp(450, octets(kind)).encode() + Avp(444, data.encode()).encode())


AUDIO_AVP = tgpp(
    517,
    tgpp(518, 1),
    tgpp(519, tgpp(509, 1), tgpp(507, UPLINK), tgpp(507, DOWNLINK)),
    tgpp(519, tgpp(509, 2), tgpp(507, UPLINK), tgpp(511, 2), tgpp(512, 1)),
    tgpp(520, 0),
    tgpp(516, 49_000),
    tgpp(515, 49_001),
    tgpp(521, 2_400),
    tgpp(522, 600),
    tgpp(511, 2),
    tgpp(524, "uplink\noffer\nm=audio 50000 RTP/AVP 97\n"),
)
SESSION_ID = Avp(263, SESSION.encode())
VECTORS: list[tuple[Any, list[Avp]]] = [
    (
        AaRequest(
            SESSION,
            "10.45.0.2",
            SUBSCRIPTION,
            (AUDIO,),
            (SpecificAction.INDICATION_OF_LOSS_OF_BEARER, SpecificAction.INDICATION_OF_RELEASE_OF_BEARER),
            "icid-1",
        ),
        [
            tgpp(504, "urn:urn-7:3gpp-service.ims.icsi.mmtel"),
            Avp(8, b"\x0a\x2d\0\2"),
            subscription(2, SUBSCRIPTION),
            AUDIO_AVP,
            tgpp(513, 2),
            tgpp(513, 4),
            tgpp(505, "icid-1"),
            tgpp(533, 0, mandatory=False),
        ],
    ),
    (
        AaRequest(SESSION, "2001:db8::5", "tel:+15550000001", (SIGNALLING_COMPONENT,), is_update=True),
        [
            tgpp(504, "urn:urn-7:3gpp-service.ims.icsi.mmtel"),
            Avp(97, bytes.fromhex("008020010db8000000000000000000000005")),
            subscription(0, "15550000001"),
            tgpp(
                517,
                tgpp(518, 0),
                tgpp(519, tgpp(509, 0), tgpp(511, 2), tgpp(512, 2), tgpp(529, 1, mandatory=False)),
                tgpp(520, 4),
            ),
            tgpp(533, 1, mandatory=False),
        ],
    ),
    (AaAnswer(Result.IP_CAN_SESSION_NOT_AVAILABLE), result_avps(Result(5065, 10415))),
    (SessionTerminationRequest(SESSION, TerminationCause.LINK_BROKEN), [Avp(295, octets(5))]),
    (SessionTerminationAnswer(Result.SUCCESS), [Avp(268, octets(2001))]),
]
MESSAGES = [
    value
    for value in vars(rx).values()
    if isinstance(value, type) and value.__module__ == rx.__name__ and hasattr(value, "from_avps")
]


@pytest.mark.parametrize(("message", "avps"), VECTORS, ids=[f"RX-01 {type(m).__name__}" for m, _ in VECTORS])
def test_vectors(message: Any, avps: list[Avp]) -> None:  # each row has its own type
    assert message.encode() == encode_avps(avps)
    assert type(message).from_avps(Avps(SESSION_ID.encode() + message.encode())) == message
    assert type(message).from_avps([SESSION_ID, *avps]) == message


@pytest.mark.parametrize("message", MESSAGES)
def test_every_message_has_a_vector(message: type) -> None:
    assert message in {type(vector) for vector, _ in VECTORS}


def test_questions_read_their_own_answers() -> None:
    success = result_avps(Result.SUCCESS)
    assert AaRequest(SESSION, "10.45.0.2", SUBSCRIPTION).read_answer(success) == AaAnswer(Result.SUCCESS)
    sta = SessionTerminationRequest(SESSION).read_answer([*success, *success])
    assert sta == SessionTerminationAnswer(Result.SUCCESS)


def test_name_that_is_no_uri_is_a_private_subscription() -> None:
    assert decode_avps(AaRequest(SESSION, "10.45.0.2", "alice").encode())[2] == subscription(4, "alice")


def test_bandwidth_beyond_the_avp_is_its_greatest() -> None:
    [component] = decode_avps(MediaComponent(1, max_bandwidth_ul=10**12).encode())
    members = component.members
    assert dictionary.MAX_REQUESTED_BANDWIDTH_UL.number_in(members) == 2**32 - 1


def test_session_ids_begin_with_the_identity_and_differ() -> None:
    ids = Ids(seed=1)
    first, second = rx.new_session_id("pcscf.ims.test", ids), rx.new_session_id("pcscf.ims.test", ids)
    assert first.startswith("pcscf.ims.test;")
    assert first != second


@pytest.mark.parametrize(
    ("avps", "reason"),
    [
        pytest.param([], "AAR without Session-Id", id="no session"),
        pytest.param([SESSION_ID], "AAR without Framed-IP-Address", id="no address"),
        pytest.param([SESSION_ID, Avp(8, b"\0")], "Framed-IP-Address has 1 octets", id="short IPv4 address"),
        pytest.param([SESSION_ID, Avp(97, b"\0")], "Framed-IPv6-Prefix has 1 octets", id="short IPv6 prefix"),
        pytest.param([SESSION_ID, Avp(8, bytes(4)), tgpp(513, 0)], "Specific-Action has no value 0", id="void action"),
        pytest.param(
            [SESSION_ID, Avp(8, bytes(4)), tgpp(517)],
            "Media-Component-Description without Media-Component-Number",
            id="component without number",
        ),
    ],
)
def test_faults_of_a_request_are_named(avps: list[Avp], reason: str) -> None:
    with pytest.raises(ParseError, match=reason):
        AaRequest.from_avps(avps)


def test_request_without_subscription_is_read() -> None:
    assert AaRequest.from_avps([SESSION_ID, Avp(8, bytes(4))]).subscription == ""
