"""``python -m bench [--only NAME]``: runs benchmarks and ends with their figures, one a line."""

from __future__ import annotations

import argparse
import importlib
import time

BENCHMARKS = (
    "cli", "pages", "lists", "latency", "users", "arrivals", "tes", "batch", "ee2", "rows", "openruns", "overhead",
    "agent", "path", "growth", "pipeline", "fba", "slurm", "containers", "assembly", "rnaseq", "similarity",
)  # fmt: skip
#: Only by name: they take too long.
ALONE = ("million",)

#: Printed last, in this order: what the project is held to first of all.
HEADLINES = (
    "open_runs_cpu", "newcomer_s", "runs_per_s", "tes_creates_per_s", "tes_vs_native", "list_p99_ms", "batch_runs_s",
    "ee2_batch_s", "ee2_poll_ms", "log_page_mb",
    "million_rows_mb", "million_rows_wait_ms",
    "users_submit_max_ms", "users_last_vs_first", "users_ratio", "path_vs_agent", "million_rows_per_s", "million_ratio",
    "overhead_ratio", "agent_ratio", "growth_ratio", "worker_speedup", "fba_vs_cobra", "fba_vs_bare_glpk",
    "slurm_vs_sbatch", "slurm_vs_array", "slurm_vs_srun", "scheduler_commands", "slurm_end_to_visible_s",
    "session_ratio", "podman_session_ratio", "container_ratio", "podman_container_ratio", "image_preparations",
    "assembly_speedup", "assembly_busy", "rnaseq_vs_snakemake", "rnaseq_busy", "rerun_fraction", "similarity_speedup",
    "similarity_merge_share", "pipeline_ratio", "cli_ps_ratio", "cli_run_ratio",
)  # fmt: skip


def main() -> None:
    """Runs what was asked for."""
    parser = argparse.ArgumentParser(prog="bench")
    parser.add_argument("--only", choices=(*BENCHMARKS, *ALONE))
    only = parser.parse_args().only
    figures: dict[str, float] = {}
    for name in (only,) if only else BENCHMARKS:
        began = time.monotonic()
        print(f"{name} …", flush=True)
        figures |= importlib.import_module(f"bench.{name}").measure()
        print(f"{name} took {time.monotonic() - began:.0f} s", flush=True)
    for name in [
        *(name for name in figures if name not in HEADLINES),
        *(name for name in HEADLINES if name in figures),
    ]:
        print(f"{name}={figures[name]}")


if __name__ == "__main__":
    main()
