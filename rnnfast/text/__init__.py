"""Text models: networks that are trained on a text, generate text and score it; n-grams to compare with.

    model = rf.text.load("rnnfast-model.npz")    # what `rnnfast train` wrote
    print(model.generate("The ", length=200, rng=1))

alphabets  characters, bytes or words as numbers, and back
reading    texts from files: their symbols, the held-out part, parallel sequences
network    the networks that predict the next symbol
model      a network with its alphabet: text from a prompt, beam search, bits per symbol, files
training   the training of such a model
ngram      n-grams with Witten-Bell or Kneser-Ney smoothing
window     a network on a window of the last symbols
scores     the scores of n-grams on a text, perplexity
sampling   symbols drawn from any model that predicts the next one; also `rf.sampling`
"""

from rnnfast.text import sampling
from rnnfast.text.alphabets import Alphabet, Bytes, Characters, Words
from rnnfast.text.model import TextBeam, TextModel, build, load
from rnnfast.text.ngram import NGram, bits_by_order
from rnnfast.text.reading import Text, default_text, read_text, streams
from rnnfast.text.scores import NGramScore, best_ngram, ngram_score, perplexity
from rnnfast.text.training import check_converged, train
from rnnfast.text.window import Window, WindowStream, window_model

__all__ = [
    "Alphabet",
    "Bytes",
    "Characters",
    "NGram",
    "NGramScore",
    "Text",
    "TextBeam",
    "TextModel",
    "Window",
    "WindowStream",
    "Words",
    "best_ngram",
    "bits_by_order",
    "build",
    "check_converged",
    "default_text",
    "load",
    "ngram_score",
    "perplexity",
    "read_text",
    "sampling",
    "streams",
    "train",
    "window_model",
]
