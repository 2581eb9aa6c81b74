"""learning.moving: numbers that change from update to update, and are read where they lie."""

import torch
from learning_samples import CPU

from distributed_kd.learning.moving import Numbers, mapped, number, scalar


def asked(progress):
    """What an update asks for: two numbers that move, and one that never does."""
    rate = number(progress, lambda now: 1.0 - now)
    own = number(mapped(progress, lambda now: 2.0 * now), lambda now: 10.0 * now)
    return rate, own, number(progress, lambda now: 0.3, moves=False)


def test_a_plain_progress_gives_plain_numbers():
    assert asked(0.25) == (0.75, 5.0, 0.3)


def test_numbers_told_are_read_where_they_were_put():
    numbers = Numbers(CPU)
    progress = numbers.tell(0.25)
    assert float(progress) == 0.25 and float(mapped(progress, lambda now: 2.0 * now)) == 0.5
    assert asked(progress) == (torch.tensor(0.75), torch.tensor(5.0), 0.3)
    kept = asked(numbers.tell(0.5))[:2]
    assert [one.item() for one in kept] == [0.5, 10.0]
    # An update that is repeated reads what it read before: the same places, by then of other numbers.
    numbers.tell(0.75)
    assert [one.item() for one in kept] == [0.25, 15.0]
    assert all(one.ndim == 0 and one.dtype == torch.float32 for one in kept)


def test_a_schedule_is_asked_again_each_time():
    score, numbers = [0.0], Numbers(CPU)
    for said in (0.0, 0.5, 0.25):
        score[0] = said
        assert number(numbers.tell(0.0), lambda _: 1.0 - score[0]).item() == 1.0 - said


def test_a_scalar_is_a_tensor_once():
    value = torch.tensor(2.0)
    assert scalar(value, CPU) is value
    assert torch.equal(scalar(0.1, CPU), torch.tensor(0.1))
