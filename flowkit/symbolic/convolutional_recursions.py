"""The neural tangent kernel of convolutional networks (CNTK), position by position.

Source: Arora, Du, Hu, Li, Salakhutdinov, Wang 2019 (arXiv:1904.11955), section 4.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import sympy as sp

from flowkit.claim import Claim, Verdict
from flowkit.symbolic.convolutional_values import published_claim
from flowkit.symbolic.duals import dual
from flowkit.symbolic.kernel_recursions import (
    NormalisedDual,
    check_integer,
    normalise,
    ntk_recursion,
)
from flowkit.symbolic.layer_step import SCALE, InductionStep, induction_step, step_claim

Image = Sequence[Sequence[Sequence[sp.Expr]]]
Position = tuple[int, int]
Table = Mapping[tuple[Position, Position], sp.Expr]

READOUTS = ("gap", "flatten")
SOURCE = "Arora et al. 2019, arXiv:1904.11955, section 4"


@dataclass(frozen=True)
class ConvolutionalRecursion:
    """The kernels of a convolutional network of infinite width, as a rule for images of any size.

    Attributes:
        depth: The number of weight layers, one more than L convolutions.
        activation: The activation.
        filter_size: q, odd; the filters have q x q entries.
        readout: "gap" (the mean over all pairs of positions) or "flatten" (the trace).
        train_ends: Whether the first and the last layer are trained.
        step: What a convolution makes of the kernels at the q^2 shifted pairs of positions.
        source: Where the recursion is published.
        claims: What is stated about it, each with a check.
    """

    depth: int
    activation: str
    filter_size: int
    readout: str
    train_ends: bool
    step: InductionStep
    source: str
    claims: tuple[Claim, ...] = field(default=(), compare=False, repr=False)

    @property
    def name(self) -> str:
        """What recurs."""
        return f"CNTK recursion, depth {self.depth}, {self.readout}, filter size {self.filter_size}"

    @property
    def equations(self) -> tuple[sp.Eq, ...]:
        """The covariance and the tangent kernel of a convolution, in those at shifted positions."""
        pairs = (("Sigma", self.step.covariance), ("Theta", self.step.tangent))
        return tuple(sp.Eq(sp.Symbol(name), value, evaluate=False) for name, value in pairs)

    def evaluate(self, x: Image, z: Image) -> tuple[sp.Expr, sp.Expr]:
        """The NTK and the NNGP of two images, in closed form.

        Args:
            x: Rows of pixels of channels, numbers or symbols; no pixel's patch may be all zero.
            z: Another image of the same shape.

        Returns:
            Both kernels as expressions, exact for exact numbers.
        """
        places = list(itertools.product(range(len(x)), range(len(x[0]))))
        pairs, same = list(itertools.product(places, places)), [(p, p) for p in places]
        sigma = self._first_layer(x, z, pairs)
        variances = self._first_layer(x, x, same), self._first_layer(z, z, same)
        theta = sigma if self.train_ends else dict.fromkeys(pairs, sp.S.Zero)
        for _ in range(self.depth - 2):
            kappa, slope = self._activate(sigma, *variances)
            sigma = self._convolve(self.step.covariance, kappa)
            theta = self._convolve(self.step.tangent, kappa, slope, theta)
            variances = tuple(
                self._convolve(self.step.covariance, self._square(var)) for var in variances
            )
        return self._read_out(*self._activate(sigma, *variances), theta)

    @property
    def _activated(self) -> NormalisedDual:
        return normalise(dual(self.activation))

    @property
    def _shifts(self) -> list[Position]:
        reach = self.filter_size // 2
        return list(itertools.product(range(-reach, reach + 1), repeat=2))

    def _first_layer(self, x: Image, z: Image, pairs: Sequence[tuple[Position, Position]]) -> Table:
        """The covariance of a linear convolution: inner products, summed over equal shifts."""
        inner = {
            (p, q): sp.Add(*(a * b for a, b in zip(x[p[0]][p[1]], z[q[0]][q[1]], strict=True)))
            for p, q in pairs
        }
        return {(p, q): sp.Add(*self._shifted(inner, p, q)) for p, q in pairs}

    def _activate(self, sigma: Table, var_x: Table, var_z: Table) -> tuple[Table, Table]:
        """E[s(u) s(v)] and E[s'(u) s'(v)] at every pair of positions."""
        both = {
            (p, q): self._activated.at(var_x[p, p], var_z[q, q], cov)
            for (p, q), cov in sigma.items()
        }
        first, second = ({pair: values[i] for pair, values in both.items()} for i in (0, 1))
        return first, second

    def _square(self, variances: Table) -> Table:
        """E[s(u)^2] at every position of one image."""
        activated = self._activated
        return {pair: activated.variance(v) / activated.scale for pair, v in variances.items()}

    def _convolve(self, expression: sp.Expr, *tables: Table) -> Table:
        """An expression of the step, its symbols replaced by what the shifted positions hold."""
        names = (self.step.expectations, self.step.slopes, self.step.tangents)
        result = {}
        for p, q in tables[0]:
            values = {SCALE: self._activated.scale}
            for symbols, table in zip(names, tables, strict=False):
                values |= dict(zip(symbols, self._shifted(table, p, q), strict=True))
            result[p, q] = expression.xreplace(values)
        return result

    def _shifted(self, table: Table, p: Position, q: Position) -> list[sp.Expr]:
        """The values at p + a and q + a for every shift a; zero outside of the images."""
        move = lambda position, a: (position[0] + a[0], position[1] + a[1])
        return [table.get((move(p, a), move(q, a)), sp.S.Zero) for a in self._shifts]

    def _read_out(self, kappa: Table, slope: Table, theta: Table) -> tuple[sp.Expr, sp.Expr]:
        """A fully connected step at each pair, scaled by 1/q^2, averaged or traced.

        Weights that are not trained have no part of their own in the tangent kernel.
        """
        step, totals = induction_step(), []
        own = kappa if self.train_ends else dict.fromkeys(kappa, sp.S.Zero)
        pairs = [(p, q) for p, q in kappa if self.readout == "gap" or p == q]
        for expression, first in ((step.tangent, own), (step.covariance, kappa)):
            values = [
                expression.subs(
                    {
                        SCALE: self._activated.scale,
                        step.expectations[0]: first[pair],
                        step.slopes[0]: slope[pair],
                        step.tangents[0]: theta[pair],
                    }
                )
                for pair in pairs
            ]
            count = len(pairs) if self.readout == "gap" else 1
            totals.append(sp.Add(*values) / (count * self.filter_size**2))
        return tuple(totals)


@cache
def cntk_recursion(
    depth: int,
    activation: str = "relu",
    *,
    filter_size: int = 3,
    readout: str = "gap",
    train_ends: bool | None = None,
) -> ConvolutionalRecursion:
    """Derive the covariances and the tangent kernel of a convolutional network, zero padded.

    A convolution is the layer of `induction_step` with one shift per filter entry: the average over
    its weights leaves the pairs of positions that are shifted equally,

        Sigma_h(p, p') = c/q^2 sum_a E[s(u) s(v)](p + a, p' + a),
        Theta_h(p, p') = c/q^2 sum_a (E[s(u) s(v)] + E[s'(u) s'(v)] Theta_{h-1})(p + a, p' + a),

    from Sigma_0 = sum_a x(p + a) . x'(p' + a) and Theta_0 = Sigma_0, or 0 if the ends are fixed.
    The read-out is a step without shifts, scaled by 1/q^2 as in the authors' program: its mean over
    all (p, p') for "gap", the sum over p = p' for "flatten".

    Args:
        depth: The number of weight layers, at least 2: depth - 1 convolutions and the read-out.
        activation: A name that `dual` knows.
        filter_size: q, odd.
        readout: "gap" or "flatten".
        train_ends: Whether the first and the last layer are trained; where omitted, true for
            "flatten" (CNTK-V) and false for "gap" (CNTK-GAP), as published.

    Returns:
        The recursion, with claims for its step, for filters of one entry and, as published with
        ReLU, for its values. The NTK drives du/dt = -K (u - y) under 1/2 the sum of squares.

    Raises:
        ValueError: an argument is out of its range or unknown.

    Source:
        arXiv:1904.11955, section 4. Checked by
        tests/symbolic/test_convolutional_recursions.py.
    """
    check_integer("depth", depth, least=2)
    check_integer("filter_size", filter_size, least=1)
    if filter_size % 2 == 0:
        raise ValueError(f"Argument `filter_size` must be odd, but it is `{filter_size}`.")
    if readout not in READOUTS:
        raise ValueError(f"Argument `readout` must be `gap` or `flatten`, but it is `{readout!r}`.")
    recursion = ConvolutionalRecursion(
        depth=depth,
        activation=dual(activation).name,  # refuses an unknown activation
        filter_size=filter_size,
        readout=readout,
        train_ends=readout == "flatten" if train_ends is None else train_ends,
        step=induction_step(filter_size**2),
        source=SOURCE,
    )
    return replace(recursion, claims=_claims(recursion))


def _claims(recursion: ConvolutionalRecursion) -> tuple[Claim, ...]:
    claims = (step_claim(recursion.filter_size**2), single_entry_claim(recursion))
    published = recursion.train_ends == (recursion.readout == "flatten")
    published &= recursion.activation == "relu"
    return (*claims, values_claim(recursion)) if published else claims


def values_claim(recursion: ConvolutionalRecursion) -> Claim:
    """The claim that a recursion has the values of the published one."""
    return published_claim(
        recursion.name,
        recursion.depth,
        recursion.filter_size,
        recursion.readout,
        recursion.evaluate,
    )


def single_entry_claim(recursion: ConvolutionalRecursion) -> Claim:
    """The claim that filters of one entry leave the fully connected kernels of the pixels."""
    return Claim(
        name=f"filters of one entry, {recursion.name}",
        statement="With 1 x 1 filters the kernel is the fully connected one of pairs of pixels, "
        "averaged over all or summed over equal positions, without the parts of fixed layers.",
        source="Arora et al. 2019, arXiv:1904.11955, sections 3 and 4",
        check=lambda: check_single_entry(replace(recursion, filter_size=1, step=induction_step())),
    )


def check_single_entry(recursion: ConvolutionalRecursion) -> Verdict:
    """Hold a recursion with 1 x 1 filters against `ntk_recursion` on two images of two pixels."""
    x, z = (
        [[sp.symbols(f"{name}_{pixel}_:2", positive=True) for pixel in range(2)]] for name in "xz"
    )
    inner = lambda a, b: sp.Add(*(s * t for s, t in zip(a, b, strict=True)))
    connected = ntk_recursion(recursion.depth, recursion.activation)
    total, pooled = [0, 0], recursion.readout == "gap"
    for i, j in itertools.product(range(2), repeat=2) if pooled else [(0, 0), (1, 1)]:
        a, b = x[0][i], z[0][j]
        values = connected.evaluate(
            inner(a, a), inner(b, b), inner(a, b), ends=recursion.train_ends
        )
        total = [s + value / (4 if pooled else 1) for s, value in zip(total, values, strict=True)]
    pairs = zip(recursion.evaluate(x, z), total, strict=True)
    wrong = sum(sp.expand(one - other) != 0 for one, other in pairs)
    return Verdict(  # `simplify` would not end on what is left of a wrong recursion
        passed=wrong == 0,
        kind="proved",
        measured=f"{wrong} of 2 kernels differ",
        expected="0 of 2 kernels differ",
        numbers={"kernels that differ": wrong},
    )
