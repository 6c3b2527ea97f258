"""The published test data for Milenage, all twenty sets (TS 35.207, TS 35.208 4.3)."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from opencscf.common.errors import ParseError
from opencscf.common.ims.milenage import Milenage, derive_opc

FIXTURE = Path(__file__).parents[2] / "fixtures" / "ts35208-milenage.csv"


def _sets() -> list[dict[str, str]]:
    with FIXTURE.open(newline="") as file:
        return list(csv.DictReader(file))


def _octets(row: dict[str, str], name: str) -> bytes:
    return bytes.fromhex(row[name])


@pytest.fixture(params=_sets(), ids=lambda row: f"35.208-4.3.{row['set']} test set {row['set']}")
def row(request: pytest.FixtureRequest) -> dict[str, str]:
    return dict(request.param)


def test_all_published_sets_are_present() -> None:
    assert [int(row["set"]) for row in _sets()] == list(range(1, 21))


def test_opc(row: dict[str, str]) -> None:
    assert derive_opc(_octets(row, "k"), _octets(row, "op")) == _octets(row, "opc")


def test_functions(row: dict[str, str]) -> None:
    milenage = Milenage(_octets(row, "k"), _octets(row, "opc"))
    rand, sqn, amf = (_octets(row, name) for name in ("rand", "sqn", "amf"))
    assert {
        "f1": milenage.f1(rand, sqn, amf).hex(),
        "f1_star": milenage.f1_star(rand, sqn, amf).hex(),
        "f2": milenage.f2(rand).hex(),
        "f3": milenage.f3(rand).hex(),
        "f4": milenage.f4(rand).hex(),
        "f5": milenage.f5(rand).hex(),
        "f5_star": milenage.f5_star(rand).hex(),
    } == {name: row[name] for name in ("f1", "f1_star", "f2", "f3", "f4", "f5", "f5_star")}


@pytest.mark.parametrize(
    ("name", "k", "opc", "rand"),
    [
        pytest.param("K", 15, 16, 16, id="K of 15 octets"),
        pytest.param("OPc", 16, 17, 16, id="OPc of 17 octets"),
        pytest.param("RAND", 16, 16, 0, id="no RAND"),
    ],
)
def test_lengths_are_checked(name: str, k: int, opc: int, rand: int) -> None:
    with pytest.raises(ParseError, match=f"{name} has"):
        Milenage(bytes(k), bytes(opc)).f2345(bytes(rand))


@pytest.mark.parametrize(
    ("name", "sqn", "amf"),
    [pytest.param("SQN", 8, 2, id="SQN of 8 octets"), pytest.param("AMF", 6, 1, id="AMF of 1 octet")],
)
def test_lengths_are_checked_by_f1(name: str, sqn: int, amf: int) -> None:
    with pytest.raises(ParseError, match=f"{name} has"):
        Milenage(bytes(16), bytes(16)).f1(bytes(16), bytes(sqn), bytes(amf))


def test_keys_are_not_shown() -> None:
    shown = repr(Milenage(bytes(16), bytes(16)).f2345(bytes(16)))
    assert shown == "Outputs()"
