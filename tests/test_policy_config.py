"""What a run file may not say: every problem of the teacher, the students, the data and the run, word by word.

Bounds of single numbers are in test_config_numbers.py.
"""

import pytest
from told import told

from distributed_kd.policy_config import TeacherConfig
from distributed_kd.student_config import LossConfig, StudentConfig

PEERS = (
    'teacher.source = "peers"\nstudents.a = { loss = "mse", td_weight = 1 }\nstudents.b = { loss = "mse", td_weight = 1 }'
)
SEVERAL = 'teacher.source = ["runs/a", "runs/b"]'
BY_STEPS = "evaluation.every_env_steps = 2000"
OWN_LANES = 'students.tiny.loss = "policy_gradient"'


def test_nothing_is_wrong_with_the_defaults():
    assert told("") == []


LINES = [
    ('learner = { cuda_graph = true, device = "cpu" }',
     "no GPU to record on (learner.cuda_graph=true): learner.device is cpu, and only a GPU repeats what was recorded. Set"
     " --learner.cuda_graph false"),
    ('data.file = "s.npz"\nlearner.cuda_graph = true',
     "option without effect (learner.cuda_graph=true): updates from a set of states are not recorded. Set"
     " --learner.cuda_graph false"),
    ("teacher = { munchausen = 0.9, n_step = 3 }",
     "Munchausen over several steps (teacher.n_step=3): its log-policy is that of one step. Set --teacher.n_step 1"),
    ('teacher = { munchausen = 0.9, distribution = "c51" }',
     "Munchausen with a distribution (teacher.distribution=c51): the term is that of plain Q-values. Set"
     " --teacher.distribution none"),
    ('teacher.source = "runs/a"\nreplay.prioritized = true',
     "nothing to draw by (replay.prioritized=true): a teacher that does not learn sets no priorities. Set"
     " --replay.prioritized false"),
    ('replay.prioritized = true\nstudents.tiny.loss = "relational"',
     "a loss that cannot be corrected (students.tiny.loss=kl+relational): kl+relational compares states with each other, so"
     " no weight undoes how they were drawn. Set --replay.student_batches uniform"),
    ('replay.prioritized = true\nstudents.tiny.losses = [{ name = "kl" }, { name = "similarity" }]',
     "a loss that cannot be corrected (students.tiny.losses=kl+similarity): kl+similarity compares states with each other,"
     " so no weight undoes how they were drawn. Set --replay.student_batches uniform"),
    ('env.id = " "',
     "no environment (env.id=' '): an id is needed. Set --env.id CartPole-v1"),
    ("stop.env_steps = 0",
     "no end (stop.env_steps=0): schedules need at least one bound. Set --stop.env_steps 100000"),
    ("teacher.target_update = 1.6",
     "bad target update (teacher.target_update=1.6): 1 and above counts updates, so it must be whole. Set"
     " --teacher.target_update 2"),
    ("students.tiny.target_update = 2.5",
     "bad target update (students.tiny.target_update=2.5): 1 and above counts updates, so it must be whole. Set"
     " --students.tiny.target_update 2"),
    ("teacher.source = []",
     "bad teacher (teacher.source=[]): a list names runs or files. Give paths, or --teacher.source learn alone"),
    ('teacher.source = ["runs/a", "learn", "peers"]',
     "bad teacher (teacher.source=learn, peers): a list names runs or files. Give paths, or --teacher.source learn"
     " alone"),
    ('teacher.source = " "',
     "bad teacher (teacher.source=''): it names nothing. Set --teacher.source learn"),
    (f"{SEVERAL}\nteacher.frozen = false",
     "bad teacher (teacher.frozen=false): several teachers cannot learn on as one. Set --teacher.frozen true, or give"
     " one source"),
    (f"{SEVERAL}\nteacher.weights = [1, 2, 3]",
     "bad weight of a teacher (teacher.weights=3): there are 2 sources. Give one weight for each, or none"),
    ("teacher.weights = [1]",
     "bad weight of a teacher (teacher.weights=1): there are 0 sources. Give one weight for each, or none"),
    (f"{SEVERAL}\nteacher.weights = [1, 0]",
     "bad weight of a teacher (teacher.weights=0.0): it must be a finite number above 0. Set --teacher.weights to a"
     " positive number"),
    ('teacher.source = "runs/a"\nteacher.teaches = "target"',
     "bad teacher (teacher.teaches=target): the teacher never changes here, or is made of the students. Set"
     " --teacher.teaches now"),
    ('students.tiny.losses = [{ since = 0.5, until = 0.5 }]',
     "bad loss (students.tiny.losses[0].since=0.5): it would never count, until being 0.5. Lower it, or raise until"),
    ("students.tiny.losses = [{ temperature = -1 }]",
     "bad temperature (students.tiny.losses[0].temperature=-1.0): it must be a finite number of at least 0. Set"
     " --students.tiny.losses[0].temperature 0 or more"),
    ("students.tiny.losses = [{ layer = -2 }]",
     "option without effect (students.tiny.losses[0].layer=-2): kl does not read it, only hint, attention, relational,"
     " similarity. Remove it"),
    ('students.tiny.losses = [{ name = "hint" }, { name = "value" }]',
     'no loss on the outputs (students.tiny.losses=hint, value): what is listed teaches no actions. Add one that does:'
     ' losses = [{ name = "kl" }, { name = "hint" }]'),
    ("students.tiny.td_weight = 1",
     "two meanings of one output (students.tiny.loss=kl): kl makes the outputs logits, and a TD error needs Q-values."
     " Use kl_q, kl_hinton, mse, huber, margin or dkd, or set --students.tiny.td_weight 0"),
    ('students.tiny = { td_weight = 1, losses = [{ name = "mse" }, { name = "hard_soft", soft = "mse" }] }',
     "two meanings of one output (students.tiny.losses=mse, hard_soft): nll makes the outputs logits, and a TD error"
     " needs Q-values. Use kl_q, kl_hinton, mse, huber, margin or dkd, or set --students.tiny.td_weight 0"),
    ('students.tiny = { td_weight = -1, loss = "mse" }',
     "bad weight (students.tiny.td_weight=-1.0): it must be a finite number of at least 0. Set"
     " --students.tiny.td_weight 0 or more"),
    ('students.tiny.distillation = "linear"',
     "a teacher that fades (students.tiny.distillation=linear): nothing would be left to learn from. Set"
     " --students.tiny.td_weight 1, or --students.tiny.distillation constant"),
    (f"{OWN_LANES}\nstudents.tiny.drives = false",
     "no lanes of its own (students.tiny.drives=false): policy_gradient learns from the student's own lanes. Set"
     " --students.tiny.drives true"),
    (f"{OWN_LANES}\nrollouts.behaviour = {{ teacher = 1, students = 0 }}",
     "no lanes of its own (rollouts.behaviour.students=0): policy_gradient learns from the student's own lanes. Set"
     " --rollouts.behaviour.students 0.5"),
    (f"{OWN_LANES}\nrollouts.behaviour.beta = 0.5",
     "two policies in one lane (rollouts.behaviour.beta=0.5): tiny must act alone in its lanes, since it learns from"
     " what it does. Set --rollouts.behaviour.beta 0 and --rollouts.behaviour.beta_end 0"),
    (f"{OWN_LANES}\nrollouts.behaviour.beta_end = 0.5",
     "two policies in one lane (rollouts.behaviour.beta=0.0): tiny must act alone in its lanes, since it learns from"
     " what it does. Set --rollouts.behaviour.beta 0 and --rollouts.behaviour.beta_end 0"),
    (f'{SEVERAL}\nteacher.weights = [0.7, 0.3]\nteacher.combine = "best"',
     "option without effect (teacher.weights=2): the best teaches alone. Remove it"),
    (f'{SEVERAL}\nteacher.combine = "logsumexp"\nstudents.tiny.losses = [{{ name = "hard_soft", soft = "mse" }}]',
     "no values to learn (students.tiny.losses=hard_soft): logsumexp gives preferences, no returns. Set"
     " --teacher.combine mean, or another loss"),
    ('teacher.source = ["runs/a", " "]',
     "bad teacher (teacher.source= ): a list names runs or files. Give paths, or --teacher.source learn alone"),
    (f'{OWN_LANES}\ndata.file = "s.npz"',
     "no rewards to learn from (students.tiny.loss=policy_gradient): a data set holds states, no rewards. Use losses"
     " on the teacher's outputs, and --students.tiny.td_weight 0"),
    ('students.tiny = { td_weight = 1, loss = "mse" }\ndata.file = "s.npz"',
     "no rewards to learn from (students.tiny.loss=mse+td): a data set holds states, no rewards. Use losses on the"
     " teacher's outputs, and --students.tiny.td_weight 0"),
    ("rollouts.behaviour.teacher = 0.75",
     "bad shares of lanes (rollouts.behaviour=0.75 + 0.5): they must add up to 1. Set --rollouts.behaviour.students"
     " 0.25"),
    # A segment of 1 lane and 1 step takes 2 rows, so that the batch alone is too large.
    ("replay = { capacity = 10, warmup = 5 }\nrollouts = { envs_per_actor = 1, steps_per_segment = 1 }",
     "replay too small (replay.capacity=10): a batch has 64 steps. Set --replay.capacity 64 or more"),
    # A segment has 16 lanes x 16 steps, and each step can end an episode: 512 rows.
    ("replay = { capacity = 511, warmup = 500 }",
     "replay too small (replay.capacity=511): one segment can take 512 rows. Set --replay.capacity 512 or more"),
    # Three frames before the first step of each lane: 48 rows more.
    ("env = { frame_stack = 4 }\nreplay = { capacity = 559, warmup = 500 }",
     "replay too small (replay.capacity=559): one segment can take 560 rows. Set --replay.capacity 560 or more"),
    ("replay = { capacity = 100, warmup = 5, shards = 2 }\nrollouts = { envs_per_actor = 1, steps_per_segment = 1 }",
     "replay too small (replay.capacity=100): a batch has 64 steps, and each of 2 shards has 50 rows. Set"
     " --replay.capacity 128 or more"),
    ("replay = { capacity = 1500, shards = 3 }",
     "replay too small (replay.capacity=1500): one segment can take 512 rows, and each of 3 shards has 500 rows. Set"
     " --replay.capacity 1536 or more"),
    ("replay.shards = 0",
     "bad number of shards (replay.shards=0): it must be a finite number of at least 1. Set --replay.shards 1 or more"),
    ("replay = { capacity = 600, warmup = 601 }",
     "warm-up never ends (replay.warmup=601): the replay holds 600 rows. Set --replay.warmup 300 or less"),
    ("stop.env_steps = 1000",
     "warm-up never ends (replay.warmup=1000): the run ends at 1000 steps. Set --replay.warmup 100 or less"),
    ("data.held_out = 1",
     "bad share of states (data.held_out=1.0): both parts need states. Set --data.held_out 0.2"),
    ("data.held_out = 0",
     "bad share of states (data.held_out=0.0): both parts need states. Set --data.held_out 0.2"),
    (f'{SEVERAL}\nstudents.tiny.loss = "hint"',
     "no layer to learn from (students.tiny.loss=kl+hint): several teachers have no hidden layers in common. Use"
     " losses on outputs, or one teacher"),
    (f'{SEVERAL}\nteacher.combine = "logsumexp"\nstudents.tiny.loss = "value"',
     "no values to learn (students.tiny.loss=kl+value): logsumexp gives preferences, no returns. Set --teacher.combine"
     " mean, or another loss"),
    ('students.tiny = { loss = "mse", td_weight = 1, distillation = "performance" }',
     "evaluations by time (evaluation.every_env_steps=0): students.tiny.distillation goes by evaluations, so time must"
     " not decide when. Set --evaluation.every_env_steps 2000"),
    ('teacher.teaches = "best"',
     "evaluations by time (evaluation.every_env_steps=0): teacher.teaches goes by evaluations, so time must not decide"
     " when. Set --evaluation.every_env_steps 2000"),
    ('students.tiny = { loss = "mse", smoothing = 0.1 }',
     "option without effect (students.tiny.smoothing=0.1): mse learns no probabilities. Remove it, or add a loss such as kl"
     " to students.tiny.loss"),
    ('students.tiny = { td_weight = 1, losses = [{ name = "mse", target = "scaled" }] }',
     'two meanings of one output (students.tiny.losses=mse): a TD error needs Q-values on their own scale. Use target = "q"'
     ' or "advantage"'),
    ('data.file = "s.npz"\nstudents.tiny.losses = [{ name = "kl", until = 0.5 }]',
     "no loss at the end (students.tiny.losses=kl): no loss counts to the end, so nothing tells when it has learned enough."
     " Let one have until = 1"),
    ('replay = { batch_size = 1 }\nstudents.tiny.loss = "relational"',
     "a batch of one (replay.batch_size=1): kl+relational compares the states of a batch. Set --replay.batch_size 64"),
    ('learner.replicas = 2\nreplay = { batch_size = 2 }\nstudents.tiny.loss = "similarity"',
     "a batch of one (replay.batch_size=2): kl+similarity compares the states of a batch, and 2 replicas of the learner part"
     " it. Set --replay.batch_size 128"),
    ("learner.replicas = 6",
     "parts that are not equal (learner.replicas=6): a batch of 64 steps has no 6 equal parts. Set --learner.replicas 2, or"
     " --replay.batch_size 66"),
    ('students."a b" = {}',
     "bad student name (students='a b'): a name has 1 to 64 letters, digits, '.', '_' or '-' and is none of teacher,"
     " random, none, version, seconds, env_steps. Rename it"),
    ("students.Random = {}",
     "bad student name (students='Random'): a name has 1 to 64 letters, digits, '.', '_' or '-' and is none of"
     " teacher, random, none, version, seconds, env_steps. Rename it"),
    ("students.Tiny = {}",
     "two students alike (students=tiny, Tiny): the names differ in case only. Rename one"),
]  # fmt: skip


