"""The target of Munchausen Q-learning: the policy's own log-probability as a part of the reward.

Networks and target copies live in `learning/`; the plain targets in `temporal_difference`. Nothing here waits for a GPU.
"""

from torch import Tensor
from torch.nn import functional

from distributed_kd.maths.targets import Temperature


def munchausen_target(
    q_tm1_target: Tensor,
    a_tm1: Tensor,
    q_t_target: Tensor,
    r_t: Tensor,
    discount_t: Tensor,
    factor: float,
    temperature: Temperature,
    lowest: float = -1.0,
) -> Tensor:
    """r_t + factor * clip(l(a_tm1), lowest, 0) + discount_t * sum_a pi(a) * (q_t_target(a) - l_t(a)).

    pi = softmax(q / temperature), l = temperature * log pi. q_tm1_target [B, A] is the target network's at the first
    observation, a_tm1 [B] int64 the action taken there, q_t_target [B, A] its values of the observation to bootstrap from,
    r_t [B], discount_t [B] (0 after a termination). temperature above 0 and lowest at most 0 in the unit of returns; factor
    from 0 (soft Q-learning) to 1. Gives [B], detached. AssertionError where shapes differ.
    Vieillard, Pietquin and Geist 2020, 2007.14430, equation 1 and section 3 (the clipping).
    """
    assert q_t_target.ndim == 2 and q_tm1_target.shape == q_t_target.shape, (q_tm1_target.shape, q_t_target.shape)
    assert a_tm1.shape == discount_t.shape == r_t.shape == q_t_target.shape[:1], (a_tm1.shape, discount_t.shape, r_t.shape)
    taken = _scaled_log_policy(q_tm1_target, temperature).gather(-1, a_tm1.unsqueeze(-1)).squeeze(-1)  # [B]
    scaled_log_pi_t = _scaled_log_policy(q_t_target, temperature)
    pi_t = (scaled_log_pi_t / temperature).exp()
    soft_value_t = (pi_t * (q_t_target - scaled_log_pi_t)).sum(dim=-1)
    return (r_t + factor * taken.clamp(lowest, 0.0) + discount_t * soft_value_t).detach()


def _scaled_log_policy(q: Tensor, temperature: Temperature) -> Tensor:
    """temperature * log softmax(q / temperature), [B, A] in the unit of q."""
    # The best is taken off before the division: at a small temperature the quotients are so large that their differences
    # would round away. The logarithm is never taken of a probability, which may round to 0.
    gap = q - q.max(dim=-1, keepdim=True).values
    return temperature * functional.log_softmax(gap / temperature, dim=-1)
