"""The networks of the papers, with weights drawn from a generator of the caller's.

They are plain :class:`torch.nn.Module` objects and return logits. Building one never draws from
torch's global generator if a generator is given, so that threads may build networks at once.
"""

import math

import torch
from torch import nn
from torch.nn.utils import skip_init


def initialise_(module, generator=None):
    """Draw the weights of a network anew, in the order of its layers.

    Parameters
    ----------
    module : torch.nn.Module
        Its convolutions get normal weights of variance 2 / (kernel area x output channels),
        its linear layers uniform ones within 1 / sqrt(inputs); biases are zero, and batch
        normalisation begins as the identity.
    generator : torch.Generator, default=None
        On the CPU. None draws from torch's global generator.

    Returns
    -------
    module : torch.nn.Module
        The same object, changed in place.

    Notes
    -----
    Weights are drawn on the CPU whatever device the module is on, so that a seed means the
    same network everywhere.
    """
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d):
                fan_out = layer.out_channels * math.prod(layer.kernel_size)
                _draw(layer.weight, "normal_", 0.0, math.sqrt(2 / fan_out), generator)
            elif isinstance(layer, nn.Linear):
                bound = 1 / math.sqrt(layer.in_features)
                _draw(layer.weight, "uniform_", -bound, bound, generator)
            elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
                layer.reset_parameters()
                continue
            else:
                continue
            if layer.bias is not None:
                layer.bias.zero_()
    return module


def _draw(weight, how, low, high, generator):
    drawn = torch.empty(weight.shape, dtype=torch.float32)
    weight.copy_(getattr(drawn, how)(low, high, generator=generator))


def _conv(in_channels, out_channels, size, stride=1):
    """Return a convolution without a bias, its weights not drawn yet."""
    return skip_init(
        nn.Conv2d, in_channels, out_channels, size, stride, padding=size // 2, bias=False
    )


def _conv_bn_relu(in_channels, out_channels, size):
    return [_conv(in_channels, out_channels, size), nn.BatchNorm2d(out_channels), nn.ReLU()]


def _nin_block(in_channels, widths, size):
    """Return a convolution of some size and two of 1 x 1, each normalised and rectified."""
    layers, channels = [], in_channels
    for width, kernel in zip(widths, (size, 1, 1), strict=True):
        layers += _conv_bn_relu(channels, width, kernel)
        channels = width
    return layers


class NetworkInNetwork(nn.Module):
    """Network in Network, in the form that RotNet gave it.

    Blocks of three convolutions, the second and third of 1 x 1; each convolution is followed by
    batch normalisation and ReLU. The first two blocks end in a pooling that halves the image.
    Then the mean over all places, and a linear layer.

    Parameters
    ----------
    in_channels : int
        Channels of the images.
    n_classes : int
        Number of logits.
    n_blocks : int, default=3
        At least 2. RotNet's own classifier of rotations has 4.
    width : float, default=1.0
        Factor on the numbers of channels (192, 160, 96; then 192), for small machines.
    generator : torch.Generator, default=None
        Source of the initial weights; None is torch's global generator.

    Notes
    -----
    Kernels are 5 x 5 in the first two blocks and 3 x 3 in the others; pooling is over 3 x 3 with
    stride 2, the maximum after block 1 and the mean after block 2.

    References
    ----------
    .. [1] Lin, Chen and Yan, "Network In Network", ICLR 2014.
    .. [2] Gidaris, Singh and Komodakis, "Unsupervised Representation Learning by Predicting
       Image Rotations", ICLR 2018.

    Examples
    --------
    >>> import torch
    >>> from certified_ensembles.nets import NetworkInNetwork
    >>> net = NetworkInNetwork(1, 10, generator=torch.Generator().manual_seed(0))
    >>> net(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    >>> net.forward_features(torch.zeros(2, 1, 28, 28), block=2).shape
    torch.Size([2, 192, 7, 7])
    """

    def __init__(self, in_channels, n_classes, n_blocks=3, *, width=1.0, generator=None):
        super().__init__()
        if n_blocks < 2:
            raise ValueError(f"n_blocks={n_blocks!r} is too small; a NetworkInNetwork has 2 up.")
        full, middle, narrow = (max(1, round(width * c)) for c in (192, 160, 96))
        halve = {"kernel_size": 3, "stride": 2, "padding": 1}
        blocks = [
            nn.Sequential(
                *_nin_block(in_channels, (full, middle, narrow), 5), nn.MaxPool2d(**halve)
            ),
            nn.Sequential(*_nin_block(narrow, (full, full, full), 5), nn.AvgPool2d(**halve)),
        ]
        blocks += [nn.Sequential(*_nin_block(full, (full,) * 3, 3)) for _ in range(n_blocks - 2)]
        self.blocks = nn.ModuleList(blocks)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = skip_init(nn.Linear, full, n_classes)
        initialise_(self, generator)

    def forward_features(self, x, block=2):
        """Return what a block gives out, after its pooling.

        Parameters
        ----------
        x : Tensor of shape (n, in_channels, height, width)
        block : int, default=2
            From 1.

        Returns
        -------
        features : Tensor of shape (n, channels, height', width')
        """
        for layers in self.blocks[:block]:
            x = layers(x)
        return x

    def forward(self, x):
        """Return the logits, of shape (n, n_classes)."""
        return self.classifier(self.pool(self.forward_features(x, len(self.blocks))))


