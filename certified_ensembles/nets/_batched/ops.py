"""Operations on networks that stand side by side: no slot's result depends on another slot.

The slots are the first axis of matrices and of rows; maps have the axes (slots, channels, rows,
height, width) if convolutions go over patches, else (rows, slots, channels, height, width).
"""

import torch
import torch.nn.functional as F


def places(x):
    """Return the number of places in a map; 1 for a row."""
    return x.shape[3] * x.shape[4] if x.ndim == 5 else 1


def product(a, b):
    """Multiply two stacks of matrices, slot by slot.

    How a matrix product rounds may depend on where its operands begin in memory. All sides are
    padded to multiples of 4, so that every slot begins at a multiple of 16 numbers, as the
    first one does.
    """
    return torch.bmm(_padded(a), _padded(b))[:, : a.shape[1], : b.shape[2]]


def _padded(a):
    rows, columns = -a.shape[1] % 4, -a.shape[2] % 4
    if rows or columns:
        return F.pad(a, (0, columns, 0, rows))
    # A transposed stack may stay as it is, but not one whose slots lie between each other's rows.
    whole = a.is_contiguous() or a.transpose(1, 2).is_contiguous()
    return a if whole else a.contiguous()


class Product(torch.autograd.Function):
    """:func:`product`, and its gradient by the same."""

    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return product(a, b)

    @staticmethod
    def backward(ctx, grad):
        a, b = (saved.to(grad.dtype) for saved in ctx.saved_tensors)  # in mixed precision
        d_a = product(grad, b.transpose(1, 2)) if ctx.needs_input_grad[0] else None
        return d_a, product(a.transpose(1, 2), grad)


class PatchConv(torch.autograd.Function):
    """Convolution as one matrix product a slot; the patches are unfolded again on the way back."""

    @staticmethod
    def forward(ctx, x, weight, layer):
        ctx.layer = layer
        ctx.save_for_backward(x, weight)
        patches, size = _patches(x, layer)
        return product(weight, patches).reshape(len(x), -1, *size)

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        patches, size = _patches(x, ctx.layer)
        grad = grad.reshape(len(x), -1, size.numel())
        d_weight = product(grad, patches.transpose(1, 2).to(grad.dtype))
        if not ctx.needs_input_grad[0]:
            return None, d_weight, None
        d_patches = product(weight.transpose(1, 2).to(grad.dtype), grad)
        return _fold(d_patches, x, ctx.layer, size), d_weight, None


def is_pointwise(layer):
    """Say whether a convolution is a product at each place."""
    return layer.kernel_size == (1, 1) and layer.stride == (1, 1) and layer.padding == (0, 0)


def _patches(x, layer):
    """Return (slots, channels * kernel, rows * places), and the size of the last axis."""
    if is_pointwise(layer):
        return x.flatten(2), torch.Size(x.shape[2:])
    (kh, kw), (sh, sw), (dh, dw) = layer.kernel_size, layer.stride, layer.dilation
    ph, pw = layer.padding
    x = F.pad(x, (pw, pw, ph, ph))
    slots, channels, rows, height, width = x.shape
    out_h, out_w = (height - dh * (kh - 1) - 1) // sh + 1, (width - dw * (kw - 1) - 1) // sw + 1
    s, c, r, h, w = x.stride()
    windows = x.as_strided(
        (slots, channels, kh, kw, rows, out_h, out_w), (s, c, dh * h, dw * w, r, sh * h, sw * w)
    )
    return windows.reshape(slots, channels * kh * kw, -1), torch.Size((rows, out_h, out_w))


def _fold(patches, x, layer, size):
    """Add up patches where they overlap: the transpose of :func:`_patches`."""
    if is_pointwise(layer):
        return patches.reshape(x.shape)
    (kh, kw), (sh, sw), (dh, dw) = layer.kernel_size, layer.stride, layer.dilation
    (ph, pw), (_, out_h, out_w), (height, width) = layer.padding, size, x.shape[3:]
    patches = patches.reshape(*x.shape[:2], kh, kw, *size)
    out = patches.new_zeros(*x.shape[:3], height + 2 * ph, width + 2 * pw)
    for i in range(kh):
        for j in range(kw):
            top, left = i * dh, j * dw
            rows = slice(top, top + sh * (out_h - 1) + 1, sh)
            columns = slice(left, left + sw * (out_w - 1) + 1, sw)
            out[..., rows, columns] += patches[:, :, i, j]
    return out[..., ph : ph + height, pw : pw + width]


class MaskedNorm(torch.autograd.Function):
    """Batch normalisation of each slot over its own rows, without those that pad its batch.

    Maps are read and written as seldom as can be: factors are multiplied with each other before
    they are multiplied with the maps.
    """

    @staticmethod
    def forward(ctx, x, weight, bias, sample_weight, eps, patches):
        ctx.patches = patches
        x = x.to(sample_weight.dtype)
        with torch.autocast(x.device.type, enabled=False):
            mean = _mean(x, sample_weight, patches)
            centred = x - _spread(mean, x, patches)
            variance = _mean(centred.square(), sample_weight, patches)
        rate = torch.rsqrt(variance + eps)
        scale = rate if weight is None else rate * weight
        ctx.save_for_backward(centred, rate, scale, sample_weight)
        ctx.mark_non_differentiable(mean, variance)
        y = centred * _spread(scale, x, patches)
        return y if bias is None else y.add_(_spread(bias, x, patches)), mean, variance

    @staticmethod
    def backward(ctx, grad, *unused):
        centred, rate, scale, sample_weight = ctx.saved_tensors
        patches = ctx.patches
        grad = grad.to(centred.dtype).contiguous()
        # Rows of padding have no gradient, so that sums over all rows leave them out.
        d_bias = _sum(grad, patches)
        d_weight = _sum(grad * centred, patches).mul_(rate)
        # 1 / (rows x places) for the rows of the slot, 0 for padding.
        row_weight = _over_rows(sample_weight / places(centred), centred, patches)
        d_x = grad * _spread(scale, centred, patches)
        d_x.sub_(centred * (row_weight * _spread(scale * rate * d_weight, centred, patches)))
        d_x.sub_(row_weight * _spread(scale * d_bias, centred, patches))
        _, has_weight, has_bias, *_ = ctx.needs_input_grad
        d_weight, d_bias = d_weight if has_weight else None, d_bias if has_bias else None
        return d_x, d_weight, d_bias, None, None, None


def _spread(values, x, patches):
    """Broadcast (slots, channels) against x."""
    if x.ndim == 3:
        return values[:, None]
    return values[:, :, None, None, None] if patches else values[:, :, None, None]


def _over_rows(sample_weight, x, patches):
    """Broadcast (slots, rows) against x."""
    if x.ndim == 3:
        return sample_weight[:, :, None]
    return (
        sample_weight[:, None, :, None, None]
        if patches
        else sample_weight.T[:, :, None, None, None]
    )


def _mean(x, sample_weight, patches):
    return _sum(x, patches, sample_weight / places(x))


def _sum(x, patches, weights=None):
    """Add up rows and places, by a product of matrices a slot: (slots, channels)."""
    if x.ndim == 5:
        x = x.sum(dim=(3, 4))
        x = x.transpose(1, 2) if patches else x.transpose(0, 1)
    if weights is None:
        weights = torch.ones(x.shape[:2], dtype=x.dtype, device=x.device)
    return product(weights[:, None], x)[:, 0]
