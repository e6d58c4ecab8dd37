"""Real images to compare with: training images, and held-out images."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from dcgan_jax.console import counted
from dcgan_jax.data import Dataset, DatasetError, NoSplitError, Reading, load_data
from dcgan_jax.evaluation.images import choose

HELD_OUT = 10  # one of this many images is held out if a data set has no test split
MAX_QUERIES = 1_000  # images whose nearest neighbours are computed, at most: the mean is accurate to a few per cent


class RealImages(NamedTuple):
    """A data set's images for training and for testing.

    Attributes:
      train: its training images, without held-out ones.
      test: its test images, or the held-out ones. Classes have the same numbers as in ``train``.
      tested_on: a description of ``test``, for messages.
      digest: SHA-256 of all training images, including held-out ones, without labels.
    """

    train: Dataset
    test: Dataset
    tested_on: str
    digest: str


def hold_out(dataset: Dataset, count: int, source: str | Path) -> Dataset:
    """Move ``count`` of a data set's images, a fixed random choice, to its ``held_out``.

    A larger ``count`` holds out the same images and others. Both parts keep the order of the data set.

    Raises:
      DatasetError: if no images would be left, or none of some class.
    """
    if count >= len(dataset.images):
        raise DatasetError(
            f"`hold_out` must be less than {len(dataset.images):,}, the images of {source}, got {count:,}: hold out "
            "fewer, a tenth for example"
        )
    # RandomState's numbers are the same in every version of NumPy, those of the newer generators are not: a resumed run
    # must hold out the same images.
    order = np.random.RandomState(0).permutation(len(dataset.images))
    held_out, kept = (dataset.rows(np.sort(numbers)) for numbers in np.split(order, [count]))
    if dataset.labels is not None and kept.labels is not None:
        lost = sorted(set(dataset.labels.tolist()) - set(kept.labels.tolist()))
        if lost:
            raise DatasetError(
                f"`hold_out={count}` leaves no image of the class {dataset.classes[lost[0]]} of {source} to train on: "
                "hold out fewer, or add images of it"
            )
    note = f"{count:,} of {counted(len(dataset.images), 'image')} held out of training"
    return kept._replace(held_out=held_out.in_memory(), notes=(*dataset.notes, note))


def load_test_split(source: str | Path, like: Dataset, reading: Reading, unlabelled: bool = False) -> Dataset | None:
    """A data set's test split, in the size and channels of its training images; None if it has none.

    If ``like`` has held-out images, they are the test split.

    Args:
      source: as in `load_data`.
      like: the training split.
      reading: where ``source`` is looked up and how it is read.
      unlabelled: whether a test split without labels counts, where ``like`` has labels.

    Raises:
      DatasetError: as `load_data`, or if the test split has classes that are not in the training split.
    """
    if like.held_out is not None:
        return like.held_out
    height, width, channels = like.images.shape[1:]
    options = reading.arguments(labels=like.labels is not None)
    try:
        test = load_data(source, "test", image_size=(height, width), channels=channels, **options)
    except NoSplitError:
        return None
    if like.labels is None:
        return test
    if test.labels is None:
        return test if unlabelled else None
    if test.classes == like.classes:  # also where two classes have one name
        return test
    unknown = sorted(set(test.classes) - set(like.classes))
    if unknown:
        raise DatasetError(f"{source} has classes in its test split alone: {', '.join(unknown)}: correct the labels")
    numbers = np.array([like.classes.index(name) for name in test.classes], np.int32)
    return test._replace(labels=numbers[test.labels], classes=like.classes)


def split_for_testing(source: str | Path, dataset: Dataset, reading: Reading) -> RealImages:
    """A data set's training images, and its test split or, if it has none, a fixed random tenth of them.

    Args:
      source: as in `load_data`.
      dataset: all its training images.
      reading: where ``source`` is looked up and how it is read.

    Raises:
      DatasetError: as `load_test_split`.
    """
    digest = dataset._replace(labels=None, classes=()).digest()
    test = load_test_split(source, dataset, reading)
    if test is not None:
        return RealImages(dataset, test, f"{counted(len(test.images), 'image')} of the test split", digest)
    order = np.random.default_rng(0).permutation(len(dataset.images))
    held_out, kept = np.split(order, [len(order) // HELD_OUT])
    train, test = (dataset.rows(np.sort(numbers)) for numbers in (kept, held_out))
    return RealImages(train, test, f"a held-out tenth, {counted(len(test.images), 'image')}", digest)


class Parts(NamedTuple):
    """Real images, or their features, by their role in a comparison.

    Attributes:
      reference: those to compare with.
      pool: indices of the training images from which the floor is drawn.
      held_out: at most 1,000; their distance to the nearest of ``others`` is the floor of ``nearest``.
      others: the training images that are not held out. Generated images are compared with all training images, as
        they may be copies of any.
    """

    reference: np.ndarray
    pool: np.ndarray
    held_out: np.ndarray
    others: np.ndarray


def part_real(train: np.ndarray, test: np.ndarray | None) -> Parts:
    """The reference is the test images or, without them, a fixed half of the training images; the pool is the rest.

    Args:
      train: the training images, or their features, [M, ...].
      test: likewise the test images.
    """
    if test is not None:
        return Parts(test, np.arange(len(train)), test[choose(len(test), MAX_QUERIES)], train)
    order = choose(len(train), len(train))
    apart = order[: min(max(len(train) // HELD_OUT, 1), MAX_QUERIES)]  # part of the reference; not in ``others``
    half = len(train) // 2
    return Parts(train[order[:half]], order[half:], train[apart], np.delete(train, apart, axis=0))


def floor_size(train: int, has_test: bool) -> int:
    """The size of `part_real`'s pool, given the number of training images."""
    return train if has_test else train - train // 2
