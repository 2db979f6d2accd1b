"""LSM: the published model's numbers and size, the block against plain attention, any grid size and dimension."""

import copy

import pytest
import torch
from nwidth import Grid, NWidthError
from nwidth.backends.grid import Axis
from nwidth.operators import LSM
from nwidth.operators.lsm import NeuralSpectralBlock, continued

# Output of the authors' LSM_2D and LSM_3D (github.com/thuml/Latent-Spectral-Models, MIT) at nine points, in double
# precision, for 5 scales of width 8, 4 basis functions and 3 tokens, with the weights and the input of the test below;
# the second of each pair with the statistics of the batch.
PUBLISHED = {
    ((17, 33), (2, 3), False): [
        1.132335957227356,
        1.143541544667822,
        1.144679735899474,
        1.1487229058281383,
        1.145337783655286,
        1.1440787278764877,
        1.1434137839948957,
        1.1380246630882536,
        1.1308724538703014,
    ],
    ((17, 33), (2, 3), True): [
        0.7013084700383505,
        1.2781352597334328,
        1.5425651217033245,
        1.557178142716315,
        1.5494831621134821,
        1.5430489414045,
        1.5852435062151329,
        1.5718711974199302,
        1.3105057199062153,
    ],
    ((9, 17, 17), (1, 2, 1), False): [
        1.3270589919391496,
        1.0884660633904308,
        1.200012036704407,
        1.192446532308878,
        1.2452819069290604,
        1.2721002257987657,
        1.2420318405267616,
        1.1682426831496397,
        1.4987172243004596,
    ],
    ((9, 17, 17), (1, 2, 1), True): [
        1.0832124232497735,
        1.0802140837208358,
        1.2838603764050407,
        1.0113643825517002,
        0.7089256158755892,
        1.0572933401344784,
        1.1132344154523108,
        1.088324502418566,
        4.917795861217304,
    ],
}


def fill(net):
    """Weights and statistics by a formula."""
    with torch.no_grad():
        for i, p in enumerate(net.parameters()):
            wave = torch.sin(torch.arange(p.numel(), dtype=torch.float64) * (i + 1) + i).view(p.shape)
            p.copy_(2 * wave / p[0].numel() ** 0.5 if p.ndim > 1 else 1 + 0.5 * wave)
        for name, b in net.named_buffers():
            j = torch.arange(b.numel(), dtype=torch.float64)
            if name.endswith("running_var"):
                b.copy_(1 + 0.5 * torch.cos(j))
            elif name.endswith("running_mean"):
                b.copy_(torch.sin(j))


