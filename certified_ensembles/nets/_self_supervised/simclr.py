"""SimCLR: features of a network that has learnt which two views show one image."""

from numbers import Integral, Real

import torch
from sklearn.utils._param_validation import Interval
from torch import nn
from torch.nn.utils import skip_init

from .._augment import draw_boxes, draw_flips, draw_jitter, flip, jitter, resized_crop
from .._modules import ResNet18, initialise_
from .base import NetRepresentation
from .loop import cosine, train

# The learning rate of the papers belongs to a loss multiplied by temperature / 0.07.
_BASE_TEMPERATURE = 0.07


def nt_xent(projections, temperature):
    """Return the normalised temperature-scaled cross-entropy of pairs of views.

    Parameters
    ----------
    projections : tensor of shape (2 * n, n_projected)
        Of unit length; rows i and i + n are views of one image.
    temperature : float
        Divides the cosines. Greater than 0.

    Returns
    -------
    loss : tensor of no axes
        Mean over all 2 * n views of minus the logarithm of the softmax share of the other view
        among the 2 * n - 1 other rows, in nats.
    """
    n = len(projections) // 2
    cosines = projections @ projections.T / temperature
    is_itself = torch.eye(2 * n, dtype=torch.bool, device=projections.device)
    cosines = cosines.masked_fill(is_itself, -torch.inf)
    other = torch.arange(2 * n, device=projections.device).roll(n)
    return nn.functional.cross_entropy(cosines, other)


class _Projected(nn.Module):
    """A ResNet18 with a small network behind it, on whose directions the loss is taken."""

    def __init__(self, in_channels, width, n_projected, generator):
        super().__init__()
        encoder = ResNet18(in_channels, 1, width=width, generator=generator)
        encoder.classifier = nn.Identity()  # no labels, no logits
        self.encoder = encoder
        n = encoder.n_features
        self.head = nn.Sequential(
            skip_init(nn.Linear, n, n), nn.ReLU(), skip_init(nn.Linear, n, n_projected)
        )
        initialise_(self.head, generator)

    def forward(self, x):
        return self.head(self.encoder.features(x))


