#!/usr/bin/env python3
"""Golden values of the reference layers from an implementation that is not ours, PyTorch 1.13.1 (Debian's
python3-torch). Writes one text file a family beside this script; golden_test.cpp checks the layers by them.

    apt-get install python3-torch && /usr/bin/python3 make_golden.py

A case is a problem line, then one line a tensor: its name, as the layer calls it, and its elements,
row-major, printed so that they read back to the same double. The first word says how results compare: "exact"
to the last bit (inputs of sums are small multiples of 1/8, so that every partial sum is exact), "ulps" to a
few units in the last place of each element, "real" to a few units of the largest element of the tensor.
"""
import os


import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
torch.manual_seed(20130)
INF, NAN = float("inf"), float("nan")


def lattice(*shape):
    return torch.randint(-16, 17, shape).double() / 8


def real(*shape, scale=2.0):
    return torch.round(torch.randn(shape) * scale * 1000) / 1000


def text(shape):
    return "x".join(str(extent) for extent in shape)


class Family:
    def __init__(self, name):
        self.name, self.lines, self.cases = name, [], 0

    def case(self, problem, tensors, kind="exact"):
        self.lines.append(f"{kind} {problem}")
        self.cases += 1
        for name, tensor in tensors.items():
            if tensor is not None:
                values = tensor.detach().reshape(-1).tolist()
                self.lines.append(name + "".join(" " + (repr(v).removesuffix(".0")) for v in values))

    def write(self):
        path = os.path.join(os.path.dirname(os.path.abspath(__file__)), self.name + ".txt")
        with open(path, "w") as file:
            file.write("# Written by make_golden.py with torch " + torch.__version__ + ".\n")
            file.write("\n".join(self.lines) + "\n")
            file.write(f"# {self.cases} cases\n")


def backward(y, dy, *inputs):
    y.backward(dy)
    return [tensor.grad if tensor is not None else None for tensor in inputs]


# Convolutions ---------------------------------------------------------------------------------------------

def conv_case(family, x, weight, attributes, bias=None, pad=None, kind="exact", flip=False, **options):
    """`pad`: (begin, end) a spatial axis, applied by F.pad, which takes the last axis first."""
    rank = x.dim() - 2
    for tensor in (x, weight, bias):
        if tensor is not None:
            tensor.requires_grad_()
    padded = F.pad(x, [side for axis in reversed(pad) for side in axis]) if pad else x
    taps = torch.flip(weight, list(range(2, 2 + rank))) if flip else weight
    y = (F.conv1d, F.conv2d, F.conv3d)[rank - 1](padded, taps, bias, **options)
    dy = lattice(*y.shape) if kind == "exact" else real(*y.shape)
    dx, dweight, dbias = backward(y, dy, x, weight, bias)
    problem = f"conv{rank}d x={text(x.shape)} weight={text(weight.shape)}"
    problem += (f" bias={bias.numel()}" if bias is not None else "") + attributes
    tensors = dict(x=x, weight=weight, bias=bias, dy=dy, y=y, dx=dx, dweight=dweight, dbias=dbias)
    family.case(problem, tensors, kind)


