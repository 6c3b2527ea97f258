"""SIP and tel URIs (RFC 3261 19.1, RFC 3966, RFC 5954)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencscf.common.errors import ParseError
from opencscf.common.sip import uri as uri_module
from opencscf.common.sip.params import NO_PARAMS, Params
from opencscf.common.sip.uri import SipUri, TelUri, parse_uri

pytestmark = pytest.mark.usefixtures("form")

SIP_URIS = [
    pytest.param("sip:b.example", SipUri("sip", None, None, "b.example"), id="19.1.1 host alone"),
    pytest.param("sip:a@b.example:5061", SipUri("sip", "a", None, "b.example", 5061), id="19.1.1 user and port"),
    pytest.param("sips:a:pw@b", SipUri("sips", "a", "pw", "b"), id="19.1.1 password"),
    pytest.param("sip:a:@b", SipUri("sip", "a", "", "b"), id="19.1.1 empty password"),
    pytest.param(
        "sip:a;b=c?d/e@f;lr",
        SipUri("sip", "a;b=c?d/e", None, "f", params=Params([("lr", None)])),
        id="19.1.1 ; and ? in user",
    ),
    pytest.param(
        "sip:a@b;transport=tcp?subject=x&to=sip%3Ac%40d",
        SipUri(
            "sip",
            "a",
            None,
            "b",
            params=Params([("transport", "tcp")]),
            headers=Params([("subject", "x"), ("to", "sip%3Ac%40d")]),
        ),
        id="19.1.1 parameters and headers",
    ),
    pytest.param(
        "sip:a@b?x=", SipUri("sip", "a", None, "b", headers=Params([("x", "")])), id="19.1.1 empty header value"
    ),
    pytest.param("sip:sips%3Aa%40b@c", SipUri("sip", "sips%3Aa%40b", None, "c"), id="4475-3.1.1.3 escapes in user"),
    pytest.param("sip:[2001:db8::10]", SipUri("sip", None, None, "2001:db8::10"), id="SP-15 IPv6 reference"),
    pytest.param(
        "sip:a@[::1]:5070;lr", SipUri("sip", "a", None, "::1", 5070, Params([("lr", None)])), id="SP-15 with port"
    ),
    pytest.param(
        "sip:[2001:db8::10:5070]",
        SipUri("sip", None, None, "2001:db8::10:5070"),
        id="5118-4.5 port swallowed by the address",
    ),
    pytest.param("sip:*21#@b", SipUri("sip", "*21#", None, "b"), id="a service code with a raw #"),
]


def test_a_colon_too_many_before_ipv4_in_ipv6() -> None:
    """RFC 5118 4.10: the grammar of RFC 3261 allows it; it is not written on."""
    assert str(parse_uri("sip:a@[2001:db8:::192.0.2.1]:5070")) == "sip:a@[2001:db8::192.0.2.1]:5070"
    for host in ("[2001:db8:::1]", "[:::]", "[1::2:::192.0.2.1]"):
        with pytest.raises(ParseError):
            parse_uri(f"sip:a@{host}")


@pytest.mark.parametrize(("text", "uri"), SIP_URIS)
def test_sip_uri(text: str, uri: SipUri) -> None:
    assert parse_uri(text) == uri
    assert str(uri) == text


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        pytest.param("tel:+1-201-555-0123", TelUri("+1-201-555-0123"), id="3966-3 global number"),
        pytest.param(
            "tel:7042;phone-context=example.com",
            TelUri("7042", Params([("phone-context", "example.com")])),
            id="3966-3 local number",
        ),
        pytest.param("tel:*31#;phone-context=+1", TelUri("*31#", Params([("phone-context", "+1")])), id="service code"),
    ],
)
def test_tel_uri(text: str, uri: TelUri) -> None:
    assert parse_uri(text) == uri
    assert str(uri) == text


@pytest.mark.parametrize(
    ("text", "status"),
    [
        pytest.param("", 400, id="empty"),
        pytest.param("alice", 400, id="no scheme"),
        pytest.param("sip:", 400, id="no host"),
        pytest.param("sip:@b", 400, id="empty user"),
        pytest.param("sip:a@b@c", 400, id="two @"),
        pytest.param("sip:a b@c", 400, id="white space"),
        pytest.param("sip:a@b:", 400, id="empty port"),
        pytest.param("sip:a@b:0", 400, id="port 0"),
        pytest.param("sip:a@b:65536", 400, id="port too large"),
        pytest.param("sip:a@b;;lr", 400, id="empty parameter"),
        pytest.param("sip:a%4@b", 400, id="half an escape"),
        pytest.param("sip:a@2001:db8::1", 400, id="5118-4.2 IPv6 without brackets"),
        pytest.param("sip:a@[2001:db8:::1]", 400, id="malformed IPv6"),
        pytest.param("sip:a@[fe80::1%25eth0]", 400, id="5954 zones do not travel"),
        pytest.param("sip:a@b>", 400, id="angle bracket"),
        pytest.param("\u017fip:a@b", 400, id="a letter that only looks like an s"),
        pytest.param("tel:abc;x=<", 400, id="malformed tel"),
        pytest.param("tel:+-()", 400, id="3966-3 a global number without a digit"),
        pytest.param("tel:.-;phone-context=+1", 400, id="3966-3 a local number without a digit"),
        pytest.param("tel:+1;x=a?b", 400, id="3966-3 a question mark is only isub's"),
        pytest.param("urn:service:sos", 416, id="another scheme"),
        pytest.param("nobodyKnowsThisScheme:totallyopaquecontent", 416, id="4475-3.3.2 unknown scheme"),
    ],
)
def test_unusable_uris(text: str, status: int) -> None:
    with pytest.raises(ParseError) as caught:
        parse_uri(text)
    assert caught.value.status == status


def test_of_the_wanted_kind_only() -> None:
    with pytest.raises(ParseError) as caught:
        SipUri.parse("tel:+1")
    assert caught.value.status == 416
    with pytest.raises(ParseError):
        TelUri.parse("sip:a@b")
    assert SipUri.parse("sip:a@b").user == "a"
    assert TelUri.parse("tel:+1").number == "+1"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(
            "sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp", id="escapes and case"
        ),
        pytest.param("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5", id="unknown parameter on one side"),
        pytest.param("sip:carol@chicago.com", "sip:carol@chicago.com;security=on", id="security on one side"),
        pytest.param(
            "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
            id="order of parameters",
        ),
        pytest.param(
            "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
            "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
            id="order of headers",
        ),
        pytest.param("sip:a@[2001:DB8:0:0::1]", "sip:a@[2001:db8::1]", id="SP-15 IPv6 by value"),
        pytest.param("SIP:a@b", "sip:a@b", id="case of the scheme"),
        pytest.param("sip:a%2fb@c", "sip:a%2Fb@c", id="case of an escape"),
    ],
)
def test_equivalent_sip_uris(one: str, other: str) -> None:
    """RFC 3261 19.1.4."""
    assert parse_uri(one).equivalent(parse_uri(other))
    assert parse_uri(other).equivalent(parse_uri(one))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(
            "SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP", id="case of the user"
        ),
        pytest.param("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060", id="port 5060 is not no port"),
        pytest.param("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp", id="another port"),
        pytest.param("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting", id="headers on one side"),
        pytest.param("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4", id="name and address"),
        pytest.param("sip:a@b", "sip:a@b;user=phone", id="user on one side"),
        pytest.param("sip:a@b;ttl=1", "sip:a@b", id="ttl on one side"),
        pytest.param("sip:a@b;method=INVITE", "sip:a@b", id="method on one side"),
        pytest.param("sip:a@b", "sip:a@b;maddr=192.0.2.1", id="maddr on one side"),
        pytest.param("sip:a@b;transport=udp", "sip:a@b;transport=tcp", id="a parameter that differs"),
        pytest.param("sip:a@b", "sips:a@b", id="another scheme"),
        pytest.param("sip:a%2Fb@c", "sip:a/b@c", id="an escaped reserved character"),
        pytest.param("sip:a@b", "tel:+1", id="tel"),
        pytest.param("sip:a:x@b", "sip:a@b", id="password on one side"),
    ],
)
def test_different_sip_uris(one: str, other: str) -> None:
    """RFC 3261 19.1.4."""
    assert not parse_uri(one).equivalent(parse_uri(other))
    assert not parse_uri(other).equivalent(parse_uri(one))


@pytest.mark.parametrize(
    ("one", "other", "equivalent"),
    [
        pytest.param("tel:+1-201-555-0123", "tel:+1(201)555.0123", True, id="visual separators"),
        pytest.param("tel:+1", "tel:1;phone-context=a.example", False, id="global and local"),
        pytest.param(
            "tel:7042;phone-context=A.example", "tel:70-42;PHONE-CONTEXT=a.EXAMPLE", True, id="domain context"
        ),
        pytest.param("tel:7042;phone-context=+1-2", "tel:7042;phone-context=+12", True, id="number context"),
        pytest.param("tel:+1;ext=1-2", "tel:+1;ext=12", True, id="extension"),
        pytest.param("tel:+1;ext=12", "tel:+1", False, id="extension on one side"),
        pytest.param("tel:+1;isub=a;ext=3", "tel:+1;ext=3;isub=A", True, id="order of parameters"),
        pytest.param("tel:+1", "sip:+1@b;user=phone", False, id="sip"),
        pytest.param("tel:+1;ISUB=a?b@c,d=e", "tel:+1;isub=A?B@C,D=E", True, id="subaddress of any characters"),
        pytest.param("tel:+1;isub=1", "tel:+1;isub=2", False, id="another subaddress"),
        pytest.param("tel:+1;isub=1", "tel:+1", False, id="subaddress on one side"),
        pytest.param("tel:+1;x=A", "tel:+1;X=a", True, id="values in any case"),
        pytest.param("tel:+1;x=%41", "tel:+1;x=a", True, id="an escape in vain"),
        pytest.param("tel:+1;x", "tel:+1", False, id="any parameter on one side"),
        pytest.param("tel:7AbC*#;phone-context=+1", "tel:7aBc*#;phone-context=+1", True, id="hexadecimal digits"),
        pytest.param(
            "tel:1;phone-context=a.example.", "tel:1;phone-context=a.example", True, id="last dot of a domain"
        ),
        pytest.param("tel:1;phone-context=a.example", "tel:1;phone-context=b.example", False, id="another domain"),
        pytest.param("tel:1;phone-context=+1", "tel:1;phone-context=+2", False, id="another prefix"),
        pytest.param("tel:1", "tel:1;phone-context=+1", False, id="context on one side"),
        pytest.param("tel:+1;phone-context=+1", "tel:+1", False, id="a context that a global number needs not"),
    ],
)
def test_equivalence_of_tel_uris(one: str, other: str, equivalent: bool) -> None:  # noqa: FBT001 - a table's column
    """SP-12: RFC 3966 4."""
    assert parse_uri(one).equivalent(parse_uri(other)) is equivalent


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        pytest.param("tel:+1-(201).5", "tel:+12015", id="global"),
        pytest.param("tel:+1;npdi;ext=4", "tel:+1", id="parameters go"),
        pytest.param("tel:70-42;phone-context=A.example;x=y", "tel:7042;phone-context=a.example", id="local"),
        pytest.param("tel:7A;phone-context=+1-2", "tel:7a;phone-context=+12", id="local with a number as context"),
        pytest.param("tel:911", "tel:911", id="local without context"),
    ],
)
def test_canonical_tel_uri(text: str, canonical: str) -> None:
    assert TelUri.parse(text).canonical == canonical


def test_tel_to_sip_and_back() -> None:
    """SP-12: RFC 3261 19.1.6."""
    tel = TelUri.parse("tel:+1-201-555-0123;ext=7")
    sip = tel.to_sip("ims.example")
    assert str(sip) == "sip:+12015550123;ext=7@ims.example;user=phone"
    assert sip.tel == TelUri("+12015550123", Params([("ext", "7")]))
    assert SipUri.parse("sip:+1@b").tel is None
    assert SipUri.parse("sip:alice@b;user=phone").tel is None


@pytest.mark.parametrize(
    ("text", "aor"),
    [
        pytest.param("sip:Alice:pw@B.Example:5060;lr?x=y", "sip:Alice@b.example", id="parameters, port, password go"),
        pytest.param("sip:%41lice%2f@b", "sip:Alice%2F@b", id="unreserved characters are unescaped"),
        pytest.param("sip:a@[2001:DB8::0:1]", "sip:a@[2001:db8::1]", id="IPv6 compressed"),
        pytest.param("sip:B", "sip:b", id="no user"),
    ],
)
def test_address_of_record(text: str, aor: str) -> None:
    """RFC 3261 10.3 step 5."""
    assert SipUri.parse(text).aor == aor


def test_parameters_of_use_in_routing() -> None:
    uri = SipUri.parse("sip:a@b;LR;Transport=TCP;maddr=[::1]")
    assert (uri.lr, uri.transport, uri.maddr, uri.hostport) == (True, "tcp", "::1", "b")
    assert str(uri.with_param("transport", "udp").without_params("lr", "maddr")) == "sip:a@b;Transport=udp"
    plain = SipUri("sip", None, None, "::1", 5060)
    assert (plain.lr, plain.transport, plain.maddr, plain.hostport) == (False, None, None, "[::1]:5060")


def test_what_is_not_parsed_compares_all_the_same() -> None:
    assert SipUri("sip", None, None, ":x:").equivalent(SipUri("sip", None, None, ":X:", params=NO_PARAMS))


def test_long_uris_are_read_too() -> None:
    assert SipUri.parse(f"sip:{'a' * 1000}@b").user == "a" * 1000


@given(st.text('sip:tel+@[];=?&%41.<>"a ', max_size=60).map("sip:".__add__) | st.text())
def test_any_text_is_a_uri_or_a_parse_error(text: str) -> None:
    try:
        uri = parse_uri(text)
    except ParseError:
        return
    assert parse_uri(str(uri)) == uri
    assert uri.equivalent(uri)


def outcome(parse: Callable[[str], object], text: str) -> object:
    try:
        return parse(text)
    except ParseError as fault:
        return fault.reason


@given(
    st.lists(
        st.sampled_from(
            [
                "sip:",
                "sips:",
                "SIP:",
                "a",
                "b.example",
                "+1-555",
                "@",
                ":",
                ":5060",
                ":0",
                "[::1]",
                ";lr",
                ";transport=udp",
                ";x=",
                ";=",
                ";user=phone",
                "?h=v",
                "&i=",
                "%41",
                "#",
                ";",
            ]
        ),
        max_size=9,
    ).map("".join)
)
def test_usual_and_general_form_agree(text: str) -> None:
    assert outcome(parse_uri, text) == outcome(uri_module._parse_any, text)
    assert outcome(parse_uri, f"sip:{text}") == outcome(uri_module._parse_any, f"sip:{text}")


@pytest.mark.parametrize(
    ("text", "sip"),
    [
        pytest.param("tel:+1-201-555", "sip:+1201555@b;user=phone", id="3261-19.1.6 no visual separators"),
        pytest.param("tel:*31#;phone-context=+1", "sip:*31%23;phone-context=+1@b;user=phone", id="25.1 # is escaped"),
        pytest.param(
            "tel:7A;x-y=Z;phone-context=A.example;b;EXT=1-2;isub=Q",
            "sip:7a;isub=q;ext=12;phone-context=a.example;b;x-y=z@b;user=phone",
            id="3261-19.1.6, 3966-3 lower case and order",
        ),
        pytest.param("tel:+1;x=[:]", "sip:+1;x=%5B%3A%5D@b;user=phone", id="25.1 what a user part may not hold"),
    ],
)
def test_telephone_number_as_sip_uri(text: str, sip: str) -> None:
    uri = TelUri.parse(text).to_sip("b")
    assert str(uri) == sip
    assert parse_uri(sip) == uri
    assert uri.tel is not None
    assert uri.tel.digits == TelUri.parse(text).digits
