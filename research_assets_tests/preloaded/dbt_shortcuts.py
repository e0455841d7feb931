"""Shortcuts in dbt: what it does again for each build, node or query, done once, or left out where nobody sees it.

For the server of preloaded processes. Each shortcut keeps what dbt reads, runs and writes; without them a build of
empty marts takes twice the processor time.
"""

from collections.abc import Callable
from functools import lru_cache
from multiprocessing import get_context
from typing import Any


def take_shortcuts() -> None:
    """Change dbt in this process."""
    _make_only_events_that_are_logged()
    _compile_each_template_once()
    _build_contexts_faster()
    _read_locale_once()


def use_unnamed_locks() -> None:
    """Let dbt make locks that have no name, before its import: it forks no process that needs to find one.

    For named ones each call would start another process that removes them.
    """
    from dbt import mp_context

    mp_context._MP_CONTEXT = get_context("fork")  # type: ignore[assignment]


def _make_only_events_that_are_logged() -> None:
    """Do not write debug lines that no logger prints; dbt writes nine in ten of its lines for nobody."""
    from dbt_common.events.base_types import BaseEvent, EventLevel
    from dbt_common.events.event_manager import EventManager

    make: Callable[..., None] = BaseEvent.__init__
    read: Callable[[BaseEvent, str], Any] = BaseEvent.__getattr__
    fire: Callable[..., None] = EventManager.fire_event
    silent = (EventLevel.DEBUG, EventLevel.TEST)

    def make_later(event: BaseEvent, *arguments: Any, **fields: Any) -> None:
        event.__dict__["_unmade"] = arguments, fields

    def make_and_read(event: BaseEvent, name: str) -> Any:
        if "_unmade" not in event.__dict__:
            return read(event, name)
        arguments, fields = event.__dict__.pop("_unmade")
        make(event, *arguments, **fields)
        return getattr(event, name)

    def fire_if_logged(
        manager: EventManager, e: BaseEvent, level: EventLevel | None = None, *arguments: Any, **options: Any
    ) -> None:
        if (level or e.level_tag()) not in silent or any(logger.level in silent for logger in manager.loggers):
            fire(manager, e, level, *arguments, **options)

    BaseEvent.__init__ = make_later  # type: ignore[method-assign, assignment]
    BaseEvent.__getattr__ = make_and_read  # type: ignore[method-assign]
    EventManager.fire_event = fire_if_logged  # type: ignore[method-assign, assignment]


def _compile_each_template_once() -> None:
    """Remember the Python code of each Jinja template; the context is no part of it."""
    from dbt_common.clients.jinja import MacroFuzzEnvironment

    compile_source: Callable[..., Any] = MacroFuzzEnvironment.compile
    compiled: dict[tuple[Any, ...], Any] = {}

    def compile_once(environment: MacroFuzzEnvironment, source: Any, *arguments: Any, **options: Any) -> Any:
        if not isinstance(source, str) or arguments or options:
            return compile_source(environment, source, *arguments, **options)
        key = type(environment), tuple(environment.extensions), source
        if key not in compiled:
            compiled[key] = compile_source(environment, source)
        return compiled[key]

    MacroFuzzEnvironment.compile = compile_once  # type: ignore[method-assign, assignment]


def _build_contexts_faster() -> None:
    """Fill the context of a node with all macros without a call for each; dbt does it 300 times for 600 macros."""
    from dbt.clients.jinja import MacroGenerator
    from dbt.context.configured import ConfiguredContext
    from dbt.context.macros import MacroNamespace, MacroNamespaceBuilder
    from dbt.context.manifest import ManifestContext
    from dbt.include.global_project import PROJECT_NAME

    fill_slowly: Callable[[ManifestContext], dict[str, Any]] = ManifestContext.to_dict

    def build_namespace(
        builder: MacroNamespaceBuilder, macros_by_package: dict[str, dict[str, Any]], context: dict[str, Any]
    ) -> MacroNamespace:
        node, stack = builder.node, builder.thread_ctx
        internal, other = builder.internal_packages, builder.packages
        for package, macros in macros_by_package.items():
            functions = (internal if package in builder.internal_package_names else other).setdefault(package, {})
            for macro in macros.values():
                functions[macro.name] = function = MacroGenerator.__new__(MacroGenerator)
                function.__dict__.update(context=context, macro=macro, node=node, stack=stack)
        builder.locals = other.get(builder.search_package, {})
        if builder.root_package != builder.search_package:
            builder.globals = other.get(builder.root_package, {})
        common: dict[str, MacroGenerator] = {}
        for package in reversed(builder.internal_package_names_order):
            common.update(internal.get(package, {}))
        return MacroNamespace(builder.globals, builder.locals, common, other)

    def fill(context: ManifestContext) -> dict[str, Any]:
        namespace = context.namespace
        if not isinstance(namespace, MacroNamespace):
            return fill_slowly(context)
        filled: dict[str, Any] = ConfiguredContext.to_dict(context)
        filled.update(namespace.global_project_namespace)
        filled[PROJECT_NAME] = namespace.global_project_namespace
        for functions in (namespace.packages, namespace.global_namespace, namespace.local_namespace):
            filled.update(functions)
        return filled

    MacroNamespaceBuilder.build_namespace = build_namespace  # type: ignore[method-assign, assignment]
    ManifestContext.to_dict = fill  # type: ignore[method-assign]


def _read_locale_once() -> None:
    """Share the names of months and days, which the table of each query's result would read again."""
    import parsedatetime  # type: ignore[import-untyped]

    parsedatetime.Constants = lru_cache(parsedatetime.Constants)
