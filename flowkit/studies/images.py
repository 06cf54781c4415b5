"""How large a study of image classification is."""

from dataclasses import dataclass

from flowkit.studies.settings import check_numbers


@dataclass(frozen=True)
class ImageSettings:
    """How large a study of image classification is.

    Attributes:
        depths: Weight layers of the kernels.
        train: Training images; several numbers where the study is a learning curve.
        test: Test images; all where None.
        draws: Random training sets per number, where the study averages over them.
        shrink: Images are averaged over blocks of this side length first; 1 leaves them alone.
        seed: Of the random choice of images.
        float32: Kernels and regression in single precision.
    """

    depths: tuple[int, ...]
    train: tuple[int, ...]
    test: int | None = None
    draws: int = 1
    shrink: int = 1
    seed: int = 0
    float32: bool = False

    def __post_init__(self):
        check_numbers(self, "depths", "train", "test", "draws", "shrink", least=1)

    @property
    def only_train(self) -> int:
        """The number of training images of a study that takes one."""
        if len(self.train) != 1:
            raise ValueError(
                f"Argument `train` must be one number for this study, but it is {self.train}."
            )
        return self.train[0]

    @property
    def dtype(self) -> str:
        return "float32" if self.float32 else "float64"
