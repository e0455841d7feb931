"""The collector: sends the requests of planned units within the quota and stores the responses.

`run.collect` is the entry point; `types.CollectionTask` states what to collect, `types.PartitionResult` and
`types.Paused` state the outcome. `search/` pages through video searches, `lists/` through the lists of a video or an
account, `id_lists/` through ids from a file.

Not here: what to run next (see planning/), what can be complete and what it costs (see units/). No Dagster.
"""
