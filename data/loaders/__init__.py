"""Ways to the batches of an epoch. All give equal pixels; they differ in speed and memory.

A batch on its way from `make_data_loader` (data/build.py) to the trainer:

    choose_loader    build.py: the memory, device, thread or process loader, by the data, its transforms and the config
    plan.batches     plan.py: sample indices and positions of each batch, from the sampler's order of the epoch
    _fetch_all       memory.py, device.py: whole batches by gathers; threads.py with crew.py, processes.py: sample by sample by
    Fetcher          loader.py: read, transform by draws of (seed, epoch, position), collate_batch
    Loader.__iter__  loader.py: counts bad samples, notes the position, copies one batch ahead to a GPU (data/to_device.py)
    Prepare          data/prepare.py, called by the trainer: moved, normalised, mixed
"""
