"""A study's query held against the rows that it brought, as SQL. Only what a row can show is judged.

Keywords and effects are matched by the API in ways that a row does not tell, counts move between the search and the
answer: conditions on them are left out, and an `or` that holds one of them cannot fail.
"""

from collections.abc import Mapping
from typing import Any

from research_assets.collect.spec import QueryGroups
from research_assets.table_sql import sql_literal

_CONDITION_SQL = {
    "region_code": "lower(trim(region_code)) in ({values})",
    "username": "lower(trim(username)) in ({values})",
    "hashtag_name": "list_has_any(list_transform(hashtag_names, lambda tag: lower(trim(tag))), [{values}])",
    "music_id": "music_id::varchar in ({values})",
    "video_id": "id::varchar in ({values})",
}
"""By field of the API: whether a row fulfils `is one of`. Null where the row lacks the field."""


def violated_condition_sql(query: QueryGroups) -> str | None:
    """An SQL expression: which part of the query a row does not fulfil, null if none; None if nothing can be judged."""
    cases = [
        f"when not {_condition_sql(condition)} then {sql_literal('not ' + _condition_text(condition))}"
        for condition in query.get("and", ())
        if _is_checkable(condition)
    ]
    either = query.get("or", ())
    if either and all(map(_is_checkable, either)):
        words = " nor ".join(map(_condition_text, either))
        cases.append(f"when not ({' or '.join(map(_condition_sql, either))}) then {sql_literal(f'neither {words}')}")
    cases += [
        f"when {_condition_sql(condition)} then {sql_literal(_condition_text(condition))}"
        for condition in query.get("not", ())
        if _is_checkable(condition)
    ]
    return f"case {' '.join(cases)} end" if cases else None


def _is_checkable(condition: Mapping[str, Any]) -> bool:
    return condition["field_name"] in _CONDITION_SQL and condition["operation"] in ("EQ", "IN")


def _condition_sql(condition: Mapping[str, Any]) -> str:
    values = ", ".join(sql_literal(str(value).strip().lower()) for value in condition["field_values"])
    return f"({_CONDITION_SQL[condition['field_name']].format(values=values)})"


def _condition_text(condition: Mapping[str, Any]) -> str:
    return f"{condition['field_name']} {', '.join(map(str, condition['field_values']))}"
