"""The same work by others, beside teacher and four students: CleanRL's settings in bare PyTorch, RLlib, SB3."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from statistics import median

from distributed_kd.bench import cleanrl, rllib, stable_baselines
from distributed_kd.bench.contenders import SETTLE, UNBOUNDED, Contender, contending, our_run
from distributed_kd.bench.figures import Figure, Options, Table
from distributed_kd.bench.rounds import Rounds, compared, interleaved
from distributed_kd.run_file import merge

STUDENTS = ((64, 64), (32, 32), (16, 16), (8, 8))
"""hidden layers of the four students that ours trains beside the teacher"""
CLEANRL_GOAL, RLLIB_GOAL = 1.5, 20.0
"""environment steps a second over the peer's"""
OURS = "ours, with 4 students"
COMMON = (
    "Environment steps a second on CartPole-v1 while learning, exploration at its end, no evaluations, no checkpoints, in "
    "turns; one warm-up round. Ours: 2 rollout actors of 16 environments on Ray, the teacher with the peer's network, batch "
    "and pace, and four students down to 8-8; the peer: the teacher alone."
)


def measure(options: Options) -> list[Table]:
    """A table for each peer; of one that is not installed it says how to install it."""
    return [_cleanrl(options), _rllib(options), _stable_baselines(options)]


def tables(
    hidden: tuple[int, ...], batch_size: int, samples_per_insert: float, capacity: int, learning_rate: float,
    target_update: float, epsilon: float, teacher: Mapping[str, object] = {}, replay: Mapping[str, object] = {},
) -> dict[str, object]:  # fmt: skip
    """A run at a peer's settings; `target_update` in updates, `teacher` and `replay` are laid over theirs."""
    students = {
        f"h{width}": {"network": {"hidden": [width, second]}, "loss": "kl", "temperature": "auto"}
        for width, second in STUDENTS
    }
    own = {
        "teacher": {
            "network": {"kind": "mlp", "hidden": list(hidden)},
            "learning_rate": learning_rate,
            "double": False,
            "target_update": target_update,
            "exploration": {"start": epsilon, "end": epsilon},
            **teacher,
        },
        "students": students,
        "replay": {
            "capacity": capacity,
            "warmup": 1_000,
            "batch_size": batch_size,
            "samples_per_insert": samples_per_insert,
            **replay,
        },
    }
    return merge(UNBOUNDED, own)


