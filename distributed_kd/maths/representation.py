"""Losses that draw a student's hidden layers to a teacher's: what a state is made of, or how states relate.

The teacher's layer is detached inside; every loss is a 0-d tensor, without a unit but for `hint`. Nothing here waits for
a GPU. Which layers are compared, and the projection that `hint` needs, live in `learning/`.
"""

import torch
from torch import Tensor
from torch.nn import functional

from distributed_kd.maths.targets import batch_mean

COINCIDENT = 1e-3
"""`relational`: rows nearer than this share of the root mean square distance have no direction between them. The same
state drawn twice differs by rounding alone, and the gradient of an angle grows as 1 / distance."""


def hint(projected: Tensor, teacher: Tensor, weight: Tensor | None = None) -> Tensor:
    """Squared distance of the projected student layer from the teacher's, summed over the features, batch mean.

    projected [B, ...], the student's layer after a learned projection, and teacher [B, ...] of the same size of row W;
    weight [B] with mean 1, or None. Gives the teacher's unit squared, 0-d; the gradient is 2 (projected - teacher) / B.
    AssertionError where shapes differ. FitNets: Romero et al. 2015, 1412.6550.
    """
    projected, teacher = _rows(projected), _rows(teacher).detach()
    assert projected.shape == teacher.shape, f"layers must both be [B, W], not {projected.shape} and {teacher.shape}"
    return batch_mean((projected - teacher).square().sum(dim=-1), weight)


def attention(student: Tensor, teacher: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean over the places of an image of (A_S - A_T)^2, batch mean; A = mean over channels of F^2, of length 1.

    student [B, C_S, H, W] and teacher [B, C_T, H, W] outputs of convolutions; weight [B] with mean 1, or None. Gives a
    0-d tensor; the scale of either layer does not matter. AssertionError where a layer is not 4-D, or batch, height or
    width differ. Zagoruyko and Komodakis 2017, 1612.03928.
    """
    for layer in (student, teacher):
        assert layer.ndim == 4, f"attention needs convolutional layers [B, C, H, W], not {layer.shape}"
    same = student.shape[0] == teacher.shape[0] and student.shape[2:] == teacher.shape[2:]
    assert same, f"attention compares places: batch, height and width differ in {student.shape} and {teacher.shape}"
    return batch_mean((_attention_map(student) - _attention_map(teacher.detach())).square().mean(dim=-1), weight)


def relational(
    student: Tensor,
    teacher: Tensor,
    distance_weight: float = 25.0,
    angle_weight: float = 50.0,
    angle_rows: int = 32,
) -> Tensor:
    """distance_weight * smooth L1 of the rows' distances + angle_weight * smooth L1 of the angles between them.

    student [B, ...] and teacher [B, ...], rows of any size. Distances are divided by the mean of the non-zero ones;
    angles are cosines at i between j and k, for all triples of the first angle_rows rows (the batch is in random order,
    and they cost the cube of it). Both are means over all pairs and triples, those of a row with itself, which are 0,
    among them, as in the authors' code. Gives a 0-d tensor; scale and place of either layer do not matter.
    AssertionError where B differs or is below 2. RKD: Park et al. 2019, 1904.05068.
    """
    student, teacher = _related_rows(student, teacher)
    distances = functional.smooth_l1_loss(_distances(student), _distances(teacher))
    angles = functional.smooth_l1_loss(_cosines(student[:angle_rows]), _cosines(teacher[:angle_rows]))
    return distance_weight * distances + angle_weight * angles


def similarity(student: Tensor, teacher: Tensor) -> Tensor:
    """||G_S - G_T||_F^2 / B^2, G = h h^T with each row divided by its length.

    student [B, ...] and teacher [B, ...], rows of any size. Gives a 0-d tensor; the scale of either layer does not
    matter. AssertionError where B differs or is below 2. Tung and Mori 2019, 1907.09682.
    """
    student, teacher = _related_rows(student, teacher)
    return (_unit(student @ student.T) - _unit(teacher @ teacher.T)).square().mean()


def _rows(layer: Tensor) -> Tensor:
    assert layer.ndim >= 2, f"a layer is [B, ...], not {layer.shape}"
    return layer.flatten(1)


def _related_rows(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """[B, D_S] and [B, D_T], the teacher's detached."""
    student, teacher = _rows(student), _rows(teacher).detach()
    assert len(student) == len(teacher), f"layers must be of the same states, not {student.shape} and {teacher.shape}"
    assert len(student) >= 2, "a single state has no relation to others: nothing could be learned from it"
    return student, teacher


def _unit(vectors: Tensor, shortest: Tensor | float = 0.0) -> Tensor:
    """Vectors [..., D] divided by their length; zeros, and no gradient, for those not longer than `shortest`."""
    square = vectors.square().sum(dim=-1, keepdim=True)
    # Not F.normalize: it divides the gradient of a zero vector, such as a layer of dead units, by its epsilon of 1e-12.
    long = square > shortest**2
    return torch.where(long, vectors, 0.0) / torch.where(long, square, 1.0).sqrt()


def _attention_map(layer: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, H * W]."""
    return _unit(layer.square().mean(dim=1).flatten(1))


def _distances(rows: Tensor) -> Tensor:
    """Euclidean distances [B, B] of rows [B, D], divided by the mean of the non-zero ones."""
    # By way of a matrix product, the default for many rows, the distance of a row to itself is not 0.
    distances = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
    mean = distances.sum() / (distances > 0).sum().clamp_min(1)
    return distances / torch.where(mean > 0, mean, 1.0)


def _cosines(rows: Tensor) -> Tensor:
    """Cosine [B, B, B] of the angle at row i between rows j and k, of rows [B, D]; 0 where two coincide."""
    differences = rows.unsqueeze(0) - rows.unsqueeze(1)  # [B, B, D]
    spread = differences.detach().square().sum(dim=-1).mean().sqrt()
    directions = _unit(differences, shortest=COINCIDENT * spread)
    return directions @ directions.mT
