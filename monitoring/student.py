"""Student's distance as a normal variable's: one limit for what is known from many windows and from few."""

import numpy as np
from numpy.typing import NDArray
from scipy import stats


def student_as_normal(t: NDArray[np.float64], freedom: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard errors of a normal variable that is as unlikely, with the sign of t.

    Args:
        t: Distances over their estimated standard errors.
        freedom: Degrees of freedom of the errors' squares, by Welch and Satterthwaite where two are added; may be inf.

    Source:
        Welch, The generalization of Student's problem when several different population variances are involved, Biometrika
        34, 1947; Satterthwaite, An approximate distribution of estimates of variance components, Biometrics Bulletin 2, 1946.
    """
    z = -stats.norm.ppf(stats.t.sf(np.abs(t), freedom))
    return np.asarray(np.sign(t) * np.where(np.isfinite(z), z, np.abs(t)))  # a tail of 0 has no quantile
