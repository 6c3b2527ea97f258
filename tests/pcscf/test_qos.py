"""Media authorisation: SDP into Rx components (TS 29.213 6.2), AAR and STR along a call (TS 29.214 4.4)."""

from dataclasses import replace
from typing import Any, Final

import pytest

from opencscf.common.actions import Forward, Procedure, Relay, Report, SetTimer, Start
from opencscf.common.errors import PeerUnavailable
from opencscf.common.events import TimerFired
from opencscf.common.sip.sdp import SessionDescription
from opencscf.diameter.results import Result
from opencscf.diameter.rx import (
    AaAnswer,
    AaRequest,
    FlowStatus,
    FlowUsage,
    MediaComponent,
    MediaSubComponent,
    MediaType,
    SessionTerminationAnswer,
    SessionTerminationRequest,
)
from opencscf.pcscf.qos import RETRY_TERMINATION_S, TerminationTimer, media_components, subscription_of
from opencscf.pcscf.registration import RegistrationTimer
from opencscf.pcscf.state import CallKey, RxSession

AUDIO = "m=audio 50000 RTP/AVP 97\r\nb=AS:49\r\na=rtpmap:97 AMR-WB/16000\r\n"
PEER_AUDIO = "m=audio 40000 RTP/AVP 97\r\nb=AS:38\r\na=rtpmap:97 AMR-WB/16000\r\n"
ACCEPTED = AaAnswer(Result.SUCCESS)
ENDED = SessionTerminationAnswer(Result.SUCCESS)


def sdp(media: str, address: str = "192.0.2.101") -> bytes:
    version = 6 if ":" in address else 4
    head = f"v=0\r\no=- 1 1 IN IP{version} {address}\r\ns=-\r\nc=IN IP{version} {address}\r\nt=0 0\r\n"
    return (head + media).encode()


OFFER, ANSWER = sdp(AUDIO), sdp(PEER_AUDIO, "203.0.113.9")


def components(ours: str, theirs: str, **more: Any) -> tuple[MediaComponent, ...]:
    ue = SessionDescription.parse(sdp(ours, more.get("ue", "192.0.2.101")))
    peer = SessionDescription.parse(sdp(theirs, more.get("peer", "203.0.113.9")))
    return media_components(ue, peer, "192.0.2.99", ue_offers=more.get("ue_offers", True))


AUDIO_COMPONENT = MediaComponent(
    number=1,
    media_type=MediaType.AUDIO,
    flows=(
        MediaSubComponent(
            1,
            (
                "permit in 17 from 192.0.2.101 50000 to 203.0.113.9 40000",
                "permit out 17 from 203.0.113.9 40000 to 192.0.2.101 50000",
            ),
        ),
        MediaSubComponent(
            2,
            (
                "permit in 17 from 192.0.2.101 50001 to 203.0.113.9 40001",
                "permit out 17 from 203.0.113.9 40001 to 192.0.2.101 50001",
            ),
            FlowUsage.RTCP,
        ),
    ),
    max_bandwidth_ul=38_000,
    max_bandwidth_dl=49_000,
    flow_status=FlowStatus.ENABLED,
    codec_data=(
        "uplink\noffer\nm=audio 50000 RTP/AVP 97\nb=AS:49\na=rtpmap:97 AMR-WB/16000",
        "downlink\nanswer\nm=audio 40000 RTP/AVP 97\nb=AS:38\na=rtpmap:97 AMR-WB/16000",
    ),
)


# ---------------------------------------------------------------------- SDP to components


def test_audio() -> None:
    """RX-01 RX-08 RX-09: the whole component; each side's bandwidth is what it wants to receive."""
    assert components(AUDIO, PEER_AUDIO) == (AUDIO_COMPONENT,)


def test_terminating_side() -> None:
    """RX-01: the same media when the peer made the offer."""
    (component,) = components(AUDIO, PEER_AUDIO, ue_offers=False)
    uplink, downlink = component.codec_data
    assert uplink.startswith("uplink\nanswer\nm=audio 50000")
    assert downlink.startswith("downlink\noffer\nm=audio 40000")
    assert replace(component, codec_data=()) == replace(AUDIO_COMPONENT, codec_data=())


def test_components_are_numbered_like_m_lines() -> None:
    """RX-01."""
    video = "m=video 50002 RTP/AVPF 99\r\n"
    numbers = [(one.number, one.media_type) for one in components(AUDIO + video, PEER_AUDIO + video)]
    assert numbers == [(1, MediaType.AUDIO), (2, MediaType.VIDEO)]


