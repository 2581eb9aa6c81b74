"""On what a figure was taken: processor, cores, accelerator, versions and date."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch


def machine() -> dict[str, str]:
    """What a reader must know to compare a figure with another's; JSON-ready."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return {
        "processor": processor(),
        "cores": f"{len(os.sched_getaffinity(0))} cores",
        "gpu": gpu,
        "versions": ", ".join([f"Python {platform.python_version()}", *_versions("torch", "ray", "gymnasium", "numpy")]),
        "date": datetime.now(UTC).date().isoformat(),
    }


def processor() -> str:
    """The processor's name, as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _versions(*packages: str) -> list[str]:
    found = []
    for package in packages:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return found
