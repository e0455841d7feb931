"""Video searches: windows of days, paged through, evaluated day by day, resumed after an interruption.

`run.VideoSearch` is the engine. `progress` rebuilds the position of a search from its journal, `pager` and `page`
read its pages, `evaluation` decides what a finished window means for its days. `canary`, `bisect` and
`username_batches` handle queries that return nothing, that fail, or that name many accounts.

Not here: which windows cost the fewest requests (see units/windows.py).
"""