def test_m_lines_without_counterpart_and_without_end() -> None:
    many = "m=audio 50000 RTP/AVP 0\r\n" * 40
    assert len(components(many, many)) == 16
    assert len(components(many, "m=audio 40000 RTP/AVP 0\r\n")) == 1
    assert components(many, "") == ()


@pytest.mark.parametrize(
    ("ours", "theirs", "status"),
    [
        pytest.param("", "", FlowStatus.ENABLED, id="RX-08 nothing said"),
        pytest.param("sendrecv", "sendrecv", FlowStatus.ENABLED, id="RX-08 sendrecv"),
        pytest.param("sendonly", "recvonly", FlowStatus.ENABLED_UPLINK, id="RX-08 the UE sends"),
        pytest.param("recvonly", "sendonly", FlowStatus.ENABLED_DOWNLINK, id="RX-08 the UE receives"),
        pytest.param("sendrecv", "recvonly", FlowStatus.ENABLED_UPLINK, id="RX-08 the peer only receives"),
        pytest.param("sendrecv", "sendonly", FlowStatus.ENABLED_DOWNLINK, id="RX-08 the peer only sends"),
        pytest.param("inactive", "inactive", FlowStatus.DISABLED, id="RX-08 inactive"),
        pytest.param("sendrecv", "inactive", FlowStatus.DISABLED, id="RX-08 inactive on one side"),
        pytest.param("sendonly", "sendonly", FlowStatus.DISABLED, id="RX-08 nobody receives"),
    ],
)
def test_flow_status(ours: str, theirs: str, status: FlowStatus) -> None:
    lines = [f"m=audio 4000 RTP/AVP 0\r\n{f'a={direction}' if direction else ''}\r\n" for direction in (ours, theirs)]
    (component,) = components(*(line.replace("\r\n\r\n", "\r\n") for line in lines))
    assert component.flow_status is status


@pytest.mark.parametrize(("ours", "theirs"), [(0, 4000), (4000, 0)])
def test_refused_m_line(ours: int, theirs: int) -> None:
    """RX-08: port 0."""
    media = components(f"m=video {ours} RTP/AVP 99\r\n", f"m=video {theirs} RTP/AVP 99\r\n")
    assert media == (MediaComponent(1, MediaType.VIDEO, flow_status=FlowStatus.REMOVED),)


@pytest.mark.parametrize(
    ("ours", "theirs", "ports"),
    [
        pytest.param("", "", (50001, 40001), id="RX-08 the next port"),
        pytest.param("a=rtcp:50007\r\n", "a=rtcp:40009 IN IP4 203.0.113.9\r\n", (50007, 40009), id="RX-08 a=rtcp"),
        pytest.param("a=rtcp-mux\r\n", "", (50001, 40001), id="RX-08 rtcp-mux that was not accepted"),
        pytest.param("a=rtcp-mux\r\n", "a=rtcp-mux\r\n", None, id="RX-08 rtcp-mux"),
        pytest.param("b=RS:0\r\nb=RR:0\r\n", "", None, id="RX-08 RTCP turned off"),
        pytest.param("b=RS:0\r\nb=RR:2000\r\n", "", (50001, 40001), id="RX-08 RTCP of receivers only"),
    ],
)
def test_rtcp(ours: str, theirs: str, ports: tuple[int, int] | None) -> None:
    (component,) = components(f"m=audio 50000 RTP/AVP 0\r\n{ours}", f"m=audio 40000 RTP/AVP 0\r\n{theirs}")
    rtcp = [flow.descriptions[0] for flow in component.flows if flow.usage is FlowUsage.RTCP]
    assert rtcp == ([f"permit in 17 from 192.0.2.101 {ports[0]} to 203.0.113.9 {ports[1]}"] if ports else [])


def test_last_port_has_no_rtcp() -> None:
    (component,) = components("m=audio 65535 RTP/AVP 0\r\n", "m=audio 40000 RTP/AVP 0\r\n")
    assert len(component.flows) == 1


