"""Files on their way to be named by a row.

Owns: what becomes of them when that fails, also of one that is still being written, on another
thread. Promises: a file that certainly no row names is deleted
at once, so that work which is tried again and again, while somebody locks the store for one, does
not fill the disk. What a process that died leaves behind is ``garbage``'s.
"""

from __future__ import annotations

from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tallystick.archive.manifest import FileDraft


class Drafts:
    """Written and fsynced files that one transaction is to name; a context manager around it.

    Set ``may_be_named`` as the last thing inside the transaction: when its commit itself fails,
    what of it survives is known only once the store is opened again, and the files stay.
    """

    def __init__(self, data_folder: Path, *drafts: FileDraft) -> None:
        self.files = list(drafts)
        self.may_be_named = False
        self._data_folder = data_folder
        self._under_way: Future[FileDraft | None] | None = None

    def add(self, draft: FileDraft | None) -> FileDraft | None:
        """Take charge of one more file; returns it."""
        if draft is not None:
            self.files.append(draft)
        return draft

    def expect(self, draft: Future[FileDraft | None]) -> None:
        """Take charge of a file that is being written; one at a time."""
        assert self._under_way is None
        self._under_way = draft

    def arrived(self) -> None:
        """Wait for what is being written; raises what writing it failed with."""
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            self.add(under_way.result())

    def give_up(self, draft: FileDraft | None) -> None:
        """Delete a file that no transaction named."""
        if draft is not None:
            self.files.remove(draft)
            (self._data_folder / draft.name).unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        is_end_of_process = error is not None and not isinstance(error, Exception)
        with suppress(Exception):  # there is an error already; one of this would hide it
            self.arrived()
        if not self.may_be_named and not is_end_of_process:
            for draft in list(self.files):
                self.give_up(draft)
