"""Random changes of images, as operations on whole batches; each image has its own draw.

What is random is drawn first, from a generator on the CPU, so that CPU and GPU draw the same and
nothing touches the global generators. What follows is arithmetic on the device of the images and
changes no image by looking at its neighbours. Images are floats of shape (n, channels, height,
width); colours have values from 0 to 1.
"""

import math

import torch

# Weights of red, green and blue in the brightness of a pixel (ITU-R 601).
_LUMA = (0.299, 0.587, 0.114)
_TRIES = 10  # boxes drawn per image until one fits


def uniform(shape, low, high, generator):
    """Draw float32 numbers, uniform in [low, high)."""
    return low + (high - low) * torch.rand(shape, generator=generator)


def _columns(values, images):
    """Bring one value per image to the device, in a shape that multiplies images."""
    return values.to(images.device, images.dtype).view(-1, 1, 1, 1)


# ---------------------------------------------------------------- crop, flip, turn


def draw_crops(n, padding, generator):
    """Draw where the crop of each padded image begins: (n, 2) int64, from 0 to 2 * padding."""
    return torch.randint(0, 2 * padding + 1, (n, 2), generator=generator)


def crop(images, offsets, padding, fill=0.0):
    """Pad every image on all sides and cut a piece of its old size out of it.

    Parameters
    ----------
    images : tensor of shape (n, channels, height, width)
    offsets : tensor of shape (n, 2), int64
        Row and column where the piece begins, from 0 to ``2 * padding``; `padding` for both gives
        the image back.
    padding : int
        Pixels on each side.
    fill : float
        Value of the padding.

    Returns
    -------
    images : tensor of the same shape
    """
    n, channels, height, width = images.shape
    offsets = offsets.to(images.device)
    padded = torch.nn.functional.pad(images, (padding,) * 4, value=fill)
    rows = offsets[:, :1] + torch.arange(height, device=images.device)
    columns = offsets[:, 1:] + torch.arange(width, device=images.device)
    image = torch.arange(n, device=images.device).view(n, 1, 1, 1)
    channel = torch.arange(channels, device=images.device).view(1, channels, 1, 1)
    return padded[image, channel, rows.view(n, 1, height, 1), columns.view(n, 1, 1, width)]


def draw_flips(n, generator):
    """Draw which images are mirrored: (n,) bool, each with probability one half."""
    return torch.rand(n, generator=generator) < 0.5


def flip(images, chosen):
    """Mirror the chosen images, left to right."""
    chosen = chosen.to(images.device).view(-1, 1, 1, 1)
    return torch.where(chosen, images.flip(-1), images)


def quarter_turns(images):
    """Return each image turned by 0, 90, 180 and 270 degrees, counter-clockwise.

    Parameters
    ----------
    images : tensor of shape (n, channels, side, side)

    Returns
    -------
    turned : tensor of shape (4 * n, channels, side, side)
        The four turns of the first image, then those of the second, ...
    turns : tensor of shape (4 * n,), int64
        0, 1, 2, 3, 0, 1, ...
    """
    turned = torch.stack([torch.rot90(images, turn, (-2, -1)) for turn in range(4)], dim=1)
    return turned.flatten(0, 1), torch.arange(4, device=images.device).repeat(len(images))


# ---------------------------------------------------------------- crop and resize


def draw_boxes(n, height, width, generator, *, area=(0.2, 1.0), ratio=(3 / 4, 4 / 3)):
    """Draw one box per image, with a random area and a random ratio of its sides.

    Parameters
    ----------
    n, height, width : int
        Number and size of the images.
    generator : torch.Generator
        On the CPU.
    area : (float, float)
        Smallest and largest area, as shares of the image.
    ratio : (float, float)
        Smallest and largest width divided by height; logarithms are uniform.

    Returns
    -------
    boxes : tensor of shape (n, 4), int64
        Top, left, height and width, within the image. Where none of several draws fits into the
        image, the box is the largest central one of an allowed ratio.
    """
    pixels = uniform((n, _TRIES), *area, generator) * (height * width)
    aspect = uniform((n, _TRIES), math.log(ratio[0]), math.log(ratio[1]), generator).exp()
    place = torch.rand((n, 2), generator=generator)
    high = (pixels / aspect).sqrt().round().long()
    wide = (pixels * aspect).sqrt().round().long()
    fits = (high >= 1) & (high <= height) & (wide >= 1) & (wide <= width)
    first = fits.int().argmax(dim=1, keepdim=True)
    # A central box, for the images in which no draw fits.
    central_wide = min(width, max(1, round(height * ratio[1])))
    central_high = min(height, max(1, round(width / ratio[0])))
    found = fits.any(dim=1)
    high = torch.where(found, high.gather(1, first)[:, 0], central_high)
    wide = torch.where(found, wide.gather(1, first)[:, 0], central_wide)
    place = torch.where(found[:, None], place, 0.5)
    top = (place[:, 0] * (height - high + 1)).long().clamp(max=height - high)
    left = (place[:, 1] * (width - wide + 1)).long().clamp(max=width - wide)
    return torch.stack([top, left, high, wide], dim=1)


def resized_crop(images, boxes):
    """Cut one box out of each image and bring it to the image's size, by bilinear interpolation.

    Parameters
    ----------
    images : tensor of shape (n, channels, height, width)
    boxes : tensor of shape (n, 4), int64
        Top, left, height and width, as :func:`draw_boxes` draws them.

    Returns
    -------
    images : tensor of the same shape
    """
    top, left, high, wide = boxes.to(images.device).unbind(1)
    images = _resample(images, top, high, 2)
    return _resample(images, left, wide, 3)


