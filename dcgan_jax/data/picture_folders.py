"""Pictures as a data set: read once, and then from the user's cache."""

from pathlib import Path

from dcgan_jax.console import print_line
from dcgan_jax.data.cache import load_cached, save_cached
from dcgan_jax.data.common import Dataset, LoadOptions, check_split, path_of, starts_with
from dcgan_jax.data.fitting import check_memory, size_for
from dcgan_jax.data.pictures import NAMED, Listing, check_broken, list_pictures, name_some, read_pictures
from dcgan_jax.errors import first_line

_CACHE_FORMAT = 3  # changes whenever the same pictures give other arrays
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # the latter is of an empty one


def has_pictures(source: str | Path) -> bool:
    """Whether it is the path of a folder or a zip, and not of NumPy's zip of arrays."""
    path = path_of(source)
    if path is None or not path.exists():
        return False
    return path.is_dir() or (path.suffix != ".npz" and starts_with(path, *_ZIP))


def load_pictures(source: str | Path, options: LoadOptions) -> Dataset:
    """`read_pictures`, or the user's cache of the same pictures, with notes of the files of now.

    Raises:
      NoSplitError: if another split than ``train`` is asked for.
      DatasetError: as `list_pictures` and `read_pictures`, or if the pictures do not fit into memory.
    """
    path = Path(path_of(source) or source)
    check_split(path, options.split)
    with list_pictures(path) as listing:
        size = size_for(options.image_size, [header.size for header in listing.headers.values()])
        check_memory(len(listing.pictures), size, options.channels or 3, path)
        key = f"{listing.digest()[:32]}-{size}-{options.channels}-{_CACHE_FORMAT}".replace(" ", "")
        cached = load_cached(key)
        dataset, broken = cached or read_pictures(path, listing, size, options.channels)
    noted = _with_notes(path, listing, dataset, broken)
    if cached is None:
        try:
            save_cached(key, dataset, broken)
        except (OSError, RuntimeError, KeyError) as error:  # the latter two: the user has no home directory
            reason = first_line(error)
            print_line(f"warning: the pictures cannot be cached ({reason}): they will be read again", error=True)
    return noted


def _with_notes(path: Path, listing: Listing, dataset: Dataset, broken: dict[str, str]) -> Dataset:
    """What `read_pictures` returned, with a note of everything that was done to the pictures of the listing.

    Raises:
      DatasetError: if more than a tenth of them are broken.
    """
    broken, size = listing.broken | broken, dataset.images.shape[1:3]
    check_broken(path, broken, len(dataset.images) + len(broken))
    cropped, left_out, rest = [], [], []
    if others := sum(header.size != size for header in listing.headers.values()):
        of = f"{others:,} of {len(listing.headers):,} pictures"
        cropped.append(f"{of} cropped around their centre and resized to {size[0]}x{size[1]}")
    if broken:
        left_out.append(f"left out {len(broken):,} pictures that cannot be read: {name_some(broken)}")
    if listing.others:
        rest.append(f"left out {listing.others:,} files of other kinds")
    if dataset.classes:
        more = ", ..." if len(dataset.classes) > NAMED else ""
        rest.append(
            f"{len(dataset.classes):,} classes, one for each folder: {', '.join(dataset.classes[:NAMED])}{more}"
        )
    return dataset._replace(
        notes=(*cropped, *dataset.notes, *left_out, *rest), altered=(*cropped, *dataset.altered, *left_out)
    )
