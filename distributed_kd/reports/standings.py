"""How each policy of a group of runs stands: size, score, speed and agreement over its runs, and the answer they come to."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distributed_kd.maths.statistics import interquartile_ci95, interquartile_mean, normalised_score
from distributed_kd.reports import believed
from distributed_kd.reports.curves import KEEPS
from distributed_kd.reports.groups import student_names
from distributed_kd.reports.reported import Reported
from distributed_kd.reports.shown import percent
from distributed_kd.reports.sizes import BYTES
from distributed_kd.reports.tables import column, teacher_loss

NAN = math.nan


@dataclass(frozen=True)
class Standing:
    """One policy over the runs of a group. What was not measured is NaN."""

    policy: str
    network: str
    """kind and widths"""
    loss: str
    temperature: str
    parameters: float
    share: float
    """of the teacher's parameters"""
    scores: tuple[float, ...]
    """normalised, of each run"""
    score: float
    """their interquartile mean"""
    low: float
    high: float
    """its 95 % interval: over the runs or, of a single one, over its episodes"""
    agreement: float
    gap_weighted: float
    microseconds: float
    """of a decision"""
    steps: float
    seconds: float
    """until 95 % of the teacher's score was reached: the median of the runs that got there"""
    reached: int
    """runs that got there"""

    @property
    def bytes(self) -> float:
        """Of its parameters, as they are trained."""
        return self.parameters * BYTES

    @property
    def is_teacher(self) -> bool:
        return self.policy == "teacher"


