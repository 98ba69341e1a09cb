#!/usr/bin/env python3
"""Golden values of the normalisations, of lrn and of dropout (see make_golden.py)."""
import torch
import torch.nn.functional as F

from make_golden import Family, INF, NAN, backward, lattice, real, text


def problem(name, tensors, attributes):
    shapes = " ".join(f"{key}={text(value.shape)}" for key, value in tensors.items() if value is not None)
    return f"{name} {shapes}{attributes}"


def track(*tensors):
    for tensor in tensors:
        if tensor is not None:
            tensor.requires_grad_()


def batch_norm_case(f, x, attributes="", gamma=None, beta=None, mean=None, var=None, train=True, eps=1e-5,
                    momentum=0.1):
    text_of = problem("batch_norm", dict(x=x, gamma=gamma, beta=beta, running_mean=mean, running_var=var),
                      attributes)
    inputs = dict(running_mean=mean.clone() if mean is not None else None,
                  running_var=var.clone() if var is not None else None)
    track(x, gamma, beta)
    y, saved_mean, invstd = torch.native_batch_norm(x, gamma, beta, mean, var, train, momentum, eps)
    dy = real(*y.shape)
    dx, dgamma, dbeta = backward(y, dy, x, gamma, beta)
    outputs = dict(y=y)
    if train:
        outputs.update(mean=saved_mean, invstd=invstd, new_running_mean=mean, new_running_var=var)
    f.case(text_of, dict(x=x, gamma=gamma, beta=beta, **inputs, dy=dy, **outputs, dx=dx, dgamma=dgamma,
                         dbeta=dbeta), "real")


def batch_norms(f):
    batch_norm_case(f, real(4, 3), "", real(3), real(3))
    batch_norm_case(f, real(2, 3, 5), " momentum=0.3 eps=0.001", real(3), real(3), real(3), real(3).abs(),
                    momentum=0.3, eps=1e-3)
    batch_norm_case(f, real(3, 2, 2, 3), " eps=0", eps=0.0)
    batch_norm_case(f, lattice(1, 2, 2, 1, 4) + 64, " momentum=1", real(2), None, real(2), real(2).abs(),
                    momentum=1.0)
    batch_norm_case(f, torch.zeros(2, 2, 2), "", real(2), real(2))  # no variance at all
    for shape in ((4, 3), (2, 3, 5), (1, 3, 2, 2), (1, 3, 1, 1, 1)):
        batch_norm_case(f, real(*shape), " eps=0.01 mode=eval", real(3), real(3), real(3), real(3).abs(),
                        train=False, eps=0.01)
    batch_norm_case(f, real(2, 3, 2), " mode=eval", None, None, real(3), real(3).abs(), train=False)
    x = real(3, 3, 2)
    x[0, 0, 0], x[1, 2, 1] = NAN, INF
    batch_norm_case(f, x, "", real(3), real(3))


def row_norm_case(f, name, x, attributes, function, gamma=None, beta=None):
    """`function` returns y, and the statistics that native kernels save."""
    track(x, gamma, beta)
    y, mean, invstd = function(x, gamma, beta)
    dy = real(*y.shape)
    dx, dgamma, dbeta = backward(y, dy, x, gamma, beta)
    f.case(problem(name, dict(x=x, gamma=gamma, beta=beta), attributes),
           dict(x=x, gamma=gamma, beta=beta, dy=dy, y=y, mean=mean, invstd=invstd, dx=dx, dgamma=dgamma,
                dbeta=dbeta), "real")


def layer_norms(f):
    def layer_norm(axes, eps=1e-5):
        return lambda x, gamma, beta: torch.native_layer_norm(x, x.shape[-axes:], gamma, beta, eps)

    row_norm_case(f, "layer_norm", real(3, 5), "", layer_norm(1), real(5), real(5))
    row_norm_case(f, "layer_norm", real(2, 3, 4), "", layer_norm(2), real(3, 4), real(3, 4))
    row_norm_case(f, "layer_norm", real(2, 3, 4), " axes=1 eps=0.01", layer_norm(1, 0.01), real(4))
    row_norm_case(f, "layer_norm", real(2, 2, 3), "", layer_norm(2), None, real(2, 3))
    row_norm_case(f, "layer_norm", real(3, 4) + 3, " eps=0", layer_norm(1, 0.0))
    row_norm_case(f, "layer_norm", torch.zeros(3, 1), "", layer_norm(1), real(1), real(1))
    row_norm_case(f, "layer_norm", real(0, 4), "", layer_norm(1), real(4), real(4))
    x = real(3, 5)
    x[0, 0] = NAN
    row_norm_case(f, "layer_norm", x, "", layer_norm(1), real(5), real(5))


