import asyncio
import contextlib
import socket
from typing import Any

import pytest

from opencscf.common.errors import StartupError
from opencscf.common.node.connection_settings import ConnectionSettings
from opencscf.common.sip.flow import Flow, Hop, Transport
from opencscf.common.transport import tcp
from opencscf.common.transport.udp import bind


def hop_to(address: tuple[str, int]) -> Hop:
    return Hop(Transport.TCP, *address)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_two_nodes_share_one_connection_in_both_directions(run: Any, listen: Any, options: Any, host: str) -> None:
    """SP-04, TCP over IPv4 and IPv6."""

    async def scenario() -> None:
        async with listen(host) as near, listen(host) as far:
            for _ in range(3):  # the first waits for the connection, the second too
                near.endpoint.send(bytes(options), hop_to(far.address))
            flows = {(await far.received.get())[1] for _ in range(3)}
            (flow,) = flows
            assert flow.transport is Transport.TCP
            assert flow.local == far.address
            assert flow.remote[0] == host
            assert flow.connection > 0
            far.endpoint.send(bytes(options), flow)
            message, back = await near.received.get()
            assert bytes(message) == bytes(options)
            assert (back.local, back.remote) == (near.address, far.address)
            far.endpoint.send(bytes(options), flow.hop)  # the address of an open connection
            await near.received.get()
            assert near.endpoint.counters()["tcp_connections"] == 1
            assert far.endpoint.counters()["tcp_connections"] == 1

    run(scenario())


def test_a_connection_comes_from_the_listeners_address(run: Any, listen: Any, options: Any) -> None:
    async def scenario() -> None:
        async with listen("127.0.0.7") as near, listen() as far:
            near.endpoint.send(bytes(options), hop_to(far.address))
            _, flow = await far.received.get()
            assert flow.remote[0] == "127.0.0.7"

    run(scenario())


def test_messages_are_framed_however_they_are_cut(run: Any, listen: Any, options: Any) -> None:
    async def scenario() -> None:
        async with listen() as heard:
            _, writer = await asyncio.open_connection(*heard.address)
            stream = bytes(options) * 3
            for start in range(0, len(stream), 97):
                writer.write(stream[start : start + 97])
                await writer.drain()
            for _ in range(3):
                assert bytes((await heard.received.get())[0]) == bytes(options)
            writer.close()

    run(scenario())


def test_a_ping_is_answered(run: Any, listen: Any) -> None:
    """RFC 5626 3.5.1."""

    async def scenario() -> None:
        async with listen() as heard:
            reader, writer = await asyncio.open_connection(*heard.address)
            writer.write(b"\r\n\r\n")
            assert await reader.readexactly(2) == b"\r\n"
            writer.close()

    run(scenario())


def test_lost_framing_closes_the_connection_after_the_answer(run: Any, listen: Any) -> None:
    async def scenario() -> None:
        async with listen() as heard:
            reader, writer = await asyncio.open_connection(*heard.address)
            writer.write(b"\x16\x03\x01 not SIP at all\r\n\r\n")
            _, error, _flow = await heard.malformed.get()
            assert error.status == 400
            assert await reader.read() == b""
            assert heard.endpoint.counters()["tcp_connections"] == 0
            writer.close()

    run(scenario())


def test_what_comes_before_the_lost_framing_is_received(run: Any, listen: Any, options: Any) -> None:
    async def scenario() -> None:
        async with listen() as heard:
            reader, writer = await asyncio.open_connection(*heard.address)
            writer.write(bytes(options) + b"junk\r\n\r\n")
            message, _flow = await heard.received.get()
            assert bytes(message) == bytes(options)
            data, _, _flow = await heard.malformed.get()
            assert data == b"junk\r\n\r\n"
            assert await reader.read() == b""
            writer.close()

    run(scenario())


def test_a_refused_connection_fails_each_target_once(run: Any, listen: Any, options: Any) -> None:
    async def scenario() -> None:
        with bind(("127.0.0.1", 0), socket.SOCK_DGRAM, "udp") as free:
            hop = hop_to(free.getsockname())
            async with listen() as heard:
                flow = Flow(Transport.TCP, heard.address, (hop.host, hop.port), 999_999)  # long closed
                for target in (hop, hop, flow):
                    heard.endpoint.send(bytes(options), target)
                assert heard.failed.empty()
                failures = {await heard.failed.get(), await heard.failed.get()}
                assert failures == {(hop, "connection refused"), (flow, "connection refused")}
                assert heard.failed.empty()
                assert heard.endpoint.counters()["tcp_connections"] == 0

    run(scenario())


def test_a_connection_that_does_not_come_fails(
    run: Any, listen: Any, options: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp, "CONNECT_TIMEOUT_S", 0.05)

    async def scenario() -> None:
        with socket.socket() as deaf:
            deaf.bind(("127.0.0.1", 0))
            deaf.listen(0)
            with socket.socket() as first, socket.socket() as second:
                for filler in (first, second):  # take the places in the queue; then SYNs are dropped
                    filler.setblocking(False)
                    filler.connect_ex(deaf.getsockname())
                async with listen() as heard:
                    heard.endpoint.send(bytes(options), hop_to(deaf.getsockname()))
                    assert (await heard.failed.get())[1] == "no connection in 0.05 s"

    run(scenario())


def test_a_reset_fails_what_was_sent(run: Any, listen: Any, options: Any) -> None:
    async def scenario() -> None:
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            server.listen()
            server.settimeout(5)
            async with listen() as heard:
                hop = hop_to(server.getsockname())
                heard.endpoint.send(bytes(options), hop)
                peer, _ = await asyncio.to_thread(server.accept)
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                peer.close()
                assert (await heard.failed.get())[0] == hop
                assert heard.endpoint.counters()["tcp_connections"] == 0

    run(scenario())


