"""The linear programme behind a metabolic model: built by COBRApy once, kept in a cache, solved by GLPK.

COBRApy reads the model and composes its LP (4 s and 400 MB for iJO1366, after 2 s of imports). What a deletion or a
change of medium needs of it is small: the LP's columns, rows and coefficients, the wild type's optimal basis, the gene
rules and the exchange reactions. These are taken out of the COBRApy model as they are and written to a cache as JSON,
so that every worker but the first starts in 0.1 s.

Each problem is solved on a fresh copy of the wild type's LP, so nothing has to be undone afterwards and an answer does
not depend on what the worker solved before it. From the wild type's basis the dual simplex needs a few iterations.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

MODELS = ("iJO1366", "textbook", "salmonella")

#: Names for changes of medium: exchange reaction → uptake bound, mmol gDW⁻¹ h⁻¹.
MEDIA = {"anaerobic": {"EX_o2_e": 0.0}}


class FbaError(Exception):
    """What a user asked for cannot be done; the message says why and what would work."""


class Model:
    """One metabolic model, ready to be solved with genes deleted and its medium changed."""

    def __init__(self, data: dict[str, Any]) -> None:
        """``data`` as ``build`` makes it."""
        import swiglpk as glpk

        self._glpk = glpk
        self.name: str = data["name"]
        self.genes: dict[str, list[str]] = data["genes"]
        self.exchanges: dict[str, list[float]] = data["exchanges"]
        self._rules: dict[str, Any] = data["rules"]
        self._columns: dict[str, list[int]] = data["columns"]
        glpk.glp_term_out(glpk.GLP_OFF)
        self._wild_type = _load_lp(glpk, data["lp"])
        self._work = glpk.glp_create_prob()
        self._dual = _simplex_settings(glpk, glpk.GLP_DUALP)
        self._primal = _simplex_settings(glpk, glpk.GLP_PRIMAL)

    def grow(self, genes: list[str], medium: dict[str, float]) -> dict[str, Any]:
        """The growth rate (h⁻¹) with ``genes`` deleted and the uptake bounds of ``medium`` laid over the model's own.

        ``growth`` is None where there is no optimum; ``status`` says why, in COBRApy's words (``infeasible``: the cell
        cannot even meet its maintenance). ``reactions_off`` counts the reactions that the deletion disables. Raises
        FbaError for a gene or an exchange that the model does not have.
        """
        off = self._disabled(genes)
        bounds: dict[int, tuple[float, float]] = {}
        for exchange, uptake in medium.items():
            bounds.update(self._uptake(exchange, uptake))
        for reaction in off:
            bounds.update((column, (0.0, 0.0)) for column in self._columns[reaction])
        growth, status = self._solve(bounds)
        return {"growth": growth, "status": status, "reactions_off": len(off)}

    def _disabled(self, genes: list[str]) -> list[str]:
        """The reactions whose gene rule fails without ``genes``, each once."""
        gone = set(genes)
        touched: dict[str, None] = {}
        for gene in genes:
            if gene not in self.genes:
                raise FbaError(f"{self.name} has no gene '{gene}'. {_hint(gene, self.genes)}")
            touched.update(dict.fromkeys(self.genes[gene]))
        return [reaction for reaction in touched if not _works(self._rules[reaction], gone)]

    def _uptake(self, exchange: str, uptake: float) -> Iterator[tuple[int, tuple[float, float]]]:
        """The bounds of an exchange reaction's two columns at an uptake bound, as COBRApy's ``Model.medium`` sets
        them.
        """
        if exchange not in self.exchanges:
            raise FbaError(f"{self.name} has no exchange reaction '{exchange}'. {_hint(exchange, self.exchanges)}")
        consumes, lower, upper = self.exchanges[exchange]
        if consumes:
            lower = -uptake
        else:
            upper = uptake
        if lower > upper:
            raise FbaError(f"The model forces {exchange} to take up at least {-upper:g}; {uptake:g} is below that.")
        forward, backward = self._columns[exchange]
        yield forward, (max(0.0, lower), max(0.0, upper))
        yield backward, (max(0.0, -upper), max(0.0, -lower))

    def _solve(self, bounds: dict[int, tuple[float, float]]) -> tuple[float | None, str]:
        """The optimum of the wild type's LP under ``bounds`` (column → lower, upper), and its status.

        If the dual simplex finds no optimum, the primal one has to agree from a basis of its own.
        """
        glpk, work = self._glpk, self._work
        for settings in (self._dual, self._primal):
            glpk.glp_copy_prob(work, self._wild_type, glpk.GLP_OFF)
            for column, (lower, upper) in bounds.items():
                glpk.glp_set_col_bnds(work, column, glpk.GLP_FX if lower == upper else glpk.GLP_DB, lower, upper)
            if settings is self._primal:
                glpk.glp_adv_basis(work, 0)
            failed = glpk.glp_simplex(work, settings)
            if not failed and glpk.glp_get_status(work) == glpk.GLP_OPT:
                return glpk.glp_get_obj_val(work) + 0.0, "optimal"  # + 0.0 turns -0.0 into 0.0
        words = {glpk.GLP_NOFEAS: "infeasible", glpk.GLP_INFEAS: "infeasible", glpk.GLP_UNBND: "unbounded"}
        return None, words.get(glpk.glp_get_status(work), "undefined")


def load(name: str) -> Model:
    """The model ``name`` from the cache, or through COBRApy (which fills the cache).

    Raises FbaError if there is neither.
    """
    if name not in MODELS:
        raise FbaError(f"There is no model '{name}'; there are {', '.join(MODELS)}.")
    path = _cache_path(name)
    data = _read(path)
    if data is None:
        with _lock(path):  # many workers start at once on a node: one of them reads the SBML, the others wait for it
            data = _read(path)
            if data is None:
                data = build(name)
                _write(path, data)
    return Model(data)


def build(name: str) -> dict[str, Any]:
    """What ``Model`` needs of a model that COBRApy ships. Never asks the network."""
    from cobra.io import load_model
    from cobra.io.web.cobrapy_repository import Cobrapy

    model = load_model(name, repositories=[Cobrapy()])
    model.solver = "glpk"
    model.slim_optimize()  # leaves the wild type's optimal basis in the LP
    import swiglpk as glpk

    lp = _dump_lp(glpk, model.solver.problem)
    number = {glpk.glp_get_col_name(model.solver.problem, j): j for j in range(1, len(lp["columns"]) + 1)}
    return {
        "name": name,
        "genes": {gene.id: sorted(reaction.id for reaction in gene.reactions) for gene in model.genes},
        "rules": {
            reaction.id: _rule(reaction.gpr.body) for reaction in model.reactions if reaction.gpr.body is not None
        },
        "columns": {reaction.id: [number[reaction.id], number[reaction.reverse_id]] for reaction in model.reactions},
        "exchanges": {each.id: [bool(each.reactants), each.lower_bound, each.upper_bound] for each in model.exchanges},
        "lp": lp,
    }


def _rule(node: Any) -> Any:
    """A gene rule's syntax tree as JSON: a gene is its id, an operator is ``["and" or "or", part, ...]``."""
    if hasattr(node, "values"):
        return [type(node.op).__name__.lower(), *map(_rule, node.values)]
    return node.id


