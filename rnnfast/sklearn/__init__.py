"""Estimators of scikit-learn on rnnfast's networks, for sequences of one length or of several.

    from rnnfast.sklearn import RNNClassifier

    classifier = RNNClassifier(cell="gru", hidden_size=64, random_state=0)
    classifier.fit(sequences, labels)     # a list of arrays [T_i, I], or one array [N, T, I]
    classifier.predict(others)

This file only gathers the public names. `sequences` reads X, `scaling` standardizes numbers, `classes` sorts
labels, `estimator` builds and trains the network, and `classifier`, `regressor` and `tagger` read y and say
what is predicted.

It needs the package scikit-learn: ``pip install "rnnfast[sklearn]"``.
"""

try:
    import sklearn as _sklearn  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "sklearn":
        raise
    raise ImportError(
        'rnnfast.sklearn needs the package scikit-learn: pip install "rnnfast[sklearn]"'
    ) from error

from rnnfast.sklearn.classifier import RNNClassifier
from rnnfast.sklearn.regressor import RNNRegressor
from rnnfast.sklearn.tagger import SequenceTagger

__all__ = ["RNNClassifier", "RNNRegressor", "SequenceTagger"]
