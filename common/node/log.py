"""Shell: events for the operator, one line each on stderr, as `time level event  node=... key=value ...`.

Values come from peers, so they are quoted when they hold more than visible ASCII, cut when long, and can never start a
line of their own. Of the same warning or error no more than some tens of lines a second are written, and then how many
were left out. What is logged in one turn of the loop is written together at its end, an error at once.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol, TextIO

from opencscf.common.node.lines import Later, LineWriter
from opencscf.common.node.settings import LogLevel
from opencscf.common.node.trace import host_port
from opencscf.common.sip.flow import Flow

if TYPE_CHECKING:
    from opencscf.common.node.clock import Clock
    from opencscf.common.node.trace import Trace
    from opencscf.common.sip.flow import Hop
    from opencscf.common.sip.message import Message

MAX_VALUE = 500  # characters of a value that are written
MAX_TRACEBACK_LINES = 60
LINES_PER_SECOND = 20  # of one warning's or error's event name

_RANK: dict[str, int] = {LogLevel.DEBUG: 0, LogLevel.INFO: 1, LogLevel.WARNING: 2, LogLevel.ERROR: 3}
_WARNING = _RANK[LogLevel.WARNING]
_is_plain = re.compile(r"[!#-\[\]-~]+").fullmatch  # visible ASCII without quote and backslash


class _TellMessage(Protocol):
    def __call__(self, direction: str, message: Message, target: Hop | Flow) -> None: ...


class Log:
    """A node's lines on stderr, and its trace of messages if it has one.

    `later` puts the writing off to the end of the loop's turn; without it each line is written at once. `message`
    traces a SIP message that came "in" or goes "out", and at level debug writes a line about it.
    """

    def __init__(
        self,
        node: str,
        clock: Clock,
        level: LogLevel = LogLevel.INFO,
        *,
        stream: TextIO | None = None,
        later: Later | None = None,
    ) -> None:
        self._node = node
        self._clock = clock
        self._least = _RANK[level]
        self._unwanted = frozenset(name for name, rank in _RANK.items() if rank < self._least)
        self._lines = LineWriter(stream if stream is not None else sys.stderr, later)
        self._limits: dict[str, _Limit] = {}
        self._stamp, self._stamped_ms = "", -1
        self._trace: Trace | None = None
        self.message: _TellMessage = self._tell_message if self._least == 0 else _tell_nobody

    @property
    def trace(self) -> Trace | None:
        """The trace of messages."""
        return self._trace

    @trace.setter
    def trace(self, trace: Trace | None) -> None:
        self._trace = trace
        self.message = _tell_nobody if trace is None and self._least > 0 else self._tell_message

    def event(self, level: str, event: str, **fields: object) -> None:
        """Write a line, if its level is wanted; a field that is None is left out.

        A field named `traceback` follows in indented lines of its own.
        """
        if level in self._unwanted:
            return
        now = self._clock.now()
        if _RANK[level] < _WARNING or self._admits(event, now):
            self._write(now, level, event, fields)
            if level == LogLevel.ERROR:
                self._lines.flush()

    def debug(self, event: str, **fields: object) -> None:
        """Tell what was on the wire."""
        self.event("debug", event, **fields)

    def info(self, event: str, **fields: object) -> None:
        """Tell the story of a registration, a call or the node itself."""
        self.event("info", event, **fields)

    def warning(self, event: str, **fields: object) -> None:
        """Tell a peer's fault."""
        self.event("warning", event, **fields)

    def error(self, event: str, **fields: object) -> None:
        """Tell a fault of ours."""
        self.event("error", event, **fields)

    def _tell_message(self, direction: str, message: Message, target: Hop | Flow) -> None:
        if self._trace is not None:
            self._trace.message(direction, message, target)
        if self._least == 0:
            hop = target.hop if isinstance(target, Flow) else target
            peer = f"{host_port((hop.host, hop.port))}/{hop.transport.lower()}"
            call_id, cseq = message.get("Call-ID"), message.get("CSeq")
            self.event("debug", f"sip-{direction}", peer=peer, what=message.start_line, call_id=call_id, cseq=cseq)

    def flush(self) -> None:
        """Write what waits: lines, how many were left out, and the trace's buffer. Call it once in a while."""
        now = self._clock.now()
        for event, limit in list(self._limits.items()):
            if now - limit.since >= 1.0:
                self._tell_suppressed(event, limit, now)
                del self._limits[event]
        self._lines.flush()
        self._tell_lost(now)
        if self.trace is not None and not self.trace.flush():
            self.warning("trace-ended", path=str(self.trace.path), reason=self.trace.fault)
            self.trace = None

    def close(self) -> None:
        """Write what waits and end the trace."""
        self.flush()
        for event, limit in self._limits.items():
            self._tell_suppressed(event, limit, self._clock.now())
        self._lines.close()
        self._tell_lost(self._clock.now())
        if self.trace is not None:
            self.trace.close()
            self.trace = None

    def _admits(self, event: str, now: float) -> bool:
        limit = self._limits.get(event)
        if limit is None:
            limit = self._limits[event] = _Limit(now)
        elif now - limit.since >= 1.0:
            self._tell_suppressed(event, limit, now)
            limit = self._limits[event] = _Limit(now)
        limit.lines += 1
        return limit.lines <= LINES_PER_SECOND

    def _tell_suppressed(self, event: str, limit: _Limit, now: float) -> None:
        if limit.lines > LINES_PER_SECOND:
            fields: dict[str, object] = {"event": event, "lines": limit.lines - LINES_PER_SECOND}
            self._write(now, "warning", "suppressed", fields)

    def _tell_lost(self, now: float) -> None:
        """Tell how many lines nobody read in time."""
        lost = self._lines.take_lost()
        if lost:
            self._write(now, "warning", "lost", {"lines": lost})

    def _write(self, now: float, level: str, event: str, fields: dict[str, object]) -> None:
        milliseconds = round(now * 1000)
        if milliseconds != self._stamped_ms:
            self._stamp, self._stamped_ms = timestamp(now), milliseconds
        parts = [f"{self._stamp} {level} {event}  node={self._node}"]
        parts += [f"{key}={quote(value)}" for key, value in fields.items() if value is not None and key != "traceback"]
        line = " ".join(parts) + "\n"
        if fields.get("traceback"):
            line += _indented(str(fields["traceback"]))
        self._lines.write(line)


