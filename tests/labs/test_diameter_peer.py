"""The responder's side of a Diameter connection (RFC 6733 5.3 to 5.6, RFC 3539)."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencscf.labs import diameter_codec as codec
from opencscf.labs.diameter_codec import Answer, Avp, AvpError, Grammar, Received, ResultCode, make
from opencscf.labs.diameter_peer import (
    CER_TIMEOUT_S,
    WATCHDOG_S,
    LocalNode,
    ServedPeer,
    result_of,
    vendor_specific_application,
)

APPLICATION: Final = codec.CX_APPLICATION
CER, DWR, DPR, COMMAND = 257, 280, 282, 302


class Reports(list[tuple[str, str, dict[str, object]]]):
    def event(self, level: str, event: str, **fields: object) -> None:
        self.append((level, event, fields))


class Echo:
    """An application of one command, which answers what it was asked by."""

    application_id: int = APPLICATION
    product_name: str = "echo"
    grammars: dict[int, Grammar] = {COMMAND: Grammar("ECHO", (codec.SESSION_ID,), frozenset({codec.SESSION_ID}))}  # noqa: RUF012 a protocol's attribute
    answer_avps: tuple[Avp, ...] = (vendor_specific_application(APPLICATION),)
    is_broken = False

    def answer(self, request: Received) -> Answer:
        return Answer(codec.SUCCESS, tuple(request.all(codec.USER_NAME)))

    def commit(self) -> bool:
        return not self.is_broken


def _node() -> LocalNode:
    return LocalNode(Echo(), origin_host="hss.test", origin_realm="test", address="127.0.0.1", report=Reports())


def _request(command: int, *avps: Avp, application: int = 0, number: int = 7) -> bytes:
    header = codec.request_header(command, number, number, application)
    identity = [make(codec.ORIGIN_HOST, b"scscf.test"), make(codec.ORIGIN_REALM, b"test")]
    return codec.encode(header, [*avps, *identity])


def _capabilities(application: Avp | None = None) -> list[Avp]:
    return [
        make(codec.HOST_IP_ADDRESS, "127.0.0.1"),
        make(codec.VENDOR_ID, 0),
        make(codec.PRODUCT_NAME, "test"),
        application or vendor_specific_application(APPLICATION),
    ]


def _open(node: LocalNode, now: float = 0.0) -> ServedPeer:
    peer = ServedPeer(node, "127.0.0.1:1", now)
    assert result_of(codec.decode(peer.receive(_request(CER, *_capabilities()), now))) == codec.SUCCESS
    return peer


def _echo(number: int = 7) -> bytes:
    return _request(COMMAND, make(codec.SESSION_ID, f"a;{number}"), application=APPLICATION, number=number)


@pytest.mark.parametrize(
    "application",
    [
        pytest.param(vendor_specific_application(APPLICATION), id="vendor specific"),
        pytest.param(make(codec.AUTH_APPLICATION_ID, APPLICATION), id="plain"),
        pytest.param(make(codec.AUTH_APPLICATION_ID, codec.RELAY_APPLICATION), id="relay"),
    ],
)
def test_capabilities_exchange(application: Avp) -> None:
    """RFC 6733 5.3"""
    node = _node()
    peer = ServedPeer(node, "127.0.0.1:1", 0.0)
    answer = codec.decode(peer.receive(_request(CER, *_capabilities(application)), 0.0))
    assert result_of(answer) == codec.SUCCESS
    assert answer.text(codec.ORIGIN_HOST) == "hss.test"
    assert answer.text(codec.PRODUCT_NAME) == "echo"
    assert answer.groups(codec.VENDOR_SPECIFIC_APPLICATION_ID)[0].number(codec.AUTH_APPLICATION_ID) == APPLICATION
    assert not answer.required(codec.PRODUCT_NAME).is_mandatory
    assert node.peers == {"scscf.test": peer}


@pytest.mark.parametrize(
    ("avps", "result"),
    [
        pytest.param(_capabilities()[1:], codec.MISSING_AVP, id="no Host-IP-Address"),
        pytest.param(
            _capabilities(make(codec.AUTH_APPLICATION_ID, 1)), codec.NO_COMMON_APPLICATION, id="no common application"
        ),
        pytest.param([*_capabilities(), Avp(9999, flags=0x40)], codec.AVP_UNSUPPORTED, id="unknown mandatory AVP"),
    ],
)
def test_refused_capabilities(avps: list[Avp], result: ResultCode) -> None:
    """RFC 6733 5.3, 5.6"""
    node = _node()
    peer = ServedPeer(node, "127.0.0.1:1", 0.0)
    assert result_of(codec.decode(peer.receive(_request(CER, *avps), 0.0))) == result
    assert peer.is_closing
    assert not node.peers


def test_first_message_must_be_cer() -> None:
    peer = ServedPeer(_node(), "127.0.0.1:1", 0.0)
    assert peer.receive(_echo(), 0.0) == b""
    assert peer.is_closing


def test_second_cer_ends_the_connection() -> None:
    peer = _open(_node())
    peer.receive(_request(CER, *_capabilities()), 0.0)
    assert peer.is_closing


def test_silent_connection_is_closed() -> None:
    peer = ServedPeer(_node(), "127.0.0.1:1", 0.0)
    assert peer.tick(CER_TIMEOUT_S - 1) == b""
    assert not peer.is_closing
    peer.tick(CER_TIMEOUT_S)
    assert peer.is_closing


def test_watchdog() -> None:
    """RFC 3539 3.4.1: one DWR after silence, the end after twice of it."""
    peer = _open(_node())
    assert peer.tick(WATCHDOG_S - 1) == b""
    question = codec.decode(peer.tick(WATCHDOG_S))
    assert (question.command, question.is_request) == (DWR, True)
    assert peer.tick(WATCHDOG_S + 1) == b""
    peer.tick(2 * WATCHDOG_S)
    assert peer.is_closing


def test_watchdog_is_answered() -> None:
    peer = _open(_node())
    assert result_of(codec.decode(peer.receive(_request(DWR), 1.0))) == codec.SUCCESS
    assert peer.tick(WATCHDOG_S) == b""  # that was a sign of life
    assert peer.tick(WATCHDOG_S + 1) != b""
    header = codec.MessageHeader(command_code=DWR)
    assert peer.receive(codec.encode(header, [make(codec.RESULT_CODE, 2001)]), 40.0) == b""
    assert not peer.is_closing


def test_peer_disconnects() -> None:
    """RFC 6733 5.4"""
    peer = _open(_node())
    answer = peer.receive(_request(DPR, make(codec.DISCONNECT_CAUSE, 0)), 1.0)
    assert result_of(codec.decode(answer)) == codec.SUCCESS
    assert peer.is_closing


def test_we_disconnect() -> None:
    node = _node()
    peer = _open(node)
    question = codec.decode(peer.disconnect())
    assert (question.command, question.number(codec.DISCONNECT_CAUSE)) == (DPR, 0)
    assert not peer.is_closing
    peer.receive(codec.encode(codec.MessageHeader(command_code=DPR), [make(codec.RESULT_CODE, 2001)]), 1.0)
    assert peer.is_closing
    peer.lost("closed")
    assert not node.peers


def test_disconnect_before_capabilities() -> None:
    peer = ServedPeer(_node(), "127.0.0.1:1", 0.0)
    assert peer.disconnect() == b""
    assert peer.is_closing


def test_new_connection_replaces_the_old_one() -> None:
    node = _node()
    old, new = _open(node), _open(node)
    assert old.is_closing
    assert not new.is_closing
    old.lost("closed")
    assert node.peers == {"scscf.test": new}


def test_proxy_info_is_returned() -> None:
    """RFC 6733 6.2"""
    peer = _open(_node())
    proxy_info = make(codec.Key(284), [make(codec.Key(280), b"proxy.test"), make(codec.Key(33), b"state")])
    answer = peer.receive(_request(COMMAND, make(codec.SESSION_ID, "a"), proxy_info, application=APPLICATION), 0.0)
    assert codec.decode(answer).required(codec.Key(284)).payload == proxy_info.payload


def test_nothing_is_promised_that_could_not_be_stored() -> None:
    node = _node()
    peer = _open(node)
    assert isinstance(node.application, Echo)
    node.application.is_broken = True
    assert peer.receive(_echo(), 0.0) == b""
    assert peer.is_closing


def _messages(data: bytes) -> list[Received]:
    messages = []
    while data:
        length = int.from_bytes(data[1:4], "big")
        messages.append(codec.decode(data[:length]))
        data = data[length:]
    return messages


@given(st.lists(st.integers(min_value=1, max_value=200), max_size=20))
def test_any_split_of_the_stream(cuts: list[int]) -> None:
    stream = b"".join(_echo(number) for number in range(5))
    peer = _open(_node())
    output = b""
    for cut in cuts:
        output += peer.receive(stream[:cut], 0.0)
        stream = stream[cut:]
    output += peer.receive(stream, 0.0)
    assert [message.header.hop_by_hop_identifier for message in _messages(output)] == list(range(5))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x02\0\0\x14" + bytes(16), id="version 2"),
        pytest.param(b"\x01\0\0\x13" + bytes(16), id="shorter than a header"),
        pytest.param(b"\x01\0\0\x15" + bytes(17), id="not a multiple of four"),
        pytest.param(b"\x01\xff\xff\xfc" + bytes(16), id="too long"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", id="another protocol"),
    ],
)
def test_lost_framing_ends_the_connection(data: bytes) -> None:
    peer = _open(_node())
    assert peer.receive(data, 0.0) == b""
    assert peer.is_closing


@given(st.binary(max_size=200))
def test_any_avps_get_an_answer(payload: bytes) -> None:
    """Whatever follows a right header, there is one answer and the connection lives."""
    payload += bytes(-len(payload) % 4)
    header = codec.request_header(COMMAND, 1, 2, APPLICATION)
    header.length = 20 + len(payload)
    peer = _open(_node())
    (answer,) = _messages(peer.receive(header.as_bytes() + payload, 0.0))
    assert not answer.is_request
    assert not peer.is_closing


@given(st.binary(max_size=300))
def test_any_bytes_do_no_harm(data: bytes) -> None:
    ServedPeer(_node(), "127.0.0.1:1", 0.0).receive(data, 0.0)
    _open(_node()).receive(data, 0.0)


def test_too_many_avps() -> None:
    avps = b"".join(make(codec.USER_NAME, "x").as_bytes() for _ in range(codec.MAX_AVPS + 1))
    header = codec.request_header(COMMAND, 1, 2, APPLICATION)
    header.length = 20 + len(avps)
    message = codec.decode(header.as_bytes() + avps)
    assert isinstance(message.fault, AvpError)
    assert message.fault.result == codec.UNABLE_TO_COMPLY
