"""STUN keep-alives on the SIP port (RFC 5626 8, RFC 8489 6.3), with the vectors of RFC 5769 and another's client."""

import asyncio
import socket
import struct
import zlib
from typing import Any

import pytest
from aioice import stun as peer
from aioice.ice import StunProtocol
from hypothesis import given
from hypothesis import strategies as st

from opencscf.common.transport.stun import MAX_REQUEST_BYTES, binding_response

# RFC 5769 2.1 and 2.2: one transaction, seen from both ends
SAMPLE_REQUEST = bytes.fromhex(
    "000100582112a442b7e7a701bc34d686fa87dfae"
    "802200105354554e207465737420636c69656e74"  # SOFTWARE
    "002400046e0001ff80290008932ff9b151263b36"  # PRIORITY, ICE-CONTROLLED
    "000600096576746a3a6836765920202000080014"  # USERNAME, MESSAGE-INTEGRITY
    "9aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf"  # FINGERPRINT
)
SAMPLE_TRANSACTION = bytes.fromhex("b7e7a701bc34d686fa87dfae")
LONG_TERM_REQUEST = bytes.fromhex(  # 2.4: USERNAME, NONCE, REALM, MESSAGE-INTEGRITY
    "000100602112a44278ad3433c6ad72c029da412e"
    "00060012e3839ee38388e383aae38383e382afe382b90000"
    "0015001c662f2f3439396b39353464364f4c33346f4c394653747679363473410014000b6578616d706c652e6f726700"
    "00080014f67024656dd64a3e02b8e0712e85c9a28ca89666"
)
COOKIE = bytes.fromhex("2112a442")
TRANSACTION = bytes(range(12))
REMOTE = ("192.0.2.1", 32853)


class NobodyElse:
    """Whom the client tells what is no answer."""

    def protocol_lost(self, protocol: StunProtocol) -> None:
        pass


def message(kind: int = 0x0001, body: bytes = b"", *, cookie: bytes = COOKIE, length: int | None = None) -> bytes:
    return struct.pack("!HH", kind, len(body) if length is None else length) + cookie + TRANSACTION + body


def with_fingerprint(body: bytes, *, wrong_by: int = 0) -> bytes:
    sealed = message(body=body, length=len(body) + 8)
    return sealed + struct.pack("!HHI", 0x8028, 4, zlib.crc32(sealed) ^ 0x5354554E ^ wrong_by)


def attribute(kind: int, value: bytes = b"") -> bytes:
    return struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4)


def read(answer: bytes | None) -> peer.Message:
    assert answer is not None
    return peer.parse_message(answer)


@pytest.mark.parametrize(
    ("remote", "attributes"),
    [
        pytest.param(("192.0.2.1", 32853), "002000080001a147e112a643", id="5769-2.2 IPv4"),
        pytest.param(
            ("2001:db8:1234:5678:11:2233:4455:6677", 32853),
            "002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9",
            id="5769-2.3 IPv6",
        ),
    ],
)
def test_the_mapped_address_is_the_rfcs(remote: tuple[str, int], attributes: str) -> None:
    request = struct.pack("!HH", 1, 0) + COOKIE + SAMPLE_TRANSACTION
    body = bytes.fromhex(attributes)
    head = struct.pack("!HH", 0x0101, len(body)) + COOKIE + SAMPLE_TRANSACTION
    assert binding_response(request, remote) == head + body


def test_what_ice_sends_gets_420_with_what_is_not_understood() -> None:
    """RFC 8489 6.3.1: PRIORITY must be understood, SOFTWARE and ICE-CONTROLLED need not; the sample's seal is right."""
    answer = binding_response(SAMPLE_REQUEST, REMOTE)
    assert answer is not None
    assert answer[:2] == b"\x01\x11"
    assert answer[8:20] == SAMPLE_TRANSACTION
    assert answer[20:48] == attribute(0x0009, b"\0\0\x04\x14Unknown Attribute")
    assert answer[48:-8] == attribute(0x000A, b"\x00\x24")
    assert read(answer).attributes["ERROR-CODE"] == (420, "Unknown Attribute")  # and its fingerprint is right


def test_credentials_are_known_and_ignored() -> None:
    """RFC 8489 6.3: known but unexpected, in the sample of RFC 5769 2.4."""
    assert read(binding_response(LONG_TERM_REQUEST, REMOTE)).attributes == {"XOR-MAPPED-ADDRESS": REMOTE}


