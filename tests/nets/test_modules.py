"""The networks of the papers: their shapes, and where their weights come from."""

import math
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch", reason="needs the extra [torch]")
pytest.importorskip("skorch", reason="needs the extra [torch]")

from torch import nn  # noqa: E402

from certified_ensembles.nets import (  # noqa: E402
    ConvHead,
    LinearHead,
    NetworkInNetwork,
    ResNet18,
    SeededNetClassifier,
    paper_settings,
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


BUILDERS = {
    "nin": lambda generator=None: NetworkInNetwork(3, 10, width=0.1, generator=generator),
    "nin4": lambda generator=None: NetworkInNetwork(3, 4, 4, width=0.1, generator=generator),
    "resnet": lambda generator=None: ResNet18(3, 10, width=4, generator=generator),
    "conv_head": lambda generator=None: ConvHead(3, 10, channels=8, generator=generator),
    "linear_head": lambda generator=None: LinearHead(3 * 16 * 16, 10, generator=generator),
}


@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
def test_weights_are_a_function_of_the_generator_and_touch_no_other(build):
    before = torch.get_rng_state()
    one, same, other = build(seeded(1)), build(seeded(1)), build(seeded(2))
    assert torch.equal(before, torch.get_rng_state())
    for a, b in zip(one.state_dict().values(), same.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
def test_without_a_generator_the_global_one_decides(build):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        one = build()
        torch.manual_seed(5)
        same = build()
    pairs = zip(one.state_dict().values(), same.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
def test_every_weight_learns(build):
    net = build(seeded())
    out = net(torch.rand(5, 3, 16, 16, generator=seeded()))
    out.square().sum().backward()
    assert out.shape[0] == 5
    assert all(p.grad is not None and p.isfinite().all() for p in net.parameters())


def test_network_in_network_has_the_layers_of_gidaris():
    net = NetworkInNetwork(3, 10, generator=seeded())
    convs = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert [(m.in_channels, m.out_channels, m.kernel_size[0]) for m in convs] == [
        (3, 192, 5), (192, 160, 1), (160, 96, 1),
        (96, 192, 5), (192, 192, 1), (192, 192, 1),
        (192, 192, 3), (192, 192, 1), (192, 192, 1),
    ]  # fmt: skip
    assert all(m.bias is None for m in convs)
    pools = [m for m in net.modules() if isinstance(m, nn.MaxPool2d | nn.AvgPool2d)]
    assert [type(m) for m in pools] == [nn.MaxPool2d, nn.AvgPool2d]
    assert sum(isinstance(m, nn.BatchNorm2d) for m in net.modules()) == len(convs)
    x = torch.rand(2, 3, 32, 32, generator=seeded())
    shapes = [tuple(net.forward_features(x, block=b).shape) for b in (1, 2, 3)]
    assert shapes == [(2, 96, 16, 16), (2, 192, 8, 8), (2, 192, 8, 8)]
    four = NetworkInNetwork(3, 4, n_blocks=4, generator=seeded())
    assert sum(isinstance(m, nn.Conv2d) for m in four.modules()) == 12


def test_the_head_continues_where_the_second_block_ends():
    net = NetworkInNetwork(1, 10, width=0.1, generator=seeded()).eval()
    maps = net.forward_features(torch.rand(4, 1, 28, 28, generator=seeded()), block=2)
    head = ConvHead(maps.shape[1], 10, channels=12, generator=seeded()).eval()
    torch.testing.assert_close(head(maps), head(maps.flatten(1)))
    rest = net.classifier(net.pool(net.blocks[2](maps)))
    torch.testing.assert_close(rest, net(torch.rand(4, 1, 28, 28, generator=seeded())))


def test_resnet_keeps_small_images_large():
    net = ResNet18(3, 10, generator=seeded())
    assert sum(isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3) for m in net.modules()) == 17
    assert sum(p.numel() for p in net.parameters()) == 11_173_962  # the CIFAR form of ResNet-18
    assert net.body[0].stride == (1, 1)
    assert not any(isinstance(m, nn.MaxPool2d) for m in net.modules())
    x = torch.rand(2, 3, 32, 32, generator=seeded())
    assert net.body[:-2](x).shape == (2, 512, 4, 4)
    assert net.features(x).shape == (2, net.n_features) == (2, 512)


def test_initial_weights_have_the_variance_that_is_documented():
    net = NetworkInNetwork(3, 10, generator=seeded())
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d) and layer.weight.numel() > 10_000:
            expected = math.sqrt(2 / (layer.out_channels * math.prod(layer.kernel_size)))
            assert layer.weight.std().item() == pytest.approx(expected, rel=0.05)
    assert net.classifier.weight.abs().max() <= 1 / math.sqrt(192)
    assert not net.classifier.bias.any()


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match="n_blocks=1"):
        NetworkInNetwork(3, 10, n_blocks=1)
    with pytest.raises(ValueError, match="no square maps of 3 channels"):
        ConvHead(3, 10)(torch.zeros(2, 3 * 5))


@pytest.mark.parametrize("name", ["nin", "rotnet-head", "simclr-head"])
def test_paper_settings_are_parameters_of_the_classifier(name):
    settings = paper_settings(name)
    net = SeededNetClassifier(LinearHead, **settings)
    assert {k: net.get_params()[k] for k in settings} == settings
    settings["lr"] = 99  # a copy: the next caller gets the paper's
    assert paper_settings(name)["lr"] != 99


def test_unknown_settings_are_named():
    with pytest.raises(ValueError, match=r"name='vgg' is unknown.*nin"):
        paper_settings("vgg")


@pytest.mark.parametrize("missing", ["torch", "skorch"])
def test_without_torch_the_extra_is_named(missing):
    code = (
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {missing!r}: raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "import certified_ensembles\n"
        "try:\n    import certified_ensembles.nets\n"
        "except ImportError as error:\n    print(error)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install certified-ensembles[torch]" in out.stdout
