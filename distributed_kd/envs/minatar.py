"""MinAtar's environments as they should be: an episode begins the same whatever came before it."""

import gymnasium as gym


class NoActionBefore(gym.Wrapper):
    """Forgets the last action at a reset.

    MinAtar's sticky actions repeat it with a probability of 0.1, and MinAtar keeps it beyond an episode's end: the first
    step could repeat what was done in another episode, which neither the seed nor the actions of this one tell.
    """

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        self.unwrapped.game.last_action = 0
        return self.env.reset(seed=seed, options=options)
