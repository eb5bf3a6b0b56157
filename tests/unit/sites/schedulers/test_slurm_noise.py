"""Slurm's words among others': wrappers, plug-ins and start files that print, and forms of output that differ between
versions.
"""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.domain.failures import FailureClass
from packhorse.sites.base import CommandResult, JobState, SiteUnreachable, SubmitRejected
from packhorse.sites.schedulers.slurm import SlurmScheduler
from packhorse.sites.schedulers.slurm_describe import describe, parse_config, parse_node_kinds, parse_queues
from packhorse.sites.schedulers.slurm_states import job_state, parse_state
from packhorse.sites.schedulers.slurm_text import (
    own_words,
    parse_sacct,
    parse_squeue,
    parse_submitted,
    parse_time,
    passes,
)

from .recorded import result, text
from .test_slurm import JOB, Answers

P, R, E, U = JobState.PENDING, JobState.RUNNING, JobState.ENDED, JobState.UNKNOWN
SCHEDULER = SlurmScheduler()

LINES = st.text(max_size=60) | st.sampled_from(
    [
        "-----> Verify valid submit host (login4)...OK",
        "No reservation for this job",
        "sbatch: lua: charged to 'ab123': 2304.00 hours",
        "sbatch: Warning: can't honor --ntasks-per-node set to 1",
        "Welcome to Frost3, job 4711 = none | it is",
        "|||||||",
        "4711|",
        "a|b|c|d|e|f|g|h|",
        "Quotas: 12 of 17",
        "stty: standard input: Inappropriate ioctl for device",
        "12 17",
        "x = y",
        "-1",
        "\x1b[31mRead the news!\x1b[0m",
        "PartitionNames are new; see PartitionName=gpu State=DOWN",
        "  indented=yes State=DOWN",
    ]
)
ROW = re.compile(r"\s*\d+\s*\|([^|]*\|){6}")
LIKE_SETTINGS = re.compile(r"\w+\s*=|PartitionName=|Configuration data", re.MULTILINE)


def apart(lines: list[str]) -> str:
    """Lines that are none of Slurm's rows, ids or sentences, as a text."""
    parts = [part for line in lines for part in re.split(r"[\r\n]+", line)]
    return "".join(
        f"{part}\n" for part in parts if not ROW.match(part) and not re.fullmatch(r"\s*[0-9]+(;\S+)?\s*", part)
    )


NOISE = st.lists(LINES, max_size=5).map(apart)


@given(
    NOISE,
    NOISE,
    st.sampled_from(["squeue-1", "squeue-2", "squeue-3", "documented/squeue-25.05", "documented/squeue-noise"]),
)
def test_noise_changes_nothing_in_the_queue(before: str, after: str, name: str) -> None:
    assert parse_squeue(before + text(f"{name}.txt") + after) == parse_squeue(text(f"{name}.txt"))


@given(NOISE, NOISE, st.sampled_from(["sacct-1", "sacct-2", "documented/sacct-25.05", "documented/sacct-noise"]))
def test_noise_changes_nothing_in_accounting(before: str, after: str, name: str) -> None:
    assert parse_sacct(before + text(f"{name}.txt") + after) == parse_sacct(text(f"{name}.txt"))


@given(
    NOISE,
    NOISE,
    st.sampled_from(["7201", "7201;ice", "Submitted batch job 7201", "Submitted batch job 7201 on cluster ice"]),
    NOISE,
)
def test_noise_changes_nothing_in_a_submission(before: str, after: str, said: str, stderr: str) -> None:
    assert parse_submitted(f"{before}{said}\n{after}", stderr) == "7201"


@given(NOISE, NOISE, NOISE)
def test_noise_changes_nothing_in_the_description(before: str, after: str, within: str) -> None:
    nodes, partitions, config = (
        text(f"documented/{name}-25.05.txt") for name in ("sinfo", "scontrol-partition", "scontrol-config")
    )
    assert parse_node_kinds(before + nodes + after) == parse_node_kinds(nodes)
    plain = "".join(f"{line}\n" for line in within.split("\n") if not LIKE_SETTINGS.search(line.strip()))
    lines = partitions.splitlines(keepends=True)
    assert parse_queues(before + lines[0] + plain + "".join(lines[1:]), {}) == parse_queues(partitions, {})
    assert (
        parse_config(before.replace("Configuration data", "") + config + after).items() >= parse_config(config).items()
    )


