"""The trust boundary towards the UE (TS 24.229 5.2.2.2, 7.2A)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencscf.common.ims.register import digest_credentials
from opencscf.common.sip.headers import Challenge
from opencscf.common.sip.params import quote
from opencscf.pcscf.trust import KEYS, for_ue, mark_unprotected, without_params


@pytest.mark.parametrize(
    ("value", "left"),
    [
        pytest.param(
            'Digest realm="r", nonce="n", algorithm=AKAv1-MD5, ck="00", ik="11"',
            'Digest realm="r", nonce="n", algorithm=AKAv1-MD5',
            id="PA-04 at the end",
        ),
        pytest.param('Digest ck="00",ik="11",realm="r"', 'Digest realm="r"', id="PA-04 at the start"),
        pytest.param('Digest realm="r",CK=00 , Ik = "11",nonce="n"', 'Digest realm="r",nonce="n"', id="PA-04 any case"),
        pytest.param('Digest realm="r",ck="0",ck="1",ik="2"', 'Digest realm="r"', id="PA-04 repeated"),
        pytest.param('Digest ck="0"', "", id="PA-04 nothing else"),
        pytest.param(
            'Digest realm="ck=\\"1\\", ik=2",nonce="+ck="',
            'Digest realm="ck=\\"1\\", ik=2",nonce="+ck="',
            id="PA-04 the same letters inside quotes stay",
        ),
        pytest.param('Digest realm="r, ck="00"', "", id="PA-04 quotes that do not pair hide nothing"),
        pytest.param('Digest realm="r",\tick="1"', 'Digest realm="r",\tick="1"', id="PA-04 a longer name stays"),
        pytest.param(
            'Digest realm="r",ck="1",Basic realm="s",ik="2"', 'Digest realm="r",Basic realm="s"', id="PA-04 two schemes"
        ),
        pytest.param("", "", id="PA-04 empty"),
    ],
)
def test_keys_are_cut_out(value: str, left: str) -> None:
    assert without_params(value, KEYS) == left


NAMES = st.sampled_from(["ck", "IK", "Ck", "realm", "nonce", "xck", "ik-", "integrity-protected"])
VALUES = st.one_of(
    st.from_regex(r"[a-z0-9]{1,4}", fullmatch=True),
    st.text(alphabet='ck=i,; \\"', max_size=12).map(quote),
)


@given(st.lists(st.tuples(NAMES, VALUES), min_size=1, unique_by=lambda pair: pair[0].lower()), st.sampled_from(", \t"))
def test_whatever_a_challenge_holds_only_its_keys_go(pairs: list[tuple[str, str]], space: str) -> None:
    """PA-04: seen by a reader of challenges."""
    separator = f",{space}" if space != "," else ","
    value = "Digest " + separator.join(f"{name}={text}" for name, text in pairs)
    left = without_params(value, KEYS)
    expected = {name: text for name, text in Challenge.parse(value).params.items() if name not in KEYS}
    assert (Challenge.parse(left).params if left else {}) == expected


def test_every_challenge_on_its_way_to_the_ue_loses_its_keys(world: Any) -> None:
    """PA-04 PG-01: in all header fields, and in the copy only."""
    challenge = 'Digest realm="r",nonce="n",ck="00112233",ik="44556677"'
    response = world.answer(
        world.register(), 401,
        ("WWW-Authenticate", challenge), ("WWW-Authenticate", challenge), ("Proxy-Authenticate", challenge),
        ("P-Charging-Vector", "icid-value=1"), ("P-Charging-Function-Addresses", "ccf=192.0.2.9"),
    )  # fmt: skip
    passed = for_ue(response)
    assert passed.get_all("WWW-Authenticate") == ['Digest realm="r",nonce="n"'] * 2
    assert passed.get_all("Proxy-Authenticate") == ['Digest realm="r",nonce="n"']
    assert not passed.has("P-Charging-Vector")
    assert not passed.has("P-Charging-Function-Addresses")
    assert b"00112233" in bytes(response)


def test_challenge_that_might_hide_keys_does_not_go_on(world: Any) -> None:
    """PA-04."""
    challenges = [("WWW-Authenticate", 'Digest realm="r, ck="00"'), ("WWW-Authenticate", 'Digest realm="s"')]
    passed = for_ue(world.answer(world.register(), 401, *challenges))
    assert passed.get_all("WWW-Authenticate") == ['Digest realm="s"']


@pytest.mark.parametrize(
    ("value", "marked"),
    [
        pytest.param(
            'Digest username="a",nonce=""', 'Digest username="a",nonce="", integrity-protected="no"', id="none"
        ),
        pytest.param(
            'Digest username="a", integrity-protected="yes", nonce=""',
            'Digest username="a", nonce="", integrity-protected="no"',
            id="a UE's own",
        ),
        pytest.param(
            'Digest Integrity-Protected=yes,username="a",ck="1",ik="2"',
            'Digest username="a", integrity-protected="no"',
            id="a UE's own in other letters, with keys",
        ),
    ],
)
def test_integrity_protected_is_ours_to_say(world: Any, value: str, marked: str) -> None:
    """PA-01: nothing else of the credentials changes."""
    register = world.register(("Authorization", value))
    mark_unprotected(register, digest_credentials(register))
    assert register.get_all("Authorization") == [marked]


def test_a_register_without_credentials_is_not_marked(world: Any) -> None:
    """PA-01."""
    register = world.register()
    mark_unprotected(register, None)
    assert not register.has("Authorization")
