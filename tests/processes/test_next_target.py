"""The first address of a next hop is dead: what goes there takes the next one at once (RFC 3261 18.4, RFC 3263 4.3)."""

from collections.abc import Callable
from typing import Any

FIRST, COUNT = 1080, 2


def test_icmp_leads_to_the_next_target(lab_with_dead_hops: Any, make_sipp: Callable[[Any], Any]) -> None:
    """No UE has to retransmit, which it would after half a second."""
    lab = lab_with_dead_hops
    make_sipp(lab).run("register", FIRST, COUNT).check(COUNT)
    for name, next_hop in (("pcscf", "127.0.23.11"), ("icscf", "127.0.23.12")):
        lines = [line for line in lab.log(name).splitlines() if "127.0.23.99:5060/udp" in line]
        unreachable, next_target = lines  # once: then the dead one is tried last
        assert " unreachable " in unreachable
        assert 'reason="connection refused"' in unreachable
        assert " next-target " in next_target
        assert f"next={next_hop}:5060/udp" in next_target