@pytest.mark.parametrize(
    ("ours", "theirs", "ul", "dl"),
    [
        pytest.param("b=AS:49", "b=AS:38", 38_000, 49_000, id="RX-08 AS in kbit/s"),
        pytest.param("b=TIAS:24000", "b=TIAS:12000", 12_000, 24_000, id="RX-08 TIAS in bit/s"),
        pytest.param("b=AS:49\r\nb=TIAS:1", "b=TIAS:1\r\nb=AS:38", 38_000, 49_000, id="RX-08 AS counts headers too"),
        pytest.param("b=AS:49", "a=x", 49_000, 49_000, id="RX-08 one side says nothing"),
        pytest.param("a=x", "a=x", None, None, id="RX-08 nobody says anything"),
    ],
)
def test_bandwidth(ours: str, theirs: str, ul: int | None, dl: int | None) -> None:
    media = [f"m=audio 4000 RTP/AVP 0\r\n{lines}\r\n" for lines in (ours, theirs)]
    (component,) = components(*media)
    assert (component.max_bandwidth_ul, component.max_bandwidth_dl) == (ul, dl)


def test_rtcp_bandwidth() -> None:
    """RX-08 RFC 3556."""
    (component,) = components("m=audio 4000 RTP/AVP 0\r\nb=RS:600\r\n", "m=audio 4000 RTP/AVP 0\r\nb=RR:2000\r\n")
    assert (component.rs, component.rr) == (600, 2000)


@pytest.mark.parametrize(
    ("kind", "proto", "media_type", "protocol", "flows"),
    [
        pytest.param("audio", "RTP/SAVPF", MediaType.AUDIO, "17", 2, id="RX-08 secured RTP"),
        pytest.param("video", "UDP/TLS/RTP/SAVPF", MediaType.VIDEO, "17", 2, id="RX-08 DTLS-SRTP"),
        pytest.param("text", "RTP/AVP", MediaType.TEXT, "17", 2, id="RX-08 real-time text"),
        pytest.param("message", "TCP/MSRP", MediaType.MESSAGE, "6", 1, id="RX-08 MSRP"),
        pytest.param("image", "udptl", MediaType.OTHER, "17", 1, id="RX-08 fax"),
        pytest.param("application", "UDP/BFCP", MediaType.APPLICATION, "17", 1, id="RX-08 UDP without RTP"),
        pytest.param("application", "sctp", MediaType.APPLICATION, "ip", 1, id="RX-08 another protocol"),
    ],
)
def test_media_types(kind: str, proto: str, media_type: MediaType, protocol: str, flows: int) -> None:
    (component,) = components(f"m={kind} 4000 {proto} x\r\n", f"m={kind} 4000 {proto} x\r\n")
    assert component.media_type is media_type
    assert component.flows[0].descriptions[0].split()[2] == protocol
    assert len(component.flows) == flows


@pytest.mark.parametrize(
    ("ue", "peer", "rule"),
    [
        pytest.param(
            "2001:db8:0::5", "2001:db8::9", "permit in 17 from 2001:db8::5 4000 to 2001:db8::9 4000", id="RX-09 IPv6"
        ),
        pytest.param(
            "ue.test",
            "peer.test",
            "permit in 17 from 192.0.2.99 4000 to any 4000",
            id="RX-09 UE never a wildcard: names",
        ),
        pytest.param(
            "0.0.0.0", "0.0.0.0", "permit in 17 from 192.0.2.99 4000 to any 4000", id="RX-09 UE never a wildcard: hold"
        ),
    ],
)
def test_addresses(ue: str, peer: str, rule: str) -> None:
    (component,) = components("m=audio 4000 RTP/AVP 0\r\n", "m=audio 4000 RTP/AVP 0\r\n", ue=ue, peer=peer)
    assert component.flows[0].descriptions[0] == rule


def test_codec_data_is_text() -> None:
    """A phone's Latin-1 must not keep the AAR from being sent."""
    ue = SessionDescription.parse(sdp(AUDIO) + b"i=caf\xe9\r\n")
    (component,) = media_components(ue, SessionDescription.parse(ANSWER), "192.0.2.99", ue_offers=True)
    assert component.codec_data[0].endswith("i=caf?")


@pytest.mark.parametrize(
    ("impi", "subscription"),
    [
        pytest.param("001010000000001@ims.test", "sip:001010000000001@ims.test", id="IMSI with realm"),
        pytest.param("001010000000001", "sip:001010000000001@ims.test", id="IMSI alone"),
        pytest.param("alice@ims.test", "sip:alice@ims.test", id="no IMSI: the default identity"),
        pytest.param(None, "sip:alice@ims.test", id="no private identity"),
    ],
)
def test_subscription(world: Any, impi: str | None, subscription: str) -> None:
    """RX-01: what PCRFs look up."""
    assert subscription_of(replace(world.registered(), impi=impi)) == subscription


