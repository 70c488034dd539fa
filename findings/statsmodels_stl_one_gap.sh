#!/usr/bin/env bash
# statsmodels 0.15.0, pandas 3.1.1, numpy 2.4.6: one missing month turns the whole STL
# decomposition into NaN, without a word.
#
# Behaviour: 120 months with one NaN in the middle. STL(...).fit() returns, and trend, seasonal and residual are NaN at
# all 120 months; robust=True as well. seasonal_decompose in the same module raises an error on the same series.
# Seen: NaN at 120, 120 and 120 of 120 months, no warning; seasonal_decompose: ValueError.
# A good engineer guesses either an error, as from the sibling, or a local hole: STL is made of local regressions whose
# windows reach a few years, and its authors' method handles missing values. Wrong: the last month has no value either,
# so a seasonal baseline built on it forecasts NaN.
# Mechanism, as far as the outputs tell: a NaN enters each window that holds it. The seasonal smoother extends each
# subseries at both ends, and an inner iteration starts from the NaN of the one before, so it spreads over the series.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3.11 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -qq --no-compile numpy==2.4.6 scipy==1.17.1 pandas==3.1.1 statsmodels==0.15.0
"$tmp/venv/bin/python" -W error - <<'PY'
import numpy as np
import pandas as pd
from statsmodels.tsa.seasonal import STL, seasonal_decompose

month = np.arange(120)
y = pd.Series(np.sin(2 * np.pi * month / 12) + 0.01 * month, index=pd.date_range("2000-01", periods=120, freq="MS"))
whole = STL(y).fit()
assert not whole.trend.isna().any()
y.iloc[50] = np.nan
for robust in (False, True):
    fit = STL(y, robust=robust).fit()
    missing = [int(part.isna().sum()) for part in (fit.trend, fit.seasonal, fit.resid)]
    print(f"robust={robust}: NaN in trend, seasonal, residual: {missing} of {len(y)}")
    assert missing == [120] * 3, "the behaviour has changed"
try:
    seasonal_decompose(y)
except ValueError as error:
    print("seasonal_decompose:", error)
else:
    raise AssertionError("the behaviour has changed")
PY
