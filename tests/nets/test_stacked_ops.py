"""The pieces of a stack: batches, products over patches, normalisation."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra [torch]")
pytest.importorskip("skorch", reason="needs the extra [torch]")

import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

from certified_ensembles.nets import NetworkInNetwork  # noqa: E402
from certified_ensembles.nets._batched.ops import MaskedNorm, PatchConv  # noqa: E402
from certified_ensembles.nets._batched.stack import BatchedModule  # noqa: E402
from certified_ensembles.nets._batched.tracing import operations_of  # noqa: E402
from certified_ensembles.nets._batched.training import padded_length  # noqa: E402
from certified_ensembles.nets._training import batch_lengths  # noqa: E402


@pytest.mark.parametrize("n", [2, 3, 7, 8, 9, 16, 17, 41])
@pytest.mark.parametrize("batch_size", [2, 8, 128])
def test_batches_cover_the_rows_and_none_is_a_single_row(n, batch_size):
    lengths = batch_lengths(n, batch_size)
    assert sum(lengths) == n
    assert min(lengths) >= 2
    assert max(lengths) <= batch_size + 1


def test_batches_are_padded_to_few_sizes():
    for n in range(2, 2000):
        assert padded_length(n) % 4 == 0
        assert n <= padded_length(n) <= max(4, n + 3, 1.25 * n)
        assert n <= padded_length(n, to_power_of_two=True) < max(17, 2 * n)
    assert len({padded_length(n) for n in range(1, 129)}) == 16
    assert {padded_length(n, to_power_of_two=True) for n in range(1, 129)} == {16, 32, 64, 128}


@pytest.mark.parametrize(
    "layer",
    [nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 2, 5, stride=2, padding=2),
     nn.Conv2d(2, 3, 1), nn.Conv2d(2, 3, 1, stride=2), nn.Conv2d(2, 3, (3, 2), (2, 1), (0, 1)),
     nn.Conv2d(2, 3, 3, dilation=2, padding=1)],
)  # fmt: skip
def test_products_over_patches_are_convolutions(layer):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, layer.in_channels, 3, 7, 6, generator=generator).double()
    weight = torch.randn(2, *layer.weight.shape, generator=generator).double()
    x.requires_grad_()
    weight.requires_grad_()
    y = PatchConv.apply(x, weight.flatten(2), layer)
    for slot in range(2):
        expected = F.conv2d(
            x[slot].transpose(0, 1),
            weight[slot],
            None,
            layer.stride,
            layer.padding,
            layer.dilation,
        )
        torch.testing.assert_close(y[slot].transpose(0, 1), expected)
    assert torch.autograd.gradcheck(
        lambda x, w: PatchConv.apply(x, w.flatten(2), layer), (x, weight)
    )


@pytest.mark.parametrize("maps", [True, False])
@pytest.mark.parametrize("patches", [True, False])
def test_normalisation_leaves_out_the_rows_that_fill_up(maps, patches):
    generator = torch.Generator().manual_seed(0)
    lengths, channels = (5, 3), 3
    shape = (4, 2) if maps else ()
    x = torch.randn(2, 6, channels, *shape, generator=generator).double()  # slots, rows, ...
    share = [[1 / n] * n + [0.0] * (6 - n) for n in lengths]
    share = torch.tensor(share, dtype=torch.float64)
    weight, bias = torch.randn(2, 2, channels, generator=generator).double()
    grad = torch.randn(x.shape, generator=generator).double()
    grad *= (share > 0).view(2, 6, *[1] * (x.ndim - 2))
    order = ((0, 2, 1, 3, 4) if patches else (1, 0, 2, 3, 4)) if maps else (0, 1, 2)
    leaves = [x.permute(order).contiguous(), weight, bias]
    for leaf in leaves:
        leaf.requires_grad_()
    y, mean, variance = MaskedNorm.apply(*leaves, share, 1e-5, patches)
    y.backward(grad.permute(order))
    back = np.argsort(order).tolist()
    for slot, n in enumerate(lengths):
        own = [x[slot, :n].clone(), weight[slot].detach(), bias[slot].detach()]
        for leaf in own:
            leaf.requires_grad_()
        expected = F.batch_norm(own[0], None, None, own[1], own[2], training=True)
        expected.backward(grad[slot, :n])
        torch.testing.assert_close(y.permute(back)[slot, :n], expected)
        torch.testing.assert_close(leaves[0].grad.permute(back)[slot, :n], own[0].grad)
        torch.testing.assert_close(leaves[1].grad[slot], own[1].grad)
        torch.testing.assert_close(leaves[2].grad[slot], own[2].grad)
        axes = (0, 2, 3) if maps else 0
        torch.testing.assert_close(mean[slot], own[0].detach().mean(axes))
        torch.testing.assert_close(variance[slot], own[0].detach().var(axes, correction=0))


def test_what_is_stored_is_what_was_loaded():
    nets = [NetworkInNetwork(1, 10, width=0.05) for _ in range(8)]
    stack = BatchedModule(nets[0], operations_of(nets[0]), 8, "cpu", torch.float32, False)
    for slot, net in enumerate(nets):
        stack.load(slot, net)
    for slot, net in enumerate(nets):
        copy = NetworkInNetwork(1, 10, width=0.05)
        stack.store(slot, copy)
        for a, b in zip(net.parameters(), copy.parameters(), strict=True):
            assert torch.equal(a, b)
