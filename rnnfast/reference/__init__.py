"""Recurrent cells in plain NumPy, written as in the papers. The fast code is tested against it.

One layer, one direction. Time runs over t; at every step the state before it (``h``, for the LSTM also ``c``,
for the sLSTM ``c``, ``n`` and ``m``) and the input ``x_t`` give the state after it, and ``y_t = h_t``. With s
the logistic function, · a matrix product and * the product element by element:

RNN (Elman 1990), with f one of tanh, relu, s and the identity::

    h_t = f(W_ih·x_t + b_ih + W_hh·h_{t-1} + b_hh)

IndRNN (Li et al. 2018), with the same f and a vector w_hh::

    h_t = f(W_ih·x_t + b_ih + w_hh * h_{t-1})

MinGRU (Feng, Tung, Ahmed, Bengio and Hajimirsadeghi 2024), whose gates see the input alone, with g one of the
identity, tanh and the paper's positive function, a + 1/2 for a of at least 0 and s(a) below::

    z = s(W_z·x_t + b_z)
    n = g(W_h·x_t + b_h)                                candidate
    h_t = (1 - z) * h_{t-1} + z * n

MinLSTM (the same paper)::

    f = s(W_f·x_t + b_f)                                i likewise
    n = g(W_h·x_t + b_h)
    h_t = f / (f + i) * h_{t-1} + i / (f + i) * n

LSTM (Hochreiter and Schmidhuber 1997, with the forget gate of Gers, Schmidhuber and Cummins 2000). Options
are in brackets: peepholes w_c (Gers and Schmidhuber 2000), a bound on c, and a projection W_P, ``weight_hr``
(Sak, Senior and Beaufays 2014)::

    i = s(W_ii·x_t + b_ii + W_hi·h_{t-1} + b_hi [+ w_ci * c_{t-1}])     input gate
    f = s(W_if·x_t + b_if + W_hf·h_{t-1} + b_hf [+ w_cf * c_{t-1}])     forget gate; if coupled, 1 - i
    g = tanh(W_ig·x_t + b_ig + W_hg·h_{t-1} + b_hg)                     candidate
    c_t = [clip] f * c_{t-1} + i * g
    o = s(W_io·x_t + b_io + W_ho·h_{t-1} + b_ho [+ w_co * c_t])         output gate
    h_t = [W_P·] (o * tanh(c_t))

GRU (Cho et al. 2014)::

    r = s(W_ir·x_t + b_ir + W_hr·h_{t-1} + b_hr)        reset gate
    z = s(W_iz·x_t + b_iz + W_hz·h_{t-1} + b_hz)        update gate
    p = W_in·x_t + b_in
    q = W_hn·(r * h_{t-1}) + b_hn
    n = tanh(p + q)                                     candidate
    h_t = (1 - z) * n + z * h_{t-1}

or, with the reset gate after the product with W_hn (Appleyard, Kočiský and Blunsom 2016, cuDNN, PyTorch)::

    q = W_hn·h_{t-1} + b_hn
    n = tanh(p + r * q)

sLSTM (Beck et al. 2024). The product of the state has heads: W_h·h is one product for each head, of its own D
units with its own rows of every block; a step whose n_{t-1} is 0 has m_t = i::

    i, f, z, o = W_i·x_t + b_i + W_h·h_{t-1}
    l = log s(f) + m_{t-1}
    m_t = max(l, i)                                     stabilizer
    i' = exp(i - m_t),  f' = min(exp(l - m_t), 1)       one of them is 1, the other is exp(-|i - l|)
    c_t = f' * c_{t-1} + i' * tanh(z)
    n_t = f' * n_{t-1} + i'                             normalizer
    h_t = s(o) * c_t / n_t

The blocks of a weight are stacked: z, h; f, i, h; i, f, g, o (if coupled i, g, o); r, z, n; i, f, z, o.

Zoneout (Krueger et al. 2017) keeps a share z of h as it was, where h'_t is the h of the equations above. c
has a share of its own. tanh reads c'_t, and the peephole of o reads c_t::

    h_t = z * h_{t-1} + (1 - z) * h'_t

Recurrent dropout (Gal and Ghahramani 2016) multiplies each h_{t-1} that a product reads by one mask, the same
at all steps. Elsewhere, as in z * h_{t-1} of a GRU, h_{t-1} is as it is.

Layer normalization (Ba, Kiros and Hinton 2016) of RNN, LSTM and this second GRU: each product, W_ih·x_t and
W_hh·h_{t-1} with all its blocks, becomes LN(product), to which the biases are added. The LSTM's output is
o * tanh(LN(c_t)). The GRU of the paper normalizes the block of n apart from r and z::

    LN(a) = weight * (a - mean(a)) / sqrt(mean((a - mean(a))**2) + 1e-5) + bias

with a weight and a bias of each of them: ``ln_ih``, ``ln_hh`` and ``ln_c``.

Past a sequence's length its state stays as it is and y_t is zero; run in reverse it thus starts at its own
end. Where ``reset[t, b]`` is true, an episode begins at step t: the step run next after this border, t or in
reverse t-1, starts from a state of zero. Both act by select, so that not even NaN passes.

Backward is backpropagation through time (Werbos 1990): the steps in the opposite order, ``dh`` and ``dc``
carried from each to the one before it, and every weight's gradient summed over time. A name ``d_i`` is the
gradient of what goes into gate i's nonlinearity, ``di`` that of what comes out. A gradient of zero stays zero
whatever it is multiplied with: NaN or infinity in a step whose results nobody uses reaches no gradient.

Dims: T time, B batch, I input, H hidden, P projected (H without a projection), D units of a head, G blocks
of a weight (RNN and IndRNN 1, MinGRU 2, MinLSTM 3, LSTM 4 or if coupled 3, GRU 3, sLSTM 4). Everything is
computed in the dtype of x, float32 or float64, to which the other arrays are cast. This package imports NumPy
alone.
"""

from rnnfast.reference.ctc import ctc
from rnnfast.reference.functions import quantize, round_to_bfloat16
from rnnfast.reference.gru import gru_backward, gru_forward
from rnnfast.reference.lstm import lstm_backward, lstm_forward
from rnnfast.reference.minimal import mingru_backward, mingru_forward, minlstm_backward, minlstm_forward
from rnnfast.reference.rnn import indrnn_backward, indrnn_forward, rnn_backward, rnn_forward
from rnnfast.reference.slstm import slstm_backward, slstm_forward
from rnnfast.reference.tape import Tape

__all__ = [
    "Tape",
    "ctc",
    "gru_backward",
    "gru_forward",
    "indrnn_backward",
    "indrnn_forward",
    "lstm_backward",
    "lstm_forward",
    "mingru_backward",
    "mingru_forward",
    "minlstm_backward",
    "minlstm_forward",
    "quantize",
    "rnn_backward",
    "rnn_forward",
    "round_to_bfloat16",
    "slstm_backward",
    "slstm_forward",
]
