"""Shell: events for the operator, one line each on stderr, as `time level event  node=... key=value ...`.

Values come from peers, so they are quoted when they hold more than visible ASCII, cut when long, and can never start a
line of their own. Of the same warning or error no more than some tens of lines a second are written, and then how many
were left out.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import re
import sys
from functools import lru_cache
from typing import TYPE_CHECKING, TextIO

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
_PLAIN = re.compile(r"[!#-\[\]-~]+")  # visible ASCII without quote and backslash


class Log:
    """A node's lines on stderr, and its trace of messages if it has one."""

    def __init__(
        self, node: str, clock: Clock, level: LogLevel = LogLevel.INFO, *, stream: TextIO | None = None
    ) -> None:
        self.trace: Trace | None = None
        self._node = node
        self._clock = clock
        self._least = _RANK[level]
        self._stream = stream if stream is not None else sys.stderr
        self._limits: dict[str, _Limit] = {}

    def event(self, level: str, event: str, **fields: object) -> None:
        """Write a line, if its level is wanted; a field that is None is left out.

        A field named `traceback` follows in indented lines of its own.
        """
        rank = _RANK[level]
        if rank < self._least:
            return
        now = self._clock.now()
        if rank >= _WARNING and not self._admits(event, now):
            return
        self._write(now, level, event, fields)

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

    def message(self, direction: str, message: Message, target: Hop | Flow) -> None:
        """Trace a SIP message that came "in" or goes "out", and at level debug write a line about it."""
        if self.trace is not None:
            self.trace.message(direction, message, target)
        if self._least == 0:
            hop = target.hop if isinstance(target, Flow) else target
            peer = f"{host_port((hop.host, hop.port))}/{hop.transport.lower()}"
            call_id, cseq = message.get("Call-ID"), message.get("CSeq")
            self.event("debug", f"sip-{direction}", peer=peer, what=message.start_line, call_id=call_id, cseq=cseq)

    def flush(self) -> None:
        """Write what waits: how many lines were left out, and the trace's buffer. Call it once in a while."""
        now = self._clock.now()
        for event, limit in list(self._limits.items()):
            if now - limit.since >= 1.0:
                self._tell_suppressed(event, limit, now)
                del self._limits[event]
        if self.trace is not None and not self.trace.flush():
            self.warning("trace-ended", path=str(self.trace.path), reason=self.trace.fault)
            self.trace = None

    def close(self) -> None:
        """Write what waits and end the trace."""
        self.flush()
        for event, limit in self._limits.items():
            self._tell_suppressed(event, limit, self._clock.now())
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

    def _write(self, now: float, level: str, event: str, fields: dict[str, object]) -> None:
        parts = [f"{timestamp(now)} {level} {event}  node={self._node}"]
        parts += [f"{key}={quote(value)}" for key, value in fields.items() if value is not None and key != "traceback"]
        line = " ".join(parts) + "\n"
        if fields.get("traceback"):
            line += _indented(str(fields["traceback"]))
        with contextlib.suppress(OSError, ValueError):  # a closed or full stderr must not end the node
            self._stream.write(line)
            self._stream.flush()


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
    return text if _PLAIN.fullmatch(text) else json.dumps(text)


def _indented(text: str) -> str:
    lines = text.splitlines()
    if len(lines) > MAX_TRACEBACK_LINES:
        lines = [*lines[: MAX_TRACEBACK_LINES // 2], "...", *lines[-MAX_TRACEBACK_LINES // 2 :]]
    return "".join(f"    {json.dumps(line[:MAX_VALUE])[1:-1]}\n" for line in lines)
