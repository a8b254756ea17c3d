"""featsvc: perceptual hashes, banks of known content and account features over gRPC."""

import os

# A request runs on one thread and an index is built on one core. By default OpenBLAS runs every
# matrix product on one thread a core, and waits for all of them on a busy machine. It reads this
# variable when NumPy is first imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
