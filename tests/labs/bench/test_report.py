from __future__ import annotations

import dataclasses
import json

import pytest

from opencscf.labs.bench.cores import Peer
from opencscf.labs.bench.latency import Percentiles
from opencscf.labs.bench.report import Ceiling, LatencyRun, LoadRun, Memory, Report, table

CPU = {"pcscf": 0.25, "icscf": 0.5, "scscf": 0.25, "hss": 0.1, "sipp": 0.1}


def load_run(peer: Peer, *, successful: int = 100, factor: float = 1.0, kind: str = "registration") -> LoadRun:
    return LoadRun(
        peer=peer, kind=kind, rate=300.0, offered=100, successful=successful, retransmissions=0, seconds=1.0,
        cpu_ms={node: factor * used for node, used in CPU.items()}, cx={"UAR": 2.0}, others=0.125,
    )  # fmt: skip


def report(**more: object) -> Report:
    return Report({"machine": "2 CPUs"}, (Peer.OURS, Peer.KAMAILIO), **more)  # type: ignore[arg-type]  # lists of one


def rows_of(one: Report) -> dict[str, list[str]]:
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in one.lines() if line.startswith("|")]
    return {row[0]: row[1:] for row in cells}


def test_columns_stand_side_by_side() -> None:
    rows = rows_of(report(loads=[load_run(Peer.KAMAILIO, factor=2), load_run(Peer.OURS)]))
    assert rows[""] == ["OpenCSCF", "Kamailio, default"]
    assert rows["**registration at 300/s, CPU ms**"] == ["**1.00**", "**2.00**"]
    assert rows["- I-CSCF"] == ["0.50", "1.00"]
    assert rows["- used by others meanwhile"] == ["12% of the machine", "12% of the machine"]
    assert "- failed" not in rows


def test_of_repeated_runs_the_cheapest_sound_one_counts() -> None:
    runs = [
        load_run(Peer.OURS, factor=3),
        load_run(Peer.OURS, factor=2),
        load_run(Peer.OURS, factor=1, successful=50),
    ]
    best = report(loads=runs).best(Peer.OURS, "registration", 300.0)
    assert best is runs[1]


def test_failures_are_shown() -> None:
    rows = rows_of(report(loads=[load_run(Peer.OURS, successful=98), load_run(Peer.KAMAILIO)]))
    assert rows["- failed"] == ["2.0%", "0.0%"]


def test_latency_ceiling_and_memory() -> None:
    one = report(
        latencies=[
            LatencyRun(Peer.OURS, "call", 100.0, {"INVITE to 180": Percentiles(500, 2.0, 9.0)}),
            LatencyRun(Peer.OURS, "call", 100.0, {"INVITE to 180": Percentiles(500, 2.5, 5.04)}),
        ],
        ceilings=[
            Ceiling(Peer.KAMAILIO, "call", 500.0, True, ((500.0, 0.0), (750.0, 0.1)), 1000.0, 250.0),
            Ceiling(Peer.OURS, "call", 700.0, False, ((700.0, 0.0),), 1400.0, 700.0),
        ],
        memory=[
            Memory(Peer.OURS, 0, 100, 0, None),
            Memory(Peer.OURS, 10_000, 8_100, 8_000 * 5120, None),
            Memory(Peer.KAMAILIO, 0, 0, 0, 1024),
            Memory(Peer.KAMAILIO, 10_000, 10_000, 10_000 * 10240, 1024 + 10_000 * 6144),
        ],
    )
    rows = rows_of(one)
    assert rows["INVITE to 180 at 100/s, p50 / p99 ms"] == ["2.5 / 5.0", ""]
    assert rows["highest rate of calls under 1 % failure"] == ["over 700/s", "500/s"]
    assert rows["- done at twice that rate"] == ["100% of it", "50% of it"]
    assert rows["memory (PSS) per user at 10,000, KiB"] == ["5.0", "10.0"]
    assert rows["- in Kamailio's shared memory, KiB"] == ["", "6.0"]


def test_json_has_every_run() -> None:
    one = report(loads=[load_run(Peer.OURS, factor=3), load_run(Peer.OURS)])
    read = json.loads(json.dumps(one.to_json()))
    assert len(read["loads"]) == 2
    assert read["loads"][0]["peer"] == "ours"
    assert set(read["loads"][0]) == {field.name for field in dataclasses.fields(LoadRun)}


def test_a_table_is_aligned() -> None:
    assert table([["", "a"], ["long", "1.00"]]) == [
        "|      |    a |",
        "|------|-----:|",
        "| long | 1.00 |",
    ]


def test_nothing_found_is_a_table_too() -> None:
    assert report().lines()[:2] == ["machine: 2 CPUs", ""]


@pytest.mark.parametrize("rate", [0.0, 500.0])
def test_what_is_kept_in_overload_is_a_share_of_the_highest_rate(rate: float) -> None:
    assert Ceiling(Peer.OURS, "call", rate, True, (), 2 * rate, rate / 2).kept_in_overload == (0.5 if rate else 0.0)
