"""Copies of one request on several paths (RFC 3261 8.2.2.2)."""

import pytest

from opencscf.common.sip import merged
from opencscf.common.sip.merged import RecentRequests
from opencscf.common.sip.message import Request

NOW = 1_800_000_000.0


def register(branch: str = "1", call_id: str = "c", cseq: str = "1 REGISTER", tag: str = "a") -> Request:
    fields = [
        ("Via", f"SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK{branch}"),
        ("From", f"<sip:a@ims.test>;tag={tag}"),
        ("To", "<sip:a@ims.test>"),
        ("Call-ID", call_id),
        ("CSeq", cseq),
    ]
    return Request.new("REGISTER", "sip:ims.test", fields)


@pytest.fixture
def recent() -> RecentRequests:
    recent = RecentRequests()
    assert not recent.has_seen(register(), NOW)
    return recent


@pytest.mark.parametrize(
    ("request_", "is_copy"),
    [
        pytest.param(register("2"), True, id="8.2.2.2 the same on another path"),
        pytest.param(register("2", call_id="d"), False, id="8.2.2.2 another Call-ID"),
        pytest.param(register("2", cseq="2 REGISTER"), False, id="8.2.2.2 another CSeq"),
        pytest.param(register("2", tag="b"), False, id="8.2.2.2 another tag in From"),
    ],
)
def test_which_is_a_copy(recent: RecentRequests, request_: Request, *, is_copy: bool) -> None:
    assert recent.has_seen(request_, NOW + 1) is is_copy


@pytest.mark.parametrize(
    ("after_s", "is_copy"),
    [
        pytest.param(4.9, True, id="within T4"),
        pytest.param(10.0, False, id="another attempt of a proxy that heard nothing"),
        pytest.param(1000.0, False, id="long after"),
        pytest.param(-1000.0, False, id="the clock was set back"),
    ],
)
def test_how_long_it_is_remembered(after_s: float, *, is_copy: bool) -> None:
    """All of them come some seconds after the first request of all."""
    recent = RecentRequests()
    recent.has_seen(register(call_id="first"), NOW)
    recent.has_seen(register(), NOW + 4)
    assert recent.has_seen(register("2"), NOW + 4 + after_s) is is_copy


def test_a_flood_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory stays bounded, whatever comes."""
    monkeypatch.setattr(merged, "MAX_REMEMBERED", 10)
    recent = RecentRequests()
    for number in range(35):
        assert not recent.has_seen(register(call_id=str(number)), NOW)
    assert len(recent._latest) + len(recent._former) <= 20
    assert recent.has_seen(register(call_id="34"), NOW)
    assert not recent.has_seen(register(call_id="0"), NOW)
