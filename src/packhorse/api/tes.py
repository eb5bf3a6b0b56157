"""GA4GH TES 1.1: ``/ga4gh/tes/v1``.

Source: https://github.com/ga4gh/task-execution-schemas (v1.1.0). The documents are those of ``domain.task``; whatever
is more than TES has is marked as an extension.
"""

from __future__ import annotations

from typing import IO, Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from packhorse import __version__
from packhorse.api.bodies import JsonBody, json_body, parse_tes_task, parse_tes_tasks
from packhorse.api.deps import AsUser
from packhorse.api.direct import chosen, service_of
from packhorse.api.errors import ErrorView, StrictJson, error_document
from packhorse.domain.errors import InvalidRequest, NotFound, PackhorseError
from packhorse.domain.ids import parse_task_id
from packhorse.domain.numbers import Whole
from packhorse.domain.states import TaskState
from packhorse.domain.task import Task
from packhorse.domain.tes import ListedState, View
from packhorse.engine.requests.service import UserService
from packhorse.engine.requests.tes import MOST_LISTED
from packhorse.store.listing import Wanted

#: The specification that this follows.
VERSION = "1.1.0"

router = APIRouter(tags=["tes"])


class ServiceType(BaseModel):
    """What of GA4GH this is."""

    group: Literal["org.ga4gh"] = "org.ga4gh"
    artifact: Literal["tes"] = "tes"
    version: str = VERSION


class Organization(BaseModel):
    """Whose service it is."""

    name: str
    url: str


class ServiceInfo(BaseModel):
    """GA4GH service-info 1.0.0, with what TES adds."""

    id: str
    name: str
    type: ServiceType
    organization: Organization
    version: str
    """Of Packhorse."""
    storage: list[str]
    """Where inputs may be read and outputs delivered, as far as the configuration says."""
    tesResources_backend_parameters: list[str]  # noqa: N815  TES has this name


class OldServiceInfo(BaseModel):
    """What TES 1.0 had to say."""

    name: str
    doc: str
    storage: list[str]


class CreatedTask(BaseModel):
    """The id of a new task."""

    id: str


class RefusedTask(BaseModel):
    """Why one task of several was refused."""

    error: ErrorView


class CreatedTasks(BaseModel):
    """An extension: what became of each task, by its position: its ``id``, or why it was refused."""

    tasks: list[CreatedTask | RefusedTask]


class MinimalTask(BaseModel):
    """A task in the view MINIMAL, which has nothing else."""

    id: str
    state: TaskState


class Tasks(BaseModel):
    """A page of tasks; ask again with ``next_page_token`` until there is none."""

    tasks: list[Task | MinimalTask]
    next_page_token: str | None = None


class NewTasks(BaseModel):
    """An extension: several tasks in one request."""

    tasks: list[Task]


class Nothing(BaseModel):
    """There is nothing to say."""


_SEEN = "how much of a task is shown"
Seen = Annotated[View, Query(description=_SEEN)]
#: For the description of an endpoint that reads them itself.
_TASK_ID_PARAMETER = {"name": "task_id", "in": "path", "required": True, "schema": {"type": "string"}}
_VIEW_PARAMETER = {
    "name": "view",
    "in": "query",
    "required": False,
    "description": _SEEN,
    "schema": {"enum": [one.value for one in View], "type": "string", "default": View.MINIMAL.value},
}


@router.get("/service-info", summary="GetServiceInfo")
def service_info(service: AsUser, request: Request) -> ServiceInfo:
    """What this service is, and where your inputs and outputs may be."""
    url = str(request.base_url)
    told: dict[str, Any] = service.tes.about()
    return ServiceInfo(
        id="org.packhorse.tes",
        name="Packhorse",
        type=ServiceType(),
        organization=Organization(name="Packhorse", url=url),
        version=__version__,
        **told,
    )


