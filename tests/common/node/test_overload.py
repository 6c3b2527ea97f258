"""What is refused, and how much gets done when twice as much is asked for as can be done."""

import heapq
import random
from dataclasses import dataclass

import pytest

from opencscf.common.node.overload import INTERVAL_S, Begun, Ended, Overload
from opencscf.common.node.settings import OverloadSettings
from opencscf.common.sip.message import Request

SETTINGS = OverloadSettings(target_delay_s=0.1)
ANSWER = 'Digest username="a",realm="r",nonce="n",uri="sip:ims.test",response="6629fae4"'
NO_ANSWER = 'Digest username="a",realm="r",nonce="",uri="sip:ims.test",response=""'


def request(method: str = "REGISTER", *headers: tuple[str, str], uri: str = "sip:ims.test", to: str = "") -> Request:
    return Request.new(
        method,
        uri,
        [
            ("Via", "SIP/2.0/UDP 127.0.2.1:5070;branch=z9hG4bK1"),
            ("From", "<sip:alice@ims.test>;tag=1"),
            ("To", to or "<sip:alice@ims.test>"),
            ("Call-ID", "a84b4c76"),
            ("CSeq", f"1 {method}"),
            *headers,
        ],
    )


def let_wait(overload: Overload, begin: float, seconds: float, delay_s: float) -> list[Begun | Ended]:
    """Let messages wait so long for a time; return the news of that time."""
    told = []
    for step in range(1, round(seconds / INTERVAL_S) + 1):
        overload.note_delay(delay_s)
        told.append(overload.update(begin + step * INTERVAL_S))
    return [news for news in told if news is not None]


def overloaded(seconds: float = 60, settings: OverloadSettings | None = None) -> Overload:
    overload = Overload(settings or SETTINGS, 0.0)
    let_wait(overload, 0.0, seconds, 1.0)
    return overload


@pytest.mark.parametrize(
    "new",
    [
        pytest.param(request(), id="REGISTER"),
        pytest.param(request("REGISTER", ("Authorization", NO_ANSWER)), id="REGISTER without an answer"),
        pytest.param(request("INVITE"), id="INVITE"),
        pytest.param(request("SUBSCRIBE"), id="SUBSCRIBE"),
        pytest.param(request("MESSAGE"), id="MESSAGE"),
        pytest.param(request("OPTIONS"), id="OPTIONS"),
        pytest.param(request("INVITE", to="nonsense <"), id="a To that cannot be read"),
    ],
)
def test_new_work_is_refused(new: Request) -> None:
    overload = overloaded()
    assert overload.share == 1.0
    told = [overload.refuses(new) for _ in range(12)]
    assert {seconds for seconds in told if seconds is not None} == {5, 6, 7, 8, 9, 10}  # not all at once again
    assert None not in told
    assert overload.counters() == {"overloads": 1, "refused": 12, "refusing": 1.0, "delay_ms": 1000.0}


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(request("BYE", to="<sip:bob@ims.test>;tag=2"), id="within a dialog"),
        pytest.param(request("INVITE", to="<sip:bob@ims.test>;tag=2"), id="re-INVITE"),
        pytest.param(request("ACK"), id="ACK"),
        pytest.param(request("CANCEL"), id="CANCEL"),
        pytest.param(request("PRACK"), id="PRACK"),
        pytest.param(request("INVITE", uri="URN:service:sos.fire"), id="5031 emergency"),
        pytest.param(request("INVITE", ("Resource-Priority", "wps.0")), id="4412 important"),
    ],
)
def test_what_goes_on_or_matters_is_let_in(other: Request) -> None:
    assert overloaded().refuses(other) is None


def test_an_answer_to_a_challenge_is_let_in_for_longer() -> None:
    overload, answer = Overload(SETTINGS, 0.0), request("REGISTER", ("Authorization", ANSWER))
    let_wait(overload, 0.0, 0.5, 0.4)
    assert 0.5 < overload.share < 0.9
    assert [overload.refuses(answer) for _ in range(100)] == [None] * 100
    assert overloaded().refuses(answer) is not None