@dataclass(frozen=True)
class Group:
    """Runs of one environment and label, which differ in nothing but the seed, and how their policies stand."""

    env: str
    label: str
    runs: tuple[Reported, ...]
    """all of them, in whatever state"""
    counted: tuple[Reported, ...]
    """those that the numbers are of: the finished ones or, where there is none, those with any score"""
    teacher: Standing
    students: tuple[Standing, ...]
    """largest first, of one size the best first"""
    returns: tuple[float, float, float, float]
    """the teacher's return, its interval, and the random policy's return"""

    @classmethod
    def of(cls, env: str, label: str, runs: Sequence[Reported]) -> "Group":
        scored = [run for run in runs if run.is_scored]
        counted = [run for run in scored if run.is_finished] or scored
        names = student_names(counted) if counted else student_names(runs)
        teachers = [run.summary["teacher"] for run in counted]
        means = column(teachers, "return_mean")
        random = _mean([run.summary["random_return"] for run in counted])
        if len(means) > 1 and not np.isnan(means).any():
            returns = (interquartile_mean(means), *interquartile_ci95(means), random)
        else:
            returns = (means[0], *teachers[0]["return_ci95"], random) if means else (NAN, NAN, NAN, random)
        of = counted or list(runs)
        return cls(
            env,
            label,
            tuple(runs),
            tuple(counted),
            _teacher(of),
            tuple(_student(of, name) for name in names),
            returns,
        )

    @property
    def name(self) -> str:
        return f"{self.env}, {self.label}"

    @property
    def is_finished(self) -> bool:
        """The numbers are final ones."""
        return any(run.is_finished for run in self.counted)

    @property
    def best(self) -> Standing | None:
        """The answer: of the students that keep the teacher's score the smallest or, where none does, the best."""
        scored = [one for one in self.students if not math.isnan(one.score)]
        keeping = [one for one in scored if one.score >= KEEPS]
        if keeping:
            return min(keeping, key=lambda one: (one.parameters, -one.score))
        return max(scored, key=lambda one: one.score, default=None)

    @property
    def median(self) -> Reported | None:
        """The run whose students are the median of the group; of two the newer."""
        counted = sorted(self.counted, key=lambda run: (_mean(column(run.summary["students"].values(), "normalised_score")),
                                                        run.name))  # fmt: skip
        return counted[len(counted) // 2] if counted else None


def _teacher(runs: Sequence[Reported]) -> Standing:
    first = runs[0]
    parameters = first.summary["teacher"]["parameters"]
    steps, seconds, reached = _until(runs, "teacher")
    return Standing(
        policy="teacher",
        network=_of_several(first) or _network(first.config.teacher),
        loss=teacher_loss(runs),
        temperature="",
        parameters=parameters,
        share=1.0,
        scores=tuple(1.0 for _ in runs),
        score=1.0,
        low=NAN,
        high=NAN,
        agreement=1.0,
        gap_weighted=1.0,
        microseconds=_mean([run.summary["teacher"]["decision_microseconds"] for run in runs]),
        steps=steps,
        seconds=seconds,
        reached=reached,
    )


def _student(runs: Sequence[Reported], name: str) -> Standing:
    having = [run for run in runs if name in run.summary["students"]]
    students = [run.summary["students"][name] for run in having]
    scores = [score for score in column(students, "normalised_score") if not math.isnan(score)]
    score = interquartile_mean(scores) if scores else NAN
    low, high = interquartile_ci95(scores) if len(scores) > 1 else _over_episodes(having[0], students[0])
    config = having[0].config.students.get(name)
    steps, seconds, reached = _until(having, name)
    return Standing(
        policy=name,
        network=_network(config) if config else "",
        loss=students[0]["loss"],
        temperature=_temperature(config) if config else "",
        parameters=students[0]["parameters"],
        share=students[0]["parameter_share"],
        scores=tuple(scores),
        score=score,
        low=low,
        high=high,
        agreement=_mean(column(students, "action_agreement")),
        gap_weighted=_mean(column(students, "gap_weighted_agreement")),
        microseconds=_mean(column(students, "decision_microseconds")),
        steps=steps,
        seconds=seconds,
        reached=reached,
    )


def _over_episodes(run: Reported, student: dict) -> tuple[float, float]:
    """The interval of its return as normalised scores; the teacher's and the random policy's are taken as they are."""
    random, teacher = run.summary["random_return"], run.summary["teacher"]["return_mean"]
    if not teacher > random:
        return NAN, NAN
    low, high = (normalised_score(end, random, teacher) for end in student["return_ci95"])
    return low, high


def _of_several(run: Reported) -> str:
    """What a teacher is that is made of several; empty where it is one network."""
    teacher = run.config.teacher
    members = len(run.config.students) if teacher.is_peers else len(teacher.sources)
    return f"{teacher.combine} of {members}" if teacher.is_peers or teacher.is_ensemble else ""


def _network(policy) -> str:
    """16x16 for a plain perceptron; the kind and its widths for every other network."""
    label = believed.text(policy.network.label)
    return label.removeprefix("mlp ").replace(" ", "x") if policy.network.kind == "mlp" else label


def _temperature(student) -> str:
    """Of its losses on softmax targets: the student's own, or those that single losses have."""
    own = dict.fromkeys(str(term.temperature or student.temperature) for term in student.terms)
    end = f" to {student.temperature_end:g} of it" if student.temperature_end != 1 else ""
    return f"{', '.join(own)}{end}"


def _until(runs: Sequence[Reported], name: str) -> tuple[float, float, int]:
    steps = [run.steps[name] for run in runs if run.steps.get(name) is not None]
    seconds = [run.seconds[name] for run in runs if run.seconds.get(name) is not None]
    return _median(steps), _median(seconds), len(steps)


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if values else NAN


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else NAN


def answer(group: Group) -> tuple[str, str]:
    """The answer in a sentence, and what must be known to read it."""
    best = group.best
    mean, low, _, random = group.returns
    if math.isnan(mean) or best is None:
        return "Nothing was scored yet.", ""
    if not mean > random:
        return "The teacher plays no better than chance, so no share of its score says anything.", "Let it train longer."
    kept = f"{100 * best.score:.0f} %"
    if not math.isnan(best.low):
        kept += f" [{100 * best.low:.0f}, {100 * best.high:.0f}]"
    network = best.network or best.policy
    size = f", {percent(best.share)} of the parameters," if not math.isnan(best.share) else ""
    speed = f"; {best.microseconds:.0f} µs a decision" if not math.isnan(best.microseconds) else ""
    if best.score >= KEEPS:
        sentence = f"{network}{size} keeps {kept} of the teacher’s score{speed}."
    else:
        sentence = (
            f"No student keeps {100 * KEEPS:.0f} % of the teacher’s score. The best, {network}{size} keeps {kept}{speed}."
        )
    count = len(best.scores)
    of = f"the interval is over {count} runs" if count > 1 else "one run: the interval is over its evaluation episodes"
    if math.isnan(best.low):
        of = "without an interval"
    unfinished = "" if group.is_finished else " Not finished: these are scores of the newest evaluation while training."
    twins = sum(one.parameters == best.parameters and one.score >= KEEPS for one in group.students) - 1
    of_that_size = sum(one.parameters == best.parameters for one in group.students)
    others = f" {twins + 1} of {of_that_size} students of that size keep as much." if twins > 0 else ""
    poor = " The teacher itself is not told apart from chance, so shares of its score say little." if low <= random else ""
    return sentence, f"Student {best.policy}; {of}.{others}{poor}{unfinished}"
