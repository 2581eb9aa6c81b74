"""What stands before the first layer of a network: observations as float32, and images with their channels first."""

import torch
from torch import Tensor, nn

from distributed_kd.records import EnvSpec


def image_shape(spec: EnvSpec) -> tuple[int, int, int] | None:
    """(channels, height, width) of what a convolution is given; None where the observations are no images.

    An observation of two axes is one channel, or one for each stacked; of three axes, its channels once for each stacked.
    """
    shape = spec.observation_shape
    if len(shape) == 2:
        return (spec.frame_stack, *shape)
    if len(shape) != 3 or spec.channels == "none":
        return None
    channels, height, width = shape if spec.channels == "first" else (shape[2], *shape[:2])
    return spec.frame_stack * channels, height, width


class Scaled(nn.Module):
    """Observations as float32, whole numbers times the environment's scale. It has no parameters."""

    def __init__(self, spec: EnvSpec):
        super().__init__()
        self._scale = spec.scale

    def forward(self, observation: Tensor) -> Tensor:
        """[B, *input_shape] -> the same shape."""
        if observation.is_floating_point():  # only bytes have a scale
            return observation.to(torch.float32)
        observation = observation.to(torch.float32)
        return observation if self._scale == 1.0 else observation.mul_(self._scale)

    def prepared(self, observation: Tensor) -> Tensor:
        """[B, *input_shape] -> the same observations so that `forward`, of this network or another, has nothing left to do.

        What several networks read is converted once, which takes longer than a small network's own work on it.
        """
        return Scaled.forward(self, observation)


class Flat(Scaled):
    """One row of numbers for each observation."""

    def forward(self, observation: Tensor) -> Tensor:
        """[B, *input_shape] -> [B, the product of input_shape]."""
        return super().forward(observation.flatten(1))


class Image(Scaled):
    """One image for each observation, the channels of stacked ones in the order of time."""

    def __init__(self, spec: EnvSpec, channels_last: bool = False):
        super().__init__(spec)
        self._stacked, self._shape = spec.frame_stack > 1, image_shape(spec)
        self._last = len(spec.observation_shape) == 3 and spec.channels == "last"
        self._channels_last = channels_last

    def forward(self, observation: Tensor) -> Tensor:
        """[B, *input_shape] -> [B, C, H, W], in memory as the convolutions are fastest with it."""
        if self._last:
            observation = observation.movedim(-1, -3)
        # On one CPU thread, 32 images: channels last take 15 % off an update of nature at 84x84, 32 % off one of impala, and
        # add 5 % to one of minatar at 10x10.
        last = self._channels_last and not observation.is_cuda
        order = torch.channels_last if last else torch.contiguous_format
        # Ordered before they become floats, as bytes are a quarter of what must be moved.
        return super().forward(observation.reshape(-1, *self._shape).contiguous(memory_format=order))

    def prepared(self, observation: Tensor) -> Tensor:
        if self._last and self._stacked:
            return super().prepared(observation)  # no order of the memory suits both shapes
        image = self(observation)
        return image.movedim(1, -1) if self._last else image.view(observation.shape)
