#!/usr/bin/env python3
"""Golden values of the layers kin to convolution: transposed, depthwise, locally connected and row convolution,
unfold and fold. See make_golden.py.

    /usr/bin/python3 make_transposed.py
"""
import torch
import torch.nn.functional as F

from make_golden import INF, NAN, Family, backward, lattice, real, text

torch.manual_seed(20131)


def padded(x, pad):
    """`pad`: (begin, end) a spatial axis; F.pad takes the last axis first."""
    return F.pad(x, [side for axis in reversed(pad) for side in axis]) if pad else x


def cropped(y, pad):
    for axis, (begin, end) in enumerate(pad or ()):
        y = y.narrow(2 + axis, begin, y.shape[2 + axis] - begin - end)
    return y


def weighted(family, name, attributes, compute, x, weight, bias, kind):
    """A case of a layer with weights: `compute` maps (x, weight, bias) to y."""
    for tensor in (x, weight, bias):
        if tensor is not None:
            tensor.requires_grad_()
    y = compute(x, weight, bias)
    dy = lattice(*y.shape) if kind == "exact" else real(*y.shape)
    dx, dweight, dbias = backward(y, dy, x, weight, bias)
    problem = f"{name} x={text(x.shape)} weight={text(weight.shape)}"
    problem += (f" bias={text(bias.shape)}" if bias is not None else "") + attributes
    tensors = dict(x=x, weight=weight, bias=bias, dy=dy, y=y, dx=dx, dweight=dweight, dbias=dbias)
    family.case(problem, tensors, kind)


# Transposed convolution -----------------------------------------------------------------------------------

def transpose_case(family, x, weight, attributes, bias=None, pad=None, kind="exact", **options):
    rank = x.dim() - 2
    function = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[rank - 1]
    weighted(family, f"conv_transpose{rank}d", attributes,
             lambda x, w, b: cropped(function(x, w, b, **options), pad), x, weight, bias, kind)


def transposed():
    f = Family("conv_transpose")
    transpose_case(f, lattice(2, 3, 4), lattice(3, 2, 3), " stride=2 pad=1 output_pad=1", lattice(2),
                   stride=2, padding=1, output_padding=1)
    transpose_case(f, lattice(1, 4, 5), lattice(4, 2, 3), " groups=2 dilation=3 stride=2 output_pad=2",
                   groups=2, dilation=3, stride=2, output_padding=2)
    transpose_case(f, lattice(2, 2, 5), lattice(2, 3, 4), " pad=2,0 stride=3", lattice(3), pad=[(2, 0)],
                   stride=3)
    transpose_case(f, lattice(2, 3, 4, 3), lattice(3, 2, 3, 2), " stride=2x1 pad=1x0", lattice(2), stride=(2,
                   1), padding=(1, 0))
    transpose_case(f, lattice(1, 4, 3, 5), lattice(4, 3, 2, 3), " groups=2 dilation=2x1 output_pad=1x0",
                   lattice(6), groups=2, dilation=(2, 1), output_padding=(1, 0))
    transpose_case(f, lattice(1, 2, 3, 3), lattice(2, 1, 2, 2), " stride=3x4 output_pad=2x3", lattice(1),
                   stride=(3, 4), output_padding=(2, 3))  # gaps and ends that hold nothing but bias
    transpose_case(f, lattice(1, 3, 4, 4), lattice(3, 2, 3, 3), " pad=0,2,3,1 stride=2", pad=[(0, 2), (3, 1)],
                   stride=2)
    transpose_case(f, lattice(1, 2, 2, 3, 2), lattice(2, 3, 2, 1, 3),
                   " stride=1x2x2 pad=1x0x1 output_pad=0x1x1", lattice(3), stride=(1, 2, 2), padding=(1, 0,
                   1), output_padding=(0, 1, 1))
    transpose_case(f, lattice(2, 4, 2, 2, 3), lattice(4, 1, 2, 2, 2), " groups=4 dilation=3x1x2", groups=4,
                   dilation=(3, 1, 2))
    transpose_case(f, real(2, 4, 4, 5), real(4, 3, 3, 3), " stride=2 pad=1", real(3), kind="real", stride=2,
                   padding=1)
    x = lattice(1, 1, 4, 4).abs() + 1
    x[0, 0, 1, 2], x[0, 0, 3, 3], x[0, 0, 0, 0] = NAN, INF, -INF
    transpose_case(f, x, lattice(1, 2, 2, 2).abs() + 0.5, " stride=2", lattice(2), stride=2)
    f.write()