def _works(rule: Any, gone: set[str]) -> bool:
    """Whether a gene rule holds without the genes ``gone``."""
    if isinstance(rule, str):
        return rule not in gone
    return (all if rule[0] == "and" else any)(_works(part, gone) for part in rule[1:])


def _dump_lp(glpk: Any, lp: Any) -> dict[str, Any]:
    """A GLPK problem as JSON: bounds, objective, coefficients by row, and the status of each row and column in the
    basis.
    """
    rows, columns = glpk.glp_get_num_rows(lp), glpk.glp_get_num_cols(lp)
    indices, values = glpk.intArray(columns + 1), glpk.doubleArray(columns + 1)
    coefficients = []
    for i in range(1, rows + 1):
        length = glpk.glp_get_mat_row(lp, i, indices, values)
        coefficients.append([[indices[k] for k in range(1, length + 1)], [values[k] for k in range(1, length + 1)]])
    return {
        "direction": glpk.glp_get_obj_dir(lp),
        "constant": glpk.glp_get_obj_coef(lp, 0),
        "rows": [
            [
                glpk.glp_get_row_type(lp, i),
                glpk.glp_get_row_lb(lp, i),
                glpk.glp_get_row_ub(lp, i),
                glpk.glp_get_row_stat(lp, i),
            ]
            for i in range(1, rows + 1)
        ],
        "columns": [
            [
                glpk.glp_get_col_type(lp, j),
                glpk.glp_get_col_lb(lp, j),
                glpk.glp_get_col_ub(lp, j),
                glpk.glp_get_col_stat(lp, j),
                glpk.glp_get_obj_coef(lp, j),
            ]
            for j in range(1, columns + 1)
        ],
        "coefficients": coefficients,
    }