class ConvHead(nn.Module):
    """The last block of a `NetworkInNetwork` with its classifier, for features of a RotNet.

    Parameters
    ----------
    in_channels : int
        Channels of the features: 192 for the second block of a `NetworkInNetwork`.
    n_classes : int
        Number of logits.
    channels : int, default=192
        Channels of its own convolutions.
    generator : torch.Generator, default=None
        Source of the initial weights; None is torch's global generator.

    Notes
    -----
    Features may come as maps, n x in_channels x height x width, or as flattened square maps,
    n x (in_channels * side * side).

    Examples
    --------
    >>> import torch
    >>> from certified_ensembles.nets import ConvHead
    >>> ConvHead(192, 10)(torch.zeros(2, 192, 7, 7)).shape
    torch.Size([2, 10])
    """

    def __init__(self, in_channels, n_classes, *, channels=192, generator=None):
        super().__init__()
        self.maps = SquareMaps(in_channels)
        self.block = nn.Sequential(*_nin_block(in_channels, (channels,) * 3, 3))
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = skip_init(nn.Linear, channels, n_classes)
        initialise_(self, generator)

    def forward(self, x):
        """Return the logits, of shape (n, n_classes)."""
        return self.classifier(self.pool(self.block(self.maps(x))))


class SquareMaps(nn.Module):
    """Reshape flattened rows to square maps of so many channels; leave maps as they are.

    Parameters
    ----------
    channels : int
    """

    def __init__(self, channels):
        super().__init__()
        self.channels = channels

    def extra_repr(self):
        """Return what sets this layer apart from others of its class."""
        return f"{self.channels}"

    def forward(self, x):
        """Return maps, of shape (n, channels, side, side)."""
        if x.ndim == 4:
            return x
        side = math.isqrt(x.shape[1] // self.channels)
        if side * side * self.channels != x.shape[1]:
            raise ValueError(
                f"Rows of {x.shape[1]} numbers are no square maps of {self.channels} channels; "
                "pass n x channels x height x width."
            )
        return x.reshape(x.shape[0], self.channels, side, side)


class LinearHead(nn.Module):
    """A linear classifier on features.

    Parameters
    ----------
    n_features : int
        Numbers in a row; images are flattened.
    n_classes : int
        Number of logits.
    generator : torch.Generator, default=None
        Source of the initial weights; None is torch's global generator.

    Examples
    --------
    >>> import torch
    >>> from certified_ensembles.nets import LinearHead
    >>> LinearHead(512, 10)(torch.zeros(2, 512)).shape
    torch.Size([2, 10])
    """

    def __init__(self, n_features, n_classes, *, generator=None):
        super().__init__()
        self.flatten = nn.Flatten()
        self.classifier = skip_init(nn.Linear, n_features, n_classes)
        initialise_(self, generator)

    def forward(self, x):
        """Return the logits, of shape (n, n_classes)."""
        return self.classifier(self.flatten(x))


class _Residual(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut."""

    def __init__(self, in_channels, out_channels, stride):
        super().__init__()
        self.path = nn.Sequential(
            _conv(in_channels, out_channels, 3, stride),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
            _conv(out_channels, out_channels, 3),
            nn.BatchNorm2d(out_channels),
        )
        self.shortcut = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                _conv(in_channels, out_channels, 1, stride), nn.BatchNorm2d(out_channels)
            )
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.relu(self.path(x) + self.shortcut(x))


class ResNet18(nn.Module):
    """Residual network of 18 layers for small images: a 3 x 3 stem with stride 1, no pooling.

    Parameters
    ----------
    in_channels : int
        Channels of the images.
    n_classes : int
        Number of logits.
    width : int, default=64
        Channels of the first stage; each further stage has twice as many.
    generator : torch.Generator, default=None
        Source of the initial weights; None is torch's global generator.

    Attributes
    ----------
    n_features : int
        Numbers that :meth:`features` returns for a row, 8 * width.

    References
    ----------
    .. [1] He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", CVPR 2016.

    Examples
    --------
    >>> import torch
    >>> from certified_ensembles.nets import ResNet18
    >>> net = ResNet18(3, 10, generator=torch.Generator().manual_seed(0))
    >>> net(torch.zeros(2, 3, 32, 32)).shape, net.features(torch.zeros(2, 3, 32, 32)).shape
    (torch.Size([2, 10]), torch.Size([2, 512]))
    """

    def __init__(self, in_channels, n_classes, *, width=64, generator=None):
        super().__init__()
        layers, channels = _conv_bn_relu(in_channels, width, 3), width
        for stage in range(4):
            for stride in (1 if stage == 0 else 2, 1):
                layers.append(_Residual(channels, width << stage, stride))
                channels = width << stage
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.n_features = channels
        self.classifier = skip_init(nn.Linear, channels, n_classes)
        initialise_(self, generator)

    def features(self, x):
        """Return the mean over all places of the last stage, of shape (n, n_features)."""
        return self.body(x)

    def forward(self, x):
        """Return the logits, of shape (n, n_classes)."""
        return self.classifier(self.features(x))
