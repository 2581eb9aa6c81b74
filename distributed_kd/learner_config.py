"""The learner's table of the run file."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from distributed_kd.checks import at_least
from distributed_kd.errors import Problem


@dataclass(frozen=True)
class LearnerConfig:
    """Where and how the networks learn."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: cuda where there is one"""
    updates_per_call: int = 32
    """updates between two publications of weights to the rollouts"""
    students: Literal["auto", "loop", "together"] = "auto"
    """how students learn: each by itself, all in one computation (the same but for rounding), or auto: whichever is found
    faster at the start, and each by itself in the inline runner, which is to repeat to the bit whoever learns beside it"""
    precision: Literal["float32", "bfloat16"] = "float32"
    """of what teacher and students compute; bfloat16: by autocast, where a GPU or processor is faster with it; losses,
    gradients, and small networks of linear layers alone stay in float32"""
    threads: int = 1
    """of PyTorch, where the learner runs on a CPU: more help large convolutions, if cores are free of rollouts; small
    networks are slower with them. The inline runner keeps to one, as its results are to repeat to the bit"""
    cuda_graph: bool = False
    """record the update of teacher and students once and repeat it by one launch, so that a GPU need not be told of each
    operation; the same is learned but for rounding. Not yet tried on a GPU"""
    compile: bool = False
    """let PyTorch compile the networks, but for linear layers alone, which are fast without: for GPUs, as on a processor it
    gains nothing; takes up to minutes at the start"""
    skips: int = 10
    """updates of one network in a row, skipped as its gradient or loss was not finite, with which the run goes back to its
    newest checkpoint, and the next time ends; looked at when losses are read, on Ray after updates_per_call updates"""
    replicas: int = 1
    """learners side by side, where there are GPUs each on one of its own: each takes an equal part of every batch, and all
    step by the mean of their gradients; relational and similarity compare the states of a part alone"""

    @property
    def needs_gpu(self) -> str:
        """The key by which a GPU is needed; empty where none is."""
        return "device" if self.device == "cuda" else "cuda_graph" if self.cuda_graph else ""

    def problems(self, key: str = "learner") -> Iterator[Problem]:
        yield from at_least(f"{key}.updates_per_call", self.updates_per_call, 1, "bad number of updates")
        yield from at_least(f"{key}.threads", self.threads, 1, "bad number of threads")
        yield from at_least(f"{key}.skips", self.skips, 1, "bad number of skipped updates")
        yield from at_least(f"{key}.replicas", self.replicas, 1, "bad number of replicas")
        if self.cuda_graph and self.device == "cpu":
            why, fix = "learner.device is cpu, and only a GPU repeats what was recorded", f"Set --{key}.cuda_graph false"
            yield Problem("no GPU to record on", f"{key}.cuda_graph", "true", why, fix)
        if self.cuda_graph and self.replicas > 1:
            why, fix = "replicas exchange gradients within an update, which is not recorded", f"Set --{key}.cuda_graph false"
            yield Problem("recorded and shared", f"{key}.cuda_graph", "true", why, fix)
