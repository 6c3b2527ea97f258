import contextlib
import enum
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencscf.common.config import (
    AtLeast,
    Fqdn,
    IpAddress,
    Key128,
    OrOne,
    Port,
    Range,
    Seconds,
    SipUriText,
    SpecificIpAddress,
    load,
    loads,
)
from opencscf.common.errors import ConfigError

FILE = Path("node.toml")


class Mode(enum.StrEnum):
    BEST_EFFORT = "best-effort"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Peer:
    host: Fqdn
    port: Port = 3868


@dataclass(frozen=True, slots=True)
class Limits:
    low_s: Seconds = 60.0
    high_s: Seconds = 3600.0

    def __post_init__(self) -> None:
        if self.low_s > self.high_s:
            raise ConfigError("low_s is more than high_s")


@dataclass(frozen=True, slots=True)
class Node:
    name: str
    peers: Annotated[tuple[Peer, ...], AtLeast(1)]
    address: IpAddress = "127.0.0.1"
    listen: SpecificIpAddress | None = None
    uri: SipUriText | None = None
    database: Path | None = None
    mode: Mode = Mode.OFF
    key: Key128 = "00" * 16
    share: float = 0.5
    is_open: bool = False
    numbers: tuple[int, ...] = ()
    users: Annotated[int, Range(1)] = 1
    limits: Limits = Limits()
    hosts: dict[str, IpAddress] = field(default_factory=dict)
    pools: dict[str, Annotated[tuple[IpAddress, ...], AtLeast(1), OrOne()]] = field(default_factory=dict)


LEAST = 'name = "a"\npeers = [{ host = "hss.example.org" }]\n'


def faults(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loads(text, Node, FILE)
    for fault in caught.value.faults:
        assert fault.startswith("node.toml: ")
        assert "\n" not in fault
    return [fault.removeprefix("node.toml: ") for fault in caught.value.faults]


def test_least_file_takes_defaults() -> None:
    assert loads(LEAST, Node, FILE) == Node(name="a", peers=(Peer("hss.example.org", 3868),))


def test_every_type_is_read() -> None:
    text = """
name = "a"
address = "2001:db8::1"
uri = "sip:scscf.example.org:5060;lr"
database = "var/node.db"
mode = "best-effort"
share = 1
is_open = true
numbers = [1, 2]
[limits]
low_s = 5
[hosts]
"scscf.example.org" = "127.0.1.12"
[pools]
one = "127.0.1.12"
two = ["127.0.1.12", "127.0.1.13"]
[[peers]]
host = "one.example.org"
port = 1
[[peers]]
host = "two.example.org"
"""
    node = loads(text, Node, Path("/etc/opencscf/node.toml"))
    assert node.peers == (Peer("one.example.org", 1), Peer("two.example.org", 3868))
    assert node.database == Path("/etc/opencscf/var/node.db")
    assert (node.mode, node.share, node.is_open, node.numbers) == (Mode.BEST_EFFORT, 1.0, True, (1, 2))
    assert isinstance(node.share, float)
    assert node.limits == Limits(5.0, 3600.0)
    assert node.hosts == {"scscf.example.org": "127.0.1.12"}
    assert node.pools == {"one": ("127.0.1.12",), "two": ("127.0.1.12", "127.0.1.13")}


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('share = "1h"', 'share: expected a number, got "1h"'),
        ("share = nan", "share: expected a number, got nan"),
        ("is_open = 1", "is_open: expected true or false, got 1"),
        ("numbers = 3", "numbers: expected a list, got 3"),
        ("numbers = [1, true]", "numbers[1]: expected a whole number, got true"),
        ("users = 0", "users: expected a number of at least 1, got 0"),
        ("users = 1.5", "users: expected a whole number, got 1.5"),
        ('mode = "maybe"', 'mode: expected "best-effort" or "off", got "maybe"'),
        ('address = "127.0.0.256"', 'address: expected an IP address, got "127.0.0.256"'),
        ('address = "fe80::1%eth0"', 'address: expected an IP address, got "fe80::1%eth0"'),
        ('listen = "::"', 'listen: expected a specific IP address, got "::"'),
        ('uri = "scscf.example.org"', 'uri: expected a SIP URI, such as "sip:host:5060", got "scscf.example.org"'),
        ('database = ""', 'database: expected a path, got ""'),
        ("limits = 3", "limits: expected a table, got 3"),
        ("limits = { low_s = 0 }", "limits.low_s: expected a number from 0.001 to 1000000000, got 0"),
        ("limits = { low_s = 7200 }", "limits: low_s is more than high_s"),
        ('hosts = { "a b" = "x" }', 'hosts."a b": expected an IP address, got "x"'),
        ('pools = { a = "x" }', 'pools.a: expected an IP address, got "x"'),
        ('pools = { a = ["::1", "x"] }', 'pools.a[1]: expected an IP address, got "x"'),
        ("pools = { a = 3 }", "pools.a: expected an IP address, got 3"),
        ("pools = { a = [] }", "pools.a: expected at least one entry, got an empty list"),
        ('adress = "::1"', 'adress: unknown key, did you mean "address"?'),
        ("limits = { low = 1 }", 'limits.low: unknown key, did you mean "limits.low_s"?'),
        ("limits = { zzz = 1 }", "limits.zzz: unknown key, expected low_s or high_s"),
        (f'address = "{"a" * 100}"', f'address: expected an IP address, got "{"a" * 59}...'),
        ('address = "a\\nb"', 'address: expected an IP address, got "a\\nb"'),
    ],
)
def test_fault_says_key_expectation_and_finding(line: str, fault: str) -> None:
    assert faults(f"{line}\n{LEAST}") == [fault]