# Depthwise convolution ------------------------------------------------------------------------------------

def depthwise_case(family, x, weight, attributes, bias=None, pad=None, kind="exact", **options):
    rank = x.dim() - 2
    function = (F.conv1d, F.conv2d, F.conv3d)[rank - 1]
    weighted(family, f"depthwise_conv{rank}d", attributes, lambda x, w, b: function(padded(x, pad), w, b,
             groups=x.shape[1], **options), x, weight, bias, kind)


def depthwise():
    f = Family("depthwise_conv")
    depthwise_case(f, lattice(2, 3, 8), lattice(3, 1, 3), " stride=2 pad=1", lattice(3), stride=2, padding=1)
    depthwise_case(f, lattice(1, 2, 9), lattice(6, 1, 2), " pad=2,0 dilation=3", pad=[(2, 0)], dilation=3)
    depthwise_case(f, lattice(2, 3, 5, 6), lattice(6, 1, 3, 2), " pad=1x0", lattice(6), padding=(1, 0))
    depthwise_case(f, lattice(1, 4, 7, 6), lattice(4, 1, 2, 3), " stride=3x2 dilation=1x2", stride=(3, 2),
                   dilation=(1, 2))
    depthwise_case(f, lattice(1, 2, 4, 5, 3), lattice(4, 1, 2, 3, 2), " stride=1x2x1 pad=1,0,0,1,2,0",
                   lattice(4), stride=(1, 2, 1), pad=[(1, 0), (0, 1), (2, 0)])
    depthwise_case(f, lattice(2, 1, 3, 3, 4), lattice(3, 1, 2, 1, 2), " dilation=2x1x3", dilation=(2, 1, 3))
    depthwise_case(f, real(2, 5, 6, 7), real(10, 1, 3, 3), " pad=1 stride=2", real(10), kind="real",
                   padding=1, stride=2)
    f.write()


# Locally connected ----------------------------------------------------------------------------------------

def connect(x, weight, bias, pad, stride, dilation):
    """Windows of the padded image times a filter for every position, in plain torch."""
    rank = x.dim() - 2
    windows = padded(x, pad)
    for axis in range(rank):  # N,C,positions… → … with a window axis appended for each
        taps, gap = weight.shape[2 + rank + axis], dilation[axis]
        windows = windows.unfold(2 + axis, gap * (taps - 1) + 1, stride[axis])[..., ::gap]
    at, tap = "opq"[3 - rank:], "trs"[3 - rank:]
    y = torch.einsum(f"nc{at}{tap},k{at}c{tap}->nk{at}", windows, weight)
    return y if bias is None else y + bias


def local_case(family, x, weight, attributes, bias=None, pad=None, stride=None, dilation=None, kind="exact"):
    rank = x.dim() - 2
    ones = (1,) * rank
    weighted(family, f"locally_connected{rank}d", attributes,
             lambda x, w, b: connect(x, w, b, pad, stride or ones, dilation or ones), x, weight, bias, kind)


def locally_connected():
    f = Family("locally_connected")
    local_case(f, lattice(2, 3, 7), lattice(2, 4, 3, 3), " stride=2 pad=1", lattice(2, 4), [(1, 1)], (2,))
    local_case(f, lattice(1, 2, 8), lattice(3, 3, 2, 2), " pad=0,1 dilation=3 stride=2", None, [(0, 1)], (2,),
               (3,))
    local_case(f, lattice(2, 2, 4, 5), lattice(2, 2, 3, 2, 3, 3), "", lattice(2, 2, 3))
    local_case(f, lattice(1, 3, 5, 4), lattice(2, 3, 4, 3, 3, 2), " stride=2x1 pad=1,1,1,0", None,
               [(1, 1), (1, 0)], (2, 1))
    local_case(f, lattice(1, 1, 5, 6), lattice(1, 3, 2, 1, 2, 3), " stride=1x2 dilation=2x1", lattice(1, 3,
               2), None, (1, 2), (2, 1))
    local_case(f, lattice(1, 2, 3, 4, 3), lattice(2, 2, 2, 4, 2, 2, 2, 2), " stride=1x2x1 pad=0,0,0,0,1,1",
               lattice(2, 2, 2, 4), [(0, 0), (0, 0), (1, 1)], (1, 2, 1))
    local_case(f, lattice(2, 1, 3, 2, 3), lattice(2, 1, 2, 3, 1, 2, 1, 1), " dilation=2x1x1",
               dilation=(2, 1, 1))
    local_case(f, real(2, 3, 5, 5), real(4, 3, 3, 3, 3, 3), "", real(4, 3, 3), kind="real")
    f.write()


