"""The loop of a comparison: starts as many runs as there is room for, and tells of every change until all are over."""

import signal
import time
from collections.abc import Callable, Sequence

from distributed_kd.comparing.room import Room
from distributed_kd.comparing.trial import State, Trial
from distributed_kd.errors import RunError
from distributed_kd.leftovers import ended_with_us
from distributed_kd.training.stopping import StopSignal

BEAT_SECONDS = 0.1
"""Time between two looks at the processes"""

Tell = Callable[[Trial | None], None]
"""Is called at every beat, and with the run that has just begun, was told to stop, or is over"""


def drive(trials: Sequence[Trial], room: Room, at_once: int, options: Sequence[str], gpus: Sequence[str], tell: Tell) -> int:
    """Run them all, at most `at_once` at a time (0: as the room allows); gives 0, or the exit code of a signal.

    `options` are for every run; `gpus` are the names of this machine's, empty where the runs find their own. A signal is
    passed on to the runs, once, which end with a checkpoint each; at a second one all end at once. What goes wrong here
    ends the runs too.
    """
    running: list[Trial] = []

    def start(trial: Trial) -> None:
        share = trial.share = room.take(trial.need)
        if share is None:
            return
        try:
            trial.start(options, ",".join(gpus[number] for _, number in share.gpus) if gpus and share.gpus else None)
        except RunError as error:  # a matter of this one alone: its folder is in use, or damaged
            trial.refuse(error)
            room.give_back(share)
        else:
            running.append(trial)
        tell(trial)

    with ended_with_us(), StopSignal() as stop:
        passed_on = False
        try:
            while running or (not stop and any(trial.state == State.WAITING for trial in trials)):
                if stop and not passed_on:
                    passed_on = True
                    for trial in running:
                        trial.stop(stop.received)
                        tell(trial)
                # In their order, but a small one may pass one that waits for more room.
                for trial in trials:
                    if not stop and trial.state == State.WAITING and not (at_once and len(running) >= at_once):
                        start(trial)
                time.sleep(BEAT_SECONDS)
                for trial in [trial for trial in running if trial.look()]:
                    running.remove(trial)
                    room.give_back(trial.share)
                    tell(trial)
                tell(None)
        finally:
            for trial in running:
                trial.stop(signal.SIGTERM)
            for trial in running:
                trial.wait()
        return stop.exit_code
