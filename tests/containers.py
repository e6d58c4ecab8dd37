"""A small data set in each form of the table of containers in docs/data.md, by the library that writes that form."""

import csv
import gzip
import io
import pickle
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (8, 32, 32, 3), np.uint8)
IMAGES[0, 0, 0], IMAGES[0, 0, 1] = 0, 255
GREY = np.ascontiguousarray(IMAGES[..., :1])
LABELS = np.array([1, 0] * 4)
KINDS = ("kite", "owl")
COARSE = ("bird",)


def png(pixels):
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "png")
    return content.getvalue()


def pictures(path, numbers=range(8)):
    for i in numbers:
        (path / KINDS[LABELS[i]]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(IMAGES[i]).save(path / KINDS[LABELS[i]] / f"{i}.png")


def packed(form, write):
    """Writes an archive of what ``write`` puts into a folder."""

    def pack(path):
        folder = path.with_name("unpacked")
        folder.mkdir()
        write(folder)
        shutil.move(shutil.make_archive(str(path.with_name("packed")), form, folder), path)
        shutil.rmtree(folder)

    return pack


def splits(path):
    pictures(path / "train")
    pictures(path / "test", range(2))


def arrays(path):
    for i, image in enumerate(IMAGES):
        (path / KINDS[LABELS[i]]).mkdir(parents=True, exist_ok=True)
        np.save(path / KINDS[LABELS[i]] / f"{i}.npy", image)


def idx(path):
    for name, array in (("train-images-idx3-ubyte.gz", GREY[..., 0]), ("train-labels-idx1-ubyte.gz", LABELS)):
        header = struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape)
        path.with_name(name).write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes()))


def parquet(path):
    pq = pytest.importorskip("pyarrow.parquet", reason="the extra parquet is not installed")
    import pyarrow as pa

    pq.write_table(pa.table({"image": [{"bytes": png(each)} for each in IMAGES], "label": LABELS}), path)


def saved(path):
    """As `DatasetDict.save_to_disk` of Hugging Face's library."""
    pa = pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
    table = pa.table({"image": [{"bytes": png(image), "path": None} for image in IMAGES], "label": LABELS})
    (path / "train").mkdir(parents=True)
    for i in range(2):
        name = path / "train" / f"data-{i:05}-of-00002.arrow"
        with pa.ipc.new_stream(str(name), table.schema) as stream:
            stream.write_table(table[4 * i : 4 * i + 4])
        (path / "train" / "state.json").write_text("{}")


def repository(path):
    (path / "data").mkdir(parents=True)
    for split in ("train", "test"):
        parquet(path / "data" / f"{split}-00000-of-00001.parquet")


def webdataset(path):
    writer = pytest.importorskip("webdataset", reason="webdataset is not installed")
    for shard in range(4):
        with writer.TarWriter(str(path.with_name(f"train-{shard:03}.tar"))) as tar:
            for i in range(2 * shard, 2 * shard + 2):
                tar.write({"__key__": f"{i:04}", "png": png(IMAGES[i]), "cls": int(LABELS[i])})


def rows():
    return IMAGES.transpose(0, 3, 1, 2).reshape(8, -1)


class _Python2Pickler(pickle._Pickler):
    """Bytes become text of Python 2, in which CIFAR's authors wrote their batches."""

    def save_bytes(self, value):
        self.write(pickle.BINSTRING + struct.pack("<i", len(value)) + value)
        self.memoize(value)

    dispatch = {**pickle._Pickler.dispatch, bytes: save_bytes}


def python2_pickle(tree):
    _Python2Pickler(content := io.BytesIO(), 2).dump(tree)
    return content.getvalue()


def names(texts):
    return [text.encode() for text in texts]


def cifar10(path):
    for i in range(2):
        half = {b"data": rows()[i::2], b"labels": LABELS[i::2].tolist()}
        (path / f"data_batch_{i + 1}").write_bytes(python2_pickle(half))
    (path / "test_batch").write_bytes(python2_pickle({b"data": rows(), b"labels": LABELS.tolist()}))
    (path / "batches.meta").write_bytes(python2_pickle({b"label_names": names(KINDS)}))


def cifar100(path):
    batch = {b"data": rows(), b"fine_labels": LABELS.tolist(), b"coarse_labels": [0] * 8}
    for name in ("train", "test"):
        (path / name).write_bytes(python2_pickle(batch))
    meta = {b"fine_label_names": names(KINDS), b"coarse_label_names": names(COARSE)}
    (path / "meta").write_bytes(python2_pickle(meta))


def binary(path):
    for name in ("data_batch_1", "test_batch"):
        (path / f"{name}.bin").write_bytes(np.concatenate([np.uint8(LABELS)[:, None], rows()], 1).tobytes())


