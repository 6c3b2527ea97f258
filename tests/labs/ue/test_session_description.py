from __future__ import annotations

import pytest

from opencscf.common.sip import sdp
from opencscf.labs.ue.session_description import voice_answer, voice_offer


@pytest.mark.parametrize("address", ["127.0.2.1", "2001:db8::1"])
def test_offer_is_read_by_the_cores_own_parser(address: str) -> None:
    (media,) = sdp.SessionDescription.parse(voice_offer(address, 1)).media
    assert (media.media, media.port, media.proto) == ("audio", 49152, "RTP/AVP")


def test_answer_takes_amr_wherever_it_is_offered() -> None:
    offer = b"v=0\r\nm=audio 4000 RTP/AVP 8 97\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:97 AMR/8000\r\n"
    answer = voice_answer(offer, "127.0.2.2", 2)
    assert answer is not None
    assert b"m=audio 49152 RTP/AVP 97\r\n" in answer
    assert b"a=rtpmap:97 AMR/8000\r\n" in answer
    assert b"PCMA" not in answer


def test_answer_takes_the_first_codec_of_a_softphone_without_amr() -> None:
    answer = voice_answer(b"v=0\r\nm=audio 4000 RTP/AVP 8 0\r\n", "127.0.2.2", 2)
    assert answer is not None
    assert b"m=audio 49152 RTP/AVP 8\r\n" in answer


def test_video_is_refused_in_its_place_3264_6() -> None:
    answer = voice_answer(b"m=video 5000 RTP/AVP 99\r\nm=audio 4000 RTP/AVP 8\r\n", "127.0.2.2", 2)
    assert answer is not None
    lines = [line for line in answer.split(b"\r\n") if line.startswith(b"m=")]
    assert lines == [b"m=video 0 RTP/AVP 99", b"m=audio 49152 RTP/AVP 8"]


@pytest.mark.parametrize(
    "offer", [b"", b"v=0", b"m=audio", b"m=audio 1", b"m=video 5 RTP/AVP 9", b"m=audio 0 RTP/AVP 8"]
)
def test_offer_without_voice_has_no_answer(offer: bytes) -> None:
    assert voice_answer(offer, "127.0.2.2", 2) is None
