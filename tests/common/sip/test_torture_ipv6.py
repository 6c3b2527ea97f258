"""SP-05, SP-15: the IPv6 torture tests of RFC 5118, each message driven through a proxy that listens on IPv6."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opencscf.common.errors import ParseError
from opencscf.common.sip.flow import Flow, Transport
from opencscf.common.sip.message import Request, Response
from opencscf.common.sip.parser import parse
from opencscf.common.sip.sdp import SessionDescription

FILES = Path(__file__).parents[2] / "fixtures" / "rfc5118"
CALLER = Flow(Transport.UDP, ("2001:db8::1:10", 5060), ("2001:db8::9:77", 5060))

# The message, the URI that leads on, and the port that the answer goes to.
FORWARDED = [
    pytest.param("ipv6-good", "sip:[2001:db8::10]", 5060, id="4.1 ipv6-good"),
    pytest.param("port-ambiguous", "sip:[2001:db8::10:5070]", 5060, id="4.3 port-ambiguous"),
    pytest.param("port-unambiguous", "sip:[2001:db8::10]:5070", 5060, id="4.4 port-unambiguous"),
    pytest.param("via-received-param-with-delim", "sip:[2001:db8::10]", 5060, id="4.5 via-received-param-with-delim"),
    pytest.param("via-received-param-no-delim", "sip:[2001:db8::10]", 5060, id="4.5 via-received-param-no-delim"),
    pytest.param("ipv6-in-sdp", "sip:user@[2001:db8::10]", 5060, id="4.6 ipv6-in-sdp"),
    pytest.param("mult-ip-in-header", "sip:user@host.example.net", 6050, id="4.7 mult-ip-in-header"),
    pytest.param("mult-ip-in-sdp", "sip:user@[2001:db8::10]", 5060, id="4.8 mult-ip-in-sdp"),
    pytest.param("ipv4-mapped-ipv6", "sip:user@example.com", 19823, id="4.9 ipv4-mapped-ipv6"),
    pytest.param(
        "ipv6-bug-abnf-3-colons", "sip:user@[2001:db8::192.0.2.1]", 5060, id="4.10 ipv6-bug-abnf-3-colons, read as two"
    ),
    pytest.param(
        "ipv6-correct-abnf-2-colons", "sip:user@[2001:db8::192.0.2.1]", 5060, id="4.10 ipv6-correct-abnf-2-colons"
    ),
]
REFUSED = "ipv6-bad"  # 4.2


def octets(name: str) -> bytes:
    """Read a message, with the right Content-Length in place of the RFC's (see the folder's README)."""
    head, _, body = (FILES / f"{name}.sip").read_bytes().partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.startswith(b"Content-Length:")]
    return b"\r\n".join([*lines, b"Content-Length: %d" % len(body), b"", body])


def request(name: str) -> Request:
    message = parse(octets(name))
    assert isinstance(message, Request)
    return message


def test_every_message_has_its_row() -> None:
    rows = [*(str(row.values[0]) for row in FORWARDED), REFUSED]
    assert sorted(rows) == sorted(path.stem for path in FILES.glob("*.sip"))


@pytest.mark.parametrize(("name", "leads_to", "port"), FORWARDED)
def test_forwarded(proxy: Any, name: str, leads_to: str, port: int) -> None:
    original = request(name)
    assert bytes(original) == octets(name)
    proxy.receive(octets(name), CALLER)
    assert (proxy.looked_up, proxy.answers, proxy.tracebacks) == ([leads_to], [], [])
    (forwarded,) = proxy.forwarded
    assert (forwarded.uri, forwarded.body) == (original.uri, original.body)
    for field in ("From", "To", "Call-ID", "CSeq", "Contact"):
        assert forwarded.get_all(field) == original.get_all(field)
    assert ";received=2001:db8::9:77" in forwarded.values("Via")[1]  # 4.5: without brackets when sending

    proxy.receive(bytes(Response.to_request(forwarded, 200, to_tag="b")))
    assert proxy.answers == [(200, CALLER._replace(remote=("2001:db8::9:77", port)))]
    proxy.pass_time(200)
    assert proxy.stack.server_transactions == proxy.stack.client_transactions == len(proxy.wheel) == 0


def test_address_without_brackets_is_refused(proxy: Any) -> None:
    """4.2."""
    proxy.receive(octets(REFUSED), CALLER)
    assert (proxy.answers, proxy.forwarded) == ([(400, CALLER)], [])


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        pytest.param("ipv6-in-sdp", None, id="4.6 ipv6-in-sdp: more than there is, hence 400"),
        pytest.param("mult-ip-in-sdp", 181, id="4.8 mult-ip-in-sdp: the rest is cut off"),
        pytest.param("ipv4-mapped-ipv6", 236, id="4.9 ipv4-mapped-ipv6: the rest is cut off"),
    ],
)
def test_content_length_as_printed(name: str, kept: int | None) -> None:
    """RFC 3261 18.3: what the RFC's own numbers do to its messages."""
    data = (FILES / f"{name}.sip").read_bytes()
    if kept is None:
        with pytest.raises(ParseError) as caught:
            parse(data)
        assert caught.value.status == 400
    else:
        assert parse(data).body == octets(name).partition(b"\r\n\r\n")[2][:kept]


