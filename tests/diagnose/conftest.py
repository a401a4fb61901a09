"""The small cohort, made once, and a cache of its own."""

from pathlib import Path

import pytest

from diagnose.testing import write_cohort


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small cohort; read-only."""
    return write_cohort(tmp_path_factory.mktemp("cohort"))


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory):
    """Keep cached images out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MRISIM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