def _load_lp(glpk: Any, data: dict[str, Any]) -> Any:
    """The GLPK problem that ``_dump_lp`` took apart, scaled, with its basis."""
    lp = glpk.glp_create_prob()
    glpk.glp_set_obj_dir(lp, data["direction"])
    glpk.glp_set_obj_coef(lp, 0, data["constant"])
    glpk.glp_add_rows(lp, len(data["rows"]))
    glpk.glp_add_cols(lp, len(data["columns"]))
    indices, values = glpk.intArray(len(data["columns"]) + 1), glpk.doubleArray(len(data["columns"]) + 1)
    for i, (columns, coefficients) in enumerate(data["coefficients"], start=1):
        for k, (column, coefficient) in enumerate(zip(columns, coefficients, strict=True), start=1):
            indices[k], values[k] = column, coefficient
        glpk.glp_set_mat_row(lp, i, len(columns), indices, values)
    glpk.glp_scale_prob(lp, glpk.GLP_SF_AUTO)
    for i, (kind, lower, upper, status) in enumerate(data["rows"], start=1):
        glpk.glp_set_row_bnds(lp, i, kind, lower, upper)
        glpk.glp_set_row_stat(lp, i, status)
    for j, (kind, lower, upper, status, coefficient) in enumerate(data["columns"], start=1):
        glpk.glp_set_col_bnds(lp, j, kind, lower, upper)
        glpk.glp_set_obj_coef(lp, j, coefficient)
        glpk.glp_set_col_stat(lp, j, status)
    return lp


def _simplex_settings(glpk: Any, method: int) -> Any:
    settings = glpk.glp_smcp()
    glpk.glp_init_smcp(settings)  # tolerances of 1e-7, which are COBRApy's too
    settings.msg_lev = glpk.GLP_MSG_OFF
    settings.meth = method
    return settings


def _hint(wrong: str, known: dict[str, Any]) -> str:
    close = get_close_matches(wrong, known, n=3, cutoff=0.7)
    return f"Did you mean {' or '.join(close)}?" if close else f"Its ids look like '{next(iter(known))}'."


def _cache_path(name: str) -> Path:
    """Where the cached model lies.

    The name holds a hash of all that it is made from, so that nothing stale is ever read.
    """
    cobra = importlib.util.find_spec("cobra")
    if cobra is None or not cobra.submodule_search_locations:
        raise FbaError(f"COBRApy is not installed for {sys.executable}. Install it with: pip install 'packhorse[fba]'")
    sbml = Path(next(iter(cobra.submodule_search_locations))) / "data" / f"{name}.xml.gz"
    try:
        made_from = [sbml.read_bytes(), Path(__file__).read_bytes(), importlib.metadata.version("cobra").encode()]
    except OSError as error:
        raise FbaError(f"This version of COBRApy does not ship the model {name}: {error}") from None
    key = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in made_from)).hexdigest()[:16]
    return _cache_folder() / f"{name}-{key}.json"


def _cache_folder() -> Path:
    if own := os.environ.get("PACKHORSE_CACHE"):
        return Path(own) / "fba"
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "packhorse-fba"


def _read(path: Path) -> dict[str, Any] | None:
    """The cached model; None if there is none or its checksum says that it is damaged."""
    try:
        checksum, _, body = path.read_bytes().partition(b"\n")
    except OSError:
        return None
    if checksum.decode(errors="replace") != hashlib.sha256(body).hexdigest():
        return None
    data: dict[str, Any] = json.loads(body)
    return data


def _write(path: Path, data: dict[str, Any]) -> None:
    """Caches a model in one step. A cache that cannot be written costs time and nothing else."""
    body = json.dumps(data, separators=(",", ":")).encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
            os.replace(temporary, path)
        except OSError:
            os.unlink(temporary)
            raise
    except OSError as error:
        print(f"fba: the model is not cached: {error}", file=sys.stderr)


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """One process at a time, where the filesystem can do that; the lock goes with its holder."""
    import fcntl

    with contextlib.ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(open(path.with_suffix(".lock"), "w"))
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            pass
        yield
