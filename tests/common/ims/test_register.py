"""What a REGISTER says about the user (TS 24.229 5.3.1.2, 5.4.1.2.1, 7.2A.2)."""

from __future__ import annotations

import pytest

from opencscf.common.actions import Report, Respond
from opencscf.common.errors import ParseError
from opencscf.common.ims.refusal import refuse_register
from opencscf.common.ims.register import Register
from opencscf.common.sip.message import Request


def make_register(*headers: tuple[str, str], to: str = "<sip:alice@ims.test>") -> Request:
    mandatory = [
        ("Via", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1"),
        ("From", f"{to};tag=1"),
        ("To", to),
        ("Call-ID", "c"),
        ("CSeq", "1 REGISTER"),
    ]
    return Request.new("REGISTER", "sip:ims.test", [*mandatory, *headers])


@pytest.mark.parametrize(
    ("headers", "impi"),
    [
        pytest.param((), "alice@ims.test", id="SR-02 derived"),
        pytest.param((("Authorization", 'Digest username="a@ims.test"'),), "a@ims.test", id="SR-02 from Authorization"),
        pytest.param((("Authorization", "Digest nonce=x"),), "alice@ims.test", id="SR-02 credentials without a name"),
        pytest.param(
            (("Authorization", "Other a=b"), ("Authorization", 'DIGEST username="a@ims.test"')),
            "a@ims.test",
            id="SR-02 second credentials",
        ),
        pytest.param(
            (
                ("Authorization", "Bearer dGhlIHRva2Vu.eyJ=="),
                ("Authorization", "Digests a=b"),
                ("Authorization", 'Digest username="a@ims.test"'),
            ),
            "a@ims.test",
            id="8898-2.1.3 a token beside the digest",
        ),
    ],
)
def test_private_identity(headers: tuple[tuple[str, str], ...], impi: str) -> None:
    register = Register.parse(make_register(*headers))
    assert (register.impi, register.impu) == (impi, "sip:alice@ims.test")


def test_unprintable_names() -> None:
    """Octets that are no UTF-8 stand as lone surrogates in the message."""
    with pytest.raises(ParseError):
        Register.parse(make_register(("Authorization", 'Digest username="a\udcff@ims.test"')))
    with pytest.raises(ParseError):
        _ = Register.parse(make_register(("P-Visited-Network-ID", '"ims\udcff"'))).visited_network


@pytest.mark.parametrize("credentials", ["", "nonsense", "Digest", "Digest nonsense"])
def test_malformed_credentials(credentials: str) -> None:
    with pytest.raises(ParseError):
        Register.parse(make_register(("Authorization", credentials)))


@pytest.mark.parametrize("to", ["<tel:+1555>", "<sip:ims.test>", "isbn:2983792873"])
def test_no_private_identity(to: str) -> None:
    """RFC 4475 3.3.4: the last one is no 416, which is about the Request-URI."""
    with pytest.raises(ParseError) as caught:
        Register.parse(make_register(to=to))
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("text", "is_protected"),
    [
        pytest.param('"yes"', True, id="SR-16 quoted"),
        pytest.param("yes", True, id="SR-16 unquoted"),
        pytest.param('"YES"', True, id="SR-16 in another case"),
        pytest.param('"no"', False, id="SR-16 no"),
        pytest.param('"tls-yes"', False, id="SR-16 TLS is not the security association of AKA"),
        pytest.param('"ip-assoc-yes"', False, id="SR-16 nor is an IP address"),
    ],
)
def test_protection(text: str, *, is_protected: bool) -> None:
    header = ("Authorization", f'Digest username="a@ims.test",integrity-protected={text}')
    assert Register.parse(make_register(header)).is_protected is is_protected
    assert not Register.parse(make_register()).is_protected


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (None, ""),
        ("ims.test", "ims.test"),
        ('"ims.test"', "ims.test"),
        ('"Visited; network, number 1";x=y, other', "Visited; network, number 1"),
        ("ims.test ;x=y", "ims.test"),
        ('"', '"'),
    ],
)
def test_visited_network(text: str | None, name: str) -> None:
    """CX-01."""
    headers = () if text is None else (("P-Visited-Network-ID", text),)
    assert Register.parse(make_register(*headers)).visited_network == name


def test_refusal_tells_its_story() -> None:
    request = make_register()
    assert refuse_register(Register.parse(request), 403, "why", step="UAR", peer="hss") == [
        Respond(request, 403, "why"),
        Report(
            "refused",
            {
                "call_id": "c",
                "cseq": "1 REGISTER",
                "status": 403,
                "reason": "why",
                "step": "UAR",
                "impi": "alice@ims.test",
                "impu": "sip:alice@ims.test",
                "peer": "hss",
            },
        ),
    ]
