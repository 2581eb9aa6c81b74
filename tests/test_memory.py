"""memory.keep_freed, in a process of its own: what it sets cannot be taken back."""

import subprocess
import sys

import pytest

FAULTS = """
import resource
import numpy as np
from distributed_kd.memory import keep_freed

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        first, second = np.ones(2**20, np.float32), np.ones(2**20, np.float32)
        del first, second
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

keep_freed()
faults()  # the first ones are the system's
print(faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="page faults are counted so on Linux alone")
def test_large_arrays_are_made_of_memory_that_earlier_ones_left():
    told = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, timeout=120, check=True)
    # 100 arrays of 1,024 pages each: as it comes, at least every second of them is the system's anew.
    assert int(told.stdout) < 1024