def test_a_fingerprint_is_answered_by_one() -> None:
    """RFC 8489 7."""
    assert list(read(binding_response(with_fingerprint(b""), REMOTE)).attributes) == [
        "XOR-MAPPED-ADDRESS",
        "FINGERPRINT",
    ]


def test_every_unknown_attribute_is_listed_once() -> None:
    body = attribute(0x0003, bytes(4)) + attribute(0x0024, bytes(4)) + attribute(0x0003, bytes(4))
    answer = binding_response(message(body=body), REMOTE)
    assert answer is not None
    assert answer[48:] == attribute(0x000A, b"\x00\x03\x00\x24")


def test_nothing_after_the_integrity_counts() -> None:
    """RFC 8489 9."""
    body = attribute(0x0008, bytes(20)) + attribute(0x0024, bytes(4))
    assert read(binding_response(message(body=body), REMOTE)).message_class is peer.Class.RESPONSE


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(message()[:19], id="shorter than a header"),
        pytest.param(message(cookie=bytes(4)), id="5626-8 RFC 3489 without the cookie"),
        pytest.param(message(0x0011), id="8489-6.3.2 an indication"),
        pytest.param(message(0x0101), id="8489-6.3 a success that was not asked for"),
        pytest.param(message(0x0111), id="8489-6.3 an error that was not asked for"),
        pytest.param(message(0x0003), id="8489-6.3 another method, TURN's Allocate"),
        pytest.param(message(0x8001), id="8489-5 the first two bits are not 0"),
        pytest.param(message(length=4), id="8489-6.3 a length beyond the datagram"),
        pytest.param(message(body=bytes(8), length=4), id="8489-6.3 a length short of the datagram"),
        pytest.param(message(body=bytes(2)), id="8489-5 a length that is no multiple of 4"),
        pytest.param(message(body=b"\x80\x22\x00\x05abcd"), id="an attribute that is longer than the message"),
        pytest.param(with_fingerprint(b"", wrong_by=1), id="8489-14.7 a wrong fingerprint"),
        pytest.param(message(body=with_fingerprint(b"")[20:] + attribute(0x8022)), id="8489-14.7 not at the end"),
        pytest.param(message(body=attribute(0x8028, bytes(8))), id="8489-14.7 a fingerprint of another size"),
        pytest.param(message(body=attribute(0x8022, bytes(MAX_REQUEST_BYTES - 20))), id="8489-6.1 too large"),
    ],
)
def test_nothing_else_is_answered(data: bytes) -> None:
    assert binding_response(data, REMOTE) is None


@given(st.one_of(st.binary(max_size=600), st.binary(max_size=528).map(lambda body: message(body=body))))
def test_any_bytes_give_a_small_answer_or_none(data: bytes) -> None:
    for host in ("192.0.2.1", "2001:db8::1", "fe80::1%eth0"):
        answer = binding_response(data, (host, 5060))
        if answer is not None:
            assert len(answer) <= 2.5 * len(data)
            read(answer)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_client_of_others_learns_its_address(run: Any, listen: Any, host: str) -> None:
    """RFC 5626 5.4, on the port that takes SIP, over IPv4 and IPv6."""

    async def scenario() -> None:
        async with listen(host) as heard:
            loop = asyncio.get_running_loop()
            receiver: Any = NobodyElse()
            transport, client = await loop.create_datagram_endpoint(
                lambda: StunProtocol(receiver), local_addr=(host, 0)
            )
            try:
                request = peer.Message(peer.Method.BINDING, peer.Class.REQUEST)
                request.add_fingerprint()
                response, source = await client.request(request, heard.address)
            finally:
                transport.abort()
            assert response.attributes["XOR-MAPPED-ADDRESS"] == transport.get_extra_info("sockname")[:2]
            assert source == heard.address
            assert heard.malformed.empty()

    run(scenario())


def test_stun_that_is_not_answered_is_no_malformed_sip(run: Any, listen: Any, options: Any) -> None:
    """RFC 5626 8: no SIP message begins with 0 or 1; those that do are dropped without a line in the log."""

    async def scenario() -> None:
        async with listen() as heard:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.settimeout(5)
                for data in (message(0x0011), b"\x01nonsense", message(cookie=bytes(4)), bytes(options)):
                    client.sendto(data, heard.address)
                await heard.received.get()
                client.sendto(message(), heard.address)
                await asyncio.sleep(0)
                assert heard.malformed.empty()

    run(scenario())
