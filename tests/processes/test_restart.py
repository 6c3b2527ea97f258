"""A CSCF is killed and comes back: who was registered before can call and be called without registering again."""

from collections.abc import Callable
from typing import Any

FIRST, COUNT = 1060, 4


def test_registrations_survive_a_kill(own_lab: Any, make_sipp: Callable[[Any], Any]) -> None:
    sipp = make_sipp(own_lab)
    sipp.run("register", FIRST, 2 * COUNT).check(2 * COUNT)
    sipp.answer(FIRST + COUNT, COUNT)
    for killed in (["pcscf"], ["scscf"], ["icscf"], ["pcscf", "scscf"]):
        for name in killed:
            own_lab.kill_and_restart(name)
        sipp.run("call", FIRST, COUNT, callees=COUNT).check(COUNT)
