"""Diameter bytes, against python-diameter's codec and against anything a peer may send (RFC 6733 3, 4)."""

from __future__ import annotations

import pytest
from diameter.message import Message  # type: ignore[import-untyped]  # has no stubs
from diameter.message.avp import Avp as LibraryAvp  # type: ignore[import-untyped]  # has no stubs
from hypothesis import given
from hypothesis import strategies as st

from opencscf.common.errors import ParseError
from opencscf.diameter.codec import (
    ERROR,
    MAX_AVPS,
    MAX_MESSAGE_BYTES,
    PROXIABLE,
    REQUEST,
    RETRANSMIT,
    Avp,
    Avps,
    DiameterMessage,
    Malformed,
    StreamDecoder,
    decode,
    decode_avps,
    encode_avps,
)

avps = st.lists(
    st.builds(Avp, st.integers(0, 2**32 - 1), st.binary(max_size=40), st.integers(0, 2**32 - 1), st.booleans()),
    max_size=6,
).map(tuple)
messages = st.builds(
    DiameterMessage,
    st.integers(0, 2**24 - 1),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0, PROXIABLE, REQUEST | PROXIABLE, ERROR, REQUEST | RETRANSMIT]),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    avps,
)


def drain(decoder: StreamDecoder) -> list[DiameterMessage | Malformed]:
    return list(iter(decoder.next_message, None))


@given(messages)
def test_what_is_written_is_read_again(message: DiameterMessage) -> None:
    data = message.encode()
    assert len(data) % 4 == 0
    assert decode(data) == message
    assert decode(data).encode() == data


@given(
    st.one_of(st.binary(max_size=200), messages.map(DiameterMessage.encode)), st.integers(0, 200), st.binary(max_size=3)
)
def test_any_octets_give_a_message_or_a_parse_error(data: bytes, at: int, patch: bytes) -> None:
    data = data[:at] + patch + data[at + len(patch) :]
    try:
        message = decode(data)
        for avp in message.avps:
            avp.members  # noqa: B018  # may raise as well
    except ParseError:
        pass


@given(st.lists(messages, max_size=4), st.lists(st.integers(0, 400), max_size=8))
def test_any_split_of_a_stream_gives_the_same_messages(sent: list[DiameterMessage], cuts: list[int]) -> None:
    stream = b"".join(message.encode() for message in sent)
    decoder, got, start = StreamDecoder(), [], 0
    for cut in [*sorted(cut for cut in cuts if cut <= len(stream)), len(stream)]:
        decoder.receive(stream[start:cut])
        got += drain(decoder)
        start = cut
    assert got == sent


def test_library_reads_what_we_write() -> None:
    ours = DiameterMessage(
        300,
        16777216,
        REQUEST | PROXIABLE,
        7,
        8,
        (Avp(263, b"a;1;2"), Avp(601, b"sip:a@b", 10415), Avp(612, encode_avps([Avp(608, b"x", 10415)]), 10415, False)),
    )
    theirs = Message.from_bytes(ours.encode(), plain_msg=True)
    assert theirs.header.command_code == 300
    assert theirs.header.application_id == 16777216
    assert (theirs.header.hop_by_hop_identifier, theirs.header.end_to_end_identifier) == (7, 8)
    assert theirs.header.is_request
    assert theirs.header.is_proxyable
    assert [(avp.code, avp.vendor_id, avp.is_mandatory, avp.payload) for avp in theirs.avps] == [
        (avp.code, avp.vendor, avp.mandatory, avp.data) for avp in ours.avps
    ]


def test_we_read_what_the_library_writes() -> None:
    theirs = Message()
    theirs.header.command_code = 301
    theirs.header.application_id = 16777216
    theirs.header.is_request = True
    theirs.header.hop_by_hop_identifier = 9
    theirs.header.end_to_end_identifier = 10
    theirs.avps = [
        LibraryAvp.new(263, value="a;1;2"),
        LibraryAvp.new(601, 10415, value="sip:a@b"),
        LibraryAvp.new(637, 10415, value=1, is_mandatory=False),
        LibraryAvp.new(297, value=[LibraryAvp.new(266, value=10415), LibraryAvp.new(298, value=2001)]),
    ]
    message = decode(theirs.as_bytes())
    assert message[:5] == (301, 16777216, REQUEST, 9, 10)
    assert message.avps[:3] == (
        Avp(263, b"a;1;2"),
        Avp(601, b"sip:a@b", 10415),
        Avp(637, b"\0\0\0\1", 10415, mandatory=False),
    )
    assert [avp.code for avp in message.avps[3].members] == [266, 298]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\1\0\0\x14" + bytes(15), id="header cut short"),
        pytest.param(b"\2\0\0\x14" + bytes(16), id="version 2"),
        pytest.param(b"\1\0\0\x15" + bytes(17), id="length is no multiple of four"),
        pytest.param(b"\1\0\0\x10" + bytes(16), id="length less than a header"),
        pytest.param(b"\1\0\0\x1c" + bytes(20), id="length more than there is"),
        pytest.param(b"\1\0\0\x18" + bytes(20), id="AVP header cut short"),
        pytest.param(b"\1\0\0\x1c" + bytes(16) + b"\0\0\1\7\x40\0\0\7", id="AVP shorter than its header"),
        pytest.param(b"\1\0\0\x1c" + bytes(16) + b"\0\0\1\7\x40\0\0\x10", id="AVP longer than the message"),
        pytest.param(b"\1\0\0\x1c" + bytes(16) + b"\0\0\1\7\xc0\0\0\x08", id="vendor AVP without vendor"),
    ],
)
def test_faults_are_parse_errors(data: bytes) -> None:
    with pytest.raises(ParseError):
        decode(data)