@pytest.mark.parametrize(("toml", "line"), LINES)
def test_each_problem_has_its_line(toml, line):
    assert told(toml) == [line]


ALONE = [
    ("",
     ["no students (students=none): there is nothing to distil into. Add one with --students.tiny.network.hidden 16 16"]),
    (PEERS.rpartition("\n")[0],
     ["too few peers (students=1): peers teach each other. Add a student, or set --teacher.source learn"]),
    (f'{PEERS}\ndata.file = "s.npz"',
     ["no teacher (teacher.source=peers): a set of states is learned from with a teacher. Set --teacher.source to a run"
      " or a file",
      *(f"no rewards to learn from (students.{name}.loss=mse+td): a data set holds states, no rewards. Use losses on the"
        f" teacher's outputs, and --students.{name}.td_weight 0" for name in "ab")]),
    (f"{PEERS}\nreplay.prioritized = true",
     ["nothing to draw by (replay.prioritized=true): a teacher that does not learn sets no priorities. Set"
      " --replay.prioritized false"]),
    (f"{PEERS}\nstudents.c = {{}}",
     ["nobody learns (students.c.td_weight=0.0): without a teacher each peer learns from the environment too. Set"
      " --students.c.td_weight 1"]),
    (f'{PEERS}\nteacher.teaches = "average"',
     ["bad teacher (teacher.teaches=average): the teacher never changes here, or is made of the students. Set"
      " --teacher.teaches now"]),
    (f'{PEERS}\nteacher.combine = "best"',
     ["evaluations by time (evaluation.every_env_steps=0): teacher.combine goes by evaluations, so time must not decide"
      " when. Set --evaluation.every_env_steps 2000"]),
    (f'{PEERS}\nteacher.combine = "logsumexp"',
     ["no values to learn (students.a.loss=mse+td): logsumexp gives preferences, no returns. Set --teacher.combine"
      " mean, or another loss"]),
    (f'{PEERS}\nstudents.c = {{ td_weight = 1, losses = [{{ name = "attention" }}] }}',
     ["no layer to learn from (students.c.losses=attention+td): several teachers have no hidden layers in common. Use"
      " losses on outputs, or one teacher"]),
]  # fmt: skip


