"""A link between Alice and Bob that drops, repeats and reorders packets, and remembers every one that it was given."""

from __future__ import annotations

import heapq
import os
import random
import selectors
import socket
import threading


class Direction:
    """The packets from one side to the other. A packet leaves at most `window` packets late."""

    def __init__(self, seed: str, drop: float, repeat: float, window: int) -> None:
        self.random = random.Random(seed)
        self.drop, self.repeat, self.window = drop, repeat, window
        self.packets: list[bytes] = []
        self.held: list[tuple[float, int]] = []  # when it leaves, and which
        self.dropped = self.repeated = self.reordered = self.undeliverable = 0
        self.left: set[int] = set()
        self.last = -1

    def add(self, packet: bytes) -> None:
        number = len(self.packets)
        self.packets.append(packet)
        if self.random.random() < self.drop:
            self.dropped += 1
            return
        copies = 1 + (self.random.random() < self.repeat)
        self.repeated += copies - 1
        for _ in range(copies):
            heapq.heappush(self.held, (number + self.random.uniform(0, self.window), number))

    def leaving(self, all_of_them: bool) -> list[bytes]:
        """What leaves now: what is due, or all, if nothing else comes that could overtake it."""
        leaving = []
        while self.held and (all_of_them or self.held[0][0] < len(self.packets)):
            _, number = heapq.heappop(self.held)
            self.reordered += number < self.last and number not in self.left
            self.last = max(self.last, number)
            self.left.add(number)
            leaving.append(self.packets[number])
        return leaving


class BadLink:
    """Two Unix sockets, `alice` and `bob` in a folder; who was away may come back. `with` runs it in a thread.

    From Alice's packet number `cut` on nothing gets through any more, until `is_cut` is set to False.
    """

    def __init__(
        self, folder: str, seed: int, cut: int, drop: float = 0.1, repeat: float = 0.1, window: int = 16
    ) -> None:
        self.directions = {name: Direction(f"{seed} {name}", drop, repeat, window) for name in ("alice", "bob")}
        self.is_cut = False
        self._cut = cut
        self._ends: dict[str, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._listeners = []
        for name in self.directions:
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            listener.bind(os.path.join(folder, name))
            listener.listen()
            self._listeners.append(listener)
            self._selector.register(listener, selectors.EVENT_READ, (self._accept, name))
        self._stopping = False
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> BadLink:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Closes both ends."""
        self._stopping = True
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping:
            ready = self._selector.select(0.003)
            for key, _ in ready:
                function, name = key.data
                function(key.fileobj, name)
            for name, direction in self.directions.items():
                for packet in direction.leaving(all_of_them=not ready):
                    self._deliver("bob" if name == "alice" else "alice", packet)
        self._selector.close()
        for end in (*self._listeners, *self._ends.values()):
            end.close()

    def _accept(self, listener: socket.socket, name: str) -> None:
        self._ends[name] = end = listener.accept()[0]
        end.setblocking(False)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)  # what is under way at once
        self._selector.register(end, selectors.EVENT_READ, (self._receive, name))

    def _receive(self, end: socket.socket, name: str) -> None:
        try:
            packet = end.recv(1 << 20)
        except ConnectionError:
            packet = b""
        if packet:
            self.directions[name].add(packet)
            self.is_cut |= name == "alice" and len(self.directions[name].packets) == self._cut
        else:
            self._selector.unregister(end)
            end.close()

    def _deliver(self, name: str, packet: bytes) -> None:
        """A packet to one who is away, or has no room, is lost too."""
        try:
            if self.is_cut:
                raise ConnectionError
            self._ends[name].send(packet)
        except (KeyError, OSError):
            self.directions["alice" if name == "bob" else "bob"].undeliverable += 1