def convolutions():
    f = Family("conv")
    conv_case(f, lattice(2, 3, 9), lattice(4, 3, 3), " stride=2 pad=1", lattice(4), stride=2, padding=1)
    conv_case(f, lattice(2, 4, 11), lattice(4, 2, 3), " groups=2 dilation=3", dilation=3, groups=2)
    conv_case(f, lattice(1, 3, 8), lattice(6, 1, 3), " groups=3 pad=2,0 stride=3", groups=3, stride=3,
              pad=[(2, 0)])
    conv_case(f, lattice(2, 3, 7, 6), lattice(4, 3, 3, 2), " stride=2x1 pad=1x2", lattice(4), stride=(2, 1),
              padding=(1, 2))
    conv_case(f, lattice(1, 4, 6, 8), lattice(6, 2, 2, 3), " groups=2 dilation=2x3", lattice(6),
              dilation=(2, 3), groups=2)
    conv_case(f, lattice(2, 2, 5, 6), lattice(3, 2, 3, 3), " pad=0,2,3,1 stride=2", stride=2,
              pad=[(0, 2), (3, 1)])
    conv_case(f, lattice(1, 3, 8, 8), lattice(3, 1, 3, 3), " groups=3 stride=2", groups=3, stride=2)
    conv_case(f, lattice(2, 2, 4, 5), lattice(3, 2, 1, 1), "", lattice(3))
    conv_case(f, lattice(1, 2, 7, 7), lattice(2, 2, 3, 3), " stride=3", stride=3)  # a rest that dx must zero
    conv_case(f, lattice(1, 2, 6, 7), lattice(3, 2, 4, 3), " padding=same_upper dilation=1x2",
              padding="same", dilation=(1, 2))
    conv_case(f, lattice(1, 2, 6, 7), lattice(3, 2, 2, 4), " padding=same_lower", pad=[(1, 0), (2, 1)])
    conv_case(f, lattice(1, 2, 5, 5), lattice(2, 2, 3, 2), " padding=valid", padding="valid")
    conv_case(f, lattice(1, 4, 5, 6), lattice(4, 2, 3, 2), " flip=true groups=2 pad=1", flip=True, groups=2,
              padding=1)
    conv_case(f, lattice(1, 2, 4, 5, 6), lattice(3, 2, 2, 3, 2), " stride=1x2x1 pad=1x0x1", lattice(3),
              stride=(1, 2, 1), padding=(1, 0, 1))
    conv_case(f, lattice(1, 4, 5, 4, 5), lattice(2, 2, 2, 2, 3), " groups=2 dilation=3x2x1 pad=1,0,0,1,2,0",
              groups=2, dilation=(3, 2, 1), pad=[(1, 0), (0, 1), (2, 0)])
    conv_case(f, lattice(0, 2, 5, 5), lattice(3, 2, 3, 3), "", lattice(3))
    conv_case(f, real(2, 5, 6, 7), real(4, 5, 3, 3), " pad=1", real(4), kind="real", padding=1)
    conv_case(f, real(1, 6, 9, 9, scale=100), real(3, 2, 3, 3), " groups=3 stride=2 dilation=2",
              kind="real", groups=3, stride=2, dilation=2)
    x = lattice(1, 1, 6, 6).abs() + 1
    x[0, 0, 1, 2], x[0, 0, 4, 4], x[0, 0, 0, 5] = NAN, INF, -INF
    conv_case(f, x, lattice(2, 1, 2, 2).abs() + 0.5, "", lattice(2))
    f.write()


# Max pooling ----------------------------------------------------------------------------------------------

def pool_case(family, x, attributes, window, pad=None, **options):
    rank = x.dim() - 2
    x.requires_grad_()
    padded = F.pad(x, [side for axis in reversed(pad) for side in axis], value=-INF) if pad else x
    function = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[rank - 1]
    y, indices = function(padded, window, return_indices=True, **options)
    if pad:  # cells of the padded plane → cells of x
        flat, indices = indices.clone(), torch.zeros_like(indices)
        for axis in range(rank):
            behind = 1
            for extent in padded.shape[axis + 3:]:
                behind *= extent
            at = flat // behind % padded.shape[axis + 2] - pad[axis][0]
            indices = indices * x.shape[axis + 2] + at
    dy = lattice(*y.shape)
    dx, = backward(y, dy, x)
    problem = f"max_pool{rank}d x={text(x.shape)} {attributes}"
    family.case(problem, dict(x=x, dy=dy, y=y, indices=indices, dx=dx))


