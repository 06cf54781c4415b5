"""Derive a flow, integrate it, and hold it against discrete training: the example of the README."""

import jax
import optax

import flowkit as fk


def main() -> None:
    """Train a depth-3 factorization on real temperatures, continuously and in steps."""
    jax.config.update("jax_enable_x64", True)
    flow = fk.symbolic.factor_flow(depth=3)  # dW_j/dt for any loss, symbolic sizes
    print(flow.latex())
    for claim in flow.claims:
        print(f"{claim.name}: {claim.check().measured}")

    temperatures = (fk.datasets.seattle_temperatures() - 52) / 10
    problem = fk.MatrixCompletion.from_matrix(temperatures, observed=0.3, key=jax.random.key(0))
    factors = fk.initial.gaussian(problem, depth=3, scale=0.1, key=jax.random.key(1))
    trajectory = fk.integrate(fk.FactorFlow(problem), factors, [0, 128, 256])

    descent = fk.descend(
        problem, factors, optax.sgd(0.25), 1024, learning_rate=0.25, save_every=512
    )
    agreement = fk.compare(descent, trajectory, of=fk.observables.end_to_end)
    print(f"descent is off the flow by {agreement.relative:.1e} at equal times")
    study = fk.study_order(problem, factors, [0.5, 0.25, 0.125, 0.0625], 256)
    print(f"and the distance falls with the learning rate to the power {study.slope:.2f}")


if __name__ == "__main__":
    main()
