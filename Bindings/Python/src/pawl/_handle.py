# SPDX-License-Identifier: Apache-2.0
"""One `pawl_store *`: who is inside it, when it may be freed, and what fork() leaves of it."""

from __future__ import annotations

import math
import os
import select
import threading
import weakref
from ctypes import c_void_p
from threading import get_ident
from typing import Any, Callable, List, Optional, Set, TypeVar

from ._abi import library
from .errors import BusyError, ClosedError, Status, error_of
from .hosts import Host

T = TypeVar("T")


class Handle:
    """C frees a store on close, so a call that is on its way in must be over first.

    Whoever closes waits until nobody is inside; whoever closes from inside (from a callback) leaves
    it to the last one out. A call says that it is inside before it asks whether somebody closes,
    who says so before asking who is inside: one of them sees the other, without a lock.
    """

    def __init__(self, pointer: c_void_p, close: Callable[[c_void_p], Any], host: Host) -> None:
        self.host = host  # its functions must outlive the pointer
        self._pointer = pointer
        self._first = (pointer,)  # what every call begins with
        self._end = close
        self._inside: List[int] = []  # threads, once for each call
        self._reset()
        _alive.add(self)

    def _reset(self) -> None:
        # In a forked child no other thread is inside, and whoever held the lock may be gone.
        self._condition = threading.Condition()
        self._inside[:] = [thread for thread in self._inside if thread == get_ident()]
        self._bells: Set[int] = set()  # pipes that wake who waits in here

    _closing = False
    _left = False
    _ended = False

    @property
    def closed(self) -> bool:
        return self._closing

    def call(self, function: Callable[..., int], *arguments: Any) -> None:
        """Calls a function that takes this pointer first; raises what its status says."""
        inside, here, host = self._inside, get_ident(), self.host
        inside.append(here)
        try:
            if self._closing:
                raise ClosedError(Status.CLOSED)
            if host.present:
                host.call(function, self._pointer, *arguments)
                return
            status = function(*(self._first + arguments))
            if status:
                raise error_of(status)
        finally:
            inside.remove(here)
            if self._closing:
                self._tell()

    def visit(self, function: Callable[[], object]) -> None:
        """Runs what C calls on a thread of its own, in no call. It is inside as well.

        Otherwise whoever closes in there would wait for those who wait for that thread.
        """
        inside, here = self._inside, get_ident()
        inside.append(here)
        try:
            if not self._closing:
                function()
        finally:
            inside.remove(here)
            if self._closing:
                self._tell()

    def _tell(self) -> None:
        """Tells who closes that somebody went out."""
        with self._condition:
            self._condition.notify_all()
            last = self._left and not self._inside
        if last:
            self._free(self._end)

    def wait(self, descriptor: Optional[int], seconds: Optional[float]) -> None:
        """Waits until `descriptor` is readable, the time is over, or somebody closes.

        It counts as being inside, so that the descriptor, which belongs to the pointer, lives on.
        """
        here, bell = os.pipe()

        def waited(_pointer: c_void_p) -> int:
            poll = select.poll()
            for readable in (here, descriptor):
                if readable is not None:
                    poll.register(readable, select.POLLIN)
            poll.poll(None if seconds is None else math.ceil(min(seconds, _DAY) * 1000))
            return Status.OK

        with self._condition:
            self._bells.add(bell)
        try:
            self.call(waited)
        finally:
            with self._condition:
                self._bells.discard(bell)
            os.close(here)
            os.close(bell)

    def close(self) -> None:
        """Ends the pointer once nobody is inside. Does nothing the second time."""
        with self._condition:
            self._closing = True
            for bell in self._bells:
                os.write(bell, b"\0")
            if get_ident() in self._inside:
                self._left = True
                return
            self._condition.wait_for(lambda: not self._inside)
        self._free(self._end)

    def commit(self, commit: Callable[[c_void_p], int]) -> None:
        """Ends the pointer of a batch by a function that answers a status."""
        if get_ident() in self._inside:
            raise BusyError(Status.BUSY_REENTERED)
        with self._condition:
            if self._closing:
                raise ClosedError(Status.CLOSED)
            self._closing = True
            self._condition.wait_for(lambda: not self._inside)
        self._free(lambda pointer: self.host.call(commit, pointer))

    def _free(self, end: Callable[[c_void_p], Any]) -> None:
        with self._condition:
            ended, self._ended = self._ended, True
        if not ended:
            end(self._pointer)


_DAY = 86_400.0  # poll takes milliseconds in an int

_alive: weakref.WeakSet[Handle] = weakref.WeakSet()


def _forked() -> None:
    for handle in _alive:
        handle._reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def rows(
    handle: Handle,
    convert: Callable[[c_void_p, int], T],
    function: Callable[..., int],
    *arguments: Any,
) -> List[T]:
    """The rows of the view that a function answers, converted; the view is wiped."""
    view = c_void_p()
    try:
        handle.call(function, *arguments, view)
        return [convert(view, row) for row in range(library.pawl_view_count(view))]
    finally:
        library.pawl_view_close(view)


def row(
    handle: Handle,
    convert: Callable[[c_void_p, int], T],
    function: Callable[..., int],
    *arguments: Any,
) -> T:
    """The same, of a function that answers one row."""
    view = c_void_p()
    try:
        handle.call(function, *arguments, view)
        return convert(view, 0)
    finally:
        library.pawl_view_close(view)


def filled(struct: Any, function: Any, view: c_void_p, row: int, *index: int) -> Any:
    """The struct, filled in from one row of a view, or from what the row has at an index."""
    status = function(view, row, *index, struct) if index else function(view, row, struct)
    if status:
        raise error_of(status)
    return struct
