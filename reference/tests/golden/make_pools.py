#!/usr/bin/env python3
"""Golden values of the pooling layers other than max pooling: average, power-average, adaptive, fractional and
global pooling, and max unpooling. See make_golden.py.

    /usr/bin/python3 make_pools.py
"""
import torch
import torch.nn.functional as F

from make_golden import INF, NAN, Family, backward, lattice, real, text

torch.manual_seed(20132)


def by_rank(functions, x):
    return functions[x.dim() - 3]


def pool_case(family, name, x, attributes, compute, kind="real", **others):
    """`compute` maps x to y, or to (y, indices)."""
    x.requires_grad_()
    result = compute(x)
    y, indices = result if isinstance(result, tuple) else (result, None)
    dy = lattice(*y.shape) if kind == "exact" else real(*y.shape)
    dx, = backward(y, dy, x)
    problem = f"{name} x={text(x.shape)}" + "".join(f" {n}={text(t.shape)}" for n, t in others.items())
    family.case(problem + attributes, dict(x=x, **others, dy=dy, y=y, indices=indices, dx=dx), kind)


def hard_values(*shape):
    """Ties, NaN and infinities."""
    x = torch.randint(-2, 3, shape).double()
    x[torch.rand(shape) < 0.2] = NAN
    x[torch.rand(shape) < 0.3] = -INF
    x[torch.rand(shape) < 0.05] = INF
    return x


# Average pooling ------------------------------------------------------------------------------------------

def average_case(family, x, attributes, window, pad=None, **options):
    def compute(x):
        wide = F.pad(x, [side for axis in reversed(pad) for side in axis]) if pad else x
        if x.dim() > 3:
            return by_rank((None, F.avg_pool2d, F.avg_pool3d), x)(wide, window, **options)
        return F.avg_pool1d(wide, window, **options)
    pool_case(family, f"avg_pool{x.dim() - 2}d", x, f" window={attributes}", compute)


def averages():
    f = Family("avg_pool")
    one_to_six = torch.arange(1.0, 7.0).reshape(1, 1, 6)
    average_case(f, lattice(2, 3, 9), "3", 3)
    average_case(f, lattice(1, 1, 7), "2 stride=3 ceil_mode=true", 2, stride=3, ceil_mode=True)
    average_case(f, one_to_six.clone(), "3 stride=2 pad=1 ceil_mode=true", 3, stride=2, padding=1,
                 ceil_mode=True)
    average_case(f, one_to_six.clone(), "3 stride=2 pad=1 ceil_mode=true count_include_pad=false", 3,
                 stride=2, padding=1, ceil_mode=True, count_include_pad=False)
    average_case(f, lattice(1, 2, 6), "1 stride=2 ceil_mode=true", 1, stride=2, ceil_mode=True)
    average_case(f, lattice(2, 2, 7, 8), "3x2 stride=2x3 pad=1x1", (3, 2), stride=(2, 3), padding=(1, 1))
    average_case(f, lattice(1, 3, 8, 7), "2x3 stride=3x2 pad=1 ceil_mode=true", (2, 3), stride=(3, 2),
                 padding=1, ceil_mode=True)
    average_case(f, lattice(1, 2, 8, 6), "3x2 stride=2 pad=1 ceil_mode=true count_include_pad=false", (3, 2),
                 stride=2, padding=1, ceil_mode=True, count_include_pad=False)
    average_case(f, lattice(1, 2, 5, 6), "3 stride=2 pad=1 divisor_override=7", 3, stride=2, padding=1,
                 divisor_override=7)
    average_case(f, lattice(1, 2, 6, 5), "4x3 stride=2 pad=2,0,0,1", (4, 3), pad=[(2, 0), (0, 1)], stride=2)
    average_case(f, lattice(1, 2, 5, 6, 4), "2x3x2 stride=2x1x2 pad=1x1x0 ceil_mode=true", (2, 3, 2),
                 stride=(2, 1, 2), padding=(1, 1, 0), ceil_mode=True)
    average_case(f, lattice(2, 1, 6, 5, 5), "3x2x2 stride=1x2x3 pad=1x0x1 count_include_pad=false", (3, 2, 2),
                 stride=(1, 2, 3), padding=(1, 0, 1), count_include_pad=False)
    average_case(f, lattice(1, 1, 4, 4, 4), "2 divisor_override=3", 2, divisor_override=3)
    x = lattice(1, 2, 5, 6)
    x[0, 0, 1, 2], x[0, 0, 4, 4], x[0, 1, 0, 5], x[0, 1, 1, 5] = NAN, INF, INF, -INF
    average_case(f, x, "2x3 stride=1x2 pad=1", (2, 3), stride=(1, 2), padding=1)
    f.write()


# Power-average pooling ------------------------------------------------------------------------------------

