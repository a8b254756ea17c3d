"""featsvc: perceptual hashes, banks of known content and account features over gRPC."""

import os

__version__ = "0.1.0"

# A request runs on one thread, an index is built on one core: OpenBLAS would start a thread a core
# under each of NumPy's matrix products, and on a busy machine wait for all of them. It reads this
# when NumPy is first imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