# ---------------------------------------------------------------------- along a call

STORY: Final[dict[str, str | int | float | None]] = {
    "call_id": "call-1",
    "impu": "sip:alice@ims.test",
    "side": "originating",
}
TO = "<sip:bob@ims.test>;tag=callee"


class Caller:
    """A call from our UE, whose INVITE has been forwarded."""

    def __init__(self, world: Any, offer: bytes = OFFER, *, is_originating: bool = True) -> None:
        self.world = world
        self.is_originating = is_originating
        self.binding = world.registered()
        token = self.binding.token
        if is_originating:
            self.invite = world.request("INVITE", body=offer)
        else:
            route, vector = ("Route", f"<sip:{token}@192.0.2.10;lr>"), ("P-Charging-Vector", "icid-value=77")
            self.invite = world.request("INVITE", route, vector, flow=world.scscf, user="bob", body=offer)
        self.sent, self.handler = forwarded(world.receive(self.invite))
        self.key = CallKey("call-1", token, is_originating, "caller")

    @property
    def call(self) -> Any:
        return self.world.calls.get(self.key)

    def answer(self, status: int, body: bytes = ANSWER, **more: Any) -> Any:
        return self.world.answer(self.invite, status, body=body, **more)

    def responds(self, response: Any) -> Any:
        return self.handler(response, self.world.now)

    def answered(self) -> None:
        self.world.drive(self.responds(self.answer(200)), ACCEPTED)

    def within(self, method: str, body: bytes = b"", *, from_ue: bool = True) -> Any:
        first, second, further = ("ue", "net", ", <sip:s.test;lr>") if from_ue else ("net", "ue", "")
        token = self.binding.dialog_token
        route = f"<sip:{first}.{token}@192.0.2.10;lr>, <sip:{second}.{token}@192.0.2.10;lr>{further}"
        headers = [("Route", route)]
        if from_ue is not self.is_originating:  # the callee's requests have the tags the other way round
            headers += [("From", "<sip:bob@ims.test>;tag=callee"), ("To", "<sip:alice@ims.test>;tag=caller")]
        flow = self.world.ue if from_ue else self.world.scscf
        return self.world.request(method, *headers, to=TO, flow=flow, body=body)


def forwarded(actions: Any) -> Any:
    (forward,) = (action for action in actions if isinstance(action, Forward))
    return forward.branches[0].request, forward.on_response


def started(actions: Any) -> Procedure:
    (start,) = (action for action in actions if isinstance(action, Start))
    assert isinstance(start.procedure, Procedure)
    return start.procedure


def events_of(actions: Any) -> list[str]:
    return [action.event for action in actions if isinstance(action, Report)]


def test_media_are_authorised_before_the_answer_goes_on(world: Any) -> None:
    """PI-01 RX-01: the whole AAR."""
    call = Caller(world)
    icid = call.sent.get("P-Charging-Vector").partition(";")[0].removeprefix("icid-value=")
    progress = call.answer(183)
    outcome = call.responds(progress)
    assert outcome.key == call.key
    (aar,), actions = world.drive(outcome, ACCEPTED)
    assert aar == AaRequest(
        session_id=call.call.rx_session_id,
        ue_address="192.0.2.101",
        subscription="sip:alice@ims.test",
        media=(AUDIO_COMPONENT,),
        af_charging_identifier=icid,
    )
    assert aar.session_id.startswith("pcscf.ims.test;")
    assert actions == [Relay(progress), Report("media-authorised", {**STORY, "components": 1})]


def test_media_of_a_called_ue(world: Any) -> None:
    """RX-01 RX-09: the UE's side is the answer."""
    call = Caller(world, ANSWER, is_originating=False)
    (aar,), actions = world.drive(call.responds(call.answer(200, OFFER)), ACCEPTED)
    uplink = "uplink\nanswer\nm=audio 50000 RTP/AVP 97\nb=AS:49\na=rtpmap:97 AMR-WB/16000"
    downlink = "downlink\noffer\nm=audio 40000 RTP/AVP 97\nb=AS:38\na=rtpmap:97 AMR-WB/16000"
    assert aar.media == (replace(AUDIO_COMPONENT, codec_data=(uplink, downlink)),)
    assert aar.af_charging_identifier == "77"
    assert events_of(actions) == ["call-answered", "media-authorised"]


