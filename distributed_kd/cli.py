"""The command line: which command was asked for, and what its end means for the exit code.

The commands themselves are in `commands.py`; flags of the run file are read in `flags.py`.
"""

import os
import sys
import traceback
from collections.abc import Sequence

from distributed_kd import run_file
from distributed_kd.commands import COMMANDS
from distributed_kd.errors import INTERRUPTED, ConfigurationError, InternalError, Problem, ResourceError, RunError

USAGE = """\
distributed_kd: one run trains a DQN teacher and a family of small students, and tells what small costs in score.

usage: python launch.py COMMAND [...]

  train [PRESET | FILE.toml] [--KEY VALUE ...] [--out DIR]   train a teacher and its students; no preset means cartpole
  compare FILE... --out DIR [--seeds N] [--grid KEY=A,B ...] the same over seeds, files and values, and the report
  resume DIR [--KEY VALUE ...]                               go on from the newest good checkpoint of a run
  report DIR... [--out DIR | --serve]                        report.html, .csv and .json from runs, finished or not
  evaluate RUN --policy NAME [--against NAME] [--video DIR]  play full greedy episodes with saved weights
  export RUN --student NAME --format FORMAT --out FILE       write a policy as a file to deploy, checked first
  dataset RUN --states N --out FILE.npz                      draw a fixed set of states, for train --data FILE.npz
  networks [PRESET | FILE.toml] [--json]                     what each network of a run costs, before it is trained
  bench [NAME ...] [--json FILE]                             what this machine can do, beside bare limits and peers
  presets                                                    list the presets
  doctor                                                     tell whether this machine can run, and what is missing

  python launch.py train            the main job, on CartPole: about a minute and a half on two cores
  python launch.py COMMAND --help   the options of a command

Exit codes: 0 done, 2 configuration, 3 environment, 4 checkpoint, 5 resources, 6 Ray, 7 storage, 8 diverged, 9 internal,
75 stopped by SIGTERM and 130 by Ctrl-C, both with a checkpoint to resume from.
"""

RAYS_OWN_WORDS = r"Task \w+\.\w+ failed\.|A worker died or was killed while executing a task"
"""On an actor that died, which Ray prints amid our lines; what died, and what becomes of it, the run tells itself"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and give its exit code; errors are one line each on stderr."""
    os.umask(os.umask(0o022) | 0o022)  # nobody else may write what a run reads again, whatever the shell allows
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", RAYS_OWN_WORDS)  # heeded from the import of Ray on
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    if not words or words[0] in ("-h", "--help", "help"):
        print(USAGE, end="")
        return 0
    try:
        if words[0] not in COMMANDS:
            close = run_file.nearest(words[0], COMMANDS)
            fix = f"Did you mean {close}?" if close else f"The commands are {', '.join(COMMANDS)}"
            raise ConfigurationError(Problem("unknown command", "command", words[0], "there is none of this name", fix))
        return COMMANDS[words[0]](words[1:])
    except RunError as error:
        if debug:
            traceback.print_exc()
        for line in error.lines:
            print(f"error: {line}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # the last line of defence: a fault of the program, told in one line
        if debug:
            traceback.print_exc()
        text = " ".join(str(error).split())
        if isinstance(error, MemoryError) or any(words in text for words in ("can't allocate memory", "out of memory")):
            fix = "Lower replay.capacity, replay.batch_size or the sizes of the networks"
            told: RunError = ResourceError(f"out of memory ({type(error).__name__}): {text.removesuffix('.')}. {fix}")
        else:
            told = InternalError(f"{type(error).__name__}: {text}. That is a fault of the program; --debug shows where")
        print(f"error: {told}", file=sys.stderr)
        return told.exit_code


if __name__ == "__main__":  # the runs of a comparison are started so
    sys.exit(main())
