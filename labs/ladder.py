"""The message ladder: the nodes' trace files joined into one picture, each message once.

A trace file has one JSON object per line: `t`, `node`, `dir` ("in" or "out"), `proto` ("sip", "cx" or "rx"), `peer`,
`local`, `summary`, and for SIP `call_id` and `cseq`. A message between two nodes that both trace is in both files; it
is drawn where it was sent. What comes from a node that writes no trace (HSS, PCRF) is drawn where it arrived.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

WIDTH = 120
TIME_WIDTH = 9
MAX_TRACE_LINE_CHARS = 16_384
PEER_UPKEEP = frozenset({"CER", "CEA", "DWR", "DWA", "DPR", "DPA"})  # RFC 6733 5.3-5.5: about the peer, not the user


@dataclass(frozen=True, slots=True)
class Lifeline:
    """A column of the ladder: the node's name in trace files, its title, and the addresses it is known by.

    An address is "ip:port", or "ip" if nobody else in the ladder has that IP address; the former wins.
    """

    node: str
    title: str
    addresses: frozenset[str]


@dataclass(frozen=True, slots=True)
class TraceRecord:
    """One line of a trace file."""

    now: float
    node: str
    is_out: bool
    protocol: str
    peer: str
    summary: str
    call_id: str = ""
    cseq: str = ""


@dataclass(frozen=True, slots=True)
class Rung:
    """One message of the ladder, between the columns `source` and `target`."""

    now: float
    source: int
    target: int
    protocol: str
    label: str
    short_label: str
    call_id: str = ""
    is_failure: bool = False


def parse_trace_line(line: str) -> TraceRecord | None:
    """Read one line; None when it is not a whole record, such as the last line of a process that was killed."""
    if len(line) > MAX_TRACE_LINE_CHARS:
        return None
    try:
        fields = json.loads(line)
        return TraceRecord(
            now=float(fields["t"]),
            node=str(fields["node"]),
            is_out=fields["dir"] == "out",
            protocol=str(fields["proto"]),
            peer=str(fields.get("peer") or ""),
            summary=str(fields["summary"]),
            call_id=str(fields.get("call_id") or ""),
            cseq=str(fields.get("cseq") or ""),
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def read_traces(paths: Iterable[Path]) -> list[TraceRecord]:
    """Read the trace files that exist, in order of time; within a node the order of its file is kept."""
    records: list[TraceRecord] = []
    for path in paths:
        if path.exists():
            with path.open(encoding="utf-8", errors="replace") as lines:
                records += [record for line in lines if (record := parse_trace_line(line)) is not None]
    return sorted(records, key=lambda record: record.now)


def rungs(records: Sequence[TraceRecord], lifelines: Sequence[Lifeline]) -> list[Rung]:
    """Turn records into messages between lifelines, each once; what concerns no two lifelines is left out."""
    columns = {lifeline.node: column for column, lifeline in enumerate(lifelines)}
    addresses = {address: column for column, lifeline in enumerate(lifelines) for address in lifeline.addresses}
    tracing = {columns[record.node] for record in records if record.node in columns}
    found = []
    for record in records:
        here = columns.get(record.node)
        there = addresses.get(record.peer, addresses.get(_host(record.peer)))
        if here is None or there is None or _first_word(record.summary) in PEER_UPKEEP:
            continue
        if not record.is_out and there in tracing:
            continue  # drawn where it was sent
        source, target = (here, there) if record.is_out else (there, here)
        found.append(_rung(record, source, target))
    return found


def draw(found: Sequence[Rung], lifelines: Sequence[Lifeline], *, colour: bool = False) -> list[str]:
    """Draw the ladder as lines of text no wider than `WIDTH`, with a heading where a registration or call begins.

    Colours add nothing to the text.
    """
    gap = (WIDTH - TIME_WIDTH - 4) // max(1, len(lifelines) - 1)
    stems = [TIME_WIDTH + 2 + gap * column for column in range(len(lifelines))]
    lines = [_header(lifelines, stems)]
    start = found[0].now if found else 0.0
    begun: set[str] = set()
    for rung in found:
        if rung.call_id and rung.call_id not in begun:
            begun.add(rung.call_id)
            lines.append(_heading(rung, lifelines))
        line = f"{max(0.0, rung.now - start):8.3f} ".ljust(TIME_WIDTH) + _arrow(rung, stems)
        lines.append(_coloured(line, rung) if colour else line)
    return lines


def _rung(record: TraceRecord, source: int, target: int) -> Rung:
    summary = _plain(record.summary)
    if record.protocol != "sip":
        label = " ".join(summary.split()[:2])
        return Rung(record.now, source, target, record.protocol, label, _first_word(label))
    method = _first_word(_plain(record.cseq)[::-1])[::-1]  # "7 INVITE" or "INVITE"
    status, _, reason = summary.removeprefix("SIP/2.0 ").partition(" ")
    if not status.isdigit():
        return Rung(record.now, source, target, "sip", status, status, record.call_id)
    reason = reason.split("(")[0].strip()
    return Rung(
        now=record.now,
        source=source,
        target=target,
        protocol="sip",
        label=f"{status} {reason} ({method})" if method else f"{status} {reason}",
        short_label=f"{status} ({method})" if method else status,
        call_id=record.call_id,
        is_failure=status >= "300" and status not in {"401", "407"},
    )


def _plain(text: str) -> str:
    """Show nothing that a terminal would obey: a summary is partly the peer's own words."""
    return "".join(character if " " <= character <= "~" else "?" for character in text)


def _header(lifelines: Sequence[Lifeline], stems: Sequence[int]) -> str:
    line = "seconds"
    for lifeline, stem in zip(lifelines, stems, strict=True):
        line = line.ljust(stem - len(lifeline.title) // 2) + lifeline.title
    return line[:WIDTH]


def _heading(rung: Rung, lifelines: Sequence[Lifeline]) -> str:
    does = {"REGISTER": "registers", "INVITE": "calls"}.get(rung.label, f"sends {rung.label}")
    return f"{lifelines[rung.source].title} {does}:"[:WIDTH]


def _arrow(rung: Rung, stems: Sequence[int]) -> str:
    cells = [" "] * (stems[-1] + 1)
    for stem in stems:
        cells[stem] = "|"
    left, right = sorted((stems[rung.source], stems[rung.target]))
    if left == right:  # a node talking to itself
        text = f"@ {rung.short_label}"[: len(cells) - left - 1] if left < stems[-1] else "@"
        cells[left + 1 : left + 1 + len(text)] = text
        return "".join(cells)[TIME_WIDTH:]
    cells[left + 1 : right] = "-" * (right - left - 1)
    room = right - left - 3  # a dash and the head
    label = rung.label if len(rung.label) <= room else rung.short_label[:room]
    if rung.source < rung.target:
        cells[right - 1] = ">"
        start = left + 2
    else:
        cells[left + 1] = "<"
        start = right - 1 - len(label)
    cells[start : start + len(label)] = label
    return "".join(cells)[TIME_WIDTH:]


def _coloured(line: str, rung: Rung) -> str:
    code = 31 if rung.is_failure else {"sip": 36, "cx": 33, "rx": 35}.get(rung.protocol, 0)
    return f"\x1b[{code}m{line}\x1b[0m"


def _host(address: str) -> str:
    return address.rpartition(":")[0].strip("[]")


def _first_word(text: str) -> str:
    return text.split(maxsplit=1)[0] if text.split() else ""
