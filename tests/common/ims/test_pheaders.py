"""RFC 7315, RFC 3325 and the trust boundary of TS 24.229 4.4."""

import pytest

from opencscf.common.errors import ParseError
from opencscf.common.ims.pheaders import (
    CHARGING,
    LOCATION,
    TRUST_DOMAIN_ONLY,
    AccessNetworkInfo,
    ChargingFunctionAddresses,
    ChargingVector,
    access_networks,
    asserted_identities,
    associated_uris,
    called_party,
    charging_functions,
    hide_from_ue,
    preferred_identities,
    remove_untrusted,
    visited_network_id,
    visited_networks,
    wants_identity_hidden,
)
from opencscf.common.sip.message import Request

MANDATORY = (
    ("Via", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1"),
    ("From", "<sip:alice@ims.test>;tag=1"),
    ("To", "<sip:bob@ims.test>"),
    ("Call-ID", "1"),
    ("CSeq", "1 MESSAGE"),
)


def message(*headers: tuple[str, str]) -> Request:
    return Request.new("MESSAGE", "sip:bob@ims.test", [*MANDATORY, *headers])


@pytest.mark.parametrize(
    ("text", "icid", "host"),
    [
        pytest.param("icid-value=1234bc;icid-generated-at=192.0.2.1", "1234bc", "192.0.2.1", id="tokens"),
        pytest.param('icid-value="a@b;c"; orig-ioi="x"', "a@b;c", None, id="quoted value"),
        pytest.param("icid-value=1;icid-generated-at=[2001:db8::1]", "1", "[2001:db8::1]", id="IPv6 host"),
        pytest.param("orig-ioi=x;ICID-Value=7", "7", None, id="any order and case"),
    ],
)
def test_charging_vector_is_read(text: str, icid: str, host: str | None) -> None:
    vector = ChargingVector.parse(text)
    assert (vector.icid_value, vector.icid_generated_at) == (icid, host)
    assert ChargingVector.parse(str(vector)) == vector


@pytest.mark.parametrize("text", ["", "orig-ioi=x", "icid-value", "icid-value=", '"'])
def test_charging_vector_without_icid_is_malformed(text: str) -> None:
    with pytest.raises(ParseError):
        ChargingVector.parse(text)


@pytest.mark.parametrize(
    ("icid", "text"),
    [
        pytest.param("abc1", "icid-value=abc1;icid-generated-at=192.0.2.1", id="token"),
        pytest.param("a b", 'icid-value="a b";icid-generated-at=192.0.2.1', id="quoted when it is no token"),
    ],
)
def test_charging_vector_is_written(icid: str, text: str) -> None:
    assert str(ChargingVector.new(icid, "192.0.2.1")) == text


def test_charging_vector_names_the_operators() -> None:
    """RFC 7315 4.6."""
    vector = ChargingVector.parse('icid-value=1; orig-ioi=home1.net;transit-ioi="a.1,b.2"')
    assert (vector.orig_ioi, vector.term_ioi) == ("home1.net", None)
    answered = vector.with_param("term-ioi", "home 2").with_param("orig-ioi", "home1.example")
    assert str(answered) == 'icid-value=1;orig-ioi=home1.example;transit-ioi="a.1,b.2";term-ioi="home 2"'
    assert answered.term_ioi == "home 2"


@pytest.mark.parametrize(
    ("text", "ccf", "ecf"),
    [
        pytest.param("ccf=192.0.2.1; ecf=192.0.2.2", ("192.0.2.1",), ("192.0.2.2",), id="one of each"),
        pytest.param("ccf=[2001:db8::1]; ccf=[2001:db8::2]", ("[2001:db8::1]", "[2001:db8::2]"), (), id="a name twice"),
        pytest.param(
            'ccf-2="b";ccf="aaa://a";x, ECF=c;ecf-2=d', ("aaa://a", "b"), ("c", "d"), id="5.5 the second by its name"
        ),
        pytest.param("", (), (), id="none"),
    ],
)
def test_charging_functions(text: str, ccf: tuple[str, ...], ecf: tuple[str, ...]) -> None:
    """RFC 7315 4.5."""
    addresses = charging_functions(message(("P-Charging-Function-Addresses", text)))
    assert addresses == (ccf, ecf)
    if text:
        assert ChargingFunctionAddresses.parse([str(addresses)]) == addresses


def test_charging_functions_are_written() -> None:
    addresses = ChargingFunctionAddresses(("[2001:db8::1]", "aaa://a;b"), ("ecf.ims.test",))
    assert str(addresses) == 'ccf=[2001:db8::1]; ccf="aaa://a;b"; ecf=ecf.ims.test'


def test_access_networks() -> None:
    """RFC 7315 4.4 and 5.4."""
    text = "3GPP-E-UTRAN-FDD; utran-cell-id-3gpp=0010100010000019B, IEEE-802.11;i-wlan-node-id=00;network-provided"
    cell, wlan = access_networks(message(("P-Access-Network-Info", text)))
    assert (cell.access, cell.params.get("utran-cell-id-3gpp")) == ("3GPP-E-UTRAN-FDD", "0010100010000019B")
    assert (cell.is_network_provided, wlan.is_network_provided) == (False, True)
    assert str(wlan) == "IEEE-802.11;i-wlan-node-id=00;network-provided"
    assert AccessNetworkInfo.parse("3GPP-GERAN") == ("3GPP-GERAN", ())
    for malformed in ("", ";a=b", "a b", "a;=", '"a"'):
        with pytest.raises(ParseError):
            AccessNetworkInfo.parse(malformed)


def test_visited_networks() -> None:
    """RFC 7315 4.3: tokens or quoted-strings; what is neither is read as far as it goes."""
    text = 'other.net, "Visited, \\"1\\"";x=y, ims.test ;z, "a" b'
    assert visited_networks(message(("P-Visited-Network-ID", text))) == [
        "other.net",
        'Visited, "1"',
        "ims.test",
        '"a" b',
    ]
    assert visited_networks(message()) == []


def test_empty_associated_uri() -> None:
    """RFC 7315 4.1: the header field may be there without any URI."""
    assert associated_uris(message(("P-Associated-URI", ""))) == []


def test_visited_network_id_is_quoted() -> None:
    assert visited_network_id('a "network"') == '"a \\"network\\""'


def test_identities_are_read() -> None:
    both = '"A, B" <sip:alice@ims.test>, <tel:+15550001>'
    given = message(("P-Preferred-Identity", both), ("P-Asserted-Identity", both), ("P-Associated-URI", both))
    for read in (preferred_identities, asserted_identities, associated_uris):
        assert [identity.uri for identity in read(given)] == ["sip:alice@ims.test", "tel:+15550001"]
        assert read(message()) == []


def test_called_party_is_read() -> None:
    called = called_party(message(("P-Called-Party-ID", "<sip:bob@ims.test>")))
    assert called is not None
    assert called.uri == "sip:bob@ims.test"
    assert called_party(message()) is None


@pytest.mark.parametrize(
    ("privacy", "hidden"),
    [
        pytest.param("id", True, id="PT-12 RFC3325-9.3 id"),
        pytest.param("header; ID ;critical", True, id="PT-12 RFC3323-4.2 among others"),
        pytest.param("none", False, id="PT-12 none"),
        pytest.param("user;header", False, id="PT-12 other services"),
        pytest.param("identity", False, id="PT-12 a longer word"),
    ],
)
def test_privacy(privacy: str, hidden: bool) -> None:  # noqa: FBT001 - a column of the table
    assert wants_identity_hidden(message(("Privacy", privacy))) is hidden
    given = message(("Privacy", privacy), ("P-Asserted-Identity", "<sip:alice@ims.test>"))
    hide_from_ue(given)
    assert given.has("P-Asserted-Identity") is not hidden


@pytest.mark.parametrize(
    ("value", "uris"),
    [
        pytest.param("<sip:02@<null>>, <tel:+1555>", ["tel:+1555"], id="PT-02 the other wish"),
        pytest.param("<>", [], id="PT-02 none"),
    ],
)
def test_preference_that_cannot_be_read_is_none(value: str, uris: list[str]) -> None:
    """PT-02: it is but a wish, and no reason to refuse a call."""
    assert [identity.uri for identity in preferred_identities(message(("P-Preferred-Identity", value)))] == uris


@pytest.mark.parametrize("name", [*CHARGING, *TRUST_DOMAIN_ONLY])
def test_a_ue_cannot_say_what_the_network_says(name: str) -> None:
    """PG-01: and nothing else is touched."""
    given = message((name, "x"), ("P-Preferred-Service", "urn:x"), (name, "y"))
    remove_untrusted(given)
    assert given == message(("P-Preferred-Service", "urn:x"))


@pytest.mark.parametrize("name", [*CHARGING, *LOCATION])
def test_a_ue_sees_neither_charging_nor_where_the_other_one_is(name: str) -> None:
    """PG-01; RFC 7315 4.4: which cell serves a user stays in the trust domain."""
    given = message((name, "x"), ("P-Asserted-Identity", "<sip:alice@ims.test>"))
    hide_from_ue(given)
    assert given == message(("P-Asserted-Identity", "<sip:alice@ims.test>"))


def test_only_network_provided_access_information_is_removed() -> None:
    """PG-01."""
    given = message(("P-Access-Network-Info", "3GPP-E-UTRAN-FDD;cell=1, IEEE-802.11; Network-Provided"))
    for _ in range(2):
        remove_untrusted(given)
        assert given == message(("P-Access-Network-Info", "3GPP-E-UTRAN-FDD;cell=1"))
    alone = message(("P-Access-Network-Info", "3GPP-E-UTRAN-FDD;network-provided"))
    remove_untrusted(alone)
    assert alone == message()