def test_same_answer_again_asks_nothing(world: Any) -> None:
    """RX-07: 183, 180 and 200 with one and the same answer."""
    call = Caller(world)
    world.drive(call.responds(call.answer(183)), ACCEPTED)
    ringing, ok = call.answer(180), call.answer(200)
    assert call.responds(ringing) == [Relay(ringing)]
    assert call.responds(ok) == [Relay(ok), Report("call-answered", STORY)]


def test_other_answer_updates_the_session(world: Any) -> None:
    """RX-07: another callee of a forked call answers."""
    call = Caller(world)
    (first,), _ = world.drive(call.responds(call.answer(183)), ACCEPTED)
    other = sdp(PEER_AUDIO, "203.0.113.10")
    (second,), _ = world.drive(call.responds(call.answer(200, other, to_tag="other")), ACCEPTED)
    assert (first.is_update, second.is_update) == (False, True)
    assert second.session_id == first.session_id
    assert "203.0.113.10" in second.media[0].flows[0].descriptions[0]


def test_responses_without_sdp_wait_for_nothing(world: Any) -> None:
    call = Caller(world)
    ringing = call.answer(180, b"")
    assert call.responds(ringing) == [Relay(ringing)]


@pytest.mark.parametrize("from_ue", [True, False])
def test_bye_ends_the_session(world: Any, *, from_ue: bool) -> None:
    """RX-02 PC-03."""
    call = Caller(world)
    call.answered()
    session_id = call.call.rx_session_id
    actions = world.receive(call.within("BYE", from_ue=from_ue))
    assert events_of(actions) == ["call-ended"]
    procedure = started(actions)
    assert procedure.key == call.key
    asked, actions = world.drive(procedure, ENDED)
    assert asked == [SessionTerminationRequest(session_id)]
    assert actions == [Report("media-session-ended", {"call_id": "call-1", "result": str(Result.SUCCESS)})]
    assert len(world.calls) == 0


@pytest.mark.parametrize("status", [486, 487, 503])
def test_failure_after_early_media_ends_the_session(world: Any, status: int) -> None:
    """RX-02 PC-03: also after CANCEL, which leads to 487."""
    call = Caller(world)
    world.drive(call.responds(call.answer(183)), ACCEPTED)
    session_id = call.call.rx_session_id
    actions = call.responds(call.answer(status, b""))
    assert events_of(actions) == ["call-failed"]
    asked, _ = world.drive(started(actions), ENDED)
    assert asked == [SessionTerminationRequest(session_id)]
    assert len(world.calls) == 0


def test_failure_before_any_media_ends_no_session(world: Any) -> None:
    """PC-03."""
    call = Caller(world)
    actions = call.responds(call.answer(486, b""))
    assert [type(action) for action in actions] == [Relay, Report]


def test_bye_while_the_pcrf_is_asked(world: Any) -> None:
    """RX-02: the STR comes after the AAR, by their common key, and finds the session open."""
    call = Caller(world)
    asking = call.responds(call.answer(200))
    aar = asking.coroutine.send(None)
    ending = started(world.receive(call.within("BYE")))
    assert ending.key == asking.key
    with pytest.raises(StopIteration):
        asking.coroutine.send(ACCEPTED)
    asked, _ = world.drive(ending, ENDED)
    assert asked == [SessionTerminationRequest(aar.session_id)]


def test_media_that_come_after_the_end_are_not_asked_for(world: Any) -> None:
    """RX-02: an AAR that waited for its turn while the call ended."""
    call = Caller(world)
    ok = call.answer(200)
    waiting = call.responds(ok)
    ending = started(world.receive(call.within("BYE")))
    asked, actions = world.drive(waiting)
    assert (asked, actions[0]) == ([], Relay(ok))
    assert world.drive(ending) == ([], [])


def test_registration_that_ends_takes_its_sessions_along(world: Any) -> None:
    """RX-02 PR-06."""
    call = Caller(world)
    call.answered()
    expiry = TimerFired(RegistrationTimer(call.binding.token, call.binding.expires_at), call.binding.expires_at)
    _, actions = world.drive(world.core.on_event(expiry))
    asked, _ = world.drive(started(actions), ENDED)
    assert [type(question) for question in asked] == [SessionTerminationRequest]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(
            AaAnswer(Result.IP_CAN_SESSION_NOT_AVAILABLE),
            str(Result.IP_CAN_SESSION_NOT_AVAILABLE),
            id="RX-06 no bearer",
        ),
        pytest.param(
            PeerUnavailable("pcrf.ims.test", "no answer in 4 s"), "pcrf.ims.test: no answer in 4 s", id="silent"
        ),
    ],
)
def test_call_goes_on_without_its_media_authorised(world: Any, answer: Any, reason: str) -> None:
    """RX-06: the operator reads which address was looked up."""
    call = Caller(world)
    ok = call.answer(200)
    _, actions = world.drive(call.responds(ok), answer)
    fields = {**STORY, "ue_address": "192.0.2.101", "reason": reason}
    assert actions == [Relay(ok), Report("call-answered", STORY), Report("media-not-authorised", fields, "warning")]


