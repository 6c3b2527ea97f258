"""Both forms of a batch with callers that lose their socket, close in the middle, or lie about types."""

from __future__ import annotations

import copy
import gc
import pickle
import socket
import weakref
from collections.abc import Callable
from typing import Any, Final

import pytest

from opencscf.common.native import twin
from opencscf.common.transport.batch import PlainBatch
from opencscf.common.transport.udp import bind

NATIVE: Final[Any] = twin("opencscf.common.transport._batch")
FORMS: Final[dict[str, Any]] = {"plain": PlainBatch} | ({"C": NATIVE.Batch} if NATIVE is not None else {})
needs_twin: Final = pytest.mark.skipif(NATIVE is None, reason="the C twin was not built, or is not wanted")

Form = Callable[..., Any]


def pair_of(host: str, port: int) -> tuple[str, int]:
    return host, port


@pytest.fixture(params=FORMS.values(), ids=list(FORMS))
def form(request: pytest.FixtureRequest) -> Form:
    found: Form = request.param
    return found


def test_a_batch_keeps_its_socket_until_it_is_closed(form: Form) -> None:
    with bind(("127.0.0.1", 0), socket.SOCK_DGRAM, "udp") as theirs:
        ours = bind(("127.0.0.1", 0), socket.SOCK_DGRAM, "udp")
        batch, alive = form(ours, pair_of, 8, 20), weakref.ref(ours)
        del ours
        gc.collect()
        assert batch.queue(b"x", *theirs.getsockname(), None) == 1
        assert batch.flush() == []
        theirs.settimeout(5)
        assert theirs.recv(9) == b"x"
        found = alive()
        assert found is not None
        found.close()
        del found
        batch.close()
        assert alive() is None


@needs_twin
def test_a_batch_closed_while_it_is_flushed_holds_nothing() -> None:
    class Target:
        def __del__(self) -> None:
            batch.close()

    with bind(("127.0.0.1", 0), socket.SOCK_DGRAM, "udp") as ours:
        batch = NATIVE.Batch(ours, pair_of, 8, 200)
        for _ in range(100):
            batch.queue(b"x", *ours.getsockname(), Target())
        batch.flush()
        assert batch.waiting == 0
        assert batch.receive() == []


def test_a_batch_closed_while_it_receives(form: Form) -> None:
    def closing(host: str, port: int) -> tuple[str, int]:
        batch.close()
        return host, port

    with bind(("127.0.0.1", 0), socket.SOCK_DGRAM, "udp") as ours:
        batch = form(ours, closing, 8, 20)
        batch.queue(b"x", *ours.getsockname(), None)
        batch.flush()
        assert batch.receive() == [(b"x", ours.getsockname())]
        assert batch.receive() == []


def test_the_zone_of_an_address_may_be_a_number(form: Form) -> None:
    index = next(number for number, name in socket.if_nameindex() if name == "lo")
    with bind(("::1", 0), socket.SOCK_DGRAM, "udp") as ours:
        batch = form(ours, pair_of, 8, 20)
        found = []
        for zone in ("lo", str(index)):
            batch.queue(b"x", f"fe80::1%{zone}", 5060, None)
            found += batch.flush()
        assert len(found) in {0, 2}
        assert found[:1] == found[1:]


@needs_twin
def test_a_batch_with_arguments_of_the_wrong_kind() -> None:
    with bind(("127.0.0.1", 0), socket.SOCK_DGRAM, "udp") as ours:
        for arguments in ((), (ours,), (ours, pair_of, 0, 1), (ours, pair_of, -1, 1), (ours, pair_of, 1025, 1),
                          (ours, pair_of, 1, 1 << 40), (-1, pair_of, 1, 1), ("x", pair_of, 1, 1)):  # fmt: skip
            with pytest.raises((TypeError, ValueError)):
                NATIVE.Batch(*arguments)
        batch = NATIVE.Batch(ours, pair_of, 8, 20)
        for wrong in ((), (b"x",), ("x", "::1", 1, None), (bytearray(b"x"), "::1", 1, None), (b"x", b"::1", 1, None),
                      (b"x", "\ud800", 1, None), (b"x", "127.0.0.1\0", 1, None), (b"x", "127.0.0.1", 10**30, None),
                      (b"x", "127.0.0.1", -1, None), (b"x", "1" * 100_000, 1, None)):  # fmt: skip
            with pytest.raises((TypeError, ValueError, OverflowError)):
                batch.queue(*wrong)
        assert batch.waiting == 0
        for take in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="cannot pickle"):
                take(batch)