@pytest.mark.parametrize(
    ("name", "read", "value"),
    [
        pytest.param(
            "ipv6-good",
            lambda m: (m.request_uri.host, m.request_uri.port, m.via.host, m.contacts[0].sip_uri.host),
            ("2001:db8::10", None, "2001:db8::9:1", "2001:db8::1"),
            id="4.1 in Request-URI, Via and Contact",
        ),
        pytest.param(
            "port-ambiguous",
            lambda m: (m.request_uri.host, m.request_uri.port),
            ("2001:db8::10:5070", None),
            id="4.3 a part of the address",
        ),
        pytest.param(
            "port-unambiguous",
            lambda m: (m.request_uri.host, m.request_uri.port),
            ("2001:db8::10", 5070),
            id="4.4 port",
        ),
        pytest.param(
            "via-received-param-with-delim", lambda m: m.via.received, "2001:db8::9:255", id="4.5 with delimiters"
        ),
        pytest.param(
            "via-received-param-no-delim", lambda m: m.via.received, "2001:db8::9:255", id="4.5 without delimiters"
        ),
        pytest.param(
            "ipv6-in-sdp",
            lambda m: [(media.port, media.connection) for media in SessionDescription.parse(m.body).media],
            [(6000, "2001:db8::20"), (6024, "2001:db8::20")],
            id="4.6 session description",
        ),
        pytest.param(
            "mult-ip-in-header", lambda m: (m.via.host, m.via.port), ("2001:db8::9:1", 6050), id="4.7 topmost Via"
        ),
        pytest.param(
            "mult-ip-in-sdp",
            lambda m: [(media.port, media.connection) for media in SessionDescription.parse(m.body).media],
            [(22334, "192.0.2.1"), (6024, "2001:db8::1")],
            id="4.8 an address for each medium",
        ),
        pytest.param(
            "ipv4-mapped-ipv6",
            lambda m: (m.via.host, m.via.port, m.contacts[0].sip_uri.host, m.contacts[0].display),
            ("::ffff:192.0.2.10", 19823, "::ffff:192.0.2.2", "T. desk phone"),
            id="4.9 in Via and Contact",
        ),
        pytest.param(
            "ipv4-mapped-ipv6",
            lambda m: [media.connection for media in SessionDescription.parse(m.body).media],
            ["::ffff:192.0.2.2"] * 2,
            id="4.9 session description",
        ),
        pytest.param(
            "ipv6-bug-abnf-3-colons",
            lambda m: (m.request_uri.host, m.to.sip_uri.host),
            ("2001:db8::192.0.2.1", "2001:db8::192.0.2.1"),
            id="4.10 the extra colon is left out",
        ),
        pytest.param(
            "ipv6-correct-abnf-2-colons", lambda m: m.to.sip_uri.host, "2001:db8::192.0.2.1", id="4.10 as it should be"
        ),
    ],
)
def test_values(name: str, read: Callable[[Request], object], value: object) -> None:
    assert read(request(name)) == value