@pytest.mark.parametrize(("toml", "lines"), ALONE)
def test_each_problem_of_the_students_together_has_its_line(toml, lines):
    assert told(toml, alone=True) == lines


@pytest.mark.parametrize(
    "toml",
    [
        'teacher.source = "runs/a"\nteacher.frozen = false\nteacher.teaches = "average"',
        f"{SEVERAL}\nteacher.weights = [0.7, 0.3]",
        f'{SEVERAL}\nteacher.combine = "best"\nstudents.tiny.loss = "hint"',
        f'{SEVERAL}\nstudents.tiny.loss = "value"',
        f'{SEVERAL}\nteacher.combine = "logsumexp"\nstudents.tiny.loss = "kl_q"',
        'teacher.source = ["runs/a"]\nstudents.tiny.loss = "hint"',
        f'teacher.teaches = "best"\n{BY_STEPS}',
        "teacher.target_update = 2.0",
        "teacher = { munchausen = 0.9, dueling = true, noisy = true }",
        'teacher = { munchausen = 0.0, n_step = 3, distribution = "quantile" }',
        'replay.prioritized = true\nteacher.source = "runs/a"\nteacher.frozen = false',
        'replay = { prioritized = true, student_batches = "uniform" }\nstudents.tiny.loss = "relational"',
        'students.tiny.loss = "similarity"',
        'replay.prioritized = true\nstudents.tiny = { loss = "hint", importance = "entropy", td_weight = 0 }',
        f"{OWN_LANES}\nreplay.prioritized = true",
        # Over a set of states nothing is drawn by priority, whatever the run file says for other runs.
        'data.file = "s.npz"\nteacher.source = "runs/a"\nreplay.prioritized = true\nstudents.tiny.loss = "relational"',
        'env = { frame_stack = 4, normalise = true, flatten = true, protocol = "none", evaluation_kwargs = { a = 1 } }',
        'students.tiny.losses = [{ name = "kl", since = 0.4, until = 0.5 }, { name = "hint", layer = -2 }]',
        'students.tiny.losses = [{ name = "kl", temperature = "auto" }, { name = "mse", temperature = 2 }]',
        'students.tiny = { td_weight = 1, loss = "dkd", distillation = "linear" }',
        'students.tiny = { td_weight = 1, losses = [{ name = "hint" }] }',
        'students.tiny.temperature = "auto"\ndata.file = "s.npz"',
        OWN_LANES,
        f'{OWN_LANES}\nstudents.tiny.distillation = "performance"\n{BY_STEPS}',
        "rollouts.behaviour = { teacher = 0.25, students = 0.75, beta = 1 }",
        "replay = { capacity = 512, warmup = 512 }",
        "stop.env_steps = 1001",
        "stop = { env_steps = 0, minutes = 5 }",
    ],
)
def test_neighbours_of_what_is_wrong_are_right(toml):
    assert told(toml) == []


