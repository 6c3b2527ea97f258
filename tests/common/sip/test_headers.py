"""Header field values (RFC 3261 20, RFC 3581, RFC 2617 as SIP uses it)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencscf.common.errors import ParseError
from opencscf.common.sip import headers
from opencscf.common.sip.headers import Challenge, Credentials, CSeq, NameAddr, Params, Via, parse_expires
from opencscf.common.sip.uri import SipUri, TelUri

pytestmark = pytest.mark.usefixtures("form")

# Via


@pytest.mark.parametrize(
    ("text", "via"),
    [
        pytest.param("SIP/2.0/UDP a.example", Via("UDP", "a.example"), id="20.42 host alone"),
        pytest.param(
            "SIP/2.0/TCP a:5061;branch=z9hG4bK1;rport",
            Via("TCP", "a", 5061, Params([("branch", "z9hG4bK1"), ("rport", None)])),
            id="20.42 port and parameters",
        ),
        pytest.param("SIP/2.0/UDP [2001:db8::1]:5060", Via("UDP", "2001:db8::1", 5060), id="SP-15 IPv6"),
    ],
)
def test_via(text: str, via: Via) -> None:
    assert Via.parse(text) == via
    assert str(via) == text


def test_via_with_white_space_wherever_it_may_be() -> None:
    """RFC 4475 3.1.1.1."""
    via = Via.parse("SIP  / 2.0\r\n /\tudp\r\n  a.example : 5060 ; branch = z9hG4bK1".replace("\r\n", ""))
    assert str(via) == "SIP/2.0/UDP a.example:5060;branch=z9hG4bK1"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SIP/2.0/UDP",
        "SIP/3.0/UDP a",
        "HTTP/1.1/UDP a",
        "SIP/2.0/UDP a:b",
        "SIP/2.0/UDP a:65536",
        "SIP/2.0/UDP a;;,;,,",
        "SIP/2.0/UDP [::x]",
        "SIP/2.0/UDP a b",
        "SIP/2.0/UDP a, SIP/2.0/UDP b",
    ],
)
def test_malformed_via(text: str) -> None:
    with pytest.raises(ParseError):
        Via.parse(text)


def test_via_is_filled_in_by_the_receiver() -> None:
    """RFC 3261 18.2.1 and RFC 3581 4: rport is filled in where it stands."""
    via = Via.parse("SIP/2.0/UDP a;rport;branch=z9hG4bK1")
    assert (via.has_rport, via.rport, via.received) == (True, None, None)
    filled = via.with_params(received="192.0.2.1", rport=5062)
    assert str(filled) == "SIP/2.0/UDP a;rport=5062;branch=z9hG4bK1;received=192.0.2.1"
    assert (filled.rport, filled.received, filled.branch) == (5062, "192.0.2.1", "z9hG4bK1")
    assert str(filled.with_params(rport="", received=None)) == "SIP/2.0/UDP a;rport;branch=z9hG4bK1"


def test_via_of_the_plainest_kind() -> None:
    via = Via.parse("SIP/2.0/UDP a;received=[::1];maddr=[::2]")
    assert (via.has_rport, via.rport, via.branch, via.received, via.maddr) == (False, None, None, "::1", "::2")
    assert Via("UDP", "a").maddr is None


@pytest.mark.parametrize("rport", ["x", "0", "65536", "999999", "\u0663"])
def test_malformed_rport(rport: str) -> None:
    with pytest.raises(ParseError):
        _ = Via("UDP", "a", None, Params([("rport", rport)])).rport


# Addresses


@pytest.mark.parametrize(
    ("text", "address"),
    [
        pytest.param("<sip:a@b>", NameAddr("sip:a@b"), id="20.10 name-addr"),
        pytest.param(
            "<sip:a@b;lr>;x=1", NameAddr("sip:a@b;lr", "", Params([("x", "1")])), id="20.10 both have parameters"
        ),
        pytest.param(
            "Alice Ann <sip:a@b>;tag=1", NameAddr("sip:a@b", "Alice Ann", Params([("tag", "1")])), id="tokens"
        ),
        pytest.param('"A. \\"B\\" <x>" <sip:a@b>', NameAddr("sip:a@b", 'A. "B" <x>'), id="25.1 quoted-string"),
        pytest.param("<urn:service:sos>", NameAddr("urn:service:sos"), id="any scheme"),
    ],
)
def test_address(text: str, address: NameAddr) -> None:
    assert NameAddr.parse(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    ("text", "address"),
    [
        pytest.param("sip:a@b", NameAddr("sip:a@b"), id="20.10 addr-spec"),
        pytest.param(
            "sip:a@b;tag=1",
            NameAddr("sip:a@b", "", Params([("tag", "1")])),
            id="20.10 its parameters are the header field's",
        ),
        pytest.param('""<sip:a@b>', NameAddr("sip:a@b"), id="empty display name"),
        pytest.param("t.  t x <sip:a@b>", NameAddr("sip:a@b", "t.  t x"), id="25.1 display name of tokens"),
        pytest.param("Jörg <sip:a@b>", NameAddr("sip:a@b", "Jörg"), id="display name that lost its quotes"),
        pytest.param('"a" <sip:a@b> ; tag = 1', NameAddr("sip:a@b", "a", Params([("tag", "1")])), id="white space"),
    ],
)
def test_address_written_otherwise(text: str, address: NameAddr) -> None:
    assert NameAddr.parse(text) == address
    assert NameAddr.parse(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("*", id="star is no address"),
        pytest.param("<>", id="no URI"),
        pytest.param("<sip:a@b", id="unterminated bracket"),
        pytest.param("t. t, x <sip:a@b>", id="4475-3.1.2.15 display name of no tokens"),
        pytest.param('"a <sip:a@b>', id="4475-3.1.2.6 unterminated quoted string"),
        pytest.param("sip:a@b?x=y", id="4475-3.1.2.13 a question mark needs brackets"),
        pytest.param("sip:a;b@c", id="20.10 a semicolon in the user needs brackets"),
        pytest.param("<sip:a b@c>", id="white space in the URI"),
        pytest.param("<sip:a@b>;tag=1, <sip:c@d>", id="two"),
        pytest.param("alice", id="no scheme"),
        pytest.param("<alice>", id="no scheme in brackets"),
        pytest.param("<sip:a@b>x", id="what follows is no parameter"),
        pytest.param(" " * 4000 + "x", id="white space without end"),
    ],
)
def test_malformed_address(text: str) -> None:
    with pytest.raises(ParseError):
        NameAddr.parse(text)


def test_parameters_of_contacts() -> None:
    contact = NameAddr.parse('<sip:a@b>;Q=0.5;expires=60;+sip.instance="<urn:x>";audio')
    assert (contact.q, contact.expires, contact.tag) == (0.5, 60, None)
    assert (contact.get("+sip.instance"), contact.get("audio"), contact.get("video")) == ("<urn:x>", "", None)
    assert (NameAddr("sip:a@b").q, NameAddr("sip:a@b").expires) == (1.0, None)
    changed = contact.with_param("expires", "30").without_params("q", "+sip.instance")
    assert str(changed) == "<sip:a@b>;expires=30;audio"


def test_uri_of_an_address() -> None:
    assert NameAddr("sip:a@b").sip_uri == SipUri("sip", "a", None, "b")
    assert NameAddr("tel:+1").parsed_uri == TelUri("+1")
    with pytest.raises(ParseError):
        _ = NameAddr("tel:+1").sip_uri


@pytest.mark.parametrize("q", ["2", "1.001", "0.0001", "-1", "x", ""])
def test_malformed_q(q: str) -> None:
    with pytest.raises(ParseError):
        _ = NameAddr("sip:a@b", "", Params([("q", q)])).q


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        pytest.param("0", 0, id="zero"),
        pytest.param("600000", 600_000, id="what a UE asks for"),
        pytest.param("5000000000", 2**32 - 1, id="20.19 too large"),
        pytest.param("9" * 5000, 2**32 - 1, id="20.19 far too large"),
        pytest.param("-1", 3600, id="20.10 malformed"),
        pytest.param("\u0663", 3600, id="20.10 digits of another script"),
        pytest.param("", 3600, id="20.10 empty"),
    ],
)
def test_expires(text: str, seconds: int) -> None:
    assert parse_expires(text) == seconds


# CSeq


def test_cseq() -> None:
    assert CSeq.parse("0009  INVITE") == CSeq(9, "INVITE")
    assert str(CSeq(9, "INVITE")) == "9 INVITE"


@pytest.mark.parametrize(
    "text", ["", "1", "INVITE 1", "-1 A", "2147483648 A", f"{'9' * 5000} A", "1 A B", "1 A/B", "\u0663 A"]
)
def test_malformed_cseq(text: str) -> None:
    with pytest.raises(ParseError):
        CSeq.parse(text)


# Authentication

NONCE = "AAECAwQFBgcICQoLDA0OD/Dx8vP09fb3+Pn6+/z9/v8="


def test_challenge_quotes_what_has_to_be_quoted() -> None:
    """TS 24.229 7.2A.1: ck and ik are quoted; RFC 2617 3.2.1: algorithm and stale are not."""
    text = f'Digest realm="ims.example", nonce="{NONCE}", algorithm=AKAv1-MD5, qop="auth", stale=true, ck="00", ik="11"'
    challenge = Challenge.parse(text)
    assert challenge.params["nonce"] == NONCE
    assert str(challenge) == text


def test_credentials_quote_what_has_to_be_quoted() -> None:
    """TS 24.229 7.2A.2: integrity-protected is quoted; RFC 2617 3.2.2: qop, nc and algorithm are not."""
    text = (
        f'Digest username="a@b", realm="b", nonce="{NONCE}", uri="sip:b", response="00", qop=auth, nc=00000001, '
        'cnonce="c", algorithm=AKAv1-MD5, auts="", integrity-protected="yes"'
    )
    assert str(Credentials.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('Digest Username="a\\"b",\trealm = "c" , QOP="auth"', id="quoted qop, any case, white space"),
        pytest.param('DIGEST qop=auth,realm=c,username="a\\"b"', id="any order, unquoted realm"),
    ],
)
def test_credentials_in_any_shape(text: str) -> None:
    credentials = Credentials.parse(text)
    assert credentials.scheme.lower() == "digest"
    assert credentials.params == {"username": 'a"b', "realm": "c", "qop": "auth"}
    assert credentials.get("REALM") == "c"


@pytest.mark.parametrize(
    "text", ["", "Digest", 'Digest realm="a', "Digest realm", "Digest a=1, a=2", 'Digest a="1" b="2"', "Digest ,,"]
)
def test_malformed_credentials(text: str) -> None:
    with pytest.raises(ParseError):
        Credentials.parse(text)


@pytest.mark.parametrize("name", ["qop", "nc", "algorithm"])
def test_no_parameter_slips_out_of_another(name: str) -> None:
    """What a peer has in quotes stays there, for else it could mark its own request as protected."""
    credentials = Credentials.parse(f'Digest realm="a", {name}="x, integrity-protected=yes"')
    assert str(credentials) == f'Digest realm="a", {name}="x, integrity-protected=yes"'
    assert Credentials.parse(str(credentials)) == credentials


def test_credentials_are_marked_and_stripped() -> None:
    credentials = Credentials.parse('Digest realm="a", x=1')
    assert (
        str(credentials.with_params(integrity_protected="no", x=None)) == 'Digest realm="a", integrity-protected="no"'
    )
    assert credentials.params == {"realm": "a", "x": "1"}


def test_keys_do_not_show() -> None:
    shown = repr(Challenge.parse('Digest realm="a", ck="c0ffee", ik="facade"'))
    assert "realm" in shown
    assert "c0ffee" not in shown
    assert "facade" not in shown
    assert shown == str(repr(Challenge.parse('Digest realm="a", ck="1", ik="2"')))


# Any text

TEXTS = st.text('sip:@<>"\\;=,. /20UDP5tag\t*[]', max_size=50) | st.text()


@given(TEXTS)
def test_any_text_is_an_address_or_a_parse_error(text: str) -> None:
    try:
        address = NameAddr.parse(text)
    except ParseError:
        return
    assert NameAddr.parse(str(address)) == address


@given(TEXTS.map("SIP/2.0/UDP ".__add__))
def test_any_text_is_a_via_or_a_parse_error(text: str) -> None:
    try:
        via = Via.parse(text)
    except ParseError:
        return
    assert Via.parse(str(via)) == via


@given(TEXTS.map("Digest ".__add__))
def test_any_text_is_credentials_or_a_parse_error(text: str) -> None:
    try:
        credentials = Credentials.parse(text)
    except ParseError:
        return
    assert credentials == Credentials.parse(text)


# The usual form has a short way of its own, which must read what the general one reads

PIECES = st.lists(
    st.sampled_from(
        [
            "SIP/2.0/",
            "UDP",
            "udp",
            " ",
            "  ",
            "\t",
            "a.example",
            "192.0.2.1",
            "[2001:db8::1]",
            ":5060",
            ":65536",
            ":",
            ";branch=z9hG4bK1",
            ";rport",
            ";x=",
            ";=",
            ";",
            ",",
            ';y="a;b"',
            ';y="a b"',
            ';z="q\\"',
            '"',
            "\\",
            "<",
            ">",
            "sip:a@b",
            "tel:+1;x=y",
            "A B",
            '"A <B>" ',
            ";tag=1",
            "=",
            "é",
            "Digest ",
            'realm="a.b"',
            'Nonce=""',
            ", ",
            ",",
            "qop=auth",
            "realm=x",
            "a-b=c=d",
            "x y",
            'uri="sip:a"',
        ]
    ),
    max_size=8,
).map("".join)


def outcome(parse: Callable[[str], object], text: str) -> object:
    try:
        return parse(text)
    except ParseError as fault:
        return fault.reason


@given(PIECES)
def test_usual_and_general_form_agree(text: str) -> None:
    for start in ("", "SIP/2.0/UDP a", "<sip:a@b>", "Digest "):
        whole = start + text
        assert outcome(Via.parse, whole) == outcome(headers._parse_any_via, whole)
        assert outcome(NameAddr.parse, whole) == outcome(headers._parse_any_name_addr, whole)
        assert outcome(Credentials.parse, whole) == outcome(Credentials._parse_any, whole)
