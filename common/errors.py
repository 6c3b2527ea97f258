"""The exception tree: who is at fault decides the type, and the type decides what the runtime does.

| exception         | fault             | what the runtime does                                  |
|-------------------|-------------------|--------------------------------------------------------|
| `ParseError`      | the peer's bytes  | answers with `status` or drops, and logs               |
| `ConfigError`     | the operator      | prints every fault and exits 2 before opening a socket |
| `StartupError`    | the host          | prints one line and exits 1                            |
| `PeerUnavailable` | HSS, PCRF, hop    | is raised at the `await` of the procedure that asked   |
| any other         | ours              | ends that transaction with 500 and logs the traceback  |
"""

from __future__ import annotations


class OpencscfError(Exception):
    """What this project raises on purpose."""


class ParseError(OpencscfError):
    """The peer's bytes are not what its protocol allows.

    `status` is the SIP status that answers a request with this fault; `offset` is the place in the bytes, if known.
    """

    def __init__(self, reason: str, *, status: int = 400, offset: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.offset = offset


class ConfigError(OpencscfError):
    """The operator's settings cannot be used; `faults` has one line for each, all of them at once."""

    def __init__(self, *faults: str) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class StartupError(OpencscfError):
    """The host does not let the process start: a busy port, an unwritable file, a peer that never answered."""


class PeerUnavailable(OpencscfError):  # noqa: N818 - a fact of life, nobody's error
    """A peer did not give a usable answer: unreachable, silent until the timer ended, or its answer was not usable."""

    def __init__(self, peer: str, reason: str) -> None:
        super().__init__(f"{peer}: {reason}")
        self.peer = peer
        self.reason = reason