# Row convolution ------------------------------------------------------------------------------------------

def row_case(family, x, weight, attributes, bias=None, pad=None, time_first=False, kind="exact", **options):
    def compute(x, w, b):
        rows = padded(x.transpose(1, 2) if time_first else x, pad)
        y = F.conv1d(rows, w, b, groups=w.shape[0], **options)
        return y.transpose(1, 2) if time_first else y
    weighted(family, "row_conv1d", attributes, compute, x, weight, bias, kind)


def rows():
    f = Family("row_conv")
    row_case(f, lattice(2, 3, 7), lattice(3, 1, 3), "", lattice(3))
    row_case(f, lattice(2, 8, 3), lattice(3, 1, 3), " stride=2 feature_first=false", lattice(3),
             time_first=True, stride=2)
    row_case(f, lattice(1, 2, 6), lattice(2, 1, 4), " pad=1,3 stride=3", pad=[(1, 3)], stride=3)
    row_case(f, lattice(1, 4, 2), lattice(2, 1, 5), " pad=0,4 feature_first=false", pad=[(0, 4)],
             time_first=True)
    row_case(f, real(3, 5, 9), real(5, 1, 4), " pad=2", real(5), kind="real", padding=2)
    f.write()


# Unfold and fold ------------------------------------------------------------------------------------------

def window_case(family, name, x, attributes, compute):
    x.requires_grad_()
    y = compute(x)
    dy = lattice(*y.shape)
    dx, = backward(y, dy, x)
    family.case(f"{name} x={text(x.shape)}{attributes}", dict(x=x, dy=dy, y=y, dx=dx))


def windows():
    f = Family("unfold")
    for shape, attributes, options in (
            ((2, 3, 5, 6), " window=2x3", dict(kernel_size=(2, 3))),
            ((1, 2, 6, 7), " window=3x2 stride=2x1 pad=1x0",
             dict(kernel_size=(3, 2), stride=(2, 1), padding=(1, 0))),
            ((1, 2, 7, 6), " window=2 dilation=3x2 stride=1x3 pad=1x2",
             dict(kernel_size=2, dilation=(3, 2), stride=(1, 3), padding=(1, 2)))):
        x = lattice(*shape)
        window_case(f, "unfold2d", x.clone(), attributes, lambda x: F.unfold(x, **options))
        columns = F.unfold(x, **options)
        window_case(f, "fold2d", lattice(*columns.shape), f" output={shape[2]}x{shape[3]}" + attributes,
                    lambda x: F.fold(x, shape[2:], **options))
    window_case(f, "unfold2d", lattice(1, 2, 4, 4), " window=3x2 pad=2,0,0,1",
                lambda x: F.unfold(padded(x, [(2, 0), (0, 1)]), (3, 2)))
    window_case(f, "fold2d", lattice(1, 12, 16), " output=4x4 window=3x2 pad=2,0,0,1",
                lambda x: cropped(F.fold(x, (6, 5), (3, 2)), [(2, 0), (0, 1)]))
    x = lattice(1, 1, 4, 4)
    x[0, 0, 1, 1], x[0, 0, 2, 3] = NAN, INF
    window_case(f, "unfold2d", x, " window=2 stride=1x2 pad=1", lambda x: F.unfold(x, 2, stride=(1, 2),
                padding=1))
    f.write()


if __name__ == "__main__":
    transposed()
    depthwise()
    locally_connected()
    rows()
    windows()
