"""Who finds room on which machines, and that what was taken comes back."""

from distributed_kd.comparing.room import Need, Room
from distributed_kd.training.plan import Node

RUN = Need([{"CPU": 1.5}, {"CPU": 1.0}, {"CPU": 1.0}], memory=10)


def taken(room: Room, need: Need) -> int:
    count = 0
    while room.take(need) is not None:
        count += 1
    return count


def test_as_many_as_the_cores_hold():
    assert taken(Room([Node(16, 0)]), RUN) == 4  # 3.5 each
    assert taken(Room([Node(2, 0)]), Need([{"CPU": 1.0}])) == 2
    assert taken(Room([Node(3, 0)]), RUN) == 0


def test_a_part_stands_on_one_machine():
    # 7 cores in all, but no machine has 1.5 left once each has run a core: 1.5 + 1 on the first, 1 on the second, ...
    assert taken(Room([Node(3.5, 0), Node(3.5, 0)]), RUN) == 2
    assert taken(Room([Node(1, 0)] * 7), RUN) == 0


def test_memory_bounds_runs_on_one_machine_alone():
    assert taken(Room([Node(16, 0)], memory=25), RUN) == 2
    assert taken(Room([Node(16, 0)], memory=None), RUN) == 4


def test_gpus_are_given_out_one_by_one_by_their_number():
    room = Room([Node(16, 2)])
    need = Need([{"CPU": 1.5, "GPU": 1.0}, {"CPU": 0.5}])
    first, second = room.take(need), room.take(need)
    assert (first.gpus, second.gpus) == (((0, 0),), ((0, 1),))
    assert room.take(need) is None
    assert room.take(Need([{"CPU": 1.0}])) is not None, "one that needs none finds room all the same"
    room.give_back(second)
    assert room.take(need).gpus == ((0, 1),)


def test_what_does_not_fit_takes_nothing_and_what_is_over_gives_all_back():
    room = Room([Node(4, 1)], memory=15)
    assert room.take(Need([{"CPU": 2.0, "GPU": 1.0}, {"CPU": 3.0}], memory=1)) is None
    for _ in range(50):  # quarters and thirds add up to what they were
        share = room.take(Need([{"CPU": 4 / 3, "GPU": 1.0}, {"CPU": 4 / 3}, {"CPU": 4 / 3}], memory=15))
        assert share is not None
        assert room.take(Need([{"CPU": 0.25}])) is None
        room.give_back(share)
