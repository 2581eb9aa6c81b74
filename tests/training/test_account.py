"""Every step by what became of it: faults, actors that died, and what a rollback takes away."""

from dataclasses import replace

import pytest
from journals import receipt, stats

from distributed_kd.records import Fault
from distributed_kd.training.account import Account

NOTHING = {"count": 0, "env_steps": 0, "updates": 0}


def faults(*reasons):
    return tuple(Fault(reason, 0, 1, "why", steps=1) for reason in reasons)


def test_steps_that_faults_cost_were_generated_and_dropped():
    account = Account()
    account.collected(replace(stats(14), faults=faults("env_nan", "env_error")))
    account.collected(replace(stats(15), faults=(*faults("env_error"), Fault("env_error", 3, 1, "between episodes", 0))))
    told = account.told(receipt(inserted=29, dropped={"fenced": 0}))
    assert (told["generated"], told["accepted"], told["unknown"]) == (32, 29, 0)
    assert told["dropped"] == {"env_nan": 1, "env_error": 2}
    assert told["env_faults"] == {"env_nan": 1, "env_error": 3}


def test_what_was_under_way_at_an_actor_that_died_is_unknown():
    account = Account()
    account.collected(stats(16))
    account.gave_up(16)
    account.restarted("rollout")
    told = account.told(receipt(inserted=16))
    assert (told["generated"], told["accepted"], told["unknown"]) == (32, 16, 16)
    assert told["restarts"] == {"rollout": 1, "replay": 0, "learner": 0, "evaluation": 0}


def test_the_same_reason_may_come_from_both_sides():
    account = Account()
    account.collected(stats(32))
    account.dropped["lost"] += 16
    assert account.told(receipt(inserted=8, dropped={"lost": 8}))["dropped"] == {"lost": 24}


def filled():
    account = Account()
    for _ in range(4):
        account.collected(replace(stats(15), faults=faults("env_nan")))
    account.gave_up(16)
    account.restarted("learner")
    return account


def test_a_state_comes_back_without_what_was_not_stored():
    again = Account()
    again.restore(filled().state(unstored_steps=30))
    assert again.told(receipt(inserted=30)) == filled().told(receipt(inserted=60)) | {"generated": 50, "accepted": 30}


@pytest.mark.parametrize("has_checkpoint", [True, False])
def test_a_rollback_takes_the_counts_back_and_says_what_it_lost(has_checkpoint):
    account = filled()
    state = account.state(unstored_steps=30) if has_checkpoint else None  # 50 generated
    for _ in range(4):
        account.collected(stats(16))
    account.restarted("replay")
    # 144 were generated, of which 16 are still to be handed over.
    account.went_back(state, unstored_steps=16, updates=7)
    assert account.rollbacks == {"count": 1, "env_steps": 128 - (50 if has_checkpoint else 0), "updates": 7}
    assert account.generated == (66 if has_checkpoint else 16)
    assert account.unknown == (16 if has_checkpoint else 0)
    assert account.restarts == {"rollout": 0, "replay": 1, "learner": 1, "evaluation": 0}, "these have happened all the same"
    account.went_back(account.state(), unstored_steps=0, updates=3)
    assert (account.rollbacks["count"], account.rollbacks["updates"]) == (2, 10)


def test_checkpoints_of_before_anything_could_be_lost_are_taken():
    account = Account()
    account.restore({"generated": 48, "seconds": 1.0})
    told = account.told(receipt(inserted=48))
    assert (told["generated"], told["unknown"], told["rollbacks"]) == (48, 0, NOTHING)