@pytest.mark.parametrize(("shape", "patch", "training"), PUBLISHED, ids=str)
def test_equals_the_published_model(shape, patch, training):
    options = {"levels": 5, "patch": patch, "basis": 4, "tokens": 3, "norm": "batch"}
    net = LSM(2, 1, Grid.make(shape, kind="nodal"), width=8, **options).double()
    fill(net)
    count = torch.Size(shape).numel()
    t = torch.arange(2 * count, dtype=torch.float64).view(1, 2, *shape)
    with torch.no_grad():
        y = net.train(training)(torch.cos(0.1 * t) + 0.2 * torch.sin(0.37 * t))
    expected = torch.tensor(PUBLISHED[shape, patch, training], dtype=torch.float64)
    assert torch.allclose(y.flatten()[:: count // 8], expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("shape", "width", "count"), [((64, 64), 64, 19_187_457), ((64, 64, 64), 32, 13_457_441)])
def test_has_the_published_number_of_parameters(shape, width, count):
    net = LSM(1, 1, Grid.make(shape, kind="nodal"), width=width, levels=5, norm="batch")
    assert sum(p.numel() for p in net.parameters()) == count


def attention(block, x):
    """The block's equations, patch by patch and head by head, for a field x (C, *space) in one dimension."""
    heads, _, c = block.latent.shape
    count = block.weight.shape[1] // 2
    out = torch.empty_like(x)
    for start in range(0, x.shape[1], block.patch[0]):
        part = x[:, start : start + block.patch[0]]
        both = (block.encode.weight @ part + block.encode.bias[:, None]).view(heads, c, 2, -1)
        query = (block.decode.weight @ part + block.decode.bias[:, None]).view(heads, c, -1)
        for h in range(heads):
            keys, values = both[h, :, 0], both[h, :, 1]
            t = block.latent[h] + torch.softmax(block.latent[h] @ keys, 1) @ values.T
            waves = torch.zeros_like(t)
            for i in range(c):
                for k in range(count):
                    angle = torch.pi * k / count * t[:, i]
                    w = block.weight[h * c + i]
                    waves[:, i] += w[k] * torch.sin(angle) + w[count + k] * torch.cos(angle)
            t = t + waves
            rows = slice(h * c, (h + 1) * c)
            out[rows, start : start + block.patch[0]] = part[rows] + (torch.softmax(query[h].T @ t.T, 1) @ t).T
    return out


def test_the_block_is_attention_to_tokens_of_each_patch():
    torch.manual_seed(0)
    block = NeuralSpectralBlock(6, (4,), basis=3, tokens=5, heads=2).double()
    with torch.no_grad():
        for p in block.parameters():
            p.copy_(torch.randn_like(p))
        x = torch.randn(2, 6, 12, dtype=torch.float64)
        assert torch.allclose(block(x), torch.stack([attention(block, v) for v in x]), atol=1e-12)


@pytest.mark.parametrize("boundary", ["auto", "periodic", "reflect"])
@pytest.mark.parametrize("shape", [(16,), (37,), (21, 16), (11, 14), (3, 12), (6, 9, 8)], ids=str)
def test_any_size_and_dimension(shape, boundary):
    net = LSM(2, 3, Grid.make(shape, kind="nodal"), width=8, boundary=boundary)
    y = net(torch.randn(2, 2, *shape))
    assert y.shape == (2, 3, *shape)
    y.square().sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    assert net(torch.randn(2, 2, *(n + 5 for n in shape))).shape[2:] == tuple(n + 5 for n in shape)


def test_scales_and_patches_follow_the_grid():
    auto = LSM(1, 1, Grid.make((85, 40, 4), kind="nodal"), width=8)
    assert auto.patch == (6, 5, 4) and auto.multiple == (96, 40, 4)  # the authors pad 85 to 96 with patches of 6
    assert auto.scales.factors == [(2, 2, 1), (2, 2, 1), (2, 2, 1), (2, 1, 1)]
    assert LSM(1, 1, Grid.make((101, 31, 20)), width=8, levels=5, patch=(7, 2, 2)).multiple == (112, 32, 32)
    flat = LSM(1, 1, Grid.make((9,)), width=8, levels=1, patch=2)
    assert flat.scales.factors == [] and flat(torch.randn(1, 1, 9)).shape == (1, 1, 9)


def test_continuation():
    x = torch.arange(1.0, 5.0).view(1, 1, 4)
    assert [continued(x, 2, 3, b)[0].flatten().tolist() for b in ("zero", "periodic", "reflect")] == [
        [1, 2, 3, 4, 0, 0, 0],
        [4, 1, 2, 3, 4, 1, 2],
        [2, 1, 2, 3, 4, 3, 2],
    ]
    assert [continued(x, 2, n, "periodic")[1] for n in (0, 3, 9)] == [0, 1, 4]
    far, start = continued(x, 2, 9, "reflect")  # further than the field is long
    assert far.flatten().tolist() == [3, 4, 3, 2, 1, 2, 3, 4, 3, 2, 1, 2, 3] and start == 4
    assert continued(x[..., :1], 2, 2, "reflect")[0].flatten().tolist() == [1, 1, 1]


def test_precision_seed_and_state():
    nets = []
    for _ in range(2):
        torch.manual_seed(1)
        nets.append(LSM(1, 1, Grid.make((20, 16), kind="nodal"), width=8).eval())
    x = torch.randn(2, 1, 20, 16)
    assert torch.equal(nets[0](x), nets[1](x))
    y = copy.deepcopy(nets[0]).double()(x.double())
    assert y.dtype == torch.float64 and torch.allclose(y.float(), nets[0](x), atol=1e-5)
    assert not any(v.is_complex() for v in nets[0].state_dict().values())


def test_compiles_without_graph_breaks():
    net = LSM(1, 1, Grid((Axis("nodal", 12), Axis("periodic", 10))), width=8, levels=1).eval()
    compiled = torch.compile(net, fullgraph=True, backend="eager")
    for shape in ((12, 10), (15, 21)):
        x = torch.randn(2, 1, *shape)
        assert torch.allclose(compiled(x), net(x), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"width": 12}, "multiple of heads"),
        ({"tokens": 0}, "at least 1"),
        ({"levels": 0}, "levels=0"),
        ({"patch": [2]}, "or 2 of them"),
        ({"patch": 0}, "at least 1"),
        ({"norm": "layer"}, "none, batch, instance, group"),
        ({"activation": "gleu"}, "one of gelu"),
        ({"boundary": "neumann"}, "zero, periodic or reflect"),
    ],
)
def test_errors(options, words):
    with pytest.raises(NWidthError, match=words):
        LSM(1, 1, Grid.make((8, 8)), **{"width": 8, **options})
    with pytest.raises(NWidthError, match="1 channels, 2 space axes"):
        LSM(1, 1, Grid.make((8, 8)), width=8)(torch.randn(1, 2, 8, 8))
