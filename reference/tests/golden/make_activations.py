#!/usr/bin/env python3
"""Golden values of the activations (see make_golden.py)."""
import torch
import torch.nn.functional as F

from make_golden import Family, INF, NAN, backward, real, text

EDGES = [0.0, -0.0, 1e-300, -1e-300, 5e-324, -5e-324, INF, -INF, NAN, 1.0, -1.0, 1e308, -1e308]


def in_vectors(function):
    """torch's vector loops and their scalar tails disagree at NaN and at some kinks; what counts here is the
    vectors: sixteen copies of every element leave no tail."""
    return lambda x: function(x.repeat_interleave(16)).reshape(-1, 16)[:, 0]


def activation(family, name, function, x, attributes="", kind="ulps"):
    x = x.clone().requires_grad_()
    y = in_vectors(function)(x.reshape(-1)).reshape(x.shape)
    dy = real(*y.shape)
    dx, = backward(y, dy, x)
    family.case(f"{name} x={text(x.shape)}{attributes}", dict(x=x, dy=dy, y=y, dx=dx), kind)


def edges(*more, without=()):
    return torch.tensor([v for v in EDGES if v not in without] + list(more))


def piecewise(f):
    activation(f, "leaky_relu", F.leaky_relu, real(2, 3, 4))
    activation(f, "leaky_relu", F.leaky_relu, edges())
    activation(f, "leaky_relu", lambda x: F.leaky_relu(x, -0.7), real(3, 5), " negative_slope=-0.7")
    activation(f, "hard_tanh", F.hardtanh, real(2, 3, 4), kind="exact")
    activation(f, "hard_tanh", F.hardtanh, edges(), kind="exact")
    activation(f, "hard_tanh", lambda x: F.hardtanh(x, -0.5, 2.25), edges(-0.5, 2.25, 2.5),
               " min=-0.5 max=2.25", "exact")
    activation(f, "clamp", lambda x: torch.clamp(x, -1, 1), edges(), " min=-1 max=1", "exact")
    activation(f, "clamp", lambda x: torch.clamp(x, min=0.25), edges(0.25, 0.2), " min=0.25", "exact")
    activation(f, "clamp", lambda x: torch.clamp(x, max=-0.5), real(3, 4), " max=-0.5", "exact")
    activation(f, "clamp", lambda x: torch.clamp(x, 1, -2), edges(-2.0), " min=1 max=-2", "exact")
    # hard_sigmoid's own gradient has 1/6 rounded to f32
    hard_sigmoid = lambda x: F.hardtanh((x + 3) / 6, 0, 1)
    x = edges(3.0, -3.0, 2.9, -2.9)
    assert torch.equal(torch.nan_to_num(hard_sigmoid(x), 7), torch.nan_to_num(F.hardsigmoid(x), 7))
    activation(f, "hard_sigmoid", hard_sigmoid, real(2, 3, 4, scale=4))
    activation(f, "hard_sigmoid", hard_sigmoid, x)
    activation(f, "hard_swish", F.hardswish, real(2, 3, 4, scale=4))
    activation(f, "hard_swish", F.hardswish, edges(3.0, -3.0, 2.9, -2.9, without=(1e308, -1e308)))
    activation(f, "softsign", F.softsign, real(2, 3, 4))
    activation(f, "softsign", F.softsign, edges(without=(INF, -INF)))
    # autograd makes NaN of the gradients at ±∞, too, whose limit is 0
    f.case("softsign x=2", dict(x=torch.tensor([INF, -INF]), dy=torch.ones(2), y=torch.tensor([NAN, NAN]),
                                dx=torch.zeros(2)))


def prelu_case(f, x, weight):
    x.requires_grad_()
    weight.requires_grad_()
    y = F.prelu(x, weight)
    dy = real(*y.shape)
    dx, dweight = backward(y, dy, x, weight)
    f.case(f"prelu x={text(x.shape)} weight={text(weight.shape)}",
           dict(x=x, weight=weight, dy=dy, y=y, dx=dx, dweight=dweight), "real")


def prelu(f):
    prelu_case(f, real(2, 3, 4), real(3))
    prelu_case(f, real(3, 2, 3, 2), real(1))
    prelu_case(f, real(4, 5), real(5))
    x = torch.tensor([[0.0, NAN, INF], [-0.0, 1.5, -2.0]])
    prelu_case(f, x, torch.tensor([0.25, -0.5, 2.0]))
    prelu_case(f, torch.tensor([[1.0, -INF], [2.0, -1.0]]), torch.tensor([0.25, 0.5]))


def smooth(f):
    tails = [-800.0, -700.0, -100.0, -40.0, -20.0, -17.3, 17.3, 20.0, 20.1, 40.0, 100.0, 700.0, 800.0]
    for name, function, attributes in (
            ("tanh", torch.tanh, ""), ("elu", F.elu, ""), ("elu", lambda x: F.elu(x, 0.3), " alpha=0.3"),
            ("selu", F.selu, ""), ("celu", F.celu, ""), ("celu", lambda x: F.celu(x, 2.5), " alpha=2.5"),
            ("softplus", F.softplus, ""),
            ("softplus", lambda x: F.softplus(x, 2.5, 3), " beta=2.5 threshold=3"),
            ("silu", F.silu, ""), ("mish", F.mish, ""), ("gelu", F.gelu, ""),
            ("gelu", lambda x: F.gelu(x, approximate="tanh"), " approximate=tanh")):
        activation(f, name, function, real(2, 3, 4), attributes, "real")
        activation(f, name, function, edges(without=(INF, -INF, 1e308, -1e308)), attributes, "real")
        for v in (INF, -INF, 1e308, -1e308):
            # of x near the largest number torch's tanh form of gelu loses the gradient, to 0·∞
            if "tanh" not in attributes or v in (INF, -INF):
                activation(f, name, function, torch.tensor([v]), attributes, "real")
        if name == "tanh":  # where y is close to 1 the gradient is made of its rounding error
            continue
        # torch takes silu's 1 - σ from a rounded σ, and loses digits of the gradient for x around 20
        far = [v for v in tails if name != "silu" or not 10 < v < 50]
        activation(f, name, function, torch.tensor(far), attributes, "real")
        activation(f, name, function, torch.tensor([v / 2 for v in tails if -41 < v < 0]), attributes, "real")


def activations():
    f = Family("activations")
    piecewise(f)
    prelu(f)
    smooth(f)
    f.write()


if __name__ == "__main__":
    activations()
