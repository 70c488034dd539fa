"""Teach a policy to remember: a cue is shown once, and asked for some steps later.

Sixteen environments run side by side and their episodes end at different times, so the training batch is full
of borders: `reset` marks the first step of each episode. The rollout takes one step a call (`stream`),
training takes all steps in one pass, and both compute the same bits: before the first update the ratio of
the new policy's probabilities to the old one's is exactly 1, as proximal policy optimisation (Schulman et al.
2017) assumes.
"""

import sys

import numpy as np

import rnnfast as rf

T, B = 64, 16  # steps of a rollout, environments
ITERATIONS = int(sys.argv[1]) if len(sys.argv) > 1 else 40
EPOCHS, CLIP, DISCOUNT = 4, 0.2, 0.9
rng = np.random.default_rng(0)


class Recall:
    """B episodes at once. Seen: the cue, -1 or 1, at the first step alone; whether an answer is asked for."""

    def __init__(self) -> None:
        self.cue, self.left, self.first = np.zeros(B), np.zeros(B, int), np.ones(B, bool)
        self._begin()

    def _begin(self) -> None:
        self.cue = np.where(self.first, rng.choice([-1.0, 1.0], B), self.cue)
        self.left = np.where(self.first, rng.integers(8, 20, B), self.left)

    def seen(self) -> np.ndarray:
        asked = self.left == 0
        return np.stack([np.where(self.first, self.cue, 0), asked], axis=1).astype(np.float32)

    def act(self, action: np.ndarray) -> np.ndarray:
        """The reward: 1 or -1 for an answer that was asked for, else 0. What was answered begins anew."""
        asked = self.left == 0
        reward = np.where(asked, np.where((action == 1) == (self.cue > 0), 1.0, -1.0), 0.0)
        self.left -= 1
        self.first = asked
        self._begin()
        return reward


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


policy = rf.Sequential(rf.LSTM(2, 24, forget_bias=1.0, rng=1), rf.Linear(24, 2, rng=2))
optimizer = rf.optim.Adam(policy.parameters(), lr=0.01)
world, step = Recall(), policy.stream(B)
observations, resets = np.zeros((T, B, 2), np.float32), np.zeros((T, B), bool)
actions, old, rewards = np.zeros((T, B), int), np.zeros((T, B), np.float32), np.zeros((T, B))

for iteration in range(ITERATIONS):
    state = step.state  # where this rollout starts from
    for t in range(T):
        observations[t], resets[t] = world.seen(), world.first
        step.reset(resets[t])
        log_p = log_probabilities(step(observations[t]))
        actions[t] = rng.random(B) < np.exp(log_p[:, 1])
        old[t] = np.take_along_axis(log_p, actions[t][:, None], axis=1)[:, 0]
        rewards[t] = world.act(actions[t])

    advantage, later = np.zeros((T, B)), np.zeros(B)
    for t in reversed(range(T)):  # discounted rewards to come, up to the episode's end
        advantage[t] = later = rewards[t] + DISCOUNT * later
        later = np.where(resets[t], 0.0, later)
    advantage -= advantage.mean()
    advantage /= advantage.std() + 1e-8

    for epoch in range(EPOCHS):
        logits, _, tape = policy.forward(observations, state, reset=resets)
        log_p = log_probabilities(logits)
        ratio = np.exp(np.take_along_axis(log_p, actions[..., None], axis=2)[..., 0] - old)
        if epoch == 0 and not (ratio == 1).all():
            sys.exit("the training pass differs from the rollout")
        # The gradient of -mean(min(ratio * advantage, clipped ratio * advantage)) in the logits.
        held = np.where(advantage > 0, ratio > 1 + CLIP, ratio < 1 - CLIP)
        weight = np.where(held, 0.0, ratio * advantage) / ratio.size
        dlogits = np.exp(log_p) * weight[..., None]
        np.put_along_axis(
            dlogits,
            actions[..., None],
            np.take_along_axis(dlogits, actions[..., None], 2) - weight[..., None],
            2,
        )
        optimizer.zero_grad()
        policy.backward(tape, dlogits, input_grad=False)
        rf.clip_grad_norm(policy.parameters(), 1.0)
        optimizer.step()
    step.refresh()
    if iteration % 10 == 9 or iteration in (0, ITERATIONS - 1):
        right = (rewards > 0).sum() / max(1, (rewards != 0).sum())
        print(f"after {iteration + 1} rollouts {right:.0%} of the answers are right", flush=True)
