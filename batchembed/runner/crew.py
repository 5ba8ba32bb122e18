"""Puts together what a run is made of."""

from __future__ import annotations

from dataclasses import dataclass

from batchembed.core.expectation import Expectation
from batchembed.core.known_urls import KnownUrls
from batchembed.core.model import JobKey, UrlSource
from batchembed.core.quota import Charge
from batchembed.core.reconcile import Listing
from batchembed.core.states import Entry
from batchembed.dataset.payer import Payer
from batchembed.runner.book import Book
from batchembed.runner.carry import Carrier, Service
from batchembed.runner.collect import Collector
from batchembed.runner.desk import StatusDesk
from batchembed.runner.gate import Gate
from batchembed.runner.missing import Search
from batchembed.runner.observe import Observer
from batchembed.runner.presume import Presumer
from batchembed.runner.reconcile import Reconciler
from batchembed.runner.setting import Setting
from batchembed.runner.stopping import unless_stopped
from batchembed.runner.submit import Submitter
from batchembed.runner.tasks_listed import read_listing
from batchembed.runner.writing import Writing
from batchembed.store.ledger import Beginning, Block, Ledger

#: Looks asked for within such a time share their requests; of the first wait between looks.
_GATHER_SHARE = 0.2
_LONGEST_GATHER_S = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """The parts of one run."""

    book: Book
    gate: Gate
    desk: StatusDesk
    submitter: Submitter
    collector: Collector
    reconciler: Reconciler
    carrier: Carrier
    charges: tuple[Charge, ...]  #: of earlier runs
    blocked_until: float | None  #: as the service said to an earlier run; seconds since 1970
    presumer: Presumer


async def assemble(
    setting: Setting, service: Service, book: Book, observer: Observer, write: Writing
) -> Crew:
    """Everything that carries jobs, on an open service and an open ledger."""
    manifest, client, now = setting.manifest, service.client, setting.clock()

    def spent(
        ledger: Ledger,
    ) -> tuple[tuple[Charge, ...], dict[JobKey, Charge], Block | None, Beginning | None]:
        ledger.set_back(now)
        return ledger.charges(), ledger.open_charges(), ledger.block(), ledger.beginning()

    charges, open_charges, block, beginning = await book.do(spent)

    async def remember(until: float | None, why: str) -> None:
        kept = None
        if until is not None:
            kept = Block(until=until, why=why, seconds=until - setting.clock())

        def keep(ledger: Ledger) -> None:
            ledger.set_block(kept)

        await book.do(keep)

    async def wait(seconds: float) -> None:
        await unless_stopped(setting.stop, setting.sleep(seconds))

    gate = Gate(
        quota=manifest.quota,
        budget=manifest.budget,
        tasks=manifest.concurrency.tasks,
        uploads=manifest.concurrency.uploads,
        requests=manifest.concurrency.requests,
        longest_video_sec=setting.profile.longest_video_sec,
        charges=charges,
        blocked_until=None if block is None else block.until,
        blocked_why="" if block is None else block.why,
        clock=setting.clock,
        sleep=setting.sleep,
        stop=setting.stop,
        notice=setting.listener.notice,
        remember=remember,
    )
    observer.heard = gate.heard
    desk = StatusDesk(
        client,
        listing=not service.idempotent,
        gather_s=min(_LONGEST_GATHER_S, _GATHER_SHARE * manifest.polling.first_wait_s),
        sleep=setting.sleep,
        notice=setting.listener.notice,
    )

    def created(entry: Entry) -> None:
        if entry.task_id is not None:
            desk.created(entry.task_id)

    storage = setting.dataset.storage
    payer = Payer(storage, setting.run_id, setting.dataset.turn)
    submitter = Submitter(
        client=client,
        book=book,
        gate=gate,
        idempotent=service.idempotent,
        dataset_id=setting.dataset.dataset_id,
        clock=setting.clock,
        server_now=observer.server_now,
        stop=setting.stop,
        confirm_held=storage.confirm_held if service.idempotent else payer.confirm_held,
        limit=setting.limit,
        created=created,
        charges=open_charges,
    )
    collector = Collector(
        client=client,
        book=book,
        staging=setting.home.staging,
        profile=setting.profile,
        write=write,
    )
    presumer = Presumer(
        book=book,
        videos=manifest.videos,
        since=None if beginning is None else beginning.doubts(setting.clock()),
    )
    sources = [video.source for video in manifest.videos]
    known = KnownUrls(urls=[each.url for each in sources if isinstance(each, UrlSource)])

    async def read() -> Listing:
        return await unless_stopped(setting.stop, read_listing(client, known))

    reconciler = Reconciler(
        read=read,
        book=book,
        dataset_id=setting.dataset.dataset_id,
        settle_s=manifest.settle_s,
        on_unknown=manifest.on_unknown_submission,
        longest_wait_s=manifest.quota.max_inline_wait_s,
        clock=setting.clock,
        server_now=observer.server_now,
        monotonic=setting.monotonic,
        wait=wait,
        holding=gate.holding,
        absent=submitter.withdraw,
        found=created,
        charged=submitter.charge,
        has_twin=presumer.has_twin,
    )
    carrier = Carrier(
        service=service,
        book=book,
        submitter=submitter,
        presumer=presumer,
        reconciler=reconciler,
        desk=desk,
        collector=collector,
        search=Search(
            read=read,
            book=book,
            dataset_id=setting.dataset.dataset_id,
            clock=setting.clock,
            fresh_s=manifest.polling.longest_wait_s,
        ),
        expectation=Expectation(),
        polling=manifest.polling,
        clock=setting.clock,
        stop=setting.stop,
        sleep=setting.sleep,
        longest_wait_s=manifest.quota.max_inline_wait_s,
        retry=setting.retry,
        resubmit_lost=manifest.on_lost == "resubmit",
    )
    return Crew(
        book=book,
        gate=gate,
        desk=desk,
        submitter=submitter,
        collector=collector,
        reconciler=reconciler,
        carrier=carrier,
        charges=charges,
        blocked_until=None if block is None else block.until,
        presumer=presumer,
    )
