"""How a task's command becomes one that runs in a container at its site: the ``container`` of docs/spool.md. Pure.

What only the node knows (the work folder, a name, a cgroup) stands in it as a token, which the agent replaces. Paths
are the same inside and outside, so that a command is rendered once, whoever runs it.

A container of one task sees its work folder, the app's folder and its own inputs. One that serves many tasks, or is of
a runtime that can bind only to folders that the image has, sees all of the site's root and ``binds``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from packhorse.domain.app import Session
from packhorse.domain.images import parse_reference
from packhorse.domain.resources import Launch, Resources
from packhorse.domain.taskpaths import AbsolutePaths
from packhorse.engine.rootpaths import RootPaths
from packhorse.sites.runtimes.base import Ability, Bind, CannotRun, ContainerSpec, Image, ImageConfig
from packhorse.sites.site import Site

_PASSED = ("PACKHORSE_CORES", "PACKHORSE_MEMORY_MB")
_PASSED_FOR_ONE = ("PACKHORSE_TASK", "PACKHORSE_ATTEMPT", *_PASSED)
_COMMAND = "command"


@dataclass(frozen=True, slots=True)
class ReadyImage:
    """An image that is prepared at the site of a run: ``reference`` is its full name, ``config`` its OCI configuration.

    ``gateway_id`` is what the site's image gateway calls it, if one prepared it.
    """

    reference: str
    digest: str
    config: Mapping[str, Any]
    gateway_id: str | None = None


@dataclass(frozen=True, slots=True)
class Tokens:
    """Words that stand for what only a node knows: made from a digest of all the rest, which therefore cannot contain
    them.
    """

    work: str
    name: str
    cgroup: str
    capture: str
    mounted: str
    binds: str

    @classmethod
    def for_content(cls, *content: Any) -> Tokens:
        """Different for each content."""
        salt = hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:12]
        words = {word: f"packhorse-{word}-{salt}" for word in cls.__slots__}
        return cls(**{word: text if word in ("name", "binds") else f"/{text}" for word, text in words.items()})


@dataclass(frozen=True, slots=True)
class Given:
    """What a container is given beside what all are: ``folders`` of its work folder, by where it sees them; ``data`` of
    the site, which it cannot change, likewise; variables whose values come with the task's ``secrets``; and whether it
    may write to what its image has.
    """

    folders: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    writable: bool = False


@dataclass(frozen=True, slots=True)
class Containers:
    """The containers of one run at its site. ``images`` are ready, by the references that the run names."""

    site: Site
    images: Mapping[str, ReadyImage]

    def of(
        self, reference: str, env: Mapping[str, str], resources: Resources, folders: Sequence[str], **how: Any
    ) -> dict[str, Any]:
        """``container`` for the image that is called ``reference``."""
        return container(self.site, self.images[reference], env, resources, folders, **how)


def why_no_container(
    site: Site,
    reference: str,
    resources: Resources,
    *,
    session: Session = Session.NONE,
    network: bool = True,
    env: Mapping[str, str],
    paths: AbsolutePaths | None = None,
) -> str | None:
    """Why tasks cannot run in the image called ``reference`` at a site; None when they can, as far as that is known
    beforehand.
    """
    if not site.runs_images:
        way_out = "set its 'runtime'; with '--image none' the host's programs run"
        return f"it runs in the image '{reference}', and '{site.name}' runs no containers ({way_out})"
    if resources.nodes > 1 and resources.launch is Launch.ONCE:
        itself = (
            f"it spans {resources.nodes} nodes and starts its ranks itself, which it cannot do from inside of the image"
            f" '{reference}'"
        )
        return f"{itself} (with 'launch: ranks' they are started for it)"
    try:
        image, root = (
            ReadyImage("registry.invalid/image", f"sha256:{'0' * 64}", {}),
            RootPaths(paths) if paths is not None else None,
        )
        container(site, image, env, resources, [], session=session, network=network, root=root)
    except CannotRun as error:
        return error.message.removesuffix(".")
    return None


def sees_all(site: Site, session: Session) -> bool:
    """Whether containers here see the site's whole root; else only what each is given."""
    return session is not Session.NONE or Ability.NEW_MOUNT_POINTS not in site.runtime.abilities


def why_not_isolated(site: Site) -> str | None:
    """Why a container of one task would see here what is not its own; None when it sees only what it is given: its
    work folder, and its inputs, which it cannot change.
    """
    if not site.runs_images:
        return f"'{site.name}' runs no containers, in which commands of one's own have to run"
    if sees_all(site, Session.NONE) or Ability.READ_ONLY_BINDS not in site.runtime.abilities:
        return f"containers of {site.runtime.name} at '{site.name}' see what belongs to others"
    return None