def _tell_nobody(direction: str, message: Message, target: Hop | Flow) -> None:
    """Trace a message when nobody wants to know."""


class _Limit:
    """How many lines of one event there were in the second that began at `since`."""

    __slots__ = ("lines", "since")

    def __init__(self, since: float) -> None:
        self.since = since
        self.lines = 0


def timestamp(now: float) -> str:
    """Write seconds since the epoch as RFC 3339 UTC with milliseconds."""
    second, milliseconds = divmod(round(now * 1000), 1000)
    return f"{_date_and_time(second)}.{milliseconds:03}Z"


@lru_cache(2)  # many lines are written within a second
def _date_and_time(second: int) -> str:
    return dt.datetime.fromtimestamp(second, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S")


def quote(value: object) -> str:
    """Write a value such that it cannot be taken for anything else: bare if it is plain, else as a JSON string."""
    text = str(value)
    if len(text) > MAX_VALUE:
        text = f"{text[:MAX_VALUE]}..."
    return text if _is_plain(text) else json.dumps(text)


def _indented(text: str) -> str:
    lines = text.splitlines()
    if len(lines) > MAX_TRACEBACK_LINES:
        lines = [*lines[: MAX_TRACEBACK_LINES // 2], "...", *lines[-MAX_TRACEBACK_LINES // 2 :]]
    return "".join(f"    {json.dumps(line[:MAX_VALUE])[1:-1]}\n" for line in lines)
