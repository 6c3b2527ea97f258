"""The S-CSCF as a process: `scscf --config scscf.toml`."""

import sys

from opencscf.common.node.process import Client, Context, Node, run
from opencscf.diameter.connection import DiameterClient
from opencscf.diameter.cx import MultimediaAuthRequest, ServerAssignmentRequest
from opencscf.diameter.dictionary import Application
from opencscf.scscf.config import ScscfConfig
from opencscf.scscf.core import SCscf
from opencscf.scscf.state import REGISTRATION_KIND


def build(config: ScscfConfig, context: Context) -> Node:
    """Wire shell to core."""
    cx = DiameterClient(config.cx, Application.CX, clock=context.clock, log=context.log, trace=context.trace)
    core = SCscf(config, context.own, context.ids, context.store.load(REGISTRATION_KIND))
    askers = {MultimediaAuthRequest: cx.ask, ServerAssignmentRequest: cx.ask}
    return Node(core, askers, (Client("cx", cx, is_awaited=config.cx.require_at_start),))


def main() -> int:
    """Run an S-CSCF."""
    return run("scscf", ScscfConfig, build)


if __name__ == "__main__":
    sys.exit(main())