@router.get("/tasks/service-info", summary="GetServiceInfo of TES 1.0", deprecated=True)
def old_service_info(service: AsUser) -> OldServiceInfo:
    """Older clients, such as Toil's, ask here, and take nothing else."""
    return OldServiceInfo(name="Packhorse", doc=f"GA4GH TES {VERSION}", storage=service.tes.about()["storage"])


@router.get("/tasks", summary="ListTasks", responses={200: {"model": Tasks}})
def list_tasks(
    service: AsUser,
    name_prefix: Annotated[str, Query(description="what a name begins with; its first 100 characters count")] = "",
    state: ListedState | None = None,
    tag_key: Annotated[list[str] | None, Query(description="may be repeated: all must be there")] = None,
    tag_value: Annotated[list[str] | None, Query(description="by position; empty or missing: any value")] = None,
    page_size: Annotated[Whole, Query(ge=1, le=MOST_LISTED)] = 256,
    page_token: str | None = None,
    view: Seen = View.MINIMAL,
) -> StrictJson:
    """Tasks that came over TES: yours; an admin sees everybody's. A page may be shorter than asked for, or empty, and
    still have a next one.
    """
    keys, values = tag_key or [], tag_value or []
    if len(values) > len(keys):
        raise InvalidRequest("There are more values of tags than keys.", hint="Give a 'tag_key' for each 'tag_value'.")
    tags = dict(zip(keys, [*values, *([""] * (len(keys) - len(values)))], strict=True))
    wanted = Wanted(name_prefix, None if state is None else state.value, tags)
    tasks, following = service.tes.page(wanted, view, page_size, page_token)
    return StrictJson({"tasks": tasks, **({"next_page_token": following} if following else {})})


@router.post(
    "/tasks",
    summary="CreateTask",
    response_model=CreatedTask,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Task"}}},
        }
    },
)
async def create_task(request: Request) -> Response:
    """A task is durable when it is answered."""
    service = await service_of(request)
    return await run_in_threadpool(_create_task, service, await json_body(request, service))


def _create_task(service: UserService, body: IO[bytes]) -> Response:
    with body:
        document = parse_tes_task(body)
    return StrictJson({"id": service.tes.create(document)})


@router.post(
    "/tasks:batch",
    summary="Create many tasks (an extension)",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/NewTasks"}}},
        }
    },
)
def create_tasks(service: AsUser, body: JsonBody) -> CreatedTasks:
    """Each is accepted or refused by itself, and answered at its position."""
    with body:
        documents = parse_tes_tasks(body)
    return CreatedTasks(tasks=[_created(answer) for answer in service.tes.create_many(documents)])


def _created(answer: str | PackhorseError) -> CreatedTask | RefusedTask:
    if isinstance(answer, PackhorseError):
        return RefusedTask(error=ErrorView.model_validate(error_document(answer)["error"]))
    return CreatedTask(id=answer)


@router.get(
    "/tasks/{task_id}",
    summary="GetTask",
    responses={200: {"model": Task | MinimalTask}},
    openapi_extra={"parameters": [_TASK_ID_PARAMETER, _VIEW_PARAMETER]},
)
async def get_task(request: Request) -> Response:
    """Also of a task that came another way; what has no TES document of its own is shown as one."""
    service = await service_of(request)
    view = chosen(request, "view", View.MINIMAL)
    return await run_in_threadpool(_get_task, service, request.path_params["task_id"], view)


def _get_task(service: UserService, task_id: str, view: View) -> Response:
    return StrictJson(service.tes.get(_known(task_id), view))


@router.post("/tasks/{task_id}:cancel", summary="CancelTask")
def cancel_task(service: AsUser, task_id: str) -> Nothing:
    """Final; a task that has ended stays as it is."""
    service.cancel_task(_known(task_id))
    return Nothing()


def _known(task_id: str) -> str:
    """A text that can be a task's id; any other is that of a task that is not there."""
    try:
        parse_task_id(task_id)
    except InvalidRequest as error:
        raise NotFound(f"There is no task '{task_id[:60]}'.", hint=error.hint) from None
    return task_id
