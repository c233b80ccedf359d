"""What a process asked of its files, and what of it would survive loss of power.

``trace`` runs a program under strace and returns its file calls in order. ``Disk`` follows them and
keeps, of each file, what was written and what is durable: contents of a file are durable as of its
last fsync, a name as of the last fsync of its folder. That is the least a file system promises.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

SYNCS: Final = frozenset({"fsync", "fdatasync"})
WRITES: Final = frozenset({"write", "pwrite64", "writev", "pwritev", "pwritev2", "ftruncate",
                           "fallocate", "copy_file_range", "sendfile"})  # fmt: skip
OTHERS: Final = ("open", "openat", "creat", "rename", "renameat", "renameat2", "unlink", "unlinkat",
                 "mkdir", "mkdirat")  # fmt: skip
BYTES_SHOWN: Final = 8192
"""Of one write: more than a page of a database."""

_CALL: Final = re.compile(r"(\d+) +(\w+)\((.*)\) += (-?\d+)(?:<([^>]*)>)?")
_BEGUN: Final = re.compile(r"(\d+) +(\w+)\((.*?) ?<unfinished \.\.\.>$")
_ENDED: Final = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>(.*)\) += (-?\d+)(?:<([^>]*)>)?")
_OPEN_FILE: Final = re.compile(r"\d+<([^>]*)>")
_TEXT: Final = re.compile(r'"([^"]*)"')


@dataclass(frozen=True, slots=True)
class Call:
    """A file call at its begin or, with its result, at its end.

    ``path`` is the file it is about; ``target`` where it is moved to; ``data`` what is written.
    """

    moment: Literal["begin", "end"]
    process: str
    name: str
    path: str
    target: str = ""
    data: bytes = b""
    numbers: tuple[int, ...] = ()
    flags: str = ""
    result: int = 0


def trace(arguments: list[str], output: Path, seconds: float) -> list[Call]:
    """Run ``python ARGUMENTS`` to its end and return its file calls; it must succeed."""
    names = ",".join(f"?{name}" for name in (*sorted(SYNCS | WRITES), *OTHERS))
    subprocess.run(
        ["strace", "-f", "-y", "-xx", "-s", str(BYTES_SHOWN), "--seccomp-bpf", "-e",
         f"trace={names}", "-o", str(output), sys.executable, *arguments],
        check=True,
        timeout=seconds,
    )  # fmt: skip
    with open(output, encoding="ascii") as lines:
        return list(_calls(lines))


def _calls(lines: Iterator[str]) -> Iterator[Call]:
    begun: dict[str, str] = {}
    for line in lines:
        if whole := _CALL.match(line):
            process, name, arguments, result, path = whole.groups()
            call = _call(process, name, arguments, path)
            yield call
            yield replace(call, moment="end", result=int(result))
        elif first := _BEGUN.match(line):
            process, name, begun[first[1]] = first.groups()
            yield _call(process, name, begun[process], None)
        elif rest := _ENDED.match(line):
            process, name, arguments, result, path = rest.groups()
            call = _call(process, name, begun.pop(process) + arguments, path)
            yield replace(call, moment="end", result=int(result))


def _call(process: str, name: str, arguments: str, opened: str | None) -> Call:
    open_file = _OPEN_FILE.match(arguments)
    texts = [_bytes(text) for text in _TEXT.findall(arguments)]
    numbers = re.findall(r", (-?\d+)(?=,|$)", arguments)
    call = Call("begin", process, name, "", numbers=tuple(map(int, numbers)), flags=arguments)
    if open_file is not None and name in SYNCS | WRITES:
        data = texts[0] if texts else b""
        return replace(call, path=_bytes(open_file[1]).decode(), data=data, flags="")
    paths = [text.decode() for text in texts]
    return replace(call, path=paths[0], target=paths[-1], flags=re.sub(_TEXT, "", arguments))


def _bytes(shown: str) -> bytes:
    return bytes.fromhex(shown.replace("\\x", ""))


@dataclass(slots=True)
class File:
    """What was written and what is durable. Contents are kept of databases alone."""

    keeps_content: bool
    content: bytearray = field(default_factory=bytearray)
    durable_content: bytes = b""
    writes: int = 0
    synced_writes: int = 0
    is_named: bool = False
    """Whether its name is durable."""

    @property
    def is_durable(self) -> bool:
        """Whether all of it would survive loss of power."""
        return self.is_named and self.writes == self.synced_writes


class Disk:
    """The files below one folder, which does not exist when the trace begins."""

    def __init__(self, folder: Path) -> None:
        self._prefix = f"{folder}/"
        self._top = str(folder)
        self.files: dict[str, File] = {}
        """By path below the folder, deleted ones left out."""
        self.folders: dict[str, bool] = {}
        """Folders that were made ('' is the top) and whether their names are durable."""
        self._syncing: dict[str, tuple[int, bytes, list[str]]] = {}

    def place(self, path: str) -> str | None:
        """Where a path lies below the folder; None when it does not."""
        if path == self._top:
            return ""
        return path.removeprefix(self._prefix) if path.startswith(self._prefix) else None

    def apply(self, call: Call) -> None:
        """Follow one call: writes count from their begin, syncs cover what was there at theirs."""
        if call.name in SYNCS:
            self._sync(call)
            return
        place = self.place(call.path)
        if place is None:
            return
        if call.name in WRITES:
            if call.moment == "begin" and place in self.files:
                _write(self.files[place], call)
        elif call.moment == "end" and call.result >= 0:
            self._change_names(place, call)

    def _change_names(self, place: str, call: Call) -> None:
        if call.name in ("open", "openat", "creat"):
            if "O_CREAT" in call.flags or call.name == "creat":
                self.files.setdefault(place, File(".db" in place))
            if "O_TRUNC" in call.flags and place in self.files:
                _write(self.files[place], replace(call, name="ftruncate", numbers=(0,)))
        elif call.name.startswith("mkdir"):
            self.folders[place] = False
        elif call.name.startswith("unlink"):
            self.files.pop(place, None)
        elif call.name.startswith("rename") and place in self.files:
            target = self.place(call.target)
            assert target is not None
            self.files[target] = self.files.pop(place)
            self.files[target].is_named = False

    def _sync(self, call: Call) -> None:
        place = self.place(call.path)
        file = self.files.get(place) if place is not None else None
        if call.moment == "begin":
            writes, content = (file.writes, bytes(file.content)) if file else (0, b"")
            self._syncing[call.process] = (writes, content, list(self._names_in(call.path)))
            return
        writes, content, names = self._syncing.pop(call.process)
        if file is not None:
            file.synced_writes, file.durable_content = writes, content
        for name in names:
            if name in self.files:
                self.files[name].is_named = True
            elif name in self.folders:
                self.folders[name] = True

    def _names_in(self, folder: str) -> Iterator[str]:
        """The entries of a folder that was opened itself."""
        for name in (*self.files, *self.folders):
            path = self._top if name == "" else self._prefix + name
            if path.rpartition("/")[0] == folder:
                yield name


def _write(file: File, call: Call) -> None:
    file.writes += 1
    if not file.keeps_content:
        return
    if call.name == "ftruncate":
        size = call.numbers[-1]
        del file.content[size:]
        file.content.extend(bytes(size - len(file.content)))
    else:
        assert call.name == "pwrite64", f"a database is not written by {call.name}"
        size, offset = call.numbers[-2:]
        assert len(call.data) == size, "the trace shows less than was written"
        if offset > len(file.content):
            file.content.extend(bytes(offset - len(file.content)))
        file.content[offset : offset + size] = call.data
