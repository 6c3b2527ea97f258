"""What is left of a flood of hostile messages once their timers have ended: nothing but bounded caches."""

from __future__ import annotations

import functools
import gc
import random
import re
from pathlib import Path
from typing import Any

from opencscf.common.sip.exchange import Exchange, Leg
from opencscf.common.sip.message import Message
from opencscf.common.sip.transaction import (
    InviteClientTransaction,
    InviteServerTransaction,
    NonInviteClientTransaction,
    NonInviteServerTransaction,
)

FIXTURES = sorted((Path(__file__).parents[2] / "fixtures").rglob("*.sip"))
MESSAGES = 20_000
KEPT = (
    Message, Exchange, Leg,
    InviteClientTransaction, InviteServerTransaction, NonInviteClientTransaction, NonInviteServerTransaction,
)  # fmt: skip
PIECES = (b"\r\n", b"\r\n ", b";", b",", b'"', b"<", b">", b"%00", b"\0", b"\xff", b":" * 50, b"=", b"[::", b"z9hG4bK")
BRANCH = re.compile(rb"branch[ \t]*=[ \t]*[^\s;,]*")


def hostile(chance: random.Random, number: int, messages: list[bytes]) -> bytes:
    """Make a message that was not seen before: most are distinct transactions, many are broken on top."""
    data = BRANCH.sub(b"branch=z9hG4bK%d" % number, chance.choice(messages), count=1)
    data = re.sub(rb"(?im)^(i|call-id)([ \t]*):[ \t]*", rb"\g<0>%d." % number, data, count=1)
    data = re.sub(rb"(?im)^(from|to|f|t)([ \t]*):([ \t]*<?)sip:", rb"\g<0>u%d" % number, data, count=1)
    for _ in range(chance.choice((0, 0, 1, 1, 3))):
        at = chance.randrange(len(data))
        match chance.randrange(4):
            case 0:
                data = data[:at] + chance.choice(PIECES) + data[at:]
            case 1:
                data = data[:at] + data[at + chance.randrange(1, 40) :]
            case 2:
                data = data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]
            case _:
                lines = data.split(b"\r\n")
                lines.insert(chance.randrange(1, len(lines) + 1), chance.choice(lines))
                data = b"\r\n".join(lines)
    return data


def answers_to(sent: list[tuple[bytes, Any]], chance: random.Random) -> list[bytes]:
    """Answer some of what was forwarded, not always as one should."""
    answers = []
    for data, _ in sent:
        if not data.startswith(b"SIP/2.0") and chance.random() < 0.3:
            status = chance.choice((b"100 ", b"183 x", b"200 OK", b"401 ", b"486 ", b"503 ", b"699 "))
            answer = b"SIP/2.0 " + status + data[data.index(b"\r\n") :]
            answers.append(answer if chance.random() < 0.8 else answer.replace(b"Via", b"Vie", 2))
    return answers


def kept() -> int:
    """Count what a stack is made of: other tests hold some, too."""
    gc.collect()
    return sum(isinstance(thing, KEPT) for thing in gc.get_objects())


def test_a_flood_leaves_nothing_behind(proxy: Any) -> None:
    chance = random.Random(4475)  # noqa: S311 - the same flood each time
    messages = [path.read_bytes() for path in FIXTURES]
    seen: set[int] = set()
    before = kept()
    for number in range(MESSAGES):
        data = hostile(chance, number, messages)
        seen.add(hash(data))
        proxy.receive(data)
        if number % 500 == 0:
            for answer in answers_to(proxy.sent, chance):
                proxy.receive(answer)
            proxy.sent.clear()
            proxy.pass_time(1)
    assert len(seen) > MESSAGES * 0.99
    assert proxy.stack.server_transactions > 1000  # it was a flood
    assert proxy.tracebacks == []

    proxy.pass_time(400)
    runtime = proxy.runtime
    assert proxy.stack.server_transactions == proxy.stack.client_transactions == len(proxy.wheel) == 0
    assert (runtime._waiting, runtime._resolving, runtime._undecided) == ({}, set(), {})
    assert kept() == before


def test_caches_are_bounded() -> None:
    """Each remembers a known number of short texts, or it would be a way to fill the memory."""
    caches = [
        thing
        for thing in gc.get_objects()
        if isinstance(thing, functools._lru_cache_wrapper) and thing.__module__.startswith("opencscf.common.")
    ]
    assert len(caches) > 2
    assert [cache.__name__ for cache in caches if cache.cache_parameters()["maxsize"] is None] == []
    assert all(cache.cache_info().currsize <= 16_384 for cache in caches)
