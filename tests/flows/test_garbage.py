"""What the nodes promise to `common/node/garbage.py`: nothing that happens often leaves cycles behind."""

import gc
from typing import Any

import pytest

REPEATED = 20
TRANSACTIONS_S = 40.0  # until the last timer of a transaction


def garbage_after(network: Any, *steps: Any) -> int:
    """Count what only the collector can free, once every transaction is over."""
    for step in steps:
        step()  # what is made once, such as a cache, may be anything
    network.pass_time(TRANSACTIONS_S)
    gc.collect()
    gc.disable()
    try:
        for _ in range(REPEATED):
            for step in steps:
                step()
        network.pass_time(TRANSACTIONS_S)
        network.wire.clear()
        return gc.collect()
    finally:
        gc.enable()


def test_registrations_leave_no_cycles(network: Any) -> None:
    phone = network.phone(1)
    assert garbage_after(network, phone.go_online) < REPEATED


@pytest.mark.parametrize("is_answered", [True, False])
def test_calls_leave_no_cycles(network: Any, *, is_answered: bool) -> None:
    alice, bob = network.phone(1), network.phone(2)
    for phone in (alice, bob):
        assert phone.go_online().status == 200

    def call() -> None:
        invite = alice.invite(bob.tel)
        ringing = bob.requests("INVITE")[-1]
        bob.answer(ringing, 180)
        bob.answer(ringing, 200 if is_answered else 486)
        if is_answered:
            final = alice.last("INVITE")
            alice.in_dialog("ACK", invite, final)
            alice.in_dialog("BYE", invite, final)
            bob.answer(bob.requests("BYE")[-1], 200)

    assert garbage_after(network, call) < REPEATED
