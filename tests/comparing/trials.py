"""Runs of a comparison that never run: they end when they are told, for the tests of who starts when and of the screen."""

from dataclasses import dataclass, field
from types import SimpleNamespace

from distributed_kd.comparing.room import Need
from distributed_kd.comparing.trial import State
from distributed_kd.errors import ConfigurationError


@dataclass
class FakeProgress:
    env_steps: int = 0
    share: float = 0.0
    done: float = 0.0
    seconds_left: float | None = None
    teacher_return: float | None = None
    normalised: dict[str, float] = field(default_factory=dict)


@dataclass
class Fake:
    """Ends at its n-th look, with this code."""

    name: str
    looks: int = 1
    code: int = 0
    cpus: float = 1.0
    refused: bool = False
    state: State = State.WAITING
    why: str = ""
    goes_on: bool = False
    progress: FakeProgress = field(default_factory=FakeProgress)
    share: object = None
    started_with: tuple | None = None
    stopped_with: list[int] = field(default_factory=list)
    waited: bool = False

    @property
    def need(self) -> Need:
        return Need([{"CPU": self.cpus}])

    @property
    def variant(self):
        return SimpleNamespace(config=SimpleNamespace(env=SimpleNamespace(id="CartPole-v1")))

    @property
    def is_over(self) -> bool:
        return self.state in (State.FINISHED, State.STOPPED, State.FAILED)

    @property
    def is_running(self) -> bool:
        return self.state in (State.RUNNING, State.ENDING)

    def start(self, options, devices):
        if self.refused:
            raise ConfigurationError("the folder is in use")
        self.state, self.started_with = State.RUNNING, (tuple(options), devices)

    def refuse(self, error):
        self.state, self.code, self.why = State.FAILED, error.exit_code, error.lines[-1]

    def look(self) -> bool:
        self.looks -= 1
        if self.looks > 0:
            return False
        stopped = self.state == State.ENDING
        self.state = State.STOPPED if stopped else State.FAILED if self.code else State.FINISHED
        return True

    def stop(self, number):
        self.stopped_with.append(number)
        self.state = State.ENDING

    def wait(self):
        self.waited = True
