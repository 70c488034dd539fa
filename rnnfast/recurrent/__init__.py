"""The recurrent layers: stacks of passes over time, their states, streams, recomputation, ragged batches.

layers         RNN, LSTM, GRU: what each adds to all recurrent layers
indrnn, slstm  IndRNN, SLSTM, likewise
base           what they share: parameters, the calls, the tape of a call
recomputation  passes that save states at the start of segments, and no gates
states         the form of a stack's state, the layout of its sequences
regularized    the rates of dropout, zoneout, recurrent dropout and weight dropout of a layer
masks          their masks in one call
stack          the passes of one call: what forward collects, the backward loop
stream         one step a call
ragged         sequences of several lengths as one padded array, and back
"""

from rnnfast.recurrent.base import Recurrent
from rnnfast.recurrent.indrnn import IndRNN
from rnnfast.recurrent.layers import GRU, LSTM, RNN
from rnnfast.recurrent.minimal import MinGRU, MinLSTM
from rnnfast.recurrent.slstm import SLSTM
from rnnfast.recurrent.stream import Stream

__all__ = ["GRU", "LSTM", "RNN", "SLSTM", "IndRNN", "MinGRU", "MinLSTM", "Recurrent", "Stream"]
