"""Confidence: a temperature that is known is found again, and errors and risks that were worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kerass2s import Calibration, expected_calibration_error, risk_coverage
from kerass2s.confidence import reliability
from kerass2s.errors import ConfigError, DataError, UserError
from kerass2s.plots import save_calibration, save_risk_coverage


def drawn(temperature: float, count: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Scores, and answers that are right as often as that temperature says."""
    random = np.random.default_rng(7)
    scores = -random.gamma(1.2, 1.5, count)
    return scores, random.random(count) < np.exp(scores / temperature)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_a_known_temperature_is_found(temperature: float):
    scores, right = drawn(temperature)
    found = Calibration.fit(scores, right)
    assert found.temperature == pytest.approx(temperature, rel=0.05)
    error = expected_calibration_error(found.confidence(scores), right)
    assert error < 0.02
    if temperature != 1.0:
        assert expected_calibration_error(np.exp(scores), right) > 5 * error


def test_the_fit_is_the_likeliest():
    scores, right = drawn(2.0, 50)

    def likelihood(temperature: float) -> float:
        confidence = np.exp(scores / temperature)
        return float(np.log(np.where(right, confidence, 1 - confidence)).sum())

    best = Calibration.fit(scores, right).temperature
    assert all(likelihood(best) > likelihood(best * factor) for factor in (0.9, 0.99, 1.01, 1.1))


def test_a_fit_of_two_by_hand():
    # One right and one wrong output of the same score: half are right, so exp(s / T) = 1/2.
    assert Calibration.fit([-3.0, -3.0], [True, False]).temperature == pytest.approx(3 / np.log(2))
    # A wrong output that was certain cannot be explained, and does no harm.
    assert np.isfinite(Calibration.fit([-1.0, 0.0], [True, False]).temperature)


def test_confidence_keeps_the_order_of_scores():
    scores = np.array([0.0, -1e-9, -0.5, -2.0, -40.0, -1e6, -np.inf])
    for temperature in (0.1, 1.0, 30.0):
        confidence = Calibration(temperature).confidence(scores)
        assert (np.diff(confidence) <= 0).all()
        assert confidence[0] == 1.0 and confidence[-1] == 0.0
    assert Calibration().confidence([np.log(0.25)]) == pytest.approx([0.25])


def test_what_cannot_be_fitted_is_refused():
    for right in ([True, True], [False, False]):
        with pytest.raises(DataError, match=rf"right and to wrong outputs.*Received: {sum(right)} right of 2"):
            Calibration.fit([-1.0, -2.0], right)
    with pytest.raises(DataError, match=r"at most 0. Received: \[0.5\]"):
        Calibration().confidence([0.5])
    with pytest.raises(DataError, match="Received: 2 outputs, 1 answers"):
        Calibration.fit([-1.0, -2.0], [True])
    for temperature in (0, -1.0, np.inf, "warm", True):
        with pytest.raises(ConfigError, match="temperature must be"):
            Calibration(temperature)


def test_risk_and_coverage_of_four_by_hand():
    found = risk_coverage([0.5, 0.9, 0.6, 0.8], [True, True, True, False])
    np.testing.assert_allclose(found.thresholds, [0.9, 0.8, 0.6, 0.5])
    np.testing.assert_allclose(found.coverage, [0.25, 0.5, 0.75, 1.0])
    np.testing.assert_allclose(found.risk, [0, 1 / 2, 1 / 3, 1 / 4])
    assert found.area == pytest.approx(13 / 48)
    assert (found.threshold(0.0), found.threshold(0.25), found.threshold(0.4)) == (0.9, 0.5, 0.5)
    with pytest.raises(DataError, match="the least is 1.0000. Received: 0.5"):
        risk_coverage([0.1], [False]).threshold(0.5)


def test_equally_confident_outputs_stay_together():
    for right in ([True, False, True], [False, True, True]):
        found = risk_coverage([0.9, 0.9, 0.1], right)
        np.testing.assert_allclose(found.coverage, [2 / 3, 1])
        np.testing.assert_allclose(found.risk, [1 / 2, 1 / 3])
        assert found.area == pytest.approx(2 / 3 / 2 + 1 / 3 / 3)


def test_calibration_error_by_hand():
    confidences, right = [0.1, 0.2, 0.9, 1.0], [False, True, True, True]
    # Two bins: (0.1, 0.2) with half right, (0.9, 1.0) with all: 1/2 |0.5 - 0.15| + 1/2 |1 - 0.95|.
    assert expected_calibration_error(confidences, right, bins=2) == pytest.approx(0.2)
    means, shares, counts = reliability([0.5, 0.0], [True, False], bins=2)
    assert counts.tolist() == [2, 0] and means[0] == 0.25 and shares[0] == 0.5 and np.isnan(means[1])
    with pytest.raises(ConfigError, match="Received: 0"):
        reliability([0.5], [True], bins=0)


def test_the_plots_are_pictures(tmp_path: Path):
    scores, right = drawn(2.0, 200)
    curve = risk_coverage(scores, right)
    kinds = {"before": np.exp(scores), "after": np.exp(scores / 2)}
    for path in (
        save_calibration(tmp_path / "calibration.png", kinds, right, curve),
        save_risk_coverage(tmp_path / "risk.png", {"one": curve, "other": curve}),
    ):
        assert path.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UserError, match="at least one curve"):
        save_risk_coverage(tmp_path / "none.png", {})
