"""A CSCF that cannot start says why in one line; one that can starts, and stops when it is told to."""

import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

NODES = ("pcscf", "icscf", "scscf")
HERE = "127.0.6.30"
OWN_TABLES = {
    "pcscf": '[pcscf]\nvisited_network = "ims.test"\nicscf = "sip:icscf.ims.test"\n',
    "icscf": '[icscf]\ndomain = "ims.test"\n[[icscf.scscf]]\nname = "sip:scscf.ims.test"\n',
    "scscf": '[scscf]\ndomain = "ims.test"\nserver_name = "sip:scscf.ims.test"\nicscf = "sip:icscf.ims.test"\n',
}
DIAMETER = f"""
origin_host = "node.ims.test"
origin_realm = "ims.test"
destination_realm = "ims.test"
peers = [{{ host = "peer.ims.test", address = "{HERE}" }}]
"""


def settings(name: str, *, listen: str = HERE, port: int = 5060, more: str = "", require_at_start: bool = False) -> str:
    text = f'[[sip.listen]]\naddress = "{listen}"\nport = {port}\n{OWN_TABLES[name]}{more}\n'
    if name == "pcscf":
        return text + f"[rx]{DIAMETER}"  # best effort: calls go on without it
    return text + f"[cx]{DIAMETER}require_at_start = {str(require_at_start).lower()}\n"


@contextlib.contextmanager
def taken(kind: socket.SocketKind) -> Iterator[int]:
    """Take a port as another process would."""
    with socket.socket(socket.AF_INET, kind) as other:
        other.bind((HERE, 0))
        if kind is socket.SOCK_STREAM:
            other.listen()
        yield other.getsockname()[1]


@pytest.mark.parametrize("name", NODES)
def test_wrong_settings(start_node: Callable[..., Any], name: str) -> None:
    good = settings(name)
    wrong = good.replace('address = "127', 'adress = "127', 1).replace("port = 5060", 'port = "high"')
    with (
        start_node(name, good, "--check-config") as fine,
        start_node(name, wrong, "--check-config") as checked,
        start_node(name, good.replace("]", "", 1)) as no_toml,
        start_node(name, None) as no_file,
    ):
        assert (fine.end(), fine.log) == (0, "")
        faults = [
            'sip.listen[0].adress: unknown key, did you mean "sip.listen[0].address"?',
            "sip.listen[0].address: missing key, expected a specific IP address",
            'sip.listen[0].port: expected a number from 1 to 65535, got "high"',
        ]
        assert (checked.end(), sorted(checked.log.splitlines())) == (
            2,
            sorted(f"{checked.config}: {f}" for f in faults),
        )
        assert (no_toml.end(), no_toml.log.count("\n")) == (2, 1)
        assert no_toml.log.startswith(f"{no_toml.config}: not TOML: ")
        assert (no_file.end(), no_file.log) == (2, f"{no_file.config}: cannot be read: No such file or directory\n")


@pytest.mark.parametrize("name", NODES)
def test_host_does_not_let_it_start(start_node: Callable[..., Any], name: str) -> None:
    store = '[store]\npath = "/proc/node.db"\n'
    with contextlib.ExitStack() as stack:
        udp, tcp, health = (stack.enter_context(taken(kind)) for kind in (socket.SOCK_DGRAM, *[socket.SOCK_STREAM] * 2))
        cases = {
            f"sip.listen: {HERE}:{udp}/udp is in use by another process": settings(name, port=udp),
            f"sip.listen: {HERE}:{tcp}/tcp is in use by another process": settings(name, port=tcp),
            f"health: {HERE}:{health}/tcp is in use by another process": settings(
                name, more=f'[health]\naddress = "{HERE}"\nport = {health}\n'
            ),
            "sip.listen: 192.0.2.1:5060/udp cannot be opened: this host does not have the address": settings(
                name, listen="192.0.2.1"
            ),
            "store.path: cannot open /proc/node.db: No such file or directory": settings(name, more=store),
        }
        # those that listen on the usual port come one after the other
        for reason, text in cases.items():
            with start_node(name, text) as node:
                assert (node.end(), node.log) == (1, f"{name}: {reason}\n")


def test_unreachable_peers(start_node: Callable[..., Any]) -> None:
    """No HSS, no start; without a PCRF calls can be made."""
    with (
        start_node("icscf", settings("icscf", port=5061, require_at_start=True)) as icscf,
        start_node("scscf", settings("scscf", port=5062, require_at_start=True)) as scscf,
        start_node("pcscf", settings("pcscf", port=5063)) as pcscf,
    ):
        pcscf.wait_for(" ready ")
        for name, node in (("icscf", icscf), ("scscf", scscf)):
            assert node.end() == 1
            last = node.log.splitlines()[-1]
            assert last == f"{name}: cx: no peer can be asked: peer.ims.test ({HERE}:3868): connection refused"
        pcscf.wait_for("connection refused")


@pytest.mark.parametrize("name", NODES)
def test_stop_while_it_waits_for_its_peer(start_node: Callable[..., Any], name: str) -> None:
    with start_node(name, settings(name, require_at_start=True)) as node:
        node.wait_for("connection refused")
        node.process.terminate()
        assert node.end(5) == 0
