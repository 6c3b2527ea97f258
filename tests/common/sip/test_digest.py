"""Digest authentication against the examples of RFC 2617, RFC 7616 and RFC 3310."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencscf.common.errors import ParseError
from opencscf.common.sip import digest
from opencscf.common.sip.headers import Challenge, Credentials

RAND, AUTN = bytes(range(16)), bytes(range(240, 256))

RFC_2617: dict[str, Any] = {  # keywords of several types
    "username": "Mufasa",
    "realm": "testrealm@host.com",
    "nonce": "dcd98b7102dd2f0e8b11d0f600bfb0c093",
    "uri": "/dir/index.html",
}
RFC_7616: dict[str, Any] = {
    "username": "Mufasa",
    "realm": "http-auth@example.org",
    "nonce": "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
    "uri": "/dir/index.html",
    "nc": "00000001",
    "cnonce": "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
    "qop": "auth",
}


JASON = "J\u00e4s\u00f8n Doe"
RFC_7616_HASHED: dict[str, Any] = {  # 3.9.2, of which erratum 4897 gives the right userhash and response
    "username": "793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b",
    "realm": "api@example.org",
    "uri": "/doe.json",
    "algorithm": "SHA-512-256",
    "nonce": "5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK",
    "nc": "00000001",
    "cnonce": "NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v",
    "qop": "auth",
    "response": "3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5",
    "userhash": "true",
}


def credentials(**params: str) -> Credentials:
    return Credentials("Digest", params)


@pytest.mark.parametrize(
    ("given_credentials", "password"),
    [
        pytest.param(
            credentials(
                **RFC_2617, qop="auth", nc="00000001", cnonce="0a4f113b", response="6629fae49393a05397450978507c4ef1"
            ),
            b"Circle Of Life",
            id="2617-3.5 qop auth",
        ),
        pytest.param(
            credentials(**RFC_2617, response="1949323746fe6a43ef61f9606e7febea"), b"CircleOfLife", id="2069 without qop"
        ),
        pytest.param(
            credentials(**RFC_7616, algorithm="MD5", response="8ca523f5e9506fed4657c9700eebdbec"),
            b"Circle of Life",
            id="7616-3.9.1 MD5",
        ),
        pytest.param(
            credentials(
                **RFC_7616,
                algorithm="SHA-256",
                response="753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
            ),
            b"Circle of Life",
            id="7616-3.9.1 SHA-256",
        ),
    ],
)
def test_published_examples(given_credentials: Credentials, password: bytes) -> None:
    assert digest.verify(given_credentials, "GET", password=password)
    algorithm = given_credentials.get("algorithm") or "MD5"
    a1 = digest.ha1("Mufasa", given_credentials.params["realm"], password, algorithm=algorithm)
    assert digest.verify(given_credentials, "GET", ha1=a1)
    assert not digest.verify(given_credentials, "GET", password=b"another")
    assert not digest.verify(given_credentials, "PUT", password=password)


def test_res_is_a_binary_password() -> None:
    """SP-09: RFC 3310 3.3: the octets of RES, not their hexadecimal form; a colon or NUL in it has no meaning."""
    res = bytes.fromhex("003aff0d0a225c80")
    params = {**RFC_2617, "nonce": digest.aka_nonce(RAND, AUTN), "algorithm": "AKAv1-MD5"}
    answer = digest.response(**params, method="REGISTER", password=res)
    assert digest.verify(credentials(**params, response=answer), "REGISTER", password=res)
    assert not digest.verify(credentials(**params, response=answer), "REGISTER", password=res.hex().encode())


def test_resynchronisation_has_an_empty_password() -> None:
    """SP-09: RFC 3310 3.4."""
    answer = digest.response(**RFC_2617, method="REGISTER", password=b"", algorithm="AKAv1-MD5")
    params = credentials(**RFC_2617, algorithm="AKAv1-MD5", response=answer, auts=digest.format_auts(bytes(14)))
    assert digest.verify(params, "REGISTER", password=b"")


def test_integrity_of_the_body() -> None:
    params = {**RFC_7616, "qop": "auth-int"}
    answer = digest.response(**params, method="INVITE", password=b"x", entity_body=b"sdp")
    given_credentials = credentials(**params, response=answer)
    assert digest.verify(given_credentials, "INVITE", password=b"x", entity_body=b"sdp")
    assert not digest.verify(given_credentials, "INVITE", password=b"x", entity_body=b"other")


def test_session_algorithm_binds_the_key_to_nonce_and_cnonce() -> None:
    params = {**RFC_7616, "algorithm": "MD5-sess"}
    answer = digest.response(**params, method="GET", password=b"x")
    assert answer != digest.response(**RFC_7616, method="GET", password=b"x")
    assert digest.verify(credentials(**params, response=answer), "GET", ha1=digest.ha1("Mufasa", params["realm"], b"x"))


@pytest.mark.parametrize("algorithm", ["MD5-sess", "SHA-256-sess", "SHA-512-256-sess", "SHA-256"])
def test_every_algorithm_and_its_session_form(algorithm: str) -> None:
    """RFC 7616 6.1, RFC 8760 2.1: with -sess, H(A1) is bound to nonce and cnonce."""
    assert digest.is_supported(algorithm)
    params = {**RFC_7616, "algorithm": algorithm}
    answer = digest.response(**params, method="REGISTER", password=b"x")
    assert len(answer) == (32 if algorithm.startswith("MD5") else 64)
    assert answer != digest.response(
        **{**params, "algorithm": algorithm.removesuffix("-sess"), "nc": "2"}, method="REGISTER"
    )
    a1 = digest.ha1("Mufasa", params["realm"], b"x", algorithm=algorithm)
    assert digest.verify(credentials(**params, response=answer), "REGISTER", ha1=a1)


def test_user_whose_name_is_hashed() -> None:
    """RFC 7616 3.4.4 and 3.9.2: what is hashed is the user's name, and what proves the password is the name itself."""
    given = credentials(**RFC_7616_HASHED)
    assert digest.userhash(JASON, "api@example.org", algorithm="SHA-512-256") == RFC_7616_HASHED["username"]
    assert digest.is_of_user(given, JASON)
    assert not digest.is_of_user(given, "Jason Doe")
    assert digest.verify(given, "GET", password=b"Secret, or not?", username=JASON)
    assert not digest.verify(given, "GET", password=b"Secret, or not?", username="Jason Doe")
    assert not digest.verify(given, "GET", password=b"Secret, or not?")
    assert not digest.is_of_user(credentials(**{**RFC_7616_HASHED, "algorithm": "ROT13"}), JASON)