def test_refusals_are_spread_evenly() -> None:
    overload = Overload(SETTINGS, 0.0)
    let_wait(overload, 0.0, 0.5, 0.35)
    refused = [overload.refuses(request()) is not None for _ in range(1000)]
    assert sum(refused) == pytest.approx(1000 * overload.share, abs=1)
    for begin in range(0, 1000, 50):
        assert sum(refused[begin : begin + 50]) == pytest.approx(50 * overload.share, abs=2)


def test_without_overload_or_when_switched_off_nothing_is_refused() -> None:
    assert overloaded(settings=OverloadSettings(enabled=False)).refuses(request()) is None
    idle = Overload(SETTINGS, 0.0)
    assert let_wait(idle, 0.0, 60, 0.09) == []
    assert idle.refuses(request()) is None


def test_a_burst_that_is_soon_worked_off_is_no_overload() -> None:
    overload = Overload(SETTINGS, 0.0)
    for step in range(1, 20):
        for waited in (0.5, 0.3, 0.02):
            overload.note_delay(waited)
        assert overload.update(step * INTERVAL_S) is None


def test_a_loop_that_is_late_again_and_again_is_an_overload() -> None:
    overload = Overload(SETTINGS, 0.0)
    assert overload.update(2.0) is None  # a single stall
    assert overload.update(2.1) is None
    assert overload.update(2.6) is None
    news = overload.update(3.1)
    assert isinstance(news, Begun)
    assert news.delay_s == pytest.approx(0.4)


def test_an_overload_is_told_when_it_begins_and_ends() -> None:
    overload = Overload(SETTINGS, 0.0)
    assert let_wait(overload, 0.0, 5, 0.3) == [Begun(0.3)]
    refused = sum(overload.refuses(request()) is not None for _ in range(100))
    assert let_wait(overload, 5.0, 3, 0.0) == []
    assert let_wait(overload, 8.0, 3, 0.3) == []  # the same one
    (ended,) = let_wait(overload, 11.0, 30, 0.0)
    assert isinstance(ended, Ended)
    assert (ended.refused, ended.admitted) == (refused, 100 - refused)
    assert 11 < ended.seconds < 20


@dataclass(slots=True)
class Simulation:
    """A node that works off its queue in order: a registration is two messages, a refusal costs a share of that."""

    load: float  # of what the node can do
    seconds: float = 30.0
    registration_s: float = 0.001
    refusal_share: float = 0.08
    settings: OverloadSettings = SETTINGS

    def done_per_s(self) -> list[float]:
        """Return the share of the node's capacity that was used well, for each second."""
        chance = random.Random(1)  # noqa: S311 - a simulation
        overload, now, next_update = Overload(self.settings, 0.0), 0.0, INTERVAL_S
        waiting: list[tuple[float, float, bool]] = []  # arrived at, begun at, is the answer to the challenge
        arrival = 0.0
        while (arrival := arrival + chance.expovariate(self.load / self.registration_s)) < self.seconds:
            waiting.append((arrival, arrival, False))
        done = [0.0] * round(self.seconds)
        first, answer = request(), request("REGISTER", ("Authorization", ANSWER))
        while waiting and now < self.seconds - 1:
            arrived, begun, is_answer = heapq.heappop(waiting)
            now = max(now, arrived)
            while now >= next_update:
                overload.update(next_update)
                next_update += INTERVAL_S
            overload.note_delay(now - arrived)
            if overload.refuses(answer if is_answer else first) is not None:
                now += self.refusal_share * self.registration_s
                continue
            now += self.registration_s / 2
            if not is_answer:
                heapq.heappush(waiting, (now + 0.02, begun, True))
            elif now - begun < 0.5:  # else it has been sent again
                done[int(now)] += self.registration_s
        return done[:-1]


@pytest.mark.parametrize("load", [0.5, 0.9])
def test_a_load_that_can_be_borne_is_borne_whole(load: float) -> None:
    done = Simulation(load).done_per_s()
    assert sum(done) / len(done) == pytest.approx(load, rel=0.03)


def test_at_twice_the_highest_rate_four_fifths_of_it_get_done() -> None:
    done = Simulation(2.0).done_per_s()
    assert sum(done) / len(done) >= 0.8
    assert min(done[10:]) >= 0.8  # steadily


def test_without_control_nothing_gets_done() -> None:
    done = Simulation(2.0, settings=OverloadSettings(enabled=False)).done_per_s()
    assert sum(done[10:]) == 0.0