def test_refused_session_is_not_terminated(world: Any) -> None:
    call = Caller(world)
    world.drive(call.responds(call.answer(200)), AaAnswer(Result.REQUESTED_SERVICE_NOT_AUTHORIZED))
    assert world.drive(started(world.receive(call.within("BYE")))) == ([], [])


def test_session_of_an_unanswered_aar_is_terminated_once(world: Any) -> None:
    """RX-02: the AAR may have arrived."""
    call = Caller(world)
    world.drive(call.responds(call.answer(200)), PeerUnavailable("pcrf", "no answer"))
    asked, actions = world.drive(started(world.receive(call.within("BYE"))), PeerUnavailable("pcrf", "down"))
    assert [type(question) for question in asked] == [SessionTerminationRequest]
    assert events_of(actions) == ["media-session-not-ended"]
    assert not [action for action in actions if isinstance(action, SetTimer)]


def test_unanswered_str_is_repeated(world: Any) -> None:
    """RX-02: until the last attempt, or an answer."""
    call = Caller(world)
    call.answered()
    session_id = call.call.rx_session_id
    outcome: Any = started(world.receive(call.within("BYE")))
    for attempt, delay_s in enumerate(RETRY_TERMINATION_S):
        asked, (report, timer) = world.drive(outcome, PeerUnavailable("pcrf", "down"))
        assert asked == [SessionTerminationRequest(session_id)]
        assert report.event == "media-session-not-ended"
        assert timer == SetTimer(TerminationTimer("call-1", session_id, attempt), delay_s)
        outcome = world.core.on_event(TimerFired(timer.key, world.now))
    asked, actions = world.drive(outcome, PeerUnavailable("pcrf", "down"))
    assert events_of(actions) == ["media-session-not-ended"]
    assert len(actions) == 1


@pytest.mark.parametrize("mode", ["off", None])
def test_pcrf_that_is_not_wanted_is_not_asked(new_world: Any, settings: str, mode: str | None) -> None:
    text = settings.replace("[rx]", '[rx]\nmode = "off"') if mode else settings.partition("[rx]")[0]
    call = Caller(new_world(text))
    ok = call.answer(200)
    assert call.responds(ok) == [Relay(ok), Report("call-answered", STORY)]
    assert events_of(call.world.receive(call.within("BYE"))) == ["call-ended"]


@pytest.mark.parametrize("body", [b"nonsense", b"v=0\r\nm=audio", b"\xff\xfe"])
def test_sdp_that_cannot_be_read_passes(world: Any, body: bytes) -> None:
    """The UEs will tell each other."""
    call = Caller(world)
    progress = call.answer(183, body)
    actions = call.responds(progress)
    assert actions[0] == Relay(progress)
    assert events_of(actions) == ["media-not-understood"]


def test_body_that_is_no_sdp_passes(world: Any) -> None:
    call = Caller(world)
    ok = call.answer(200)
    ok.set("Content-Type", "nonsense")
    assert call.responds(ok) == [Relay(ok), Report("call-answered", STORY)]


# ---------------------------------------------------------------------- who makes the offer, and when


def test_offer_in_the_200_is_answered_in_the_ack(world: Any) -> None:
    """RFC 3261 13.2.1: the peer offers, our UE answers."""
    call = Caller(world, b"")
    ok = call.answer(200, ANSWER)
    assert call.responds(ok) == [Relay(ok), Report("call-answered", STORY)]
    actions = world.receive(call.within("ACK", OFFER))
    (aar,), actions = world.drive(started(actions), ACCEPTED)
    assert aar.media[0].flows == AUDIO_COMPONENT.flows
    assert aar.media[0].codec_data[0].startswith("uplink\nanswer")
    assert actions == [Report("media-authorised", {**STORY, "components": 1})]
    again = world.receive(call.within("ACK", OFFER))
    assert [type(action) for action in again] == [Forward], "a repeated ACK"


