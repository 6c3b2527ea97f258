"""Shell: a file with one line of JSON for every message received or sent; never bodies, never authentication data.

Keys: `t` (seconds since the epoch), `node`, `dir` ("in" or "out"), `proto` ("sip", "cx" or "rx"), `peer` and `local`
("ip:port"), `summary` (the start line or the command) and, where they exist, `call_id`, `cseq`, `impu`.
"""

from __future__ import annotations

import io
import json
import os
import re
from functools import lru_cache
from typing import TYPE_CHECKING

from opencscf.common.errors import StartupError
from opencscf.common.sip.flow import Flow

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from opencscf.common.node.clock import Clock
    from opencscf.common.sip.flow import Hop
    from opencscf.common.sip.message import Message

_MAX_LINES = 256  # that wait to be written
_URI_IN_BRACKETS = re.compile(r"<([^<>]*)>")


class Trace:
    """Appends to the trace's file; the first fault of the disk ends it and is kept in `fault`."""

    def __init__(self, path: Path, node: str, clock: Clock, local_for: Callable[[Hop | Flow], tuple[str, int]]) -> None:
        self.path = path
        self.fault = ""
        self._node = _quote(node)
        self._clock = clock
        self._local_for = local_for
        self._lines: list[str] = []
        try:
            self._file = io.FileIO(path, "a", opener=_open_for_owner)
        except OSError as error:
            raise StartupError(f"log.trace: cannot write {path}: {error.strerror}") from error

    def message(self, direction: str, message: Message, target: Hop | Flow) -> None:
        """Write a line about a SIP message."""
        hop = target.hop if isinstance(target, Flow) else target
        local = target.local if isinstance(target, Flow) else self._local_for(target)
        fields = {"call_id": message.get("Call-ID"), "cseq": message.get("CSeq")}
        summary = message.start_line
        if summary.startswith("REGISTER "):
            address = _URI_IN_BRACKETS.search(message.get("To") or "")
            fields["impu"] = address and address[1]
        self.write(direction, "sip", peer=(hop.host, hop.port), local=local, summary=summary, fields=fields)

    def write(
        self,
        direction: str,
        protocol: str,
        *,
        peer: tuple[str, int],
        local: tuple[str, int],
        summary: str,
        fields: dict[str, str | None] | None = None,
    ) -> None:
        """Write a line about any message; fields that are None are left out."""
        line = (
            f'{{"t": {self._clock.now():.6f}, "node": {self._node}, "dir": "{direction}", "proto": "{protocol}", '
            f'"peer": {_quoted_address(peer)}, "local": {_quoted_address(local)}, "summary": {_quote(summary)}'
        )
        if fields:
            line += "".join([f', "{key}": {_quote(value)}' for key, value in fields.items() if value is not None])
        self._lines.append(f"{line}}}\n")
        if len(self._lines) >= _MAX_LINES:
            self.flush()

    def flush(self) -> bool:
        """Write the lines that wait; tell whether the trace goes on."""
        if self._lines and not self.fault:
            data = "".join(self._lines).encode()
            try:
                if self._file.write(data) != len(data):
                    self.fault = "no space left"
            except OSError as error:
                self.fault = error.strerror or str(error)
        self._lines.clear()
        return not self.fault

    def close(self) -> None:
        """Write what is left and close the file."""
        self.flush()
        self._file.close()


def _open_for_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def host_port(address: tuple[str, int]) -> str:
    """Write an address the way people do, IPv6 in brackets."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


_quote = json.encoder.encode_basestring_ascii  # a text as JSON


@lru_cache(1024)
def _quoted_address(address: tuple[str, int]) -> str:
    return _quote(host_port(address))
