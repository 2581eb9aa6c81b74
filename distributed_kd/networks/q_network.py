"""The networks by name: an input part, the layers of their kind, and what they end in."""

import torch
from torch import Tensor, nn

from distributed_kd.maths.distributional import c51_mean, quantile_mean, support
from distributed_kd.network_config import HeadConfig, NetworkConfig
from distributed_kd.networks.bodies import layers, no_image
from distributed_kd.networks.inputs import Flat, Image, image_shape
from distributed_kd.networks.noisy import NoisyLinear
from distributed_kd.records import EnvSpec

PLAIN = HeadConfig()
"""One linear layer that gives a Q-value for each action"""
LARGE_IMAGES = ("nature", "impala")
"""The kinds whose convolutions are faster on a CPU with the channels last in memory"""


class QNetwork(nn.Module):
    """Observations [B, *input_shape] of any dtype to one Q-value for each action [B, A].

    With `head.dueling`, value and advantage streams share the body: q = v + a - mean(a) (Wang et al. 2016), and each atom
    by itself where a distribution is learned (Hessel et al. 2018, 1710.02298). The `support` of c51 is [N] returns.
    """

    def __init__(self, config: NetworkConfig, spec: EnvSpec, head: HeadConfig = PLAIN):
        super().__init__()
        self._head, self._actions = head, spec.actions
        if config.is_convolutional:
            shape = image_shape(spec)
            if shape is None:
                raise no_image(config.kind, spec.observation_shape)
            self.input = Image(spec, channels_last=config.kind in LARGE_IMAGES)
        else:
            shape = spec.input_shape
            self.input = Flat(spec)
        self.body, features = layers(config, shape)
        linear = NoisyLinear if head.noisy else nn.Linear
        self.advantage = linear(features, spec.actions * head.outputs)
        self.value = linear(features, head.outputs) if head.dueling else None
        atoms = support(head.atoms, head.v_min, head.v_max) if head.distribution == "c51" else None
        self.register_buffer("support", atoms, persistent=False)

    def forward(self, observation: Tensor) -> Tensor:
        """[B, *input_shape] -> Q-values [B, A]; of a distribution, its mean."""
        return self.mean(self._outputs(self.body(self.input(observation))))

    def distribution(self, observation: Tensor) -> Tensor:
        """[B, *input_shape] -> [B, A, N]: logits of the atoms (c51), or the quantiles of the return.

        AssertionError where the head has no distribution.
        """
        assert self._head.distribution != "none", "this network gives Q-values, and no distribution of them"
        return self._outputs(self.body(self.input(observation)))

    def trace(self, observation: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """[B, *input_shape] -> the outputs [B, A], as of `forward`, and what each hidden layer gives, first to last.

        [B, width] of a linear layer behind its ReLU, [B, C, H, W] of a convolution behind its, or of a residual stack.
        """
        outputs, hidden = self.trace_outputs(observation)
        return self.mean(outputs), hidden

    def trace_outputs(self, observation: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """As `trace`, but of a distribution the outputs are those of `distribution`."""
        features, hidden = self.body(self.input(observation), trace=True)
        return self._outputs(features), hidden

    def mean(self, outputs: Tensor) -> Tensor:
        """What `distribution` gives, [B, A, N], as Q-values [B, A]; Q-values as they are."""
        if self._head.distribution == "c51":
            return c51_mean(outputs, self.support)
        return quantile_mean(outputs) if self._head.distribution == "quantile" else outputs

    def plain_layers(self) -> list[nn.Linear] | None:
        """Its layers where it is nothing but linear ones with a ReLU between each two, in the order of its parameters.

        The last one gives the outputs; with `is_dueling` the last two do, the advantages and the value.
        """
        linear = [*(layer for layer in self.body if isinstance(layer, nn.Linear)), self.advantage]
        others = [layer for layer in self.body if not isinstance(layer, (nn.Linear, nn.ReLU))]
        if others or self._head.noisy or self._head.distribution != "none":
            return None
        return [*linear, self.value] if self.is_dueling else linear

    @property
    def is_dueling(self) -> bool:
        return self._head.dueling

    def _outputs(self, features: Tensor) -> Tensor:
        if features.dtype != torch.float32:
            # Under autocast the body may be of few digits; values that differ by little from each other may not.
            with torch.autocast(features.device.type, enabled=False):
                return self._outputs(features.float())
        advantage = self.advantage(features)
        if self._head.distribution != "none":
            advantage = advantage.unflatten(1, (self._actions, self._head.atoms))
        if self.value is None:
            return advantage
        value = self.value(features)
        if self._head.distribution != "none":
            value = value.unsqueeze(1)
        return value + advantage - advantage.mean(1, keepdim=True)
