#!/usr/bin/env bash
# statsmodels 0.15.0, pandas 3.1.1, numpy 2.4.6: AutoReg with missing="drop" joins both ends of a gap.
#
# Behaviour: the series 0, 1, ..., 19 has a gap of ten values. Every observed pair of neighbours obeys y(t) = 1 + y(t-1).
# AutoReg(y, 1, missing="drop") estimates intercept 2.89 and slope 0.91; least squares on the pairs gives 1 and 1.
# Seen: AutoReg [2.889, 0.908], pairs [1.0, 1.0], and 9 rows in the model, of which 8 are pairs of neighbours.
# A good engineer guesses that the rows with a missing value, in y or in a lag, are dropped, as in any regression with
# lagged columns. Wrong: the value before the gap becomes the lag of the value after it, and the index of the series,
# which knows better, is not asked.
# Mechanism: the missing values are dropped from the series first, and the lags are built from what is left.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3.11 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -qq --no-compile numpy==2.4.6 scipy==1.17.1 pandas==3.1.1 statsmodels==0.15.0
"$tmp/venv/bin/python" - 2>/dev/null <<'PY'
import numpy as np
import pandas as pd
from statsmodels.tsa.ar_model import AutoReg

y = pd.Series(np.arange(20.0), index=pd.date_range("2000-01", periods=20, freq="MS"))
y.iloc[5:15] = np.nan
fit = AutoReg(y, 1, missing="drop").fit()
rows = pd.DataFrame({"y": y, "lag": y.shift(1)}).dropna()
design = np.column_stack([np.ones(len(rows)), rows["lag"]])
pairs = np.linalg.lstsq(design, rows["y"], rcond=None)[0]
print("AutoReg:", fit.params.round(3).tolist(), "rows:", int(fit.nobs))
print("pairs of neighbours:", pairs.round(3).tolist(), "rows:", len(rows))
assert np.allclose(pairs, 1) and len(rows) == 8
assert int(fit.nobs) == 9 and np.allclose(fit.params, [2.889, 0.908], atol=1e-3), "the behaviour has changed"
PY
