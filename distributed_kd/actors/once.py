"""Calls that Ray repeats, since their answer was lost on the way: they are answered once more, and done once.

Ray repeats a call of an actor under the same task id. To do it again would collect, draw or learn twice.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import wraps

import ray

KEPT = 4
"""Newest answers that an actor keeps of each method: two calls of it are under way at most, and may overtake each other"""
FOR_EVER = -1
"""Repetitions that Ray is allowed: it ends them itself once the actor, or its node, is known to be dead"""


def once(method: Callable) -> Callable:
    """A method of an actor that answers a repeated call as it did the first time."""

    @wraps(method)
    def answered(self, *given: object):
        task = ray.get_runtime_context().get_task_id()
        answers = self.__dict__.setdefault("_answers", {}).setdefault(method.__name__, OrderedDict())
        if task not in answers:
            answers[task] = method(self, *given)
            if len(answers) > KEPT:
                answers.popitem(last=False)
        return answers[task]

    return answered
