"""RFC 3261 table 4, RFC 6026 and TS 24.229 table 7.7.1."""

from __future__ import annotations

import pytest

from opencscf.common.sip.timers import Timer, TimerValues

LONGER = TimerValues(t1=2.0, t2=16.0, t4=17.0)


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        pytest.param("t1", 0.5, id="3261-17.1.1.1 T1 is 500 ms"),
        pytest.param("t2", 4.0, id="3261-17.1.2.2 T2 is 4 s"),
        pytest.param("t4", 5.0, id="3261-17.1.2.2 T4 is 5 s"),
        pytest.param("timer_b", 32.0, id="3261-17.1.1.2 Timer B is 64*T1"),
        pytest.param("timer_d", 32.0, id="3261-17.1.1.2 Timer D is at least 32 s"),
        pytest.param("timer_f", 32.0, id="3261-17.1.2.2 Timer F is 64*T1"),
        pytest.param("timer_h", 32.0, id="3261-17.2.1 Timer H is 64*T1"),
        pytest.param("timer_i", 5.0, id="3261-17.2.1 Timer I is T4"),
        pytest.param("timer_j", 32.0, id="3261-17.2.2 Timer J is 64*T1"),
        pytest.param("timer_k", 5.0, id="3261-17.1.2.2 Timer K is T4"),
        pytest.param("timer_l", 32.0, id="6026-8.7 Timer L is 64*T1"),
        pytest.param("timer_m", 32.0, id="6026-8.4 Timer M is 64*T1"),
        pytest.param("trying", 3.5, id="4320-4.1 after 0.5, 1 and 2 s Timer E is reset to T2"),
    ],
)
def test_default_values(name: str, seconds: float) -> None:
    assert getattr(TimerValues(), name) == seconds


def test_timer_c_exceeds_three_minutes() -> None:
    """RFC 3261 16.6 step 11."""
    assert TimerValues().timer_c > 180


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        pytest.param("t1", 2.0, id="24.229-7.7 T1 towards the UE"),
        pytest.param("t2", 16.0, id="24.229-7.7 T2 towards the UE"),
        pytest.param("t4", 17.0, id="24.229-7.7 T4 towards the UE"),
        pytest.param("timer_b", 128.0, id="24.229-7.7 Timer B follows T1"),
        pytest.param("timer_d", 128.0, id="24.229-7.7 Timer D grows with T1"),
        pytest.param("timer_i", 17.0, id="24.229-7.7 Timer I follows T4"),
        pytest.param("trying", 14.0, id="4320-4.1 after 2, 4 and 8 s Timer E is reset to T2"),
    ],
)
def test_values_towards_the_ue(name: str, seconds: float) -> None:
    assert getattr(LONGER, name) == seconds


def test_timer_d_does_not_shrink_below_32_s() -> None:
    assert TimerValues(t1=0.1).timer_d == 32.0


def test_there_is_a_timer_for_each_letter_to_m() -> None:
    assert [timer.value for timer in Timer if timer is not Timer.TRYING] == list("ABCDEFGHIJKLM")
