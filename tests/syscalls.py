"""System calls that fail for real: a process's calls on the files below a directory are counted, refused or cut short.

The kernel hands each call to this process before it does it (seccomp's user notification), whichever library or thread
makes it. So the n-th one can fail with any error, or the process be killed before it.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import platform
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

# Numbers on x86-64, and which arguments name the file: "p" a path, "d" a directory's descriptor and a path, "f" the
# descriptor of a file, "-" neither.
_CALLS = {
    "read": (0, "f"),
    "write": (1, "f"),
    "open": (2, "p"),
    "stat": (4, "p"),
    "fstat": (5, "f"),
    "lstat": (6, "p"),
    "pread64": (17, "f"),
    "pwrite64": (18, "f"),
    "readv": (19, "f"),
    "writev": (20, "f"),
    "access": (21, "p"),
    "sendfile": (40, "f"),
    "fcntl": (72, "f"),
    "flock": (73, "f"),
    "fsync": (74, "f"),
    "fdatasync": (75, "f"),
    "truncate": (76, "p"),
    "ftruncate": (77, "f"),
    "rename": (82, "pp"),
    "mkdir": (83, "p"),
    "rmdir": (84, "p"),
    "creat": (85, "p"),
    "link": (86, "pp"),
    "unlink": (87, "p"),
    "symlink": (88, "-p"),
    "chmod": (90, "p"),
    "fchmod": (91, "f"),
    "getdents64": (217, "f"),
    "openat": (257, "d"),
    "mkdirat": (258, "d"),
    "newfstatat": (262, "d"),
    "unlinkat": (263, "d"),
    "renameat": (264, "dd"),
    "linkat": (265, "dd"),
    "fchmodat": (268, "d"),
    "faccessat": (269, "d"),
    "fallocate": (285, "f"),
    "renameat2": (316, "dd"),
    "copy_file_range": (326, "f-f"),
    "statx": (332, "d"),
    "openat2": (437, "d"),
    "faccessat2": (439, "d"),
}
_NAMES = {number: (name, where) for name, (number, where) in _CALLS.items()}
_CREATING = os.O_CREAT | os.O_TRUNC
_CHANGING = {"write", "pwrite64", "writev", "sendfile", "truncate", "ftruncate", "creat", "symlink", "copy_file_range"}
_CHANGING |= {name for name in _CALLS if name.startswith(("rename", "mkdir", "rmdir", "link", "unlink"))}
_CHANGING |= {"chmod", "fchmod", "fchmodat", "fallocate"}
_LOCKS = {fcntl.F_SETLK, fcntl.F_SETLKW, 37, 38}  # and F_OFD_SETLK, F_OFD_SETLKW

_ARCHITECTURE = 0xC000003E  # x86-64
_RECEIVE, _SEND = 0xC0502100, 0xC0182101
_CONTINUE = 1
_AT_FDCWD = -100

SUPPORTED = platform.system() == "Linux" and platform.machine() == "x86_64"


class Call(NamedTuple):
    """A system call on a file below the directory.

    Attributes:
      name: for example ``renameat``.
      path: the first file's, relative to the directory.
      changes: whether the call changes a file or a directory.
    """

    name: str
    path: str
    changes: bool

    def __str__(self) -> str:
        return f"{self.name}({self.path})"


def hand_over_calls(to: socket.socket) -> None:
    """From now on, the calls of this process and of its children wait for `Supervisor`, at the other end of ``to``."""
    libc = ctypes.CDLL(None, use_errno=True)
    load, equal, give = 0x20, 0x15, 0x06
    numbers = sorted(_NAMES)
    program = [(load, 0, 0, 4), (equal, 1, 0, _ARCHITECTURE), (give, 0, 0, 0x7FFF0000), (load, 0, 0, 0)]
    program += [(equal, len(numbers) - i, 0, number) for i, number in enumerate(numbers)]
    program += [(give, 0, 0, 0x7FFF0000), (give, 0, 0, 0x7FC00000)]  # allow, or notify
    code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *each) for each in program))
    header = ctypes.create_string_buffer(struct.pack("<HxxxxxxQ", len(program), ctypes.addressof(code)))
    if libc.prctl(38, 1, 0, 0, 0):  # no new privileges, as seccomp requires of users
        raise OSError(ctypes.get_errno(), "prctl")
    listener = libc.syscall(317, 1, 8, header)  # seccomp(SET_MODE_FILTER, NEW_LISTENER)
    if listener < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    socket.send_fds(to, [b"."], [listener])  # sendmsg is not among the calls
    os.close(listener)


class Supervisor:
    """Decides on the calls below ``root`` of a process that has called `hand_over_calls`; it does not delay others.

    Attributes:
      policy: returns None, and the call is done; or an error's number, and it fails with that; or, for ``write``,
        ``pwrite64`` and ``writev``, minus a number of bytes, and no more than these are written. It may kill the
        process.
    """

    def __init__(self, listener: int, root: Path):
        self.policy: Callable[[Call], int | None] = lambda call: None
        self._root = os.path.realpath(root) + "/"
        self._listener = listener
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            request = bytearray(80)
            try:
                fcntl.ioctl(self._listener, _RECEIVE, request)
            except FileNotFoundError:  # the caller has been killed
                continue
            except OSError as error:
                if error.errno == errno.EINTR:
                    continue
                return  # the process has ended
            identity, pid, _, number, _, _, *arguments = struct.unpack("<QIIiIQ6Q", request)
            value, code = 0, None
            with contextlib.suppress(OSError):  # the caller has been killed
                call = self._call(pid, number, arguments)
                code = call and self.policy(call)
                if code is not None and code < 0:
                    value, code = _write_part(pid, number, arguments, -code), 0
            reply = struct.pack("<QqiI", identity, value, -(code or 0), _CONTINUE if code is None else 0)
            with contextlib.suppress(OSError):
                fcntl.ioctl(self._listener, _SEND, reply)

    def _call(self, pid: int, number: int, arguments: list[int]) -> Call | None:
        name, where = _NAMES[number]
        if name == "fcntl" and arguments[1] not in _LOCKS:
            return None
        flags = arguments[1 if name == "open" else 2]
        changes = name in _CHANGING or (name in ("open", "openat") and bool(flags & _CREATING))
        for path in _paths(pid, where, arguments):
            if (path + "/").startswith(self._root):
                return Call(name, path[len(self._root) :], changes)
        return None


def _paths(pid: int, where: str, arguments: list[int]) -> Iterator[str]:
    i = 0
    for kind in where:
        if kind == "f":
            yield os.readlink(f"/proc/{pid}/fd/{arguments[i]}")
        elif kind in "pd":
            folder = f"/proc/{pid}/cwd"
            if kind == "d":
                descriptor = ctypes.c_int(arguments[i]).value
                folder = folder if descriptor == _AT_FDCWD else f"/proc/{pid}/fd/{descriptor}"
                i += 1
            yield os.path.normpath(os.path.join(os.readlink(folder), _text(pid, arguments[i])))
        i += 1


def _text(pid: int, address: int) -> str:
    """The text at an address of a process; a page at a time, as the next one need not exist."""
    content = b""
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        while address and b"\0" not in content:
            memory.seek(address + len(content))
            content += memory.read(4096 - (address + len(content)) % 4096)
    return os.fsdecode(content.split(b"\0")[0])


def _write_part(pid: int, number: int, arguments: list[int], limit: int) -> int:
    """Write at most ``limit`` bytes of what a call would, in its place; how many they were."""
    descriptor, address, size, offset = arguments[:4]
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        if _NAMES[number][0] == "writev":  # the address is that of a list of addresses and sizes
            memory.seek(address)
            address, size = struct.unpack("QQ", memory.read(16))
        memory.seek(address)
        content = memory.read(min(size, limit))
    handle = os.pidfd_open(int(_field(pid, "Tgid")))
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        ours = libc.syscall(438, handle, descriptor, 0)  # pidfd_getfd: the same open file, with its position
        if ours < 0:
            raise OSError(ctypes.get_errno(), "pidfd_getfd")
        try:
            return os.pwrite(ours, content, offset) if _NAMES[number][0] == "pwrite64" else os.write(ours, content)
        finally:
            os.close(ours)
    finally:
        os.close(handle)


def _field(pid: int, name: str) -> str:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return line.split()[1]
    raise OSError(errno.ESRCH, f"no {name} of process {pid}")
