"""Whether this machine or cluster can run, and what is missing: what `doctor` prints."""

import importlib.util
import platform
import shutil
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import torch

from distributed_kd import presets, run_file
from distributed_kd.errors import RunError
from distributed_kd.training.connection import joined, nodes
from distributed_kd.training.plan import cores, make_plan
from distributed_kd.training.preflight import check_address

EXTRAS = {"video": ("moviepy", "pygame"), "dev": ("pytest", "hypothesis", "ruff", "tensorboard")}
LEAST_SHARED_MEMORY = 512 * 2**20


def examine(address: str | None) -> int:
    """Print a line for each thing looked at; gives 0 where the main job can run, else its exit code."""
    print(f"ok       Python {platform.python_version()}, {platform.system()} {platform.machine()}")
    for package in ("torch", "ray", "gymnasium", "numpy", "tensorboardX"):
        print(f"ok       {package} {version(package)}")
    print(f"ok       {cores()} cores, GPU: {torch.cuda.get_device_name() if torch.cuda.is_available() else 'none'}")
    for line in _shared_memory():
        print(line)
    for extra, modules in EXTRAS.items():
        missing = [module for module in modules if importlib.util.find_spec(module) is None]
        print(f'note     extra {extra}: {", ".join(missing)} not installed; pip install "distributed-kd[{extra}]"' if missing
              else f"ok       extra {extra}")  # fmt: skip
    try:
        if address:
            check_address(address)
        began = time.monotonic()
        with joined(address):
            there = nodes()
            print(f"ok       Ray {'joined' if address else 'started'} in {time.monotonic() - began:.1f} s: "
                  f"{sum(node.cpus for node in there):g} CPU, {sum(node.gpus for node in there):g} GPU")  # fmt: skip
        make_plan(run_file.decode(presets.read("cartpole")), there)
    except RunError as error:
        for line in error.lines:
            print(f"missing  {line}")
        return error.exit_code
    print("ok       the main job can run: python launch.py train")
    return 0


def _shared_memory() -> Iterator[str]:
    """Ray keeps objects in shared memory; small containers have too little of it."""
    if Path("/dev/shm").is_dir():
        free = shutil.disk_usage("/dev/shm").free
        kind = "ok      " if free >= LEAST_SHARED_MEMORY else "note    "
        advice = "" if free >= LEAST_SHARED_MEMORY else "; Ray will be slow, give the container more with --shm-size=2g"
        yield f"{kind} shared memory: {free / 2**30:.1f} GiB free{advice}"
