"""RotNet: features of a network that has learnt which way up images are."""

from numbers import Integral, Real

import torch
from sklearn.utils._param_validation import Interval

from .._augment import crop, draw_crops, draw_flips, flip, quarter_turns
from .._modules import NetworkInNetwork
from .base import NetRepresentation
from .loop import steps, train


class RotNet(NetRepresentation):
    """Features of a `NetworkInNetwork` trained to tell by how much an image was turned.

    Each image is shown turned by 0, 90, 180 and 270 degrees, and the network learns to tell which.
    No label is needed, so the features may stand before any certificate against label flips.
    Defaults are those of [1]_ and [2]_ for MNIST.

    Parameters
    ----------
    n_blocks : int, default=4
        Blocks of the network, at least 2.
    feature_block : int, default=2
        The block whose output is returned, from 1; the first blocks know most about shapes, the
        last ones most about turns.
    pooling : int or None, default=None
        None returns all of the block's maps, flattened, for a
        :class:`~certified_ensembles.nets.ConvHead` (for images of 28 x 28 that is 192 maps of
        7 x 7, 9408 numbers). An integer p averages each map to p x p values, for linear heads.
    width : float, default=1.0
        Factor on the numbers of channels of the network, for small machines.
    epochs : int, default=200
        Times that each image is shown, in four turns each.
    batch_size : int, default=128
        The most images in a batch, which then holds four times as many. Batches are as equal in
        size as can be.
    learning_rate : float, default=0.1
        At the beginning.
    drops : sequence of float, default=(60, 120, 160)
        Epochs after which the learning rate is multiplied by `drop_factor`.
    drop_factor : float, default=0.2
        See there.
    momentum : float, default=0.9
        Of stochastic gradient descent, in Nesterov's form.
    weight_decay : float, default=5e-4
        On all weights.
    padding : int, default=4
        Images are padded by so many zeros on all sides and cut at a random place to their old
        size; 0 leaves them.
    flip : bool, default=False
        Mirror a random half of the images; not for digits and signs.
    image_shape : tuple of int, default=None
        (channels, height, width) or (height, width) of the images if the rows of X are flat.
    precision : {"float32", "bfloat16"}, default="float32"
        Of the products in training. "bfloat16" is faster on a recent GPU and gives another
        network; features are computed in single precision in any case.
    random_state : int, default=0
        Seed of the weights, the order of the images and their changes. None is refused.
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
    module_ : NetworkInNetwork
        The trained network, which classifies turns.
    losses_ : ndarray of shape (epochs,)
        Mean cross-entropy of the turns in each epoch, in nats; log(4) = 1.386 is guessing.
    mean_, std_ : ndarray of shape (n_channels,)
        By which each channel is normalised, from the training images.
    image_shape_ : tuple of 3 int
        Channels, height and width of the images.
    n_features_in_ : int
        Number of values of a row, if the rows were flat.

    See Also
    --------
    SimCLR : Features that are the same for all views of an image.
    certified_ensembles.SemiSupervisedDPA : Takes either as its `representation`.

    Notes
    -----
    The result is a function of the multiset of rows and of `random_state`: rows are put in
    canonical order first, all chance comes from one seeded generator, torch's own generators are
    left alone, algorithms are deterministic, and on the CPU one thread is used. It holds to the
    bit for one version of torch on one kind of device; CPU and GPU draw the same and round
    differently. :meth:`transform` works in blocks of a fixed shape.

    Images must be square. Copies of an image count as often as they come.

    References
    ----------
    .. [1] Gidaris, Singh and Komodakis, "Unsupervised Representation Learning by Predicting
       Image Rotations", ICLR 2018.
    .. [2] Levine and Feizi, "Deep Partition Aggregation: Provable Defenses against General
       Poisoning Attacks", ICLR 2021, section 4.

    Examples
    --------
    >>> from certified_ensembles.datasets import load_digits
    >>> from certified_ensembles.nets import RotNet
    >>> X = load_digits().images[:64]
    >>> rotnet = RotNet(pooling=1, width=0.1, epochs=2, padding=1).fit(X)
    >>> rotnet.transform(X).shape
    (64, 19)
    """

    _min_rows = 1
    _not_of_the_weights = NetRepresentation._not_of_the_weights | {"feature_block", "pooling"}

    _parameter_constraints: dict = {
        **NetRepresentation._parameter_constraints,
        "n_blocks": [Interval(Integral, 2, None, closed="left")],
        "feature_block": [Interval(Integral, 1, None, closed="left")],
        "pooling": [Interval(Integral, 1, None, closed="left"), None],
        "width": [Interval(Real, 0, None, closed="neither")],
        "epochs": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "drops": ["array-like"],
        "drop_factor": [Interval(Real, 0, None, closed="neither")],
        "momentum": [Interval(Real, 0, 1, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "padding": [Interval(Integral, 0, None, closed="left")],
        "flip": ["boolean"],
    }

    def __init__(
        self,
        *,
        n_blocks=4,
        feature_block=2,
        pooling=None,
        width=1.0,
        epochs=200,
        batch_size=128,
        learning_rate=0.1,
        drops=(60, 120, 160),
        drop_factor=0.2,
        momentum=0.9,
        weight_decay=5e-4,
        padding=4,
        flip=False,
        image_shape=None,
        precision="float32",
        random_state=0,
        device="auto",
        checkpoint=None,
        verbose=0,
    ):
        self.n_blocks = n_blocks
        self.feature_block = feature_block
        self.pooling = pooling
        self.width = width
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.drops = drops
        self.drop_factor = drop_factor
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.padding = padding
        self.flip = flip
        self.image_shape = image_shape
        self.precision = precision
        self.random_state = random_state
        self.device = device
        self.checkpoint = checkpoint
        self.verbose = verbose

    def _check_rows(self, rows):
        if rows.shape[2] != rows.shape[3]:
            raise ValueError(
                f"RotNet turns images by 90 degrees and needs square ones, got X with images of "
                f"{rows.shape[2]} x {rows.shape[3]}: crop or pad them."
            )
        if self.feature_block > self.n_blocks:
            raise ValueError(
                f"feature_block={self.feature_block} is beyond n_blocks={self.n_blocks}: name one "
                f"from 1 to {self.n_blocks}."
            )
        side = rows.shape[3]
        for _ in range(min(self.feature_block, 2)):  # two blocks halve the image
            side = (side + 1) // 2
        if self.pooling is not None and self.pooling > side:
            raise ValueError(
                f"pooling={self.pooling} is more than the {side} x {side} values of a map of "
                f"feature_block={self.feature_block}: pass at most {side}, or None for all."
            )

    def _learn(self, rows, generator, device, checkpoint):
        module = NetworkInNetwork(
            rows.shape[1], 4, self.n_blocks, width=self.width, generator=generator
        ).to(device)
        mean, std = self._constants(device)

        def batch_loss(index, generator):
            images = rows[index.to(device)].float()
            if self.padding:
                offsets = draw_crops(len(index), self.padding, generator)
                images = crop(images, offsets, self.padding)
            if self.flip:
                images = flip(images, draw_flips(len(index), generator))
            turned, turns = quarter_turns((images - mean) / std)
            loss = torch.nn.functional.cross_entropy(self._forward(module, turned), turns)
            return loss, loss

        losses = train(
            module,
            batch_loss,
            len(rows),
            generator,
            epochs=self.epochs,
            batch_size=self.batch_size,
            schedule=steps(self.learning_rate, self.drops, self.drop_factor),
            momentum=self.momentum,
            nesterov=True,
            weight_decay=self.weight_decay,
            checkpoint=checkpoint,
            name="RotNet",
            verbose=self.verbose,
        )
        return module, losses

    def _features(self, module, images):
        maps = module.forward_features(images, self.feature_block)
        if self.pooling is not None:
            maps = torch.nn.functional.adaptive_avg_pool2d(maps, int(self.pooling))
        return maps.flatten(1)
