from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from opencscf.common.errors import StartupError
from opencscf.labs.bench import load
from opencscf.labs.bench.load import fill, find_sipp, injection_file, read_result
from opencscf.labs.bench.scene import SimulatedUe

if TYPE_CHECKING:
    from pathlib import Path


def test_every_ue_has_its_own_address_and_imsi() -> None:
    ues = [SimulatedUe(index) for index in (0, 1, 239, 240, 59_999, 60_000, 100_000, 999_999)]
    assert ues[0].address == "127.100.0.1"
    assert ues[3].address == "127.100.1.1"
    assert ues[5].address == "127.101.0.1"
    assert len({ue.address for ue in ues}) == len({ue.imsi for ue in ues}) == len(ues)
    assert all(0 <= int(octet) <= 255 for ue in ues for octet in ue.address.split("."))
    assert {len(ue.imsi) for ue in ues} == {15}


def test_injection_file_names_each_ues_callee() -> None:
    head, first, second = injection_file(10, 2).splitlines()
    assert head == "SEQUENTIAL"
    assert first.split(";")[0] == SimulatedUe(10).address
    assert [line.split(";")[3] for line in (first, second)] == [SimulatedUe(12).imsi, SimulatedUe(13).imsi]


@pytest.mark.parametrize("scenario", sorted(path.name for path in load.SCENARIOS.glob("*.xml")))
def test_scenarios_are_xml_and_have_no_word_left(scenario: str) -> None:
    text = fill(load.SCENARIOS / scenario, load.WORDS)
    ET.fromstring(text.replace('<!DOCTYPE scenario SYSTEM "sipp.dtd">', ""))  # noqa: S314 our own file
    for word in load.WORDS:
        assert f"@{word}@" not in text


def write_statistics(scenario: Path, rows: list[tuple[float, int, int]]) -> None:
    """Write rows as SIPp does: seconds since its start, successful so far, retransmissions so far."""
    lines = ["StartTime;CurrentTime;SuccessfulCall(C);Retransmissions(C);"]
    for age_s, successful, retransmissions in rows:
        now = f"2026-11-22\t10:00:00.5\t{1_800_000_000.5 + age_s:.6f}"
        lines.append(f"2026-11-22\t10:00:00.5\t1800000000.500000;{now};{successful};{retransmissions};")
    scenario.with_suffix(".stat").write_text("\n".join(lines) + "\n")


def test_what_did_not_finish_has_failed(tmp_path: Path) -> None:
    write_statistics(tmp_path / "1-call.xml", [(0.0, 0, 0), (45.0, 90, 7)])
    result = read_result(tmp_path / "1-call.xml", 100, 2.0, 45.0)
    assert (result.successful, result.retransmissions, result.seconds) == (90, 7, 45.0)
    assert result.failed_share == pytest.approx(0.1)


def test_what_came_late_was_not_done_at_that_rate(tmp_path: Path) -> None:
    rows = [(0.0, 0, 0), (4.0, 30, 0), (8.0, 60, 1), (12.0, 70, 2), (30.0, 90, 7)]
    write_statistics(tmp_path / "1-call.xml", rows)
    assert read_result(tmp_path / "1-call.xml", 100, 12.5, 30.0).per_s == 60 / 8


def test_sipp_that_ends_at_once_is_quoted(tmp_path: Path) -> None:
    (tmp_path / "1-call.err").write_text("first\nUnknown field in injection file\n\n")
    with pytest.raises(StartupError, match="sipp ended at once: Unknown field in injection file"):
        read_result(tmp_path / "1-call.xml", 100, 10.0, 0.1)


def test_missing_sipp_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(StartupError, match=r"^sipp is missing: apt-get install sip-tester$"):
        find_sipp()
