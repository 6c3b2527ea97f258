"""Vectors, the USIM's checks and resynchronisation (TS 33.102 6.3 and Annex C)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencscf.common.errors import ParseError
from opencscf.common.ims.aka import (
    SEQ_LEAP_LIMIT,
    SQN_MAX,
    Agreement,
    MacFailure,
    SyncFailure,
    Usim,
    make_auts,
    make_vector,
    next_sqn,
    resynchronised_sqn,
    split_nonce,
    verify_auts,
)

# TS 35.208 test set 3
K = bytes.fromhex("fec86ba6eb707ed08905757b1bb44b8f")
OPC = bytes.fromhex("1006020f0a478bf6b699f15c062e42b3")
RAND = bytes.fromhex("9f7c8d021accf4db213ccff0c7f71a6a")
SQN = 0x9D0277595FFC
AMF = bytes.fromhex("725c")


def _sqn(seq: int, ind: int) -> int:
    return seq << 5 | ind


def test_vector_of_published_set() -> None:
    vector = make_vector(K, OPC, SQN, AMF, RAND)
    # AUTN = (SQN xor AK) || AMF || MAC-A out of the set's SQN, f5, AMF and f1 (6.3.2)
    concealed = SQN ^ 0x33484DC2136B
    assert vector.autn.hex() == f"{concealed:012x}725c9cabc3e99baf7281"
    assert vector.xres.hex() == "8011c48c0c214ed2"
    assert vector.ck.hex() == "5dbdbb2954e8f3cde665b046179a5098"
    assert vector.ik.hex() == "59a92d3b476a0443487055cf88b2307b"


def test_secrets_are_not_shown() -> None:
    vector = make_vector(K, OPC, SQN, AMF, RAND)
    for secret in (vector.xres, vector.ck, vector.ik):
        assert repr(secret) not in repr(vector)
    assert repr(Agreement(b"res", b"ck", b"ik")) == "Agreement()"


def test_usim_agrees_with_its_network() -> None:
    vector = make_vector(K, OPC, _sqn(1, 1), AMF, RAND)
    assert Usim(K, OPC).challenge(vector.rand, vector.autn) == Agreement(vector.xres, vector.ck, vector.ik)


def test_usim_refuses_a_foreign_network() -> None:
    vector = make_vector(bytes(16), OPC, _sqn(1, 1), AMF, RAND)
    usim = Usim(K, OPC)
    assert usim.challenge(vector.rand, vector.autn) == MacFailure()
    assert usim.sqn_ms == 0


@pytest.mark.parametrize(
    ("seen", "sqn", "accepted"),
    [
        pytest.param([_sqn(5, 1)], _sqn(6, 2), True, id="C.2.1 the next one is accepted"),
        pytest.param([_sqn(5, 1)], _sqn(5, 1), False, id="C.2.1 a vector used twice is refused"),
        pytest.param([_sqn(9, 1)], _sqn(8, 2), True, id="C.2.1 out of order under another IND is accepted"),
        pytest.param([_sqn(9, 1)], _sqn(8, 1), False, id="C.2.1 out of order under the same IND is refused"),
        pytest.param([_sqn(9, 1)], _sqn(9 + SEQ_LEAP_LIMIT, 2), True, id="C.2.2 a leap of Delta is accepted"),
        pytest.param([_sqn(9, 1)], _sqn(10 + SEQ_LEAP_LIMIT, 2), False, id="C.2.2 a longer leap is refused"),
    ],
)
def test_freshness(seen: list[int], sqn: int, *, accepted: bool) -> None:
    usim = Usim(K, OPC)
    for earlier in seen:
        assert isinstance(usim.challenge(RAND, make_vector(K, OPC, earlier, AMF, RAND).autn), Agreement)
    result = usim.challenge(RAND, make_vector(K, OPC, sqn, AMF, RAND).autn)
    assert isinstance(result, Agreement if accepted else SyncFailure)


def test_resynchronisation_round() -> None:
    """The AUTS of a USIM far ahead gives the network a number that the USIM then accepts (6.3.5)."""
    usim = Usim(K, OPC, sqn_ms=_sqn(5000, 7))
    failure = usim.challenge(RAND, make_vector(K, OPC, _sqn(1, 1), AMF, RAND).autn)
    assert isinstance(failure, SyncFailure)
    sqn_ms = verify_auts(K, OPC, RAND, failure.auts)
    assert sqn_ms is not None
    assert sqn_ms >> 5 == 5000
    sqn = next_sqn(resynchronised_sqn(_sqn(1, 1), sqn_ms))
    assert isinstance(usim.challenge(RAND, make_vector(K, OPC, sqn, AMF, RAND).autn), Agreement)


def test_auts_of_published_set() -> None:
    """TS 35.208 test set 3: f5* conceals SQN; MAC-S is made with AMF 0000, so only its length is published."""
    auts = make_auts(K, OPC, SQN, RAND)
    assert int.from_bytes(auts[:6], "big") == SQN ^ 0xDEACDD848CC6
    assert len(auts) == 14
    assert verify_auts(K, OPC, RAND, auts) == SQN


@pytest.mark.parametrize("position", [0, 5, 6, 13], ids=lambda position: f"octet {position} changed")
def test_forged_auts_is_refused(position: int) -> None:
    auts = bytearray(make_auts(K, OPC, SQN, RAND))
    auts[position] ^= 1
    assert verify_auts(K, OPC, RAND, bytes(auts)) is None


@pytest.mark.parametrize(
    ("sqn_he", "sqn_ms", "expected"),
    [
        pytest.param(_sqn(9, 1), _sqn(7, 2), _sqn(9, 1), id="33.102-6.3.5 a number in range is kept"),
        pytest.param(_sqn(9, 1), _sqn(9, 2), _sqn(9, 1), id="33.102-6.3.5 its successor is the first fresh one"),
        pytest.param(_sqn(3, 1), _sqn(7, 2), _sqn(7, 2), id="33.102-6.3.5 a number behind is reset"),
        pytest.param(_sqn(SEQ_LEAP_LIMIT + 8, 1), _sqn(7, 2), _sqn(7, 2), id="33.102-6.3.5 a leap too far is reset"),
    ],
)
def test_resynchronised_sqn(sqn_he: int, sqn_ms: int, expected: int) -> None:
    assert resynchronised_sqn(sqn_he, sqn_ms) == expected


def test_next_sqn_moves_seq_and_ind() -> None:
    assert next_sqn(_sqn(4, 30)) == _sqn(5, 31)
    assert next_sqn(_sqn(5, 31)) == _sqn(6, 0)
    with pytest.raises(ParseError, match="used up"):
        next_sqn(SQN_MAX)


@pytest.mark.parametrize("sqn", [-1, SQN_MAX + 1])
def test_sqn_must_fit(sqn: int) -> None:
    with pytest.raises(ParseError, match="48 bits"):
        make_vector(K, OPC, sqn, AMF, RAND)


def test_lengths_are_checked() -> None:
    with pytest.raises(ParseError, match="AUTN"):
        Usim(K, OPC).challenge(RAND, bytes(15))
    with pytest.raises(ParseError, match="AUTS"):
        verify_auts(K, OPC, RAND, bytes(13))


def test_nonce_is_split_before_the_servers_own_octets() -> None:
    assert split_nonce(bytes(16) + bytes([1] * 16) + b"server data") == (bytes(16), bytes([1] * 16))
    with pytest.raises(ParseError, match="nonce"):
        split_nonce(bytes(31))


@given(st.integers(min_value=0, max_value=SQN_MAX - 64), st.integers(min_value=0, max_value=SQN_MAX - 64))
def test_any_resynchronisation_ends(sqn_he: int, sqn_ms: int) -> None:
    """Whatever the two sides remember, one AUTS is enough."""
    usim = Usim(K, OPC, sqn_ms=sqn_ms)
    chosen = resynchronised_sqn(sqn_he, usim.sqn_ms)
    vector = make_vector(K, OPC, next_sqn(chosen), AMF, RAND)
    assert isinstance(usim.challenge(vector.rand, vector.autn), Agreement)