def pooling():
    f = Family("max_pool")
    pool_case(f, real(2, 3, 9), "window=3", 3)
    pool_case(f, real(1, 2, 5), "window=3 stride=3 pad=1 ceil_mode=true", 3, stride=3, padding=1,
              ceil_mode=True)
    pool_case(f, real(1, 2, 6), "window=1 stride=2 ceil_mode=true", 1, stride=2, ceil_mode=True)
    pool_case(f, real(1, 2, 6), "window=2 stride=3 pad=1 ceil_mode=true", 2, stride=3, padding=1,
              ceil_mode=True)
    pool_case(f, real(2, 2, 7, 8), "window=3x2 stride=2x3 pad=1x1", (3, 2), stride=(2, 3), padding=(1, 1))
    pool_case(f, real(1, 3, 8, 7), "window=2x3 stride=1x2 dilation=3x2 ceil_mode=true", (2, 3),
              stride=(1, 2), dilation=(3, 2), ceil_mode=True)
    pool_case(f, real(1, 2, 6, 7), "window=3 stride=1", 3, stride=1)
    pool_case(f, real(1, 2, 6, 7), "window=4x3 stride=2 pad=2,0,0,1", (4, 3), pad=[(2, 0), (0, 1)], stride=2)
    pool_case(f, real(1, 2, 5, 6, 4), "window=2x3x2 stride=2x1x2 pad=1x1x0 ceil_mode=true", (2, 3, 2),
              stride=(2, 1, 2), padding=(1, 1, 0), ceil_mode=True)
    pool_case(f, real(2, 1, 6, 5, 5), "window=3x2x2 stride=1x2x2 dilation=2x1x3", (3, 2, 2),
              stride=(1, 2, 2), dilation=(2, 1, 3))
    pool_case(f, real(1, 2, 6, 6).clamp(max=-0.001), "window=3 stride=2 pad=1", 3, stride=2, padding=1)
    pool_case(f, torch.randint(0, 3, (2, 2, 7, 7)).double(), "window=3 stride=2 pad=1", 3, stride=2,
              padding=1)
    pool_case(f, torch.full((1, 1, 4, 5), -INF), "window=2 stride=1 pad=1", 2, stride=1, padding=1)
    x = torch.zeros(1, 1, 4, 6)
    x[0, 0, ::2, ::2], x[0, 0, 1::2, 1::2] = -0.0, -0.0
    pool_case(f, x, "window=2x3 stride=1x2", (2, 3), stride=(1, 2))
    for share in (0.1, 0.5):
        x = torch.randint(-2, 3, (1, 2, 7, 9)).double()
        x[torch.rand(x.shape) < share] = NAN
        x[torch.rand(x.shape) < 0.3] = -INF
        x[torch.rand(x.shape) < 0.05] = INF
        pool_case(f, x, "window=3x2 stride=2x1 pad=1,1,1,1", (3, 2), stride=(2, 1), padding=1)
    x = torch.full((1, 1, 3, 4, 4), -INF)
    x[0, 0, 1, 2, 3], x[0, 0, 2, 0, 1] = NAN, 3.5
    pool_case(f, x, "window=2 stride=1 pad=1 ceil_mode=true", 2, stride=1, padding=1, ceil_mode=True)
    f.write()


# Cross-entropy --------------------------------------------------------------------------------------------

def loss_case(family, x, target, attributes, weight=None, **options):
    x.requires_grad_()
    y = F.cross_entropy(x, target, weight, **options)
    dy = real(*y.shape)
    dx, = backward(y, dy, x)
    problem = f"cross_entropy x={text(x.shape)} target={text(target.shape)}"
    problem += (f" weight={weight.numel()}" if weight is not None else "") + attributes
    family.case(problem, dict(x=x, target=target, weight=weight, dy=dy, y=y, dx=dx), "real")


def targets(classes, *shape):
    return torch.randint(0, classes, shape)


