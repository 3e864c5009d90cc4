"""The BIDS App: `voxelome BIDS_DIR OUT_DIR {participant,group}`."""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich.table import Table
from rich.text import Text

import voxelome
from voxelome.app.aftermath import write_group_report, write_reports
from voxelome.app.arguments import check_folders, parse
from voxelome.app.citations import changed_settings, records_of_run, write_citations
from voxelome.app.crate import write_crate
from voxelome.app.deployment import (
    LOCAL,
    cluster_resources,
    executor,
    find_profile,
    memory_limit,
    retries,
    uses_images,
)
from voxelome.app.events import GROUP_RULES, Job, RunState
from voxelome.app.failures import (
    Failure,
    check_room,
    drop_incomplete_records,
    job_failure,
    problem_failures,
    reason_of,
    rejected_files,
    settle,
    void_results,
    write_failures,
)
from voxelome.app.lock import Hold, hold, sweep, unlock_command
from voxelome.app.orphans import find_orphans, remove_orphans
from voxelome.app.progress import Display, duration, open_console
from voxelome.app.reuse import take_over
from voxelome.app.snakemake import RunSettings, run, snakemake_command, tail
from voxelome.app.standing import (
    Standing,
    alike,
    completed,
    find_standing,
    mirrored,
    settings_digest,
    stamp_finished,
    subject_of,
)
from voxelome.app.study import Study, ct_records, open_study, use_home
from voxelome.app.validate import validate
from voxelome.bids.description import dataset_name, write_description
from voxelome.bids.mounts import mounts
from voxelome.bids.plan import Unit
from voxelome.bids.spread import available_cores
from voxelome.errors import ExitCode, InputError, exit_code
from voxelome.imageio import save_text
from voxelome.images import check_images, image_names, needed_images

INTERRUPTED = 130
NOTHING = "Nothing to do: every result is up to date."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options, extra = parse(given)
    # A container that is stopped or a queue that runs out of time sends SIGTERM: end the steps as well.
    signal.signal(signal.SIGTERM, _interrupt)

    def action() -> int:
        check_folders(options)
        # What submits no job leaves none in a queue.
        submits = not (options.dry_run or options.reports_only or options.unlock)
        jobs_to = executor(find_profile(options.profile), extra) if submits else LOCAL
        with hold(options.work_dir, given, unlock=options.unlock, executor=jobs_to) as lock:
            use_home(options.work_dir)
            return _Run(options, extra, given, lock).go()

    try:
        return exit_code("voxelome", action)
    except KeyboardInterrupt:
        sys.stderr.write("voxelome: interrupted; the same command goes on from here\n")
        return INTERRUPTED


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