def stl10(path):
    """Columns one after another, as MATLAB stores them, and classes from 1."""
    images = IMAGES.repeat(3, 1).repeat(3, 2)  # [8, 96, 96, 3]
    (path / "train_X.bin").write_bytes(images.transpose(0, 3, 2, 1).tobytes())
    (path / "train_y.bin").write_bytes(np.uint8(LABELS + 1).tobytes())
    (path / "class_names.txt").write_text("\n".join(KINDS) + "\n")


def hdf5(path):
    h5py = pytest.importorskip("h5py", reason="the extra hdf5 is not installed")
    with h5py.File(path, "w") as file:
        file["images"], file["labels"] = IMAGES, LABELS


def savemat(path, variables):
    """Save variables as MATLAB 7.3 does: HDF5 with the axes from the last to the first, and cells as references."""
    h5py = pytest.importorskip("h5py", reason="the extra hdf5 is not installed")
    with h5py.File(path, "w", userblock_size=512) as file:

        def put(name, value):
            value = np.asarray(value)
            attributes, kind = {}, value.dtype.name
            value = np.atleast_2d(value) if value.dtype.kind != "U" else value
            if value.dtype.kind == "U" and not value.ndim and not value.item():
                value, kind, attributes = np.array([0, 0], np.uint64), "char", {"MATLAB_empty": np.uint8(1)}
            elif value.dtype.kind == "U":
                width = max(len(text) for text in np.ravel(value))
                codes = [np.frombuffer(text.ljust(width).encode("utf-16-le"), np.uint16) for text in np.ravel(value)]
                value, kind, attributes = np.array(codes), "char", {"MATLAB_int_decode": np.int32(2)}
            elif value.dtype == object:
                group = file.require_group("#refs#")
                cells = [put(f"#refs#/{len(group)}{i}", each).ref for i, each in enumerate(value.flat)]
                value, kind = np.array(cells, h5py.ref_dtype).reshape(value.shape), "cell"
            value = value if "MATLAB_empty" in attributes else np.ascontiguousarray(value.T)
            item = file.create_dataset(name, data=value, dtype=h5py.ref_dtype if kind == "cell" else value.dtype)
            for key, each in (attributes | {"MATLAB_class": np.bytes_(kind)}).items():
                item.attrs[key] = each
            return item

        for name, value in variables.items():
            put(name, value)
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\2IM")


def matlab(path):
    scipy = pytest.importorskip("scipy.io", reason="the extra matlab is not installed")
    scipy.savemat(path, {"X": IMAGES.transpose(1, 2, 3, 0), "y": LABELS[:, None]})


def columns(path):
    pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["label", *(f"pixel{i}" for i in range(1024))])
        writer.writerows(np.column_stack([LABELS, GREY.reshape(8, -1)]).tolist())


def texts(path):
    pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["emotion", "pixels", "Usage"])
        for label, image in zip(LABELS, GREY, strict=True):
            writer.writerow([label, " ".join(map(str, image.ravel())), "Training"])


def lmdb(path):
    library = pytest.importorskip("lmdb", reason="the extra lmdb is not installed")
    with library.open(str(path), map_size=2**24) as environment, environment.begin(write=True) as writer:
        for i, image in enumerate(IMAGES):
            writer.put(f"{i:04}".encode(), png(image))


def pickled(path):
    path.write_bytes(pickle.dumps({"images": IMAGES, "labels": LABELS}))


# By the name in the table.
WRITERS = {
    "pictures": pictures,
    "pictures.zip": packed("zip", pictures),
    "pictures.tar.gz": packed("gztar", pictures),
    "splits": splits,
    "images.npy": lambda path: np.save(path, IMAGES),
    "images.npz": lambda path: np.savez(path, images=IMAGES, labels=LABELS),
    "arrays": arrays,
    "train-images-idx3-ubyte.gz": idx,
    "images.parquet": parquet,
    "repository": repository,
    "saved": saved,
    "train-{000..003}.tar": webdataset,
    "cifar-10-python.tar.gz": packed("gztar", cifar10),
    "cifar-10-binary.tar.gz": packed("gztar", binary),
    "cifar-100-python.tar.gz": packed("gztar", cifar100),
    "stl10_binary.tar.gz": packed("gztar", stl10),
    "images.pkl": pickled,
    "images.h5": hdf5,
    "train_32x32.mat": matlab,
    "train.csv": columns,
    "fer2013.csv": texts,
    "church_outdoor_train_lmdb": lmdb,
}


def write(name, folder):
    """The path of a data set of this name in a folder, which is written."""
    path = Path(folder) / name
    if path.suffix == "" and name not in ("repository", "saved", "splits", "church_outdoor_train_lmdb"):
        path.mkdir()
    WRITERS[name](path)
    return path


def in_order(dataset):
    """Images and the numbers of their classes, in the order of the first pixels."""
    order = np.lexsort(dataset.images.reshape(len(dataset.images), -1)[:, :8].T)
    return dataset.images[order], None if dataset.labels is None else dataset.labels[order]
