import pytest
import torch

from distributed_kd.networks.mlp import MLP


def set_to(layer, weight, bias):
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weight))
        layer.bias.copy_(torch.tensor(bias))


def test_a_hidden_layer_worked_by_hand():
    network = MLP(2, (2,), 2)
    set_to(network.body[0], [[1.0, 1.0], [1.0, -1.0]], [0.5, 0.0])
    set_to(network.advantage, [[2.0, 10.0], [-1.0, 1.0]], [0.0, 0.25])
    output = network(torch.tensor([[1.0, 2.0], [3.0, 1.0]]))
    # Row 0: hidden relu(3.5, -1) = (3.5, 0), so 2 * 3.5 = 7 and -3.5 + .25. Row 1: relu(4.5, 2), so 9 + 20, -4.5 + 2 + .25.
    torch.testing.assert_close(output, torch.tensor([[7.0, -3.25], [29.0, -2.25]]))


def test_no_rectifier_behind_the_last_layer():
    network = MLP(1, (), 2)
    set_to(network.advantage, [[1.0], [-1.0]], [0.0, 0.0])
    torch.testing.assert_close(network(torch.tensor([[2.0]])), torch.tensor([[2.0, -2.0]]))


def test_dueling_worked_by_hand():
    network = MLP(1, (), 3, dueling=True)
    set_to(network.advantage, [[1.0], [2.0], [6.0]], [0.0, 0.0, 0.0])
    set_to(network.value, [[10.0]], [1.0])
    output = network(torch.tensor([[1.0], [2.0]]))
    # v = 11 and 21; advantages (1, 2, 6) less their mean 3, and twice that.
    torch.testing.assert_close(output, torch.tensor([[9.0, 10.0, 14.0], [17.0, 19.0, 27.0]]))
    # The mean over the actions is the value, for every row by itself.
    torch.testing.assert_close(output.mean(1), torch.tensor([11.0, 21.0]))


def test_integer_and_double_observations_are_taken_as_float32():
    network = MLP(4, (3,), 2)
    picture = torch.tensor([[[0, 255], [7, 1]]], dtype=torch.uint8)
    expected = network(picture.float())
    assert expected.dtype == torch.float32
    assert torch.equal(network(picture), expected)
    assert torch.equal(network(picture.double()), expected)


def test_the_hidden_layers_worked_by_hand():
    network = MLP(2, (2, 1), 2)
    set_to(network.body[0], [[1.0, 1.0], [1.0, -1.0]], [0.5, 0.0])
    set_to(network.body[2], [[2.0, 3.0]], [-8.0])
    set_to(network.advantage, [[1.0], [-1.0]], [0.0, 0.0])
    outputs, (first, second) = network.trace(torch.tensor([[1.0, 2.0], [3.0, 1.0]]))
    # What the rectifiers let through: (3.5, -1) and (4.5, 2), then 7 - 8 and 9 + 6 - 8.
    torch.testing.assert_close(first, torch.tensor([[3.5, 0.0], [4.5, 2.0]]))
    torch.testing.assert_close(second, torch.tensor([[0.0], [7.0]]))
    torch.testing.assert_close(outputs, torch.tensor([[0.0, 0.0], [7.0, -7.0]]))


@pytest.mark.parametrize("dueling", [False, True])
@pytest.mark.parametrize("hidden", [(), (5,), (5, 3)])
def test_outputs_are_the_same_whether_the_layers_are_asked_for_or_not(hidden, dueling):
    network = MLP(4, hidden, 3, dueling)
    picture = torch.tensor([[[0, 255], [7, 1]], [[3, 2], [1, 0]]], dtype=torch.uint8)
    outputs, layers = network.trace(picture)
    assert torch.equal(outputs, network(picture))
    assert [layer.shape for layer in layers] == [(2, width) for width in hidden]