def test_user_whose_name_needs_more_than_ascii() -> None:
    """RFC 7616 3.4: username* is an ext-value of RFC 8187."""
    given = Credentials.parse("Digest username*=UTF-8''J%C3%A4s%C3%B8n%20Doe, realm=\"a\", userhash=false")
    assert str(given) == "Digest username*=UTF-8''J%C3%A4s%C3%B8n%20Doe, realm=\"a\", userhash=false"
    assert digest.username_of(given) == JASON
    assert digest.is_of_user(given, JASON)
    assert digest.username_of(credentials(username="a")) == "a"
    assert digest.username_of(credentials()) == ""


@pytest.mark.parametrize(
    "params",
    [
        pytest.param({"username*": "Doe"}, id="no charset"),
        pytest.param({"username*": "UTF-8''%FF"}, id="no UTF-8"),
        pytest.param({"username*": "UTF-8''%C3%A4", "username": "a"}, id="7616-3.4 both names"),
        pytest.param({"username*": "UTF-8''%C3%A4", "userhash": "true"}, id="7616-3.4 hashed as well"),
    ],
)
def test_malformed_extended_name(params: dict[str, str]) -> None:
    given = Credentials("Digest", {**params, "response": "0" * 32})
    with pytest.raises(ParseError):
        digest.username_of(given)
    assert not digest.is_of_user(given, "a")
    assert not digest.verify(given, "GET", password=b"")


