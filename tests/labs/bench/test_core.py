"""The whole benchmark once, small: real processes, SIPp, and the table at the end."""

from __future__ import annotations

import asyncio
import json
import shutil
from typing import TYPE_CHECKING

import pytest

from opencscf.common.errors import StartupError
from opencscf.labs import cli
from opencscf.labs.bench import core
from opencscf.labs.bench.cores import Peer
from opencscf.labs.bench.plan import DEFAULT_PEERS, Part, Plan
from opencscf.labs.bench.search import search

if TYPE_CHECKING:
    from pathlib import Path

NONE: dict[str, tuple[float, ...]] = {"registrations_per_s": (), "calls_per_s": ()}


@pytest.mark.skipif(shutil.which("sipp") is None, reason="sipp is not installed (Debian package sip-tester)")
def test_fifty_registrations_and_twenty_calls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = Plan(
        peers=(Peer.OURS,), registrations_per_s=(50.0,), calls_per_s=(20.0,), load_s=1.0, latency_s=0.0,
        parts=(Part.LOAD,),
    )  # fmt: skip
    report = core.run(plan, tmp_path / "report.json")
    registrations, calls = report.loads
    assert (registrations.offered, registrations.successful) == (50, 50)
    assert registrations.cx == {"UAR": 2.0, "MAR": 1.0, "SAR": 1.0, "LIR": 0.0, "refused": 0.0}
    assert (calls.offered, calls.successful) == (20, 20)
    assert calls.cx == {"UAR": 0.0, "MAR": 0.0, "SAR": 0.0, "LIR": 1.0, "refused": 0.0}
    for run in report.loads:
        assert all(0.01 < run.cpu_ms[node] < 100 for node in ("pcscf", "icscf", "scscf", "hss", "sipp"))
    assert "**call at 20/s, CPU ms**" in capsys.readouterr().out
    assert len(json.loads((tmp_path / "report.json").read_text())["loads"]) == 2


def test_a_quick_plan_has_one_rate_of_each_and_no_search() -> None:
    quick = Plan.of(peers=(), parts=(), users=(), repeat=2, is_quick=True, **NONE)
    assert quick == Plan(registrations_per_s=(300.0,), calls_per_s=(100.0,), repeat=2, parts=(Part.LOAD,))


def test_a_plan_is_everything_unless_told_otherwise() -> None:
    assert Plan.of(peers=(), parts=(), users=(), repeat=1, is_quick=False, **NONE) == Plan(peers=DEFAULT_PEERS)
    some = Plan.of(
        peers=[Peer.OURS, Peer.OURS], parts=[Part.MEMORY], users=[9000, 5000], repeat=1, is_quick=False,
        registrations_per_s=[7.0], calls_per_s=[8.0, 9.0],
    )  # fmt: skip
    assert (some.peers, some.registrations_per_s, some.calls_per_s) == ((Peer.OURS,), (7.0,), (8.0, 9.0))
    assert (some.parts, some.users) == ((Part.MEMORY,), (5000, 9000))


def test_users_are_those_of_each_part_unless_told() -> None:
    assert (Plan().memory_users, Plan().flat_users) == ((10_000, 50_000), (1_000, 100_000))
    assert (Plan(users=(20_000,)).memory_users, Plan(users=(20_000,)).flat_users) == ((20_000,), (1_000, 20_000))


@pytest.mark.parametrize(
    ("limit", "tried"),
    [
        pytest.param(700, [300, 600, 1200, 900, 750, 675], id="upwards, then three halvings"),
        pytest.param(1190, [300, 600, 1200, 900, 1050, 1125], id="the halvings go well"),
        pytest.param(299, [300, 150, 225, 262, 281], id="not even the first"),
        pytest.param(1, [300, 150, 75, 38], id="none in reach"),
        pytest.param(10**9, [300, 600, 1200, 2400, 4800, 9600, 19200, 38400], id="bounded"),
    ],
)
def test_search_for_the_highest_rate(limit: int, tried: list[int]) -> None:
    rates: list[float] = []

    async def goes_well(rate: float) -> bool:
        rates.append(rate)
        return rate <= limit

    best = asyncio.run(search(goes_well, 300))
    assert rates == tried
    assert best == max((rate for rate in tried if rate <= limit), default=0)


def test_missing_sipp_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    assert cli.main(["bench", "core", "--quick"]) == 1
    assert capsys.readouterr().err == "opencscf: sipp is missing: apt-get install sip-tester\n"


def test_a_taken_port_is_named_before_anything_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("sipp") is None:
        monkeypatch.setattr(core, "find_sipp", lambda: "sipp")

    def taken(_plans: object) -> None:
        raise StartupError("hss: 127.193.0.14:3868/tcp: is in use by another process")

    monkeypatch.setattr("opencscf.labs.bench.cores.check_ports", taken)
    with pytest.raises(StartupError, match="in use by another process"):
        core.run(Plan(peers=(Peer.OURS,), parts=(Part.LOAD,)))


@pytest.mark.parametrize(
    "arguments", [["--registrations-per-s", "0"], ["--repeat", "0"], ["--peers", "asterisk"], ["--users", "many"]]
)
def test_wrong_arguments_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["bench", "core", *arguments])
    assert "error: argument" in capsys.readouterr().err
