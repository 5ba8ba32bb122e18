"""Everything a run works with, opened by its caller."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TypeAlias

from batchembed.api.observe import Observer
from batchembed.api.retry import Sleep
from batchembed.core.model import Manifest, Profile, VideoId
from batchembed.dataset.publish import Dataset
from batchembed.runner.carry import Service
from batchembed.runner.listen import Listener
from batchembed.runner.locked import LockedBuild
from batchembed.runner.stopping import Stop
from batchembed.store.home import Home

#: Opens the service; every request and every answer is told to the observer.
ServiceOpener: TypeAlias = Callable[[Observer], AbstractAsyncContextManager[Service]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A run's manifest, places, service and world."""

    run_id: str
    manifest: Manifest
    profile: Profile
    dataset: Dataset
    home: Home
    open_service: ServiceOpener
    listener: Listener
    clock: Callable[[], float]  #: seconds since 1970
    stop: Stop  #: set: drain, and end
    sleep: Sleep = asyncio.sleep
    monotonic: Callable[[], float] = time.monotonic
    retry: str | None = None  #: `failed`, or `failed:` and a class
    only: tuple[VideoId, ...] = ()  #: empty: every video
    limit: int | None = None  #: creates
    max_runtime_s: float | None = None
    locked: LockedBuild | None = None  #: publish this build or none
    warnings: tuple[str, ...] = ()