@pytest.mark.parametrize(
    ("challenges", "algorithms", "chosen"),
    [
        pytest.param(["Digest nonce=1", "Digest nonce=2, algorithm=SHA-256"], [], "1", id="8760-2.4 the topmost"),
        pytest.param(
            ["Digest nonce=1, algorithm=ROT13", "Digest nonce=2, algorithm=sha-512-256"], [], "2", id="8760-2.4 unknown"
        ),
        pytest.param(
            ["Digest nonce=1", "Digest nonce=2, algorithm=AKAv1-MD5"], ["akav1-md5"], "2", id="3310-3.1 only AKA"
        ),
        pytest.param(['Bearer authz_server="https://a"', "digest nonce=2"], [], "2", id="8898-2.1.1 another scheme"),
        pytest.param(["Digest algorithm=ROT13"], [], None, id="8760-2.4 none that we can answer"),
        pytest.param([], [], None, id="none"),
    ],
)
def test_choice_of_a_challenge(challenges: list[str], algorithms: list[str], chosen: str | None) -> None:
    choice = digest.preferred([Challenge.parse(text) for text in challenges], algorithms)
    assert (choice.get("nonce") if choice else None) == chosen


def test_what_a_challenge_puts_in_quotes() -> None:
    """RFC 7616 3.3 and 3.4: realm, nonce, opaque and a challenge's qop always, algorithm and the like never."""
    text = (
        'Digest realm="a", qop="auth,auth-int", algorithm=SHA-512-256, nonce="b", opaque="c", charset=UTF-8, '
        "userhash=true, stale=false"
    )
    assert str(Challenge.parse(text)) == text


@pytest.mark.parametrize(
    "params",
    [
        pytest.param({}, id="nothing"),
        pytest.param({**RFC_2617, "response": ""}, id="the empty response of a first REGISTER"),
        pytest.param({**RFC_2617, "response": "0" * 32, "qop": "auth"}, id="no nc and cnonce"),
        pytest.param({**RFC_7616, "response": "0" * 32, "qop": "auth-x"}, id="unknown qop"),
        pytest.param({**RFC_7616, "response": "0" * 32, "algorithm": "ROT13"}, id="unknown algorithm"),
        pytest.param({**RFC_7616, "response": "\xe4\udc80"}, id="a response of no digits"),
    ],
)
def test_credentials_that_prove_nothing(params: dict[str, str]) -> None:
    assert not digest.verify(credentials(**params), "REGISTER", password=b"x")


def test_aka_nonce() -> None:
    """SP-09: RFC 3310 3.2."""
    nonce = digest.aka_nonce(RAND, AUTN)
    assert nonce == "AAECAwQFBgcICQoLDA0OD/Dx8vP09fb3+Pn6+/z9/v8="
    assert digest.parse_aka_nonce(nonce) == (RAND, AUTN)
    assert digest.parse_aka_nonce(digest.aka_nonce(RAND, AUTN, b"server data")) == (RAND, AUTN)
    assert digest.parse_aka_nonce(nonce.rstrip("=")) == (RAND, AUTN)


@pytest.mark.parametrize("nonce", ["", "AAEC", "!" * 44, "\xe4" * 44, "A" * 5000, "A" * 45])
def test_malformed_aka_nonce(nonce: str) -> None:
    with pytest.raises(ParseError):
        digest.parse_aka_nonce(nonce)


@given(st.binary(min_size=14, max_size=14))
def test_auts(auts: bytes) -> None:
    assert digest.parse_auts(digest.format_auts(auts)) == auts


@pytest.mark.parametrize("text", ["", "AAAA", "*"])
def test_malformed_auts(text: str) -> None:
    with pytest.raises(ParseError):
        digest.parse_auts(text)
