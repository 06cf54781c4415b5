"""In-painting: a photograph of which three pixels in ten are left, filled by a deep factorization."""

from pathlib import Path

import jax
import numpy as np
from sklearn.datasets import load_sample_image

import flowkit as fk
from flowkit.claim import Pictures
from flowkit.report.figures import draw

FIGURE = Path(__file__).parent / "figures" / "inpainting.png"
BLOCK, KNOWN = 4, 0.3


def main(figure: Path = FIGURE) -> None:
    """Print the error of three completions at the missing pixels, and draw them."""
    jax.config.update("jax_enable_x64", True)
    image = photograph()
    known = np.random.default_rng(0).random(image.shape[:2]) < KNOWN
    damaged = np.where(known[..., None], image, np.nan)

    # The colours stand side by side: one matrix, whose rows are the rows of the picture. What is
    # of low rank is roughly what repeats along rows and columns: roofs, walls, edges.
    X = as_matrix(damaged)
    model = fk.estimators.DeepMatrixFactorization(
        depth=3, standardise="effects", patience=4, random_state=0
    )
    results = {
        "rows plus columns": effects(X),
        "least nuclear norm": least_nuclear_norm(X),
        "deep factorization": model.fit_transform(X),
    }
    print(f"training stopped at t = {model.time_:.0f}, by held-out pixels")
    images = {"truth": image, f"known ({100 * KNOWN:g} % of the pixels)": damaged}
    for name, filled in results.items():
        picture = as_image(filled)
        decibels = psnr((picture - image)[~known])
        print(f"{name}: {decibels:.2f} dB at the missing pixels")
        images[f"{name}: {decibels:.1f} dB"] = picture

    chart = Pictures(
        title="A photograph from three pixels in ten, by what is assumed of the matrix",
        images=images,
        columns=3,
        caption="Peak signal to noise at the missing pixels.",
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


def psnr(errors: np.ndarray) -> float:
    """Peak signal to noise ratio in decibels; the peak is 1."""
    return float(-10 * np.log10(np.mean(errors**2)))


if __name__ == "__main__":
    main()