class SimCLR(NetRepresentation):
    """Features of a `ResNet18` trained to find the other view of an image among many images.

    Each image of a batch is shown in two views (another crop, other colours), and the network
    learns to give these two similar vectors, and different ones to all others. No label is
    needed, so the features may stand before any certificate against label flips. Defaults are
    those of [2]_ for CIFAR-10; for GTSRB it says ``batch_size=256, warmup=0, flip=False``.

    Parameters
    ----------
    epochs : int, default=1000
        Times that each image is shown, in two views each.
    batch_size : int, default=512
        The most images in a batch, which then holds twice as many views. Batches are as equal in
        size as can be.
    learning_rate : float, default=0.5
        At the beginning; it falls along half a cosine to a thousandth.
    warmup : float, default=10
        Epochs in which the learning rate rises in a straight line, from a fiftieth of it.
    temperature : float, default=0.5
        Of the loss.
    momentum : float, default=0.9
        Of stochastic gradient descent.
    weight_decay : float, default=1e-4
        On all weights.
    crop_area : (float, float), default=(0.2, 1.0)
        Smallest and largest share of the image that a view shows; it is stretched to the image's
        size. (1.0, 1.0) switches it off.
    flip : bool, default=True
        Mirror a random half of the views; not for digits and signs.
    colour : (float, float, float, float), default=(0.4, 0.4, 0.4, 0.1)
        How much brightness, contrast and saturation (as factors) and hue (as a share of the
        colour circle) may change. Zeros switch it off.
    colour_probability : float, default=0.8
        Share of the views whose colours change.
    grey_probability : float, default=0.2
        Share of the views that lose their colours.
    value_range : (float, float), default=None
        Black and white of the images. None: 0 and 255 for integers, 0 and 1 for floats. A value
        outside is refused in :meth:`fit`.
    width : int, default=64
        Channels of the first stage of the network; it returns eight times as many features.
    n_projected : int, default=128
        Length of the vectors that the loss compares.
    image_shape : tuple of int, default=None
        (channels, height, width) or (height, width) of the images if the rows of X are flat.
    precision : {"float32", "bfloat16"}, default="float32"
        Of the products in training. "bfloat16" is faster on a recent GPU and gives another
        network; features are computed in single precision in any case.
    random_state : int, default=0
        Seed of the weights, the order of the images and their views. None is refused.
    device : {"auto", "cpu", "cuda"}, default="auto"
        Where to compute; "auto" is the GPU if there is one.
    checkpoint : path-like, default=None
        A folder for the state of the training, written about once a minute and at the end: a fit
        that was killed goes on from there and ends with the same weights to the bit. The folder
        may serve many trainings.
    verbose : int, default=0
        1 shows a progress bar with the loss.

    Attributes
    ----------
    module_ : ResNet18
        The trained network without the layers behind its features, which only training needs.
    losses_ : ndarray of shape (epochs,)
        Mean loss of each epoch, in nats; log(2 * batch_size - 1) is guessing.
    mean_, std_ : ndarray of shape (n_channels,)
        By which each channel is normalised, from the training images.
    image_shape_ : tuple of 3 int
        Channels, height and width of the images.
    n_features_in_ : int
        Number of values of a row, if the rows were flat.

    See Also
    --------
    RotNet : Features that know which way up images are.
    certified_ensembles.SemiSupervisedDPA : Takes either as its `representation`.

    Notes
    -----
    The result is a function of the multiset of rows and of `random_state`: rows are put in
    canonical order first, all chance comes from one seeded generator, torch's own generators are
    left alone, algorithms are deterministic, and on the CPU one thread is used. It holds to the
    bit for one version of torch on one kind of device; CPU and GPU draw the same and round
    differently. :meth:`transform` works in blocks of a fixed shape.

    The loss of [1]_ is multiplied by ``temperature / 0.07`` for the descent, as in the program of
    [3]_ that [2]_ used: their learning rate means this. ``losses_`` are without the factor.
    Images of one channel change in brightness and contrast only.

    References
    ----------
    .. [1] Chen, Kornblith, Norouzi and Hinton, "A Simple Framework for Contrastive Learning of
       Visual Representations", ICML 2020.
    .. [2] Levine and Feizi, "Deep Partition Aggregation: Provable Defenses against General
       Poisoning Attacks", ICLR 2021, appendices I and J.
    .. [3] Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020.

    Examples
    --------
    >>> from certified_ensembles.datasets import load_digits
    >>> from certified_ensembles.nets import SimCLR
    >>> X = load_digits().images[:64]
    >>> simclr = SimCLR(epochs=1, width=2, value_range=(0, 16), flip=False, warmup=0).fit(X)
    >>> simclr.transform(X).shape
    (64, 16)
    """

    _min_rows = 2

    _parameter_constraints: dict = {
        **NetRepresentation._parameter_constraints,
        "epochs": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 2, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "warmup": [Interval(Real, 0, None, closed="left")],
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "crop_area": ["array-like"],
        "flip": ["boolean"],
        "colour": ["array-like"],
        "colour_probability": [Interval(Real, 0, 1, closed="both")],
        "grey_probability": [Interval(Real, 0, 1, closed="both")],
        "value_range": ["array-like", None],
        "width": [Interval(Integral, 1, None, closed="left")],
        "n_projected": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        *,
        epochs=1000,
        batch_size=512,
        learning_rate=0.5,
        warmup=10,
        temperature=0.5,
        momentum=0.9,
        weight_decay=1e-4,
        crop_area=(0.2, 1.0),
        flip=True,
        colour=(0.4, 0.4, 0.4, 0.1),
        colour_probability=0.8,
        grey_probability=0.2,
        value_range=None,
        width=64,
        n_projected=128,
        image_shape=None,
        precision="float32",
        random_state=0,
        device="auto",
        checkpoint=None,
        verbose=0,
    ):
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.warmup = warmup
        self.temperature = temperature
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.crop_area = crop_area
        self.flip = flip
        self.colour = colour
        self.colour_probability = colour_probability
        self.grey_probability = grey_probability
        self.value_range = value_range
        self.width = width
        self.n_projected = n_projected
        self.image_shape = image_shape
        self.precision = precision
        self.random_state = random_state
        self.device = device
        self.checkpoint = checkpoint
        self.verbose = verbose

    def _check_rows(self, rows):
        low, high = self._range(rows.dtype)
        if rows.min() < low or rows.max() > high:
            raise ValueError(
                f"X holds values from {rows.min()} to {rows.max()}, outside of black and white at "
                f"{low} and {high}. Pass their values as value_range=(black, white)."
            )
        area = tuple(self.crop_area)
        if len(area) != 2 or not 0 < area[0] <= area[1] <= 1:
            raise ValueError(
                f"crop_area={self.crop_area!r} must be two shares of the image, above 0 and "
                "at most 1, the smaller first."
            )
        colour = tuple(self.colour)
        if len(colour) != 4 or min(colour) < 0 or max(colour[:3]) > 1 or colour[3] > 0.5:
            raise ValueError(
                f"colour={self.colour!r} must be four numbers: changes of brightness, contrast "
                "and saturation from 0 to 1, of the hue from 0 to 0.5."
            )

    def _range(self, dtype):
        """Return black and white as floats."""
        if self.value_range is None:
            return (0.0, 255.0) if dtype == "uint8" else (0.0, 1.0)
        values = tuple(self.value_range)
        if len(values) != 2 or not values[0] < values[1]:
            raise ValueError(
                f"value_range={self.value_range!r} must be two numbers, black before white."
            )
        return float(values[0]), float(values[1])

    def _learn(self, rows, generator, device, checkpoint):
        module = _Projected(rows.shape[1], self.width, self.n_projected, generator).to(device)
        low, high = self._range("uint8" if rows.dtype == torch.uint8 else "float32")
        mean, std = self._constants(device)

        def batch_loss(index, generator):
            images = (rows[index.to(device)].float() - low) / (high - low)
            views = self._views(torch.cat([images, images]), generator)
            views = (views * (high - low) + low - mean) / std
            projections = nn.functional.normalize(self._forward(module, views), dim=1)
            loss = nt_xent(projections, self.temperature)
            return loss * (self.temperature / _BASE_TEMPERATURE), loss

        losses = train(
            module,
            batch_loss,
            len(rows),
            generator,
            epochs=self.epochs,
            batch_size=self.batch_size,
            schedule=cosine(self.learning_rate, self.epochs, self.warmup),
            momentum=self.momentum,
            nesterov=False,
            weight_decay=self.weight_decay,
            checkpoint=checkpoint,
            name="SimCLR",
            verbose=self.verbose,
        )
        return module.encoder, losses

    def _views(self, images, generator):
        """Return a random view of each image, all with values from 0 to 1."""
        n, _, height, width = images.shape
        boxes = draw_boxes(n, height, width, generator, area=tuple(self.crop_area))
        views = resized_crop(images, boxes)
        if self.flip:
            views = flip(views, draw_flips(n, generator))
        drawn = draw_jitter(
            n,
            generator,
            strength=tuple(self.colour),
            probability=self.colour_probability,
            grey_probability=self.grey_probability,
        )
        return jitter(views, *drawn)

    def _features(self, module, images):
        return module.features(images)