def losses():
    f = Family("cross_entropy")
    for reduction in ("mean", "sum", "none"):
        text_of = "" if reduction == "mean" else f" reduction={reduction}"
        loss_case(f, real(4, 5), targets(5, 4), text_of, reduction=reduction)
        t = targets(4, 3, 5)
        t[torch.rand(t.shape) < 0.3] = -100
        loss_case(f, real(3, 4, 5), t, text_of, real(4).abs(), reduction=reduction)
        t = targets(4, 2, 3, 4)
        loss_case(f, real(2, 4, 3, 4), t, text_of + " ignore_index=2", real(4), reduction=reduction,
                  ignore_index=2)
        t[0, 1, :2] = 9
        loss_case(f, real(2, 4, 3, 4), t, text_of + " ignore_index=9 label_smoothing=0.1",
                  reduction=reduction, ignore_index=9, label_smoothing=0.1)
        loss_case(f, real(5, 3), targets(3, 5), text_of + " label_smoothing=0.3", real(3).abs(),
                  reduction=reduction, label_smoothing=0.3)
        t = targets(3, 6)
        t[::3] = -1
        loss_case(f, real(6, 3), t, text_of + " ignore_index=-1 label_smoothing=1",
                  torch.tensor([0.0, -1.5, 2.0]),
                  reduction=reduction, ignore_index=-1, label_smoothing=1.0)
        loss_case(f, real(3, 4), torch.full((3,), -100), text_of, reduction=reduction)  # nothing counts
        loss_case(f, real(3, 4), torch.full((3,), -100), text_of + " label_smoothing=0.2",
                  reduction=reduction, label_smoothing=0.2)
        # 0/0
        loss_case(f, real(3, 2), torch.zeros(3, dtype=torch.long), text_of, torch.tensor([0.0, 1.0]),
                  reduction=reduction)
        # negative total
        loss_case(f, real(4, 3), torch.tensor([0, 1, 2, 0]), text_of, torch.tensor([-1.0, -2.0, 0.5]),
                  reduction=reduction)
        # far apart: no overflow
        loss_case(f, real(3, 4, scale=400), targets(4, 3), text_of, reduction=reduction)
        x = real(3, 4)
        x[0, 1], x[1, 0], x[2, 3] = -INF, -INF, -INF
        loss_case(f, x, torch.tensor([0, 2, 3]), text_of, reduction=reduction)  # one target of probability 0
        x = real(3, 4)
        x[0, 1] = NAN
        loss_case(f, x, torch.tensor([0, 2, 3]), text_of, reduction=reduction)
        x = real(2, 3)
        x[0, 1] = INF
        loss_case(f, x, torch.tensor([2, -100]), text_of, reduction=reduction)
        loss_case(f, real(2, 1), targets(1, 2), text_of, reduction=reduction)  # one class: loss 0
    f.write()


# Gates and dense layers -----------------------------------------------------------------------------------

def element_wise(family, name, function, x):
    x.requires_grad_()
    y = function(x)
    dy = real(*y.shape)
    dx, = backward(y, dy, x)
    family.case(f"{name} x={text(x.shape)}", dict(x=x, dy=dy, y=y, dx=dx), "ulps")


def linear_case(family, x, weight, bias=None, kind="exact"):
    for tensor in (x, weight, bias):
        if tensor is not None:
            tensor.requires_grad_()
    y = F.linear(x, weight, bias)
    dy = lattice(*y.shape) if kind == "exact" else real(*y.shape)
    dx, dweight, dbias = backward(y, dy, x, weight, bias)
    problem = f"linear x={text(x.shape)} weight={text(weight.shape)}"
    problem += f" bias={bias.numel()}" if bias is not None else ""
    tensors = dict(x=x, weight=weight, bias=bias, dy=dy, y=y, dx=dx, dweight=dweight, dbias=dbias)
    family.case(problem, tensors, kind)


def gates():
    f = Family("gates")
    edges = torch.tensor([0.0, -0.0, 1e-300, -1e-300, 5e-324, -5e-324, INF, -INF, NAN, 1.0, -1.0, 1e308,
                          -1e308])
    element_wise(f, "relu", F.relu, real(2, 3, 4))
    element_wise(f, "relu", F.relu, edges.clone())
    element_wise(f, "sigmoid", torch.sigmoid, real(3, 4, 5, scale=4))
    element_wise(f, "sigmoid", torch.sigmoid, edges.clone())
    element_wise(f, "sigmoid", torch.sigmoid, torch.tensor([-700.0, -100.0, -40.0, -36.7, -17.3, 17.3, 36.7,
                                                            40.0, 100.0, 700.0]))
    linear_case(f, lattice(4, 5), lattice(3, 5), lattice(3))
    linear_case(f, lattice(2, 3, 4), lattice(5, 4))
    linear_case(f, lattice(6), lattice(2, 6), lattice(2))
    linear_case(f, lattice(0, 3), lattice(2, 3), lattice(2))
    linear_case(f, real(5, 17), real(7, 17), real(7), kind="real")
    f.write()


if __name__ == "__main__":
    convolutions()
    pooling()
    losses()
    gates()
