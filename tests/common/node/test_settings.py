"""What [sip] does not let pass."""

from pathlib import Path

import pytest

from opencscf.common.config import loads
from opencscf.common.errors import ConfigError
from opencscf.common.node.settings import ListenTransport, SipSettings

FILE = Path("node.toml")
UDP = '{ address = "127.0.0.1" }'
WS = '{ address = "127.0.0.1", port = 8080, transports = ["ws"] }'
TLS = '{ address = "127.0.0.1", port = 5061, transports = ["tls"] }'
WITH_FILES = '\n[tls]\ncertificate = "own.pem"\nkey = "/etc/own.key"\n'


def test_least_settings_listen_on_udp_and_tcp_only() -> None:
    settings = loads(f"listen = [{UDP}]", SipSettings, FILE)
    assert settings.listen[0].transports == (ListenTransport.UDP, ListenTransport.TCP)
    assert settings.tls is None
    assert settings.websocket.origins == ()


def test_every_transport() -> None:
    text = f'listen = [{UDP}, {WS}, {TLS}]\nwebsocket.origins = ["https://phone.example:8443", "*"]{WITH_FILES}'
    settings = loads(text, SipSettings, Path("/etc/x/node.toml"))
    assert settings.tls is not None
    assert (str(settings.tls.certificate), str(settings.tls.key)) == ("/etc/x/own.pem", "/etc/own.key")
    assert [listener.is_for_browsers for listener in settings.listen] == [False, True, False]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            '[[listen]]\naddress = "127.0.0.1"\ntransports = ["udp", "tcp", "tls"]',
            'listen[0]: transports: "tcp" and "tls" cannot share a port: each needs a [[sip.listen]]',
        ),
        (f"listen = [{TLS}]", 'tls: missing table, expected certificate and key for "tls"'),
        (f"listen = [{UDP}, {WS.replace('ws', 'wss')}]", 'tls: missing table, expected certificate and key for "wss"'),
        (
            f"listen = [{WS}]",
            'listen: expected one with "udp", "tcp" or "tls" too, since no node connects to a WebSocket',
        ),
        (
            f'listen = [{UDP}]\nwebsocket.origins = ["phone.example"]',
            'websocket.origins[0]: expected a web origin such as "https://phone.example", or "*", got "phone.example"',
        ),
        (f'listen = [{UDP}]\n[tls]\ncertificate = "own.pem"', "tls.key: missing key, expected a path"),
    ],
)
def test_faults(text: str, fault: str) -> None:
    with pytest.raises(ConfigError) as raised:
        loads(text, SipSettings, FILE)
    assert raised.value.faults == (f"node.toml: {fault}",)