def test_peers_need_no_more_than_each_other():
    assert told(PEERS, alone=True) == []
    assert told(f'{PEERS}\nteacher.combine = "best"\n{BY_STEPS}', alone=True) == []


def test_everything_wrong_is_told_at_once():
    found = told('env.id = ""\nteacher.gamma = 2\nstudents.tiny.smoothing = 2\ndata.updates = 0\ncheckpoint.keep = 0')
    assert [line.partition(" (")[0] for line in found] == [
        "no environment", "bad discount", "bad smoothing", "bad number", "bad number of checkpoints",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("source", "frozen", "sources", "learns", "is_peers"),
    [
        ("learn", True, (), True, False),
        ("learn", False, (), True, False),
        ("peers", True, (), False, True),
        ("peers", False, (), False, True),
        ("runs/a", True, ("runs/a",), False, False),
        ("runs/a", False, ("runs/a",), True, False),
        (("runs/a",), False, ("runs/a",), True, False),
        (("runs/a", "runs/b"), True, ("runs/a", "runs/b"), False, False),
    ],
)
def test_where_a_teacher_comes_from(source, frozen, sources, learns, is_peers):
    teacher = TeacherConfig(source=source, frozen=frozen)
    assert (teacher.sources, teacher.learns, teacher.is_peers) == (sources, learns, is_peers)