def test_offer_in_a_183_is_answered_in_the_prack(world: Any) -> None:
    """RFC 3262 5; a 200 to the INVITE that repeats the offer is no new one."""
    call = Caller(world, b"")
    call.responds(call.answer(183, ANSWER))
    (aar,), _ = world.drive(started(world.receive(call.within("PRACK", OFFER))), ACCEPTED)
    assert aar.media[0].flows == AUDIO_COMPONENT.flows
    ok = call.answer(200, ANSWER)
    assert call.responds(ok) == [Relay(ok), Report("call-answered", STORY)]
    assert [type(action) for action in world.receive(call.within("ACK"))] == [Forward]


@pytest.mark.parametrize("method", ["INVITE", "UPDATE", "PRACK"])
@pytest.mark.parametrize("from_ue", [True, False])
def test_new_offer_within_the_call(world: Any, method: str, *, from_ue: bool) -> None:
    """RX-01 RX-07: hold, a new codec, preconditions; on the same Rx session."""
    call = Caller(world)
    call.answered()
    session_id = call.call.rx_session_id
    held = sdp(AUDIO + "a=sendonly\r\n")
    request = call.within(method, held if from_ue else ANSWER, from_ue=from_ue)
    _, handler = forwarded(world.receive(request))
    ok = world.answer(request, 200, body=ANSWER if from_ue else held)
    (aar,), actions = world.drive(handler(ok, world.now), ACCEPTED)
    assert (aar.session_id, aar.is_update) == (session_id, True)
    assert aar.media[0].flow_status is FlowStatus.ENABLED_UPLINK
    assert aar.media[0].flows == AUDIO_COMPONENT.flows
    assert actions == [Relay(ok), Report("media-authorised", {**STORY, "components": 1})]


@pytest.mark.parametrize(
    "vector",
    ["icid-value=77", "icid-value=77;icid-generated-at=h", 'ICID-Value = "77";x', "icid-generated-at=h;icid-value=77"],
)
def test_icid_of_the_core(world: Any, vector: str) -> None:
    """RX-01: however it is written."""
    binding = world.registered()
    headers = [("Route", f"<sip:{binding.token}@192.0.2.10;lr>"), ("P-Charging-Vector", vector)]
    invite = world.request("INVITE", *headers, flow=world.scscf, body=ANSWER)
    _, handler = forwarded(world.receive(invite))
    (aar,), _ = world.drive(handler(world.answer(invite, 200, body=OFFER), world.now), ACCEPTED)
    assert aar.af_charging_identifier == "77"


@pytest.mark.parametrize("vector", ["", "nonsense", '"'])
def test_call_without_icid(world: Any, vector: str) -> None:
    """RX-01: AF-Charging-Identifier is optional."""
    binding = world.registered()
    headers = [("Route", f"<sip:{binding.token}@192.0.2.10;lr>"), ("P-Charging-Vector", vector)]
    invite = world.request("INVITE", *headers, flow=world.scscf, body=ANSWER)
    _, handler = forwarded(world.receive(invite))
    (aar,), _ = world.drive(handler(world.answer(invite, 200, body=OFFER), world.now), ACCEPTED)
    assert aar.af_charging_identifier == ""


def test_refused_update_keeps_the_session(world: Any) -> None:
    """RX-02: what the PCRF accepted before is still there to be ended."""
    call = Caller(world)
    call.answered()
    other = call.responds(call.answer(200, sdp(PEER_AUDIO, "203.0.113.10"), to_tag="other"))
    world.drive(other, AaAnswer(Result.FILTER_RESTRICTIONS))
    again = call.responds(call.answer(200, sdp(PEER_AUDIO, "203.0.113.11"), to_tag="third"))
    world.drive(again, PeerUnavailable("pcrf", "down"))
    asked, _ = world.drive(started(world.receive(call.within("BYE"))), ENDED)
    assert [type(question) for question in asked] == [SessionTerminationRequest]


@pytest.mark.parametrize("from_ue", [True, False])
def test_session_refresh_asks_nothing(world: Any, *, from_ue: bool) -> None:
    """RFC 4028: the same media, whoever offers them."""
    call = Caller(world)
    call.answered()
    request = call.within("INVITE", OFFER if from_ue else ANSWER, from_ue=from_ue)
    _, handler = forwarded(world.receive(request))
    ok = world.answer(request, 200, body=ANSWER if from_ue else OFFER)
    assert handler(ok, world.now) == [Relay(ok)]