def power_case(family, x, attributes, window, stride, norm, magnitudes=False, ceil_by=None):
    """torch takes powers without the magnitude, so that odd norms are given it; torch rescales windows that
    overhang, so that ceil mode is had from `ceil_by` zeros at the end of each axis; torch has no lp_pool3d."""
    rank = x.dim() - 2

    def compute(x):
        values = x.abs() if magnitudes else x
        if ceil_by:
            values = F.pad(values, [side for more in reversed(ceil_by) for side in (0, more)])
        if rank < 3:
            return by_rank((F.lp_pool1d, F.lp_pool2d), x)(values, norm, window, stride)
        cells = window[0] * window[1] * window[2]
        return (F.avg_pool3d(values.pow(norm), window, stride) * cells).pow(1 / norm)
    pool_case(family, f"lp_pool{rank}d", x, f" window={attributes}", compute)


def powers():
    f = Family("lp_pool")
    power_case(f, real(2, 3, 9), "3", 3, 3, 2.0)
    power_case(f, real(1, 2, 9), "3 norm=3", 3, 3, 3.0, magnitudes=True)
    power_case(f, real(1, 2, 8), "3 stride=2 norm=1.5 ceil_mode=true", 3, 2, 1.5, True, (1,))
    power_case(f, lattice(1, 2, 7), "2 norm=1", 2, 2, 1.0, magnitudes=True)
    power_case(f, real(2, 2, 5, 6), "2x3 stride=1x2", (2, 3), (1, 2), 2.0)
    power_case(f, real(1, 2, 6, 5), "3x2 norm=4 ceil_mode=true", (3, 2), (3, 2), 4.0, False, (0, 1))
    x = real(1, 1, 6, 6)
    x[0, 0, :3, :4] = 0  # windows of zeros only: y = 0 and no gradient
    power_case(f, x, "2", (2, 2), (2, 2), 2.0)
    power_case(f, real(1, 2, 3, 4, 5), "2x3x2 stride=1x1x2", (2, 3, 2), (1, 1, 2), 2.0)
    power_case(f, real(2, 1, 4, 2, 4), "2x1x3 stride=2x1x1 norm=2.5", (2, 1, 3), (2, 1, 1), 2.5,
               magnitudes=True)
    f.write()


# Adaptive and global pooling ------------------------------------------------------------------------------

def adaptive_cases(family, make, shape, output):
    rank = len(shape) - 2
    average = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)[rank - 1]
    maximum = (F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d)[rank - 1]
    attributes = " output=" + text(output)
    size = output if rank > 1 else output[0]
    pool_case(family, f"adaptive_avg_pool{rank}d", make(*shape), attributes, lambda x: average(x, size))
    pool_case(family, f"adaptive_max_pool{rank}d", make(*shape), attributes,
              lambda x: maximum(x, size, return_indices=True), "exact")


def adaptive():
    f = Family("adaptive_pool")
    adaptive_cases(f, real, (2, 3, 10), (4,))
    adaptive_cases(f, real, (1, 2, 3), (7,))
    adaptive_cases(f, real, (2, 2, 7, 5), (3, 4))
    adaptive_cases(f, real, (1, 2, 4, 6), (4, 3))
    adaptive_cases(f, real, (1, 2, 3, 4), (5, 1))
    adaptive_cases(f, real, (1, 2, 5, 4, 6), (2, 3, 4))
    adaptive_cases(f, real, (2, 1, 2, 3, 3), (3, 3, 2))
    adaptive_cases(f, hard_values, (1, 2, 6, 7), (4, 3))
    adaptive_cases(f, hard_values, (1, 2, 3, 4, 3), (2, 3, 2))
    adaptive_cases(f, lambda *shape: torch.full(shape, -INF), (1, 1, 4, 3), (2, 2))
    f.write()


def global_cases(family, make, *shape):
    rank = len(shape) - 2
    one = (1,) * max(rank, 1)
    size = one if rank > 1 else 1
    average = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)[max(rank, 1) - 1]
    maximum = (F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d)[max(rank, 1) - 1]

    def whole(function):
        def compute(x):
            result = function(x if rank else x.unsqueeze(-1))
            if rank:
                return result
            return tuple(t.squeeze(-1) for t in result) if isinstance(result, tuple) else result.squeeze(-1)
        return compute
    pool_case(family, "global_avg_pool", make(*shape), "", whole(lambda x: average(x, size)))
    pool_case(family, "global_max_pool", make(*shape), "",
              whole(lambda x: maximum(x, size, return_indices=True)), "exact")


def globals_():
    f = Family("global_pool")
    global_cases(f, real, 2, 3)
    global_cases(f, real, 2, 3, 7)
    global_cases(f, real, 2, 3, 5, 4)
    global_cases(f, real, 1, 2, 3, 2, 4)
    global_cases(f, lambda *shape: torch.randint(0, 3, shape).double(), 2, 3, 4, 5)
    global_cases(f, hard_values, 2, 4, 3, 5)
    global_cases(f, lambda *shape: torch.full(shape, -INF), 1, 2, 3)
    f.write()


# Fractional max pooling -----------------------------------------------------------------------------------

