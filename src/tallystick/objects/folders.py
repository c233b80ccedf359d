"""Objects in a folder. Owns: that nothing outside of it is ever read, and what a file's version is.

Plain system calls rather than a library: no symbolic link is followed at any level, whoever swaps
one in meanwhile, and importing a local file needs nothing installed. A folder's own path may be a
link: whoever named it meant it.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from tallystick import limits
from tallystick.clock import SECOND, Clock, Instant
from tallystick.objects.errors import (
    AccessDenied,
    BucketNotFound,
    BucketUnavailable,
    ObjectChanged,
    ObjectGone,
    ObjectRefused,
)
from tallystick.objects.info import ObjectInfo, Refused

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_DATA_FOLDER: Final = ("state.db", "owner.lock")
_SETTLING_POLL_SECONDS: Final = 0.1
_SETTLING_SLACK_SECONDS: Final = 0.5
# Opened without waiting, so that a pipe of that name does not hang who reads it.
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Folder:
    """A folder, or one file of it (``only``), as a store of objects.

    A file counts once it has been unchanged for ``settled_seconds`` on ``clock``, which must be
    real time, for it is compared with what the file system notes.
    """

    def __init__(self, root: Path, clock: Clock, *, only: str | None, settled_seconds: int) -> None:
        self.root = root
        self._key_begins = len(str(root).rstrip("/")) + 1
        self._only = only
        self._clock = clock
        self._settled = settled_seconds * SECOND
        self._unsettled: list[str] = []

    def entries(self, refused: Refused) -> Iterator[ObjectInfo]:
        """Every settled file below, in no order; ``refused`` is told of links and odd names."""
        if self._only is not None:
            with self._opened(self._only) as descriptor:
                yield _info(self._only, os.fstat(descriptor))
            return
        self._unsettled = []
        with self._meaning(""):
            waiting = [os.scandir(self.root)]
        try:
            yield from self._walk(waiting, refused)
        finally:
            for each in waiting:
                each.close()

    def _walk(
        self, waiting: list[os._ScandirIterator[str]], refused: Refused
    ) -> Iterator[ObjectInfo]:
        """Depth first, with one open iterator a level: memory does not grow with the files."""
        settled_before = self._clock.now() - self._settled
        while waiting:
            with self._meaning(""):
                entry = next(waiting[-1], None)
            if entry is None:
                waiting.pop().close()
                continue
            key = entry.path[self._key_begins :]
            reason = _reason_against(entry)
            if reason is not None:
                refused(key.encode(errors="replace").decode(), reason)
            elif entry.is_dir(follow_symlinks=False):
                self._descend(entry, key, waiting, refused)
            else:
                with suppress(FileNotFoundError):  # gone since its folder was read
                    status = entry.stat(follow_symlinks=False)
                    if _changed_at(status) <= settled_before:
                        yield _info(key, status)
                    elif len(self._unsettled) < limits.OBJECTS_SETTLING_MAX:
                        self._unsettled.append(key)

    def settling(self) -> Iterator[ObjectInfo]:
        """What the last list passed over because it had changed a moment before: each as soon as it
        has settled, or never when it goes on changing. Waits for as long as settling takes."""
        keys, self._unsettled = self._unsettled, []
        until = time.monotonic() + self._settled / SECOND + _SETTLING_SLACK_SECONDS
        while keys and time.monotonic() < until:
            time.sleep(_SETTLING_POLL_SECONDS)
            settled_before, left = self._clock.now() - self._settled, []
            for key in keys:
                with suppress(ObjectGone, ObjectRefused), self._opened(key) as descriptor:
                    status = os.fstat(descriptor)
                    if _changed_at(status) <= settled_before:
                        yield _info(key, status)
                    else:
                        left.append(key)
            keys = left

    def _descend(
        self,
        entry: os.DirEntry[str],
        key: str,
        waiting: list[os._ScandirIterator[str]],
        refused: Refused,
    ) -> None:
        if is_data_folder(Path(entry.path)):
            refused(key, "it is the data folder of a server")
            return
        try:
            waiting.append(os.scandir(entry.path))
        except PermissionError:
            refused(key, "the folder may not be listed: give the server's user read permission")
        except FileNotFoundError:
            pass  # gone since the folder above was read

    def range(self, info: ObjectInfo, start: int, end: int) -> bytes:
        """The bytes from ``start`` up to ``end`` of that version, and of no other.

        Opened anew by name each time, so that a file put in its place is noticed too.
        """
        with self._opened(info.key) as descriptor:
            self._assert_version(info, descriptor)
            parts = []
            while start < end:
                parts.append(os.pread(descriptor, end - start, start))
                if not parts[-1]:
                    break
                start += len(parts[-1])
            self._assert_version(info, descriptor)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def assert_version(self, info: ObjectInfo) -> None:
        """Raise as ``range`` does when the file is not that version any more."""
        with self._opened(info.key) as descriptor:
            self._assert_version(info, descriptor)

    def _assert_version(self, info: ObjectInfo, descriptor: int) -> None:
        if _version(os.fstat(descriptor)) != info.version:
            raise ObjectChanged(
                f"{info.key} in {self.root} was changed since it was listed; it is read again"
                " as the new version"
            )

    def put(self, name: str, data: bytes) -> None:
        """Write a file, whole or not at all, and durably; folders on the way are made."""
        path = self.root.joinpath(*self._parts(name))
        draft = path.with_name(f".{path.name}.part")
        with self._meaning(name):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with open(draft, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                draft.replace(path)
            except OSError:
                draft.unlink(missing_ok=True)
                raise
            descriptor = os.open(path.parent, _FOLDER)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def path_of(self, key: str) -> Path:
        """Where a file lies; its name leads nowhere else."""
        return self.root.joinpath(*self._parts(key))

    @contextmanager
    def _opened(self, key: str) -> Iterator[int]:
        """The file, reached folder by folder through no link."""
        *folders, name = self._parts(key)
        with self._meaning(key):
            descriptor = os.open(self.root, _FOLDER)
            try:
                for folder in folders:
                    descriptor = _replaced(
                        descriptor,
                        os.open(folder, _FOLDER | os.O_NOFOLLOW, dir_fd=descriptor),
                    )
                descriptor = _replaced(descriptor, os.open(name, _FILE, dir_fd=descriptor))
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise self._refused(key)
                yield descriptor
            finally:
                os.close(descriptor)

    def _parts(self, key: str) -> list[str]:
        parts = key.split("/")
        if "\0" in key or any(part in ("", ".", "..") for part in parts):
            raise self._refused(key)
        return parts

    def _refused(self, key: str) -> ObjectRefused:
        return ObjectRefused(
            f"{key!r} is not read: it is no file within {self.root}, or reached through a link;"
            " put the file itself into the folder"
        )

    @contextmanager
    def _meaning(self, key: str) -> Iterator[None]:
        """Say what an error of the system means for the caller."""
        try:
            yield
        except FileNotFoundError:
            raise self._absent(key) from None
        except PermissionError:
            raise AccessDenied(
                f"{self.root / key}: the server's user may not read it; give it read permission"
                " on the file, and to enter every folder above it",
                permission="read",
            ) from None
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise (self._refused(key) if key else self._absent(key)) from None
            raise BucketUnavailable(
                f"{self.root / key}: {error.strerror}; it is tried again later"
            ) from None

    def _absent(self, key: str) -> ObjectGone | BucketNotFound:
        if key and self.root.is_dir():
            return ObjectGone(
                f"{key} is not in {self.root} any more; if it was renamed, it is found by its"
                " new name"
            )
        return BucketNotFound(f"there is no folder {self.root}: create it, or correct the path")


def is_data_folder(path: Path) -> bool:
    """Whether a server keeps its data there: of every environment, and no object of any."""
    try:
        return all((path / name).is_file() for name in _DATA_FOLDER)
    except OSError:
        return False


def _replaced(old: int, new: int) -> int:
    os.close(old)
    return new


def _reason_against(entry: os.DirEntry[str]) -> str | None:
    """Why an entry is neither read nor entered, None when it is."""
    try:
        entry.name.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8: rename it"
    if entry.is_symlink():
        return "it is a symbolic link: put the file itself into the folder"
    if not entry.is_dir(follow_symlinks=False) and not entry.is_file(follow_symlinks=False):
        return "it is neither a file nor a folder"
    return None


def _changed_at(status: os.stat_result) -> int:
    """When the system last saw it change; what the file itself claims may lie in the future."""
    return status.st_ctime_ns // 1000


def _version(status: os.stat_result) -> str:
    return f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"


def _info(key: str, status: os.stat_result) -> ObjectInfo:
    return ObjectInfo(key, _version(status), status.st_size, Instant(status.st_mtime_ns // 1000))