class _Run:
    """One call of the command line."""

    def __init__(self, options: argparse.Namespace, extra: list[str], given: list[str], lock: Hold) -> None:
        self.options, self.extra, self.given, self.lock = options, extra, given, lock
        self.console = open_console()
        if lock.killed:
            self.say(f"the run {lock.killed} was killed: going on from what it had done")
            for folder in {options.out_dir, options.work_dir}:
                sweep(folder)
        self.profile = find_profile(options.profile)
        self.queue = cluster_resources(options.account, options.partition, self.profile)
        self.study: Study = open_study(options)
        self.cores = options.nprocs or available_cores()
        self.folder = options.out_dir / "logs" / time.strftime("%Y%m%d-%H%M%S")
        self.failures: list[Failure] = []
        # Asked now: at the end of a run the models might be gone.
        self.of_ct = ct_records(self.study.config)
        if options.reuse and options.level == "participant" and not options.unlock:
            taken = take_over(self.study, options.reuse)
            self.say(f"{taken} step(s) found in {options.reuse}; those run again that would differ")
        self.made_with = settings_digest(self.study)
        self.standing: Standing = find_standing(self.study, self.made_with)
        # Subjects of which every step that was planned is done.
        self.completed: list[str] = []

    def say(self, text: str) -> None:
        """Print one plain line."""
        self.console.print(text, markup=False, soft_wrap=True)

    def go(self) -> int:
        """Do what the options ask for; return the exit code."""
        study, options = self.study, self.options
        self._introduce()
        if options.unlock:
            return self._unlock()
        for name in drop_incomplete_records(study.work_dir, self.standing.finished):
            self.say(f"{name}: some of its files are gone, it runs again")
        if options.dry_run:
            return self._dry_run()
        self.folder.mkdir(parents=True, exist_ok=True)
        save_text(self.folder / "command.txt", f"voxelome {shlex.join(self.given)}\n")
        save_text(self.folder / "config.yaml", study.configfile.read_text(encoding="utf-8"))
        if not options.skip_bids_validation and (study.update.changed or study.update.added):
            for line in validate(study.bids_dir, self.folder):
                self.say(line)
        if options.level == "participant":
            chosen = {label: study.inventories.problems(label) for label in study.subjects}
            self.failures += problem_failures(study.plan, chosen)
        try:
            code = self._reports_only() if options.reports_only else self._snakemake()
        finally:
            self._finish()
        return ExitCode.SOME_FAILED if self.failures and code == ExitCode.DONE else code

    def _introduce(self) -> None:
        study, standing = self.study, self.standing
        self.say(f"voxelome {voxelome.__version__}: {study.bids_dir} -> {study.out_dir}")
        counts = f"{len(study.subjects)} subject(s), {standing.visits} visit(s)"
        self.say(f"{counts} with something to work on")
        usable = {*standing.finished, *standing.planned}
        for subject in study.subjects:
            if subject not in usable:
                self.say(f"sub-{subject}: nothing to work on (no usable anatomical or gradient-echo image)")
        for name, why in study.config["left_out"].items():
            words = why if isinstance(why, str) else f"{why['step']} failed: {why['reason']}"
            self.say(f"left out: {name}, {words}")
        self._orphans()
        if uses_images(self.profile, self.extra):
            self._check_images()

    def _orphans(self) -> None:
        study, options = self.study, self.options
        folders = study.bids_dir, study.out_dir, study.work_dir
        found = find_orphans(*folders, study.inventories)
        if options.remove_orphans and not options.dry_run and not options.unlock:
            for line in remove_orphans(found, *folders):
                self.say(line)
            return
        how = "would be removed" if options.remove_orphans else "are still there (--remove-orphans)"
        for orphan in found:
            self.say(f"{orphan}; its results {how}: {orphan.folder}")

    def _check_images(self) -> None:
        """Refuse images of other code before anything runs; say what the steps will see in them."""
        study = self.study
        images = image_names(Path(study.config["images_dir"]))
        group = self.options.level == "group"
        # The group's rules alone where the visits' records are up to date.
        check_images(images, needed_images(study.config, visits=not self._allowed(), group=group))
        self.say(f"steps run in images, such as {images['register']}")
        self.say(f"bound in them: {', '.join(map(str, mounts(study.config, self._units())))}")

    def _settings(self, name: str, dry_run: bool = False, own: Path | None = None) -> RunSettings:
        options, study = self.options, self.study
        local = executor(self.profile, self.extra) == LOCAL
        return RunSettings(
            configfile=study.configfile,
            own=own,
            allowed=self._allowed(),
            work_dir=study.work_dir,
            events=self.folder / f"{name}.jsonl" if not dry_run else study.work_dir / "dry-run.jsonl",
            log=self.folder / f"{name}.log" if not dry_run else study.work_dir / "dry-run.log",
            cores=self.cores if local else None,
            mem_mb=memory_limit(options.mem_mb, self.profile, self.extra),
            retries=retries(self.profile),
            images_checked=uses_images(self.profile, self.extra),
            profile=self.profile,
            keep_going=not options.stop_on_first_crash,
            lock=self.lock.descriptor,
            dry_run=dry_run,
            extra=(*self.queue, *self.extra),
        )

    @property
    def whole(self) -> bool:
        """Whether Snakemake plans everybody: its own options may force a step, or stop before the last."""
        return bool(self.extra)

    @property
    def everybody(self) -> bool:
        """Whether Snakemake is given all subjects, and not those alone that are not known to be finished."""
        return self.whole or self.options.level == "group"

    def _allowed(self) -> tuple[str, ...]:
        """Rules of the group alone where the records of all visits are up to date."""
        group = self.options.level == "group" and not self.whole
        return GROUP_RULES if group and not self.standing.planned else ()

    def _plan_only(self, subjects: list[str], path: Path) -> Path | None:
        """Write the settings that have Snakemake plan these subjects; None where it is to plan all."""
        if self.everybody:
            return None
        return save_text(path, json.dumps({"planned": subjects}))

    def _units(self) -> Mapping[str, Unit]:
        """Visits that Snakemake plans."""
        study = self.study
        if self.everybody:
            return study.plan
        return {unit.name: unit for label in self.standing.planned for unit in study.visits(label)}

    def _nothing_to_plan(self) -> bool:
        return not self.everybody and not self.standing.planned

    def _snakemake(self) -> int:
        if self._nothing_to_plan():
            self.say(NOTHING)
            return ExitCode.DONE
        own = self._plan_only(self.standing.planned, self.folder / "planned.json")
        settings = self._settings("snakemake", own=own)
        self.say(f"$ {shlex.join(snakemake_command(settings, [self.options.level]))}")
        begun = time.monotonic()
        with Display(self.console, self.cores, settings.retries) as display:
            state = display.state

            def changed(job: Job) -> None:
                why, work = "", self.study.work_dir
                if job.state == "failed" and job.attempt <= settings.retries:
                    why = reason_of(job.said, work)  # as the log was then: the next attempt begins it anew
                elif job.state == "failed":
                    why = job_failure(job, work).reason
                display.changed(job, why)

            try:
                returned = run(settings, [self.options.level], state, changed, display.refresh)
            finally:
                # Only now: one that failed at first may have been done when it was tried again.
                settle(state.of("failed"), self.study.work_dir)
                self.failures += [job_failure(job, self.study.work_dir) for job in state.of("failed")]
        if self.options.verbose:
            self.say(settings.log.read_text(encoding="utf-8"))
        if returned and not state.of("failed"):
            return self._explain_refusal(settings.log)
        planned = self.standing.planned
        self.completed = completed(state, planned) if returned else planned
        if not state.total and not returned:
            self.say(NOTHING)
        else:
            took = duration(time.monotonic() - begun)
            self.say(f"{len(state.of('done'))} of {state.total} step(s) done in {took}")
        return ExitCode.DONE

    def _explain_refusal(self, log: Path) -> int:
        """Say why Snakemake ended without having run anything."""
        text = log.read_text(encoding="utf-8", errors="replace")
        if "LockException" in text or "cannot be locked" in text:
            problem = "is in use by a Snakemake, or was by one that was killed"
            remedy = f"wait for its end; if there is none, unlock: {unlock_command(self.given)}"
            raise InputError(self.study.work_dir, problem, remedy)
        for folder in (self.study.work_dir, self.study.out_dir):
            check_room(folder)
        self.say(tail(log))
        self.say(f"Snakemake ended with an error before any step failed; all of it is in {log}")
        return ExitCode.DEFECT

    def _unlock(self) -> int:
        settings = self._settings("unlock")
        self.folder.mkdir(parents=True, exist_ok=True)
        run(
            replace(settings, extra=("--unlock",)),
            [],
            RunState(),
            lambda _: None,
            lambda: None,
        )
        self.say("unlocked; run again without --unlock")
        return ExitCode.DONE

    def _dry_run(self) -> int:
        if self._nothing_to_plan():
            self.say(NOTHING)
            return ExitCode.DONE
        # Subjects with the same images and the same past get the same steps: Snakemake plans one of them.
        same = {} if self.everybody else alike(self.study, self.standing)
        own = self._plan_only(list(same), self.study.work_dir / "dry-run.json")
        settings = self._settings("dry-run", dry_run=True, own=own)
        settings.events.unlink(missing_ok=True)
        settings.log.unlink(missing_ok=True)
        jobs: list[Job] = []
        state = RunState()
        returned = run(settings, [self.options.level], state, jobs.append, lambda: None)
        if returned:
            return self._explain_refusal(settings.log)
        if not self.everybody:
            busy = {subject_of(job) for job in jobs}
            up_to_date = [label for label in same if label not in busy]
            stamp_finished(self.study, self.made_with, up_to_date, ())
        jobs += mirrored(self.study, jobs, same)
        why = self.options.verbose
        lines = [f"would run {job.title}" + (f": {_why(job.reason)}" if why else "") for job in jobs]
        if lines:
            self.say("\n".join(lines))
        self.say(f"{len(jobs)} step(s) would run" if jobs else NOTHING)
        return ExitCode.DONE

    def _reports_only(self) -> int:
        subjects = [label for label in self.study.subjects if self.study.visits(label)]
        if self.options.level == "participant":
            lines = write_reports(self.study, subjects, self.failures)
        else:
            lines = write_group_report(self.study, self.failures)
        for line in lines:
            self.say(line)
        return ExitCode.SOME_FAILED if lines else ExitCode.DONE

    def _finish(self) -> None:
        """Write what a run leaves even when it failed."""
        study = self.study
        void_results(self.failures, study.work_dir, self.of_ct)
        self._stamp()
        if self.options.level == "participant":
            self.failures += self._rejected()
        write_description(
            study.out_dir, study.bids_dir, {k: Path(v) for k, v in study.config["derivatives"].items()}
        )
        records, left = records_of_run(study, group=self.options.level == "group")
        settings = changed_settings(study.config)
        write_citations(self.folder, dataset_name(study.bids_dir), records, settings, left)
        write_failures(self.folder / "failures.tsv", self.failures)
        steps = [failure for failure in self.failures if not failure.of_a_file]
        if steps and "report" in study.config["stages"]:
            if self.options.level == "participant":
                failed = dict.fromkeys(failure.participant_id.removeprefix("sub-") for failure in steps)
                lines = write_reports(study, list(failed), steps)
            else:
                lines = write_group_report(study, steps)
            for line in lines:
                self.say(line)
        write_crate(study.out_dir, study.bids_dir)
        if self.failures:
            self._show_failures()
        name = "group.html" if self.options.level == "group" else "sub-*.html"
        if "report" in study.config["stages"]:
            self.say(f"reports: {study.out_dir / name}")

    def _stamp(self) -> None:
        """Note which subjects are finished, so that the next run need not plan them."""
        if self.everybody:
            return
        failed = {f.participant_id.removeprefix("sub-") for f in self.failures if not f.of_a_file}
        done = [label for label in self.completed if label not in failed]
        stamp_finished(self.study, self.made_with, done, failed)

    def _rejected(self) -> list[Failure]:
        """Images that could not be used; of finished subjects the stamps tell, so that nothing is read."""
        known = [] if self.everybody else self.standing.rejected
        return [*known, *rejected_files(self._units(), self.study.work_dir)]

    def _show_failures(self) -> None:
        table = Table(title=f"{len(self.failures)} failure(s)", title_style="bold red", title_justify="left")
        for column in ("who", "step", "why"):
            table.add_column(column, overflow="fold")
        for failure in self.failures:
            table.add_row(*(Text(cell) for cell in (failure.unit, failure.step, failure.reason)))
        self.console.print(table)
        self.say(f"with the logs: {self.folder / 'failures.tsv'}")


def _why(reason: str) -> str:
    return " ".join(reason.split())


if __name__ == "__main__":
    sys.exit(main())