@pytest.mark.parametrize(
    ("stdout", "stderr", "code", "job_id"),
    [
        ("", "Submitted batch job 17\n", 0, "17"),  # a wrapper that says it elsewhere
        ("sbatch: Submitted batch job 17\n", "", 0, "17"),
        ("17;ice\n128\n", "", 0, "17"),
        ("128\nSubmitted batch job 17\n", "", 0, "17"),
        ("17\n", "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying\n", 0, "17"),
        ("17\n", "sbatch: Warning: can't honor --ntasks-per-node set to 1\nsbatch: lua: job 9 is charged\n", 0, "17"),
        ("Submitted batch job 17\n", "", 3, "17"),  # as with --wait
        ("17\n17\n", "", 0, "17"),
        ("Submitted batch job 17 to the queue 'normal', 3 nodes\n", "", 0, "17"),
        ("[11:02:03] INFO Submitted batch job 17.\n", "", 0, "17"),
        ("Before that: Submitted batch job 16\n17\n", "", 0, "17"),
    ],
)
def test_a_submission_that_went_well(stdout: str, stderr: str, code: int, job_id: str) -> None:
    assert SCHEDULER.submit(Answers(sbatch=CommandResult(code, stdout, stderr)).transport, JOB) == job_id


@pytest.mark.parametrize(
    ("sbatch", "words"),
    [
        (
            CommandResult(1, result("documented/sbatch-wrapped-refused").stderr, ""),
            "project AB-123456 has run out of hours",
        ),
        (CommandResult(1, "128\n", ""), "128"),
        (CommandResult(1, "7;ice\n", "Last time: Submitted batch job 16\n"), "Last time: Submitted batch job 16"),
        (CommandResult(9, "", ""), "exit code 9 and said nothing"),
        (
            CommandResult(
                1,
                "",
                "sbatch: error: Try again with -A\nsbatch: error: Batch job submission failed: Unspecified error\n",
            ),
            "Try again with -A; Batch job submission failed: Unspecified error",
        ),
        (
            CommandResult(
                1, "", "Too many jobs? Try munge.ice!\nsbatch: error: Batch job submission failed: Invalid qos\n"
            ),
            "qos",
        ),
        (
            CommandResult(1, "", "Try again on munge.ice!\nsbatch: error: cli_filter plugin terminated with error\n"),
            "cli_filter",
        ),
        # a wrapper that loses the exit code
        (
            CommandResult(0, "", "sbatch: error: Batch job submission failed: Invalid qos specification\n"),
            "Invalid qos specification",
        ),
    ],
)
def test_a_refusal_among_other_words(sbatch: CommandResult, words: str) -> None:
    with pytest.raises(SubmitRejected, match=re.escape(words)) as refused:
        SCHEDULER.submit(Answers(sbatch=sbatch).transport, JOB)
    assert not refused.value.may_pass


@pytest.mark.parametrize(
    ("stdout", "words"),
    [
        (text("documented/sbatch-several-numbers.txt"), "128; 7201"),
        ("Submitted batch job 17\nSubmitted batch job 18\n", "Submitted batch job 17; Submitted batch job 18"),
        ("17a\n", "17a"),
        ("Submitted batch job 17a\n", "Submitted batch job 17a"),
        ("0\n", "0"),
        ("", "nothing at all"),
    ],
)
def test_what_does_not_tell_one_job_is_looked_up(stdout: str, words: str) -> None:
    with pytest.raises(SiteUnreachable, match=re.escape(f"no job id, or several: {words}")):
        SCHEDULER.submit(Answers(sbatch=CommandResult(0, stdout, "")).transport, JOB)


def test_the_queue_among_other_lines() -> None:
    rows = {row.job_id: row for row in parse_squeue(text("documented/squeue-noise.txt"))}
    assert {job_id: row.state for job_id, row in rows.items()} == {
        "7301": R,
        "7302": E,
        "7303": R,
        "7304": P,
        "7305": P,
        "7306": E,
        "7307": E,
        "7308": E,
        "7309": U,
        "7312": R,
        "7313": R,
    }
    assert rows["7301"].nodes == "nid[001000-001003,001010]"
    assert (rows["7312"].started_at, rows["7312"].reason) == (1750000000.0, "")
    assert rows["7313"].started_at is None  # of which time zone?


