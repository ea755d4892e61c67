"""The same work on a Dask cluster: one task per layer to be made, and one per project.

`errands` are the values that travel, `worker` does them on a worker, `scheduler` is the client's side. Bytes never pass
through the scheduler: a worker fetches, makes, and sends to the registry by itself.
"""
