"""How often students act otherwise, and how much it matters; what they do over two numbers; what they look at."""

import numpy as np
import pytest
import torch
from looked_into import Rule, of_sum, opened

from distributed_kd.reports.decision_maps import CELLS, can_be_mapped, decision_maps
from distributed_kd.reports.disagreement import action_gaps, disagreement_chart, disagreements
from distributed_kd.reports.saliency import frame, has_images, saliency, saliency_maps

STATES = np.array([[1.0, 0.0], [-2.0, 0.0], [3.0, 0.0], [-4.0, 0.0]], np.float32)
NETWORKS = {"teacher": of_sum([1.0, 0.0]), "same": of_sum([2.0, 0.0]), "flipped": of_sum([1.0, 0.0], -1.0),
            "up": Rule(lambda x: torch.tensor([[0.0, 1.0]]).expand(len(x), 2))}  # fmt: skip


def test_disagreement_is_weighted_by_the_gap():
    """The teacher goes up for the first and third state; gaps are 1, 2, 3, 4, so what `up` misses weighs 6 of 10."""
    one = opened(STATES, NETWORKS)
    gaps = action_gaps(one)
    assert gaps.tolist() == [1, 2, 3, 4]
    same, flipped, up = disagreements(one, ["same", "flipped", "up"], gaps)
    assert (same.share, same.gap_weighted) == (0.0, 0.0)
    assert (flipped.share, flipped.gap_weighted) == (1.0, 1.0)
    assert (up.share, up.gap_weighted) == (0.5, pytest.approx(0.6))
    assert up.differs.tolist() == [False, True, False, True]
    assert "up in 50 %, weighted 60 %" in disagreement_chart([same, up], gaps, ["up"])


def test_where_all_actions_are_alike_each_state_counts_the_same():
    one = opened(np.zeros((4, 2), np.float32), NETWORKS)
    (up,) = disagreements(one, ["up"], action_gaps(one))
    assert up.gap_weighted == up.share == 1.0


def test_a_map_shows_the_two_numbers_that_vary_most():
    """Of three numbers the middle one hardly varies; the teacher goes by the first, so that half of its map is action 1."""
    random = np.random.default_rng(0)
    states = (random.uniform(-1, 1, (500, 3)) * [2.0, 0.01, 3.0]).astype(np.float32)
    one = opened(states, {"teacher": of_sum([1.0, 0.0, 0.0]), "other": of_sum([0.0, 0.0, 1.0])})
    gaps = action_gaps(one)
    teacher, other = decision_maps(one, ["other"], disagreements(one, ["other"], gaps), gaps)
    for made in (teacher, other):
        assert "observation[0]" in made and "observation[2]" in made and "observation[1]" not in made
        assert "action 0 on 50%, action 1 on 50% of the map" in made
    assert "other: differs in" in other and CELLS % 2 == 0


def test_only_few_numbers_that_vary_are_mapped():
    assert can_be_mapped(opened(np.eye(4, 8, dtype=np.float32), NETWORKS))
    assert not can_be_mapped(opened(np.eye(4, 9, dtype=np.float32), NETWORKS))
    assert not can_be_mapped(opened(STATES, NETWORKS)), "its second number is always 0"
    assert not can_be_mapped(opened(np.ones((4, 1), np.float32), NETWORKS))


IMAGES = {"last": (6, 10, 10, 3), "first": (6, 3, 10, 10), "none": (6, 10, 10)}


@pytest.mark.parametrize("channels", IMAGES)
@pytest.mark.parametrize("stack", [1, 2])
def test_saliency_finds_the_pixel_that_decides(channels, stack):
    """Values hang on the pixel in row 4, column 7 alone, of every channel and frame."""
    shape = IMAGES[channels]
    shape = (shape[0], stack, *shape[1:]) if stack > 1 else shape
    states = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)

    def q(x):
        pixel = (x[..., 4, 7, :] if channels == "last" else x[..., 4, 7]).reshape(len(x), -1).sum(1)
        return torch.stack([pixel, -pixel], dim=1)

    one = opened(states, {"teacher": Rule(q)}, channels, stack, scale=1 / 255)
    assert has_images(one.spec)
    heat = saliency(one, "teacher", torch.from_numpy(states))
    assert heat.shape == (6, 10, 10)
    assert all((hot == 1.0).sum() == 1 and hot[4, 7] == 1.0 and hot.sum() == 1.0 for hot in heat)
    (row,) = saliency_maps(one, [], np.arange(6.0))
    assert "row 4 column 7" in row
    image = frame(one.spec, states[0])
    assert image.shape == (10, 10) and image.min() == 0.0 and image.max() == 1.0


def test_the_newest_of_stacked_frames_is_shown():
    states = np.zeros((1, 2, 10, 10), np.float32)
    states[0, 0, 1, 1], states[0, 1, 2, 2] = 1.0, 1.0
    one = opened(states, NETWORKS, frame_stack=2)
    assert np.argwhere(frame(one.spec, states[0])).tolist() == [[2, 2]]


def test_a_table_of_numbers_is_no_image():
    assert not has_images(opened(np.zeros((2, 5, 5), np.float32), NETWORKS).spec)