def container(
    site: Site,
    image: ReadyImage,
    env: Mapping[str, str],
    resources: Resources,
    folders: Sequence[str],
    *,
    session: Session = Session.NONE,
    network: bool = True,
    has_stdin: bool = False,
    workdir: str = "",
    root: RootPaths | None = None,
    given: Given | None = None,
) -> dict[str, Any]:
    """The ``container`` of a template or of a step.

    ``folders`` are read by every task of it; ``workdir`` lies in the work folder, unless it is absolute; ``root`` has
    the absolute paths of its task. Raises CannotRun.
    """
    given = given or Given()
    known = [root.paths.all, dict(root.sources)] if root is not None else []
    known += [dict(given.folders), dict(given.data)] if given.folders or given.data else []
    tokens = Tokens.for_content(
        image.digest, image.config, dict(env), list(folders), session, site.root, site.binds, *known
    )
    on_node = _on_node(site, image, tokens.mounted)
    uid, gid = site.identity()
    everything = sees_all(site, session)
    absolute = root.binds(site, tokens.work) if root is not None else ()
    usual = (
        _binds(site, folders, tokens, session)
        if everything
        else (*_read_only(site, folders), Bind(tokens.work, tokens.work))
    )
    own = [Bind(f"{tokens.work}/{folder}", target) for target, folder in given.folders.items()]
    own += [
        Bind(path, target, Ability.READ_ONLY_BINDS in site.runtime.abilities) for target, path in given.data.items()
    ]
    spec = ContainerSpec(
        argv=(_COMMAND,),
        image=site.runtime.prepared(on_node),
        config=ImageConfig.from_oci(image.config),
        env=env,
        binds=(*absolute, *usual, *own),  # the usual ones may lie below the absolute ones
        pass_env=(*(_PASSED_FOR_ONE if session is Session.NONE else _PASSED), *given.secrets),
        ranks_on_node=resources.ranks_on_a_node if resources.launch is Launch.RANKS else 0,
        workdir=workdir if workdir.startswith("/") else f"{tokens.work}/{workdir}".rstrip("/"),
        uid=uid,
        gid=gid,
        gpus=resources.gpus,
        network=network,
        writable_root=given.writable,
        stdin="-" if has_stdin or session is not Session.NONE else None,
        name=tokens.name,
        cgroup_parent=tokens.cgroup if Ability.LIMITS in site.runtime.abilities else None,
        more=() if everything else (tokens.binds,),
    )
    has = site.runtime.has(on_node)
    composed: dict[str, Any] = {
        "image": image.digest,
        "head": [*site.launch(resources), *site.runtime.wrap(spec)[:-1]],
        "end": site.runtime.end(spec),
        "attach": {
            "ready": has,
            "run": site.runtime.prepare(on_node) if has is not None else [],
            "mount": site.runtime.mount(on_node),
        },
    }
    if session is not Session.NONE:
        from packhorse.sites.images import CAPTURE_FOLDER

        composed["binds_capture"] = CAPTURE_FOLDER
    text = json.dumps(composed)
    composed["tokens"] = {word: token for word in Tokens.__slots__ if (token := getattr(tokens, word)) in text}
    return composed


def job_image(site: Site, images: Mapping[str, ReadyImage]) -> str | None:
    """What the batch scheduler sets up for a job whose tasks want ``images``: the only one, where it can, else None."""
    if not site.sets_up_images or len(images) != 1:
        return None
    [image] = images.values()
    return site.runtime.prepared(_on_node(site, image, "/"))


def _on_node(site: Site, image: ReadyImage, mounted: str) -> Image:
    from packhorse.engine.images.preparing import source_of  # most runs have no image
    from packhorse.sites.images import node_image

    name = source_of(site, parse_reference(image.reference), image.digest).name
    return node_image(site, name, image.digest, mounted, image.gateway_id)


def input_binds(site: Site, session: Session, paths: Sequence[str]) -> list[str]:
    """What a line of a block adds for its own inputs: the options that stand in for the token ``binds``."""
    if sees_all(site, session):
        return []
    return [site.runtime.bind(bind) for bind in _read_only(site, sorted(set(paths)))]


def must_copy(site: Site, session: Session, path: str) -> bool:
    """Whether an input file of the site's own filesystem has to be copied below its root for a container to see it."""
    return sees_all(site, session) and not site.sees_everywhere(path)


def _read_only(site: Site, paths: Sequence[str]) -> tuple[Bind, ...]:
    read_only = Ability.READ_ONLY_BINDS in site.runtime.abilities
    return tuple(Bind(path, path, read_only) for path in paths)


def _binds(site: Site, folders: Sequence[str], tokens: Tokens, session: Session) -> tuple[Bind, ...]:
    """All that tasks of this site may read.

    Where binds can be read-only, only the work folder, which is bound over them, is not.

    Where the batch scheduler sets images up, no task has a bind of its own, since one more would have it set up anew
    for each.
    """
    elsewhere = [folder for folder in folders if not site.sees_everywhere(folder)]
    from packhorse.sites.images import CAPTURE_FOLDER

    capture = (Bind(tokens.capture, CAPTURE_FOLDER),) if session is not Session.NONE else ()
    if site.sets_up_images:
        return (*site.job_binds, *_read_only(site, elsewhere), *capture)
    seen = _read_only(site, (site.root, *site.binds, *elsewhere))
    over = (Bind(tokens.work, tokens.work),) if Ability.READ_ONLY_BINDS in site.runtime.abilities else ()
    return (*seen, *over, *capture)
