"""Forecast a noisy series one step ahead with a GRU, and compare it with two forecasts that need no network.

Each series is a sine whose frequency drifts, plus noise: the past tells where it goes next, by no fixed rule.
"""

import numpy as np

import rnnfast as rf

T, N = 120, 320  # length of a series, how many there are
rng = np.random.default_rng(0)
frequency = 0.2 + 0.02 * np.cumsum(rng.standard_normal((T + 1, N)), axis=0)
series = np.sin(np.cumsum(frequency, axis=0) + rng.uniform(0, 6, N)) + 0.1 * rng.standard_normal((T + 1, N))
series = series.astype(np.float32)[:, :, None]  # [T+1, N, 1]
x, targets = series[:-1], series[1:]
train, held_out = slice(0, 256), slice(256, N)

model = rf.Sequential(rf.GRU(1, 48, rng=1), rf.Linear(48, 1, rng=2))
history = rf.fit(
    model,
    rf.losses.mse,
    (x[:, train], targets[:, train]),
    rf.optim.Adam(model.parameters(), lr=0.01),
    epochs=30,
    batch_size=32,
    validation=(x[:, held_out], targets[:, held_out]),
    clip_norm=1.0,
    rng=3,
)

forecast, _ = model(x[:, held_out])
past, future = x[5:, held_out], targets[5:, held_out]  # the first steps have too little past for any of them
straight = 2 * past - x[4:-1, held_out]
print("mean squared error of the next value, on series held out:")
print(f"  the last value again      {np.mean((past - future) ** 2):.4f}")
print(f"  the last slope continued  {np.mean((straight - future) ** 2):.4f}")
print(f"  GRU                       {np.mean((forecast[5:] - future) ** 2):.4f}")
