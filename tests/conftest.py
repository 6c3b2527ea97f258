"""What holds for the whole test run: its order, and that CI does without no test of real peers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

# Timing decides no test: a busy machine is slow, not wrong. CI draws the same examples in every run, so that what fails
# there is the change's own; everybody else's runs look for new ones.
hypothesis.settings.register_profile(
    "opencscf",
    deadline=None,
    derandomize=os.environ.get("CI") == "true",
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("opencscf")

PROCESSES = Path(__file__).parent / "processes"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slow tests, which start processes, last."""
    items.sort(key=lambda item: PROCESSES in item.path.parents)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where CI is true, a skipped test of tests/processes has failed: it would have shown something."""
    report = yield
    if report.skipped and is_needed(item.path) and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, but CI must run it: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Hold the same for a module that skips itself."""
    report = yield
    if report.skipped and is_needed(collector.path):
        report.outcome = "failed"
        report.longrepr = f"skipped, but CI must run it: {report.longrepr}"
    return report


def is_needed(path: Path) -> bool:
    """Tell whether tests at this place must not be skipped here."""
    return os.environ.get("CI") == "true" and (path == PROCESSES or PROCESSES in path.parents)
