#!/usr/bin/env python3
"""Golden values of the rearranging layers from torch; see make_golden.py."""
import torch
import torch.nn.functional as F

from make_golden import Family, lattice, text, backward, NAN


def case(family, layer, x, attributes, function):
    x.requires_grad_()
    y = function(x)
    dy = lattice(*y.shape)
    dx, = backward(y, dy, x)
    family.case(f"{layer} x={text(x.shape)} {attributes}".rstrip(), dict(x=x, dy=dy, y=y, dx=dx))


def shuffle_case(family, x, groups):
    """torch 1.13.1 cannot differentiate its channel_shuffle: dy goes where torch moves the element numbers from."""
    y = torch.channel_shuffle(x, groups)
    dy = lattice(*y.shape)
    numbers = torch.channel_shuffle(torch.arange(float(x.numel())).reshape(x.shape), groups).long().reshape(-1)
    dx = torch.zeros(x.numel()).index_add(0, numbers, dy.reshape(-1))
    family.case(f"channel_shuffle x={text(x.shape)} groups={groups}", dict(x=x, dy=dy, y=y, dx=dx))


def concat_case(family, attributes, axis, *pieces):
    for piece in pieces:
        piece.requires_grad_()
    y = torch.cat(pieces, axis)
    dy = lattice(*y.shape)
    gradients = backward(y, dy, *pieces)
    tensors = dict(dy=dy, y=y)
    for i, (piece, gradient) in enumerate(zip(pieces, gradients)):
        tensors[f"x{i}"], tensors[f"dx{i}"] = piece, gradient
    family.case("concat " + " ".join(f"x{i}={text(p.shape)}" for i, p in enumerate(pieces)) + attributes, tensors)


def split_case(family, x, axis, sizes):
    x.requires_grad_()
    pieces = torch.split(x, sizes, axis)
    cotangents = [lattice(*piece.shape) for piece in pieces]
    torch.autograd.backward(pieces, cotangents)
    tensors = dict(x=x, dx=x.grad)
    for i, (piece, cotangent) in enumerate(zip(pieces, cotangents)):
        tensors[f"y{i}"], tensors[f"dy{i}"] = piece, cotangent
    family.case(f"split x={text(x.shape)} axis={axis} sizes={text(sizes)}", tensors)


def slice_case(family, x, start, stop, step):
    at = tuple(slice(*triple) for triple in zip(start, stop, step))
    case(family, "slice", x, f"start={text(start)} stop={text(stop)} step={text(step)}", lambda t: t[at])


def rearrangements():
    f = Family("rearrangement")
    case(f, "flatten", lattice(2, 3, 4), "", lambda x: torch.flatten(x, 1))
    case(f, "flatten", lattice(2, 3, 2, 2), "start=0 end=2", lambda x: torch.flatten(x, 0, 2))
    case(f, "flatten", lattice(2, 3, 2, 2), "start=2 end=2", lambda x: torch.flatten(x, 2, 2))
    case(f, "reshape", lattice(2, 3, 4), "shape=4x1x6", lambda x: x.reshape(4, 1, 6))
    case(f, "reshape", lattice(5), "shape=5x1", lambda x: x.reshape(5, 1))
    case(f, "permute", lattice(2, 3, 4), "order=2x0x1", lambda x: x.permute(2, 0, 1))
    case(f, "permute", lattice(2, 3, 1, 4, 2), "order=3x0x4x2x1", lambda x: x.permute(3, 0, 4, 2, 1))
    concat_case(f, "", 1, lattice(2, 3, 2), lattice(2, 1, 2))
    concat_case(f, " axis=0 count=3", 0, lattice(2, 3), lattice(1, 3), lattice(4, 3))
    concat_case(f, " axis=2", 2, lattice(2, 2, 1, 3), lattice(2, 2, 5, 3))
    split_case(f, lattice(2, 7, 3), 1, (2, 4, 1))
    split_case(f, lattice(5, 2), 0, (3, 2))
    split_case(f, lattice(2, 2, 6), 2, (1, 0, 5))
    slice_case(f, lattice(7, 9), (1, 0), (7, 8), (2, 3))
    slice_case(f, lattice(3, 4, 5), (0, 3, 2), (3, 4, 5), (1, 1, 2))
    for name, function in (("pixel_shuffle", F.pixel_shuffle), ("pixel_unshuffle", F.pixel_unshuffle)):
        deep = name == "pixel_shuffle"
        for factor, x in ((2, lattice(2, 8, 2, 3) if deep else lattice(2, 2, 4, 6)),
                          (3, lattice(1, 9, 1, 2) if deep else lattice(1, 1, 3, 6))):
            case(f, name, x, f"factor={factor}", lambda t, g=function, r=factor: g(t, r))
    for groups, x in ((2, lattice(2, 6, 3, 2)), (3, lattice(1, 6, 2, 1)), (4, lattice(2, 4, 1, 3))):
        shuffle_case(f, x, groups)
    x = lattice(2, 2, 3)
    x[0, 1, 2], x[1, 0, 0] = NAN, -0.0
    case(f, "permute", x, "order=1x2x0", lambda t: t.permute(1, 2, 0))
    f.write()


if __name__ == "__main__":
    rearrangements()
