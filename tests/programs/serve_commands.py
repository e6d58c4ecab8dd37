"""Run commands for a test, with small networks for the tutorial's, while the test decides on their system calls.

Each connection to the socket is served by a process of its own, which may be killed. It is forked from this one, which
has imported everything and has one thread.
"""

import functools
import gc
import hashlib
import importlib
import json
import os
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
import warnings

from syscalls import hand_over_calls


def main(supervisor, listening):
    hand_over_calls(supervisor)
    supervisor.close()
    import_all()
    assert len(os.listdir("/proc/self/task")) == 1  # a fork copies one thread
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that end
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:
            return
        if not os.fork():
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            threading.excepthook = lambda arguments: traceback.print_exception(arguments.exc_value)
            serve(connection)
            os._exit(0)
        connection.close()


def import_all():
    """Everything that the commands import when it is used, so that none of it is among their calls."""
    import flax.linen as nn
    import PIL.ImageDraw
    import PIL.ImageFont
    import PIL.PngImagePlugin
    import safetensors.numpy  # noqa: F401
    import tensorboardX.record_writer
    import tensorboardX.summary  # noqa: F401
    from helpers import SmallDiscriminator
    from orbax.checkpoint import v1  # noqa: F401

    from dcgan_jax.training import environment, setup

    for command in ("export", "import_weights", "sample", "train"):
        importlib.import_module(f"dcgan_jax.cli.{command}")

    class DigitGenerator(nn.Module):
        """Images of the digits' size, from one dense layer with batch norm."""

        @nn.compact
        def __call__(self, z, train=False):
            x = nn.BatchNorm(use_running_average=not train)(nn.Dense(8)(z))
            return nn.sigmoid(nn.Dense(784)(x)).reshape(-1, 28, 28, 1)

    PIL.PngImagePlugin.Image.init()
    PIL.ImageFont.load_default(size=14)
    warnings.simplefilter("error")
    setup.Generator = lambda shape, **options: DigitGenerator()
    setup.Discriminator = lambda **options: SmallDiscriminator()
    # What a process does once and what writes no file.
    setup.load_data = functools.cache(setup.load_data)
    environment.package_version = functools.cache(environment.package_version)


def serve(connection):
    stream = connection.makefile("rw")
    print(os.getpid(), file=stream, flush=True)
    for line in stream:
        request = json.loads(line)
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            code = answer(request)
            if code:
                wait_for_threads()
            sys.stdout.flush()
            sys.stderr.flush()
            out.seek(0)
            err.seek(0)
            print(json.dumps([code, out.read(), err.read()]), file=stream, flush=True)


def answer(request):
    from dcgan_jax import cli

    try:
        if "bits" in request:
            print(bits(request["bits"]))
            return 0
        return cli.main(request["argv"])
    except SystemExit as done:
        return done.code
    except BaseException:
        traceback.print_exc()
        return 1


def wait_for_threads():
    """A process would wait for them at its end. Those of TensorStore finish the writes that they have begun."""
    gc.collect()  # warns of what is left of a failed save
    deadline = time.monotonic() + 60
    while others := [each for each in threading.enumerate() if each is not threading.main_thread()]:
        if time.monotonic() > deadline:
            print("Traceback: none, but the process would not end:", others, file=sys.stderr)
            return
        time.sleep(0.01)
    time.sleep(0.2)


def bits(run_dir):
    """A digest of every array of a run's latest checkpoint, and of its key."""
    import jax
    import numpy as np

    from dcgan_jax import load_run

    run = load_run(run_dir)
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves((run.state, jax.random.key_data(run.keys["run"]))):
        digest.update(np.asarray(leaf).tobytes())
    return f"{int(run.state.step)} {digest.hexdigest()}"


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])), socket.socket(fileno=int(sys.argv[2])))
