"""RecurrentPPO of sb3-contrib on rnnfast's kernels: one line swaps the policy's LSTMs.

    pip install "rnnfast[torch]" sb3-contrib
    python examples/recurrent_ppo.py [ROLLOUTS]

The task is CartPole without its velocities, so that the policy has to remember. The same training runs twice
from the same seed, on torch's kernels and on rnnfast's, one thread each. They round differently in the last
bit, which one day makes an action another one; until then all figures agree.
"""

import sys
import time

import gymnasium as gym
import numpy as np
import torch
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env

import rnnfast as rf
from rnnfast.torch import accelerate

ROLLOUTS = int(sys.argv[1]) if len(sys.argv) > 1 else 4
STEPS, ENVIRONMENTS = 128, 8


class Positions(gym.ObservationWrapper):
    """CartPole's two positions, without the velocities."""

    def __init__(self) -> None:
        super().__init__(gym.make("CartPole-v1"))
        space = self.env.observation_space
        self.observation_space = gym.spaces.Box(space.low[[0, 2]], space.high[[0, 2]])

    def observation(self, observation: np.ndarray) -> np.ndarray:
        return observation[[0, 2]]


class Values(BaseCallback):
    """Keeps what the critic expected, on average, in each rollout."""

    def __init__(self) -> None:
        super().__init__()
        self.means: list[float] = []

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self.means.append(float(self.model.rollout_buffer.values.mean()))


def train(on_rnnfast: bool) -> tuple[float, list[float], list[np.ndarray]]:
    """Seconds, the critic's mean in each rollout, and the parameters at the end."""
    environments = make_vec_env(Positions, ENVIRONMENTS, seed=0)
    model = RecurrentPPO("MlpLstmPolicy", environments, n_steps=STEPS, batch_size=256, seed=0, device="cpu")
    if on_rnnfast:
        print("swapped:", ", ".join(accelerate(model.policy).swapped))
    values = Values()
    began = time.perf_counter()
    model.learn(ROLLOUTS * STEPS * ENVIRONMENTS, callback=values)
    seconds = time.perf_counter() - began
    return seconds, values.means, [parameter.detach().numpy() for parameter in model.policy.parameters()]


torch.set_num_threads(1)
rf.set_num_threads(1)
seconds, means, parameters = train(on_rnnfast=False)
fast_seconds, fast_means, fast_parameters = train(on_rnnfast=True)
for n, pair in enumerate(zip(means, fast_means, strict=True)):
    print("rollout {}: the critic expects {:.5f} on torch, {:.5f} on rnnfast".format(n, *pair))
apart = max(np.abs(a - b).max() for a, b in zip(parameters, fast_parameters, strict=True))
print(f"parameters differ by at most {apart:.1e}")
print(f"torch {seconds:.1f} s, rnnfast {fast_seconds:.1f} s, the whole program")