def test_accounting_among_other_lines() -> None:
    rows = {row.job_id: row for row in parse_sacct(text("documented/sacct-noise.txt"))}
    assert {job_id: (row.states, row.state) for job_id, row in rows.items()} == {
        "7401": (("OUT_OF_MEMORY",), E),
        "7402": (("CANCELLED",), E),
        "7403": (("CANCELLED",), E),
        "7404": (("COMPLET+",), U),
        "7405": (("NODE_FAIL",), E),
        "7406": (("RUNNING",), R),
        "7409": (("DEADLINE",), E),
    }
    (status,) = SCHEDULER.poll(
        Answers(squeue=CommandResult(0, "", ""), sacct=result("documented/sacct-noise")).transport, ["7401"]
    ).values()
    assert (status.state, status.failure) == (E, FailureClass.OUT_OF_MEMORY)


@pytest.mark.parametrize(
    ("said", "states"),
    [
        ("CANCELLED by 1000", ("CANCELLED",)),
        ("cancelled by me", ("CANCELLED",)),
        ("CANCELLED+", ("CANCELLED",)),
        ("OUT_OF_ME+", ("OUT_OF_MEMORY",)),
        ("NODE_FAI+", ("NODE_FAIL",)),
        ("COMPLETIN+", ("COMPLETING",)),
        ("COMPLET+", ("COMPLET+",)),
        ("CANCELLED+COMPLETING", ("CANCELLED", "COMPLETING")),
        ("CANCELLED,COMPLETI+", ("CANCELLED", "COMPLETING")),
        ("REQUEUE+", ("REQUEUE+",)),
        ("+", ("+",)),
        ("", ()),
        ("?", ("?",)),
    ],
)
def test_states_that_were_cut(said: str, states: tuple[str, ...]) -> None:
    assert parse_state(said) == states
    if any(state.endswith("+") for state in states):
        assert job_state(states) is U


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("2025-06-15T15:06:40Z", 1750000000.0),
        ("2025-06-15T17:06:40+0200", 1750000000.0),
        ("2025-06-15T17:06:40+02:00", 1750000000.0),
        ("2025-06-15T17:06:40", None),
        ("2025-13-15T17:06:40Z", None),
        ("99:99:99", None),
        ("NONE", None),
    ],
)
def test_dates_count_when_they_tell_their_zone(said: str, seconds: float | None) -> None:
    assert parse_time(said) == seconds


@pytest.mark.parametrize(
    "said",
    [
        CommandResult(0, "", "slurm_load_jobs error: Socket timed out on send/recv operation\n"),
        CommandResult(0, "slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n", ""),
        CommandResult(0, "", "squeue: error: Invalid user: me\n"),
        CommandResult(1, "squeue is closed for users\n", ""),
        CommandResult(1, "", "squeue: unrecognized option '--me'\n"),
    ],
)
def test_errors_alone_are_no_empty_queue(said: CommandResult) -> None:
    words = own_words(said.stderr or said.stdout)
    for ask in (
        lambda: SCHEDULER.poll(Answers(squeue=said).transport, ["5"]),
        lambda: SCHEDULER.find(Answers(squeue=said).transport, JOB),
    ):
        with pytest.raises(SiteUnreachable, match=re.escape(words)):
            ask()


def test_an_empty_queue_may_have_a_heading_and_a_greeting() -> None:
    heading = "JOBID|STATE|EXIT_CODE|START_TIME|END_TIME|NODELIST|REASON|NAME|\nNo jobs. Known error: GPUs sleep\n"
    answers = Answers(squeue=CommandResult(0, heading, "Welcome!\n"), sacct=result("documented/sacct-noise"))
    assert SCHEDULER.find(answers.transport, JOB) is None
    assert SCHEDULER.poll(answers.transport, ["7402"])["7402"].native_state == "CANCELLED by 1000"


def test_errors_alone_are_no_answer_of_accounting() -> None:
    said = CommandResult(0, "", "sacct: error: Problem talking to the database: Connection refused\n")
    answers = Answers(squeue=CommandResult(0, "", ""), sacct=said)
    status = SCHEDULER.poll(answers.transport, ["5"])["5"]
    assert (status.state, "accounting did not answer: Problem talking" in status.reason) == (U, True)
    with pytest.raises(SiteUnreachable, match="Problem talking to the database"):
        SCHEDULER.find(answers.transport, JOB)


@pytest.mark.parametrize(
    "complaint",
    [
        "scancel: error: Kill job error on job id 5: Invalid job id specified",
        "scancel: error: Kill job error on job id 5: Job/step already completing or completed",
    ],
)
def test_what_is_gone_is_cancelled(complaint: str) -> None:
    SCHEDULER.cancel(Answers(scancel=CommandResult(1, "", f"Welcome!\n{complaint}\n")).transport, ["5"])


def test_a_verdict_counts_more_than_a_sites_words() -> None:
    assert not passes("Please try again later; Batch job submission failed: Invalid qos specification")
    assert passes("Use another account; Batch job submission failed: Socket timed out on send/recv operation")


