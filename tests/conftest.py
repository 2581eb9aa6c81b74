"""Standing here, it puts this folder on the import path; the small environments are known to every test."""

import os
from collections.abc import Iterator

import pytest
import small_environments  # noqa: F401
import torch

# The networks of these tests are small: threads that wait for one another on busy cores cost a hundred times the work.
torch.set_num_threads(1)


@pytest.fixture
def one_core() -> Iterator[None]:
    """Ray with a single core."""
    import ray

    os.environ.setdefault("RAY_AUTH_TOKEN", "0" * 64)
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="error")
    yield
    ray.shutdown()
