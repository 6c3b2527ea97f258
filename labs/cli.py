"""The `opencscf` command: `opencscf lab run|render|check`, `opencscf bench sip|wire|core`."""

from __future__ import annotations

import argparse
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from opencscf.common.errors import ConfigError, OpencscfError
from opencscf.labs.config import DEFAULT_LAB, load_lab

if TYPE_CHECKING:
    from collections.abc import Sequence

CONFIG_FAULT = 2
FAILURE = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; a fault is one line per reason on stderr and a status that is not zero."""
    options, unknown = _parser().parse_known_args(arguments)
    if unknown:
        options.parser.error(f"unrecognized arguments: {' '.join(unknown)}")  # with the usage of the command meant
    try:
        status: int = options.command(options)
        sys.stdout.flush()
    except ConfigError as error:
        print(*error.faults, sep="\n", file=sys.stderr)
        return CONFIG_FAULT
    except OpencscfError as error:
        print(*(f"opencscf: {line}" for line in str(error).splitlines()), sep="\n", file=sys.stderr)
        return FAILURE
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output has gone; python would complain once more at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILURE
    return status


def default_directory() -> Path:
    """Choose where a lab keeps its settings, logs and databases (XDG base directories)."""
    state = os.environ.get("XDG_STATE_HOME", "")
    home = Path(state) if Path(state).is_absolute() else Path("~/.local/state").expanduser()
    return home / "opencscf" / "lab"


def _run(options: argparse.Namespace) -> int:
    from opencscf.labs import lab  # noqa: PLC0415  asyncio and the UEs are not needed for --help

    try:
        lab.run(load_lab(options.config), options.dir.resolve(), once=options.once)
    except lab.Interrupted as interrupted:
        return 128 + interrupted.number
    return 0


def _render(options: argparse.Namespace) -> int:
    from opencscf.labs import render  # noqa: PLC0415  see _run

    for path in render.write(load_lab(options.config), options.dir.resolve()).values():
        print(path)
    return 0


def _check(options: argparse.Namespace) -> int:
    load_lab(options.config)
    print(f"{options.config}: no fault found")
    return 0


def _bench_sip(options: argparse.Namespace) -> int:
    from opencscf.labs.bench import sip  # noqa: PLC0415  see _run

    sip.run(as_json=options.json)
    return 0


def _bench_wire(options: argparse.Namespace) -> int:
    from opencscf.labs.bench import wire  # noqa: PLC0415  see _run

    wire.run(as_json=options.json)
    return 0


def _bench_core(options: argparse.Namespace) -> int:
    from opencscf.labs.bench import core  # noqa: PLC0415  see _run
    from opencscf.labs.bench.cores import Peer  # noqa: PLC0415
    from opencscf.labs.bench.plan import Part, Plan  # noqa: PLC0415

    plan = Plan.of(
        peers=[Peer(name) for name in options.peers],
        registrations_per_s=options.registrations_per_s,
        calls_per_s=options.calls_per_s,
        parts=[Part(name) for name in options.parts],
        users=options.users,
        repeat=options.repeat,
        is_quick=options.quick,
    )
    core.run(plan, options.json)
    return 0


def _rate(text: str) -> float:
    return _between(1, 20_000, text, "a rate a second")


def _users(text: str) -> int:
    return round(_between(1_000, 500_000, text, "a number of users"))


def _repetitions(text: str) -> int:
    return round(_between(1, 100, text, "a number"))


def _between(least: int, most: int, text: str, what: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not least <= number <= most:
        raise argparse.ArgumentTypeError(f'expected {what} from {least} to {most}, got "{text}"')
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="opencscf", description="OpenCSCF: an IMS core for VoLTE labs.")
    groups = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    lab = groups.add_parser("lab", help="a whole lab core on this machine", description="A whole lab on this machine.")
    commands = lab.add_subparsers(title="commands", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="start the core, register two UEs, make a call, and stay up until Ctrl-C")
    run.add_argument("--once", action="store_true", help="end after the call; status 0 if all went well")
    run.set_defaults(command=_run, parser=run)
    render = commands.add_parser("render", help="write the settings of the five processes, start nothing")
    render.set_defaults(command=_render, parser=render)
    check = commands.add_parser("check", help="say what is wrong with the lab's file")
    check.set_defaults(command=_check, parser=check)

    bench = groups.add_parser("bench", help="what the core costs on this machine", description="What the core costs.")
    benches = bench.add_subparsers(title="commands", required=True, metavar="COMMAND")
    sip = benches.add_parser("sip", help="measure the CPU time of SIP and Cx messages, in some seconds")
    sip.add_argument("--json", action="store_true", help="write JSON in place of a table")
    sip.set_defaults(command=_bench_sip, parser=sip)

    wire = benches.add_parser("wire", help="measure the CPU time of receiving and sending datagrams, in some seconds")
    wire.add_argument("--json", action="store_true", help="print JSON instead of a table")
    wire.set_defaults(command=_bench_wire, parser=wire)

    core = benches.add_parser("core", help="measure the core under load, side by side with Kamailio's, using SIPp")
    core.add_argument("--quick", action="store_true", help="one rate of each, no search, no memory: a few minutes")
    core.add_argument(
        "--peers",
        nargs="+",
        default=[],
        choices=["ours", "ours-durable", "kamailio", "kamailio-fm"],
        metavar="PEER",
        help="ours, ours-durable (with its log and store), kamailio, kamailio-fm; default: all but ours-durable",
    )
    core.add_argument("--registrations-per-s", nargs="+", type=_rate, default=[], metavar="N", help="default: 300 600")
    core.add_argument("--calls-per-s", nargs="+", type=_rate, default=[], metavar="N", help="default: 100 200")
    core.add_argument(
        "--parts",
        nargs="+",
        default=[],
        choices=["load", "search", "memory", "flat", "profile"],
        metavar="PART",
        help="load (CPU time and latency), search (the highest rates), memory; default: these three; flat (CPU time"
        " with few users and with many), profile (where the time goes, which needs perf)",
    )
    core.add_argument(
        "--users",
        nargs="+",
        type=_users,
        default=[],
        metavar="N",
        help="for memory (default: 10000 50000) and flat (default: 1000 100000)",
    )
    core.add_argument("--repeat", type=_repetitions, default=1, metavar="N", help="the least disturbed run counts")
    core.add_argument("--json", type=Path, metavar="FILE", help="write every run there too")
    core.set_defaults(command=_bench_core, parser=core)

    for one in (run, render, check):
        one.add_argument("--config", type=Path, default=DEFAULT_LAB, metavar="FILE", help="default: %(default)s")
    for one in (run, render):
        one.add_argument("--dir", type=Path, default=default_directory(), metavar="DIR", help="default: %(default)s")
    return parser


if __name__ == "__main__":
    sys.exit(main())