def test_a_description_of_a_new_version() -> None:
    cluster = describe(
        *(text(f"documented/{name}-25.05.txt") for name in ("scontrol-partition", "sinfo", "scontrol-config"))
    )
    assert (cluster.name, cluster.version, cluster.has_accounting, cluster.remembers_s) == (
        "Slurm cluster ice",
        "25.05.1",
        True,
        3600.0,
    )
    standard, gpu, empty = cluster.queues
    assert [(kind.count, kind.usable, kind.cores, kind.gpus, kind.features) for kind in standard.kinds] == [
        (2048 + 12 + 6 + 1 + 2 + 3, 2048 + 12 + 6, 256, 0, ("amd", "milan")),
    ]  # fmt: skip
    assert [(kind.count, kind.cores, kind.gpus) for kind in gpu.kinds] == [(6, 128, 4), (1, 128, 5), (1, 128, 1)]
    assert (standard.max_walltime_s, standard.max_nodes, standard.whole_nodes, standard.is_default) == (
        86400.0,
        512,
        True,
        False,
    )
    assert (gpu.max_walltime_s, gpu.default_walltime_s, gpu.max_nodes, gpu.is_default, gpu.preemptible) == (
        None,
        None,
        None,
        True,
        True,
    )
    assert (empty.is_up, empty.kinds, empty.max_walltime_s) == (False, (), None)


def test_a_real_cluster_without_the_options_that_we_give() -> None:
    """As behind a wrapper that loses them: a sentence, headings, steps, dates, a partition on several lines."""
    assert parse_submitted(text("sbatch-sentence.txt")) == "1"
    for rows in (parse_squeue(text("squeue-heading.txt")), parse_sacct(text("sacct-heading.txt"))):
        assert [(row.job_id, row.state, row.exit_code, row.started_at) for row in rows] == [("1", E, 0, None)]
    assert parse_node_kinds(text("sinfo-heading.txt")) == parse_node_kinds(text("sinfo.txt"))
    assert parse_queues(text("scontrol-partition-lines.txt"), {}) == parse_queues(text("scontrol-partition.txt"), {})


@pytest.mark.parametrize(
    ("memory", "mb"), [("515000", 540016), ("515000+", 540016), ("503G", 540092), ("1.5T", 1649267), ("2048M", 2147)]
)
def test_memory_in_any_unit(memory: str, mb: int) -> None:
    (kind,) = parse_node_kinds(f"a|idle|1|2|{memory}|(null)|(null)\n")["a"]
    assert kind.memory_mb == mb


@pytest.mark.parametrize(
    "row", ["a|idle|1|2", "a|idle|x|2|3|(null)|(null)", "a|idle|1|2|N/A|(null)|(null)", "a|See the web|1|2|3|x|y"]
)
def test_what_is_no_row_of_nodes_is_none(row: str) -> None:
    assert parse_node_kinds(f"{row}\n") == {}


def test_lines_may_end_as_on_a_terminal() -> None:
    for name, parse in [("squeue-1", parse_squeue), ("sacct-2", parse_sacct)]:
        assert parse(text(f"{name}.txt").replace("\n", "\r\n")) == parse(text(f"{name}.txt"))
    nodes, partitions, config = (text(f"{name}.txt") for name in ("sinfo", "scontrol-partition", "scontrol-config"))
    ended = (printed.replace("\n", "\r\n") for printed in (partitions, nodes, config))
    assert describe(*ended) == describe(partitions, nodes, config)


def test_bytes_that_are_no_text_are_shown_as_such() -> None:
    (row,) = parse_squeue("5|PENDING|0|N/A|N/A||caf\udce9|a-01|\n")
    assert row.reason == "caf\ufffd"


@pytest.mark.parametrize(
    ("partitions", "nodes", "words"),
    [("scontrol is closed for users\n", "a|idle|1|2|3|(null)|(null)\n", "scontrol is closed for users"),
     ("PartitionName=a State=UP\n", "sinfo: no\n", "sinfo: no")],
)  # fmt: skip
def test_a_description_that_is_none_is_refused_with_what_was_printed(partitions: str, nodes: str, words: str) -> None:
    answers = Answers(scontrol=CommandResult(0, partitions, ""), sinfo=CommandResult(0, nodes, ""))
    with pytest.raises(
        SiteUnreachable, match=re.escape(f"Slurm tells of no partitions with nodes: {words.removeprefix('sinfo: ')}")
    ):
        SCHEDULER.describe(answers.transport)
