"""The timers of the transactions and their values (RFC 3261 table 4, RFC 6026 8.4, TS 24.229 table 7.7.1).

All values are in seconds; towards a UE the P-CSCF has longer ones. Timer C belongs to the proxy (RFC 3261 16.6 step
11), the others to the four machines in `transaction.py`. Those that last zero seconds over a reliable transport (D, I,
J, K) are not represented here as zero: the machine goes on at once instead of starting them.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace

MIN_TIMER_D = 32.0  # s, RFC 3261 17.1.1.2: at least this, so that every retransmission of a final response is answered


class Timer(enum.StrEnum):
    """Timers by their letter."""

    A = "A"  # INVITE request retransmission
    B = "B"  # INVITE transaction timeout
    C = "C"  # proxy's INVITE transaction timeout
    D = "D"  # wait for retransmissions of a final response to INVITE
    E = "E"  # non-INVITE request retransmission
    F = "F"  # non-INVITE transaction timeout
    G = "G"  # INVITE final response retransmission
    H = "H"  # wait for the ACK
    I = "I"  # wait for retransmissions of the ACK  # noqa: E741 (the RFC's letter)
    J = "J"  # wait for retransmissions of a non-INVITE request
    K = "K"  # wait for retransmissions of a response to non-INVITE
    L = "L"  # wait for further 2xx from the transaction user, RFC 6026 7.1
    M = "M"  # wait for further 2xx from the network, RFC 6026 7.2
    TRYING = "100"  # a non-INVITE server says that it still works on the request, RFC 4320 4.1; it has no letter


@dataclass(frozen=True, slots=True)
class TimerValues:
    """The values of one interface: T1, T2, T4 and Timer C are chosen, the others follow from them."""

    t1: float = 0.5  # round-trip time estimate
    t2: float = 4.0  # longest interval between retransmissions of a non-INVITE request or an INVITE's final response
    t4: float = 5.0  # longest time a message stays in the network
    timer_c: float = 181.0  # must exceed three minutes
    timer_b: float = field(init=False)
    timer_d: float = field(init=False)
    timer_f: float = field(init=False)
    timer_h: float = field(init=False)
    timer_i: float = field(init=False)
    timer_j: float = field(init=False)
    timer_k: float = field(init=False)
    timer_l: float = field(init=False)
    timer_m: float = field(init=False)
    trying: float = field(init=False)  # by when Timer E of the other side has grown to T2

    def __post_init__(self) -> None:
        for letter in "bfhjlm":
            object.__setattr__(self, f"timer_{letter}", 64 * self.t1)
        for letter in "ik":
            object.__setattr__(self, f"timer_{letter}", self.t4)
        object.__setattr__(self, "timer_d", max(MIN_TIMER_D, 64 * self.t1))
        interval, trying = self.t1, 0.0
        while interval < self.t2:
            trying += interval
            interval *= 2
        object.__setattr__(self, "trying", trying)

    def with_another_target(self) -> TimerValues:
        """Shorten the timeouts for a target that is not the last one (RFC 3263 4.3).

        After 64*T1 the caller itself would have given up. An INVITE is answered 100 at once; other requests may wait
        for their server's own peers.
        """
        values = replace(self)
        object.__setattr__(values, "timer_b", 8 * self.t1)
        object.__setattr__(values, "timer_f", 20 * self.t1)
        return values
