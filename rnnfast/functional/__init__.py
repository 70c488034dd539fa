"""One layer in one direction, over arrays: `lstm_forward`, `lstm_backward`, and the pairs of the other cells.

They have the names, signatures and meaning of `rnnfast.reference`, which has the equations.

rnn, lstm, gru, indrnn, mingru, minlstm, slstm  the pair of each cell
layer   what the pairs share: checks of arrays
passes  one pass over arrays that are checked, by the compiled loops
"""

from rnnfast._core import Tape
from rnnfast.functional.gru import gru_backward, gru_forward
from rnnfast.functional.indrnn import indrnn_backward, indrnn_forward
from rnnfast.functional.lstm import lstm_backward, lstm_forward
from rnnfast.functional.mingru import mingru_backward, mingru_forward
from rnnfast.functional.minlstm import minlstm_backward, minlstm_forward
from rnnfast.functional.rnn import rnn_backward, rnn_forward
from rnnfast.functional.slstm import slstm_backward, slstm_forward

__all__ = [
    "Tape",
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
    "rnn_backward",
    "rnn_forward",
    "slstm_backward",
    "slstm_forward",
]
