"""What a submitted job runs, once a process: it learns who it is, as torchrun would tell it, and then becomes the tool itself:
signals reach the tool, its exit code is the job's, and no launcher has to be told of either.

    python tools/_job.py FOLDER TOOL [WORD ...]      FOLDER: the working directory; written by tools/submit.py
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from submitit import JobEnvironment
from submitit.helpers import TorchDistributedEnvironment


def main(folder: str, command: Sequence[str]) -> None:
    """Sets RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT where there are several processes, and becomes `command`.

    Rank 0's host is the first of SLURM's list, the port follows from the job's id; a requeued job may be on other hosts.
    """
    job = JobEnvironment()
    if job.num_tasks > 1:
        TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)  # LOCAL_RANK chooses the GPU
        os.environ.setdefault("OMP_NUM_THREADS", os.environ.get("SLURM_CPUS_PER_TASK", "1"))
    if "SUBMITIT_FOLDER" in os.environ:
        os.environ["FIELDBOOK_JOB_LOG"] = str(job.paths.stdout)
    os.chdir(folder)
    os.execv(sys.executable, [sys.executable, *command])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
