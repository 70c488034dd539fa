"""rnnfast.sklearn in scikit-learn's tools: a search, a pipeline, and labels of every step.

The first part reads the digits that come with scikit-learn row by row, chooses a cell by cross-validation,
and compares it with logistic regression on all pixels. The second part reads sentences without their spaces,
letter by letter, and says after which letters a word ends. Its sentences are those of Python's help texts.

It needs scikit-learn: pip install "rnnfast[sklearn]".
"""

import argparse
import re
import sys
from pydoc_data.topics import topics

import numpy as np

try:
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler
except ImportError:
    sys.exit('scikit_learn.py needs scikit-learn: pip install "rnnfast[sklearn]"')

from rnnfast.sklearn import RNNClassifier, SequenceTagger

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=20)
options = parser.parse_args()

# Digits: a table of 64 pixels, which a transformer makes eight steps of eight pixels.
images, digits = load_digits(return_X_y=True)
train, test, y_train, y_test = train_test_split(images, digits, random_state=0, stratify=digits)
rows = FunctionTransformer(lambda X: X.reshape(-1, 8, 8))
network = RNNClassifier(epochs=options.epochs, early_stopping=True, random_state=0)
search = GridSearchCV(
    make_pipeline(rows, network),
    {"rnnclassifier__cell": ["rnn", "gru"], "rnnclassifier__bidirectional": [False, True]},
    cv=3,
).fit(train, y_train)
for choice, score in zip(search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True):
    cell, bidirectional = choice["rnnclassifier__cell"], choice["rnnclassifier__bidirectional"]
    print(f"{cell:4} {'both directions' if bidirectional else 'one direction':16} {score:.1%} in 3 folds")
linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(train, y_train)
print(f"the best of them {search.score(test, y_test):.1%} of {len(test)} new digits right")
print(f"logistic regression {linear.score(test, y_test):.1%}")

# Sentences: a row of 26 numbers for each letter, and whether a word ends there.
texts = re.findall(r"[A-Z][a-z ,\n]+\.", "\n".join(topics.values()))
sentences = sorted({" ".join(re.findall("[a-z]+", text.lower())) for text in texts})
sentences = [sentence for sentence in sentences if len(sentence) > 20]
np.random.default_rng(0).shuffle(sentences)
letters = ["".join(sentence.split()) for sentence in sentences]
X = [np.eye(26, dtype=np.float32)[np.frombuffer(each.encode(), np.uint8) - ord("a")] for each in letters]
ends = [np.array([bool(end) for end in re.findall("[a-z]( ?)", each + " ")]) for each in sentences]

tagger = SequenceTagger(
    hidden_size=64, bidirectional=True, epochs=options.epochs, early_stopping=True, random_state=0
)
new = slice(len(X) * 4 // 5, None)  # the others are to learn from
tagger.fit(X[: new.start], ends[: new.start])
print(f"ends of words in {len(X[new])} new sentences of {len(X)}:", end=" ")
print(f"{tagger.score(X[new], ends[new]):.1%} of all letters right,", end=" ")
print(f"{1 - np.concatenate(ends[new]).mean():.1%} if no word ended")
for word, said in list(zip(letters[new], tagger.predict(X[new]), strict=True))[:3]:
    print(" ", "".join(letter + " " * bool(end) for letter, end in zip(word, said, strict=True)).rstrip())
