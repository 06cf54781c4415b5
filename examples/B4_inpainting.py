"""In-painting: a photograph of which half of the pixels are left, and the depth that suits it."""

from pathlib import Path

import jax
import numpy as np
from sklearn.datasets import load_sample_image

import flowkit as fk
from flowkit.claim import Pictures
from flowkit.report.figures import draw

FIGURE = Path(__file__).parent / "figures" / "inpainting.png"
BLOCK, KNOWN, DEPTHS = 4, 0.5, (2, 3)


def main(figure: Path = FIGURE) -> None:
    """Print the error of three completions at the missing pixels, and draw them."""
    jax.config.update("jax_enable_x64", True)
    image = photograph()
    known = np.random.default_rng(0).random(image.shape[:2]) < KNOWN
    damaged = np.where(known[..., None], image, np.nan)

    # The colours stand side by side: one matrix, whose rows are the rows of the picture. It is
    # only roughly of low rank, so the greatest depth need not be the best: pixels that are held
    # out of training say when to stop, and they tell the depths apart as well. (What is
    # held out are single colours of pixels: easier to guess than whole pixels that are missing.)
    X = as_matrix(damaged)
    results = {"rows plus columns": effects(X), "least nuclear norm": least_nuclear_norm(X)}
    for depth in DEPTHS:
        model = fk.estimators.DeepMatrixFactorization(
            depth, standardise="matrix", patience=4.0, random_state=0
        )
        results[f"depth {depth}"] = model.fit_transform(X)
        held_out = model.taught_units_.scales[0] * min(model.held_out_losses_) ** 0.5
        print(f"depth {depth}: {psnr(held_out):.2f} dB at held-out pixels")

    images = {"truth": image, f"known ({100 * KNOWN:g} % of the pixels)": damaged}
    for name, filled in results.items():
        picture = as_image(filled)
        decibels = psnr((picture - image)[~known])
        print(f"{name}: {decibels:.2f} dB at the missing pixels")
        images[f"{name}: {decibels:.1f} dB"] = picture

    chart = Pictures(
        title="A photograph from half of its pixels; peak signal to noise at the missing ones",
        images=images,
        columns=3,
        caption="A photograph is of low rank only roughly: depth 3 favours a low rank too much.",
    )
    figure.parent.mkdir(exist_ok=True)
    figure.write_bytes(draw(chart))


def photograph() -> np.ndarray:
    """Scikit-learn's china.jpg, means over blocks, height x width x 3, values from 0 to 1."""
    pixels = load_sample_image("china.jpg") / 255
    height, width = (size // BLOCK for size in pixels.shape[:2])
    cut = pixels[: height * BLOCK, : width * BLOCK]
    return cut.reshape(height, BLOCK, width, BLOCK, 3).mean((1, 3))


def as_matrix(image: np.ndarray) -> np.ndarray:
    """The three colours side by side."""
    return np.concatenate([image[..., c] for c in range(3)], axis=1)


def as_image(matrix: np.ndarray) -> np.ndarray:
    """And back."""
    return np.clip(np.stack(np.split(matrix, 3, axis=1), axis=-1), 0, 1)


def effects(X: np.ndarray) -> np.ndarray:
    """What a row and a column say of a pixel without the others."""
    problem = fk.MatrixCompletion.from_matrix(X, observed=~np.isnan(X))
    return fk.baselines.row_plus_column_effects(problem, ridge=1.0).matrix


def least_nuclear_norm(X: np.ndarray) -> np.ndarray:
    """Of all pictures that agree with the known pixels, the one of least nuclear norm."""
    offsets = effects(X)
    problem = fk.MatrixCompletion.from_matrix(X - offsets, observed=~np.isnan(X))
    return offsets + fk.baselines.minimum_nuclear_norm(problem, tolerance=1e-2).matrix


def psnr(errors: np.ndarray | float) -> float:
    """Peak signal to noise ratio in decibels; the peak is 1."""
    return float(-10 * np.log10(np.mean(errors**2)))


if __name__ == "__main__":
    main()
