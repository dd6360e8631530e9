"""Writing files and folders that take their names only when they are whole and on the disk."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from bezel.errors import StorageError

Write = Callable[[bytes | bytearray | memoryview], None]
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def file_when_whole(path: Path, size: int, mode: int = 0o666) -> Iterator[Write]:
    """A function that appends to a temporary file, which becomes `path` at the end, or vanishes.

    `size` is how many bytes it will have, `mode` who may use it (less the process's umask). StorageError where it
    cannot be written or has no room.
    """
    partial = _partial(path)
    with storage_errors(path, size):
        _check_room(path, size)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "a folder has this name")
    try:
        with _written(path, partial, size, mode) as write:
            yield write
        with storage_errors(path, size):
            os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


@contextlib.contextmanager
def folder_when_whole(path: Path, size: int) -> Iterator[Path]:
    """A temporary folder, which becomes `path` at the end, or vanishes with all that is in it.

    `size` is how many bytes its files will have. StorageError where `path` is there already, cannot be written or
    has no room.
    """
    partial = _partial(path)
    with storage_errors(path, size):
        if path.exists() or path.is_symlink():
            raise FileExistsError(errno.EEXIST, "it exists already")
        _check_room(path, size)
        partial.mkdir()
    try:
        yield partial
        _sync_folder(partial)
        with storage_errors(path, size):
            os.rename(partial, path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    _sync_folder(path.parent)


@contextlib.contextmanager
def new_file(path: Path, size: int) -> Iterator[Write]:
    """A function that appends to a new file, which is on the disk at the end: one inside `folder_when_whole`."""
    with _written(path, path, size) as write:
        yield write


@contextlib.contextmanager
def _written(path: Path, partial: Path, size: int, mode: int = 0o666) -> Iterator[Write]:
    with storage_errors(path, size):
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)

    def write(data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data)
        with storage_errors(path, size):
            while view:
                view = view[os.write(handle, view) :]

    try:
        yield write
        with storage_errors(path, size):
            os.fsync(handle)
    finally:
        os.close(handle)


def _partial(path: Path) -> Path:
    if not path.name:
        raise StorageError(f"{path}: cannot be written, it is a folder; give the name of something new in it")
    return path.with_name(f".{path.name}.{os.urandom(4).hex()}.partial")


def _check_room(path: Path, size: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if free < size:
        raise OSError(errno.ENOSPC, f"{free} bytes are free")


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where the file system lets a folder be synced."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def storage_errors(path: Path, size: int) -> Iterator[None]:
    """Turns what the system raises while `size` bytes are written to `path` into a StorageError."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in _FULL:
            way_out = f"free space in {path.parent}, or choose another folder"
        elif error.errno in (errno.ENOENT, errno.ENOTDIR):
            way_out = f"create the folder {path.parent} first"
        elif error.errno == errno.EEXIST:
            way_out = "choose another name, or remove it first"
        else:
            way_out = "choose a folder that you can write"
        raise StorageError(f"{path}: {size} bytes cannot be written ({reason}); {way_out}") from error
