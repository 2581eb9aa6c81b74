"""How a comparison ends: its table over seeds, the report on all its runs, what failed, and how to go on."""

import sys
from collections.abc import Sequence
from pathlib import Path

from distributed_kd.comparing.trial import State, Trial
from distributed_kd.reports.groups import finished
from distributed_kd.reports.over_seeds import print_over_seeds
from distributed_kd.reports.report import write_report
from distributed_kd.run_file_faults import one_line


def told(trials: Sequence[Trial], path: Path, command: str, code: int) -> int:
    """Tell of the runs, and write the report into the comparison's folder; gives the exit code.

    `code` is that of the signal that ended it, or 0: then it is the code of the first run that failed, if one did.
    """
    done = [trial for trial in trials if trial.state == State.FINISHED]
    print()
    if done:
        print_over_seeds(finished([path]), sys.stdout)
    if len(done) < len(trials):
        print(f"{len(done)} of {len(trials)} runs are finished" + (", and only these are in the table" if done else ""))
    if any(trial.folder.config_file.is_file() for trial in trials):
        report = write_report([path], path, command)
        print(f"report    {report[0]}")
    if len(done) < len(trials):
        print(f"go on     {one_line(command)}")
    print(f"compare   {path}", flush=True)
    failed = [trial for trial in trials if trial.state == State.FAILED]
    for trial in failed:
        why = trial.why.removesuffix(".")
        print(f"error: {trial.name} failed, {why}. {trial.log} has all that it printed", file=sys.stderr)
    stopped = [trial for trial in trials if trial.state == State.STOPPED]
    return code or next((trial.exit_code for trial in [*failed, *stopped]), 0)