def _cleanrl(options: Options) -> Table:
    theirs = cleanrl.Settings()
    asked = theirs.batch_size / theirs.train_every
    ours = tables(
        theirs.hidden, theirs.batch_size, asked, theirs.capacity, theirs.learning_rate,
        float(theirs.target_every // theirs.train_every), theirs.epsilon,
    )  # fmt: skip
    with (
        contending(cleanrl.train) as peer,
        contending(our_run, ours, "ray", options.address, settle=SETTLE) as on_ray,
        contending(our_run, ours, "inline", None) as inline,
    ):
        both = {"on Ray": on_ray, "inline": inline}
        rounds = _rounds(both, peer, "CleanRL's loop", theirs.train_every, options)
        figures = [
            compared(OURS, "env steps/s", rounds, "on Ray", "CleanRL's loop", at_least=CLEANRL_GOAL),
            compared(f"{OURS}, inline", "env steps/s", rounds, "inline", "CleanRL's loop"),
            _intensity(on_ray, peer, theirs.batch_size),
        ]
    how = (
        f"{COMMON} The peer is the loop of CleanRL's dqn.py in bare PyTorch on one thread: 120-84, batch 128, one update "
        "for 10 steps, one environment. Inline: ours in one process, on one core."
    )
    return Table("CleanRL's settings", how, figures)


def _stable_baselines(options: Options) -> Table:
    theirs = stable_baselines
    asked = theirs.BATCH_SIZE * theirs.UPDATES / theirs.TRAIN_EVERY
    # Its target is copied every 10 steps, but nothing is learned between two rounds of updates: once for each round.
    ours = tables(
        theirs.HIDDEN, theirs.BATCH_SIZE, asked, theirs.CAPACITY, theirs.LEARNING_RATE, float(theirs.UPDATES),
        theirs.EPSILON,
    )  # fmt: skip
    title, figures, missing = "Stable-Baselines3, rl-zoo's settings", [], ""
    with _peer(theirs.train) as (peer, lacks):
        if peer is None:
            missing = lacks
        else:
            with contending(our_run, ours, "ray", options.address, settle=SETTLE) as on_ray:
                rounds = _rounds({"on Ray": on_ray}, peer, "Stable-Baselines3", theirs.TRAIN_EVERY / theirs.UPDATES, options)
                figures = [
                    compared(OURS, "env steps/s", rounds, "on Ray", "Stable-Baselines3"),
                    _intensity(on_ray, peer, theirs.BATCH_SIZE),
                ]
    how = f"{COMMON} 256-256, batch 64, 128 updates after every 256 steps; the peer on one thread of PyTorch.{missing}"
    return Table(title, how, figures)


def _rllib(options: Options) -> Table:
    figures: list[Figure] = []
    missing = ""
    for runners in (0, 2):
        with _peer(rllib.train, runners) as (peer, lacks):
            if peer is None:
                missing = lacks
                break
            figures += _beside_rllib(peer, runners, options)
    how = (
        f"{COMMON} RLlib's defaults on its new API stack: 256-256 dueling, double, batch 32, prioritised episodes, 8 "
        "environments a runner. It updates once for what its runners sample at a time; how many samples that is for each "
        "step is measured in a turn of its own first, and ours is set to that. Ours has ReLU where RLlib has tanh."
        f"{missing}"
    )
    return Table("RLlib's settings", how, figures)


def _beside_rllib(peer: Contender, runners: int, options: Options) -> list[Figure]:
    first = peer.turn(options.seconds)
    steps_per_update = first.env_steps / first.updates
    ours = tables(
        rllib.HIDDEN, rllib.BATCH_SIZE, rllib.BATCH_SIZE / steps_per_update, rllib.CAPACITY, rllib.LEARNING_RATE,
        float(max(1, round(rllib.TARGET_EVERY / steps_per_update))), rllib.EPSILON,
        teacher={"double": True, "dueling": True},
        replay={"prioritized": True, "priority_exponent": rllib.ALPHA, "importance": rllib.BETA,
                "importance_end": rllib.BETA},
    )  # fmt: skip
    name = f"RLlib, {runners} remote runners"
    with contending(our_run, ours, "ray", options.address, settle=SETTLE) as on_ray:
        rounds = _rounds({"on Ray": on_ray}, peer, name, steps_per_update, options)
        return [
            compared(OURS, "env steps/s", rounds, "on Ray", name, at_least=RLLIB_GOAL),
            _intensity(on_ray, peer, rllib.BATCH_SIZE, name),
        ]


@contextmanager
def _peer(train: Callable[..., None], *arguments: object) -> Iterator[tuple[Contender | None, str]]:
    """A peer, and what to say where it is not installed: then it is None."""
    with ExitStack() as stack:
        try:
            contender = stack.enter_context(contending(train, *arguments))
        except ImportError as error:
            yield None, f" Left out, since {error.name or error} is not installed: it needs the extra peers."
        else:
            yield contender, ""


def _rounds(ours: Mapping[str, Contender], peer: Contender, name: str, steps_per_update: float, options: Options) -> Rounds:
    """Environment steps a second of each over the rounds.

    Within a turn ours can run ahead of its own updates, as far as the pace lets it: only steps count that were learned from
    as often as the peer learns from its own.
    """

    def learned(one: Contender) -> float:
        rates = one.turn(options.seconds)
        return min(rates.env_steps, rates.updates * steps_per_update)

    turns = {which: partial(learned, one) for which, one in ours.items()}
    return interleaved({**turns, name: lambda: peer.turn(options.seconds).env_steps}, options)


def _intensity(ours: Contender, peer: Contender, batch_size: int, name: str = "the peer") -> Figure:
    """How many samples each learned from for each step, over its turns: that the work was the same."""

    def samples(contender: Contender) -> float:
        return median(batch_size * one.updates / one.env_steps for one in contender.taken[1:])

    return Figure("samples per step", samples(ours), "", name, samples(peer), samples(ours) / samples(peer))
