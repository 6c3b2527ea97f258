"""Selection of an S-CSCF (TS 24.229 5.3.1.2, TS 29.228 6.7)."""

from __future__ import annotations

import pytest

from opencscf.common.sip.uri import SipUri
from opencscf.diameter.cx import ServerCapabilities
from opencscf.icscf.selection import Candidate, ScscfPool

A, B, C = (SipUri.parse(f"sip:{name}.test:6060") for name in "abc")
POOL = ScscfPool([Candidate(A, frozenset({1})), Candidate(B, frozenset({1, 2})), Candidate(C, frozenset({1, 2, 3, 4}))])


def needs(*mandatory: int, optional: tuple[int, ...] = (), names: tuple[str, ...] = ()) -> ServerCapabilities:
    return ServerCapabilities(frozenset(mandatory), frozenset(optional), names)


@pytest.mark.parametrize(
    ("capabilities", "tried", "chosen"),
    [
        pytest.param(None, (), A, id="IC-03 no needs, the preferred one"),
        pytest.param(needs(), (), A, id="IC-03 empty needs"),
        pytest.param(needs(2), (), B, id="IC-03 mandatory capability"),
        pytest.param(needs(1, 2, 3), (), C, id="IC-03 all mandatory capabilities"),
        pytest.param(needs(9), (), None, id="IC-03 nobody has it"),
        pytest.param(needs(1, optional=(2,)), (), B, id="IC-03 optional capability, then preference"),
        pytest.param(needs(1, optional=(2, 4)), (), C, id="IC-03 more optional capabilities win"),
        pytest.param(needs(1, optional=(9,)), (), A, id="IC-03 optional capability of nobody"),
        pytest.param(None, (A,), B, id="IC-06 the next one"),
        pytest.param(needs(2), (B, C), None, id="IC-06 none left"),
        pytest.param(needs(names=("sip:c.test:6060",)), (), C, id="IC-01 named by the HSS"),
        pytest.param(needs(names=("c.test", "b.test")), (C,), B, id="IC-06 named, but tried"),
        pytest.param(needs(names=("<>",)), (), A, id="IC-01 unusable name"),
    ],
)
def test_select(capabilities: ServerCapabilities | None, tried: tuple[SipUri, ...], chosen: SipUri | None) -> None:
    assert POOL.select(capabilities, tried) == chosen


@pytest.mark.parametrize(
    ("name", "uri"),
    [
        pytest.param("sip:a.test:6060", "sip:a.test:6060", id="IC-02 as configured"),
        pytest.param(" A.TEST ", "sip:a.test:6060", id="IC-02 bare host that we know"),
        pytest.param("sip:a.test:7070", "sip:a.test:7070", id="IC-02 another port"),
        pytest.param("d.test:5080", "sip:d.test:5080", id="IC-02 without scheme"),
        pytest.param("SIP:d.test", "sip:d.test", id="IC-02 scheme in any case"),
    ],
)
def test_named(name: str, uri: str) -> None:
    assert str(POOL.named(name)) == uri


@pytest.mark.parametrize("name", ["", None, "a b", "sip:", "tel:+1"])
def test_name_of_nobody(name: str | None) -> None:
    assert POOL.named(name) is None