def test_a_slow_reader_is_given_up(run: Any, listen: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "MAX_UNSENT_BYTES", 100_000)

    async def scenario() -> None:
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            server.listen()
            async with listen() as heard:
                hop = hop_to(server.getsockname())
                while heard.failed.empty():
                    heard.endpoint.send(b"x" * 50_000, hop)
                    await asyncio.sleep(0)
                assert (await heard.failed.get())[0] == hop
                assert heard.endpoint.counters()["tcp_connections"] == 0

    run(scenario())


def test_silent_connections_are_closed(run: Any, listen: Any, options: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "SWEEP_S", 0.02)

    async def scenario() -> None:
        async with listen(connections=ConnectionSettings(silent_s=0.3)) as heard:
            good_reader, good = await asyncio.open_connection(*heard.address)
            good.write(bytes(options))
            _, flow = await heard.received.get()
            reader, silent = await asyncio.open_connection(*heard.address)
            silent.write(b"OPTIONS sip:")
            assert await reader.read() == b""
            heard.endpoint.send(b"alive", flow)
            assert await good_reader.readexactly(5) == b"alive"
            good.close()
            silent.close()

    run(scenario())


def test_connections_that_were_idle_for_too_long_are_closed(
    run: Any, listen: Any, options: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp, "SWEEP_S", 0.02)

    async def scenario() -> None:
        async with listen(connections=ConnectionSettings(silent_s=0.05, idle_s=0.1)) as heard:
            reader, writer = await asyncio.open_connection(*heard.address)
            writer.write(bytes(options))
            await heard.received.get()
            assert await reader.read() == b""
            assert heard.lost.empty()
            writer.close()

    run(scenario())


def test_a_message_that_drips_in_is_not_waited_for(
    run: Any, listen: Any, options: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp, "SWEEP_S", 0.02)

    async def scenario() -> None:
        async with listen(connections=ConnectionSettings(message_s=0.2)) as heard:
            reader, writer = await asyncio.open_connection(*heard.address)
            writer.write(bytes(options) + b"\r\n")  # half a ping is no message
            await heard.received.get()
            for byte in bytes(options):
                writer.write(bytes([byte]))
                await asyncio.sleep(0.01)
                if not heard.lost.empty():
                    break
            flow, reason = await heard.lost.get()
            assert (flow.remote, reason) == (writer.get_extra_info("sockname"), "a message did not end in 0.2 s")
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
            assert heard.endpoint.counters()["connections_lost"] == 1
            writer.close()

    run(scenario())


def test_half_a_ping_is_no_message_that_must_end(
    run: Any, listen: Any, options: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp, "SWEEP_S", 0.02)

    async def scenario() -> None:
        async with listen(connections=ConnectionSettings(message_s=0.05)) as heard:
            reader, writer = await asyncio.open_connection(*heard.address)
            writer.write(bytes(options) + b"\r\n")
            _, flow = await heard.received.get()
            await asyncio.sleep(0.2)
            heard.endpoint.send(b"alive", flow)
            assert await reader.readexactly(5) == b"alive"
            writer.close()

    run(scenario())


def test_connections_are_limited(run: Any, listen: Any, options: Any) -> None:
    async def scenario() -> None:
        async with listen(connections=ConnectionSettings(max_connections=1)) as heard, listen() as other:
            _, first = await asyncio.open_connection(*heard.address)
            first.write(bytes(options))
            await heard.received.get()
            reader, second = await asyncio.open_connection(*heard.address)
            assert await reader.read() == b""
            heard.endpoint.send(bytes(options), hop_to(other.address))
            assert (await heard.failed.get())[1] == "too many connections"
            assert heard.endpoint.counters()["connections_refused"] == 1
            first.close()
            second.close()

    run(scenario())


def test_connections_of_one_source_are_limited(run: Any, listen: Any, options: Any) -> None:
    async def scenario() -> None:
        async with listen(connections=ConnectionSettings(max_per_source=1)) as heard:
            _, first = await asyncio.open_connection(*heard.address)
            first.write(bytes(options))
            await heard.received.get()
            reader, second = await asyncio.open_connection(*heard.address)
            assert await reader.read() == b""
            assert (await heard.lost.get())[1] == "too many connections from there"
            _, third = await asyncio.open_connection(*heard.address, local_addr=("127.0.0.8", 0))
            third.write(bytes(options))
            await heard.received.get()
            first.close()
            await first.wait_closed()
            while heard.endpoint.counters()["tcp_connections"] > 1:  # noqa: ASYNC110  nobody tells
                await asyncio.sleep(0)
            _, fourth = await asyncio.open_connection(*heard.address)
            fourth.write(bytes(options))
            await heard.received.get()
            for writer in (second, third, fourth):
                writer.close()

    run(scenario())


@pytest.mark.parametrize(
    ("host", "source"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:0:1::7", "2001:db8:0:1::/64"),
        ("2001:db8:0:1:ffff::1", "2001:db8:0:1::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
    ],
)
def test_a_source_is_what_one_subscriber_has(host: str, source: str) -> None:
    assert tcp.source_of(host) == source


def test_a_busy_port_is_one_line() -> None:
    with bind(("127.0.0.1", 0), socket.SOCK_STREAM, "tcp") as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartupError, match=rf"^127\.0\.0\.1:{port}/tcp is in use by another process$"):
            bind(("127.0.0.1", port), socket.SOCK_STREAM, "tcp")