def fractional_case(family, x, u, window, output, attributes):
    function = by_rank((None, F.fractional_max_pool2d, F.fractional_max_pool3d), x)
    pool_case(family, f"fractional_max_pool{x.dim() - 2}d", x, attributes,
              lambda x: function(x, window, return_indices=True, _random_samples=u, **output), "exact", u=u)


def samples(*shape):
    return torch.rand(shape)


def fractional():
    f = Family("fractional_pool")
    fractional_case(f, real(2, 3, 9, 7), samples(2, 3, 2), (2, 3), dict(output_size=(5, 3)),
                    " window=2x3 output=5x3")
    fractional_case(f, real(1, 2, 10, 9), samples(1, 2, 2), 2, dict(output_ratio=(0.5, 0.7)),
                    " window=2 ratio=0.5x0.7")
    fractional_case(f, real(1, 2, 5, 6), samples(1, 2, 2), (3, 2), dict(output_size=(1, 5)),
                    " window=3x2 output=1x5")
    u = torch.tensor([0.0, 1 - 2.0 ** -53, 0.5, 0.25, 1 - 2.0 ** -53, 0.0, 0.75, 0.5]).reshape(2, 2, 2)
    fractional_case(f, real(2, 2, 8, 7), u, 2, dict(output_size=(4, 5)), " window=2 output=4x5")
    fractional_case(f, hard_values(1, 3, 7, 8), samples(1, 3, 2), (3, 2), dict(output_size=(3, 4)),
                    " window=3x2 output=3x4")
    fractional_case(f, real(1, 2, 6, 7, 8), samples(1, 2, 3), (2, 3, 2), dict(output_size=(3, 2, 4)),
                    " window=2x3x2 output=3x2x4")
    fractional_case(f, real(2, 1, 7, 5, 6), samples(2, 1, 3), (1, 2, 3), dict(output_ratio=(0.6, 0.5, 0.4)),
                    " window=1x2x3 ratio=0.6x0.5x0.4")
    fractional_case(f, hard_values(1, 2, 4, 5, 6), samples(1, 2, 3), 2, dict(output_size=(1, 3, 2)),
                    " window=2 output=1x3x2")
    f.write()


# Max unpooling --------------------------------------------------------------------------------------------

def unpool_case(family, x, indices, attributes, *options, **more):
    """torch gives duplicates that were overwritten a gradient; they have none, so it is taken out."""
    function = by_rank((F.max_unpool1d, F.max_unpool2d, F.max_unpool3d), x)
    x.requires_grad_()
    y = function(x, indices, *options, **more)
    dy = lattice(*y.shape)
    dx, = backward(y, dy, x)
    planes = indices.reshape(indices.shape[0] * indices.shape[1], -1)
    kept = torch.ones_like(planes, dtype=torch.bool)
    for plane, list_of in zip(kept, planes.tolist()):
        for i, cell in enumerate(list_of):
            plane[i] = cell not in list_of[i + 1:]
    dx = torch.where(kept.reshape(dx.shape), dx, torch.zeros_like(dx))
    family.case(f"max_unpool{x.dim() - 2}d x={text(x.shape)} indices={text(indices.shape)}{attributes}",
                dict(x=x, indices=indices, dy=dy, y=y, dx=dx))


def distinct(shape, cells):
    planes = [torch.randperm(cells)[:torch.Size(shape[2:]).numel()] for _ in range(shape[0] * shape[1])]
    return torch.stack(planes).reshape(shape)


def unpooled():
    f = Family("max_unpool")
    unpool_case(f, lattice(2, 2, 4), distinct((2, 2, 4), 8), " window=2", 2)
    unpool_case(f, lattice(1, 2, 3), distinct((1, 2, 3), 6), " window=3 stride=2 pad=1 output=6", 3, 2, 1,
                output_size=(6,))
    unpool_case(f, torch.tensor([[[1.0, 2.0, 3.0]]]), torch.tensor([[[1, 1, 4]]]), " window=2", 2)
    unpool_case(f, lattice(2, 3, 2, 3), distinct((2, 3, 2, 3), 20), " window=2x3 stride=2x1", (2, 3), (2, 1))
    for size in (3, 4, 5):
        unpool_case(f, lattice(1, 1, 2, 2), distinct((1, 1, 2, 2), size * size), f" window=2 output={size}",
                    2, output_size=(size, size))
    unpool_case(f, lattice(1, 2, 3, 3), torch.randint(0, 36, (1, 2, 3, 3)), " window=2", 2)
    unpool_case(f, lattice(1, 2, 2, 2, 3), distinct((1, 2, 2, 2, 3), 96), " window=2", 2)
    unpool_case(f, lattice(2, 1, 2, 1, 2), distinct((2, 1, 2, 1, 2), 45), " window=2x3x3 stride=1x2x2",
                (2, 3, 3), (1, 2, 2))
    f.write()


if __name__ == "__main__":
    averages()
    powers()
    adaptive()
    globals_()
    fractional()
    unpooled()
