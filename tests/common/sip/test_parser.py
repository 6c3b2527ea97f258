"""Bytes to messages (RFC 3261 7, 18.3, 18.4; RFC 5626 3.5.1)."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencscf.common.errors import ParseError
from opencscf.common.sip.message import Request, Response
from opencscf.common.sip.parser import (
    KEEPALIVE,
    MAX_HEADERS,
    MAX_LINE,
    MAX_MESSAGE_BYTES,
    FramingLost,
    KeepAlive,
    Malformed,
    StreamParser,
    parse,
    parse_for_rejection,
)

FIXTURES = sorted((Path(__file__).parents[2] / "fixtures").glob("*.sip"))

OPTIONS = (
    b"OPTIONS sip:b@b.example SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP a.example;branch=z9hG4bK1\r\n"
    b"From: <sip:a@a.example>;tag=1\r\n"
    b"To: <sip:b@b.example>\r\n"
    b"Call-ID: c@a.example\r\n"
    b"CSeq: 7 OPTIONS\r\n"
    b"Content-Length: 4\r\n"
    b"\r\n"
    b"body"
)


def changed(old: bytes, new: bytes) -> bytes:
    assert old in OPTIONS
    return OPTIONS.replace(old, new, 1)


def fault(data: bytes, *, datagram: bool = True) -> int:
    with pytest.raises(ParseError) as caught:
        parse(data, datagram=datagram)
    return caught.value.status


# Single messages


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_what_is_read_is_written_unchanged(path: Path) -> None:
    data = path.read_bytes()
    assert bytes(parse(data, datagram=False)) == data


def test_request_line() -> None:
    message = parse(OPTIONS)
    assert isinstance(message, Request)
    assert (message.method, message.uri, message.body) == ("OPTIONS", "sip:b@b.example", b"body")


@pytest.mark.parametrize(
    ("start", "status", "reason"),
    [
        pytest.param(b"SIP/2.0 200 OK", 200, "OK", id="7.2 reason"),
        pytest.param(b"SIP/2.0 200 ", 200, "", id="4475-3.1.1.13 empty reason"),
        pytest.param(b"SIP/2.0 200", 200, "", id="no space before an empty reason"),
        pytest.param(b"sip/2.0 486 Busy  there", 486, "Busy  there", id="7.1 version in any case"),
        pytest.param(
            "SIP/2.0 200 = 2**3 * 5**2 но сто".encode(), 200, "= 2**3 * 5**2 но сто", id="4475-3.1.1.12 UTF-8"
        ),
    ],
)
def test_status_line(start: bytes, status: int, reason: str) -> None:
    data = changed(b"OPTIONS sip:b@b.example SIP/2.0", start)
    message = parse(data)
    assert isinstance(message, Response)
    assert (message.status, message.reason) == (status, reason)
    assert bytes(message) == data


@pytest.mark.parametrize(
    ("start", "status"),
    [
        pytest.param(b"OPTIONS sip:b@b.example SIP/7.0", 505, id="4475-3.1.2.16 another version"),
        pytest.param(b"SIP/7.0 200 OK", 505, id="another version in a response"),
        pytest.param(b"OPTIONS sip:b@b.example", 400, id="no version"),
        pytest.param(b"OPTIONS  sip:b@b.example SIP/2.0", 400, id="4475-3.1.2.8 two spaces"),
        pytest.param(b"OPTIONS sip:b@b.example SIP/2.0 ", 400, id="4475-3.1.2.9 space at the end"),
        pytest.param(b"OPTIONS <sip:b@b.example> SIP/2.0", 400, id="4475-3.1.2.5 brackets around the URI"),
        pytest.param(b"OPTIONS sip:b@b.example; lr SIP/2.0", 400, id="4475-3.1.2.7 white space in the URI"),
        pytest.param(b"OPTIONS sip:b\xc3\xa4 SIP/2.0", 400, id="a URI that is not ASCII"),
        pytest.param(b"OPT/IONS sip:b SIP/2.0", 400, id="a method that is no token"),
        pytest.param(b"OPTIONS b SIP/2.0", 400, id="a URI without scheme"),
        pytest.param(b"GET / HTTP/1.1", 400, id="not SIP at all"),
        pytest.param(b"SIP/2.0 99 OK", 400, id="a status of two digits"),
        pytest.param(b"SIP/2.0 4294967301 better not", 400, id="4475-3.1.2.19 status too large"),
        pytest.param(b"SIP/2.0 200 OK\r\n folded", 400, id="a folded start line"),
        pytest.param(b" OPTIONS sip:b SIP/2.0", 400, id="white space first"),
        pytest.param(b"", 400, id="empty"),
    ],
)
def test_malformed_start_line(start: bytes, status: int) -> None:
    assert fault(changed(b"OPTIONS sip:b@b.example SIP/2.0", start)) == status


@pytest.mark.parametrize("name", [b"Via", b"From", b"To", b"Call-ID", b"CSeq"])
def test_mandatory_header_fields(name: bytes) -> None:
    """RFC 3261 8.1.1."""
    assert fault(changed(b"\r\n" + name + b":", b"\r\nX:")) == 400


@pytest.mark.parametrize(
    "line", [b"f: <sip:x>", b"TO: <sip:x>", b"i: x", b"CSEQ: 7 OPTIONS", b"l: 4", b"Max-Forwards: 1\r\nMax-Forwards: 2"]
)
def test_header_fields_that_may_not_repeat(line: bytes) -> None:
    """RFC 4475 3.3.8."""
    assert fault(changed(b"\r\nContent", b"\r\n" + line + b"\r\nContent")) == 400


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(b"7 OPTIONS", b"7 INVITE", id="4475-3.1.2.17 another CSeq method"),
        pytest.param(b"7 OPTIONS", b"7", id="no CSeq method"),
        pytest.param(b"7 OPTIONS", b"36893488147419103232 OPTIONS", id="4475-3.1.2.4 CSeq number too large"),
        pytest.param(b"Length: 4", b"Length: -4", id="4475-3.1.2.3 negative Content-Length"),
        pytest.param(b"Length: 4", b"Length: 5", id="4475-3.1.2.2 body too short"),
        pytest.param(b"Length: 4", b"Length: four", id="Content-Length in words"),
        pytest.param(b"Length: 4", b"Length: " + b"4" * 5000, id="Content-Length of many digits"),
        pytest.param(b"Length: 4", b"Length: \xd9\xa3", id="Content-Length in digits of another script"),
        pytest.param(b"Call-ID:", b"Call ID:", id="a name of two words"),
        pytest.param(b"Call-ID:", b" Call-ID:", id="a name after white space is a fold"),
        pytest.param(b"Via: ", b": ", id="no name"),
        pytest.param(b"Via: ", b"V\xc3\xaba: ", id="a name that is no token"),
        pytest.param(b"\r\nFrom:", b"\r\nno colon\r\nFrom:", id="a line without colon"),
        pytest.param(b"tag=1\r\n", b"tag=1\n", id="a bare LF"),
        pytest.param(b"tag=1\r\n", b"tag=1\r", id="a bare CR"),
        pytest.param(b"tag=1", b"tag=1\0", id="a NUL"),
        pytest.param(b"tag=1", b"tag=1\0\\\0", id="a NUL before one in a quoted-pair"),
        pytest.param(b"\r\n\r\nbody", b"\r\n", id="no empty line"),
    ],
)
def test_malformed_header_fields(old: bytes, new: bytes) -> None:
    assert fault(changed(old, new)) == 400


def test_nul_in_a_quoted_pair() -> None:
    """RFC 3261 25.1, RFC 4475 3.1.1.2."""
    assert parse(changed(b"To: ", b'To: "\\\0" ')).to.display == "\0"


def test_another_cseq_method_with_an_unknown_one() -> None:
    """RFC 4475 3.1.2.18: a method that we know nothing of may follow rules that we know nothing of."""
    assert fault(changed(b"OPTIONS sip", b"NEWMETHOD sip")) == 501


def test_limits() -> None:
    longest = OPTIONS.replace(b"body", b"x" * (MAX_MESSAGE_BYTES - len(OPTIONS) - 4 + 4))
    assert fault(longest + b"xxxxx") == 513
    assert fault(changed(b"Via:", b"X: y\r\n" * (MAX_HEADERS + 1) + b"Via:")) == 513
    assert fault(changed(b"tag=1", b"tag=" + b"1" * MAX_LINE)) == 513
    assert fault(changed(b"tag=1", b"tag=1" + b"\r\n " * MAX_LINE)) == 513
    assert fault(b"x" * (MAX_LINE + 1) + b"\r\n\r\n") == 513
    assert parse(changed(b"Via:", b"X: y\r\n" * (MAX_HEADERS - 6) + b"Via:")).body == b"body"


def test_line_ends_before_a_message() -> None:
    """RFC 3261 7.5."""
    assert bytes(parse(b"\r\n\r\n\r\n" + OPTIONS)) == OPTIONS


def test_a_datagram_ends_where_content_length_says() -> None:
    """RFC 3261 18.3."""
    assert bytes(parse(OPTIONS + b"more")) == OPTIONS
    assert fault(OPTIONS + b"more", datagram=False) == 400
    without = changed(b"Content-Length: 4\r\n", b"")
    assert parse(without).body == b"body"
    assert bytes(parse(without)) == without


def test_octets_that_are_no_utf8_pass_unchanged() -> None:
    data = changed(b"<sip:a@", b'"\xff\xfe" <sip:a@')
    message = parse(data)
    assert bytes(message) == data
    message.set("X", "y")
    assert b'"\xff\xfe" <sip:a@' in bytes(message)


# What can still be answered


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(b"SIP/2.0\r\n", b"SIP/7.0\r\n", id="version"),
        pytest.param(b"7 OPTIONS", b"7 INVITE", id="CSeq method"),
        pytest.param(b"Content-Length: 4", b"Content-Length: 99", id="body too short"),
        pytest.param(b"\r\nContent", b"\r\njunk\r\nl: 4\r\n: x\r\nY: \0\r\nContent", id="lines of no use"),
        pytest.param(b"sip:b@b.example SIP", b"<sip:b@b.example> SIP", id="Request-URI"),
        pytest.param(b"\r\nTo: ", b"\r\nt: ", id="compact form"),
        pytest.param(b"\r\n\r\nbody", b"\r\n", id="no end"),
    ],
)
def test_requests_that_can_be_answered(old: bytes, new: bytes) -> None:
    request = parse_for_rejection(changed(old, new))
    assert request is not None
    assert (request.method, request.to.uri, request.call_id) == ("OPTIONS", "sip:b@b.example", "c@a.example")
    answer = Response.to_request(request, 400, to_tag="t")
    assert parse(bytes(answer)) == answer


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xff" * 100, id="noise"),
        pytest.param(OPTIONS.replace(b"OPTIONS", b"ACK"), id="an ACK"),
        pytest.param(OPTIONS.replace(b"OPTIONS sip:b@b.example SIP/2.0", b"SIP/2.0 2000 OK"), id="a response"),
        pytest.param(changed(b"Via", b"X"), id="no Via"),
        pytest.param(changed(b" SIP/2.0\r\n", b" SIP/2.0\n"), id="a bare LF in the start line"),
        pytest.param(changed(b"z9hG4bK1\r\n", b"z9hG4bK1\n"), id="a bare LF in what would be copied"),
    ],
)
def test_what_gets_no_answer(data: bytes) -> None:
    assert parse_for_rejection(data) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(b"Call-ID: c@a.example\r\n", b"", id="4475-3.3.1 no Call-ID"),
        pytest.param(b"7 OPTIONS", b"99999999999 OPTIONS", id="4475-3.1.2.4 malformed CSeq"),
        pytest.param(b"SIP/2.0/UDP", b"UDP", id="4475-3.1.2.1 malformed Via"),
        pytest.param(b"To: <", b'To: "<', id="4475-3.1.2.6 malformed To"),
    ],
)
def test_an_answer_copies_what_there_is(old: bytes, new: bytes) -> None:
    request = parse_for_rejection(changed(old, new))
    assert request is not None
    fields = changed(old, new).split(b"\r\n\r\n")[0].split(b"\r\n")[1:-1]
    answer = bytes(Response.to_request(request, 400, to_tag="t")).replace(b";tag=t", b"")
    assert answer.split(b"\r\n")[1:-3] == fields


def test_repeated_header_fields_are_answered_by_the_first() -> None:
    request = parse_for_rejection(changed(b"\r\nContent", b"\r\ni: second\r\nContent"))
    assert request is not None
    assert request.get_all("Call-ID") == ["c@a.example"]


# Streams


def test_stream_of_messages_and_keepalives() -> None:
    """RFC 3261 18.3, RFC 5626 3.5.1."""
    parser = StreamParser()
    assert parser.feed(OPTIONS + b"\r\n" + OPTIONS + b"\r\n\r\n" + OPTIONS[:50]) == [
        parse(OPTIONS),
        parse(OPTIONS),
        KEEPALIVE,
    ]
    assert parser.feed(OPTIONS[50:-1]) == []
    assert parser.feed(OPTIONS[-1:]) == [parse(OPTIONS)]


def test_ping_that_comes_in_pieces() -> None:
    parser = StreamParser()
    assert [parser.feed(bytes([octet])) for octet in b"\r\n\r\n\r\n\r\n"] == [[], [], [], [KEEPALIVE]] * 2


def test_malformed_message_does_not_end_the_stream() -> None:
    broken = changed(b"7 OPTIONS", b"7 INVITE")
    first, second = StreamParser().feed(broken + OPTIONS)
    assert isinstance(first, Malformed)
    assert (first.data, first.error.status) == (broken, 400)
    assert second == parse(OPTIONS)


def test_what_came_before_the_framing_was_lost() -> None:
    with pytest.raises(FramingLost) as lost:
        StreamParser().feed(OPTIONS + b"\r\n\r\n" + b"junk\r\n\r\n")
    assert (lost.value.items, lost.value.data) == ([parse(OPTIONS), KEEPALIVE], b"junk\r\n\r\n")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        pytest.param(changed(b"Content-Length: 4\r\n", b""), 400, id="no Content-Length"),
        pytest.param(changed(b"Length: 4", b"Length: x"), 400, id="malformed Content-Length"),
        pytest.param(changed(b"\r\nContent", b"\r\nl: 0\r\nContent"), 400, id="two values of Content-Length"),
        pytest.param(changed(b"Length: 4", b"Length: 65535"), 513, id="a body too large"),
        pytest.param(b"x" * (MAX_MESSAGE_BYTES + 1), 513, id="a head without end"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, id="not SIP at all"),
        pytest.param(b"\r\rx\r\n\r\n", 400, id="half a line end"),
    ],
)
def test_lost_framing(data: bytes, status: int) -> None:
    with pytest.raises(ParseError) as caught:
        StreamParser().feed(data)
    assert caught.value.status == status


# Properties

PIECES = st.sampled_from(
    [OPTIONS, b"\r\n", b"\r\n\r\n", changed(b"7 OPTIONS", b"7 INVITE"), *(path.read_bytes() for path in FIXTURES)]
)


@given(st.lists(PIECES, max_size=4).map(b"".join), st.data())
def test_any_split_of_a_stream_gives_the_same(stream: bytes, data: st.DataObject) -> None:
    whole = StreamParser().feed(stream)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    parser = StreamParser()
    pieces: list[Request | Response | KeepAlive | Malformed] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        pieces += parser.feed(stream[start:end])
    assert [_comparable(item) for item in pieces] == [_comparable(item) for item in whole]


def _comparable(item: Request | Response | KeepAlive | Malformed) -> object:
    return (item.data, item.error.reason) if isinstance(item, Malformed) else item


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(PIECES))
    for _ in range(draw(st.integers(1, 4))):
        position = draw(st.integers(0, len(data)))
        data[position : position + draw(st.integers(0, 3))] = draw(
            st.binary(max_size=2) | st.sampled_from([b"\r\n", b"\r\n ", b":", b";", b'"', b"<", b",", b"\0", b"\xff"])
        )
    return bytes(data)


@given(st.binary(max_size=200) | mutated())
def test_any_bytes_are_a_message_or_a_parse_error(data: bytes) -> None:
    parse_for_rejection(data)
    try:
        message = parse(data)
    except ParseError:
        return
    again = parse(bytes(message))
    assert again == message
    for name in (
        "via",
        "from_",
        "to",
        "cseq",
        "call_id",
        "contacts",
        "routes",
        "max_forwards",
        "expires",
        "content_type",
        "transaction_id",
    ):
        try:
            getattr(message, name)
        except ParseError as error:
            assert error.status == 400  # noqa: PT017 - which of them is malformed is chance
    again.set("Max-Forwards", "1")
    assert parse(bytes(again)).body == message.body


@given(st.binary(max_size=200) | mutated())
def test_any_stream_is_messages_or_a_parse_error(data: bytes) -> None:
    parser = StreamParser()
    try:
        parser.feed(data)
    except ParseError:
        return