def test_all_faults_come_at_once() -> None:
    assert faults('peers = [{ port = 0 }]\naddress = "x"') == [
        "name: missing key, expected text in quotes",
        'peers[0].host: missing key, expected a host name, such as "hss.example.org"',
        "peers[0].port: expected a number from 1 to 65535, got 0",
        'address: expected an IP address, got "x"',
    ]


def test_missing_list_and_empty_list_are_faults() -> None:
    assert faults('name = "a"') == ["peers: missing key, expected an array of tables"]
    assert faults('name = "a"\npeers = []') == ["peers: expected at least one entry, got an empty list"]


def test_a_missing_required_table_names_its_missing_keys() -> None:
    @dataclass(frozen=True)
    class Outer:
        peer: Peer

    with pytest.raises(ConfigError, match=r"peer\.host: missing key"):
        loads("", Outer, FILE)


@pytest.mark.parametrize("value", ['"465B5CE8B199B49FAA5F0A2EE238A6BC0"', "12345"])
def test_a_secret_is_never_shown(value: str) -> None:
    assert faults(f"key = {value}\n{LEAST}") == ["key: expected 32 hexadecimal digits, got another value"]


@pytest.mark.parametrize("text", ["a = ", "= 1", 'a = "', "a = 1\na = 2", "\x00", "x = [" + "[" * 5000])
def test_what_is_not_toml_is_one_line(text: str) -> None:
    (fault,) = faults(text)
    assert fault.startswith("not TOML: ")


def test_unreadable_files_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml: cannot be read: No such file or directory"):
        load(tmp_path / "absent.toml", Node)
    (tmp_path / "latin1.toml").write_bytes(b'name = "\xe9"')
    with pytest.raises(ConfigError, match="not UTF-8 text, at byte 8"):
        load(tmp_path / "latin1.toml", Node)


def test_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_text(LEAST + 'database = "x.db"')
    assert load(tmp_path / "node.toml", Node).database == tmp_path / "x.db"


@given(st.text(max_size=200))
def test_any_text_gives_settings_or_config_error(text: str) -> None:
    with contextlib.suppress(ConfigError):
        loads(text, Limits, FILE)
