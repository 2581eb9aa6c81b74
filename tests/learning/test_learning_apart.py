"""A property of the whole: whatever students are asked for, none changes what the teacher or another one learns."""

from typing import get_args

from hypothesis import given, settings
from hypothesis import strategies as st
from learning_samples import CPU, SPEC, batches, by_priority, learner_of, scores, to_bytes, with_own_steps

from distributed_kd.learning.normaliser import Normaliser
from distributed_kd.learning.objective import misfits
from distributed_kd.learning.teacher import Importance
from distributed_kd.policy_config import TeacherConfig
from distributed_kd.student_config import LossConfig, LossName, OutputLossName, StudentConfig

SHARES = st.sampled_from([0.0, 0.25, 0.5, 1.0])
TEMPERATURES = st.sampled_from(["auto", 0.1, 2.0])
OUTPUT_LOSSES = st.sampled_from(get_args(OutputLossName))
NOISE = st.sampled_from([0.0, 0.1, 1.0])

TERMS = st.builds(
    LossConfig,
    name=st.sampled_from([name for name in get_args(LossName) if name != "attention"]),  # there are no convolutions here
    weight=st.sampled_from([0.1, 1.0]),
    since=st.sampled_from([0.0, 0.3]),
    until=st.sampled_from([0.6, 1.0]),
    temperature=st.one_of(st.just(0.0), TEMPERATURES),
    layer=st.sampled_from([-2, -1, 0, 1]),
    soft=OUTPUT_LOSSES,
    hard=OUTPUT_LOSSES,
    switch=SHARES,
)
STUDENTS = st.builds(
    StudentConfig,
    losses=st.lists(TERMS, min_size=1, max_size=3).map(tuple),
    temperature=TEMPERATURES,
    temperature_end=st.sampled_from([0.1, 1.0]),
    importance=st.sampled_from(["none", "entropy", "action_gap"]),
    smoothing=st.sampled_from([0.0, 0.2]),
    observation_noise=NOISE,
    target_noise=NOISE,
    distillation=st.sampled_from(["constant", "linear", "performance"]),
    td_weight=st.sampled_from([0.0, 1.0]),
    target_update=st.sampled_from([0.1, 2.0]),
    warmup=st.sampled_from([0, 3]),
    trainable=st.sampled_from(["all", "head", "body.2.*"]),
    learning_rate_end=SHARES,
    max_grad_norm=st.sampled_from([0.1, 10.0]),
).filter(lambda student: not any(misfits("", student.terms, [(8,), (8,)], [(16,)], 3)))
TEACHERS = st.builds(
    TeacherConfig,
    source=st.sampled_from(["learn", "elsewhere.zip"]),
    teaches=st.sampled_from(["now", "target", "average", "best"]),
    average_rate=st.just(0.1),
    target_update=st.just(2.0),
    dueling=st.booleans(),
    noisy=st.booleans(),
    distribution=st.sampled_from(["none", "c51", "quantile"]),
    atoms=st.just(5),
)
DATA = {
    "uniform": with_own_steps(batches(8), ["one", "other"]),
    "corrected": with_own_steps(by_priority(batches(8)), ["one", "other"]),
    "apart": with_own_steps(by_priority(batches(8), apart=True), ["one", "other"]),
}


def learned(students, teacher, drawn, normalise):
    """What is published of teacher and students in the end, and how often each learned."""
    importance = None if drawn == "uniform" else Importance(0.4, 1.0)
    learner = learner_of(students, teacher, importance=importance, normaliser=Normaliser(SPEC, CPU) if normalise else None)
    for place, batch in enumerate(DATA[drawn]):
        learner.update(batch, place / 7)
        if place == 4:
            evaluation = scores(learner.weights().flat["teacher"], teacher=4.0, **{"one": 1.0, "other": 3.0})
            learner.heed(evaluation)
    return to_bytes(learner), learner.updates_of


@settings(deadline=None, max_examples=40)
@given(one=STUDENTS, other=STUDENTS, teacher=TEACHERS, drawn=st.sampled_from([*DATA]), normalise=st.booleans())
def test_each_learns_alone_as_beside_another_and_the_teacher_as_without_them(one, other, teacher, drawn, normalise):
    both, counts = learned({"one": one, "other": other}, teacher, drawn, normalise)
    swapped, _ = learned({"other": other, "one": one}, teacher, drawn, normalise)
    assert swapped == both
    for name, student in (("one", one), ("other", other)):
        alone, count = learned({name: student}, teacher, drawn, normalise)
        assert alone == {"teacher": both["teacher"], name: both[name]}
        assert count[name] == counts[name]
    assert learned({}, teacher, drawn, normalise)[0]["teacher"] == both["teacher"]
