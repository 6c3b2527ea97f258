"""Session descriptions (RFC 8866)."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencscf.common.errors import ParseError
from opencscf.common.sip.parser import parse
from opencscf.common.sip.sdp import MAX_LINES, MAX_MEDIA, MAX_SDP_BYTES, Direction, MediaDescription, SessionDescription

FIXTURES = Path(__file__).parents[2] / "fixtures"
HEAD = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\n"


def media(lines: str, head: str = HEAD) -> MediaDescription:
    return SessionDescription.parse(head + lines).media[0]


def test_offer_of_a_volte_phone() -> None:
    """SP-08, SP-16: preconditions and unknown attributes stay as they are, in their order."""
    body = parse((FIXTURES / "invite-from-ue.sip").read_bytes()).body
    session = SessionDescription.parse(body)
    assert bytes(session) == body
    (audio,) = session.media
    assert (audio.media, audio.port, audio.proto, audio.formats) == ("audio", 3456, "RTP/AVP", ("97", "96"))
    assert audio.connection == session.connection == "2001:db8::5555"
    assert audio.bandwidths == {"AS": 41, "RS": 600, "RR": 2000}
    assert (audio.direction, audio.rtcp_port, audio.has_rtcp_mux) == (Direction.SENDRECV, 3457, False)
    assert audio.attribute("curr") == "qos local none"
    assert audio.attribute("absent") is None
    assert audio.lines[0] == "m=audio 3456 RTP/AVP 97 96"
    assert session.attribute("sendrecv") == ""


@pytest.mark.parametrize(
    ("lines", "connection"),
    [
        pytest.param("m=audio 1 RTP/AVP 0", None, id="none"),
        pytest.param("c=IN IP4 192.0.2.9\r\nm=audio 1 RTP/AVP 0", "192.0.2.9", id="the session's"),
        pytest.param(
            "c=IN IP4 192.0.2.9\r\nm=audio 1 RTP/AVP 0\r\nc=IN IP6 2001:db8::1", "2001:db8::1", id="its own, mixed"
        ),
        pytest.param("m=audio 1 RTP/AVP 0\r\nc=IN IP4 233.252.0.1/127/3", "233.252.0.1", id="multicast with TTL"),
        pytest.param("m=audio 1 RTP/AVP 0\r\nc=IN IP4 media.example", "media.example", id="a name"),
    ],
)
def test_connection(lines: str, connection: str | None) -> None:
    """SP-16."""
    assert media(lines).connection == connection


@pytest.mark.parametrize(
    ("lines", "direction"),
    [
        pytest.param("m=audio 1 RTP/AVP 0", Direction.SENDRECV, id="default"),
        pytest.param("a=recvonly\r\nm=audio 1 RTP/AVP 0", Direction.RECVONLY, id="the session's"),
        pytest.param("a=recvonly\r\nm=audio 1 RTP/AVP 0\r\na=inactive", Direction.INACTIVE, id="its own"),
        pytest.param(
            "m=audio 1 RTP/AVP 0\r\na=sendonly:x\r\na=sendonly", Direction.SENDONLY, id="an attribute without value"
        ),
    ],
)
def test_direction(lines: str, direction: Direction) -> None:
    assert media(lines).direction is direction


@pytest.mark.parametrize(
    ("lines", "port", "mux"),
    [
        pytest.param("m=audio 5000 RTP/AVP 0", 5001, False, id="3550-11 the next port"),
        pytest.param("m=audio 5000 RTP/AVP 0\r\na=rtcp:6000 IN IP4 192.0.2.1", 6000, False, id="3605-2.1 a=rtcp"),
        pytest.param("m=audio 5000 RTP/AVP 0\r\na=rtcp-mux", 5001, True, id="5761-5.1 rtcp-mux"),
        pytest.param("m=audio 0 RTP/AVP 0", None, False, id="rejected"),
        pytest.param("m=audio 65535 RTP/AVP 0", None, False, id="no next port"),
    ],
)
def test_rtcp(lines: str, port: int | None, mux: bool) -> None:  # noqa: FBT001 - a table's column
    audio = media(lines)
    assert (audio.rtcp_port, audio.has_rtcp_mux, audio.is_rejected) == (port, mux, audio.port == 0)


@pytest.mark.parametrize("value", ["x", "70000", ""])
def test_malformed_rtcp(value: str) -> None:
    with pytest.raises(ParseError):
        _ = media(f"m=audio 5000 RTP/AVP 0\r\na=rtcp:{value}").rtcp_port


def test_several_media_and_layered_ports() -> None:
    session = SessionDescription.parse(
        f"{HEAD}b=AS:500\r\nm=audio 1/2 RTP/AVP 0\r\nm=video 0 RTP/AVP\r\nm=message 2 TCP/MSRP *\r\n"
    )
    assert session.bandwidths == {"AS": 500}
    assert [(medium.media, medium.port, medium.port_count, medium.formats) for medium in session.media] == [
        ("audio", 1, 2, ("0",)),
        ("video", 0, 1, ()),
        ("message", 2, 1, ("*",)),
    ]


def test_bare_line_feeds_are_read() -> None:
    """RFC 8866 5."""
    session = SessionDescription.parse("v=0\nm=audio 1 RTP/AVP 0\n")
    assert str(session) == "v=0\r\nm=audio 1 RTP/AVP 0\r\n"


def test_octets_that_are_no_utf8_pass_unchanged() -> None:
    body = b"v=0\r\ns=\xff\xfe\r\n"
    assert bytes(SessionDescription.parse(body)) == body


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param("", 400, id="empty"),
        pytest.param("o=- 1 1 IN IP4 a", 400, id="no version"),
        pytest.param("v=0\r\njunk", 400, id="no type"),
        pytest.param("v=0\r\n\r\nm=audio 1 RTP/AVP 0", 400, id="an empty line"),
        pytest.param("v=0\r\ns=a\rb", 400, id="a bare CR"),
        pytest.param("v=0\r\nm=audio", 400, id="half a medium"),
        pytest.param("v=0\r\nm=audio 70000 RTP/AVP 0", 400, id="port too large"),
        pytest.param("v=0\r\nc=192.0.2.1", 400, id="malformed connection"),
        pytest.param("v=0\r\nm=audio 1 RTP/AVP 0\r\nb=AS:x", 400, id="malformed bandwidth"),
        pytest.param("v=0\r\n" + "m=audio 1 RTP/AVP 0\r\n" * (MAX_MEDIA + 1), 488, id="too many media"),
        pytest.param("v=0\r\n" + "a=x\r\n" * MAX_LINES, 513, id="too many lines"),
        pytest.param("v=0\r\ns=" + "x" * MAX_SDP_BYTES, 513, id="too large"),
    ],
)
def test_malformed_descriptions(body: str, status: int) -> None:
    with pytest.raises(ParseError) as caught:
        SessionDescription.parse(body)
    assert caught.value.status == status


LINES = st.sampled_from(
    [
        "m=audio 1 RTP/AVP 0",
        "m=video 2 UDP 1",
        "c=IN IP4 a",
        "b=AS:1",
        "a=rtcp:1",
        "a=sendonly",
        "x=",
        "k=prompt",
        "a=:",
    ]
)


@given(st.lists(LINES | st.text(max_size=8)).map(lambda lines: "\r\n".join(["v=0", *lines, ""])))
def test_any_text_is_a_description_or_a_parse_error(text: str) -> None:
    try:
        session = SessionDescription.parse(text)
    except ParseError:
        return
    assert SessionDescription.parse(str(session)) == session


@given(st.lists(LINES).map(lambda lines: "\r\n".join(["v=0", *lines, ""])))
def test_lines_keep_their_order(text: str) -> None:
    assert str(SessionDescription.parse(text)) == text
