"""Settings of environments, networks, values and priorities that cannot be: told like all else a user can get wrong."""

import pytest
from test_bad_input import AT_LEAST_1, check_told

UNKNOWN = "unknown environment (env.id={}): Gymnasium has no such id. Did you mean {}?"
ABOVE_0 = "it must be a finite number above 0."

TABLE = [
    # What an environment shows, and how.
    (2, "train --env.frame_stack 0", f"bad frame stack (env.frame_stack=0): {AT_LEAST_1} Set --env.frame_stack 1 or more"),
    (
        2,
        "train --env.channels middle",
        "bad value (env.channels=middle): it must be one of auto, first, last. Give for example --env.channels auto",
    ),
    (
        2,
        "train --env.protocol clasic",
        "bad value (env.protocol=clasic): it must be one of machado, classic, none. Did you mean classic?",
    ),
    (
        2,
        "train --env.flaten true",
        "unknown flag (env.flaten=true): the run file has no key of this name. Did you mean --env.flatten?",
    ),
    (2, "train --env.id highway-fst-v0", UNKNOWN.format("highway-fst-v0", "highway-fast-v0")),
    # The learner.
    (
        2,
        "train own.toml --learner.replicas 3",
        "parts that are not equal (learner.replicas=3): a batch of 64 steps has no 3 equal parts. "
        "Set --learner.replicas 1, or --replay.batch_size 66",
    ),
    (
        2,
        "train own.toml --learner.replicas 2 --runner inline",
        "one process alone (learner.replicas=2): the inline runner uses no cluster. Set --learner.replicas 1",
    ),
    (
        5,
        "train own.toml --learner.replicas 2 --rollouts.actors 1",
        "too few CPUs (rollouts.actors=1): the run needs 2.75 CPU, there are 2. "
        "Lower --learner.replicas, use a larger machine, or --runner inline",
    ),
    # Networks.
    (
        2,
        "train own.toml --students.tiny.network.kind natur",
        "unknown network (students.tiny.network.kind='natur'): there is no such network. Did you mean nature?",
    ),
    (
        2,
        "train --teacher.network.width 0",
        f"bad layer width (teacher.network.width=0.0): {ABOVE_0} Set --teacher.network.width to a positive number",
    ),
    (
        2,
        "train --teacher.network.channels 4",
        "option without effect (teacher.network.channels=[4]): mlp has no convolutions that could be set here. "
        "Remove it, or choose minatar, nature or impala",
    ),
    (
        2,
        "train two_widths.toml",
        "bad layer width (teacher.network.channels=[4, 4]): minatar has 1 convolution. Give 1 width",
    ),
    (
        2,
        "train own.toml --teacher.network.kind odd_envs:nothing --allow-env-import",
        "bad network (teacher.network.kind=odd_envs:nothing): importing it failed with AttributeError: "
        "module 'odd_envs' has no attribute 'nothing'. Give the module and the function in it",
    ),
    (
        2,
        "train own.toml --teacher.network.kind odd_envs:make --teacher.noisy true --allow-env-import",
        "option without effect (teacher.network.kind=odd_envs:make): a factory's network has a head of its own. "
        "Leave dueling, noisy and distribution out",
    ),
    # What the teacher learns.
    (
        2,
        "train --teacher.distribution c52",
        "bad value (teacher.distribution=c52): it must be one of none, c51, quantile. Did you mean c51?",
    ),
    (
        2,
        "train --teacher.distribution c51 --teacher.v_min 5 --teacher.v_max 5 --teacher.atoms 1",
        "bad distribution (teacher.atoms=1): it must be a finite number of at least 2. Set --teacher.atoms 2 or more",
        "bad distribution (teacher.v_min=5.0): it must lie below v_max, 5. "
        "Set the least and the greatest return that can come",
    ),
    (
        2,
        "train --teacher.munchausen 1.5 --teacher.munchausen_temperature 0 --teacher.n_step 1",
        "bad Munchausen term (teacher.munchausen=1.5): it must lie between 0 and 1. "
        "Set --teacher.munchausen to a number from 0 to 1",
        f"bad Munchausen term (teacher.munchausen_temperature=0.0): {ABOVE_0} "
        "Set --teacher.munchausen_temperature to a positive number",
    ),
    (
        2,
        "train --teacher.munchausen 0.9 --teacher.n_step 3 --teacher.distribution quantile",
        "Munchausen over several steps (teacher.n_step=3): its log-policy is that of one step. Set --teacher.n_step 1",
        "Munchausen with a distribution (teacher.distribution=quantile): the term is that of plain Q-values. "
        "Set --teacher.distribution none",
    ),
    (
        2,
        "train --teacher.reward_clip -1",
        "bad reward clip (teacher.reward_clip=-1.0): it must be a finite number of at least 0. "
        "Set --teacher.reward_clip 0 or more",
    ),
    # What is drawn.
    (
        2,
        "train --replay.prioritized true --replay.priority_exponent 2 --replay.importance -0.1 --replay.importance_end nan",
        *(
            f"bad priorities (replay.{key}={value}): it must lie between 0 and 1. Set --replay.{key} to a number from 0 to 1"
            for key, value in (("priority_exponent", "2.0"), ("importance", "-0.1"), ("importance_end", "nan"))
        ),
    ),
    (
        2,
        "train --replay.prioritized true --students.quarter.loss similarity",
        "a loss that cannot be corrected (students.quarter.loss=kl+similarity): kl+similarity compares states with each "
        "other, so no weight undoes how they were drawn. Set --replay.student_batches uniform",
    ),
    (
        2,
        "train --replay.prioritized true --teacher.source some",
        "nothing to draw by (replay.prioritized=true): a teacher that does not learn sets no priorities. "
        "Set --replay.prioritized false",
    ),
]


@pytest.mark.parametrize(("code", "words", "lines"), [(code, words, lines) for code, words, *lines in TABLE])
def test_a_fault_is_told_in_one_line(code, words, lines, place, capsys):
    check_told(code, words, lines, place, capsys)
