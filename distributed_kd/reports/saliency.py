"""What in an image a policy's choice hangs on: the gradient of the gap between its two best actions."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from distributed_kd.maths.normalisation import normalised
from distributed_kd.maths.targets import action_gap
from distributed_kd.records import EnvSpec
from distributed_kd.reports.markup import Html
from distributed_kd.reports.opened import Opened
from distributed_kd.reports.svg import drawn

FRAMES = 4
LEAST_SIDE = 8
"""Of an image without channels: a smaller table of numbers is none"""


def has_images(spec: EnvSpec) -> bool:
    return spec.channels != "none" or (len(spec.observation_shape) == 2 and min(spec.observation_shape) >= LEAST_SIDE)


def saliency_maps(opened: Opened, names: Sequence[str], gaps: NDArray) -> list[Html]:
    """A row of frames for the teacher and each of these students, from the quarter of states where it matters most."""
    order = np.argsort(gaps, kind="stable")[-max(len(gaps) // 4, FRAMES) :]
    chosen = order[np.linspace(0, len(order) - 1, min(FRAMES, len(order))).astype(int)]
    observation = torch.from_numpy(np.ascontiguousarray(opened.states[chosen]))
    frames = [frame(opened.spec, one) for one in opened.states[chosen]]
    return [_row(name, frames, saliency(opened, name, observation)) for name in ("teacher", *names)]


def saliency(opened: Opened, name: str, observation: torch.Tensor) -> NDArray[np.float64]:
    """How much each pixel moves the gap between the two best actions: [B, H, W], each image's largest is 1."""
    if opened.normal is not None:
        seen = normalised(observation, torch.from_numpy(opened.normal))
    else:
        seen = observation.to(torch.float32) * (1.0 if observation.is_floating_point() else opened.spec.scale)
    seen.requires_grad_(True)
    (gradient,) = torch.autograd.grad(action_gap(opened.networks[name](seen)).sum(), seen)
    heat = np.stack([_flat(opened.spec, one).sum(0) for one in gradient.abs().double().numpy()])
    return heat / np.maximum(heat.max(axis=(1, 2), keepdims=True), 1e-30)


def frame(spec: EnvSpec, observation: NDArray) -> NDArray[np.float64]:
    """The newest image of an observation in shades from 0 to 1, [H, W]; channels told apart by their shade."""
    newest = observation[-1:] if spec.frame_stack > 1 else observation[None] if spec.channels == "none" else observation
    planes = _flat(spec, newest).astype(float)
    shades = np.linspace(1.0, 0.45, len(planes))[:, None, None]
    image = (planes * shades).max(0)
    low, high = image.min(), image.max()
    return (image - low) / (high - low) if high > low else np.zeros_like(image)


def _flat(spec: EnvSpec, observation: NDArray) -> NDArray:
    """Channels, and what is stacked, as the first axis: [C, H, W]."""
    if spec.channels == "last":
        observation = np.moveaxis(observation, -1, -3)
    return observation.reshape(-1, *observation.shape[-2:])


def _row(name: str, frames: Sequence[NDArray], heat: NDArray) -> Html:
    def draw(figure) -> None:
        for place, (image, hot) in enumerate(zip(frames, heat, strict=True)):
            axes = figure.add_subplot(1, len(frames), place + 1)
            axes.imshow(image, cmap="gray", vmin=0, vmax=1.4, interpolation="nearest")
            axes.imshow(hot, cmap="inferno", vmin=0, vmax=1, alpha=0.85 * hot, interpolation="nearest")
            axes.set_axis_off()
            if place == 0:
                axes.set_title(name)
        figure.subplots_adjust(left=0.01, right=0.99, top=0.86, bottom=0.02, wspace=0.06)

    middle = [np.unravel_index(hot.argmax(), hot.shape) for hot in heat]
    words = ", ".join(f"row {row} column {column}" for row, column in middle)
    return drawn(draw, (5.4, 1.65), f"Saliency of {name} over {len(frames)} frames; the hottest pixels: {words}.")
