# SPDX-License-Identifier: Apache-2.0
"""One `pawl_store *`: who is inside it, when it may be freed, and what fork() leaves of it."""

from __future__ import annotations

import math
import os
import select
import threading
import weakref
from ctypes import byref, c_void_p
from typing import Any, Callable, List, Optional, Set, TypeVar

from ._abi import library
from .errors import BusyError, ClosedError, Status
from .hosts import Host
from .values import check

T = TypeVar("T")


class Handle:
    """C frees a store on close, so a call that is on its way in must be over first.

    Whoever closes waits until nobody is inside; whoever closes from inside (from a callback) leaves
    it to the last one out.
    """

    def __init__(self, pointer: c_void_p, close: Callable[[c_void_p], Any], host: Host) -> None:
        self.host = host  # its functions must outlive the pointer
        self._pointer = pointer
        self._end = close
        self._depth = threading.local()
        self._reset()
        _alive.add(self)

    def _reset(self) -> None:
        # In a forked child nobody is inside, and whoever held the lock may be gone.
        self._condition = threading.Condition()
        self._inside = 0
        self._bells: Set[int] = set()  # pipes that wake who waits in here

    _closing = False
    _ended = False

    @property
    def closed(self) -> bool:
        return self._closing

    def call(self, function: Callable[..., int], *arguments: Any) -> None:
        """Calls a function that takes this pointer first; raises what its status says."""
        self._enter()
        try:
            self.host.call(function, self._pointer, *arguments)
        finally:
            self._leave()

    def wait(self, descriptor: Optional[int], seconds: Optional[float]) -> None:
        """Waits until `descriptor` is readable, the time is over, or somebody closes.

        It counts as being inside, so that the descriptor, which belongs to the pointer, lives on.
        """
        here, bell = os.pipe()
        try:
            self._enter(bell)
            try:
                poll = select.poll()
                for readable in (here, descriptor):
                    if readable is not None:
                        poll.register(readable, select.POLLIN)
                poll.poll(None if seconds is None else math.ceil(min(seconds, _DAY) * 1000))
            finally:
                self._leave(bell)
        finally:
            os.close(here)
            os.close(bell)

    def _enter(self, *bells: int) -> None:
        with self._condition:
            if self._closing:
                raise ClosedError(Status.CLOSED)
            self._inside += 1
            self._bells.update(bells)
        self._depth.value = self._here + 1

    def _leave(self, *bells: int) -> None:
        self._depth.value -= 1
        with self._condition:
            self._inside = max(0, self._inside - 1)
            self._bells.difference_update(bells)
            last = self._closing and not self._inside
            self._condition.notify_all()
        if last:
            self._free(self._end)

    def close(self) -> None:
        """Ends the pointer once nobody is inside. Does nothing the second time."""
        with self._condition:
            self._closing = True
            for bell in self._bells:
                os.write(bell, b"\0")
            if self._here:
                return
            self._condition.wait_for(lambda: not self._inside)
        self._free(self._end)

    def commit(self, commit: Callable[[c_void_p], int]) -> None:
        """Ends the pointer of a batch by a function that answers a status."""
        if self._here:
            raise BusyError(Status.BUSY_REENTERED)
        with self._condition:
            if self._closing:
                raise ClosedError(Status.CLOSED)
            self._closing = True
            self._condition.wait_for(lambda: not self._inside)
        self._free(lambda pointer: self.host.call(commit, pointer))

    @property
    def _here(self) -> int:
        return getattr(self._depth, "value", 0)

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
        handle.call(function, *arguments, byref(view))
        return [convert(view, row) for row in range(library.pawl_view_count(view))]
    finally:
        library.pawl_view_close(view)


def filled(struct: Any, function: Any, view: c_void_p, *at: int) -> Any:
    """The struct, filled in from one row of a view."""
    check(function(view, *at, byref(struct)))
    return struct
