"""When what nobody refreshes ends."""

import pytest

from opencscf.pcscf.deadlines import SWEEP_S, Deadlines


@pytest.mark.parametrize("ends_at", [0.0, 5.0, 90.0, 95.5, 100.0])
def test_nothing_ends_early_and_nothing_much_too_late(ends_at: float) -> None:
    deadlines: Deadlines[str] = Deadlines()
    deadlines.set("call", ends_at)
    assert deadlines.due(ends_at - 0.1) == []
    assert deadlines.due(ends_at + SWEEP_S) == ["call"]


def test_the_last_word_counts() -> None:
    deadlines: Deadlines[str] = Deadlines()
    deadlines.set("call", 1000.0)
    deadlines.set("call", 50.0)
    deadlines.set("call", 51.0)
    deadlines.set("other", 50.0)
    assert deadlines.due(60.0) == ["call", "other"]
    deadlines.set("call", 1000.0)
    assert deadlines.due(60.0) == ["other"]
    assert len(deadlines) == 2


def test_what_is_forgotten_leaves_nothing() -> None:
    deadlines: Deadlines[str] = Deadlines()
    deadlines.set("call", 50.0)
    deadlines.forget("call")
    deadlines.forget("call")
    assert deadlines.due(1e9) == []
    assert len(deadlines) == 0
    assert deadlines._ending_in == {}
