"""Shared settings: one thread a worker, reproducible Hypothesis examples, and no silent skip in CI."""

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before numpy is imported

import hypothesis
import pytest

hypothesis.settings.register_profile("mrisim", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("mrisim")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a CI run that skipped anything but GPU tests: a missing package must show."""
    if not os.environ.get("CI") or hasattr(session.config, "workerinput"):
        return
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = [report for report in reporter.stats.get("skipped", []) if "gpu" not in report.keywords]
    if skipped:
        reporter.write_line(f"{len(skipped)} tests other than GPU tests were skipped in CI:", red=True)
        for report in skipped:
            reporter.write_line(f"  {report.nodeid}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
