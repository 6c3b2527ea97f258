"""Shell: lines for a stream such as stderr, gathered in a turn of the loop and written at its end in one system call.

Nobody waits for who reads them: what a full pipe does not take is kept, up to a limit, for later turns. A pipe or a
socket may be shared with other programs, so it is not made non-blocking but asked first whether it has room.
"""

from __future__ import annotations

import os
import select
import stat
from typing import TYPE_CHECKING, Final, TextIO, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_KEPT_BYTES: Final = 1 << 18  # that may wait for a reader before lines are lost
LAST_WAIT_S: Final = 0.5  # that a reader has for them when the node stops

# Calls a function soon, in the same thread, such as `loop.call_soon`.
Later: TypeAlias = "Callable[[Callable[[], None]], object]"


class LineWriter:
    """Writes lines of ASCII to a stream; without `later`, each at once. `lost` counts those there was no room for."""

    def __init__(self, stream: TextIO, later: Later | None = None) -> None:
        self.lost = 0
        self._stream = stream
        self._later = later
        self._lines: list[str] = []
        self._kept = b""  # what the reader has not taken
        self._bytes = 0  # in both
        self._descriptor = _descriptor_of(stream)
        self._room = _room_of(self._descriptor)

    def write(self, line: str) -> None:
        """Take a line, with its end."""
        if self._bytes > MAX_KEPT_BYTES:
            self.lost += 1
            return
        if self._later is not None and not self._lines:
            self._later(self.flush)
        self._lines.append(line)
        self._bytes += len(line)
        if self._later is None:
            self.flush()

    def flush(self, wait_s: float = 0.0) -> None:
        """Write what waits; `wait_s` is how long a reader may take over each page that it has no room for."""
        text = "".join(self._lines)
        self._lines.clear()
        try:
            if self._descriptor is None:
                self._stream.write(text)
                self._stream.flush()
            else:
                self._kept = self._write_out(self._descriptor, self._kept + text.encode(), wait_s)
        except (OSError, ValueError):  # a closed stderr must not end the node
            self._kept = b""
        self._bytes = len(self._kept)

    def take_lost(self) -> int:
        """Tell once how many lines were lost, when there is room again to say so."""
        if self._bytes > MAX_KEPT_BYTES:
            return 0
        lost, self.lost = self.lost, 0
        return lost

    def close(self) -> None:
        """Write what waits, and from now on each line at once."""
        self._later = None
        self.flush(LAST_WAIT_S)

    def _write_out(self, descriptor: int, data: bytes, wait_s: float) -> bytes:
        """Write as much as goes without waiting, and return the rest."""
        if self._room is None:
            while data:
                data = data[os.write(descriptor, data) :]
            return data
        position = 0
        while position < len(data) and self._room.poll(wait_s * 1000):
            # This much goes into a pipe that has room at all.
            position += os.write(descriptor, data[position : position + select.PIPE_BUF])
        return data[position:]


def _descriptor_of(stream: TextIO) -> int | None:
    """Find where a stream's own writes would go, if that is outside this process."""
    try:
        stream.flush()
        return stream.fileno()
    except (OSError, ValueError):
        return None


def _room_of(descriptor: int | None) -> select.poll | None:
    """Make what can be asked whether there is room for more; a file has always room."""
    if descriptor is None or stat.S_ISREG(os.fstat(descriptor).st_mode):
        return None
    room = select.poll()
    room.register(descriptor, select.POLLOUT)
    return room
