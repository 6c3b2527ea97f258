import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencscf.common.node.clock import FakeClock, SystemClock, TimerWheel

EPOCH = 1_790_000_000.123


def test_system_clock_is_near_the_epoch_and_never_runs_backwards() -> None:
    clock = SystemClock()
    times = [clock.now() for _ in range(100)]
    assert times == sorted(times)
    assert abs(times[0] - time.time()) < 1.0


def test_fake_clock_moves_only_when_told() -> None:
    clock = FakeClock(EPOCH)
    assert clock.now() == EPOCH
    assert clock.advance(0.5) == clock.now() == EPOCH + 0.5
    with pytest.raises(ValueError, match="backwards"):
        clock.advance(-0.1)


@pytest.mark.parametrize("delay_s", [0.0, 0.1, 0.3, 0.5, 0.7, 1.0, 4.0, 32.0, 181.0, 600_000.0])
def test_a_timer_of_whole_ticks_is_due_at_its_very_time(delay_s: float) -> None:
    wheel: TimerWheel[str] = TimerWheel(start=EPOCH)
    wheel.schedule(delay_s, "A", now=EPOCH)
    assert wheel.advance(EPOCH + delay_s - 0.09) == []
    assert wheel.advance(EPOCH + max(delay_s, 0.1)) == ["A"]
    assert len(wheel) == 0


def test_order_is_by_tick_then_by_scheduling() -> None:
    wheel: TimerWheel[str] = TimerWheel(start=EPOCH)
    for delay_s, item in [(0.3, "c"), (0.1, "a"), (0.2, "b1"), (0.2, "b2"), (99.0, "z")]:
        wheel.schedule(delay_s, item, now=EPOCH)
    assert wheel.advance(EPOCH + 0.3) == ["a", "b1", "b2", "c"]
    assert wheel.advance(EPOCH + 1e6) == ["z"]


def test_without_now_a_timer_waits_one_tick_more_rather_than_firing_early() -> None:
    wheel: TimerWheel[str] = TimerWheel(start=EPOCH)
    wheel.schedule(0.5, "A")
    assert wheel.advance(EPOCH + 0.5) == []
    assert wheel.advance(EPOCH + 0.6) == ["A"]


def test_a_clock_that_stood_still_hands_nothing_out_twice() -> None:
    wheel: TimerWheel[str] = TimerWheel(start=EPOCH)
    wheel.schedule(0.0, "A", now=EPOCH)
    assert wheel.advance(EPOCH + 0.1) == ["A"]
    assert wheel.advance(EPOCH + 0.1) == []
    wheel.schedule(0.0, "B", now=EPOCH + 0.1)
    assert wheel.advance(EPOCH) == []
    assert wheel.advance(EPOCH + 0.2) == ["B"]


@given(st.lists(st.tuples(st.floats(0, 50), st.floats(0, 0.25)), max_size=60))
def test_never_early_and_at_most_a_tick_late(steps: list[tuple[float, float]]) -> None:
    """Timers are scheduled at odd moments while the wheel is advanced at every tick."""
    wheel: TimerWheel[float] = TimerWheel(start=EPOCH)
    now = EPOCH
    tick = 0
    due: list[tuple[float, float]] = []

    def run_until(end: float) -> None:
        nonlocal tick
        while EPOCH + (tick + 1) * 0.1 <= end:
            tick += 1
            due.extend((deadline, EPOCH + tick * 0.1) for deadline in wheel.advance(EPOCH + tick * 0.1))

    for delay_s, pause_s in steps:
        run_until(now)
        wheel.schedule(delay_s, now + delay_s, now=now)
        now += pause_s
    run_until(now + 51)
    assert len(due) == len(steps)
    assert all(-1e-4 <= fired - deadline <= 0.1 + 1e-4 for deadline, fired in due)
