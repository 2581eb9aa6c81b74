"""What stands before the first layer: scale, and where each number of an image goes."""

import pytest
import torch

from distributed_kd.networks.inputs import Flat, Image, Scaled, image_shape
from distributed_kd.records import EnvSpec


def spec_of(*shape, stack=1, channels="none", scale=1.0):
    return EnvSpec("Frames", shape, "uint8", 2, frame_stack=stack, channels=channels, scale=scale)


@pytest.mark.parametrize(
    ("spec", "shape"),
    [
        (spec_of(7, 8), (1, 7, 8)),
        (spec_of(7, 8, stack=4), (4, 7, 8)),
        (spec_of(3, 7, 8, channels="first"), (3, 7, 8)),
        (spec_of(7, 8, 3, channels="last"), (3, 7, 8)),
        (spec_of(3, 7, 8, stack=2, channels="first"), (6, 7, 8)),
        (spec_of(7, 8, 3, stack=2, channels="last"), (6, 7, 8)),
        (spec_of(4), None),
        (spec_of(4, stack=3), None),
        (spec_of(7, 8, 3), None),
        (spec_of(2, 3, 4, 5), None),
    ],
)
def test_what_a_convolution_is_given(spec, shape):
    assert image_shape(spec) == shape
    if shape:
        observation = torch.zeros((5, *spec.input_shape), dtype=torch.uint8)
        assert Image(spec)(observation).shape == (5, *shape)


@pytest.mark.parametrize("channels_last", [False, True])
def test_every_number_finds_its_place(channels_last):
    # Two observations of two stacked images of 2x3 with three channels; each number tells batch, time, channel, row, column.
    digits = torch.arange(2).view(2, 1, 1, 1, 1) * 10_000 + torch.arange(2).view(1, 2, 1, 1, 1) * 1_000
    first = digits + torch.arange(3).view(3, 1, 1) * 100 + torch.arange(2).view(2, 1) * 10 + torch.arange(3)
    image = Image(spec_of(3, 2, 3, stack=2, channels="first"), channels_last)(first)
    # The older image's channels, then the newer one's.
    assert image[1, :, 1, 2].tolist() == [10_012, 10_112, 10_212, 11_012, 11_112, 11_212]
    assert image[0, 4].tolist() == [[1_100, 1_101, 1_102], [1_110, 1_111, 1_112]]
    last = first.permute(0, 1, 3, 4, 2)
    assert torch.equal(Image(spec_of(2, 3, 3, stack=2, channels="last"), channels_last)(last), image)
    assert image.is_contiguous(memory_format=torch.channels_last) == channels_last


def test_one_image_without_channels_is_one_channel():
    observation = torch.arange(12).view(2, 2, 3)
    assert Image(spec_of(2, 3))(observation).tolist() == [[[[0, 1, 2], [3, 4, 5]]], [[[6, 7, 8], [9, 10, 11]]]]


@pytest.mark.parametrize("kind", [Scaled, Flat, Image])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_the_scale_is_taken_as_float32(kind, dtype):
    observation = torch.tensor([[[0, 51], [102, 255]]], dtype=dtype)
    scaled = kind(spec_of(2, 2, scale=1 / 255))(observation)
    assert scaled.dtype == torch.float32
    torch.testing.assert_close(scaled.flatten(), torch.tensor([0.0, 0.2, 0.4, 1.0]))
    assert kind(spec_of(2, 2))(observation).flatten().tolist() == [0.0, 51.0, 102.0, 255.0]
    assert observation.flatten().tolist() == [0, 51, 102, 255]  # the replay's own numbers are not touched


@pytest.mark.parametrize("kind", [Scaled, Flat, Image])
def test_what_has_been_scaled_is_not_scaled_again(kind):
    observation = torch.tensor([[[0.0, 0.2], [0.4, 1.0]]])
    assert torch.equal(kind(spec_of(2, 2, scale=1 / 255))(observation).flatten(), observation.flatten())


IMAGES = [
    spec_of(5, 4, scale=1 / 255),
    spec_of(5, 4, stack=3, scale=1 / 255),
    spec_of(2, 5, 4, channels="first", scale=1 / 255),
    spec_of(2, 5, 4, stack=3, channels="first", scale=1 / 255),
    spec_of(5, 4, 2, channels="last", scale=1 / 255),
    spec_of(5, 4, 2, stack=3, channels="last", scale=1 / 255),
]


@pytest.mark.parametrize("spec", IMAGES, ids=lambda spec: f"{spec.input_shape}-{spec.channels}")
@pytest.mark.parametrize("channels_last", [False, True])
def test_prepared_observations_are_what_every_network_would_make_of_them(spec, channels_last):
    raw = torch.randint(0, 256, (3, *spec.input_shape), dtype=torch.uint8)
    image = Image(spec, channels_last)
    prepared = image.prepared(raw)
    assert prepared.shape == raw.shape and prepared.dtype == torch.float32
    for part in (image, Flat(spec), Scaled(spec)):
        assert torch.equal(part(prepared), part(raw))
    if not (spec.frame_stack > 1 and spec.channels == "last"):
        assert image(prepared).data_ptr() == prepared.data_ptr()  # nothing is copied any more


def test_stacked_numbers_are_one_row():
    observation = torch.arange(12).view(2, 3, 2)
    assert Flat(spec_of(2, stack=3))(observation).tolist() == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]
    assert Scaled(spec_of(2, stack=3))(observation).shape == (2, 3, 2)
