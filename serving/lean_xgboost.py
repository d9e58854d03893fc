"""XGBoost without its estimators in scikit-learn's manner, which a server has no use for.

XGBoost 3 imports scikit-learn for them wherever it is installed: a second of the three and a half of CPU that a server took to
start, and 53 of its 361 MB. Where something else imported either before, nothing changes. The image of the server has no
scikit-learn, so this is for a laptop, where training and serving share an environment.
"""

import sys

SKLEARN = "sklearn"
if SKLEARN not in sys.modules:
    sys.modules[SKLEARN] = None  # type: ignore[assignment] # as where it is not installed
    try:
        import xgboost  # noqa: F401 - the import is what is wanted
    finally:
        del sys.modules[SKLEARN]
