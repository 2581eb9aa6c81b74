"""Which steps are drawn more often than others, and the weights that take the bias of it out of a loss.

Which steps there are, and the draws themselves, live in `replay/`. Nothing here waits for a GPU.
"""

from torch import Tensor

SMALLEST_PRIORITY = 1e-6
"""`priority`: in the unit of the error, so that a step learned perfectly is still drawn now and then"""


def priority(td_error: Tensor) -> Tensor:
    """How much a step should be replayed: |td_error| + SMALLEST_PRIORITY, before the replay's exponent.

    td_error [B] in the unit of returns. Gives [B] in the same unit, detached. AssertionError where it is not 1-D.
    Schaul et al. 2016, 1511.05952, section 3.3, proportional.
    """
    _check(td_error)
    return td_error.detach().abs() + SMALLEST_PRIORITY


def importance_weights(oversampling: Tensor, exponent: float) -> Tensor:
    """oversampling ** -exponent over its maximum in the batch: so the weights only ever shrink an update.

    oversampling [B] above 0: how many times as likely each row was drawn as under uniform draws, N * P(i); exponent 0
    corrects nothing, 1 corrects in full. Gives [B], at most 1, detached. AssertionError where it is not 1-D.
    Schaul et al. 2016, 1511.05952, section 3.4.
    """
    _check(oversampling)
    return _inverse(oversampling) ** exponent


def corrected_weights(oversampling: Tensor) -> Tensor:
    """1 / oversampling, scaled to a mean of 1 in the batch: losses of uniform draws, learned from other draws.

    oversampling [B] above 0, as in `importance_weights`. Gives [B], detached. AssertionError where it is not 1-D.
    Self-normalised importance sampling: Owen 2013, Monte Carlo theory, methods and examples, section 9.2.
    """
    _check(oversampling)
    inverse = _inverse(oversampling)
    return inverse / inverse.mean()


def _inverse(oversampling: Tensor) -> Tensor:
    """1 / oversampling over its maximum [B]; the least one goes into the division, so that nothing overflows."""
    oversampling = oversampling.detach()
    return oversampling.min() / oversampling


def _check(per_row: Tensor) -> None:
    assert per_row.ndim == 1, f"one number for each row is [B], not {per_row.shape}"
