"""What `opencscf bench core` is asked to measure."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from opencscf.labs.bench.cores import Peer

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_PEERS: Final = (Peer.OURS, Peer.KAMAILIO, Peer.KAMAILIO_FM)
DEFAULT_REGISTRATIONS: Final = (300.0, 600.0)
DEFAULT_CALLS: Final = (100.0, 200.0)
LOAD_S: Final = 10.0
LATENCY_S: Final = 5.0
MEMORY_USERS: Final = (10_000, 50_000)
FLAT_USERS: Final = (1_000, 100_000)


class Part(enum.StrEnum):
    """What can be measured one without the other."""

    LOAD = "load"  # CPU time and latency at given rates
    SEARCH = "search"  # the highest rates
    MEMORY = "memory"
    FLAT = "flat"  # CPU time of a registration with few users and with many
    PROFILE = "profile"  # where the CPU time of our nodes goes


DEFAULT_PARTS: Final = (Part.LOAD, Part.SEARCH, Part.MEMORY)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure."""

    peers: tuple[Peer, ...] = DEFAULT_PEERS
    registrations_per_s: tuple[float, ...] = DEFAULT_REGISTRATIONS
    calls_per_s: tuple[float, ...] = DEFAULT_CALLS
    load_s: float = LOAD_S
    latency_s: float = LATENCY_S
    repeat: int = 1
    parts: tuple[Part, ...] = DEFAULT_PARTS
    users: tuple[int, ...] = ()  # in rising order; none for what each part thinks right

    @classmethod
    def of(
        cls,
        *,
        peers: Sequence[Peer],
        registrations_per_s: Sequence[float],
        calls_per_s: Sequence[float],
        parts: Sequence[Part],
        users: Sequence[int],
        repeat: int,
        is_quick: bool,
    ) -> Plan:
        """Make a plan of what was asked for; a quick one has one rate of each, no search and no memory."""
        registrations = tuple(registrations_per_s) or DEFAULT_REGISTRATIONS[: 1 if is_quick else None]
        calls = tuple(calls_per_s) or DEFAULT_CALLS[: 1 if is_quick else None]
        return cls(
            peers=tuple(dict.fromkeys(peers)) or DEFAULT_PEERS,
            registrations_per_s=registrations,
            calls_per_s=calls,
            repeat=repeat,
            users=tuple(sorted(set(users))),
            parts=tuple(dict.fromkeys(parts)) or ((Part.LOAD,) if is_quick else DEFAULT_PARTS),
        )

    @property
    def memory_users(self) -> tuple[int, ...]:
        """How many are registered when memory is looked at."""
        return self.users or MEMORY_USERS

    @property
    def flat_users(self) -> tuple[int, ...]:
        """How many are registered when the cost of one more is measured: few, then many."""
        return tuple(sorted({FLAT_USERS[0], *self.users})) if self.users else FLAT_USERS
