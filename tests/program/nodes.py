"""A Ray cluster whose nodes come and go, in another process."""

import os
import subprocess
import sys
from pathlib import Path

from launching import DEADLINE


class Nodes:
    """The cluster, with a head of so many CPUs; the head is not lost here, since the run is steered from it."""

    def __init__(self, head_cpus: int):
        script = Path(__file__).with_name("changing_nodes.py")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen([sys.executable, script, str(head_cpus)], env=dict(os.environ), **pipes)
        self.address = next(line.strip() for line in self._process.stdout if line[:1].isdigit())

    def _ask(self, word: str, given: object) -> str:
        self._process.stdin.write(f"{word} {given}\n")
        self._process.stdin.flush()
        return next(line for line in self._process.stdout if line.startswith("answer ")).removeprefix("answer ").strip()

    def add(self, cpus: int, *labels: str) -> str:
        return self._ask("add", ",".join([str(cpus), *labels]))

    def remove(self, node: str) -> None:
        self._ask("remove", node)

    def drain(self, node: str) -> None:
        self._ask("drain", node)

    def end(self) -> None:
        self._process.stdin.close()
        self._process.wait(DEADLINE)
