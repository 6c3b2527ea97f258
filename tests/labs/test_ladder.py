from __future__ import annotations

import json
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from opencscf.labs.ladder import WIDTH, Lifeline, TraceRecord, draw, parse_trace_line, read_traces, rungs

if TYPE_CHECKING:
    from pathlib import Path

LIFELINES = [
    Lifeline("ue1", "UE 1", frozenset({"127.0.2.1:5060", "127.0.2.1"})),
    Lifeline("pcscf", "P-CSCF", frozenset({"127.0.1.10:5060", "127.0.1.10"})),
    Lifeline("icscf", "I-CSCF", frozenset({"127.0.1.11:5060", "127.0.1.11"})),
    Lifeline("scscf", "S-CSCF", frozenset({"127.0.1.12:5060", "127.0.1.12"})),
    Lifeline("hss", "HSS", frozenset({"127.0.1.14:3868", "127.0.1.14"})),
    Lifeline("pcrf", "PCRF", frozenset({"127.0.1.15:3868", "127.0.1.15"})),
    Lifeline("ue2", "UE 2", frozenset({"127.0.2.2:5060", "127.0.2.2"})),
]


def record(  # what a trace line holds
    now: float, node: str, direction: str, peer: str, summary: str, proto: str = "sip", cseq: str = "1 REGISTER"
) -> TraceRecord:
    return TraceRecord(now, node, direction == "out", proto, peer, summary, "c", cseq)


RECORDS = [
    record(10.0, "ue1", "out", "127.0.1.10:5060", "REGISTER sip:ims.example"),
    record(10.001, "pcscf", "in", "127.0.2.1:5060", "REGISTER sip:ims.example"),
    record(10.002, "pcscf", "out", "127.0.1.11:5060", "REGISTER sip:ims.example"),
    record(10.003, "icscf", "out", "127.0.1.14:3868", "UAR", proto="cx", cseq=""),
    record(10.004, "icscf", "in", "127.0.1.14:3868", "UAA 2001", proto="cx", cseq=""),
    record(10.005, "icscf", "out", "127.0.1.14:3868", "DWR", proto="cx", cseq=""),
    record(10.006, "pcscf", "out", "127.0.2.1:5060", "SIP/2.0 401 Unauthorized"),
    record(10.007, "ue1", "in", "127.0.1.10:5060", "SIP/2.0 401 Unauthorized"),
    record(10.5, "pcscf", "out", "127.0.2.2:5060", "INVITE sip:ue2", cseq="1 INVITE"),
    record(10.6, "pcscf", "out", "127.0.1.15:3868", "AAR", proto="rx", cseq=""),
    record(10.7, "ue2", "out", "127.0.1.10:5060", "SIP/2.0 180 Ringing", cseq="1 INVITE"),
    record(10.8, "pcscf", "out", "203.0.113.9:5060", "OPTIONS sip:stranger"),
]


def test_each_message_is_drawn_once_between_the_right_columns() -> None:
    assert [(rung.source, rung.target, rung.label) for rung in rungs(RECORDS, LIFELINES)] == [
        (0, 1, "REGISTER"),
        (1, 2, "REGISTER"),
        (2, 4, "UAR"),
        (4, 2, "UAA 2001"),
        (1, 0, "401 Unauthorized (REGISTER)"),
        (1, 6, "INVITE"),
        (1, 5, "AAR"),
        (6, 1, "180 Ringing (INVITE)"),
    ]


def test_ladder_is_aligned_plain_text_that_fits() -> None:
    lines = draw(rungs(RECORDS, LIFELINES), LIFELINES)
    assert all(len(line) <= WIDTH and line.isascii() for line in lines)
    assert lines[0].split() == ["seconds", "UE", "1", "P-CSCF", "I-CSCF", "S-CSCF", "HSS", "PCRF", "UE", "2"]
    assert lines[1] == "UE 1 registers:"
    register, challenge, ringing = lines[2], lines[6], lines[9]
    stems = [position for position, character in enumerate(register) if character == "|"]
    assert len(stems) == len(LIFELINES)
    assert register.startswith("   0.000   |-REGISTER")
    assert register[stems[1] - 1] == ">"
    assert challenge[stems[0] + 1] == "<"
    assert "401 (REGISTER)" in challenge  # the long label does not fit between two columns
    assert "180 Ringing (INVITE)" in ringing
    assert "\x1b" not in "".join(lines)


def test_headings_stand_where_a_registration_or_a_call_begins() -> None:
    records = [
        TraceRecord(1, "ue1", True, "sip", "127.0.1.10:5060", "REGISTER sip:x", "first", "1 REGISTER"),
        TraceRecord(2, "pcscf", True, "sip", "127.0.2.1:5060", "SIP/2.0 200 OK", "first", "1 REGISTER"),
        TraceRecord(3, "ue2", True, "sip", "127.0.1.10:5060", "INVITE sip:x", "second", "1 INVITE"),
        TraceRecord(4, "ue2", True, "sip", "127.0.1.10:5060", "MESSAGE sip:x", "third", "1 MESSAGE"),
    ]
    lines = draw(rungs(records, LIFELINES), LIFELINES)
    assert [line for line in lines if line.endswith(":")] == ["UE 1 registers:", "UE 2 calls:", "UE 2 sends MESSAGE:"]


def test_colour_wraps_lines_and_changes_no_text() -> None:
    found = rungs(RECORDS, LIFELINES)
    coloured = draw(found, LIFELINES, colour=True)
    assert coloured[2].startswith("\x1b[")
    assert draw(found, LIFELINES)[2] in coloured[2]


def test_message_to_oneself_is_marked() -> None:
    (rung,) = rungs([record(1, "scscf", "out", "127.0.1.12:5060", "INVITE sip:x", cseq="1 INVITE")], LIFELINES)
    assert "|@ INVITE" in draw([rung], LIFELINES)[-1]


def test_traces_are_joined_by_time_and_broken_lines_left_out(tmp_path: Path) -> None:
    line = {"t": 2.0, "node": "pcscf", "dir": "out", "proto": "sip", "peer": "a:1", "summary": "BYE sip:x"}
    (tmp_path / "a").write_text(json.dumps(line) + "\n" + json.dumps(line)[:30])
    (tmp_path / "b").write_text(json.dumps(line | {"t": 1.0, "node": "ue1"}) + "\n\n[]\n{}\nnull\n")
    records = read_traces([tmp_path / "a", tmp_path / "b", tmp_path / "absent"])
    assert [one.node for one in records] == ["ue1", "pcscf"]


@given(st.text(max_size=200) | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_any_line_is_a_record_or_nothing(line: str) -> None:
    parse_trace_line(line)


@given(st.lists(st.text(max_size=60), min_size=1, max_size=3), st.sampled_from(["sip", "cx", "?"]))
def test_any_summary_can_be_drawn(summaries: list[str], proto: str) -> None:
    records = [record(1, "ue1", "out", "127.0.1.10:5060", text, proto=proto, cseq=text) for text in summaries]
    for line in draw(rungs(records, LIFELINES), LIFELINES):
        assert len(line) <= WIDTH
        assert line.isprintable()
