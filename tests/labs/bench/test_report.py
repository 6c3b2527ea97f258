from __future__ import annotations

import dataclasses
import json

import pytest

from opencscf.labs.bench.cores import Peer
from opencscf.labs.bench.latency import Percentiles
from opencscf.labs.bench.report import Ceiling, Flat, LatencyRun, LoadRun, Memory, Profile, Report, Step, table

CPU = {"pcscf": 0.25, "icscf": 0.5, "scscf": 0.25, "hss": 0.1, "sipp": 0.1}


def load_run(peer: Peer, *, successful: int = 100, factor: float = 1.0, kind: str = "registration") -> LoadRun:
    return LoadRun(
        peer=peer, kind=kind, rate=300.0, offered=100, successful=successful, retransmissions=0, seconds=1.0,
        cpu_ms={node: factor * used for node, used in CPU.items()}, cx={"UAR": 2.0}, others=0.125,
    )  # fmt: skip


def step(
    rate: float, *, done: float | None = None, failed: float = 0.0, busy: float = 0.5, machine: float = 0.8
) -> Step:
    shares = {"pcscf": busy, "sipp": 0.4}
    return Step(
        rate, failed, rate if done is None else done, is_in_time=True, busy=shares, machine=machine, others=0.25
    )


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
            Ceiling(
                Peer.KAMAILIO,
                "call",
                500.0,
                (step(500.0), step(750.0, failed=0.1, busy=0.97)),
                step(1000.0, done=250.0),
            ),
            Ceiling(Peer.OURS, "call", 700.0, (step(700.0),), step(1400.0, done=700.0)),
        ],
        memory=[
            Memory(Peer.OURS, 0, 100, 0, 0, None),
            Memory(Peer.OURS, 10_000, 8_100, 8_000 * 9216, 8_000 * 5120, None),
            Memory(Peer.KAMAILIO, 0, 0, 0, 0, 1024),
            Memory(Peer.KAMAILIO, 10_000, 10_000, 10_000 * 10240, 10_000 * 10240, 1024 + 10_000 * 6144),
        ],
    )
    rows = rows_of(one)
    assert rows["INVITE to 180 at 100/s, p50 / p99 ms"] == ["2.5 / 5.0", ""]
    assert rows["highest rate of calls under 1 % failure"] == ["over 700/s", "500/s"]
    assert rows["- limit"] == ["not reached", "P-CSCF (97% of a CPU)"]
    assert rows["- done at twice that rate"] == ["100%", "50%"]
    assert rows["memory (PSS) per user at 10,000, KiB: settled"] == ["5.0", "10.0"]
    assert rows["- right after the burst"] == ["9.0", "10.0"]
    assert rows["- in Kamailio's shared memory, settled"] == ["", "6.0"]


def test_cost_with_few_users_and_with_many() -> None:
    flats = [Flat(100_000, load_run(Peer.OURS, factor=1.5)), Flat(1_000, load_run(Peer.OURS))]
    rows = rows_of(report(flats=flats))
    assert rows["**registration at 300/s with 1,000 users, CPU ms**"] == ["**1.00**", ""]
    assert rows["**registration at 300/s with 100,000 users, CPU ms**"] == ["**1.50**", ""]


def test_a_profile_has_a_column_for_each_node() -> None:
    shares = {"pcscf": {"kernel": 0.25, "C twins": 0.75}, "icscf": {"kernel": 1.0}}
    rows = rows_of(report(profiles=[Profile(Peer.OURS, "call", 100.0, shares)]))
    assert (rows[""], rows["kernel"], rows["C twins"]) == (["P-CSCF", "I-CSCF"], ["25%", "100%"], ["75%", "0%"])


@pytest.mark.parametrize(
    ("busy", "machine", "limit"),
    [
        pytest.param(0.95, 0.99, "P-CSCF (95% of a CPU)", id="one process has a whole CPU"),
        pytest.param(0.60, 0.99, "all CPUs (99%, of which others 25%)", id="all together have all CPUs"),
        pytest.param(0.60, 0.50, "not CPU time (P-CSCF 60%)", id="something else"),
    ],
)
def test_what_was_the_limit(busy: float, machine: float, limit: str) -> None:
    failed = step(800.0, failed=0.5, busy=busy, machine=machine)
    one = Ceiling(Peer.OURS, "call", 400.0, (step(400.0), step(1600.0, failed=1.0, busy=1.0), failed), None)
    assert (one.words, one.limit, one.kept) == ("400/s", limit, "nothing")


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


def test_no_rate_that_goes_well_is_no_division_by_zero() -> None:
    one = Ceiling(Peer.OURS, "call", 0.0, (step(300.0, failed=1.0),), None)
    assert (one.words, one.kept) == ("0/s", "nothing")
