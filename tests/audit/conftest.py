"""What the tests of the audit share."""

import pytest
from joblib import parallel_config


@pytest.fixture(autouse=True)
def _threads():
    """Other processes take seconds to start: a test that needs one says so."""
    with parallel_config("threading"):
        yield