def _resample(images, start, length, axis):
    """Stretch the pixels from start to start + length along one axis over the whole axis."""
    size = images.shape[axis]
    centre = torch.arange(size, device=images.device, dtype=torch.float32) + 0.5
    # Centres of pixels go to centres; beyond the outermost centres the edge of the box counts.
    place = centre * (length[:, None] / size) - 0.5
    place = place.clamp(min=0).minimum((length[:, None] - 1).float())
    low = place.floor()
    weight = (place - low).to(images.dtype)
    low = low.long()
    high = (low + 1).minimum(length[:, None] - 1)
    shape = [len(images), 1, 1, 1]
    shape[axis] = size
    spread = list(images.shape)

    def pick(index):
        return images.gather(axis, (index + start[:, None]).view(shape).expand(spread))

    return torch.lerp(pick(low), pick(high), weight.view(shape))


# ---------------------------------------------------------------- colours


def grey_of(images):
    """Return the brightness of each pixel: shape (n, 1, height, width).

    Images that do not have three channels have the mean over their channels.
    """
    if images.shape[1] != 3:
        return images.mean(dim=1, keepdim=True)
    weights = torch.tensor(_LUMA, device=images.device, dtype=images.dtype)
    return (images * weights.view(1, 3, 1, 1)).sum(dim=1, keepdim=True)


def brightness(images, factors):
    """Multiply each image by its factor."""
    return (images * _columns(factors, images)).clamp(0, 1)


def contrast(images, factors):
    """Move each image away from its own mean brightness (factor above 1) or towards it."""
    mean = grey_of(images).mean(dim=(2, 3), keepdim=True)
    return torch.lerp(mean.expand_as(images), images, _columns(factors, images)).clamp(0, 1)


def saturation(images, factors):
    """Move each pixel away from its own grey (factor above 1) or towards it."""
    grey = grey_of(images).expand_as(images)
    return torch.lerp(grey, images, _columns(factors, images)).clamp(0, 1)


def hue(images, shifts):
    """Turn the colour circle by a share of a full turn: red, green, blue are a third apart."""
    value, channel = images.max(dim=1)
    chroma = value - images.min(dim=1).values
    red, green, blue = images.unbind(1)
    safe = torch.where(chroma > 0, chroma, 1)
    sector = torch.where(
        channel == 0,
        (green - blue) / safe,
        torch.where(channel == 1, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    sector = sector + 6 * _columns(shifts, images)[:, 0]
    # A colour as a function of its sector: one formula for all three channels.
    offset = torch.tensor([5.0, 3.0, 1.0], device=images.device, dtype=images.dtype)
    place = (offset.view(1, 3, 1, 1) + sector[:, None]).remainder(6)
    fall = torch.minimum(place, 4 - place).clamp(0, 1)
    return (value[:, None] - chroma[:, None] * fall).clamp(0, 1)


_COLOUR_STEPS = (brightness, contrast, saturation, hue)


def draw_jitter(
    n, generator, *, strength=(0.4, 0.4, 0.4, 0.1), probability=0.8, grey_probability=0.2
):
    """Draw colour changes for n images.

    Parameters
    ----------
    n : int
    generator : torch.Generator
        On the CPU.
    strength : tuple of 4 floats
        Factors of brightness, contrast and saturation lie within 1 - strength and 1 + strength;
        the hue turns by at most its strength.
    probability : float
        Probability that the colours of an image change at all.
    grey_probability : float
        Probability that it ends up grey.

    Returns
    -------
    amounts : tensor of shape (n, 4)
        Factors of brightness, contrast and saturation; shift of the hue.
    order : tensor of shape (n, 4), int64
        The order of these four, for each image.
    changed, grey : tensors of shape (n,), bool
    """
    spread = torch.tensor(strength)
    neutral = torch.tensor([1.0, 1.0, 1.0, 0.0])
    amounts = neutral + spread * uniform((n, 4), -1.0, 1.0, generator)
    order = torch.rand((n, 4), generator=generator).argsort(dim=1, stable=True)
    changed = torch.rand(n, generator=generator) < probability
    return amounts, order, changed, torch.rand(n, generator=generator) < grey_probability


def jitter(images, amounts, order, changed, grey):
    """Change brightness, contrast, saturation and hue in each image's own order.

    Parameters
    ----------
    images : tensor of shape (n, channels, height, width)
        From 0 to 1. Saturation, hue and grey concern images with three channels alone.
    amounts, order, changed, grey
        As :func:`draw_jitter` draws them.

    Returns
    -------
    images : tensor of the same shape
    """
    n_steps = len(_COLOUR_STEPS) if images.shape[1] == 3 else 2
    for turn in range(len(_COLOUR_STEPS)):
        kind = torch.where(changed & (order[:, turn] < n_steps), order[:, turn], n_steps)
        groups = [torch.nonzero(kind == step)[:, 0] for step in range(n_steps + 1)]
        parts = [
            change(images[chosen.to(images.device)], amounts[chosen, step])
            for step, (change, chosen) in enumerate(
                zip(_COLOUR_STEPS[:n_steps], groups[:n_steps], strict=True)
            )
        ]
        parts.append(images[groups[-1].to(images.device)])
        # The parts are put in order by a gather, which a GPU does faster than to write to rows.
        order_of_parts = torch.cat(groups).argsort()
        images = torch.cat(parts)[order_of_parts.to(images.device)]
    if images.shape[1] == 3:
        chosen = grey.to(images.device).view(-1, 1, 1, 1)
        images = torch.where(chosen, grey_of(images), images)
    return images
