"""The config of a training run: one frozen dataclass whose fields describe themselves."""

import dataclasses
from collections.abc import Collection

from dcgan_jax.augment import AUGMENTATIONS
from dcgan_jax.data import FRAMES, Reading, describe_sources, parse_range, parse_size
from dcgan_jax.losses import LOSSES
from dcgan_jax.models import DTYPES
from dcgan_jax.presets import FEW_PICTURES, FEW_PICTURES_AUGMENT, PRESETS
from dcgan_jax.pretrained import PRETRAINED
from dcgan_jax.state import FAKES
from dcgan_jax.training.fields import (
    NO_AUGMENTATION,
    ConfigError,
    absolute_path,
    augmentations,
    checked,
    field,
    from_values,
    layout,
    path,
    size,
    source,
    value_range,
    weights,
)

# The values of `features`: networks trained on ImageNet, besides classifiers of the run's images.
FEATURES = ("perceptual",)

# The values of `log`. TensorBoard has its own flag, because it only writes files.
LOGS = ("none", "wandb", "trackio")


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """The config of a run. The defaults are the tutorial's.

    Raises:
      ConfigError: if a value has the wrong type or is out of range.
    """

    steps: int = field(10_000, "training steps in total")
    batch_size: int = field(256, "real images per step, and as many fakes", fixed=True)
    seed: int = field(0, "seed of the parameters, the noise, the dropout and the batches", low=0, fixed=True)
    dataset: str = field(
        "mnist",
        f"data set: {describe_sources()}; mnist and stacked_mnist are built in, fashion_mnist and kmnist are "
        "downloaded once",
        convert=source,
        fixed=True,
    )
    image_size: str | None = field(
        None,
        "size of the images, N or HxW (default: what the data has, at most 64, in multiples of 4)",
        convert=size,
        fixed=True,
    )
    channels: int | None = field(
        None,
        "1 for grey images, 3 for colours (default: what the data has)",
        kind=int,
        none="data",
        choices=(1, 3),
        fixed=True,
    )
    hold_out: int | None = field(
        None,
        "images that are kept out of training, always the same: evaluations compare with them, and show whether the "
        "discriminator memorises the others; for data without a test split (default: none)",
        kind=int,
        none="none",
        low=10,
        fixed=True,
    )
    mirror: bool = field(
        False, "mirror each real image at random: for pictures whose left and right mean nothing", fixed=True
    )
    range: str | None = field(
        None,
        "values that are black and white, LOW,HIGH, for images whose range is not told by their values (default: by "
        "them, and said where another could be meant)",
        none="data",
        convert=value_range,
        fixed=True,
    )
    layout: str | None = field(
        None,
        "order of an array's axes, such as NCHW or HWN (default: told by the shape and the values, and said where "
        "another could be meant)",
        none="data",
        convert=layout,
        fixed=True,
    )
    frames: str = field(
        "first", "pages or frames that are taken of files that hold several", choices=FRAMES, fixed=True
    )
    images: str | None = field(
        None,
        "name of the array, column or member that holds the images, of files that hold several (default: a usual one, "
        "or the only one that can)",
        none="data",
        fixed=True,
    )
    labels: str | None = field(
        None, "name of what holds the classes of the images (default: a usual one)", none="data", fixed=True
    )
    data_dir: str | None = field(
        None, "directory of downloaded data sets (default: ~/tensorflow_datasets)", convert=absolute_path
    )
    stream: bool | None = field(
        None,
        "read each batch from a file and keep no image in memory, to the same bits (default: where the images would "
        "take more than a third of the free memory)",
        kind=bool,
    )
    cache_dir: str | None = field(
        None,
        "folder in which images that are streamed, and pictures that were read, are kept (default: the user's cache)",
        none="user",
        convert=absolute_path,
    )
    workdir: str | None = field(None, "run directory (default: the next number under runs/)", convert=path)
    preset: str = field(
        "tutorial",
        "how to train: as one source of the tutorial has it, or as recommended",
        choices=PRESETS,
        fixed=True,
        network=True,
    )
    init_from: str | None = field(
        None,
        "weights to start from: a run directory, a folder for the Hub, a safetensors or Keras file, or the name of "
        f"pretrained weights: {', '.join(PRETRAINED)}",
        convert=weights,
        fixed=True,
    )
    dtype: str = field(
        "float32",
        "dtype the networks compute in; parameters, statistics and losses stay float32",
        choices=DTYPES,
        fixed=True,
        network=True,
    )
    ema: float | None = field(
        None,
        "decay of a moving average of the generator, such as 0.999, used for samples (default: the preset's)",
        kind=float,
        none="preset",
        below=1,
        fixed=True,
        network=True,
    )
    generator_learning_rate: float | None = field(
        None,
        "learning rate of the generator's optimizer, at its start where it falls (default: the preset's: 0.0001, of "
        "article 0.0004, of recommended 0.02)",
        kind=float,
        none="preset",
        fixed=True,
        network=True,
    )
    discriminator_learning_rate: float | None = field(
        None,
        "likewise of the discriminator's (default: the preset's: 0.0001, of article 0.0008, of upstream 0.0002, of "
        "recommended 0.04)",
        kind=float,
        none="preset",
        fixed=True,
        network=True,
    )
    loss: str | None = field(
        None,
        "what the networks minimise (default: the preset's: cross-entropy); wasserstein brings the penalty of WGAN-GP",
        none="preset",
        choices=LOSSES,
        fixed=True,
        network=True,
    )
    r1: float | None = field(
        None,
        "gamma of the R1 penalty in place of any other, 0 for no penalty (default: the preset's: of recommended 0.3 in "
        "each fourth step on a quarter of the images, else none)",
        kind=float,
        none="preset",
        above=None,
        fixed=True,
        network=True,
    )
    dropout: float | None = field(
        None,
        "share of units that dropout sets to 0 (default: the preset's: 0.4, of recommended 0)",
        kind=float,
        none="preset",
        above=None,
        below=1,
        fixed=True,
        network=True,
    )
    latent_size: int | None = field(
        None,
        "dimensions of the noise (default: the tutorial's 100)",
        kind=int,
        none="preset",
        high=65536,
        fixed=True,
        network=True,
    )
    width: int | None = field(
        None,
        "channels of the discriminator's first layer, even; all layers are in proportion (default: the tutorial's 64)",
        kind=int,
        none="preset",
        low=2,
        high=1024,
        multiple=2,
        fixed=True,
        network=True,
    )
    augment: str | None = field(
        None,
        f"what the discriminator sees of images, for few pictures: some of {', '.join(AUGMENTATIONS)}, with commas, or "
        f"none, the images as they are (default: the preset's: of recommended {FEW_PICTURES_AUGMENT} for fewer than "
        f"{FEW_PICTURES:,} pictures, else none)",
        none="preset",
        convert=augmentations,
        fixed=True,
        network=True,
    )
    d_steps: int = field(1, "updates of the discriminator in a step", high=100, fixed=True, network=True)
    fakes: str | None = field(
        None,
        "mode of the generator for the fakes of the discriminator's update (default: the preset's: inference, of "
        "recommended training)",
        none="preset",
        choices=FAKES,
        fixed=True,
        network=True,
    )
    sample_every: int = field(
        500, "steps between samples of the same 16 noise vectors; before that, at the powers of two"
    )
    log_every: int = field(10, "steps between rows of metrics")
    checkpoint_every: int = field(500, "steps between checkpoints")
    keep_checkpoints: int = field(3, "number of the newest checkpoints that are kept")
    eval_every: int | None = field(
        None,
        "steps between evaluations, each with a checkpoint; the best one is kept (default: none)",
        kind=int,
        none="none",
    )
    eval_samples: int = field(10_000, "images per evaluation, or as many as there are real ones to compare with")
    classifier: str | None = field(
        None,
        "file of train-classifier, for a FID in evaluations on other data than mnist (default: none)",
        none="none",
        convert=absolute_path,
    )
    features: str | None = field(
        None,
        "features of a network that was trained on ImageNet, for KID, precision and recall of pictures of any kind in "
        "evaluations; needs the extra perceptual (default: none)",
        none="none",
        choices=FEATURES,
    )
    stop_at_fid: float | None = field(
        None,
        "stop when an evaluation has at most this FID; needs `eval_every` (default: none)",
        kind=float,
        none="none",
    )
    devices: int | None = field(None, "devices that share each batch (default: all)", kind=int, none="all")
    stop_on_collapse: bool = field(False, "stop when the run has collapsed")
    steps_per_call: int | None = field(
        None, "steps per call to the devices (default: 1 on a CPU, 25 elsewhere)", kind=int, none="none"
    )
    tensorboard: bool = field(False, "write event files for TensorBoard too")
    log: str = field("none", "log to Weights & Biases or to Trackio too", choices=LOGS)
    conditional: bool = field(
        False, "draw images by class: the data set's classes, or the folders of the pictures", fixed=True
    )

    def __post_init__(self) -> None:
        for each in dataclasses.fields(self):
            value = getattr(self, each.name)
            if value is not None or each.default is not None:
                object.__setattr__(self, each.name, checked(each, value))

    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the requested images; MNIST's if none are given."""
        return (*parse_size(self.image_size or "28"), self.channels or 1)

    def reading(self) -> Reading:
        """Where the run's images are searched for, and how their files are read."""
        given = None if self.range is None else parse_range(self.range)
        return Reading(self.data_dir, given, self.layout, self.frames, self.images, self.labels)

    def augmentation(self) -> str | None:
        """The names of the run's augmentation, or None; in a run that has started, the preset's is filled in."""
        return None if self.augment == NO_AUGMENTATION else self.augment

    def check_recipe(self, recipe: str, given: Collection[str] = ()) -> None:
        """Raises: ConfigError if a field that describes the tutorial's networks is given together with a recipe.

        Those are the fields in ``given``, even at their defaults, and others that are not at theirs.
        """
        for each in dataclasses.fields(self):
            value = getattr(self, each.name)
            if each.metadata["network"] and (each.name in given or value != each.default):
                raise ConfigError(
                    f"`{each.name}={value!r}` is for the tutorial's networks, and {recipe} builds others: leave one of "
                    "them out"
                )

    @classmethod
    def from_values(cls, values: object) -> "TrainConfig":
        """The config from a dictionary like that of `dataclasses.asdict`.

        Raises:
          ConfigError: if it is not one, or has unknown or invalid fields.
        """
        return from_values(cls, values, "config")
