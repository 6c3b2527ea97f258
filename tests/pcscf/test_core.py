"""Which procedure an event starts, and what a P-CSCF still knows after a restart."""

from typing import Any

from opencscf.common.actions import Forward, SetTimer
from opencscf.common.events import Started, TimerFired
from opencscf.pcscf.lifetime import SweepTimer
from opencscf.pcscf.registration import RegistrationTimer

SWEEP = SetTimer(SweepTimer(), 10.0)


def test_restart_keeps_registrations_and_their_timers(world: Any, new_world: Any, settings: str) -> None:
    """PR-04 PR-06."""
    binding = world.registered()
    reborn = new_world(settings, [(token, record) for token, record in world.saved.items()])
    assert list(reborn.registrations) == [binding]
    timer = RegistrationTimer(binding.token, binding.expires_at)
    assert reborn.core.on_event(Started(world.now + 600)) == [SetTimer(timer, 3000.0), SWEEP]
    (forward,) = reborn.receive(reborn.request("MESSAGE"))
    assert isinstance(forward, Forward)


def test_registration_that_ended_meanwhile_ends_at_once(world: Any, new_world: Any, settings: str) -> None:
    """PR-06."""
    binding = world.registered()
    reborn = new_world(settings, world.saved.items())
    timer = RegistrationTimer(binding.token, world.now + 9999)
    assert reborn.core.on_event(Started(world.now + 9999)) == [SetTimer(timer, 0.0), SWEEP]


def test_timer_of_nobody(world: Any) -> None:
    assert world.core.on_event(TimerFired("nobody's", world.now)) == []


def test_the_side_of_a_request_is_known_before_it_is_looked_at(world: Any) -> None:
    """PZ-01 24.229-7.7: its timers depend on it."""
    assert world.core.is_from_ue(world.request("REGISTER"))
    assert not world.core.is_from_ue(world.request("MESSAGE"))
    world.registered()
    assert world.core.is_from_ue(world.request("MESSAGE"))