def test_old_answer_after_an_update(world: Any) -> None:
    """RFC 3261 13.2.1: phones repeat the 183's answer in the 200, though UPDATE has changed the media since."""
    call = Caller(world)
    world.drive(call.responds(call.answer(183)), ACCEPTED)
    update = call.within("UPDATE", sdp(AUDIO.replace("50000", "50010")))
    _, handler = forwarded(world.receive(update))
    (aar,), _ = world.drive(handler(world.answer(update, 200, body=ANSWER), world.now), ACCEPTED)
    assert "50010" in aar.media[0].flows[0].descriptions[0]
    ok = call.answer(200)
    assert call.responds(ok) == [Relay(ok), Report("call-answered", STORY)]
    world.drive(call.responds(call.answer(200, sdp(PEER_AUDIO, "203.0.113.10"), to_tag="other")), ACCEPTED)


def test_prack_with_an_offer_of_its_own(world: Any) -> None:
    call = Caller(world)
    world.drive(call.responds(call.answer(183)), ACCEPTED)
    prack = call.within("PRACK", OFFER)
    _, handler = forwarded(world.receive(prack))
    ok = world.answer(prack, 200, body=ANSWER)
    assert handler(ok, world.now) == [Relay(ok)]


def test_sdp_in_a_response_to_what_offered_nothing(world: Any) -> None:
    """Only an INVITE may be answered with an offer."""
    call = Caller(world)
    call.answered()
    update = call.within("UPDATE")
    _, handler = forwarded(world.receive(update))
    ok = world.answer(update, 200, body=ANSWER)
    assert handler(ok, world.now) == [Relay(ok)]
    assert call.call.offer is None


VIDEO, REFUSED_VIDEO = "m=video 50002 RTP/AVP 99\r\n", "m=video 0 RTP/AVP 99\r\n"


def test_refused_video_is_not_asked_for(world: Any) -> None:
    """RX-08: a PCRF without rules for video would refuse the audio with it."""
    call = Caller(world, sdp(AUDIO + VIDEO))
    (aar,), _ = world.drive(call.responds(call.answer(200, sdp(PEER_AUDIO + REFUSED_VIDEO, "203.0.113.9"))), ACCEPTED)
    assert [component.number for component in aar.media] == [1]


def test_video_that_ends_is_removed(world: Any) -> None:
    """RX-08."""
    call = Caller(world, sdp(AUDIO + VIDEO))
    world.drive(call.responds(call.answer(200, sdp(PEER_AUDIO + VIDEO, "203.0.113.9"))), ACCEPTED)
    request = call.within("INVITE", sdp(AUDIO + REFUSED_VIDEO))
    _, handler = forwarded(world.receive(request))
    ok = world.answer(request, 200, body=sdp(PEER_AUDIO + REFUSED_VIDEO, "203.0.113.9"))
    (aar,), _ = world.drive(handler(ok, world.now), ACCEPTED)
    assert aar.media[1] == MediaComponent(2, MediaType.VIDEO, flow_status=FlowStatus.REMOVED)


def test_call_without_any_accepted_media_asks_nothing(world: Any) -> None:
    call = Caller(world, sdp(VIDEO))
    ok = call.answer(200, sdp(REFUSED_VIDEO))
    assert call.responds(ok) == [Relay(ok), Report("call-answered", STORY)]
    assert call.call.rx is RxSession.NONE


def test_both_sides_of_a_call_to_oneself(world: Any) -> None:
    """Each has its own session, and each BYE ends its own."""
    binding = world.registered()
    out = world.request("INVITE", body=OFFER)
    _, outgoing = forwarded(world.receive(out))
    back = world.request("INVITE", ("Route", f"<sip:{binding.token}@192.0.2.10;lr>"), flow=world.scscf, body=OFFER)
    _, incoming = forwarded(world.receive(back))
    (second,), _ = world.drive(incoming(world.answer(back, 200, body=ANSWER), world.now), ACCEPTED)
    (first,), _ = world.drive(outgoing(world.answer(out, 200, body=ANSWER), world.now), ACCEPTED)
    assert first.session_id != second.session_id
    token = binding.dialog_token
    route = f"<sip:ue.{token}@192.0.2.10;lr>, <sip:net.{token}@192.0.2.10;lr>, <sip:s.test;lr>"
    bye = world.request("BYE", ("Route", route), to=TO)
    asked, _ = world.drive(started(world.receive(bye)), ENDED)
    assert asked == [SessionTerminationRequest(first.session_id)]
    assert len(world.calls) == 1
