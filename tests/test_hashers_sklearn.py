"""scikit-learn's own estimator checks, those that apply, on every hasher."""

from __future__ import annotations

import warnings

import pytest
from sklearn.utils.estimator_checks import estimator_checks_generator

from sdc_search import hashers
from sdc_search.hashers.loading import _MODULES

# What the checks want otherwise: messages in scikit-learn's words; complex and object features as ValueError
# or converted, where here they are TypeError; array API input only with an environment variable.
DO_NOT_APPLY = {
    "check_array_api_input",
    "check_complex_data",
    "check_dtype_object",
    "check_estimator_sparse_array",
    "check_estimator_sparse_matrix",
    "check_estimator_sparse_tag",
    "check_estimators_empty_data_messages",
    "check_fit2d_1sample",
    "check_fit2d_predict1d",
    "check_n_features_in_after_fitting",
}


@pytest.mark.parametrize("name", sorted(_MODULES))
def test_checks_of_scikit_learn(name):
    hasher = getattr(hashers, name)(n_bits=1, random_state=0)
    quick = {"hidden": 4, "max_epochs": 1}
    hasher.set_params(**{key: value for key, value in quick.items() if key in hasher.get_params()})
    passed = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the checks themselves, that the class is not a BaseEstimator
        for estimator, check in estimator_checks_generator(hasher):
            if check.func.__name__ not in DO_NOT_APPLY:
                check(estimator)
                passed += 1
    assert passed >= 30
