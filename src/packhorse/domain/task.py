"""A Task as GA4GH TES 1.1 writes it.

Source: https://github.com/ga4gh/task-execution-schemas (v1.1.0). One difference: a path may also be relative, and then
lies in the task's work folder; an absolute path needs a container.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from packhorse.domain.numbers import Number, Truth
from packhorse.domain.states import TaskState


class _Tes(BaseModel):
    model_config = ConfigDict(extra="forbid", defer_build=True)


class FileType(StrEnum):
    """TES tesFileType."""

    FILE = "FILE"
    DIRECTORY = "DIRECTORY"


class Input(_Tes):
    """TES tesInput: a file or folder that the task reads.

    ``url`` may be ``task://NAME/OUTPUT``: the output of another task of the run.
    """

    name: str | None = None
    description: str | None = None
    url: str | None = None
    path: str
    type: FileType = FileType.FILE
    content: str | None = None
    streamable: Truth | None = None

    @model_validator(mode="after")
    def _empty_content_is_none_beside_a_url(self) -> Input:
        """TES 1.1: *if content is not empty, "url" must be ignored*; so else it counts."""
        if self.content == "" and self.url:
            self.content = None
        return self


class Output(_Tes):
    """TES tesOutput: a file or folder that the task leaves."""

    name: str | None = None
    description: str | None = None
    url: str | None = None
    path: str
    path_prefix: str | None = None
    type: FileType = FileType.FILE


class TesResources(_Tes):
    """TES tesResources; HPC fields travel in ``backend_parameters``."""

    cpu_cores: Number | None = Field(default=None, gt=0)
    preemptible: Truth | None = None
    ram_gb: Number | None = Field(default=None, gt=0)
    disk_gb: Number | None = Field(default=None, ge=0)
    zones: list[str] | None = None
    backend_parameters: dict[str, Any] | None = None
    backend_parameters_strict: Truth | None = None


class Executor(_Tes):
    """TES tesExecutor: one command in one image."""

    image: str | None = None
    command: list[str] = Field(min_length=1)
    workdir: str | None = None
    stdin: str | None = None
    stdout: str | None = None
    stderr: str | None = None
    env: dict[str, str] | None = None
    ignore_error: Truth | None = None


class ExecutorLog(_Tes):
    """TES tesExecutorLog."""

    start_time: str | None = None
    end_time: str | None = None
    stdout: str | None = None
    stderr: str | None = None
    exit_code: int


class OutputFileLog(_Tes):
    """TES tesOutputFileLog; sizes are strings there."""

    url: str
    path: str
    size_bytes: str


class TaskLog(_Tes):
    """TES tesTaskLog: one Attempt."""

    logs: list[ExecutorLog]
    metadata: dict[str, str] | None = None
    start_time: str | None = None
    end_time: str | None = None
    outputs: list[OutputFileLog]
    system_logs: list[str] | None = None


class Task(_Tes):
    """TES tesTask."""

    id: str | None = None
    state: TaskState | None = None
    name: str | None = None
    description: str | None = None
    inputs: list[Input] | None = None
    outputs: list[Output] | None = None
    resources: TesResources | None = None
    executors: list[Executor] = Field(min_length=1)
    volumes: list[str] | None = None
    tags: dict[str, str] | None = None
    logs: list[TaskLog] | None = None
    creation_time: str | None = None
