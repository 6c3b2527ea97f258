"""Session timers at a proxy (RFC 4028 8)."""

import pytest

from opencscf.common.errors import ParseError
from opencscf.common.sip.message import Request, Response
from opencscf.common.sip.proxy import Refusal
from opencscf.common.sip.session_timer import Asked, agreed, ask

TIMER = ("Supported", "100rel, Timer")


def invite(*headers: tuple[str, str]) -> Request:
    return Request.new("INVITE", "sip:b@example.com", headers)


def ok(*headers: tuple[str, str]) -> Response:
    return Response.new(200, "", headers)


@pytest.mark.parametrize(
    ("headers", "policy", "asked", "session_expires", "min_se"),
    [
        pytest.param([], (0, 90), None, None, None, id="4028-8.1 nobody asks"),
        pytest.param([TIMER], (0, 90), None, None, None, id="4028-8.1 a UAC that could"),
        pytest.param([], (1800, 90), Asked(1800, False), "1800", None, id="4028-8.1 the proxy asks"),
        pytest.param(
            [TIMER], (1800, 90), Asked(1800, True), "1800", None, id="4028-8.1 the proxy asks a UAC that could"
        ),
        pytest.param(
            [("Min-SE", "3600")], (1800, 90), Asked(3600, False), "3600", "3600", id="4028-8.1 never below Min-SE"
        ),
        pytest.param(
            [TIMER, ("Session-Expires", "4000;refresher=uac;x=y")],
            (1800, 90),
            Asked(1800, True),
            "1800;refresher=uac;x=y",
            None,
            id="4028-8.1 reduced, the refresher as it was",
        ),
        pytest.param(
            [TIMER, ("x", "4000")],
            (0, 90),
            Asked(4000, True),
            "4000",
            None,
            id="4028-4 the compact form, accepted as it is",
        ),
        pytest.param(
            [TIMER, ("Session-Expires", "600"), ("Min-SE", "120")],
            (1800, 90),
            Asked(600, True),
            "600",
            "120",
            id="4028-8.1 never longer than it was",
        ),
        pytest.param(
            [TIMER, ("Session-Expires", "4000"), ("Min-SE", "2000")],
            (1800, 90),
            Asked(2000, True),
            "2000",
            "2000",
            id="4028-8.1 reduced to Min-SE at most",
        ),
        pytest.param(
            [TIMER, ("Session-Expires", "600"), ("Min-SE", "700")],
            (0, 90),
            Asked(700, True),
            "700",
            "700",
            id="4028-8.1 below its own Min-SE",
        ),
        pytest.param(
            [("Session-Expires", "50")], (0, 90), Asked(90, False), "90", "90", id="4028-8.1 too small, without support"
        ),
        pytest.param(
            [("Session-Expires", "100;refresher=uas"), ("Min-SE", "95")],
            (0, 120),
            Asked(120, False),
            "120;refresher=uas",
            "120",
            id="4028-8.1 Min-SE is increased",
        ),
        pytest.param(
            [("Session-Expires", "100"), ("Min-SE", "200")],
            (0, 120),
            Asked(200, False),
            "200",
            "200",
            id="4028-8.1 Min-SE is never decreased",
        ),
        pytest.param(
            [("Session-Expires", "9" * 400)],
            (0, 90),
            Asked(2**32 - 1, False),
            "9" * 400,
            None,
            id="no end in sight",
        ),
    ],
)
def test_what_is_asked_for(
    headers: list[tuple[str, str]],
    policy: tuple[int, int],
    asked: Asked | None,
    session_expires: str | None,
    min_se: str | None,
) -> None:
    request = invite(*headers)
    assert ask(request, interval_s=policy[0], min_s=policy[1]) == asked
    assert request.get("Session-Expires") == session_expires
    assert request.get("Min-SE") == min_se
    assert not request.has("Require")


def test_too_small_is_refused_if_the_uac_can_try_again() -> None:
    """RFC 4028 8.1, 6."""
    request = invite(TIMER, ("Session-Expires", "100"))
    assert ask(request, interval_s=0, min_s=120) == Refusal(422, "", (("Min-SE", "120"),))


@pytest.mark.parametrize("name", ["Session-Expires", "Min-SE"])
def test_what_is_no_number_is_malformed(name: str) -> None:
    with pytest.raises(ParseError):
        ask(invite((name, "soon")), interval_s=1800, min_s=90)


@pytest.mark.parametrize(
    ("headers", "asked", "interval_s", "session_expires", "require"),
    [
        pytest.param([], None, None, None, None, id="4028-8.2 nobody asked"),
        pytest.param([], Asked(1800, False), None, None, None, id="4028-8.2 neither side knows timers"),
        pytest.param(
            [],
            Asked(1800, True),
            1800,
            "1800;refresher=uac",
            "timer",
            id="4028-8.2 the UAC hears of what the UAS does not",
        ),
        pytest.param(
            [("Require", "100rel")],
            Asked(1800, True),
            1800,
            "1800;refresher=uac",
            "100rel",
            id="4028-8.2 beside what is required already",
        ),
        pytest.param(
            [("Session-Expires", "900;refresher=uas")],
            Asked(1800, True),
            900,
            "900;refresher=uas",
            None,
            id="4028-8.2 what the UAS says is not changed",
        ),
        pytest.param([("x", "900")], None, 900, "900", None, id="4028-9 the UAS asks by itself"),
        pytest.param([("Session-Expires", "1")], None, 90, "1", None, id="4028-4 no session is shorter than 90 s"),
        pytest.param([("Session-Expires", "soon")], Asked(1800, True), None, "soon", None, id="no number, no end"),
    ],
)
def test_what_is_agreed_on(
    headers: list[tuple[str, str]],
    asked: Asked | None,
    interval_s: int | None,
    session_expires: str | None,
    require: str | None,
) -> None:
    response = ok(*headers)
    assert agreed(response, asked) == interval_s
    assert response.get("Session-Expires") == session_expires
    assert response.get("Require") == require
    assert ("timer" in response.values("Require")) is (session_expires == "1800;refresher=uac")