@pytest.mark.parametrize(
    ("student", "names", "label", "own"),
    [
        (StudentConfig(), ["kl"], "kl", False),
        (StudentConfig(loss="mse", td_weight=0.5), ["mse"], "mse+td", False),
        # What teaches no actions has kl beside it in the short form; in a list only what is listed counts.
        (StudentConfig(loss="hint"), ["kl", "hint"], "kl+hint", False),
        (StudentConfig(loss="value", td_weight=1.0), ["kl", "value"], "kl+value+td", False),
        (StudentConfig(loss="mse", losses=(LossConfig("hint"),)), ["hint"], "hint", False),
        (StudentConfig(losses=(LossConfig("nll"), LossConfig("policy_gradient"))), ["nll", "policy_gradient"],
         "nll+policy_gradient", True),
        (StudentConfig(loss="policy_gradient"), ["policy_gradient"], "policy_gradient", True),
    ],
)  # fmt: skip
def test_what_a_student_learns_from(student, names, label, own):
    assert [term.name for term in student.terms] == names
    assert (student.label, student.learns_from_own_lanes) == (label, own)


def test_the_short_form_has_the_options_defaults():
    assert StudentConfig(loss="dkd").terms == (LossConfig("dkd"),)
    losses = (LossConfig("dkd", alpha=2.0), LossConfig("kl"))
    assert StudentConfig(losses=losses).terms == losses


def test_output_losses_are_those_in_it():
    assert LossConfig("hard_soft", soft="mse").output_losses == ("mse", "nll")
    assert LossConfig("dkd").output_losses == ("dkd",)
    assert LossConfig("hint").output_losses == LossConfig("policy_gradient").output_losses == ()
