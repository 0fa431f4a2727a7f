"""A function over many items in several processes, in order; a bounded number of items is under way at a time."""

import itertools
import multiprocessing
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from codecsep.errors import CodecsepError

AHEAD = 8  # items per process that are waiting or done and not yet taken
POLL = 1.0  # s, between two looks at whether the parent still lives
Item = TypeVar("Item")
Result = TypeVar("Result")


class PoolError(CodecsepError):
    """A process of a pool that died."""


def spread(function: Callable[[Item], Result], items: Iterable[Item], nj: int, where: str) -> Iterator[Result]:
    """The results of `function` in the order of the items, computed in `nj` processes (in this one when nj is 1).

    The processes are forked, so `function` may be a closure's module function over state that was set before; they end
    when this process dies. Raises what `function` raises, and PoolError (E548) naming `where` when a process dies.
    """
    if nj == 1:
        yield from map(function, items)
        return
    items = iter(items)
    pool = ProcessPoolExecutor(nj, multiprocessing.get_context("fork"), _end_with_parent, (os.getpid(),))
    try:
        waiting = deque(pool.submit(function, item) for item in itertools.islice(items, AHEAD * nj))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(function, item) for item in itertools.islice(items, 1))
            yield result
    except BrokenProcessPool as error:
        fix = "run the same command again (what is finished is kept), with a smaller --nj when memory is short"
        raise PoolError("E548", "a process died; was it killed for want of memory?", where, fix) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _end_with_parent(parent: int) -> None:
    """In a process of the pool: a thread that ends it when the process that started it is gone."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(POLL)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
