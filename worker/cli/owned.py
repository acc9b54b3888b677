"""`python -m worker.cli.owned run …`: as `worker run …`, but it ends when its standard input closes.

So a process that a command started for itself ends also when that command was killed.
"""

import os
import signal
import threading
import time

from worker.cli.app import main
from worker.cli.own import SECONDS_TO_HAND_BACK


def _end_with_standard_input() -> None:
    while os.read(0, 1024):
        continue
    for _ in range(2):  # drain, then at once: nobody waits for us any more
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.5)
    time.sleep(SECONDS_TO_HAND_BACK)
    os.kill(os.getpid(), signal.SIGKILL)  # Postgres may be gone as well: then nothing can be handed back


if __name__ == "__main__":
    threading.Thread(target=_end_with_standard_input, daemon=True).start()
    main()