def test_last_avp_may_lack_its_padding() -> None:
    assert decode_avps(Avp(1, b"abcde").encode()[:-3]) == (Avp(1, b"abcde"),)


def test_number_of_avps_is_limited() -> None:
    with pytest.raises(ParseError, match="more than"):
        decode_avps(Avp(1, b"").encode() * (MAX_AVPS + 1))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"G", id="HTTP, first octet"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="HTTP"),
        pytest.param(b"\1" + (MAX_MESSAGE_BYTES + 4).to_bytes(3, "big"), id="longer than the limit"),
    ],
)
def test_lost_framing_is_told_at_once(data: bytes) -> None:
    decoder = StreamDecoder()
    decoder.receive(data)
    with pytest.raises(ParseError):
        decoder.next_message()


def test_stream_goes_on_behind_a_message_with_bad_avps() -> None:
    good = DiameterMessage(280, 0, REQUEST, 1, 1)
    bad = bytearray(DiameterMessage(300, 16777216, 0, 5, 5, (Avp(1, b"abcd"),)).encode())
    bad[27] = 99
    decoder = StreamDecoder()
    decoder.receive(bytes(bad) + good.encode())
    first, second = drain(decoder)
    assert isinstance(first, Malformed)
    assert first.header.hop_by_hop == 5
    assert second == good


def test_answer_repeats_what_identifies_the_request() -> None:
    request = DiameterMessage(300, 16777216, REQUEST | PROXIABLE | RETRANSMIT, 3, 4)
    answer = request.answer([Avp(268, b"\0\0\x0b\xb9")], is_error=True)
    assert answer[:5] == (300, 16777216, PROXIABLE | ERROR, 3, 4)
    assert answer.is_error
    assert not answer.is_request
    assert not answer.is_retransmit
    assert answer.is_proxiable


def test_data_of_an_avp_is_never_shown() -> None:
    assert "secret" not in repr(DiameterMessage(303, 16777216, 0, 1, 1, (Avp(625, b"secret"),)))


def test_an_avp_is_found_among_others_with_its_code() -> None:
    got = Avps(encode_avps([Avp(1, b"vendor's", 7), Avp(1, b"base"), Avp(1, b"another", 8), Avp(1, b"second", 8)]))
    assert (got.octets(1, 0), got.octets(1, 7), got.octets(1, 8)) == (b"base", b"vendor's", b"another")
    assert (got.octets(1, 9), got.octets(2, 0)) == (None, None)
    assert [avp.data for avp in got.find_all(1, 8)] == [b"another", b"second"]
    assert (got.find_all(2, 0), len(got), got[1], got[-1:]) == ([], 4, Avp(1, b"base"), (Avp(1, b"second", 8),))


def test_vendor_zero_may_be_written_out() -> None:
    data = (268).to_bytes(4, "big") + b"\xc0\0\0\x10" + bytes(4) + b"\0\0\x07\xd1"
    assert Avps(data).octets(268, 0) == b"\0\0\x07\xd1"
    assert tuple(Avps(data * 2)) == (Avp(268, b"\0\0\x07\xd1"),) * 2


@given(messages)
def test_avps_are_found_as_by_looking_at_each(message: DiameterMessage) -> None:
    avps = decode(message.encode()).avps
    assert isinstance(avps, Avps)
    for wanted in message.avps:
        same = [avp for avp in message.avps if (avp.code, avp.vendor) == (wanted.code, wanted.vendor)]
        assert avps.octets(wanted.code, wanted.vendor) == same[0].data
        assert avps.find_all(wanted.code, wanted.vendor) == same


def test_what_nobody_has_asked_for_is_not_lost() -> None:
    first, second = DiameterMessage(280, 0, REQUEST, 1, 1), DiameterMessage(280, 0, REQUEST, 2, 2)
    decoder = StreamDecoder()
    decoder.receive(first.encode())
    decoder.receive(second.encode())
    assert drain(decoder) == [first, second]
