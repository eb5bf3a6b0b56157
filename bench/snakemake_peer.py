"""The RNA-seq pipeline as a workflow of Snakemake: the same programs with the same arguments, a rule for each step."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.harness import timed

SNAKEMAKE = str(Path(sys.executable).parents[1] / "snakemake" / "bin" / "snakemake")
"""In an environment of its own: it wants an older ``packaging`` than we have."""

_RULES = """
import csv

SAMPLES = {row["sample"]: row for row in csv.DictReader(open(config["table"]))}

rule all:
    input: "report/report.html"

rule index:
    input: genome=config["genome"], annotation=config["annotation"]
    output: directory("index/index")
    resources: mem_mb=2000, runtime=60
    shell:
        "cd index && python3 {config[app]}/index/index.py --genome {input.genome} --annotation {input.annotation}"
        " --threads 1 > report.json"

rule align:
    input:
        reads1=lambda found: SAMPLES[found.sample]["reads1"],
        reads2=lambda found: SAMPLES[found.sample]["reads2"],
        index="index/index",
    output: "align/{sample}/{sample}.bam"
    resources: mem_mb=2000, runtime=120
    shell:
        "index=$PWD/{input.index} && cd align/{wildcards.sample} && python3 {config[app]}/align/align.py"
        " --sample {wildcards.sample} --reads1 {input.reads1} --reads2 {input.reads2} --index $index --threads 1"
        " > report.json"

rule assemble:
    input: bam="align/{sample}/{sample}.bam", annotation=config["annotation"]
    output: "assemble/{sample}/transcripts.gtf"
    resources: mem_mb=1000, runtime=60
    shell: "stringtie {input.bam} -G {input.annotation} -l {wildcards.sample} -p 1 -o {output}"

rule merge:
    input: expand("assemble/{sample}/transcripts.gtf", sample=SAMPLES), annotation=config["annotation"]
    output: transcripts="merge/transcripts.gtf", genes="merge/genes.tsv"
    resources: mem_mb=2000, runtime=60
    shell:
        "cd merge && python3 {config[app]}/merge/merge.py --results {config[lists]}/assembled.jsonl"
        " --annotation {input.annotation} --threads 1 > report.json"

rule quantify:
    input: bam="align/{sample}/{sample}.bam", transcripts="merge/transcripts.gtf"
    output: "quantify/{sample}/levels/t_data.ctab"
    resources: mem_mb=1000, runtime=60
    shell:
        "stringtie {input.bam} -e -B -G {input.transcripts} -p 1 -o quantify/{wildcards.sample}/levels/levels.gtf"

rule matrix:
    input: expand("quantify/{sample}/levels/t_data.ctab", sample=SAMPLES), genes="merge/genes.tsv"
    output: matrix="matrix/genes_tpm.tsv", samples="matrix/samples.tsv"
    resources: mem_mb=1000, runtime=60
    shell:
        "genes=$PWD/{input.genes} && cd matrix && python3 {config[app]}/matrix/matrix.py"
        " --results {config[lists]}/quantified.jsonl --genes $genes --read-bp 100 > report.json"

rule report:
    input: matrix="matrix/genes_tpm.tsv", samples="matrix/samples.tsv"
    output: "report/report.html"
    resources: mem_mb=1000, runtime=60
    shell:
        "cd report && python3 {config[app]}/report/report.py --matrix ../{input.matrix} --samples ../{input.samples}"
        " --genes 50 > report.json"
"""


class Workflow:
    """The workflow over a table of samples; each run begins with nothing."""

    def __init__(self, folder: Path, app: Path, rows: Sequence[Mapping[str, str]], common: Mapping[str, str]) -> None:
        self._folder = folder
        self._work = folder / "work"
        self.matrix = b""
        """The last run's."""
        (folder / "Snakefile").write_text(_RULES, encoding="utf-8")
        table = Path(rows[0]["reads1"]).parent / "table.csv"
        paths = {**common, "app": app, "table": table, "lists": folder}
        self._config = [f"{name}={path}" for name, path in paths.items()]
        # what steps that gather are given; here their files are known before, so it costs Snakemake nothing
        self._write_list("assembled", rows, "transcripts", "assemble/{sample}/transcripts.gtf")
        self._write_list("quantified", rows, "levels", "quantify/{sample}/levels/t_data.ctab")

        # its job steps drop SLURM_CONF, which other clusters do not need
        srun = folder / "bin" / "srun"
        srun.parent.mkdir()
        srun.write_text(f'#!/bin/sh\nSLURM_CONF={os.environ["SLURM_CONF"]} exec {shutil.which("srun")} "$@"\n')
        srun.chmod(0o755)

    def start_s(self) -> float:
        """Seconds until Snakemake knows what there is to do: a start that is not counted, as it is not for us."""
        return self._run("--cores", "1", "--dry-run")

    def local(self, cores: int) -> float:
        """Seconds with its local executor."""
        took_s = self._run("--cores", str(cores))
        self.matrix = (self._work / "matrix" / "genes_tpm.tsv").read_bytes()
        return took_s

    def slurm(self, jobs: int) -> float:
        """Seconds with its plug-in for Slurm: so many jobs at a time, a core each. It is asked to look after them as
        often as it can.
        """
        often = ["--seconds-between-status-checks", "1", "--slurm-init-seconds-before-status-checks", "1"]
        return self._run("--executor", "slurm", "--slurm-no-account", "--jobs", str(jobs), *often)

    def _run(self, *options: str) -> float:
        shutil.rmtree(self._work, ignore_errors=True)
        self._work.mkdir()
        command = [SNAKEMAKE, "--snakefile", str(self._folder / "Snakefile"), "--directory", str(self._work), *options]
        command += ["--config", *self._config]
        path = f"{self._folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "XDG_CACHE_HOME": str(self._folder / "cache")}

        def run() -> None:
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise RuntimeError(f"Snakemake failed: {done.stderr[-3000:]}")

        return timed(run)

    def _write_list(self, name: str, rows: Sequence[Mapping[str, str]], output: str, path: str) -> None:
        with (self._folder / f"{name}.jsonl").open("w", encoding="utf-8") as file:
            for index, row in enumerate(rows):
                outputs = {output: f"{self._work}/{path.format(sample=row['sample'])}"}
                file.write(json.dumps({"index": index, "state": "COMPLETE", "params": row, "outputs": outputs}) + "\n")
