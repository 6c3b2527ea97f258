"""The C twin of what reads values: it agrees with the Python form about every text, and survives any argument."""

from __future__ import annotations

import gc
import sys
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencscf.common.errors import ParseError
from opencscf.common.native import twin
from opencscf.common.sip import headers, params, uri
from opencscf.common.sip.headers import NameAddr, Via
from opencscf.common.sip.params import NO_PARAMS, Params
from opencscf.common.sip.uri import SipUri

NATIVE: ModuleType | None = twin("opencscf.common.sip._values")
pytestmark = pytest.mark.skipif(NATIVE is None, reason="there is no C twin")

PIECES = (
    "SIP/2.0/",
    "UDP",
    "udp",
    " ",
    "\t",
    "\n",
    "\0",
    "a.b",
    "192.0.2.1",
    ":5060",
    ":0",
    ":65536",
    ":123456",
    ":",
    ";branch=z9hG4bK1",
    ";rport",
    ";x=",
    ";x=y",
    ";X==",
    ';y="a b"',
    ';z="a;b"',
    ';z="\\""',
    '"',
    "\\",
    ";",
    ",",
    "<",
    ">",
    "@",
    "_",
    "#",
    "[::1]",
    "%41",
    "é",
    "sip:",
    "sips:",
    "tel:",
    "Digest",
    "Digest ",
    "realm=x",
    'nonce="a, b"',
    'uri=""',
    ", ",
    "=",
    "A-b=c",
    "auts=a=b",
)
TEXTS = st.lists(st.sampled_from(PIECES) | st.characters(max_codepoint=256), max_size=10).map("".join)
STARTS = ("", "SIP/2.0/UDP a", "<sip:a@b>", "sip:a@b", ";", "Digest ", "Digest realm=a, ")


def read_in_python(read: Any, text: str) -> object:
    """Read the usual form; what is not ASCII, or a port out of range, the C twin leaves to the general parser."""
    try:
        return read(text) if text.isascii() else None
    except ParseError:
        return None


@given(st.sampled_from(STARTS), TEXTS)
def test_both_forms_agree(start: str, text: str) -> None:
    assert NATIVE is not None
    whole = start + text
    assert NATIVE.via(Via, NO_PARAMS, whole) == read_in_python(headers._usual_via_in_python, whole)
    assert NATIVE.name_addr(NameAddr, NO_PARAMS, whole) == read_in_python(headers._usual_name_addr_in_python, whole)
    assert NATIVE.sip_uri(SipUri, NO_PARAMS, whole) == read_in_python(uri._usual_sip_uri_in_python, whole)
    assert NATIVE.auth(whole) == read_in_python(headers._usual_auth_in_python, whole)
    assert NATIVE.params(NO_PARAMS, whole) == read_in_python(params._usual_in_python, whole)


NAMES = st.sampled_from(["tag", "Tag", "TAG", "lr", "x", "é", "É", "\u212a", "k", ""]) | st.text(max_size=3)
VALUES = st.none() | st.text(max_size=6) | st.text('"\\aé', max_size=6).map('"{}"'.format)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=4).map(Params), NAMES)
def test_both_forms_find_the_same_parameter(given_params: Params, name: str) -> None:
    assert NATIVE is not None
    get, has = params._METHODS_IN_PYTHON
    assert NATIVE.get(given_params, name) == get(given_params, name)
    assert NATIVE.has(given_params, name) is has(given_params, name)


def test_what_is_made_is_of_our_types() -> None:
    assert NATIVE is not None
    via = NATIVE.via(Via, NO_PARAMS, "SIP/2.0/tcp a:5061;branch=z9hG4bK1;rport")
    assert via == Via("TCP", "a", 5061, Params([("branch", "z9hG4bK1"), ("rport", None)]))
    assert (type(via), type(via.params), via.branch) == (Via, Params, "z9hG4bK1")
    assert NATIVE.via(Via, NO_PARAMS, "SIP/2.0/UDP a").params is NO_PARAMS
    assert NATIVE.sip_uri(SipUri, NO_PARAMS, "sip:a@b").headers is NO_PARAMS
    assert gc.is_tracked(via)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        (Via,),
        (Via, NO_PARAMS),
        (Via, NO_PARAMS, b"x"),
        (Via, NO_PARAMS, None),
        (Via, Params([("a", None)]), "x"),
        (Via, None, "x"),
        (object, NO_PARAMS, "x"),
        (None, NO_PARAMS, "x"),
        (Via, NO_PARAMS, "x", "y"),
    ],
)
def test_wrong_arguments(arguments: tuple[object, ...]) -> None:
    assert NATIVE is not None
    for read in (NATIVE.via, NATIVE.name_addr, NATIVE.sip_uri):
        with pytest.raises(TypeError):
            read(*arguments)
    with pytest.raises(TypeError):
        NATIVE.params(*arguments)


@pytest.mark.parametrize("wrong", [(1,), ((),), (("a",),), (("a", 1),), ((1, "a"),), ("ab",)])
def test_what_are_no_parameters(wrong: tuple[object, ...]) -> None:
    assert NATIVE is not None
    with pytest.raises(TypeError):
        NATIVE.get(wrong, "a")
    with pytest.raises(TypeError):
        NATIVE.get(Params([("a", None)]), 1)
    with pytest.raises(TypeError):
        NATIVE.has([], "a")
    assert NATIVE.auth(b"Digest a=b") is None


def test_nothing_is_left_behind() -> None:
    assert NATIVE is not None
    texts = [start + piece for start in STARTS for piece in PIECES]

    def read_all() -> None:
        for text in texts:
            NATIVE.via(Via, NO_PARAMS, text)
            NATIVE.name_addr(NameAddr, NO_PARAMS, text)
            NATIVE.sip_uri(SipUri, NO_PARAMS, text)
            NATIVE.auth(text)
            found = NATIVE.params(NO_PARAMS, text)
            if found is not None:
                NATIVE.get(found, "X")
                NATIVE.has(found, "rport")

    for _ in range(20):
        read_all()
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(300):
        read_all()
    gc.collect()
    assert sys.getallocatedblocks() - before < 300  # not one a round
