"""How often the properties are tried: the same inputs each time, but more and new ones for `make test-faults`."""

import os

from hypothesis import HealthCheck, settings

LONG = bool(os.environ.get("CODECSEP_LONG_TESTS"))
TRIES = settings(
    max_examples=3000 if LONG else 300,
    derandomize=not LONG,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
FEW = settings(TRIES, max_examples=1000 if LONG else 100)
