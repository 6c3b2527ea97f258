"""The UE's SDP: a voice offer with AMR as IR.92 3.2 profiles it, and the answer to an offer (RFC 3264 6)."""

from __future__ import annotations

RTP_PORT = 49_152
MAX_LINES = 500
OFFERED_AUDIO = (
    "b=AS:41",
    "b=RS:0",
    "b=RR:2000",
    "a=rtpmap:97 AMR-WB/16000/1",
    "a=fmtp:97 mode-change-capability=2; max-red=0",
    "a=rtpmap:98 AMR/8000/1",
    "a=fmtp:98 mode-change-capability=2; max-red=0",
    "a=rtpmap:99 telephone-event/16000",
    "a=rtpmap:100 telephone-event/8000",
    "a=ptime:20",
    "a=maxptime:240",
    "a=sendrecv",
)


def voice_offer(address: str, session: int, port: int = RTP_PORT) -> bytes:
    """Offer voice with AMR-WB and AMR."""
    return _text([*_session_lines(address, session), f"m=audio {port} RTP/AVP 97 98 99 100", *OFFERED_AUDIO])


def voice_answer(offer: bytes, address: str, session: int, port: int = RTP_PORT) -> bytes | None:
    """Answer an offer: its AMR codec, or its first one; other media are refused. None if it has no voice."""
    lines = offer.decode("utf-8", errors="replace").splitlines()[:MAX_LINES]
    answer = _session_lines(address, session)
    has_voice = False
    for number, line in enumerate(lines):
        if not line.startswith("m="):
            continue
        media, _, rest = line[2:].partition(" ")
        fields = rest.split()
        if len(fields) < 3:
            return None
        if media != "audio" or fields[0] == "0" or has_voice:
            answer.append(f"m={media} 0 {fields[1]} {fields[2]}")  # refused, 6
            continue
        has_voice = True
        attributes = _attributes(lines[number + 1 :])
        codec = _codec(fields[2:], attributes)
        answer += [f"m=audio {port} {fields[1]} {codec}", "b=AS:41", "b=RS:0", "b=RR:2000"]
        answer += [line for line in attributes if line.startswith((f"a=rtpmap:{codec} ", f"a=fmtp:{codec} "))]
        answer += ["a=ptime:20", "a=sendrecv"]
    return _text(answer) if has_voice else None


def _session_lines(address: str, session: int) -> list[str]:
    network = "IN IP6" if ":" in address else "IN IP4"
    return ["v=0", f"o=- {session} {session} {network} {address}", "s=-", f"c={network} {address}", "t=0 0"]


def _attributes(lines: list[str]) -> list[str]:
    """Take the a= lines up to the next medium."""
    found = []
    for line in lines:
        if line.startswith("m="):
            break
        if line.startswith("a="):
            found.append(line)
    return found


def _codec(formats: list[str], attributes: list[str]) -> str:
    for one in formats:
        if any(line.startswith((f"a=rtpmap:{one} AMR/", f"a=rtpmap:{one} AMR-WB/")) for line in attributes):
            return one
    return formats[0]


def _text(lines: list[str]) -> bytes:
    return "".join(f"{line}\r\n" for line in lines).encode()