def group_norms(f):
    def group_norm(groups, eps=1e-5):
        def function(x, gamma, beta):
            positions = x[0, 0].numel() if x.shape[0] else 1
            return torch.native_group_norm(x, gamma, beta, x.shape[0], x.shape[1], positions, groups, eps)
        return function

    row_norm_case(f, "group_norm", real(2, 6, 3) + 2, " groups=2", group_norm(2), real(6), real(6))
    row_norm_case(f, "group_norm", real(3, 4), " groups=2 eps=0.1", group_norm(2, 0.1), real(4))
    row_norm_case(f, "group_norm", real(1, 4, 2, 3), " groups=1", group_norm(1), real(4), real(4))
    row_norm_case(f, "group_norm", real(2, 3, 1, 2, 2), " groups=3", group_norm(3))

    def instance_norm(eps=1e-5):
        def function(x, gamma, beta):
            axes = tuple(range(2, x.dim()))
            y = F.instance_norm(x, None, None, gamma, beta, eps=eps)
            return y, x.mean(axes), 1 / torch.sqrt(x.var(axes, unbiased=False) + eps)
        return function

    row_norm_case(f, "instance_norm", real(2, 3, 5), "", instance_norm(), real(3), real(3))
    row_norm_case(f, "instance_norm", real(1, 2, 3, 2), " eps=0.02", instance_norm(0.02), real(2))
    row_norm_case(f, "instance_norm", real(2, 2, 2, 1, 3), "", instance_norm(), None, real(2))
    x = real(2, 2, 3)
    x[0, 1, 2] = NAN
    row_norm_case(f, "instance_norm", x, "", instance_norm())


def rms_norm_case(f, x, attributes, axes, gamma=None, eps=1e-5):
    """torch 1.13 has no rms_norm; its formula and autograd stand in."""
    track(x, gamma)
    invrms = torch.rsqrt((x * x).mean(tuple(range(x.dim() - axes, x.dim()))) + eps)
    y = x * invrms.reshape(invrms.shape + (1,) * axes)
    if gamma is not None:
        y = y * gamma
    dy = real(*y.shape)
    dx, dgamma = backward(y, dy, x, gamma)
    f.case(problem("rms_norm", dict(x=x, gamma=gamma), attributes),
           dict(x=x, gamma=gamma, dy=dy, y=y, invrms=invrms, dx=dx, dgamma=dgamma), "real")


def rms_norms(f):
    rms_norm_case(f, real(3, 5), "", 1, real(5))
    rms_norm_case(f, real(2, 3, 4), " eps=0", 2, real(3, 4), 0.0)
    rms_norm_case(f, real(2, 3, 4), " axes=1 eps=0.1", 1, None, 0.1)
    rms_norm_case(f, real(1, 6), "", 1, real(6))
    rms_norm_case(f, torch.zeros(2, 3), "", 1, real(3))


def lrn_case(f, x, attributes, size, **options):
    track(x)
    y = F.local_response_norm(x, size, **options)
    dy = real(*y.shape)
    dx, = backward(y, dy, x)
    f.case(problem("lrn", dict(x=x), attributes), dict(x=x, dy=dy, y=y, dx=dx), "real")


def lrns(f):
    lrn_case(f, real(2, 7, 3), " size=5", 5)
    lrn_case(f, real(1, 6, 2, 3), " size=5 alpha=0.5 k=2", 5, alpha=0.5, k=2.0)
    lrn_case(f, real(2, 5, 2), " size=4 alpha=1 beta=0.5", 4, alpha=1.0, beta=0.5)  # even: further back
    lrn_case(f, real(1, 3, 2, 1, 2), " size=7 alpha=2 beta=1.25 k=0.5", 7, alpha=2.0, beta=1.25, k=0.5)
    lrn_case(f, real(1, 4, 2), " size=1 alpha=3", 1, alpha=3.0)
    x = real(1, 6, 2)
    x[0, 0, 0], x[0, 5, 0], x[0, 3, 1] = NAN, INF, 0.0
    lrn_case(f, x, " size=3 alpha=1", 3, alpha=1.0)


def dropouts(f):
    for x, p in ((real(2, 3, 4), 0.5), (lattice(3, 7), 0.25), (real(11), 0.0), (real(2, 3), 1.0)):
        track(x)
        y, mask = torch.native_dropout(x, p, True)
        dy = real(*y.shape)
        dx, = backward(y, dy, x)
        mask = mask.double()
        f.case(problem("dropout", dict(x=x, mask=mask), "" if p == 0.5 else f" p={p:g}"),
               dict(x=x, mask=mask, dy=dy, y=y, dx=dx), "ulps")
    x = torch.tensor([INF, INF, NAN, -0.0, -0.0])
    mask = torch.tensor([1.0, 0.0, 0.0, 1.0, 0.0])
    f.case("dropout x=5 mask=5", dict(x=x, mask=mask, dy=torch.ones(5), y=x * mask * 2, dx=mask * 2), "exact")


def normalisations():
    f = Family("normalisation")
    batch_norms(f)
    layer_norms(f)
    group_norms(f)
    rms_norms(f)
    lrns(f)
    dropouts(f)
    f.write()


if __name__ == "__main__":
    normalisations()
